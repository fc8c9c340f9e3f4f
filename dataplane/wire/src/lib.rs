//! bolide-wire
