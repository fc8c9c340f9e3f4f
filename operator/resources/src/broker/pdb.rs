//! At most one broker of a group is taken away at a time by drains.

use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::Group;
use crate::cluster::Cluster;
use crate::names;

/// The disruption budget of a group.
pub fn disruption_budget(cluster: &Cluster, group: &Group) -> PodDisruptionBudget {
    PodDisruptionBudget {
        metadata: cluster.metadata(names::group(&cluster.name, group.number), group.labels(cluster)),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(1)),
            selector: Some(LabelSelector {
                match_labels: Some(group.selector(&cluster.name)),
                match_expressions: None,
            }),
            min_available: None,
            unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_owned()),
        }),
        status: None,
    }
}
