//! bolide-filter
