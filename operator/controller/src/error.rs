//! Why a reconcile could not finish. All of these are tried again with growing delay.

use bolide_api::yaml::WriteError;
use bolide_client::ClientError;
use bolide_replication::StateError;

/// Failure of one reconcile.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The API server did not do what it was asked.
    #[error("{what}: {}", short(source))]
    Api {
        /// What was tried, as `apply Service demo-nameserver`.
        what: String,
        /// Why it failed.
        source: Box<kube::Error>,
    },
    /// A broker did not do what it was asked.
    #[error(transparent)]
    Broker(#[from] ClientError),
    /// A group state could not be written.
    #[error("a group state cannot be written: {0}")]
    GroupState(#[from] StateError),
    /// Settings could not be written.
    #[error("settings cannot be written: {0}")]
    Settings(#[from] WriteError),
}

impl Error {
    pub(crate) fn api(what: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        let what = what.into();
        move |source| Self::Api { what, source: Box::new(source) }
    }

    /// Whether the namespace is being deleted, so that there is nothing left to do in it.
    pub(crate) fn is_namespace_going(&self) -> bool {
        let Self::Api { source, .. } = self else { return false };
        let kube::Error::Api(answer) = source.as_ref() else { return false };
        let causes = answer.details.iter().flat_map(|details| &details.causes);
        causes.into_iter().any(|cause| cause.reason == "NamespaceTerminating")
    }

    /// The short word for metrics.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Api { .. } => "api",
            Self::Broker(_) => "broker",
            Self::GroupState(_) => "group_state",
            Self::Settings(_) => "settings",
        }
    }
}

/// The sentence of the API server without the object around it.
fn short(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(answer) => format!("{} ({})", answer.message, answer.code),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::Status;
    use kube::core::response::{StatusCause, StatusDetails};

    #[test]
    fn a_namespace_that_goes_is_told_apart_from_missing_rights() {
        let answer = |reason: &str| {
            let cause = StatusCause { reason: reason.into(), message: String::new(), field: String::new() };
            let details = StatusDetails {
                name: String::new(),
                group: String::new(),
                kind: String::new(),
                uid: String::new(),
                causes: vec![cause],
                retry_after_seconds: 0,
            };
            let status = Status::failure("forbidden", "Forbidden").with_code(403).with_details(details);
            Error::api("apply Service x")(kube::Error::Api(Box::new(status)))
        };
        assert!(answer("NamespaceTerminating").is_namespace_going());
        assert!(!answer("Other").is_namespace_going());
        assert_eq!(answer("Other").to_string(), "apply Service x: forbidden (403)");
    }
}
