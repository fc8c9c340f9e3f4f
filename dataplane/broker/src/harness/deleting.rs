use bolide_wire::header::topic::TopicOnly;
use bolide_wire::ids::{GroupName, QueueId, TopicName};

use super::*;
use crate::state::pops::change::{PopKey, QueueChange};
use crate::state::record::{OffsetTable, StateRecord};

async fn delete(lab: &Harness, topic: &str) {
    let header = TopicOnly { topic: topic.into() };
    let answer = lab.ask(RequestCode::DELETE_TOPIC_IN_BROKER, &header).await;
    assert_eq!(answer.code, 0, "{:?}", answer.remark);
}

/// What a pop of `workers` gets now.
async fn popped(lab: &Harness) -> Vec<String> {
    let answer = lab.ask(RequestCode::POP_MESSAGE, &pop::request("workers", 1, 60_000, 0)).await;
    Pulled { code: answer.code, next: 0, body: answer.body }.bodies()
}

fn committed(lab: &Harness, group: &str) -> Option<i64> {
    lab.broker.state.offsets.lock().committed(group, "orders", QueueId(0)).map(|offset| offset.0)
}

fn workers() -> PopKey {
    PopKey {
        group: GroupName::new("workers").unwrap(),
        topic: TopicName::new("orders").unwrap(),
        queue: QueueId(0),
    }
}

/// Appends records one after the other and waits for the last to be applied.
async fn log(lab: &Harness, records: &[StateRecord]) {
    let placed: Vec<_> = records.iter().map(|record| lab.broker.append_state(record).unwrap()).collect();
    for placed in placed {
        lab.broker.applied(placed).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_pull_is_answered_when_its_topic_is_deleted() {
    let lab = Harness::start().await;
    sent(&lab.send("orders", "old", "").await);
    let held = tokio::time::timeout(Duration::from_secs(10), lab.pull("orders", 0, 1, "*", 15_000));
    let (answer, ()) = tokio::join!(held, async {
        while lab.broker.hold.lock().len() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        delete(&lab, "orders").await;
    });
    assert_eq!(answer.expect("answered before its time is over").code, 19);
    assert_eq!(lab.call(pull("puller", "orders", 0, 1, "*", 15_000)).await.code, 17);
    sent(&lab.send("orders", "new", "").await);
    assert_eq!(lab.pull("orders", 0, 0, "*", 0).await.bodies(), ["new"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_deleted_without_its_offsets_pops_on_from_where_it_was() {
    let mut lab = Harness::start().await;
    for body in ["1", "2", "3", "4"] {
        sent(&lab.send("orders", body, "").await);
    }
    for body in ["1", "2"] {
        assert_eq!(popped(&lab).await, [body]);
    }
    let out: Vec<_> = lab.broker.state.pops.lock().table(&lab.broker.state.offsets.lock());
    let acks = out[0].given.iter().take(1).map(|given| (given.0, given.2.clone())).collect();
    log(&lab, &[StateRecord::Pops { queues: vec![QueueChange { acks, ..QueueChange::of(&workers()) }] }])
        .await;
    assert_eq!(committed(&lab, "workers"), Some(1));
    lab.broker.change_groups(Vec::new(), vec![workers().group], false).await.unwrap();
    assert_eq!(committed(&lab, "workers"), Some(1), "the offset stays");
    assert_eq!(popped(&lab).await, ["2"], "out with nobody now");
    for clean in [false, true] {
        lab.broker.change_groups(Vec::new(), vec![workers().group], false).await.unwrap();
        lab = lab.restart(clean).await;
        assert_eq!(popped(&lab).await, ["2"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_on_its_way_when_a_topic_or_group_was_deleted_moves_no_later_one() {
    let mut lab = Harness::start().await;
    for body in ["1", "2", "3"] {
        sent(&lab.send("orders", body, "").await);
    }
    assert_eq!(popped(&lab).await, ["1"]);
    let late_pop =
        || StateRecord::Pops { queues: vec![QueueChange { next: Some(3), ..QueueChange::of(&workers()) }] };
    let late_commit =
        StateRecord::Offsets { offsets: OffsetTable::from([("orders@readers".into(), [(0, 2)].into())]) };
    let data_version = lab.broker.state.topics.version();
    let deleted = StateRecord::Topics { data_version, put: Vec::new(), remove: vec![workers().topic] };
    log(&lab, &[deleted, late_pop(), late_commit]).await;
    assert_eq!((committed(&lab, "workers"), committed(&lab, "readers")), (None, None));
    lab = lab.restart(false).await;
    assert_eq!((committed(&lab, "workers"), committed(&lab, "readers")), (None, None));
    sent(&lab.send("orders", "new", "").await);
    assert_eq!(popped(&lab).await, ["new"]);
    let deleted = StateRecord::Groups {
        data_version: lab.broker.state.groups.version(),
        put: Vec::new(),
        remove: vec![workers().group],
        clean_offsets: true,
    };
    log(&lab, &[deleted, late_pop()]).await;
    assert_eq!(committed(&lab, "workers"), None);
    assert_eq!(popped(&lab).await, ["new"]);
}

/// What was deleted cannot be removed until the only thread for it is free.
#[test]
fn a_topic_made_anew_while_its_deletion_is_under_way_keeps_what_is_sent_to_it() {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(2).max_blocking_threads(1).enable_all();
    runtime.build().unwrap().block_on(async {
        let lab = Arc::new(Harness::start().await);
        sent(&lab.send("orders", "old", "").await);
        let (free, busy) = std::sync::mpsc::channel::<()>();
        let thread = tokio::task::spawn_blocking(move || busy.recv());
        let deleting = tokio::spawn({
            let lab = lab.clone();
            async move { delete(&lab, "orders").await }
        });
        while lab.broker.state.topics.find("orders").is_some() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let mut sending = tokio::spawn({
            let lab = lab.clone();
            async move { sent(&lab.send("orders", "new", "").await) }
        });
        // Time enough to be acknowledged early.
        let early = tokio::time::timeout(Duration::from_millis(500), &mut sending).await;
        free.send(()).unwrap();
        assert!(thread.await.unwrap().is_ok());
        deleting.await.unwrap();
        if early.is_err() {
            sending.await.unwrap();
        }
        assert_eq!(lab.pull("orders", 0, 0, "*", 0).await.bodies(), ["new"]);
    });
}
