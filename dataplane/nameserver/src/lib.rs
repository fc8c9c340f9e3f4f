//! bolide-nameserver
