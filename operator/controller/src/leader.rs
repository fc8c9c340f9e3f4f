//! Which replica of the operator works: the holder of one Lease. Safety of data never depends on it, since every write is
//! level-triggered; it keeps two replicas from doing the same work.
//!
//! As in client-go, whether the holder is alive is judged by this process's own clock: a Lease that has not changed for its
//! duration is free. Clocks of different nodes are never compared.

use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, PostParams};
use kube::core::ObjectMeta;
use kube::{Client, ResourceExt};
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;

/// Name of the Lease.
const NAME: &str = "bolide-operator";
/// How long a silent leader keeps the Lease.
const DURATION: Duration = Duration::from_secs(15);
/// How long a leader may fail to renew before it stops working; less than `DURATION`, so that two never work at once.
const RENEW_WITHIN: Duration = Duration::from_secs(10);
/// How often the Lease is looked at.
const PERIOD: Duration = Duration::from_secs(2);

/// What to do about the Lease as it was just read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// It is ours: write it again.
    Renew,
    /// It is free: take it.
    Take,
    /// Somebody else holds it.
    Wait,
}

/// The Lease as last seen, and when it last changed by our clock.
#[derive(Clone, Debug, Default)]
struct Watched {
    version: Option<String>,
    since: Option<Instant>,
}

impl Watched {
    fn step(&mut self, lease: &Lease, me: &str, now: Instant) -> Step {
        let version = lease.resource_version();
        if self.version != version || self.since.is_none() {
            self.version = version;
            self.since = Some(now);
        }
        let spec = lease.spec.clone().unwrap_or_default();
        let holder = spec.holder_identity.unwrap_or_default();
        let seconds = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
        let duration = seconds.map_or(DURATION, Duration::from_secs);
        if holder == me {
            Step::Renew
        } else if holder.is_empty() || self.since.is_some_and(|since| now.duration_since(since) > duration) {
            Step::Take
        } else {
            Step::Wait
        }
    }
}

/// One replica in the election.
pub(crate) struct Candidate {
    api: Api<Lease>,
    namespace: String,
    me: String,
    metrics: Metrics,
    watched: Watched,
}

impl Candidate {
    /// `me` must differ between replicas, and between two starts of one.
    pub(crate) fn new(client: Client, namespace: &str, me: String, metrics: Metrics) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            namespace: namespace.to_owned(),
            me,
            metrics,
            watched: Watched::default(),
        }
    }

    /// Waits until this replica leads; false when `shutdown` comes first.
    pub(crate) async fn lead(&mut self, shutdown: &CancellationToken) -> bool {
        loop {
            match self.attempt().await {
                Ok(true) => {
                    tracing::info!(identity = self.me, "this replica leads");
                    self.metrics.leader.set(1);
                    return true;
                }
                Ok(false) => {}
                Err(error) => tracing::warn!(%error, "the lease cannot be read or written"),
            }
            tokio::select! {
                () = tokio::time::sleep(PERIOD) => {}
                () = shutdown.cancelled() => return false,
            }
        }
    }

    /// Renews until it cannot any more, or until `shutdown`; gives the Lease back in that case.
    pub(crate) async fn keep(mut self, shutdown: CancellationToken) {
        let mut renewed = Instant::now();
        while renewed.elapsed() < RENEW_WITHIN {
            tokio::select! {
                () = tokio::time::sleep(PERIOD) => {}
                () = shutdown.cancelled() => {
                    self.metrics.leader.set(0);
                    self.release().await;
                    return;
                }
            }
            match tokio::time::timeout(RENEW_WITHIN / 2, self.attempt()).await {
                Ok(Ok(true)) => renewed = Instant::now(),
                Ok(Ok(false)) => break,
                Ok(Err(error)) => tracing::warn!(%error, "the lease could not be renewed"),
                Err(_) => tracing::warn!("the lease could not be renewed in time"),
            }
        }
        self.metrics.leader.set(0);
        tracing::error!(identity = self.me, "this replica does not lead any more");
    }

    /// Takes or renews the Lease; true if it is ours now.
    async fn attempt(&mut self) -> Result<bool, kube::Error> {
        let Some(mut lease) = self.api.get_opt(NAME).await? else {
            let lease = Lease {
                metadata: ObjectMeta {
                    name: Some(NAME.to_owned()),
                    namespace: Some(self.namespace.clone()),
                    ..ObjectMeta::default()
                },
                spec: Some(self.held(None, true)),
            };
            return lost_race(self.api.create(&PostParams::default(), &lease).await);
        };
        let step = self.watched.step(&lease, &self.me, Instant::now());
        if step == Step::Wait {
            return Ok(false);
        }
        lease.spec = Some(self.held(lease.spec.as_ref(), step == Step::Take));
        lost_race(self.api.replace(NAME, &PostParams::default(), &lease).await)
    }

    fn held(&self, before: Option<&LeaseSpec>, taken: bool) -> LeaseSpec {
        let now = MicroTime(jiff::Timestamp::now());
        let transitions = before.and_then(|before| before.lease_transitions).unwrap_or(0);
        LeaseSpec {
            holder_identity: Some(self.me.clone()),
            lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
            acquire_time: if taken {
                Some(now.clone())
            } else {
                before.and_then(|before| before.acquire_time.clone())
            },
            renew_time: Some(now),
            lease_transitions: Some(transitions.saturating_add(i32::from(taken && before.is_some()))),
            ..LeaseSpec::default()
        }
    }

    /// Lets another replica lead at once.
    async fn release(&mut self) {
        let released = async {
            let mut lease = self.api.get(NAME).await?;
            if let Some(spec) =
                lease.spec.as_mut().filter(|spec| spec.holder_identity.as_ref() == Some(&self.me))
            {
                spec.holder_identity = Some(String::new());
                self.api.replace(NAME, &PostParams::default(), &lease).await?;
            }
            Ok::<(), kube::Error>(())
        };
        if let Err(error) = released.await {
            tracing::warn!(%error, "the lease could not be given back");
        }
    }
}

/// A write that came too late is no error: somebody else leads.
fn lost_race(result: Result<Lease, kube::Error>) -> Result<bool, kube::Error> {
    match result {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(answer)) if answer.code == 409 => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(holder: &str, version: &str) -> Lease {
        let mut lease = Lease::default();
        lease.metadata.resource_version = Some(version.into());
        lease.spec = Some(LeaseSpec {
            holder_identity: Some(holder.into()),
            lease_duration_seconds: Some(15),
            ..LeaseSpec::default()
        });
        lease
    }

    #[test]
    fn a_lease_is_free_when_it_has_not_changed_for_its_duration() {
        let mut watched = Watched::default();
        let start = Instant::now();
        assert_eq!(watched.step(&lease("a", "1"), "b", start), Step::Wait);
        assert_eq!(watched.step(&lease("a", "1"), "b", start + Duration::from_secs(15)), Step::Wait);
        assert_eq!(watched.step(&lease("a", "2"), "b", start + Duration::from_secs(16)), Step::Wait);
        assert_eq!(watched.step(&lease("a", "2"), "b", start + Duration::from_secs(30)), Step::Wait);
        assert_eq!(watched.step(&lease("a", "2"), "b", start + Duration::from_secs(32)), Step::Take);
    }

    #[test]
    fn ones_own_lease_is_renewed_and_a_released_one_is_taken_at_once() {
        let mut watched = Watched::default();
        assert_eq!(watched.step(&lease("b", "1"), "b", Instant::now()), Step::Renew);
        assert_eq!(watched.step(&lease("", "2"), "b", Instant::now()), Step::Take);
    }
}
