//! The process's log: `tracing` events on standard error, as text for a terminal or one JSON object a line for pods.

use thiserror::Error;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

/// Chooses levels by module; the usual variable of `tracing` programs.
const FILTER_VARIABLE: &str = "RUST_LOG";

const DEFAULT_FILTER: &str = "info";

/// The log could not be set up.
#[derive(Debug, Error)]
pub enum LoggingError {
    /// The filter variable is set to something that is no filter.
    #[error("{FILTER_VARIABLE} is not a log filter")]
    Filter {
        /// What is wrong with it.
        source: tracing_subscriber::filter::ParseError,
    },
    /// Another log was set up before in this process.
    #[error("the log is set up already")]
    Installed {
        /// What the library said.
        source: tracing_subscriber::util::TryInitError,
    },
}

/// Sets up the log of this process; to be called once. Levels come from `RUST_LOG`, else everything from `info` up is shown.
///
/// # Errors
/// [`LoggingError`] for a bad filter or a second call.
pub fn init_logging(json: bool) -> Result<(), LoggingError> {
    let filter = match std::env::var(FILTER_VARIABLE) {
        Ok(text) if !text.is_empty() => {
            EnvFilter::try_new(text).map_err(|source| LoggingError::Filter { source })?
        }
        _ => EnvFilter::new(DEFAULT_FILTER),
    };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let outcome = if json {
        builder.json().flatten_event(true).with_current_span(false).finish().try_init()
    } else {
        builder.with_target(false).finish().try_init()
    };
    outcome.map_err(|source| LoggingError::Installed { source })
}
