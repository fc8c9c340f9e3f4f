//! Labels and annotations, by Kubernetes' recommended names where there is one.

use std::collections::BTreeMap;

/// Labels of an object.
pub type Labels = BTreeMap<String, String>;

/// The component of nameserver pods.
pub const NAMESERVER: &str = "nameserver";
/// The component of broker pods.
pub const BROKER: &str = "broker";
/// Label with the name of the set.
pub const CLUSTER: &str = "bolide.dev/cluster";
/// Label with the number of the broker group.
pub const GROUP: &str = "bolide.dev/group";
/// Label of a role Service: `master` or `slave-<id>`.
pub const ROLE: &str = "bolide.dev/role";
/// Annotation of a pod with the hash of the settings that need a new process.
pub const CONFIG_HASH: &str = "bolide.dev/config-hash";
/// Annotation of a BrokerSet: numbers of groups, separated by commas, that may go although messages are in them.
pub const DISCARD_GROUPS: &str = "bolide.dev/discard-groups";
/// Annotation of a group's Lease with the group state: who leads and who may.
pub const GROUP_STATE: &str = "bolide.dev/group-state";
/// Annotation of a role Service with the epoch in which its selector was written.
pub const EPOCH: &str = "bolide.dev/epoch";
/// Annotation of a claim whose group has, or had, a group state: it is never made anew while such a claim is there.
pub const REPLICATED: &str = "bolide.dev/replicated";
/// Label with the component.
pub const COMPONENT: &str = "app.kubernetes.io/component";
/// Label that a StatefulSet's controller gives each pod.
pub const POD_NAME: &str = "statefulset.kubernetes.io/pod-name";

/// Labels of a component of a set.
pub fn of(cluster: &str, component: &str) -> Labels {
    let mut labels = selector(cluster, component);
    labels.insert("app.kubernetes.io/managed-by".to_owned(), "bolide-operator".to_owned());
    labels
}

/// The labels that select the pods of a component; they never change.
pub fn selector(cluster: &str, component: &str) -> Labels {
    [("app.kubernetes.io/name", "bolide"), (CLUSTER, cluster), (COMPONENT, component)]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}
