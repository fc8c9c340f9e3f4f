//! What a broker in a pod has to do with Kubernetes: the group state on a Lease, and the Services of the roles, which follow them.
//!
//! The message path never waits for any of it.

use std::future::Future;
use std::pin::Pin;

use bolide_broker::{GroupStateError, GroupStateStore, Serving};
use bolide_election::{ElectionError, GroupLease, RoleService};
use bolide_replication::{CasOutcome, Epoch, GroupState, Versioned};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The group state on a Lease, for the broker.
pub(crate) struct LeaseState(pub(crate) GroupLease);

impl GroupStateStore for LeaseState {
    fn load(&self) -> Answer<'_, Result<Option<Versioned>, GroupStateError>> {
        Box::pin(async { self.0.load().await.map_err(|error| GroupStateError::Unreachable(Box::new(error))) })
    }

    fn compare_and_set<'a>(&'a self, version: &'a str, new: &'a GroupState) -> Answer<'a, CasOutcome> {
        Box::pin(self.0.compare_and_set(version, new))
    }
}

/// The Services of the roles of a group.
pub(crate) struct Addresses {
    master: RoleService,
    /// By broker id, from 1.
    slaves: Vec<RoleService>,
}

impl Addresses {
    /// The Services with these names, for the pod called `pod`.
    pub(crate) async fn connect(
        namespace: &str,
        master: &str,
        slaves: &[String],
        pod: &str,
    ) -> Result<Self, ElectionError> {
        let mut found = Vec::with_capacity(slaves.len());
        for slave in slaves {
            found.push(RoleService::connect(namespace, slave, pod).await?);
        }
        Ok(Self { master: RoleService::connect(namespace, master, pod).await?, slaves: found })
    }

    /// Points the Service of whatever role this replica has at its pod, until `shutdown`.
    pub(crate) async fn follow(&self, mut serving: watch::Receiver<Serving>, shutdown: CancellationToken) {
        loop {
            let now = *serving.borrow_and_update();
            tokio::select! {
                changed = serving.changed() => if changed.is_err() { return },
                () = self.hold(now, &shutdown) => {}
                () = shutdown.cancelled() => return,
            }
        }
    }

    /// Ends only at `shutdown`: another role is another future.
    async fn hold(&self, serving: Serving, shutdown: &CancellationToken) {
        let role = match serving {
            Serving::Nobody => None,
            Serving::Master { epoch } => Some((&self.master, epoch)),
            Serving::Slave { id, epoch } => {
                id.checked_sub(1).and_then(|index| self.slaves.get(index)).map(|slave| (slave, epoch))
            }
        };
        if let Some((service, epoch)) = role
            && let Err(lost) = service.hold(Some(Epoch(epoch)), shutdown).await
        {
            // the replica is about to learn it from the group state too
            tracing::warn!(%lost, "the address of this role is another's");
        }
        shutdown.cancelled().await;
    }
}
