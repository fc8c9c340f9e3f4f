//! The nameserver pods. They share nothing and keep nothing that matters: an `emptyDir` is enough.

use std::collections::BTreeMap;

use bolide_api::yaml::WriteError;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment};
use k8s_openapi::api::core::v1::{
    ConfigMapVolumeSource, EmptyDirVolumeSource, PodTemplateSpec, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::core::ObjectMeta;

use crate::cluster::Cluster;
use crate::nameserver::config_map;
use crate::{hash, labels, names, pod};

/// Within this time every broker has found a new nameserver and registered with it; before that clients are not sent to it.
const LEARNS_WITHIN_SECONDS: i32 = 4;

/// The Deployment: a new pod is ready before an old one goes.
///
/// # Errors
/// The settings cannot be written as YAML.
pub fn deployment(cluster: &Cluster) -> Result<Deployment, WriteError> {
    let select = labels::selector(&cluster.name, labels::NAMESERVER);
    let wanted = &cluster.spec.nameservers;
    let mut container = pod::container(
        cluster,
        labels::NAMESERVER,
        &wanted.resources,
        &[("remoting", names::NAMESERVER_PORT)],
    );
    container.args = Some(
        ["nameserver", "--log-json", "--config", &format!("/etc/bolide/{}", config_map::FILE)]
            .map(str::to_owned)
            .to_vec(),
    );
    if let Some(probe) = container.readiness_probe.as_mut() {
        probe.initial_delay_seconds = Some(LEARNS_WITHIN_SECONDS);
    }
    container.volume_mounts = Some(vec![
        VolumeMount {
            name: "config".to_owned(),
            mount_path: "/etc/bolide".to_owned(),
            read_only: Some(true),
            ..VolumeMount::default()
        },
        VolumeMount { name: "data".to_owned(), mount_path: "/data".to_owned(), ..VolumeMount::default() },
    ]);
    let mut spec = pod::spec(cluster, &select, container);
    spec.termination_grace_period_seconds = Some(30);
    spec.volumes = Some(vec![
        Volume {
            name: "config".to_owned(),
            config_map: Some(ConfigMapVolumeSource {
                name: names::nameserver(&cluster.name),
                ..ConfigMapVolumeSource::default()
            }),
            ..Volume::default()
        },
        Volume {
            name: "data".to_owned(),
            empty_dir: Some(EmptyDirVolumeSource {
                size_limit: Some(Quantity("64Mi".to_owned())),
                ..EmptyDirVolumeSource::default()
            }),
            ..Volume::default()
        },
    ]);
    let mut annotations = cluster.spec.pods.annotations.clone();
    annotations.extend(BTreeMap::from([(labels::CONFIG_HASH.to_owned(), hash::fnv1a(&config_map::text()?))]));
    let replicas = if cluster.spec.stopped { 0 } else { wanted.replicas };
    Ok(Deployment {
        metadata: cluster.metadata(names::nameserver(&cluster.name), cluster.nameserver_labels()),
        spec: Some(DeploymentSpec {
            replicas: Some(i32::try_from(replicas).unwrap_or(i32::MAX)),
            selector: LabelSelector { match_labels: Some(select), match_expressions: None },
            strategy: Some(DeploymentStrategy {
                type_: Some("RollingUpdate".to_owned()),
                rolling_update: Some(RollingUpdateDeployment {
                    max_surge: Some(IntOrString::Int(1)),
                    max_unavailable: Some(IntOrString::Int(0)),
                }),
            }),
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta {
                    labels: Some(cluster.pod_labels(cluster.nameserver_labels())),
                    annotations: Some(annotations),
                    ..ObjectMeta::default()
                }),
                spec: Some(spec),
            },
            ..DeploymentSpec::default()
        }),
        status: None,
    })
}
