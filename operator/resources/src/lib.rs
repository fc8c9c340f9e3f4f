//! bolide-resources
