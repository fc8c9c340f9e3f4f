//! What a term leaves undone when its end of the log is not confirmed: nothing waits for it, and nothing is done twice.

use bolide_wire::RequestCode;
use bolide_wire::body::group::SubscriptionGroupConfig;
use bolide_wire::header::transaction::EndTransaction;
use bolide_wire::ids::GroupName;
use bolide_wire::message::OffsetMessageId;

use super::*;
use crate::config::replica::ReplicationMode;
use crate::duties::Duties;
use crate::harness::sent;
use crate::state::transactions::HalfId;

fn asynchronous(config: &mut BrokerConfig) {
    config.replication_mode = ReplicationMode::Async;
}

impl Group {
    /// Neither the first replica nor the others hear anything of each other, and the first reaches no group state.
    fn cut_off(&self, cut: bool) {
        self.seats[0].state.away.store(cut, Ordering::SeqCst);
        self.silent.send_replace(cut);
    }
}

/// Stores a half message that both replicas know as open; returns the request that commits it.
async fn half(group: &Group) -> EndTransaction {
    let properties = "TRAN_MSG\u{1}true\u{2}PGROUP\u{1}pg\u{2}UNIQ_KEY\u{1}u\u{2}";
    let stored = sent(&group.ask(send("orders", 0, "half", properties)).await.unwrap());
    let id: OffsetMessageId = stored.msg_id.parse().unwrap();
    let knows = |group: &Group, number: usize| {
        let transactions = group.running(number).broker.state.transactions.lock();
        transactions.place_of(HalfId(id.offset.0)).is_some()
    };
    group.until("both know the half message", |group| knows(group, 0) && knows(group, 1)).await;
    EndTransaction {
        topic: Some("orders".into()),
        producer_group: "pg".into(),
        tran_state_table_offset: stored.queue_offset,
        commit_log_offset: id.offset.to_wire(),
        commit_or_rollback: 8,
        from_transaction_check: false,
        msg_id: "u".into(),
        transaction_id: None,
        broker_name: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_can_be_decided_when_its_first_decision_was_cut_off_with_the_log() {
    let group = Group::started(2, asynchronous).await;
    group.send("first").await;
    let commit = Command::request(RequestCode::END_TRANSACTION).with_header(&half(&group).await);
    let end = group.running(0).broker.store.watermarks().appended;
    group.cut_off(true);
    // Whether it is acknowledged is not the question.
    drop(group.ask(commit.clone()).await);
    assert!(group.running(0).broker.store.watermarks().appended > end, "the decision was appended");
    group.until("the slave leads", |group| group.leader() == Some(1)).await;
    group.cut_off(false);
    group.until("both logs are equal", |group| group.in_sync() == 2 && group.equal(0, 1)).await;
    assert_eq!(group.read(&group.address).await, ["first"]);
    let replication = group.running(1).broker.replication.get().unwrap();
    replication.switch_over(None).await.unwrap();
    group.until("the first leads again", |group| group.leader() == Some(0)).await;
    assert_eq!(group.ask(commit).await.map(|answer| answer.code), Some(0));
    assert_eq!(group.read(&group.address).await, ["first", "half"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_is_never_confirmed_fails_with_the_term() {
    let group = Group::started(2, asynchronous).await;
    group.cut_off(true);
    let broker = group.running(0).broker.clone();
    let changing = tokio::spawn(async move {
        let late = SubscriptionGroupConfig::new(&GroupName::new("late").unwrap());
        broker.change_groups(vec![late], Vec::new(), false).await
    });
    group.until("the slave leads", |group| group.leader() == Some(1)).await;
    assert!(!changing.is_finished(), "the first does not know yet");
    group.cut_off(false);
    group.until("both logs are equal", |group| group.in_sync() == 2 && group.equal(0, 1)).await;
    let changed = tokio::time::timeout(Duration::from_secs(5), changing).await;
    assert!(changed.expect("the change ends").unwrap().is_err());
    assert!(group.running(0).broker.state.groups.find("late").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn duties_that_begin_before_what_was_delivered_is_confirmed_do_not_deliver_it_again() {
    let group = Group::started(2, |_| {}).await;
    group.send("first").await;
    let delayed = send("orders", 0, "later", "DELAY\u{1}1\u{2}");
    assert_eq!(group.ask(delayed).await.unwrap().code, 0);
    let broker = group.running(0).broker.clone();
    tokio::time::sleep(Duration::from_millis(700)).await;
    group.cut_off(true);
    let end = broker.store.watermarks().appended;
    group.until("it is delivered", |_| broker.store.watermarks().appended > end).await;
    assert!(broker.store.watermarks().dispatched <= end, "not confirmed");
    let again = Duties::begin(&broker);
    tokio::time::sleep(Duration::from_millis(200)).await;
    group.cut_off(false);
    group
        .until("all is applied", |_| {
            let marks = broker.store.watermarks();
            marks.dispatched == marks.appended
        })
        .await;
    again.end().await;
    assert_eq!(group.read(&group.address).await, ["first", "later"]);
}
