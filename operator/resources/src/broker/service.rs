//! How the brokers of a group are found: by pod, and by role.

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::Group;
use crate::cluster::Cluster;
use crate::{labels, names};

/// The headless Service that gives each pod its own name, ready or not.
pub fn headless_service(cluster: &Cluster, group: &Group) -> Service {
    let mut ports = ports();
    ports.push(port("replication", names::REPLICATION_PORT));
    Service {
        metadata: cluster.metadata(names::group(&cluster.name, group.number), group.labels(cluster)),
        spec: Some(ServiceSpec {
            cluster_ip: Some("None".to_owned()),
            ports: Some(ports),
            publish_not_ready_addresses: Some(true),
            selector: Some(group.selector(&cluster.name)),
            type_: Some("ClusterIP".to_owned()),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}

/// The Services of the roles: the master's, and one for each slave. They have no selector from us: the broker that holds
/// the role writes it, and server-side apply leaves alone what an applier does not mention. Each leads to one pod, ready or not: there
/// is no other that clients could go to instead, and one that has just been promoted must not wait for its next probe.
pub fn role_services(cluster: &Cluster, group: &Group) -> Vec<Service> {
    let master =
        role_service(cluster, group, names::master(&cluster.name, group.number), "master".to_owned());
    let slaves = (1..group.replicas).map(|id| {
        role_service(cluster, group, names::slave(&cluster.name, group.number, id), format!("slave-{id}"))
    });
    std::iter::once(master).chain(slaves).collect()
}

fn role_service(cluster: &Cluster, group: &Group, name: String, role: String) -> Service {
    let mut labels = group.labels(cluster);
    labels.insert(labels::ROLE.to_owned(), role);
    Service {
        metadata: cluster.metadata(name, labels),
        spec: Some(ServiceSpec {
            ports: Some(ports()),
            publish_not_ready_addresses: Some(true),
            type_: Some("ClusterIP".to_owned()),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}

fn ports() -> Vec<ServicePort> {
    vec![port("remoting", names::BROKER_PORT), port("remoting-fast", names::BROKER_FAST_PORT)]
}

fn port(name: &str, port: u16) -> ServicePort {
    ServicePort {
        name: Some(name.to_owned()),
        port: i32::from(port),
        protocol: Some("TCP".to_owned()),
        target_port: Some(IntOrString::Int(i32::from(port))),
        ..ServicePort::default()
    }
}
