//! The next step when the wanted pods differ from the running ones: at most one pod is away at a time, and only while every
//! other one is well and in sync; a master hands over before its pod goes. Pure: every step follows from what was found.

use std::cmp::Reverse;

use bolide_resources::{Cluster, Group, names};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

use super::fetch::{Found, group_of, is_ready, ordinal};
use super::group_state::{Held, States};
use super::observe::Seen;

/// The label with which a StatefulSet's controller marks the template that a pod was made from.
const REVISION: &str = "controller-revision-hash";

/// The next step of a rolling change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Every pod is as wanted.
    Done,
    /// Something is to be changed, but now is not the time.
    Waits(String),
    /// This pod is deleted, and its StatefulSet makes a new one.
    Replace {
        /// Its name.
        pod: String,
        /// Its uid.
        uid: String,
        /// Why, for people.
        why: String,
    },
    /// The master of a group hands over, so that its pod can go.
    HandOver {
        /// Number of the group.
        group: u32,
        /// The pod that leads.
        from: String,
        /// The pod that shall lead.
        to: String,
    },
}

/// What a step is decided from.
#[derive(Clone, Copy)]
pub(crate) struct Situation<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) groups: &'a [Group],
    /// The StatefulSets in it are as just applied.
    pub(crate) found: &'a Found,
    pub(crate) states: &'a States,
    pub(crate) seen: &'a Seen,
}

/// A pod that is not as wanted.
struct Stale<'a> {
    pod: &'a Pod,
    group: u32,
    leads: bool,
}

/// Decides on the next step.
pub(crate) fn next(now: Situation<'_>) -> Next {
    if now.cluster.spec.stopped {
        return Next::Done;
    }
    let mut stale: Vec<Stale<'_>> = Vec::new();
    for group in now.groups {
        let Some(set) = now.found.stateful_sets.get(&group.number) else { continue };
        if !is_observed(set) {
            return Next::Waits(format!(
                "{} has just changed",
                names::group(&now.cluster.name, group.number)
            ));
        }
        let revision = set.status.as_ref().and_then(|status| status.update_revision.as_deref());
        let outdated = |pod: &&Pod| {
            let label = pod.labels().get(REVISION).map(String::as_str);
            pod.metadata.deletion_timestamp.is_none() && revision.is_some() && label != revision
        };
        let pods = now.found.pods_of(group.number).filter(outdated);
        stale.extend(pods.map(|pod| Stale { pod, group: group.number, leads: now.leads(group.number, pod) }));
    }
    // one that does not work costs nothing to replace; then slaves; then masters, group by group
    stale.sort_by_key(|stale| {
        (is_ready(stale.pod), stale.leads, stale.group, Reverse(ordinal(&stale.pod.name_any())))
    });
    let too_many = now.groups.iter().find(|group| group.replicas > now.cluster.spec.replicas);
    let first = match (stale.first(), too_many) {
        (None, None) => return Next::Done,
        (first, _) => first,
    };
    let is_broken = first.is_some_and(|first| !is_ready(first.pod));
    let (wanted, ready) = now.pods();
    if !is_broken && ready < wanted {
        return Next::Waits(format!(
            "{} pods are out of date; waiting until all {wanted} are ready ({ready} now)",
            stale.len()
        ));
    }
    if now.found.pods.iter().any(|pod| pod.metadata.deletion_timestamp.is_some()) {
        return Next::Waits(format!("{} pods are out of date; one is being replaced", stale.len()));
    }
    if !is_broken && let Some(why) = now.out_of_sync() {
        return Next::Waits(why);
    }
    match (first, too_many) {
        (Some(first), _) if is_broken => replace(first, stale.len()),
        (_, Some(group)) => now.make_way(group),
        (Some(first), None) if first.leads && now.is_led(first.group) => {
            match now.successor(first.group, |pod| !stale.iter().any(|stale| stale.pod.name_any() == pod)) {
                Some(to) => Next::HandOver { group: first.group, from: first.pod.name_any(), to },
                None => replace(first, stale.len()),
            }
        }
        (Some(first), None) => replace(first, stale.len()),
        (None, None) => Next::Done,
    }
}

fn replace(stale: &Stale<'_>, count: usize) -> Next {
    Next::Replace {
        pod: stale.pod.name_any(),
        uid: stale.pod.uid().unwrap_or_default(),
        why: format!("its settings or image changed; {} to go", count.saturating_sub(1)),
    }
}

impl Situation<'_> {
    fn held(&self, group: u32) -> &Held {
        self.states.get(&group).unwrap_or(&Held::None)
    }

    /// Whether a replica leads the group by its group state.
    fn is_led(&self, group: u32) -> bool {
        self.held(group).master().is_some()
    }

    /// Whether the pod leads its group; the first one does where there is no group state.
    fn leads(&self, group: u32, pod: &Pod) -> bool {
        match self.held(group).master() {
            Some(master) => master == pod.name_any(),
            None => ordinal(&pod.name_any()) == 0,
        }
    }

    /// Whether the running master can have taken the pod in: one that was added since it started has to wait for its turn.
    fn is_taken_in(&self, pod: &Pod) -> bool {
        let (Some(group), name) = (group_of(pod), pod.name_any()) else { return false };
        match (self.held(group), self.seen.get(&group)) {
            (Held::None, _) | (_, None) => true,
            (_, Some(master)) if master.replicas.is_some() => master.knows(&name),
            // the master still runs as one without replicas
            _ => ordinal(&name) == 0,
        }
    }

    /// How many pods have to be ready, and how many of those are.
    fn pods(&self) -> (usize, usize) {
        let wanted: u32 = self.groups.iter().map(|group| group.replicas).sum();
        let (taken, others): (Vec<&Pod>, Vec<&Pod>) =
            self.found.pods.iter().partition(|pod| self.is_taken_in(pod));
        let ready = taken.iter().filter(|pod| is_ready(pod)).count();
        (usize::try_from(wanted).unwrap_or(usize::MAX).saturating_sub(others.len()), ready)
    }

    /// Why no pod that works may go away now, if so: messages have fewer copies than they shall have.
    fn out_of_sync(&self) -> Option<String> {
        self.groups.iter().find_map(|group| {
            let name = names::group(&self.cluster.name, group.number);
            let state = match self.held(group.number) {
                Held::None => return None,
                Held::New { .. } => return Some(format!("{name} has no group state yet")),
                Held::Lost(why) => return Some(why.clone()),
                held @ Held::Known(state) => {
                    state.master.as_ref()?;
                    let pods = self.found.pods_of(group.number).filter(|pod| self.is_taken_in(pod));
                    let behind = pods.map(ResourceExt::name_any).find(|pod| !held.has(pod));
                    if let Some(pod) = behind {
                        return Some(format!("waiting until {pod} is in sync"));
                    }
                    state
                }
            };
            let successor = state.successor.as_ref()?;
            Some(format!("{name} is being handed over to {}", successor.name))
        })
    }

    /// A replica that can lead the group next.
    fn successor(&self, group: u32, suits: impl Fn(&str) -> bool) -> Option<String> {
        let held = self.held(group);
        let pods = self.found.pods_of(group).filter(|pod| is_ready(pod)).map(ResourceExt::name_any);
        let others = pods.filter(|pod| held.has(pod) && held.master() != Some(pod) && suits(pod));
        others.min_by_key(|pod| ordinal(pod))
    }

    /// A pod is one too many, and leads, or is among the few that are in sync.
    fn make_way(&self, group: &Group) -> Next {
        let wanted = self.cluster.spec.replicas;
        let name = names::group(&self.cluster.name, group.number);
        let held = self.held(group.number);
        match held.master() {
            Some(master) if ordinal(master) >= wanted => {
                match self.successor(group.number, |pod| ordinal(pod) < wanted) {
                    Some(to) => Next::HandOver { group: group.number, from: master.to_owned(), to },
                    None => Next::Waits(format!(
                        "{name} keeps {} pods: {master} leads, and none of the {wanted} that stay is in sync",
                        group.replicas
                    )),
                }
            }
            _ => Next::Waits(format!(
                "{name} keeps {} pods until enough of the {wanted} that stay are in sync",
                group.replicas
            )),
        }
    }
}

/// Whether the StatefulSet's controller has seen the newest template.
fn is_observed(set: &StatefulSet) -> bool {
    let seen = set.status.as_ref().and_then(|status| status.observed_generation);
    set.metadata.generation.is_none_or(|generation| seen.is_some_and(|seen| seen >= generation))
}
