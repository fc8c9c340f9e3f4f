//! How a replica looks from outside: for metrics, `bolide status` and the status of a BrokerSet.

use serde::Serialize;

use crate::state::{Epoch, Member, ReplicaName};

/// Role in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RoleName {
    /// Leads, and serves clients.
    Master,
    /// Leads, but its epoch is not confirmed yet, or it may not acknowledge.
    Starting,
    /// Follows.
    Slave,
    /// Neither.
    Waiting,
}

/// One other replica, as seen from here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PeerStatus {
    /// Its name.
    pub name: ReplicaName,
    /// Heard of within the time after which a replica is suspected.
    pub connected: bool,
    /// A member of `in_sync`.
    pub in_sync: bool,
    /// Bytes that it does not hold yet; none when it does not follow this replica.
    pub lag_bytes: Option<u64>,
    /// Age of the oldest byte that it does not hold, in ms.
    pub lag_ms: Option<u64>,
}

/// A replica, as it sees itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Who it is.
    pub member: Member,
    /// Its role.
    pub role: RoleName,
    /// Whom it follows, or itself when it leads.
    pub master: Option<ReplicaName>,
    /// The epoch in which it leads or follows; else the highest it knows.
    pub epoch: Epoch,
    /// The members known to be in sync.
    pub in_sync: Vec<Member>,
    /// Log offset up to which all in-sync replicas hold the log.
    pub confirmed: u64,
    /// End of its log.
    pub end: u64,
    /// The other replicas.
    pub peers: Vec<PeerStatus>,
    /// Why it does not do what it should, for people; empty when all is well.
    pub reasons: Vec<String>,
}
