//! Settings of the nameservers.

use std::collections::BTreeMap;

use bolide_api::yaml::{self, WriteError};
use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::json;

use crate::cluster::Cluster;
use crate::names;

/// Key of the settings in the ConfigMap, and name of their file in the pod.
pub const FILE: &str = "nameserver.yaml";

/// The settings as text.
///
/// # Errors
/// The settings cannot be written as YAML.
pub fn text() -> Result<String, WriteError> {
    yaml::write(&json!({
        "adminPort": names::ADMIN_PORT,
        "kvConfigPath": "/data/kvConfig.json",
        "listenPort": names::NAMESERVER_PORT,
        // routes tell clients the queues of ordered topics
        "orderMessageEnable": true,
    }))
}

/// The ConfigMap with the settings.
///
/// # Errors
/// The settings cannot be written as YAML.
pub fn config_map(cluster: &Cluster) -> Result<ConfigMap, WriteError> {
    Ok(ConfigMap {
        metadata: cluster.metadata(names::nameserver(&cluster.name), cluster.nameserver_labels()),
        data: Some(BTreeMap::from([(FILE.to_owned(), text()?)])),
        ..ConfigMap::default()
    })
}
