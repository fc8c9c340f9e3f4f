//! bolide-e2e
