mod replicas;

use bolide_api::BrokerSetSpec;
use bolide_api::broker_set::ClaimRetention;
use bolide_api::common::Quantity;
use bolide_api::status::{ConditionStatus, condition};
use bolide_client::{ConsumedQueue, QueueStats};
use bolide_wire::body::topic::TopicConfig;
use serde_json::json;

use crate::test_bed::{SET, TestBed, stopped_after_each_write};

fn spec(groups: u32) -> BrokerSetSpec {
    BrokerSetSpec { groups, ..BrokerSetSpec::default() }
}

fn reason(bed: &TestBed, type_: &str) -> Option<(ConditionStatus, String)> {
    let status = bed.set().status.unwrap_or_default();
    condition(&status.conditions, type_).map(|condition| (condition.status, condition.reason.clone()))
}

fn address(bed: &TestBed, group: usize) -> String {
    bed.set()
        .status
        .and_then(|status| status.groups.get(group).and_then(|group| group.address.clone()))
        .expect("known")
}

const STATEFUL_SET_1: &str = "apis/apps/v1/namespaces/shop/statefulsets/demo-broker-1";

#[tokio::test]
async fn a_new_set_becomes_ready_and_says_so() {
    let mut bed = TestBed::new();
    bed.put_set(spec(2));
    bed.converge().await;
    assert_eq!(reason(&bed, "Ready"), Some((ConditionStatus::True, "Ready".into())));
    let status = bed.set().status.expect("a status");
    assert_eq!(status.brokers.as_deref(), Some("2/2"));
    assert_eq!(status.masters.as_deref(), Some("demo-broker-0-0,demo-broker-1-0"));
    assert_eq!(status.disk.as_deref(), Some("42%"));
    assert_eq!(status.address.as_deref(), Some("demo-nameserver:9876"));
}

#[tokio::test]
async fn stopping_after_any_write_of_a_new_set_ends_the_same() {
    let writes = stopped_after_each_write(&TestBed::new(), |bed| bed.put_set(spec(1))).await;
    assert!(writes > 12, "only {writes} writes were tried");
}

#[tokio::test]
async fn the_broker_registers_the_address_of_its_masters_service() {
    let mut bed = TestBed::new();
    bed.put_set(spec(1));
    bed.converge().await;
    let config = bed.api.object("api/v1/namespaces/shop/configmaps/demo-broker-0").expect("made");
    let text = config["data"]["broker.yaml"].as_str().expect("text").to_owned();
    let ip = address(&bed, 0);
    assert!(text.contains(&format!("brokerIP1: \"{}\"", ip.trim_end_matches(":10911"))), "{text}");
}

#[tokio::test]
async fn a_bad_spec_changes_nothing_and_is_named() {
    let mut bed = TestBed::new();
    bed.put_set(BrokerSetSpec { replicas: 6, ..spec(1) });
    bed.converge().await;
    assert_eq!(reason(&bed, "Ready"), Some((ConditionStatus::False, "Invalid".into())));
    assert_eq!(bed.api.paths(), [SET]);
}

#[tokio::test]
async fn a_cold_setting_replaces_the_pods_one_at_a_time() {
    let mut bed = TestBed::new();
    bed.put_set(spec(2));
    bed.converge().await;
    bed.put_set(BrokerSetSpec { flush: bolide_api::broker_set::Flush::Sync, ..spec(2) });
    let pods =
        |bed: &TestBed| bed.api.paths().iter().filter(|path| path.contains("/pods/demo-broker")).count();
    bed.round().await.expect("applied");
    assert_eq!(pods(&bed), 2, "the StatefulSets' controller has not seen the change yet");
    bed.api.settle();
    bed.round().await.expect("one is replaced");
    assert_eq!(pods(&bed), 1);
    assert_eq!(reason(&bed, "Progressing"), Some((ConditionStatus::True, "RollingOut".into())));
    bed.round().await.expect("nothing more while it is away");
    assert_eq!(pods(&bed), 1);
    bed.converge().await;
    assert_eq!(reason(&bed, "Progressing"), Some((ConditionStatus::False, "Settled".into())));
}

#[tokio::test]
async fn a_hot_setting_goes_to_the_running_broker_and_replaces_no_pod() {
    let mut bed = TestBed::new();
    bed.put_set(spec(1));
    bed.converge().await;
    let before = bed.api.object("api/v1/namespaces/shop/pods/demo-broker-0-0");
    bed.put_set(BrokerSetSpec { auto_create_topics: true, ..spec(1) });
    bed.converge().await;
    let states = bed.brokers.states();
    let held = states.get(&address(&bed, 0)).and_then(|state| state.settings.get("autoCreateTopicEnable"));
    assert_eq!(held.map(String::as_str), Some("true"));
    assert_eq!(bed.api.object("api/v1/namespaces/shop/pods/demo-broker-0-0"), before);
}

#[tokio::test]
async fn stopping_after_any_write_of_a_rolling_change_ends_the_same() {
    stopped_after_each_write(&TestBed::new(), |bed| {
        bed.put_set(BrokerSetSpec { flush: bolide_api::broker_set::Flush::Sync, ..spec(1) });
        bed.api.put("apis/apps/v1/namespaces/shop/statefulsets/demo-broker-0", json!({
            "metadata": {
                "name": "demo-broker-0",
                "labels": { "bolide.dev/cluster": "demo", "bolide.dev/group": "0", "app.kubernetes.io/component": "broker" },
                "ownerReferences": [{
                    "apiVersion": "bolide.dev/v1alpha1", "kind": "BrokerSet", "name": "demo",
                    "uid": bed.set().metadata.uid, "controller": true,
                }],
            },
            "spec": {
                "replicas": 1,
                "selector": {},
                "template": { "metadata": { "labels": {
                    "bolide.dev/cluster": "demo", "bolide.dev/group": "0", "app.kubernetes.io/component": "broker",
                } } },
                "volumeClaimTemplates": [{ "metadata": { "name": "data" }, "spec": {
                    "resources": { "requests": { "storage": "20Gi" } },
                } }],
            },
        }));
        bed.api.settle();
    })
    .await;
}

#[tokio::test]
async fn a_paused_set_is_left_alone() {
    let mut bed = TestBed::new();
    bed.put_set(spec(1));
    bed.converge().await;
    bed.put_set(BrokerSetSpec { paused: true, groups: 3, ..BrokerSetSpec::default() });
    bed.converge().await;
    assert_eq!(bed.api.object(STATEFUL_SET_1), None);
    assert_eq!(reason(&bed, "Progressing"), Some((ConditionStatus::False, "Paused".into())));
}

#[tokio::test]
async fn a_stopped_set_has_no_pods_and_keeps_its_claims() {
    let mut bed = TestBed::new();
    bed.put_set(spec(1));
    bed.converge().await;
    bed.put_set(BrokerSetSpec { stopped: true, ..spec(1) });
    bed.converge().await;
    assert!(!bed.api.paths().iter().any(|path| path.contains("/pods/")));
    assert!(bed.api.paths().iter().any(|path| path.contains("/persistentvolumeclaims/")));
    assert_eq!(reason(&bed, "Ready"), Some((ConditionStatus::False, "Stopped".into())));
    bed.put_set(spec(1));
    bed.converge().await;
    assert_eq!(reason(&bed, "Ready"), Some((ConditionStatus::True, "Ready".into())));
}

fn leaving(bed: &TestBed, unread: i64) {
    bed.brokers.edit(&address(bed, 1), |state| {
        state.topics.insert("orders".into(), TopicConfig::new("orders", 1));
        state.stats.insert(
            "orders".into(),
            vec![QueueStats {
                broker: "demo-broker-1".into(),
                queue: 0,
                min_offset: 0,
                max_offset: 10,
                last_update_timestamp: 1,
            }],
        );
        state.progress.insert(
            "billing".into(),
            vec![ConsumedQueue {
                topic: "orders".into(),
                broker: "demo-broker-1".into(),
                queue: 0,
                broker_offset: 10,
                consumer_offset: 10 - unread,
                last_timestamp: 1,
            }],
        );
    });
}

#[tokio::test]
async fn a_group_leaves_only_when_it_has_been_read() {
    let mut bed = TestBed::new();
    bed.put_set(spec(2));
    bed.converge().await;
    leaving(&bed, 3);
    bed.put_set(spec(1));
    bed.converge().await;
    assert!(bed.api.object(STATEFUL_SET_1).is_some());
    let status = bed.set().status.expect("a status");
    let progress = status.groups.get(1).and_then(|group| group.progress.clone()).expect("a reason");
    assert!(progress.contains("last 3 messages") && progress.contains("billing"), "{progress}");
    let states = bed.brokers.states();
    let permission = states.get(&address(&bed, 1)).and_then(|state| state.settings.get("brokerPermission"));
    assert_eq!(permission.map(String::as_str), Some("4"), "no new messages");
    leaving(&bed, 0);
    bed.converge().await;
    assert_eq!(bed.api.object(STATEFUL_SET_1), None);
    assert!(bed.api.paths().iter().any(|path| path.contains("data-demo-broker-1-0")), "its claim stays");
    assert!(!bed.api.paths().iter().any(|path| path.contains("services/demo-broker-1")));
}

#[tokio::test]
async fn a_group_whose_volume_would_be_deleted_waits_until_it_is_empty_or_a_person_decides() {
    let deleting = |groups| {
        let mut spec = spec(groups);
        spec.storage.claim_retention = ClaimRetention::Delete;
        spec
    };
    let mut bed = TestBed::new();
    bed.put_set(deleting(2));
    bed.converge().await;
    leaving(&bed, 0);
    bed.put_set(deleting(1));
    bed.converge().await;
    assert!(bed.api.object(STATEFUL_SET_1).is_some());
    let mut set = bed.api.object(SET).expect("there");
    set["metadata"]["annotations"] = json!({ "bolide.dev/discard-groups": "1" });
    bed.api.put(SET, set);
    bed.converge().await;
    assert_eq!(bed.api.object(STATEFUL_SET_1), None);
}

fn sized(size: &str) -> BrokerSetSpec {
    let mut spec = spec(1);
    spec.storage.size = Quantity(size.into());
    spec.storage.storage_class_name = Some("folder".into());
    spec
}

const CLAIM: &str = "api/v1/namespaces/shop/persistentvolumeclaims/data-demo-broker-0-0";

#[tokio::test]
async fn a_volume_grows_where_its_class_allows_it() {
    let mut bed = TestBed::new();
    bed.put_set(sized("10Gi"));
    bed.converge().await;
    bed.put_set(sized("20Gi"));
    bed.converge().await;
    assert_eq!(
        reason(&bed, "StorageResized"),
        Some((ConditionStatus::False, "ExpansionNotSupported".into()))
    );
    assert_eq!(
        reason(&bed, "Ready"),
        Some((ConditionStatus::True, "Ready".into())),
        "everything else goes on"
    );
    bed.api.put(
        "apis/storage.k8s.io/v1/storageclasses/folder",
        json!({
            "metadata": { "name": "folder" }, "provisioner": "p", "allowVolumeExpansion": true,
        }),
    );
    bed.converge().await;
    let claim = bed.api.object(CLAIM).expect("there");
    assert_eq!(claim["spec"]["resources"]["requests"]["storage"], json!("20Gi"));
    assert_eq!(reason(&bed, "StorageResized"), Some((ConditionStatus::True, "AsWanted".into())));
}

#[tokio::test]
async fn a_volume_does_not_shrink() {
    let mut bed = TestBed::new();
    bed.put_set(sized("10Gi"));
    bed.converge().await;
    bed.put_set(sized("5Gi"));
    bed.converge().await;
    assert_eq!(reason(&bed, "StorageResized"), Some((ConditionStatus::False, "ShrinkRefused".into())));
    let claim = bed.api.object(CLAIM).expect("there");
    assert_eq!(claim["spec"]["resources"]["requests"]["storage"], json!("10Gi"));
}

#[tokio::test]
async fn what_is_not_wanted_any_more_is_removed() {
    let mut bed = TestBed::new();
    bed.put_set(spec(1));
    bed.converge().await;
    assert!(bed.api.paths().iter().any(|path| path.contains("/networkpolicies/")));
    bed.put_set(BrokerSetSpec { network_policy: false, ..spec(1) });
    bed.converge().await;
    assert!(!bed.api.paths().iter().any(|path| path.contains("/networkpolicies/")));
}

#[tokio::test]
async fn a_master_that_does_not_answer_makes_the_set_unready() {
    let mut bed = TestBed::new();
    bed.put_set(spec(1));
    bed.converge().await;
    bed.brokers.edit(&address(&bed, 0), |state| state.down = true);
    bed.converge().await;
    assert_eq!(reason(&bed, "Ready"), Some((ConditionStatus::False, "BrokersNotReady".into())));
}

#[tokio::test]
async fn a_master_that_no_nameserver_knows_makes_the_set_unready() {
    let mut bed = TestBed::new();
    bed.brokers.unregistered.lock().insert("demo-broker-1".into());
    bed.put_set(spec(2));
    bed.converge().await;
    assert_eq!(reason(&bed, "Ready"), Some((ConditionStatus::False, "BrokersNotReady".into())));
    bed.brokers.unregistered.lock().clear();
    bed.converge().await;
    assert_eq!(reason(&bed, "Ready"), Some((ConditionStatus::True, "Ready".into())));
}

#[tokio::test]
async fn a_setting_that_a_broker_refuses_is_said_and_everything_else_goes_on() {
    let with = |size: &str| {
        let mut spec = spec(1);
        spec.broker_config.insert("maxMessageSize".into(), size.into());
        spec
    };
    let mut bed = TestBed::new();
    bed.put_set(with("large"));
    bed.converge().await;
    assert_eq!(reason(&bed, "SettingsApplied"), Some((ConditionStatus::False, "Refused".into())));
    assert_eq!(reason(&bed, "Ready"), Some((ConditionStatus::True, "Ready".into())));
    bed.put_set(with("1048576"));
    bed.converge().await;
    assert_eq!(reason(&bed, "SettingsApplied"), Some((ConditionStatus::True, "Applied".into())));
}

/// The matrix for a change of a set that runs.
async fn stopped_in_a_change(before: BrokerSetSpec, least: usize, change: impl Fn(&TestBed)) {
    let mut start = TestBed::new();
    start.put_set(before);
    start.converge().await;
    let writes = stopped_after_each_write(&start, change).await;
    assert!(writes >= least, "only {writes} writes were tried");
}

#[tokio::test]
async fn stopping_after_any_write_while_a_group_joins_ends_the_same() {
    let mut start = TestBed::new();
    start.put_set(spec(1));
    start.converge().await;
    let first = address(&start, 0);
    start.brokers.edit(&first, |state| {
        for name in ["orders", "bills"] {
            state.topics.insert(name.into(), TopicConfig::new(name, 3));
        }
    });
    let writes = stopped_after_each_write(&start, |bed| bed.put_set(spec(2))).await;
    assert!(writes > 12, "only {writes} writes were tried");
}

#[tokio::test]
async fn stopping_after_any_write_while_a_group_leaves_ends_the_same() {
    stopped_in_a_change(spec(2), 12, |bed| bed.put_set(spec(1))).await;
}

#[tokio::test]
async fn stopping_after_any_write_while_a_volume_grows_ends_the_same() {
    stopped_in_a_change(sized("10Gi"), 3, |bed| {
        let class =
            json!({ "metadata": { "name": "folder" }, "provisioner": "p", "allowVolumeExpansion": true });
        bed.api.put("apis/storage.k8s.io/v1/storageclasses/folder", class);
        bed.put_set(sized("20Gi"));
    })
    .await;
}

#[tokio::test]
async fn stopping_after_any_write_while_a_set_stops_ends_the_same() {
    stopped_in_a_change(spec(1), 3, |bed| bed.put_set(BrokerSetSpec { stopped: true, ..spec(1) })).await;
}

#[tokio::test]
async fn stopping_after_any_write_of_a_hot_and_a_cold_setting_ends_the_same() {
    stopped_in_a_change(spec(1), 5, |bed| {
        let flush = bolide_api::broker_set::Flush::Sync;
        bed.put_set(BrokerSetSpec { flush, auto_create_topics: true, network_policy: false, ..spec(1) });
    })
    .await;
}

#[tokio::test]
async fn a_new_group_is_given_what_all_older_groups_have_and_no_object_speaks_for() {
    let mut bed = TestBed::new();
    bed.put_set(spec(2));
    bed.put_topic("spoken", json!({ "clusterRef": { "name": "demo" }, "groups": [0, 1], "queues": 1 }));
    bed.converge().await;
    for group in 0..2 {
        let topics = ["made", "rmq_sys_own", "%RETRY%billing", if group == 0 { "here" } else { "there" }];
        let billing = bolide_wire::body::group::SubscriptionGroupConfig {
            retry_max_times: 3,
            ..bolide_wire::body::group::SubscriptionGroupConfig::new("billing")
        };
        bed.brokers.edit(&address(&bed, group), |state| {
            state.groups.insert("billing".into(), billing);
            for name in topics {
                state.topics.insert(name.into(), TopicConfig::new(name, 3));
            }
        });
    }
    bed.put_set(spec(3));
    bed.converge().await;
    let states = bed.brokers.states();
    let new = states.get(&address(&bed, 2)).expect("asked");
    assert_eq!(new.topics.keys().collect::<Vec<_>>(), ["made"]);
    assert_eq!(new.topics.get("made").map(|topic| topic.write_queue_nums), Some(3));
    assert_eq!(new.groups.get("billing").map(|group| group.retry_max_times), Some(3));
    // what is deleted from the new broker afterwards stays deleted
    bed.brokers.edit(&address(&bed, 2), |state| drop(state.topics.remove("made")));
    bed.converge().await;
    assert!(bed.brokers.states().get(&address(&bed, 2)).is_some_and(|state| state.topics.is_empty()));
}

#[tokio::test]
async fn a_new_group_waits_for_the_topics_of_an_older_one_that_does_not_answer() {
    let mut bed = TestBed::new();
    bed.put_set(spec(1));
    bed.converge().await;
    let first = address(&bed, 0);
    bed.brokers.edit(&first, |state| {
        state.topics.insert("made".into(), TopicConfig::new("made", 3));
        state.down = true;
    });
    bed.put_set(spec(2));
    bed.converge().await;
    let status = bed.set().status.expect("a status");
    let group = status.groups.get(1).expect("two groups");
    assert!(!group.joined && group.progress.as_deref().is_some_and(|why| why.contains("older groups")));
    bed.brokers.edit(&first, |state| state.down = false);
    bed.converge().await;
    let held = bed.brokers.states().get(&address(&bed, 1)).map(|state| state.topics.len());
    assert_eq!(held, Some(1));
}
