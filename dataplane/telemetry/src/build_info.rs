//! What this program was built from, for `--version` and as a metric.

use prometheus::{IntGaugeVec, Opts, Registry};

/// Version and source of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BuildInfo {
    /// The workspace's version.
    pub version: &'static str,
    /// The commit, if the build was told (`BOLIDE_COMMIT`), else `unknown`.
    pub commit: &'static str,
}

/// What this program was built from.
pub fn build_info() -> BuildInfo {
    BuildInfo {
        version: env!("CARGO_PKG_VERSION"),
        commit: option_env!("BOLIDE_COMMIT").unwrap_or("unknown"),
    }
}

/// Adds the gauge `bolide_build_info`, always 1, with version, commit and `component` as labels.
///
/// # Errors
/// If the registry has it already.
pub fn register_build_info(registry: &Registry, component: &str) -> Result<(), prometheus::Error> {
    let opts = Opts::new("bolide_build_info", "Always 1; the labels say what runs.");
    let gauge = IntGaugeVec::new(opts, &["component", "version", "commit"])?;
    let info = build_info();
    gauge.with_label_values(&[component, info.version, info.commit]).set(1);
    registry.register(Box::new(gauge))
}
