use bolide_api::status::condition;
use bolide_api::{BrokerSetSpec, Topic};
use bolide_client::ConsumedQueue;
use bolide_wire::body::topic::TopicConfig;
use serde_json::{Value, json};

use crate::test_bed::{SET, TOPICS, TestBed, stopped_after_each_write};

const ORDERS: &str = "apis/bolide.dev/v1alpha1/namespaces/shop/topics/orders";

fn of_demo(more: Value) -> Value {
    let mut spec = json!({ "clusterRef": { "name": "demo" }, "queues": 4 });
    if let (Some(spec), Some(more)) = (spec.as_object_mut(), more.as_object()) {
        spec.extend(more.clone());
    }
    spec
}

async fn ready_set(groups: u32) -> TestBed {
    let mut bed = TestBed::new();
    bed.put_set(BrokerSetSpec { groups, ..BrokerSetSpec::default() });
    bed.converge().await;
    bed
}

fn topic(bed: &TestBed, name: &str) -> Topic {
    bed.api.typed(&format!("{TOPICS}/{name}"))
}

fn reason(bed: &TestBed, name: &str) -> String {
    let status = topic(bed, name).status.unwrap_or_default();
    condition(&status.conditions, "Ready").map(|ready| ready.reason.clone()).unwrap_or_default()
}

fn addresses(bed: &TestBed) -> Vec<String> {
    bed.set().status.unwrap_or_default().groups.into_iter().filter_map(|group| group.address).collect()
}

fn queues(bed: &TestBed, address: &str, name: &str) -> Option<(i32, i32)> {
    let states = bed.brokers.states();
    let topic = states.get(address)?.topics.get(name)?;
    Some((topic.write_queue_nums, topic.read_queue_nums))
}

#[tokio::test]
async fn a_topic_is_made_on_every_group_and_goes_with_its_object() {
    let mut bed = ready_set(2).await;
    bed.put_topic("orders", of_demo(json!({})));
    bed.converge().await;
    assert_eq!(reason(&bed, "orders"), "Ready");
    assert_eq!(topic(&bed, "orders").status.and_then(|status| status.queues), Some(8));
    for address in addresses(&bed) {
        assert_eq!(queues(&bed, &address, "orders"), Some((4, 4)));
    }
    delete(&bed, ORDERS);
    bed.converge().await;
    assert_eq!(bed.api.object(ORDERS), None);
    assert_eq!(queues(&bed, &addresses(&bed)[0], "orders"), None);
}

/// What the API server does with an object that has finalizers.
fn delete(bed: &TestBed, path: &str) {
    let mut object = bed.api.object(path).expect("there");
    object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    bed.api.put(path, object);
}

#[tokio::test]
async fn stopping_after_any_write_ends_the_same() {
    let mut start = ready_set(2).await;
    start.sets_are_given = true;
    let writes = stopped_after_each_write(&start, |bed| {
        bed.put_topic("orders", of_demo(json!({})));
        bed.put_topic("bills", of_demo(json!({ "type": "Ordered", "groups": [1] })));
    })
    .await;
    assert!(writes > 5, "only {writes} writes were tried");
}

#[tokio::test]
async fn a_new_group_gets_the_topic() {
    let mut bed = ready_set(1).await;
    bed.put_topic("orders", of_demo(json!({})));
    bed.converge().await;
    bed.put_set(BrokerSetSpec { groups: 2, ..BrokerSetSpec::default() });
    bed.converge().await;
    assert_eq!(queues(&bed, &addresses(&bed)[1], "orders"), Some((4, 4)));
}

#[tokio::test]
async fn drift_is_repaired_and_existing_topics_are_adopted() {
    let mut bed = ready_set(1).await;
    let address = addresses(&bed)[0].clone();
    bed.brokers.edit(&address, |state| {
        state.topics.insert("orders".into(), TopicConfig::new("orders", 2));
    });
    bed.put_topic("orders", of_demo(json!({})));
    bed.converge().await;
    assert_eq!(queues(&bed, &address, "orders"), Some((4, 4)));
    bed.brokers.edit(&address, |state| {
        state.topics.insert("orders".into(), TopicConfig::new("orders", 1));
    });
    bed.converge().await;
    assert_eq!(queues(&bed, &address, "orders"), Some((4, 4)));
}

#[tokio::test]
async fn a_topic_shrinks_when_its_surplus_queues_are_read() {
    let mut bed = ready_set(1).await;
    bed.put_topic("orders", of_demo(json!({})));
    bed.converge().await;
    let address = addresses(&bed)[0].clone();
    let unread = |lag: i64| ConsumedQueue {
        topic: "orders".into(),
        broker: "demo-broker-0".into(),
        queue: 3,
        broker_offset: 10,
        consumer_offset: 10 - lag,
        last_timestamp: 1,
    };
    bed.brokers.edit(&address, |state| {
        state.progress.insert("billing".into(), vec![unread(5)]);
    });
    bed.put_topic("orders", of_demo(json!({ "queues": 2 })));
    bed.converge().await;
    assert_eq!(queues(&bed, &address, "orders"), Some((2, 4)));
    assert_eq!(reason(&bed, "orders"), "Shrinking");
    bed.brokers.edit(&address, |state| {
        state.progress.insert("billing".into(), vec![unread(0)]);
    });
    bed.converge().await;
    assert_eq!(queues(&bed, &address, "orders"), Some((2, 2)));
    assert_eq!(reason(&bed, "orders"), "Ready");
}

#[tokio::test]
async fn the_older_of_two_objects_decides_and_the_other_takes_over() {
    let mut bed = ready_set(1).await;
    bed.put_topic("orders", of_demo(json!({})));
    bed.put_topic("second", of_demo(json!({ "topicName": "orders", "queues": 9 })));
    for (name, time) in [("orders", "2026-01-01T00:00:00Z"), ("second", "2026-01-02T00:00:00Z")] {
        let path = format!("{TOPICS}/{name}");
        let mut object = bed.api.object(&path).expect("there");
        object["metadata"]["creationTimestamp"] = json!(time);
        bed.api.put(&path, object);
    }
    bed.converge().await;
    let address = addresses(&bed)[0].clone();
    assert_eq!(queues(&bed, &address, "orders"), Some((4, 4)));
    assert_eq!(reason(&bed, "second"), "Conflict");
    delete(&bed, ORDERS);
    bed.converge().await;
    assert_eq!(bed.api.object(ORDERS), None);
    assert_eq!(queues(&bed, &address, "orders"), Some((9, 9)), "the topic was not deleted in between");
    assert_eq!(reason(&bed, "second"), "Ready");
}

#[tokio::test]
async fn a_topic_whose_cluster_is_gone_does_not_hold_up_its_namespace() {
    let mut bed = ready_set(1).await;
    bed.put_topic("orders", of_demo(json!({})));
    bed.converge().await;
    for address in addresses(&bed) {
        bed.brokers.edit(&address, |state| state.down = true);
    }
    bed.api.remove(SET);
    delete(&bed, ORDERS);
    bed.converge().await;
    assert_eq!(bed.api.object(ORDERS), None);
}

#[tokio::test]
async fn a_retained_topic_stays_on_the_brokers() {
    let mut bed = ready_set(1).await;
    bed.put_topic("orders", of_demo(json!({ "deletionPolicy": "Retain" })));
    bed.converge().await;
    assert!(topic(&bed, "orders").metadata.finalizers.is_none_or(|finalizers| finalizers.is_empty()));
    assert_eq!(queues(&bed, &addresses(&bed)[0], "orders"), Some((4, 4)));
}

#[tokio::test]
async fn a_topic_of_another_type_and_a_missing_cluster_are_said() {
    let mut bed = ready_set(1).await;
    bed.brokers.edit(&addresses(&bed)[0], |state| {
        state.topics.insert("orders".into(), TopicConfig::new("orders", 4));
    });
    bed.put_topic("orders", of_demo(json!({ "type": "Ordered" })));
    bed.put_topic("half", of_demo(json!({ "groups": [0, 7] })));
    bed.put_topic("lost", json!({ "clusterRef": { "name": "nowhere" } }));
    bed.converge().await;
    assert_eq!(reason(&bed, "orders"), "TypeConflict");
    assert_eq!(reason(&bed, "half"), "NoBrokerGroup");
    assert_eq!(reason(&bed, "lost"), "ClusterNotFound");
}

fn order(bed: &TestBed, topic: &str) -> Vec<Option<String>> {
    let pods = bed.set().status.unwrap_or_default().nameserver_pods;
    let states = bed.brokers.states();
    pods.iter().map(|pod| states.get(pod).and_then(|state| state.order.get(topic).cloned())).collect()
}

#[tokio::test]
async fn every_nameserver_knows_the_order_of_an_ordered_topic_also_a_later_one() {
    let mut bed = ready_set(2).await;
    bed.put_topic("orders", of_demo(json!({ "type": "Ordered" })));
    bed.put_topic("plain", of_demo(json!({})));
    bed.converge().await;
    let wanted = Some("demo-broker-0:4;demo-broker-1:4".to_owned());
    assert_eq!(order(&bed, "orders"), [wanted.clone(), wanted.clone()]);
    assert_eq!(order(&bed, "plain"), [None, None]);
    let mut spec = BrokerSetSpec { groups: 3, ..BrokerSetSpec::default() };
    spec.nameservers.replicas = 3;
    bed.put_set(spec);
    bed.converge().await;
    let wanted = Some("demo-broker-0:4;demo-broker-1:4;demo-broker-2:4".to_owned());
    assert_eq!(order(&bed, "orders"), vec![wanted; 3]);
    delete(&bed, ORDERS);
    bed.converge().await;
    assert_eq!(order(&bed, "orders"), vec![None; 3]);
}

#[tokio::test]
async fn a_nameserver_that_is_away_makes_a_new_ordered_topic_wait_and_leaves_an_old_one_ready() {
    let mut bed = ready_set(1).await;
    bed.put_topic("orders", of_demo(json!({ "type": "Ordered" })));
    bed.converge().await;
    let pods = bed.set().status.unwrap_or_default().nameserver_pods;
    bed.brokers.edit(&pods[0], |state| state.down = true);
    bed.put_topic("bills", of_demo(json!({ "type": "Ordered" })));
    bed.converge().await;
    assert_eq!(
        (reason(&bed, "orders"), reason(&bed, "bills")),
        ("Ready".into(), "NameserverUnavailable".into())
    );
    bed.brokers.edit(&pods[0], |state| state.down = false);
    bed.converge().await;
    assert_eq!(reason(&bed, "bills"), "Ready");
}

#[tokio::test]
async fn stopping_after_any_write_of_a_deletion_or_a_narrowing_ends_the_same() {
    let mut start = ready_set(2).await;
    start.put_topic("orders", of_demo(json!({ "type": "Ordered" })));
    start.put_topic("bills", of_demo(json!({})));
    start.converge().await;
    start.sets_are_given = true;
    let writes = stopped_after_each_write(&start, |bed| {
        delete(bed, ORDERS);
        bed.put_topic("bills", of_demo(json!({ "queues": 2 })));
    })
    .await;
    assert!(writes >= 10, "only {writes} writes were tried");
}
