//! The group states on their Leases: what is found, making one for a new group, and never again.
//!
//! A group state is as old as the volumes that were written under it. So it is made, or begun anew, only while no claim of the
//! group exists that may have been part of a replicated group; a lost one is said, and a person decides.

use std::collections::BTreeMap;

use bolide_replication::{GroupState, Seen};
use bolide_resources::broker::lease;
use bolide_resources::{Cluster, Group, labels, names};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use serde_json::json;

use super::fetch::{Found, ordinal};
use crate::error::Error;

/// What is known of a group's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Held {
    /// The group has one replica and never had more: it needs none.
    None,
    /// It has to be made: no volume knows of one.
    New {
        /// The new one is above this.
        above: Seen,
        /// The `resourceVersion` of a Lease that is there already.
        version: Option<String>,
    },
    /// It is there.
    Known(GroupState),
    /// It should be there and is not, as the sentence says.
    Lost(String),
}

impl Held {
    /// The state, where it is known.
    pub(crate) fn known(&self) -> Option<&GroupState> {
        match self {
            Self::Known(state) => Some(state),
            _ => None,
        }
    }

    /// The pod that leads.
    pub(crate) fn master(&self) -> Option<&str> {
        Some(self.known()?.master.as_ref()?.name.as_str())
    }

    /// Whether a pod holds everything that was acknowledged.
    pub(crate) fn has(&self, pod: &str) -> bool {
        self.in_sync().any(|member| member == pod)
    }

    /// The pods that hold everything that was acknowledged.
    pub(crate) fn in_sync(&self) -> impl Iterator<Item = &str> {
        self.known().into_iter().flat_map(|state| &state.in_sync).map(|member| member.name.as_str())
    }
}

/// By number of the group.
pub(crate) type States = BTreeMap<u32, Held>;

/// Whether the roles of a group follow a group state: it has several replicas, or had.
pub(crate) fn is_replicated(cluster: &Cluster, found: &Found, group: u32) -> bool {
    cluster.spec.replicas > 1 || found.leases.contains_key(&group) || had_replicas(found, group)
}

fn had_replicas(found: &Found, group: u32) -> bool {
    found.claims_of(group).any(|claim| is_marked(claim) || ordinal(&claim.name_any()) > 0)
}

fn is_marked(claim: &PersistentVolumeClaim) -> bool {
    claim.annotations().contains_key(labels::REPLICATED)
}

/// What was found of a group's state.
pub(crate) fn held(cluster: &Cluster, found: &Found, group: u32) -> Held {
    if !is_replicated(cluster, found, group) {
        return Held::None;
    }
    let name = names::group(&cluster.name, group);
    let service = found.services.get(&names::master(&cluster.name, group));
    let pointed = service.map(lease::epoch).unwrap_or_default();
    let lost = |what: &str| {
        Held::Lost(format!(
            "{what} though volumes of broker group {name} may hold messages: nobody can be made master. Look for the pod with the newest \
             messages, then `bolide group-state force`"
        ))
    };
    let stored = found.leases.get(&group);
    let state = match stored.map(lease::state).transpose() {
        Ok(state) => state.flatten(),
        Err(error) => return lost(&format!("the group state on Lease {name} cannot be read ({error})")),
    };
    let version = stored.and_then(ResourceExt::resource_version);
    match state {
        None if had_replicas(found, group) => lost(&format!("there is no group state on Lease {name},")),
        None => Held::New { above: Seen { epoch: pointed, revision: 0 }, version },
        // its volumes are gone: what it says was acknowledged is too
        Some(state) if state.master.is_some() && found.claims_of(group).next().is_none() => {
            let above = Seen { epoch: state.epoch.max(pointed), revision: state.revision };
            Held::New { above, version }
        }
        Some(state) => Held::Known(state),
    }
}

/// The number of pods that a group has now: those that are wanted, and those that cannot go yet, since one of them leads or too few
/// of the others are in sync.
pub(crate) fn replicas(cluster: &Cluster, found: &Found, group: u32, held: &Held) -> u32 {
    let wanted = cluster.spec.replicas;
    let set = found.stateful_sets.get(&group).and_then(|set| set.spec.as_ref());
    let running = set.and_then(|set| set.replicas).and_then(|number| u32::try_from(number).ok()).unwrap_or(0);
    let stays = |pod: &str| ordinal(pod) < wanted;
    match held {
        Held::None | Held::New { .. } => wanted,
        Held::Lost(_) => running.max(wanted),
        Held::Known(state) => {
            let staying = held.in_sync().filter(|pod| stays(pod)).count();
            let enough = usize::try_from(cluster.spec.min_in_sync.max(1)).unwrap_or(usize::MAX);
            // where nobody runs, any member may lead next
            let leads =
                running == 0 || state.master.as_ref().is_none_or(|master| stays(master.name.as_str()));
            if (leads && staying >= enough) || (running <= wanted && staying > 0) {
                return wanted;
            }
            let needed = held.in_sync().map(|pod| ordinal(pod).saturating_add(1)).max().unwrap_or(0);
            running.max(wanted).max(needed)
        }
    }
}

/// Makes the state of a new group. It is known then, unless somebody else was quicker: the next run sees it.
pub(crate) async fn make(
    client: &Client,
    cluster: &Cluster,
    group: &Group,
    held: Held,
) -> Result<Held, Error> {
    let Held::New { above, version } = &held else { return Ok(held) };
    let state = lease::new_state(cluster, group, *above)?;
    let wanted = lease::lease(cluster, group, &state)?;
    let name = wanted.name_any();
    let api: Api<Lease> = Api::namespaced(client.clone(), &cluster.namespace);
    let written = match version {
        None => api.create(&PostParams::default(), &wanted).await,
        Some(version) => {
            let change = json!({
                "metadata": { "resourceVersion": version, "annotations": wanted.annotations(), "labels": wanted.labels() },
                "spec": { "holderIdentity": null },
            });
            api.patch(&name, &PatchParams::default(), &Patch::Merge(&change)).await
        }
    };
    match written {
        Ok(_) => Ok(Held::Known(state)),
        Err(kube::Error::Api(answer)) if answer.code == 409 => Ok(held),
        Err(error) => Err(Error::api(format!("make Lease {name}"))(error)),
    }
}

/// Marks the claims of a group that has a state, and labels a Lease that a person has made, so that changes of it are seen.
pub(crate) async fn mark(
    client: &Client,
    cluster: &Cluster,
    found: &Found,
    group: &Group,
    held: &Held,
) -> Result<(), Error> {
    if held.known().is_none() {
        return Ok(());
    }
    let unlabelled = |lease: &&Lease| !lease.labels().contains_key(labels::CLUSTER);
    if let Some(name) = found.leases.get(&group.number).filter(unlabelled).map(ResourceExt::name_any) {
        let api: Api<Lease> = Api::namespaced(client.clone(), &cluster.namespace);
        let change = json!({ "metadata": { "labels": lease::labels(cluster, group) } });
        let written = api.patch(&name, &PatchParams::default(), &Patch::Merge(&change)).await;
        written.map_err(Error::api(format!("label Lease {name}")))?;
    }
    let api: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), &cluster.namespace);
    for claim in found.claims_of(group.number).filter(|claim| !is_marked(claim)) {
        let name = claim.name_any();
        let change = json!({ "metadata": { "annotations": { (labels::REPLICATED): "true" } } });
        match api.patch(&name, &PatchParams::default(), &Patch::Merge(&change)).await {
            Err(kube::Error::Api(answer)) if answer.code == 404 => {}
            other => {
                other.map_err(Error::api(format!("mark PersistentVolumeClaim {name}")))?;
            }
        }
    }
    Ok(())
}
