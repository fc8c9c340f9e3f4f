//! bolide-broker
