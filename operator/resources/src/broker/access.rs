//! What the brokers of a group may do in Kubernetes: read and point the Services of their roles, read and set the group state, and
//! nothing else.

use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::{PolicyRule, Role, RoleBinding, RoleRef, Subject};

use super::Group;
use crate::cluster::Cluster;
use crate::names;

/// The account of the group's pods.
pub fn service_account(cluster: &Cluster, group: &Group) -> ServiceAccount {
    ServiceAccount {
        metadata: cluster.metadata(names::group(&cluster.name, group.number), group.labels(cluster)),
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    }
}

/// The group's rights, by the names of exactly its own objects.
pub fn role(cluster: &Cluster, group: &Group) -> Role {
    let rule = |api: &str, resource: &str, names: Vec<String>, verbs: &[&str]| PolicyRule {
        api_groups: Some(vec![api.to_owned()]),
        resources: Some(vec![resource.to_owned()]),
        resource_names: Some(names),
        verbs: verbs.iter().map(|verb| (*verb).to_owned()).collect(),
        ..PolicyRule::default()
    };
    let services = std::iter::once(names::master(&cluster.name, group.number))
        .chain((1..group.replicas).map(|id| names::slave(&cluster.name, group.number, id)))
        .collect();
    let mut rules = vec![rule("", "services", services, &["get", "update"])];
    if group.replicated {
        let lease = vec![names::group(&cluster.name, group.number)];
        rules.push(rule("coordination.k8s.io", "leases", lease, &["get", "patch"]));
    }
    Role {
        metadata: cluster.metadata(names::group(&cluster.name, group.number), group.labels(cluster)),
        rules: Some(rules),
    }
}

/// Gives the rights to the account.
pub fn role_binding(cluster: &Cluster, group: &Group) -> RoleBinding {
    let name = names::group(&cluster.name, group.number);
    RoleBinding {
        metadata: cluster.metadata(name.clone(), group.labels(cluster)),
        role_ref: RoleRef {
            api_group: "rbac.authorization.k8s.io".to_owned(),
            kind: "Role".to_owned(),
            name: name.clone(),
        },
        subjects: Some(vec![Subject {
            kind: "ServiceAccount".to_owned(),
            name,
            namespace: Some(cluster.namespace.clone()),
            ..Subject::default()
        }]),
    }
}
