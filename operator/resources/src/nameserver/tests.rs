use bolide_api::BrokerSetSpec;
use bolide_api::broker_set::Nameservers;
use bolide_api::common::{Quantity, ResourceList, Resources};
use insta::assert_yaml_snapshot;

use super::{config_map, deployment, network_policy, pdb, service};
use crate::cluster::tests::cluster;

#[test]
fn the_deployment_is_restricted_and_spread() {
    let resources = Resources {
        requests: Some(ResourceList { cpu: Some("100m".into()), memory: Some(Quantity("64Mi".into())) }),
        limits: None,
    };
    let spec =
        BrokerSetSpec { nameservers: Nameservers { replicas: 2, resources }, ..BrokerSetSpec::default() };
    assert_yaml_snapshot!(deployment::deployment(&cluster(spec)).expect("written"));
}

#[test]
fn a_stopped_set_has_no_nameserver() {
    let cluster = cluster(BrokerSetSpec { stopped: true, ..BrokerSetSpec::default() });
    let deployment = deployment::deployment(&cluster).expect("written");
    assert_eq!(deployment.spec.and_then(|spec| spec.replicas), Some(0));
}

#[test]
fn clients_have_one_name_and_brokers_see_every_pod() {
    let cluster = cluster(BrokerSetSpec::default());
    assert_yaml_snapshot!("service", service::service(&cluster));
    assert_yaml_snapshot!("headless_service", service::headless_service(&cluster));
}

#[test]
fn settings_are_in_a_config_map() {
    assert_yaml_snapshot!(config_map::config_map(&cluster(BrokerSetSpec::default())).expect("written"));
}

#[test]
fn drains_and_the_network() {
    let cluster = cluster(BrokerSetSpec::default());
    assert_yaml_snapshot!("pdb", pdb::disruption_budget(&cluster));
    assert_yaml_snapshot!("network_policy", network_policy::network_policy(&cluster));
}
