//! bolide-telemetry
