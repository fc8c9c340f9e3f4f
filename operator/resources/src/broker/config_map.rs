//! Settings of the brokers of a group.

use std::collections::BTreeMap;

use bolide_api::broker_settings::{self, HOT, is_hot};
use bolide_api::common::Setting;
use bolide_api::yaml::{self, WriteError};
use k8s_openapi::api::core::v1::ConfigMap;

use super::Group;
use crate::cluster::Cluster;
use crate::{hash, names};

/// Key of the settings in the ConfigMap, and name of their file in the pod.
pub const FILE: &str = "broker.yaml";

/// Every setting of the group's brokers.
pub fn settings(cluster: &Cluster, group: &Group) -> BTreeMap<String, Setting> {
    let mut spec = cluster.spec.clone();
    // sizes that follow from the volume's must not change when the volume grows: the store is laid out by them
    spec.storage.size = group.claim_size.clone();
    let mut settings = broker_settings::broker_settings(&spec);
    // stated in any case, so that a group that was leaving and is wanted again takes messages again
    let permission = settings.entry("brokerPermission".to_owned()).or_insert(Setting::Int(6));
    if group.draining {
        *permission = Setting::Int(4);
    }
    let port = |port: u16| Setting::Int(i64::from(port));
    let identity = [
        ("adminPort", port(names::ADMIN_PORT)),
        ("brokerClusterName", cluster.name.as_str().into()),
        ("brokerName", names::group(&cluster.name, group.number).as_str().into()),
        ("listenPort", port(names::BROKER_PORT)),
        (
            "namesrvAddr",
            format!("{}:{}", names::nameserver_pods(&cluster.name), names::NAMESERVER_PORT).as_str().into(),
        ),
        ("storePathRootDir", "/data/store".into()),
    ];
    settings.extend(identity.map(|(key, value)| (key.to_owned(), value)));
    if let Some(address) = &group.address {
        settings.insert("brokerIP1".to_owned(), address.as_str().into());
    }
    settings
}

/// The settings that a running broker takes over when it is told: all of them, since one that was taken out of the spec is
/// in force until the broker is told its default.
pub fn hot_settings(cluster: &Cluster, group: &Group) -> BTreeMap<String, Setting> {
    let mut hot: BTreeMap<_, _> =
        HOT.iter().map(|(key, default)| ((*key).to_owned(), default.clone())).collect();
    hot.extend(settings(cluster, group).into_iter().filter(|(key, _)| is_hot(key)));
    hot
}

/// A hash of the settings that need a new process.
///
/// # Errors
/// The settings cannot be written as YAML.
pub fn restart_hash(cluster: &Cluster, group: &Group) -> Result<String, WriteError> {
    let cold: BTreeMap<_, _> = settings(cluster, group).into_iter().filter(|(key, _)| !is_hot(key)).collect();
    Ok(hash::fnv1a(&yaml::write(&cold)?))
}

/// The ConfigMap with the settings.
///
/// # Errors
/// The settings cannot be written as YAML.
pub fn config_map(cluster: &Cluster, group: &Group) -> Result<ConfigMap, WriteError> {
    Ok(ConfigMap {
        metadata: cluster.metadata(names::group(&cluster.name, group.number), group.labels(cluster)),
        data: Some(BTreeMap::from([(FILE.to_owned(), yaml::write(&settings(cluster, group))?)])),
        ..ConfigMap::default()
    })
}
