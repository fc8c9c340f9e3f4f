//! The Lease with a group's state: who leads, and who may.
//!
//! It has no owner: it lives as long as the claims, since replicas whose volumes remember a group state do not start without it. It
//! is made for a new group, and afterwards written by the group's brokers only.

use std::collections::BTreeMap;

use bolide_replication::{Epoch, GroupState, Incarnation, Member, ReplicaName, Seen, StateError};
use k8s_openapi::api::coordination::v1::Lease;
use kube::core::ObjectMeta;

use super::Group;
use crate::cluster::Cluster;
use crate::labels::{self, Labels};
use crate::names;

/// The state of a group that begins with its first pod, which has whatever its volume holds. `above`: the newest state of a group of
/// this name whose volumes are gone, and the epoch in which its Service was last written; the new one is above both.
///
/// # Errors
/// The pod's name is no name of a replica.
pub fn new_state(cluster: &Cluster, group: &Group, above: Seen) -> Result<GroupState, StateError> {
    let first = ReplicaName::new(&names::pod(&cluster.name, group.number, 0))?;
    Ok(GroupState {
        epoch: above.epoch,
        revision: above.revision.saturating_add(1),
        master: None,
        in_sync: vec![Member::new(first, Incarnation::ANY)],
        successor: None,
    })
}

/// The labels of the Lease.
pub fn labels(cluster: &Cluster, group: &Group) -> Labels {
    group.labels(cluster)
}

/// The Lease with a state.
///
/// # Errors
/// The state cannot be written as JSON.
pub fn lease(cluster: &Cluster, group: &Group, state: &GroupState) -> Result<Lease, StateError> {
    Ok(Lease {
        metadata: ObjectMeta {
            annotations: Some(BTreeMap::from([(labels::GROUP_STATE.to_owned(), state.to_json()?)])),
            owner_references: None,
            ..cluster.metadata(names::group(&cluster.name, group.number), labels(cluster, group))
        },
        spec: None,
    })
}

/// The state on a Lease; `None` when it has none.
///
/// # Errors
/// The annotation is not a group state.
pub fn state(lease: &Lease) -> Result<Option<GroupState>, StateError> {
    let text = lease.metadata.annotations.as_ref().and_then(|all| all.get(labels::GROUP_STATE));
    text.map(|text| GroupState::from_json(text)).transpose()
}

/// The epoch in which the broker that leads wrote the selector of its Service; 0 for one that was never written.
pub fn epoch(service: &k8s_openapi::api::core::v1::Service) -> Epoch {
    let text = service.metadata.annotations.as_ref().and_then(|all| all.get(labels::EPOCH));
    Epoch(text.and_then(|text| text.parse().ok()).unwrap_or(0))
}
