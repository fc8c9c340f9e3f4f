//! Points the Service of a role at the pod that holds it.

use std::collections::BTreeMap;
use std::time::Duration;

use bolide_replication::{Epoch, Pointing, StateError, point};
use k8s_openapi::api::core::v1::Service;
use kube::api::{Api, PostParams};
use kube::{Client, ResourceExt};
use tokio_util::sync::CancellationToken;

/// Annotation with the epoch in which the selector was written.
const EPOCH: &str = "bolide.dev/epoch";
/// The label by which a StatefulSet's controller tells its pods apart.
const POD_NAME: &str = "statefulset.kubernetes.io/pod-name";
/// How often the Service is looked at while the role is held.
const CHECK_EVERY: Duration = Duration::from_secs(10);
/// Bounds of the pause after a failed attempt.
const RETRY_FIRST: Duration = Duration::from_millis(200);
const RETRY_LAST: Duration = Duration::from_secs(10);
/// Attempts at a write that others came before, in a row.
const RACES: usize = 5;

/// The role could not be claimed or checked.
#[derive(Debug, thiserror::Error)]
pub enum ElectionError {
    /// There is no way to an API server.
    #[error("there is no way to the API server: {0}")]
    Connect(#[source] Box<kube::Error>),
    /// The API server refused, or did not answer.
    #[error("{object}: {source}")]
    Api {
        /// Kind and name of the object.
        object: String,
        /// Why.
        source: Box<kube::Error>,
    },
    /// The API server did not answer in time.
    #[error("{object}: the API server does not answer")]
    Silent {
        /// Kind and name of the object.
        object: String,
    },
    /// A group state cannot be read.
    #[error("Lease {lease}: {source}")]
    State {
        /// Name of the Lease.
        lease: String,
        /// Why.
        source: StateError,
    },
    /// Others kept writing at the same time.
    #[error("Service {service} is being written by others")]
    Contended {
        /// Name of the Service.
        service: String,
    },
    /// A later process has claimed the role.
    #[error("Service {service} was claimed by {holder} in epoch {}, later than ours", epoch.0)]
    Lost {
        /// Name of the Service.
        service: String,
        /// The pod that it points to.
        holder: String,
        /// The epoch of that claim.
        epoch: Epoch,
    },
}

/// The Service of one role, and the pod that claims it.
#[derive(Clone)]
pub struct RoleService {
    api: Api<Service>,
    name: String,
    pod: String,
}

impl RoleService {
    /// The Service `name` in `namespace`, for the pod called `pod`, through the account of this pod.
    ///
    /// # Errors
    /// [`ElectionError::Connect`] outside a cluster.
    pub async fn connect(namespace: &str, name: &str, pod: &str) -> Result<Self, ElectionError> {
        let client =
            Client::try_default().await.map_err(|source| ElectionError::Connect(Box::new(source)))?;
        Ok(Self::with_client(client, namespace, name, pod))
    }

    /// As [`RoleService::connect`], over a client that exists.
    pub fn with_client(client: Client, namespace: &str, name: &str, pod: &str) -> Self {
        Self { api: Api::namespaced(client, namespace), name: name.to_owned(), pod: pod.to_owned() }
    }

    /// Claims the role in a new epoch: afterwards the Service points at this pod.
    ///
    /// # Errors
    /// The API server does not answer or refuses, or others write all the time.
    pub async fn claim(&self) -> Result<Epoch, ElectionError> {
        for _ in 0..RACES {
            let service = self.read().await?;
            let epoch = Epoch(epoch_of(&service).0.saturating_add(1));
            if self.write(pointed_at(service, &self.pod, epoch)).await? {
                return Ok(epoch);
            }
        }
        Err(ElectionError::Contended { service: self.name.clone() })
    }

    /// Claims the role and keeps the Service pointed here until `shutdown`, or until a later claim. Failures are tried again.
    /// `given`: the epoch that the group state gives the role in; without one, which only a group of one replica may do, the next
    /// one is taken from the Service.
    ///
    /// # Errors
    /// [`ElectionError::Lost`], and nothing else.
    pub async fn hold(
        &self,
        given: Option<Epoch>,
        shutdown: &CancellationToken,
    ) -> Result<(), ElectionError> {
        let mut held: Option<Epoch> = given;
        let mut pause = RETRY_FIRST;
        loop {
            let attempt = match held {
                None => self.claim().await.map(|epoch| {
                    tracing::info!(service = self.name, pod = self.pod, epoch = epoch.0, "the role is ours");
                    held = Some(epoch);
                }),
                Some(epoch) => self.check(epoch).await,
            };
            let wait = match attempt {
                Ok(()) => {
                    pause = RETRY_FIRST;
                    CHECK_EVERY
                }
                Err(lost @ ElectionError::Lost { .. }) => return Err(lost),
                Err(error) => {
                    tracing::warn!(%error, "the role cannot be claimed or checked now");
                    pause = pause.saturating_mul(2).min(RETRY_LAST);
                    pause
                }
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = shutdown.cancelled() => return Ok(()),
            }
        }
    }

    /// Repairs the selector if something else changed it.
    async fn check(&self, ours: Epoch) -> Result<(), ElectionError> {
        let service = self.read().await?;
        let found = epoch_of(&service);
        let holder = holder_of(&service);
        let here = holder.as_deref() == Some(self.pod.as_str());
        match point(found, here, ours) {
            Pointing::Held => return Ok(()),
            Pointing::Lost => {
                let holder = holder.unwrap_or_default();
                return Err(ElectionError::Lost { service: self.name.clone(), holder, epoch: found });
            }
            Pointing::Write if found == ours => {
                tracing::warn!(
                    service = self.name,
                    "the selector was changed by something else; writing it again"
                );
            }
            Pointing::Write => {
                tracing::info!(service = self.name, pod = self.pod, epoch = ours.0, "pointing it here");
            }
        }
        if self.write(pointed_at(service, &self.pod, ours)).await? {
            Ok(())
        } else {
            Err(ElectionError::Contended { service: self.name.clone() })
        }
    }

    async fn read(&self) -> Result<Service, ElectionError> {
        self.api.get(&self.name).await.map_err(|source| self.api_error(source))
    }

    /// False when somebody else wrote first.
    async fn write(&self, service: Service) -> Result<bool, ElectionError> {
        match self.api.replace(&self.name, &PostParams::default(), &service).await {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(answer)) if answer.code == 409 => Ok(false),
            Err(source) => Err(self.api_error(source)),
        }
    }

    fn api_error(&self, source: kube::Error) -> ElectionError {
        ElectionError::Api { object: format!("Service {}", self.name), source: Box::new(source) }
    }
}

fn epoch_of(service: &Service) -> Epoch {
    Epoch(service.annotations().get(EPOCH).and_then(|text| text.parse().ok()).unwrap_or(0))
}

fn holder_of(service: &Service) -> Option<String> {
    service.spec.as_ref()?.selector.as_ref()?.get(POD_NAME).cloned()
}

/// The Service with the selector of `pod`; its resourceVersion stays, so that the write is refused if it is out of date.
fn pointed_at(mut service: Service, pod: &str, epoch: Epoch) -> Service {
    service.annotations_mut().insert(EPOCH.to_owned(), epoch.0.to_string());
    let spec = service.spec.get_or_insert_default();
    spec.selector = Some(BTreeMap::from([(POD_NAME.to_owned(), pod.to_owned())]));
    service
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_writes_selector_and_epoch_together_and_keeps_the_version() {
        let mut service = Service::default();
        service.metadata.resource_version = Some("7".into());
        assert_eq!(epoch_of(&service), Epoch(0));
        let claimed = pointed_at(service, "demo-broker-0-0", Epoch(3));
        assert_eq!(epoch_of(&claimed), Epoch(3));
        assert_eq!(holder_of(&claimed).as_deref(), Some("demo-broker-0-0"));
        assert_eq!(claimed.metadata.resource_version.as_deref(), Some("7"));
    }

    #[test]
    fn an_annotation_that_is_no_number_counts_as_none() {
        let mut service = Service::default();
        service.annotations_mut().insert(EPOCH.into(), "many".into());
        assert_eq!(epoch_of(&service), Epoch(0));
    }
}
