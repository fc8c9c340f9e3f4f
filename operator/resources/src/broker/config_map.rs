//! Settings of the brokers of a group.

use std::collections::BTreeMap;

use bolide_api::broker_settings::{self, HOT, is_hot};
use bolide_api::common::Setting;
use bolide_api::yaml::{self, WriteError};
use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::{Value, json};

use super::Group;
use crate::cluster::Cluster;
use crate::{hash, names};

/// Key of the settings in the ConfigMap, and name of their file in the pod.
pub const FILE: &str = "broker.yaml";

/// Every setting of the group's brokers but those of [`lists`].
pub fn settings(cluster: &Cluster, group: &Group) -> BTreeMap<String, Setting> {
    let mut spec = cluster.spec.clone();
    // sizes that follow from the volume's must not change when the volume grows: the store is laid out by them
    spec.storage.size = group.claim_size.clone();
    // a group that still has more pods than wanted, or that had several, goes on as the replicated group that it is
    if group.replicated {
        spec.replicas = spec.replicas.max(2);
    }
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

/// The settings that are lists: the replicas with the addresses at which they reach each other, and what slaves register.
fn lists(cluster: &Cluster, group: &Group) -> BTreeMap<String, Value> {
    let mut lists = BTreeMap::new();
    if !group.replicated {
        return lists;
    }
    let service = names::group(&cluster.name, group.number);
    let replica = |ordinal| {
        let pod = names::pod(&cluster.name, group.number, ordinal);
        let address = format!("{pod}.{service}.{}.svc:{}", cluster.namespace, names::REPLICATION_PORT);
        json!({ "name": pod, "address": address })
    };
    lists.insert("replicas".to_owned(), (0..group.replicas).map(replica).collect());
    let slaves = usize::try_from(group.replicas.saturating_sub(1)).unwrap_or(usize::MAX);
    if slaves > 0 && group.slave_addresses.len() == slaves {
        lists.insert("slaveBrokerIPs".to_owned(), json!(group.slave_addresses));
    }
    lists
}

/// The settings with those of [`lists`], where `keep` says so.
fn file(cluster: &Cluster, group: &Group, keep: impl Fn(&str) -> bool) -> Result<String, WriteError> {
    let settings = settings(cluster, group).into_iter().map(|(key, value)| (key, json!(value)));
    let all: BTreeMap<String, Value> =
        settings.chain(lists(cluster, group)).filter(|(key, _)| keep(key)).collect();
    yaml::write(&all)
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
    Ok(hash::fnv1a(&file(cluster, group, |key| !is_hot(key))?))
}

/// The ConfigMap with the settings.
///
/// # Errors
/// The settings cannot be written as YAML.
pub fn config_map(cluster: &Cluster, group: &Group) -> Result<ConfigMap, WriteError> {
    Ok(ConfigMap {
        metadata: cluster.metadata(names::group(&cluster.name, group.number), group.labels(cluster)),
        data: Some(BTreeMap::from([(FILE.to_owned(), file(cluster, group, |_| true)?)])),
        ..ConfigMap::default()
    })
}
