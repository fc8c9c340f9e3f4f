//! The group state of a broker group in Kubernetes: one annotation of one Lease, set only where its `resourceVersion` is still the
//! one that was read.
//!
//! The Lease is made by the operator, for a new group, and by nobody else. Nothing here makes one.

use std::time::Duration;

use bolide_replication::{CasOutcome, GroupState, StateError, Versioned};
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use serde_json::json;

use crate::ElectionError;

/// The annotation with the JSON of the state.
pub const GROUP_STATE: &str = "bolide.dev/group-state";
/// How long one request may take. Its outcome is unknown then, and read again.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// The Lease of one broker group.
#[derive(Clone)]
pub struct GroupLease {
    api: Api<Lease>,
    name: String,
}

impl GroupLease {
    /// The Lease `name` in `namespace`, through the account of this pod.
    ///
    /// # Errors
    /// [`ElectionError::Connect`] outside a cluster.
    pub async fn connect(namespace: &str, name: &str) -> Result<Self, ElectionError> {
        let client =
            Client::try_default().await.map_err(|source| ElectionError::Connect(Box::new(source)))?;
        Ok(Self::with_client(client, namespace, name))
    }

    /// As [`GroupLease::connect`], over a client that exists.
    #[must_use]
    pub fn with_client(client: Client, namespace: &str, name: &str) -> Self {
        Self { api: Api::namespaced(client, namespace), name: name.to_owned() }
    }

    /// Reads the state: from etcd, since no `resourceVersion` is asked for. `None` when there is no Lease, or none with a state.
    ///
    /// # Errors
    /// The API server does not answer or refuses, or the annotation is not a group state.
    pub async fn load(&self) -> Result<Option<Versioned>, ElectionError> {
        let lease = match tokio::time::timeout(ANSWER_WITHIN, self.api.get_opt(&self.name)).await {
            Ok(found) => found.map_err(|source| self.api_error(source))?,
            Err(_) => return Err(ElectionError::Silent { object: format!("Lease {}", self.name) }),
        };
        lease.map_or(Ok(None), |lease| self.read(&lease))
    }

    /// Sets the state if the Lease is still as it was at `version`: one request, in which the version is a precondition. What is not
    /// answered is unknown, whatever the reason.
    pub async fn compare_and_set(&self, version: &str, new: &GroupState) -> CasOutcome {
        let json = match new.to_json() {
            Ok(json) => json,
            Err(error) => {
                tracing::error!(lease = self.name, %error, "a group state cannot be written");
                return CasOutcome::Conflict;
            }
        };
        // the holder is for people who look with kubectl, and decides nothing
        let patch = Patch::Merge(json!({
            "metadata": {"resourceVersion": version, "annotations": {GROUP_STATE: json}},
            "spec": {"holderIdentity": new.master.as_ref().map(|master| master.name.as_str())},
        }));
        let parameters = PatchParams::default();
        let attempt = self.api.patch(&self.name, &parameters, &patch);
        match tokio::time::timeout(ANSWER_WITHIN, attempt).await {
            Ok(Ok(written)) => match written.resource_version() {
                Some(version) => CasOutcome::Set { version },
                None => CasOutcome::Unknown,
            },
            Ok(Err(kube::Error::Api(answer))) if answer.code == 409 => CasOutcome::Conflict,
            Ok(Err(error)) => {
                tracing::warn!(lease = self.name, %error, "it is not known whether the group state was set");
                CasOutcome::Unknown
            }
            Err(_) => {
                tracing::warn!(
                    lease = self.name,
                    "the API server does not answer; it is not known whether the group state was set"
                );
                CasOutcome::Unknown
            }
        }
    }

    /// Makes the Lease with a state: for a human who overrules a state that is gone. A Lease without one gets it.
    ///
    /// # Errors
    /// The API server does not answer or refuses.
    pub async fn create(&self, state: &GroupState) -> Result<CasOutcome, ElectionError> {
        if let Some(lease) = self.api.get_opt(&self.name).await.map_err(|source| self.api_error(source))? {
            return Ok(match lease.resource_version() {
                Some(version) if !lease.annotations().contains_key(GROUP_STATE) => {
                    self.compare_and_set(&version, state).await
                }
                _ => CasOutcome::Conflict,
            });
        }
        let json = state.to_json().map_err(|source| self.state_error(source))?;
        let mut lease = Lease::default();
        lease.metadata.name = Some(self.name.clone());
        lease.annotations_mut().insert(GROUP_STATE.to_owned(), json);
        match self.api.create(&PostParams::default(), &lease).await {
            Ok(made) => Ok(CasOutcome::Set { version: made.resource_version().unwrap_or_default() }),
            Err(kube::Error::Api(answer)) if answer.code == 409 => Ok(CasOutcome::Conflict),
            Err(source) => Err(self.api_error(source)),
        }
    }

    fn read(&self, lease: &Lease) -> Result<Option<Versioned>, ElectionError> {
        let Some(text) = lease.annotations().get(GROUP_STATE) else { return Ok(None) };
        let state = GroupState::from_json(text).map_err(|source| self.state_error(source))?;
        let version = lease.resource_version().unwrap_or_default();
        Ok(Some(Versioned { state, version }))
    }

    fn api_error(&self, source: kube::Error) -> ElectionError {
        ElectionError::Api { object: format!("Lease {}", self.name), source: Box::new(source) }
    }

    fn state_error(&self, source: StateError) -> ElectionError {
        ElectionError::State { lease: self.name.clone(), source }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use bolide_replication::{Epoch, ReplicaName};
    use http::{Request, Response};
    use kube::client::Body;

    use super::*;

    /// An API server that has one Lease, and answers as the real one does.
    #[derive(Clone)]
    struct Server(Arc<Mutex<Lease>>);

    impl Server {
        async fn answer(self, request: Request<Body>) -> Result<Response<Body>, std::convert::Infallible> {
            let (head, body) = request.into_parts();
            let sent = body.collect_bytes().await.expect("a body");
            let mut held = self.0.lock().expect("not poisoned");
            let code = if head.method == "PATCH" {
                let patch: serde_json::Value = serde_json::from_slice(&sent).expect("a patch");
                let version = held.resource_version().expect("a version");
                if patch["metadata"]["resourceVersion"] == version.as_str() {
                    let state = patch["metadata"]["annotations"][GROUP_STATE].as_str().expect("a state");
                    held.annotations_mut().insert(GROUP_STATE.into(), state.into());
                    let holder = patch["spec"]["holderIdentity"].as_str().map(str::to_owned);
                    held.spec.get_or_insert_default().holder_identity = holder;
                    let next = version.parse::<u64>().expect("a number") + 1;
                    held.metadata.resource_version = Some(next.to_string());
                    200
                } else {
                    409
                }
            } else {
                200
            };
            let text = if code == 200 {
                serde_json::to_vec(&*held).expect("JSON")
            } else {
                br#"{"kind":"Status","status":"Failure","message":"changed","reason":"Conflict","code":409}"#
                    .to_vec()
            };
            Ok(Response::builder().status(code).body(Body::from(text)).expect("a response"))
        }
    }

    fn lease(state: &GroupState) -> (GroupLease, Server) {
        let mut lease = Lease::default();
        lease.metadata.resource_version = Some("7".into());
        lease.annotations_mut().insert(GROUP_STATE.into(), state.to_json().expect("JSON"));
        let server = Server(Arc::new(Mutex::new(lease)));
        let served = server.clone();
        let service = tower::service_fn(move |request| served.clone().answer(request));
        (GroupLease::with_client(Client::new(service, "default"), "default", "demo-broker-0"), server)
    }

    #[tokio::test]
    async fn a_state_is_set_once_for_each_version() {
        let first = GroupState::new_group(ReplicaName::new("demo-broker-0-0").expect("name"));
        let (lease, server) = lease(&first);
        let found = lease.load().await.expect("answers").expect("a state");
        assert_eq!((found.state.clone(), found.version.as_str()), (first.clone(), "7"));
        let next = GroupState {
            epoch: Epoch(1),
            revision: 2,
            master: Some(first.in_sync[0].clone()),
            ..first.clone()
        };
        assert_eq!(lease.compare_and_set("7", &next).await, CasOutcome::Set { version: "8".into() });
        assert_eq!(lease.compare_and_set("7", &first).await, CasOutcome::Conflict);
        assert_eq!(lease.load().await.expect("answers").expect("a state").state, next);
        let held = server.0.lock().expect("not poisoned").clone();
        assert_eq!(held.spec.and_then(|spec| spec.holder_identity).as_deref(), Some("demo-broker-0-0"));
    }

    #[tokio::test]
    async fn a_lease_without_a_state_has_none_and_a_broken_one_is_an_error() {
        let (lease, server) = lease(&GroupState::new_group(ReplicaName::new("a").expect("name")));
        server.0.lock().expect("not poisoned").annotations_mut().insert(GROUP_STATE.into(), "{".into());
        assert!(matches!(lease.load().await, Err(ElectionError::State { .. })));
        server.0.lock().expect("not poisoned").annotations_mut().clear();
        assert!(lease.load().await.expect("answers").is_none());
    }
}
