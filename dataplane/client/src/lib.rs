//! bolide-client
