//! Names of all objects of a set, in one place. A set's name has at most 40 characters, so all of these fit into a label.

use bolide_api::broker_set::broker_name;

/// Port of the nameservers.
pub const NAMESERVER_PORT: u16 = 9876;
/// Port of the brokers.
pub const BROKER_PORT: u16 = 10911;
/// The second port of the brokers that older clients use for sends.
pub const BROKER_FAST_PORT: u16 = 10909;
/// Port for replication between the brokers of a group.
pub const REPLICATION_PORT: u16 = 10912;
/// Port for probes and metrics.
pub const ADMIN_PORT: u16 = 9090;

/// Deployment, Service, ServiceAccount and ConfigMap of the nameservers.
pub fn nameserver(cluster: &str) -> String {
    format!("{cluster}-nameserver")
}

/// Headless Service of the nameservers: one address for each pod.
pub fn nameserver_pods(cluster: &str) -> String {
    format!("{cluster}-nameserver-pods")
}

/// The name under which clients find the cluster.
pub fn client_address(cluster: &str) -> String {
    format!("{}:{NAMESERVER_PORT}", nameserver(cluster))
}

/// StatefulSet, headless Service, ConfigMap, ServiceAccount, Role, RoleBinding, PodDisruptionBudget and Lease of a group.
pub fn group(cluster: &str, group: u32) -> String {
    broker_name(cluster, group)
}

/// Service of the group's master.
pub fn master(cluster: &str, group: u32) -> String {
    format!("{}-master", broker_name(cluster, group))
}

/// Service of the group's slave with the given broker id, which is at least 1.
pub fn slave(cluster: &str, group: u32, id: u32) -> String {
    format!("{}-slave-{id}", broker_name(cluster, group))
}

/// Network policy of the brokers.
pub fn brokers(cluster: &str) -> String {
    format!("{cluster}-brokers")
}

/// Pod of a group.
pub fn pod(cluster: &str, group: u32, ordinal: u32) -> String {
    format!("{}-{ordinal}", broker_name(cluster, group))
}

/// Name of the volume of a broker in its pod.
pub const DATA: &str = "data";

/// Volume claim of a pod.
pub fn claim(pod: &str) -> String {
    format!("{DATA}-{pod}")
}
