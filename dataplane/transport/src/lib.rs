//! bolide-transport
