//! Why a reconcile could not finish. All of these are tried again with growing delay.

use bolide_api::yaml::WriteError;
use bolide_client::ClientError;

/// Failure of one reconcile.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The API server did not do what it was asked.
    #[error("{what}: {source}")]
    Api {
        /// What was tried, as `apply Service demo-nameserver`.
        what: String,
        /// Why it failed.
        source: Box<kube::Error>,
    },
    /// A broker did not do what it was asked.
    #[error(transparent)]
    Broker(#[from] ClientError),
    /// Settings could not be written.
    #[error("settings cannot be written: {0}")]
    Settings(#[from] WriteError),
}

impl Error {
    pub(crate) fn api(what: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        let what = what.into();
        move |source| Self::Api { what, source: Box::new(source) }
    }

    /// The short word for metrics.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Api { .. } => "api",
            Self::Broker(_) => "broker",
            Self::Settings(_) => "settings",
        }
    }
}
