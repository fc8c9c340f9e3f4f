//! Who may reach the brokers: anybody on the protocol's ports, pods on the port for metrics, brokers of the same set on the
//! port for replication.

use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use crate::cluster::Cluster;
use crate::nameserver::network_policy::{from_anywhere, from_pods, tcp};
use crate::{labels, names};

/// The network policy of all brokers of a set.
pub fn network_policy(cluster: &Cluster) -> NetworkPolicy {
    let brokers = LabelSelector {
        match_labels: Some(labels::selector(&cluster.name, labels::BROKER)),
        match_expressions: None,
    };
    let replication = NetworkPolicyIngressRule {
        from: Some(vec![NetworkPolicyPeer {
            pod_selector: Some(brokers.clone()),
            ..NetworkPolicyPeer::default()
        }]),
        ports: Some(vec![tcp(names::REPLICATION_PORT)]),
    };
    NetworkPolicy {
        metadata: cluster.metadata(names::brokers(&cluster.name), cluster.broker_labels()),
        spec: Some(NetworkPolicySpec {
            ingress: Some(vec![
                from_anywhere(&[names::BROKER_PORT, names::BROKER_FAST_PORT]),
                from_pods(names::ADMIN_PORT),
                replication,
            ]),
            pod_selector: Some(brokers),
            policy_types: Some(vec!["Ingress".to_owned()]),
            ..NetworkPolicySpec::default()
        }),
    }
}
