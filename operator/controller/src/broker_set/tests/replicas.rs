//! Sets whose groups have several replicas: the group state, rolling changes with a hand-over, more and fewer replicas.

use bolide_api::broker_set::Flush;
use serde_json::Value;

use super::*;

const LEASE: &str = "apis/coordination.k8s.io/v1/namespaces/shop/leases/demo-broker-0";

fn pair(replicas: u32) -> BrokerSetSpec {
    BrokerSetSpec { replicas, ..spec(1) }
}

fn state(bed: &TestBed) -> Value {
    let lease = bed.api.object(LEASE).expect("a Lease");
    let text =
        lease["metadata"]["annotations"]["bolide.dev/group-state"].as_str().expect("a state").to_owned();
    serde_json::from_str(&text).expect("JSON")
}

fn pods(bed: &TestBed) -> Vec<String> {
    let paths = bed.api.paths();
    let pods =
        paths.iter().filter_map(|path| path.strip_prefix("api/v1/namespaces/shop/pods/demo-broker-0-"));
    pods.map(str::to_owned).collect()
}

async fn running(spec: BrokerSetSpec) -> TestBed {
    let mut bed = TestBed::new();
    bed.put_set(spec);
    bed.converge().await;
    bed
}

/// Lets the second replica lead.
fn lead_by_the_second(bed: &TestBed) {
    assert!(bed.api.hand_over(&address(bed, 0), "demo-broker-0-1"));
}

#[tokio::test]
async fn a_set_of_pairs_has_a_group_state_without_owner_and_says_who_is_in_sync() {
    let bed = running(pair(2)).await;
    let lease = bed.api.object(LEASE).expect("made");
    assert!(lease["metadata"]["ownerReferences"].is_null());
    let status = bed.set().status.expect("a status");
    assert_eq!(status.in_sync.as_deref(), Some("2/2"));
    assert_eq!(status.masters.as_deref(), Some("demo-broker-0-0"));
    assert_eq!(status.brokers.as_deref(), Some("2/2"));
    assert_eq!(status.groups.first().and_then(|group| group.epoch), Some(1));
    assert_eq!(reason(&bed, "InSync"), Some((ConditionStatus::True, "InSync".into())));
    assert_eq!(reason(&bed, "Ready"), Some((ConditionStatus::True, "Ready".into())));
    for claim in ["data-demo-broker-0-0", "data-demo-broker-0-1"] {
        let claim = bed.api.object(&format!("api/v1/namespaces/shop/persistentvolumeclaims/{claim}"));
        assert_eq!(claim.expect("made")["metadata"]["annotations"]["bolide.dev/replicated"], "true");
    }
}

#[tokio::test]
async fn stopping_after_any_write_of_a_new_set_of_pairs_ends_the_same() {
    let writes = stopped_after_each_write(&TestBed::new(), |bed| bed.put_set(pair(2))).await;
    assert!(writes > 15, "only {writes} writes were tried");
}

#[tokio::test]
async fn a_lost_group_state_is_said_and_never_made_anew() {
    let mut bed = running(pair(2)).await;
    bed.api.remove(LEASE);
    bed.converge().await;
    assert_eq!(bed.api.object(LEASE), None);
    assert_eq!(reason(&bed, "InSync"), Some((ConditionStatus::False, "GroupStateLost".into())));
    let conditions = bed.set().status.expect("a status").conditions;
    let sentence = condition(&conditions, "Ready").expect("said").message.clone();
    assert!(sentence.contains("bolide group-state force"), "{sentence}");
    // not for fewer replicas either: the volume that stays remembers
    bed.put_set(pair(1));
    bed.converge().await;
    assert_eq!(bed.api.object(LEASE), None);
    // a person decides
    let forced = r#"{"epoch":9,"revision":20,"inSync":["demo-broker-0-0@0"]}"#;
    let annotations = json!({ "bolide.dev/group-state": forced });
    bed.api.put(LEASE, json!({ "metadata": { "name": "demo-broker-0", "annotations": annotations } }));
    bed.put_set(pair(2));
    bed.converge().await;
    assert_eq!(state(&bed)["epoch"], 10);
    assert_eq!(bed.api.object(LEASE).expect("kept")["metadata"]["labels"]["bolide.dev/cluster"], "demo");
    assert_eq!(reason(&bed, "Ready"), Some((ConditionStatus::True, "Ready".into())));
}

#[tokio::test]
async fn a_group_whose_volumes_are_gone_begins_above_its_old_state() {
    let mut bed = running(pair(2)).await;
    lead_by_the_second(&bed);
    bed.put_set(BrokerSetSpec { stopped: true, ..pair(2) });
    bed.converge().await;
    let old = state(&bed);
    assert_eq!(old["master"], "demo-broker-0-1@1");
    for ordinal in 0..2 {
        bed.api
            .remove(&format!("api/v1/namespaces/shop/persistentvolumeclaims/data-demo-broker-0-{ordinal}"));
    }
    bed.converge().await;
    let new = state(&bed);
    assert!(new["master"].is_null() && new["inSync"] == json!(["demo-broker-0-0@0"]), "{new}");
    assert!(
        new["epoch"].as_u64() >= old["epoch"].as_u64() && new["revision"].as_u64() > old["revision"].as_u64()
    );
}

#[tokio::test]
async fn a_rolling_change_replaces_slaves_and_the_master_only_after_it_has_handed_over() {
    let mut bed = running(pair(3)).await;
    bed.put_set(BrokerSetSpec { flush: Flush::Sync, ..pair(3) });
    let mut away = Vec::new();
    for _ in 0..20 {
        let before = (pods(&bed), state(&bed));
        bed.round().await.expect("applied");
        let after = pods(&bed);
        let gone: Vec<String> = before.0.into_iter().filter(|pod| !after.contains(pod)).collect();
        assert!(gone.len() < 2, "{gone:?}");
        for pod in gone {
            assert_ne!(before.1["master"], format!("demo-broker-0-{pod}@1"), "a master was replaced");
            assert_eq!(before.1["inSync"].as_array().map(Vec::len), Some(3), "a copy less already");
            away.push(pod);
        }
        bed.api.settle();
    }
    assert_eq!(away, ["2", "1", "0"]);
    assert_eq!(state(&bed)["epoch"], 2, "it was handed over once");
    assert_eq!(bed.set().status.expect("a status").masters.as_deref(), Some("demo-broker-0-1"));
    assert_eq!(reason(&bed, "Progressing"), Some((ConditionStatus::False, "Settled".into())));
}

#[tokio::test]
async fn stopping_after_any_write_of_a_rolling_change_with_a_hand_over_ends_the_same() {
    stopped_in_a_change(pair(2), 4, |bed| bed.put_set(BrokerSetSpec { flush: Flush::Sync, ..pair(2) })).await;
}

#[tokio::test]
async fn a_single_broker_becomes_the_first_of_two() {
    let mut bed = running(pair(1)).await;
    let service = "api/v1/namespaces/shop/services/demo-broker-0-master";
    let mut held = bed.api.object(service).expect("there");
    held["metadata"]["annotations"] = json!({ "bolide.dev/epoch": "6" });
    bed.api.put(service, held);
    bed.put_set(pair(2));
    bed.converge().await;
    let state = state(&bed);
    assert_eq!((&state["epoch"], &state["master"]), (&json!(7), &json!("demo-broker-0-0@1")));
    assert_eq!(bed.set().status.expect("a status").in_sync.as_deref(), Some("2/2"));
    assert_eq!(reason(&bed, "Ready"), Some((ConditionStatus::True, "Ready".into())));
}

#[tokio::test]
async fn a_replica_that_leads_hands_over_before_it_is_removed() {
    let mut bed = running(pair(2)).await;
    lead_by_the_second(&bed);
    bed.put_set(pair(1));
    let mut masters = Vec::new();
    for _ in 0..12 {
        bed.round().await.expect("applied");
        bed.api.settle();
        masters.push((state(&bed)["master"].clone(), pods(&bed).len()));
    }
    assert!(masters.iter().all(|(master, pods)| *pods == 2 || *master == "demo-broker-0-0@1"), "{masters:?}");
    assert_eq!(pods(&bed), ["0"]);
    assert_eq!(state(&bed)["inSync"], json!(["demo-broker-0-0@1"]));
    let claim = "api/v1/namespaces/shop/persistentvolumeclaims/data-demo-broker-0-1";
    assert!(bed.api.object(claim).is_some(), "its claim stays");
    assert_eq!(bed.api.object("api/v1/namespaces/shop/services/demo-broker-0-slave-1"), None);
}

#[tokio::test]
async fn the_only_replica_in_sync_is_not_removed() {
    let mut bed = running(pair(2)).await;
    let mut lease = bed.api.object(LEASE).expect("there");
    let alone = r#"{"epoch":9,"revision":20,"master":"demo-broker-0-1@1","inSync":["demo-broker-0-1@1"]}"#;
    lease["metadata"]["annotations"]["bolide.dev/group-state"] = json!(alone);
    bed.api.put(LEASE, lease);
    bed.put_set(pair(1));
    bed.round().await.expect("applied");
    let set = bed.api.object("apis/apps/v1/namespaces/shop/statefulsets/demo-broker-0").expect("there");
    assert_eq!(set["spec"]["replicas"], 2);
    assert_eq!(reason(&bed, "InSync"), Some((ConditionStatus::False, "OutOfSync".into())));
    bed.converge().await;
    assert_eq!(pods(&bed), ["0"], "it went when the other one was in sync again");
}

#[tokio::test]
async fn stopping_after_any_write_while_a_replica_comes_or_goes_ends_the_same() {
    stopped_in_a_change(pair(1), 8, |bed| bed.put_set(pair(2))).await;
    stopped_in_a_change(pair(2), 4, |bed| bed.put_set(pair(1))).await;
}

#[tokio::test]
async fn hot_settings_go_to_every_replica() {
    let mut bed = running(pair(2)).await;
    bed.put_set(BrokerSetSpec { auto_create_topics: true, ..pair(2) });
    bed.converge().await;
    for address in ["10.244.1.0:10911", "10.244.1.1:10911"] {
        let held = bed
            .brokers
            .states()
            .get(address)
            .and_then(|state| state.settings.get("autoCreateTopicEnable").cloned());
        assert_eq!(held.as_deref(), Some("true"), "{address}");
    }
}
