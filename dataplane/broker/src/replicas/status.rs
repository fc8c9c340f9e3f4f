//! Owns how a replica looks to administrators, and how they make it hand over.

use std::sync::Arc;
use std::time::Duration;

use bolide_replication::{ReplicaName, RoleName, Status};
use bolide_wire::body::replica::{PeerStatus, ReplicaStatus};
use tokio::sync::watch;

use super::{Shared, Switched};
use crate::broker::Broker;
use crate::error::Failure;
use crate::role::Role;

/// How long a planned switchover may take, from the request to the new master.
const SWITCH_WITHIN: Duration = Duration::from_secs(4);

/// What the rest of a broker sees of replication.
pub(crate) struct Replication {
    shared: Arc<Shared>,
    switched: watch::Receiver<Switched>,
}

impl Replication {
    pub(super) fn new(shared: Arc<Shared>, switched: watch::Receiver<Switched>) -> Replication {
        Replication { shared, switched }
    }

    /// The state machine's own view.
    pub(crate) fn status(&self) -> Status {
        self.shared.status()
    }

    /// Whether a slave is there that has everything that was acknowledged.
    pub(crate) fn has_slave(&self) -> bool {
        self.shared.has_slave()
    }

    /// Whether fewer replicas are in sync than messages need.
    pub(crate) fn short(&self) -> bool {
        self.shared.short()
    }

    /// Hands over to `to`, or to whoever is best prepared; returns who leads then.
    pub(crate) async fn switch_over(&self, to: Option<ReplicaName>) -> Result<ReplicaName, Failure> {
        let switched = self.shared.switch_over_and_see(to, self.switched.clone());
        match tokio::time::timeout(SWITCH_WITHIN, switched).await {
            Ok(Switched::To(master)) => Ok(master),
            _ => Err(Failure::NoSwitchover(self.status().reasons.join("; "))),
        }
    }
}

/// The status of a replica as it goes over the wire.
pub(crate) fn of(broker: &Broker, status: &Status) -> ReplicaStatus {
    let live = broker.live.load();
    let config = &live.config;
    let standing = **broker.standing.load();
    let in_sync = |name: &ReplicaName| status.in_sync.iter().any(|member| member.name == *name);
    let (role, broker_id) = match (standing.role, status.role) {
        (Role::Master, _) => ("MASTER", 0),
        (Role::Slave(id), _) => ("SLAVE", i64::try_from(id).unwrap_or(i64::MAX)),
        (Role::Waiting, RoleName::Master | RoleName::Starting) => ("MASTER", 0),
        (Role::Waiting, RoleName::Slave | RoleName::Waiting) => ("WAITING", -1),
    };
    ReplicaStatus {
        broker_id,
        broker_name: broker.names.broker.to_string(),
        cluster_name: broker.names.cluster.to_string(),
        confirm: status.confirmed,
        end: status.end,
        epoch: status.epoch.0,
        in_sync: status.in_sync.iter().map(|member| member.name.to_string()).collect(),
        master: status.master.as_ref().map(ToString::to_string),
        min: broker.store.watermarks().min.0,
        min_in_sync: config.min_in_sync,
        reasons: status.reasons.clone(),
        replica_name: status.member.name.to_string(),
        replicas: status
            .peers
            .iter()
            .map(|peer| PeerStatus {
                connected: peer.connected,
                end: peer.lag_bytes.map(|lag| status.end.saturating_sub(lag)),
                in_sync: peer.in_sync,
                lag_bytes: peer.lag_bytes,
                lag_ms: peer.lag_ms,
                name: peer.name.to_string(),
            })
            .collect(),
        replication_mode: format!("{:?}", config.replication_mode),
        role: role.to_owned(),
        serving: match standing.role {
            Role::Master => status.role == RoleName::Master,
            Role::Slave(_) => in_sync(&status.member.name),
            Role::Waiting => false,
        },
        successor: None,
    }
}
