//! What the pods of nameservers and brokers have in common: restricted security, spread, probes.

use std::collections::BTreeMap;

use bolide_api::broker_set::ImagePullPolicy;
use bolide_api::common::{ResourceList, Resources};
use k8s_openapi::api::core::v1::{
    Capabilities, Container, ContainerPort, HTTPGetAction, LocalObjectReference, PodSecurityContext, PodSpec,
    Probe, ResourceRequirements, SeccompProfile, SecurityContext, Toleration, TopologySpreadConstraint,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::cluster::Cluster;
use crate::labels::Labels;
use crate::names::ADMIN_PORT;

/// User and group that all processes run as. Any number but 0 would do: nothing in the image belongs to a user.
pub(crate) const USER: i64 = 10001;

/// How long a process may take to start before it is ended: recovery of a large store counts in.
const START_WITHIN_SECONDS: i32 = 600;

/// A pod with one container, by the rules of the pod security level `restricted`.
pub(crate) fn spec(cluster: &Cluster, select: &Labels, container: Container) -> PodSpec {
    let pods = &cluster.spec.pods;
    PodSpec {
        automount_service_account_token: Some(false),
        containers: vec![container],
        enable_service_links: Some(false),
        image_pull_secrets: (!cluster.spec.image_pull_secrets.is_empty()).then(|| {
            cluster
                .spec
                .image_pull_secrets
                .iter()
                .map(|name| LocalObjectReference { name: name.clone() })
                .collect()
        }),
        node_selector: (!pods.node_selector.is_empty()).then(|| pods.node_selector.clone()),
        priority_class_name: pods.priority_class_name.clone(),
        security_context: Some(PodSecurityContext {
            fs_group: Some(USER),
            fs_group_change_policy: Some("OnRootMismatch".to_owned()),
            run_as_group: Some(USER),
            run_as_non_root: Some(true),
            run_as_user: Some(USER),
            seccomp_profile: Some(SeccompProfile {
                type_: "RuntimeDefault".to_owned(),
                localhost_profile: None,
            }),
            ..PodSecurityContext::default()
        }),
        tolerations: (!pods.tolerations.is_empty())
            .then(|| pods.tolerations.iter().map(toleration).collect()),
        topology_spread_constraints: Some(
            ["kubernetes.io/hostname", "topology.kubernetes.io/zone"].map(|key| spread(key, select)).to_vec(),
        ),
        ..PodSpec::default()
    }
}

/// A container of the set's image with probes on the admin port and nothing it could write to but its volumes.
pub(crate) fn container(
    cluster: &Cluster,
    name: &str,
    wanted: &Resources,
    ports: &[(&str, u16)],
) -> Container {
    let ports = ports.iter().chain(&[("admin", ADMIN_PORT)]);
    Container {
        name: name.to_owned(),
        image: Some(cluster.image.clone()),
        image_pull_policy: Some(
            match cluster.spec.image_pull_policy {
                ImagePullPolicy::Always => "Always",
                ImagePullPolicy::IfNotPresent => "IfNotPresent",
                ImagePullPolicy::Never => "Never",
            }
            .to_owned(),
        ),
        liveness_probe: Some(probe("/livez", 10, 6)),
        ports: Some(
            ports
                .map(|(name, port)| ContainerPort {
                    name: Some((*name).to_owned()),
                    container_port: i32::from(*port),
                    protocol: Some("TCP".to_owned()),
                    ..ContainerPort::default()
                })
                .collect(),
        ),
        readiness_probe: Some(probe("/readyz", 2, 3)),
        resources: resources(wanted),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            capabilities: Some(Capabilities { add: None, drop: Some(vec!["ALL".to_owned()]) }),
            read_only_root_filesystem: Some(true),
            ..SecurityContext::default()
        }),
        startup_probe: Some(probe("/livez", 1, START_WITHIN_SECONDS)),
        ..Container::default()
    }
}

fn probe(path: &str, period: i32, failures: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String("admin".to_owned()),
            scheme: Some("HTTP".to_owned()),
            ..HTTPGetAction::default()
        }),
        failure_threshold: Some(failures),
        period_seconds: Some(period),
        success_threshold: Some(1),
        timeout_seconds: Some(2),
        ..Probe::default()
    }
}

fn spread(key: &str, select: &Labels) -> TopologySpreadConstraint {
    TopologySpreadConstraint {
        label_selector: Some(LabelSelector { match_labels: Some(select.clone()), match_expressions: None }),
        max_skew: 1,
        topology_key: key.to_owned(),
        when_unsatisfiable: "ScheduleAnyway".to_owned(),
        ..TopologySpreadConstraint::default()
    }
}

fn toleration(of: &bolide_api::common::Toleration) -> Toleration {
    Toleration {
        key: of.key.clone(),
        operator: of.operator.clone(),
        value: of.value.clone(),
        effect: of.effect.clone(),
        toleration_seconds: of.toleration_seconds,
    }
}

fn resources(wanted: &Resources) -> Option<ResourceRequirements> {
    let list = |list: &Option<ResourceList>| {
        let list = list.as_ref()?;
        let mut amounts = BTreeMap::new();
        if let Some(cpu) = &list.cpu {
            amounts.insert("cpu".to_owned(), Quantity(cpu.clone()));
        }
        if let Some(memory) = &list.memory {
            amounts.insert("memory".to_owned(), Quantity(memory.0.clone()));
        }
        (!amounts.is_empty()).then_some(amounts)
    };
    let (requests, limits) = (list(&wanted.requests), list(&wanted.limits));
    (requests.is_some() || limits.is_some()).then(|| ResourceRequirements {
        requests,
        limits,
        ..ResourceRequirements::default()
    })
}
