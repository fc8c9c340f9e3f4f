use bolide_wire::header::consumer::{OffsetResponse, QueryConsumerOffset, UpdateConsumerOffset};
use bolide_wire::ids::QueueOffset;

use super::*;

async fn commit(lab: &Harness, offset: i64) {
    let update = UpdateConsumerOffset {
        consumer_group: "workers".into(),
        topic: "orders".into(),
        queue_id: 0,
        commit_offset: offset,
        broker_name: None,
    };
    assert_eq!(lab.ask(RequestCode::UPDATE_CONSUMER_OFFSET, &update).await.code, 0);
}

async fn check(lab: &Harness, bodies: &[&str], offset: i64) {
    assert_eq!(lab.pull("orders", 0, 0, "*", 0).await.bodies(), bodies);
    let query = QueryConsumerOffset {
        consumer_group: "workers".into(),
        topic: "orders".into(),
        queue_id: 0,
        set_zero_if_not_found: Some(false),
        broker_name: None,
    };
    let answer = lab.ask(RequestCode::QUERY_CONSUMER_OFFSET, &query).await;
    assert_eq!(OffsetResponse::decode(&answer.ext).unwrap().offset, offset);
    assert!(lab.broker.state.groups.find("workers").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_survives_a_crash_and_a_clean_stop() {
    let mut lab = Harness::start().await;
    sent(&lab.send("orders", "1", "").await);
    lab.join("workers", "orders").await;
    commit(&lab, 1).await;
    let version = lab.broker.state.topics.version();
    lab = lab.restart(false).await;
    check(&lab, &["1"], 1).await;
    assert_eq!(lab.broker.state.topics.version(), version);
    sent(&lab.send("orders", "2", "").await);
    commit(&lab, 2).await;
    lab = lab.restart(true).await;
    check(&lab, &["1", "2"], 2).await;
    commit(&lab, 1).await;
    lab = lab.restart(false).await;
    check(&lab, &["1", "2"], 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delayed_message_is_delivered_once_whatever_happens() {
    let mut lab = Harness::start().await;
    sent(&lab.send("orders", "first", "").await);
    sent(&lab.send("orders", "late", "DELAY\u{1}1\u{2}TAGS\u{1}A\u{2}").await);
    assert_eq!(lab.pull("orders", 0, 1, "*", 0).await.code, 19);
    lab = lab.restart(false).await;
    let late = lab.pull("orders", 0, 1, "A", 10_000).await;
    assert_eq!(late.bodies(), ["late"]);
    for clean in [false, true, false] {
        lab = lab.restart(clean).await;
        assert_eq!(lab.broker.state.delays.lock().next(1), QueueOffset(1));
        assert_eq!(lab.pull("orders", 0, 2, "*", 300).await.code, 19, "not delivered again");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn queues_of_a_deleted_topic_that_cannot_go_yet_go_later() {
    let lab = Harness::start().await;
    sent(&lab.send("orders", "1", "").await);
    let topic = lab.broker.state.topics.find("orders").unwrap().name.clone();
    let end = lab.broker.store.watermarks().dispatched;
    lab.broker.state.deleted.lock().deleted(&topic, end);
    // The disk refuses to remove the folder.
    let folder = lab.folder.path().join("consumequeue/orders");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("0"), b"no folder").unwrap();
    assert!(!lab.broker.delete_queues().await);
    assert_eq!(lab.broker.state.deleted.lock().all(), [(topic, end)]);
    std::fs::remove_file(folder.join("0")).unwrap();
    assert!(lab.broker.delete_queues().await);
    assert!(lab.broker.state.deleted.lock().all().is_empty());
    assert!(lab.broker.store.queues_of("orders").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_topic_stays_deleted() {
    let mut lab = Harness::start().await;
    sent(&lab.send("orders", "1", "").await);
    let topic = lab.broker.state.topics.find("orders").unwrap().name.clone();
    lab.broker.delete_topics(vec![topic]).await.unwrap();
    assert_eq!(lab.call(pull("puller", "orders", 0, 0, "*", 0)).await.code, 17);
    lab = lab.restart(false).await;
    assert!(lab.broker.state.topics.find("orders").is_none());
    assert_eq!(sent(&lab.send("orders", "2", "").await).queue_id, 0);
    let pulled = lab.pull("orders", 0, 0, "*", 0).await;
    assert_eq!(pulled.bodies(), ["2"]);
}
