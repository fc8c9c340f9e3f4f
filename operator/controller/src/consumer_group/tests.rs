use bolide_api::status::condition;
use bolide_api::{BrokerSetSpec, ConsumerGroup};
use bolide_client::{ConsumedQueue, ResetTo};
use serde_json::{Value, json};

use crate::test_bed::{GROUPS, TestBed, stopped_after_each_write};

const BILLING: &str = "apis/bolide.dev/v1alpha1/namespaces/shop/consumergroups/billing";

fn of_demo(more: Value) -> Value {
    let mut spec = json!({ "clusterRef": { "name": "demo" } });
    if let (Some(spec), Some(more)) = (spec.as_object_mut(), more.as_object()) {
        spec.extend(more.clone());
    }
    spec
}

async fn ready_set() -> TestBed {
    let mut bed = TestBed::new();
    bed.put_set(BrokerSetSpec::default());
    bed.converge().await;
    let address = address(&bed);
    bed.brokers.edit(&address, |state| {
        state.progress.insert(
            "billing".into(),
            vec![ConsumedQueue {
                topic: "orders".into(),
                broker: "demo-broker-0".into(),
                queue: 2,
                broker_offset: 10,
                consumer_offset: 7,
                last_timestamp: 1,
            }],
        );
    });
    bed
}

fn address(bed: &TestBed) -> String {
    bed.set()
        .status
        .and_then(|status| status.groups.first().and_then(|group| group.address.clone()))
        .expect("known")
}

fn group(bed: &TestBed) -> ConsumerGroup {
    bed.api.typed(&format!("{GROUPS}/billing"))
}

#[tokio::test]
async fn a_group_is_made_and_its_progress_shown() {
    let mut bed = ready_set().await;
    bed.put_group("billing", of_demo(json!({ "maxRetries": 3 })));
    bed.converge().await;
    let status = group(&bed).status.expect("a status");
    assert_eq!(condition(&status.conditions, "Ready").map(|ready| ready.reason.as_str()), Some("Ready"));
    assert_eq!((status.members, status.lag, status.dead_letters), (Some(1), Some(3), Some(0)));
    let states = bed.brokers.states();
    let held = states.get(&address(&bed)).and_then(|state| state.groups.get("billing"));
    assert_eq!(held.map(|held| held.retry_max_times), Some(3));
}

#[tokio::test]
async fn a_paused_group_may_not_consume() {
    let mut bed = ready_set().await;
    bed.put_group("billing", of_demo(json!({ "paused": true })));
    bed.converge().await;
    let states = bed.brokers.states();
    let held = states.get(&address(&bed)).and_then(|state| state.groups.get("billing"));
    assert_eq!(held.map(|held| held.consume_enable), Some(false));
}

#[tokio::test]
async fn offsets_are_reset_once_for_each_token_and_the_old_ones_are_kept() {
    let mut bed = ready_set().await;
    bed.put_group("billing", of_demo(json!({ "resetOffset": { "token": "a", "to": "Earliest" } })));
    bed.converge().await;
    bed.round().await.expect("again");
    let resets = |bed: &TestBed| bed.brokers.states().get(&address(bed)).map(|state| state.resets.clone());
    let once = ("billing".to_owned(), "orders".to_owned(), ResetTo::Earliest);
    assert_eq!(resets(&bed), Some(vec![once.clone()]));
    let last = group(&bed).status.and_then(|status| status.last_reset).expect("recorded");
    assert!(last.complete && last.token == "a");
    assert_eq!(last.previous.first().map(|queue| (queue.queue, queue.offset)), Some((2, 7)));
    let again = json!({ "resetOffset": { "token": "b", "to": "Time", "time": "1970-01-01T00:00:05Z" } });
    bed.put_group("billing", of_demo(again));
    bed.converge().await;
    let twice = ("billing".to_owned(), "orders".to_owned(), ResetTo::Time(5000));
    assert_eq!(resets(&bed), Some(vec![once, twice]));
}

#[tokio::test]
async fn a_moment_that_is_none_is_said_and_nothing_moves() {
    let mut bed = ready_set().await;
    bed.put_group(
        "billing",
        of_demo(json!({ "resetOffset": { "token": "a", "to": "Time", "time": "noon" } })),
    );
    bed.converge().await;
    let last = group(&bed).status.and_then(|status| status.last_reset).expect("recorded");
    assert!(!last.complete && last.message.contains("noon"), "{last:?}");
    assert_eq!(bed.brokers.states().get(&address(&bed)).map(|state| state.resets.len()), Some(0));
}

#[tokio::test]
async fn stopping_after_any_write_ends_the_same() {
    let mut start = ready_set().await;
    start.sets_are_given = true;
    let writes = stopped_after_each_write(&start, |bed| {
        bed.put_group("billing", of_demo(json!({ "resetOffset": { "token": "a", "to": "Earliest" } })));
    })
    .await;
    assert!(writes >= 5, "only {writes} writes were tried");
}

#[tokio::test]
async fn a_group_goes_with_its_object() {
    let mut bed = ready_set().await;
    bed.put_group("billing", of_demo(json!({})));
    bed.converge().await;
    let mut object = bed.api.object(BILLING).expect("there");
    object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    bed.api.put(BILLING, object);
    bed.converge().await;
    assert_eq!(bed.api.object(BILLING), None);
    assert_eq!(bed.brokers.states().get(&address(&bed)).map(|state| state.groups.len()), Some(0));
}

#[tokio::test]
async fn stopping_after_any_write_of_a_deletion_ends_the_same() {
    let mut start = ready_set().await;
    start.put_group("billing", of_demo(json!({})));
    start.converge().await;
    start.sets_are_given = true;
    let writes = stopped_after_each_write(&start, |bed| {
        let mut object = bed.api.object(BILLING).expect("there");
        object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        bed.api.put(BILLING, object);
    })
    .await;
    assert!(writes >= 2, "only {writes} writes were tried");
}
