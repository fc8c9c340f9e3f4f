//! How nameservers are found: one name for clients, and one with every pod's address for brokers.

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::cluster::Cluster;
use crate::{labels, names};

/// The Service that clients take as NAMESRV_ADDR.
pub fn service(cluster: &Cluster) -> Service {
    Service {
        metadata: cluster.metadata(names::nameserver(&cluster.name), cluster.nameserver_labels()),
        spec: Some(ServiceSpec {
            ports: Some(vec![port()]),
            selector: Some(labels::selector(&cluster.name, labels::NAMESERVER)),
            type_: Some("ClusterIP".to_owned()),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}

/// The headless Service through which brokers find all nameservers, those included that are not ready yet.
pub fn headless_service(cluster: &Cluster) -> Service {
    Service {
        metadata: cluster.metadata(names::nameserver_pods(&cluster.name), cluster.nameserver_labels()),
        spec: Some(ServiceSpec {
            cluster_ip: Some("None".to_owned()),
            ports: Some(vec![port()]),
            publish_not_ready_addresses: Some(true),
            selector: Some(labels::selector(&cluster.name, labels::NAMESERVER)),
            type_: Some("ClusterIP".to_owned()),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}

fn port() -> ServicePort {
    ServicePort {
        name: Some("remoting".to_owned()),
        port: i32::from(names::NAMESERVER_PORT),
        protocol: Some("TCP".to_owned()),
        target_port: Some(IntOrString::String("remoting".to_owned())),
        ..ServicePort::default()
    }
}
