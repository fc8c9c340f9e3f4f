//! Who may reach the nameservers: anybody on their port, pods on the port for metrics.

use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::cluster::Cluster;
use crate::{labels, names};

/// The network policy of the nameservers.
pub fn network_policy(cluster: &Cluster) -> NetworkPolicy {
    NetworkPolicy {
        metadata: cluster.metadata(names::nameserver(&cluster.name), cluster.nameserver_labels()),
        spec: Some(NetworkPolicySpec {
            ingress: Some(vec![from_anywhere(&[names::NAMESERVER_PORT]), from_pods(names::ADMIN_PORT)]),
            pod_selector: Some(LabelSelector {
                match_labels: Some(labels::selector(&cluster.name, labels::NAMESERVER)),
                match_expressions: None,
            }),
            policy_types: Some(vec!["Ingress".to_owned()]),
            ..NetworkPolicySpec::default()
        }),
    }
}

/// A rule that lets everybody in on the ports of the protocol.
pub(crate) fn from_anywhere(ports: &[u16]) -> NetworkPolicyIngressRule {
    NetworkPolicyIngressRule { from: None, ports: Some(ports.iter().map(|port| tcp(*port)).collect()) }
}

/// A rule that lets pods of all namespaces in, and nobody from outside the cluster.
pub(crate) fn from_pods(port: u16) -> NetworkPolicyIngressRule {
    NetworkPolicyIngressRule {
        from: Some(vec![NetworkPolicyPeer {
            namespace_selector: Some(LabelSelector::default()),
            ..NetworkPolicyPeer::default()
        }]),
        ports: Some(vec![tcp(port)]),
    }
}

pub(crate) fn tcp(port: u16) -> NetworkPolicyPort {
    NetworkPolicyPort {
        end_port: None,
        port: Some(IntOrString::Int(i32::from(port))),
        protocol: Some("TCP".to_owned()),
    }
}
