//! The status of a set, from what was found and done. Pure but for the clock.

use std::collections::BTreeMap;

use bolide_api::broker_set::{BrokerGroupStatus, BrokerReplicaStatus};
use bolide_api::status::{Condition, READY, set_condition};
use bolide_api::{BrokerSet, BrokerSetStatus};
use bolide_resources::{Cluster, Group, labels, names};

use super::fetch::{Found, is_ready};
use super::group_state::{Held, States};
use super::joining::{self, Joining};
use super::leaving::Leaving;
use super::observe::{self, Seen};
use super::rollout::Next;
use super::volumes::Volumes;
use crate::context::Context;

/// Says whether a change is under way.
const PROGRESSING: &str = "Progressing";
/// Says whether volumes have the wanted size; only there once it has been in question.
const STORAGE_RESIZED: &str = "StorageResized";

/// Says whether running brokers took the settings that need no restart; only there once one did not.
const SETTINGS_APPLIED: &str = "SettingsApplied";

/// Says whether every replica holds every acknowledged message; only of sets with replicas.
const IN_SYNC: &str = "InSync";

/// What was found.
#[derive(Clone, Copy)]
pub(crate) struct Facts<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) found: &'a Found,
    pub(crate) groups: &'a [Group],
    pub(crate) states: &'a States,
    pub(crate) seen: &'a Seen,
}

/// Everything that the status is made from.
pub(crate) struct View<'a> {
    pub(crate) facts: Facts<'a>,
    pub(crate) joining: &'a BTreeMap<u32, Joining>,
    pub(crate) leaving: &'a BTreeMap<u32, Leaving>,
    pub(crate) next: &'a Next,
    pub(crate) volumes: &'a Volumes,
    /// What a running broker said to its settings, if it refused them.
    pub(crate) refused: Option<&'a str>,
}

/// The status of a set whose spec cannot be: what was known stays, but it is not ready.
pub(crate) fn invalid<B>(ctx: &Context<B>, set: &BrokerSet, sentence: &str) -> BrokerSetStatus {
    let mut status = set.status.clone().unwrap_or_default();
    let generation = set.metadata.generation;
    status.observed_generation = generation;
    set_condition(&mut status.conditions, ctx.condition(READY, false, "Invalid", sentence, generation));
    set_condition(&mut status.conditions, ctx.condition(PROGRESSING, false, "Invalid", sentence, generation));
    status
}

/// The status of a set that the operator does not touch for now.
pub(crate) fn paused<B>(ctx: &Context<B>, set: &BrokerSet, facts: Facts<'_>) -> BrokerSetStatus {
    let mut status = facts.status(set, &joining::joined(set), &BTreeMap::new());
    let generation = set.metadata.generation;
    let message = "spec.paused is true: the operator changes nothing";
    set_condition(&mut status.conditions, ctx.condition(PROGRESSING, false, "Paused", message, generation));
    if let Some(in_sync) = facts.in_sync(ctx, generation) {
        set_condition(&mut status.conditions, in_sync);
    }
    let (ready, _, sentence) = facts.readiness();
    let sentence = format!("paused; {sentence}");
    set_condition(&mut status.conditions, ctx.condition(READY, ready, "Paused", sentence, generation));
    status
}

/// The status after a run, and whether nothing is left to do.
pub(crate) fn build<B>(ctx: &Context<B>, set: &BrokerSet, view: View<'_>) -> (BrokerSetStatus, bool) {
    let facts = view.facts;
    let mut status = facts.status(set, view.joining, view.leaving);
    let generation = set.metadata.generation;
    if let Some(in_sync) = facts.in_sync(ctx, generation) {
        set_condition(&mut status.conditions, in_sync);
    }
    let (ready, reason, message) = facts.readiness();
    set_condition(&mut status.conditions, ctx.condition(READY, ready, reason, message.clone(), generation));
    let joins = view.joining.iter().find_map(|(number, joining)| match joining {
        Joining::Waits(why) => Some(format!("{} {why}", names::group(&facts.cluster.name, *number))),
        Joining::Joined => None,
    });
    let waits = view.leaving.iter().find_map(|(number, leaving)| match leaving {
        Leaving::Waits(why) => Some(format!("{} {why}", names::group(&facts.cluster.name, *number))),
        Leaving::Gone => None,
    });
    let progress = match (view.next, waits, view.volumes) {
        (Next::Replace { pod, why, .. }, _, _) => Some(("RollingOut", format!("replacing {pod}: {why}"))),
        (Next::HandOver { from, to, .. }, _, _) => {
            Some(("RollingOut", format!("{from} hands over to {to}, so that its pod can go")))
        }
        (Next::Waits(why), _, _) => Some(("RollingOut", why.clone())),
        (Next::Done, _, _) if ready && joins.is_some() => Some(("GroupJoining", joins.unwrap_or_default())),
        (Next::Done, Some(why), _) => Some(("GroupLeaving", why)),
        (Next::Done, None, Volumes::Growing(what)) => Some(("Expanding", what.clone())),
        (Next::Done, None, _) if !ready && !facts.cluster.spec.stopped => Some((reason, message)),
        (Next::Done, None, _) => None,
    };
    let condition = match &progress {
        Some((reason, message)) => ctx.condition(PROGRESSING, true, reason, message.clone(), generation),
        None => ctx.condition(PROGRESSING, false, "Settled", "everything is as the spec asks", generation),
    };
    set_condition(&mut status.conditions, condition);
    let wanted = &facts.cluster.spec.storage.size;
    // groups keep the size that they were made with in their claim template: it tells that volumes have grown since
    let known = bolide_api::status::condition(&status.conditions, STORAGE_RESIZED).is_some()
        || facts.groups.iter().any(|group| group.claim_size != *wanted);
    let resized = match view.volumes {
        Volumes::AsWanted if !known => None,
        Volumes::AsWanted => {
            Some(ctx.condition(STORAGE_RESIZED, true, "AsWanted", "volumes have the wanted size", generation))
        }
        Volumes::Growing(what) => {
            Some(ctx.condition(STORAGE_RESIZED, false, "Expanding", what.clone(), generation))
        }
        Volumes::Refused { reason, message } => {
            Some(ctx.condition(STORAGE_RESIZED, false, reason, message.clone(), generation))
        }
    };
    if let Some(resized) = resized {
        set_condition(&mut status.conditions, resized);
    }
    let settings = match view.refused {
        Some(why) => Some(ctx.condition(SETTINGS_APPLIED, false, "Refused", why, generation)),
        None => bolide_api::status::condition(&status.conditions, SETTINGS_APPLIED).map(|_| {
            ctx.condition(
                SETTINGS_APPLIED,
                true,
                "Applied",
                "brokers run with the wanted settings",
                generation,
            )
        }),
    };
    if let Some(settings) = settings {
        set_condition(&mut status.conditions, settings);
    }
    let settled = progress.is_none() && (ready || facts.cluster.spec.stopped);
    (status, settled)
}

impl Facts<'_> {
    /// Whether clients can use the whole set, a word for why not, and a sentence.
    fn readiness(self) -> (bool, &'static str, String) {
        let (cluster, found) = (self.cluster, self.found);
        if cluster.spec.stopped {
            let sentence = "spec.stopped is true: no pod runs; data and addresses are kept";
            return (false, "Stopped", sentence.to_owned());
        }
        let (nameservers, wanted) = (nameservers_ready(found), cluster.spec.nameservers.replicas);
        if nameservers == 0 {
            return (false, "NameserversNotReady", format!("0 of {wanted} nameservers are ready"));
        }
        let waiting: Vec<String> = self
            .groups
            .iter()
            .filter(|group| !group.draining)
            .filter_map(|group| self.group_trouble(group))
            .collect();
        if !waiting.is_empty() {
            return (false, "BrokersNotReady", waiting.join("; "));
        }
        if nameservers < wanted {
            let sentence = format!("{nameservers} of {wanted} nameservers are ready");
            return (false, "NameserversNotReady", sentence);
        }
        let groups = cluster.spec.groups;
        (true, "Ready", format!("{groups} broker groups and {nameservers} nameservers serve"))
    }

    /// Why a group is not as it should be.
    fn group_trouble(self, group: &Group) -> Option<String> {
        let name = names::group(&self.cluster.name, group.number);
        if let Some(Held::Lost(why)) = self.states.get(&group.number) {
            return Some(why.clone());
        }
        let ready = ready_pods(self.found, group.number);
        if ready < group.replicas {
            let mut pods = self.found.pods_of(group.number).filter(|pod| !is_ready(pod));
            let why = pods.find_map(trouble).map(|why| format!(": {why}")).unwrap_or_default();
            return Some(format!("{name} has {ready} of {} pods ready{why}", group.replicas));
        }
        match self.seen.get(&group.number) {
            None => Some(format!("{name} does not answer at the address of its master")),
            Some(master) if !master.registered => {
                Some(format!("{name} has not registered with a nameserver yet"))
            }
            Some(_) => None,
        }
    }

    /// The condition that says whether every replica holds every acknowledged message.
    fn in_sync<B>(self, ctx: &Context<B>, generation: Option<i64>) -> Option<Condition> {
        let replicated = || self.groups.iter().filter(|group| group.replicated);
        replicated().next()?;
        let condition =
            |holds, reason, message: String| Some(ctx.condition(IN_SYNC, holds, reason, message, generation));
        let lost = self.states.values().find_map(|held| match held {
            Held::Lost(why) => Some(why.clone()),
            _ => None,
        });
        if let Some(why) = lost {
            return condition(false, "GroupStateLost", why);
        }
        let behind: Vec<String> = replicated().flat_map(|group| self.behind(group)).collect();
        if behind.is_empty() {
            let message = "every replica holds every acknowledged message";
            condition(true, "InSync", message.to_owned())
        } else {
            condition(false, "OutOfSync", format!("{} not in sync", behind.join(", ")))
        }
    }

    /// The replicas of a group that are not in sync.
    fn behind(self, group: &Group) -> Vec<String> {
        let replicas =
            (0..group.replicas).map(|ordinal| names::pod(&self.cluster.name, group.number, ordinal));
        let held = self.states.get(&group.number);
        replicas.filter(|pod| !held.is_some_and(|held| held.has(pod))).collect()
    }

    fn replicas(self, group: &Group) -> Vec<BrokerReplicaStatus> {
        let Some(held) = self.states.get(&group.number).filter(|_| group.replicated) else {
            return Vec::new();
        };
        let replicas =
            (0..group.replicas).map(|ordinal| names::pod(&self.cluster.name, group.number, ordinal));
        replicas
            .map(|pod| {
                let in_sync = held.has(&pod);
                let peer = self.seen.get(&group.number).and_then(|master| master.peer(&pod));
                // rounded, so that a status is not written for each byte; one in sync lacks what is on its way only
                let lag = peer.and_then(|peer| peer.lag_bytes).filter(|_| !in_sync);
                let lag_bytes = lag.and_then(u64::checked_next_power_of_two);
                BrokerReplicaStatus { pod, in_sync, lag_bytes }
            })
            .collect()
    }

    fn status(
        self,
        set: &BrokerSet,
        joining: &BTreeMap<u32, Joining>,
        leaving: &BTreeMap<u32, Leaving>,
    ) -> BrokerSetStatus {
        let (cluster, found) = (self.cluster, self.found);
        let old = set.status.as_ref();
        let staying = self.groups.iter().filter(|group| leaving.get(&group.number) != Some(&Leaving::Gone));
        let group_statuses: Vec<BrokerGroupStatus> = staying
            .map(|group| BrokerGroupStatus {
                name: names::group(&cluster.name, group.number),
                master: self.master(group.number),
                address: observe::address(group),
                epoch: self
                    .states
                    .get(&group.number)
                    .and_then(Held::known)
                    .map(|state| state.epoch.0)
                    .filter(|epoch| *epoch > 0),
                replicas: self.replicas(group),
                ready: ready_pods(found, group.number),
                joined: joining.get(&group.number).is_some_and(|joining| *joining == Joining::Joined),
                disk_percent: self.seen.get(&group.number).and_then(|master| master.disk_percent),
                progress: progress(joining, leaving, group.number),
            })
            .collect();
        let wanted_brokers =
            if cluster.spec.stopped { 0 } else { cluster.spec.groups * cluster.spec.replicas };
        let wanted_nameservers = if cluster.spec.stopped { 0 } else { cluster.spec.nameservers.replicas };
        let ready: u32 = group_statuses.iter().map(|group| group.ready).sum();
        let masters: Vec<&str> =
            group_statuses.iter().filter_map(|group| group.master.as_deref()).take(4).collect();
        let fullest = group_statuses.iter().filter_map(|group| group.disk_percent).max();
        let replicas = || group_statuses.iter().flat_map(|group| &group.replicas);
        let in_sync = replicas().filter(|replica| replica.in_sync).count();
        BrokerSetStatus {
            observed_generation: set.metadata.generation,
            conditions: old.map(|old| old.conditions.clone()).unwrap_or_default(),
            address: Some(names::client_address(&cluster.name)),
            brokers: Some(format!("{ready}/{wanted_brokers}")),
            nameservers: Some(format!("{}/{wanted_nameservers}", nameservers_ready(found))),
            nameserver_pods: nameserver_pods(found),
            masters: (!masters.is_empty()).then(|| masters.join(",")),
            in_sync: replicas().next().map(|_| format!("{in_sync}/{}", replicas().count())),
            disk: fullest.map(|percent| format!("{percent}%")),
            groups: group_statuses,
        }
    }

    /// The pod that leads a group: by its group state, else the one that the broker in it has pointed the Service of the master to.
    fn master(self, group: u32) -> Option<String> {
        if let Some(master) = self.states.get(&group).and_then(Held::master) {
            return Some(master.to_owned());
        }
        let service = self.found.services.get(&names::master(&self.cluster.name, group))?;
        let selector = service.spec.as_ref()?.selector.as_ref()?;
        selector.get(labels::POD_NAME).cloned()
    }
}

/// Why a pod does not run, as the kubelet or the scheduler says.
fn trouble(pod: &k8s_openapi::api::core::v1::Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let waiting = status.container_statuses.iter().flatten().find_map(|container| {
        let waiting = container.state.as_ref()?.waiting.as_ref()?;
        let reason = waiting.reason.clone()?;
        (reason != "ContainerCreating" && reason != "PodInitializing")
            .then(|| format!("{reason} {}", waiting.message.clone().unwrap_or_default()).trim().to_owned())
    });
    let unscheduled = || {
        let conditions = status.conditions.iter().flatten();
        conditions
            .filter(|condition| condition.type_ == "PodScheduled" && condition.status == "False")
            .find_map(|condition| condition.message.clone())
    };
    waiting.or_else(unscheduled)
}

fn ready_pods(found: &Found, group: u32) -> u32 {
    u32::try_from(found.pods_of(group).filter(|pod| is_ready(pod)).count()).unwrap_or(u32::MAX)
}

/// What a group is doing besides serving.
fn progress(
    joining: &BTreeMap<u32, Joining>,
    leaving: &BTreeMap<u32, Leaving>,
    group: u32,
) -> Option<String> {
    match (leaving.get(&group), joining.get(&group)) {
        (Some(Leaving::Waits(why)), _) | (_, Some(Joining::Waits(why))) => Some(why.clone()),
        _ => None,
    }
}

/// Where nameservers that are ready are reached, each by itself.
fn nameserver_pods(found: &Found) -> Vec<String> {
    let ready = found.nameserver_pods.iter().filter(|pod| is_ready(pod));
    let addresses = ready.filter_map(|pod| pod.status.as_ref()?.pod_ip.as_deref());
    let mut addresses: Vec<String> =
        addresses.map(|address| format!("{address}:{}", names::NAMESERVER_PORT)).collect();
    addresses.sort();
    addresses
}

fn nameservers_ready(found: &Found) -> u32 {
    let status = found.nameservers.as_ref().and_then(|deployment| deployment.status.as_ref());
    status.and_then(|status| status.ready_replicas).and_then(|ready| u32::try_from(ready).ok()).unwrap_or(0)
}
