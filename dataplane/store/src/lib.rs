//! bolide-store
