//! Which pod is replaced next when the wanted pods differ from the running ones: at most one at a time, and only while every
//! other one is well. Pure.

use bolide_resources::{Cluster, Group, names};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

use super::fetch::{Found, group_of, is_ready};

/// The label with which a StatefulSet's controller marks the template that a pod was made from.
const REVISION: &str = "controller-revision-hash";

/// The next step of a rolling change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Every pod is as wanted.
    Done,
    /// Some pod is out of date, but now is not the time.
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
}

/// Decides from what was found. `found.stateful_sets` holds the StatefulSets as just applied.
pub(crate) fn next(cluster: &Cluster, groups: &[Group], found: &Found) -> Next {
    if cluster.spec.stopped {
        return Next::Done;
    }
    let mut stale: Vec<(&Pod, u32, u32)> = Vec::new();
    for group in groups {
        let Some(set) = found.stateful_sets.get(&group.number) else { continue };
        if !is_observed(set) {
            return Next::Waits(format!("{} has just changed", names::group(&cluster.name, group.number)));
        }
        let revision = set.status.as_ref().and_then(|status| status.update_revision.as_deref());
        let outdated = |pod: &&Pod| {
            let label = pod.labels().get(REVISION).map(String::as_str);
            pod.metadata.deletion_timestamp.is_none() && revision.is_some() && label != revision
        };
        stale.extend(
            found.pods_of(group.number).filter(outdated).map(|pod| (pod, group.number, ordinal(pod))),
        );
    }
    // one that does not work costs nothing to replace; then slaves; then masters, group by group
    stale.sort_by_key(|(pod, group, ordinal)| {
        (is_ready(pod), *ordinal == 0, *group, std::cmp::Reverse(*ordinal))
    });
    let Some((first, _, _)) = stale.first() else { return Next::Done };
    let wanted = usize::try_from(cluster.spec.replicas).unwrap_or(usize::MAX).saturating_mul(groups.len());
    let ready = found.pods.iter().filter(|pod| group_of(*pod).is_some() && is_ready(pod)).count();
    let needed = if is_ready(first) { wanted } else { 0 };
    if ready < needed {
        return Next::Waits(format!(
            "{} pods are out of date; waiting until all {wanted} are ready ({ready} now)",
            stale.len()
        ));
    }
    if found.pods.iter().any(|pod| pod.metadata.deletion_timestamp.is_some()) {
        return Next::Waits(format!("{} pods are out of date; one is being replaced", stale.len()));
    }
    Next::Replace {
        pod: first.name_any(),
        uid: first.uid().unwrap_or_default(),
        why: format!("its settings or image changed; {} to go", stale.len() - 1),
    }
}

/// Whether the StatefulSet's controller has seen the newest template.
fn is_observed(set: &StatefulSet) -> bool {
    let seen = set.status.as_ref().and_then(|status| status.observed_generation);
    set.metadata.generation.is_none_or(|generation| seen.is_some_and(|seen| seen >= generation))
}

fn ordinal(pod: &Pod) -> u32 {
    pod.name_any().rsplit('-').next().and_then(|number| number.parse().ok()).unwrap_or(u32::MAX)
}
