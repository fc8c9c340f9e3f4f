//! What every process shows of itself: its log, what it was built from, and an HTTP port with `/metrics`, `/livez`, `/readyz`.

#![forbid(unsafe_code)]

mod admin;
mod build_info;
mod logging;

pub use admin::{AdminError, AdminServer, Readiness, ReadinessCheck};
pub use build_info::{BuildInfo, build_info, register_build_info};
pub use logging::{LoggingError, init_logging};
