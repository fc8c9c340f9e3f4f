//! The pods of a group, each with its own volume.
//!
//! Pods are replaced by the operator, not by the StatefulSet's controller (`OnDelete`): only the operator knows when the
//! next one may go. Claims outlive pods and, unless the spec says so, the set.

use std::collections::BTreeMap;

use bolide_api::broker_set::ClaimRetention;
use bolide_api::yaml::WriteError;
use k8s_openapi::api::apps::v1::{
    StatefulSet, StatefulSetPersistentVolumeClaimRetentionPolicy, StatefulSetSpec, StatefulSetUpdateStrategy,
};
use k8s_openapi::api::core::v1::{
    ConfigMapVolumeSource, EnvVar, EnvVarSource, ObjectFieldSelector, PersistentVolumeClaim,
    PersistentVolumeClaimSpec, PodTemplateSpec, Volume, VolumeMount, VolumeResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::ObjectMeta;

use super::{Group, config_map};
use crate::cluster::Cluster;
use crate::{labels, names, pod};

/// How long a broker may take to write what it holds before it is killed.
const STOP_WITHIN_SECONDS: i64 = 120;

/// The StatefulSet of a group.
///
/// # Errors
/// The settings cannot be written as YAML.
pub fn stateful_set(cluster: &Cluster, group: &Group) -> Result<StatefulSet, WriteError> {
    let name = names::group(&cluster.name, group.number);
    let select = group.selector(&cluster.name);
    let mut annotations = cluster.spec.pods.annotations.clone();
    annotations.insert(labels::CONFIG_HASH.to_owned(), config_map::restart_hash(cluster, group)?);
    let replicas = if cluster.spec.stopped { 0 } else { group.replicas };
    let deleted = match cluster.spec.storage.claim_retention {
        ClaimRetention::Retain => "Retain",
        ClaimRetention::Delete => "Delete",
    };
    Ok(StatefulSet {
        metadata: cluster.metadata(name.clone(), group.labels(cluster)),
        spec: Some(StatefulSetSpec {
            persistent_volume_claim_retention_policy: Some(StatefulSetPersistentVolumeClaimRetentionPolicy {
                when_deleted: Some(deleted.to_owned()),
                // a stopped set is one with no replicas: its data stays in any case
                when_scaled: Some("Retain".to_owned()),
            }),
            pod_management_policy: Some("Parallel".to_owned()),
            replicas: Some(i32::try_from(replicas).unwrap_or(i32::MAX)),
            selector: LabelSelector { match_labels: Some(select), match_expressions: None },
            service_name: Some(name),
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta {
                    labels: Some(cluster.pod_labels(group.labels(cluster))),
                    annotations: Some(annotations),
                    ..ObjectMeta::default()
                }),
                spec: Some(pod_spec(cluster, group)),
            },
            update_strategy: Some(StatefulSetUpdateStrategy {
                type_: Some("OnDelete".to_owned()),
                rolling_update: None,
            }),
            volume_claim_templates: Some(vec![claim(cluster, group)]),
            ..StatefulSetSpec::default()
        }),
        status: None,
    })
}

fn pod_spec(cluster: &Cluster, group: &Group) -> k8s_openapi::api::core::v1::PodSpec {
    let name = names::group(&cluster.name, group.number);
    let mut container = pod::container(
        cluster,
        labels::BROKER,
        &cluster.spec.resources,
        &[
            ("remoting", names::BROKER_PORT),
            ("remoting-fast", names::BROKER_FAST_PORT),
            ("replication", names::REPLICATION_PORT),
        ],
    );
    let mut args = [
        "broker",
        "--log-json",
        "--config",
        &format!("/etc/bolide/{}", config_map::FILE),
        "--group-service",
        &names::master(&cluster.name, group.number),
    ]
    .map(str::to_owned)
    .to_vec();
    if group.replicated {
        args.extend(["--group-lease".to_owned(), name.clone()]);
        for id in 1..group.replicas {
            args.extend(["--slave-service".to_owned(), names::slave(&cluster.name, group.number, id)]);
        }
    }
    container.args = Some(args);
    container.env =
        Some(vec![field("POD_NAME", "metadata.name"), field("POD_NAMESPACE", "metadata.namespace")]);
    container.volume_mounts = Some(vec![
        VolumeMount {
            name: "config".to_owned(),
            mount_path: "/etc/bolide".to_owned(),
            read_only: Some(true),
            ..VolumeMount::default()
        },
        VolumeMount {
            name: names::DATA.to_owned(),
            mount_path: "/data".to_owned(),
            ..VolumeMount::default()
        },
    ]);
    let mut spec = pod::spec(cluster, &group.selector(&cluster.name), container);
    spec.automount_service_account_token = Some(true);
    spec.service_account_name = Some(name.clone());
    spec.termination_grace_period_seconds = Some(STOP_WITHIN_SECONDS);
    spec.volumes = Some(vec![Volume {
        name: "config".to_owned(),
        config_map: Some(ConfigMapVolumeSource { name, ..ConfigMapVolumeSource::default() }),
        ..Volume::default()
    }]);
    spec
}

fn field(name: &str, path: &str) -> EnvVar {
    EnvVar {
        name: name.to_owned(),
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector {
                api_version: Some("v1".to_owned()),
                field_path: path.to_owned(),
            }),
            ..EnvVarSource::default()
        }),
        ..EnvVar::default()
    }
}

fn claim(cluster: &Cluster, group: &Group) -> PersistentVolumeClaim {
    PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(names::DATA.to_owned()),
            labels: Some(group.selector(&cluster.name)),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteOnce".to_owned()]),
            resources: Some(VolumeResourceRequirements {
                requests: Some(BTreeMap::from([(
                    "storage".to_owned(),
                    Quantity(group.claim_size.0.clone()),
                )])),
                limits: None,
            }),
            storage_class_name: cluster.spec.storage.storage_class_name.clone(),
            ..PersistentVolumeClaimSpec::default()
        }),
        status: None,
    }
}
