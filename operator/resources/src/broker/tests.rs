use std::collections::BTreeMap;

use bolide_api::BrokerSetSpec;
use bolide_api::broker_set::{ClaimRetention, Flush, Pods};
use bolide_api::common::{Quantity, Toleration};
use insta::{assert_snapshot, assert_yaml_snapshot};

use bolide_replication::{Epoch, Seen};

use super::{Group, access, config_map, lease, network_policy, pdb, service, stateful_set};
use crate::cluster::tests::cluster;

fn group() -> Group {
    Group {
        number: 1,
        claim_size: Quantity("20Gi".into()),
        replicas: 1,
        replicated: false,
        address: Some("10.96.0.7".into()),
        slave_addresses: Vec::new(),
        draining: false,
    }
}

/// The same group with two replicas.
fn pair() -> Group {
    Group { replicas: 2, replicated: true, slave_addresses: vec!["10.96.0.8".into()], ..group() }
}

#[test]
fn the_stateful_set_is_restricted_and_keeps_its_claims() {
    assert_yaml_snapshot!(
        stateful_set::stateful_set(&cluster(BrokerSetSpec::default()), &group()).expect("written")
    );
}

#[test]
fn placement_goes_into_the_pod() {
    let spec = BrokerSetSpec {
        pods: Pods {
            labels: BTreeMap::from([("team".into(), "shop".into())]),
            node_selector: BTreeMap::from([("disk".into(), "fast".into())]),
            tolerations: vec![Toleration { key: Some("dedicated".into()), ..Toleration::default() }],
            priority_class_name: Some("high".into()),
            ..Pods::default()
        },
        image_pull_secrets: vec!["registry".into()],
        ..BrokerSetSpec::default()
    };
    let set = stateful_set::stateful_set(&cluster(spec), &group()).expect("written");
    let template = set.spec.expect("a spec").template;
    assert_yaml_snapshot!("placement_labels", template.metadata.and_then(|metadata| metadata.labels));
    let pod = template.spec.expect("a pod");
    assert_yaml_snapshot!(
        "placement",
        (pod.node_selector, pod.tolerations, pod.priority_class_name, pod.image_pull_secrets)
    );
}

#[test]
fn a_stopped_set_has_no_broker_and_keeps_its_claims_even_when_they_go_with_the_set() {
    let mut spec = BrokerSetSpec { stopped: true, ..BrokerSetSpec::default() };
    spec.storage.claim_retention = ClaimRetention::Delete;
    let set = stateful_set::stateful_set(&cluster(spec), &group()).expect("written").spec.expect("a spec");
    assert_eq!(set.replicas, Some(0));
    assert_yaml_snapshot!(set.persistent_volume_claim_retention_policy);
}

#[test]
fn role_services_have_no_selector() {
    let cluster = cluster(BrokerSetSpec { replicas: 2, ..BrokerSetSpec::default() });
    let services = service::role_services(&cluster, &pair());
    assert_eq!(services.len(), 2);
    assert!(services.iter().all(|service| service.spec.as_ref().is_some_and(|spec| spec.selector.is_none())));
    assert_yaml_snapshot!("master_service", services.first());
    assert_yaml_snapshot!("headless_service", service::headless_service(&cluster, &group()));
}

#[test]
fn a_group_may_touch_its_own_objects_only() {
    let cluster = cluster(BrokerSetSpec { replicas: 2, ..BrokerSetSpec::default() });
    assert_yaml_snapshot!("role", access::role(&cluster, &pair()).rules);
    assert_yaml_snapshot!("role_of_one_replica", access::role(&cluster, &group()).rules);
    assert_yaml_snapshot!("role_binding", access::role_binding(&cluster, &group()));
    assert_yaml_snapshot!("service_account", access::service_account(&cluster, &group()));
}

#[test]
fn settings_follow_the_spec() {
    let mut spec = BrokerSetSpec { flush: Flush::Sync, ..BrokerSetSpec::default() };
    spec.broker_config.insert("maxMessageSize".into(), 1_048_576.into());
    assert_yaml_snapshot!("config_map", config_map::config_map(&cluster(spec), &group()).expect("written"));
}

#[test]
fn replicas_know_each_other_and_the_addresses_of_their_roles() {
    let cluster = cluster(BrokerSetSpec { replicas: 2, min_in_sync: 2, ..BrokerSetSpec::default() });
    let set = stateful_set::stateful_set(&cluster, &pair()).expect("written").spec.expect("a spec");
    assert_eq!(set.replicas, Some(2));
    let container = set.template.spec.and_then(|pod| pod.containers.into_iter().next());
    assert_yaml_snapshot!("arguments_of_replicas", container.and_then(|container| container.args));
    let config = config_map::config_map(&cluster, &pair()).expect("written").data.expect("data");
    assert_snapshot!("settings_of_replicas", config.get(config_map::FILE).expect("a file"));
}

#[test]
fn a_group_that_had_several_replicas_remains_one_that_has_a_state() {
    let cluster = cluster(BrokerSetSpec::default());
    let left = Group { replicas: 1, slave_addresses: Vec::new(), ..pair() };
    let config = config_map::config_map(&cluster, &left).expect("written").data.expect("data");
    let text = config.get(config_map::FILE).expect("a file");
    assert!(text.contains("demo-broker-1-0.demo-broker-1.shop.svc:10912"), "{text}");
    assert!(!text.contains("demo-broker-1-1") && !text.contains("slaveBrokerIPs"), "{text}");
}

#[test]
fn a_group_state_begins_above_everything_seen_and_has_no_owner() {
    let cluster = cluster(BrokerSetSpec { replicas: 2, ..BrokerSetSpec::default() });
    let state = lease::new_state(&cluster, &pair(), Seen { epoch: Epoch(7), revision: 3 }).expect("a name");
    assert_eq!((state.epoch, state.revision), (Epoch(7), 4));
    let made = lease::lease(&cluster, &pair(), &state).expect("written");
    assert_yaml_snapshot!("lease", made);
    assert_eq!(lease::state(&made).expect("valid"), Some(state));
}

#[test]
fn a_hot_setting_changes_no_pod_and_a_cold_one_does() {
    let hash = |spec: BrokerSetSpec| config_map::restart_hash(&cluster(spec), &group()).expect("written");
    let plain = hash(BrokerSetSpec::default());
    let mut hot = BrokerSetSpec { auto_create_topics: true, ..BrokerSetSpec::default() };
    hot.broker_config.insert("maxMessageSize".into(), 1_048_576.into());
    assert_eq!(hash(hot), plain);
    assert_ne!(hash(BrokerSetSpec { flush: Flush::Sync, ..BrokerSetSpec::default() }), plain);
}

#[test]
fn a_growing_volume_changes_no_setting() {
    let mut spec = BrokerSetSpec::default();
    spec.storage.size = Quantity("500Gi".into());
    assert_eq!(
        config_map::settings(&cluster(spec), &group()),
        config_map::settings(&cluster(BrokerSetSpec::default()), &group())
    );
}

#[test]
fn a_group_on_its_way_out_takes_no_messages() {
    let draining = Group { draining: true, ..group() };
    let settings = config_map::hot_settings(&cluster(BrokerSetSpec::default()), &draining);
    assert_eq!(settings.get("brokerPermission"), Some(&4.into()));
}

#[test]
fn a_hot_setting_that_nobody_gives_is_told_with_its_default() {
    let mut spec = BrokerSetSpec::default();
    spec.broker_config.insert("maxMessageSize".into(), 1024.into());
    let told = |spec| config_map::hot_settings(&cluster(spec), &group()).get("maxMessageSize").cloned();
    assert_eq!(told(spec), Some(1024.into()));
    assert_eq!(told(BrokerSetSpec::default()), Some((4 << 20).into()));
}

#[test]
fn drains_and_the_network() {
    let cluster = cluster(BrokerSetSpec::default());
    assert_yaml_snapshot!("pdb", pdb::disruption_budget(&cluster, &group()));
    assert_yaml_snapshot!("network_policy", network_policy::network_policy(&cluster));
}
