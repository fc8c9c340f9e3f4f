//! bolide-api
