use std::collections::BTreeSet;
use std::time::Instant;

use bolide_wire::RequestCode;
use bolide_wire::body::MessageQueue;
use bolide_wire::body::lock::{LockBatchRequest, LockBatchResponse};
use bolide_wire::header::consumer::{OffsetResponse, QueryConsumerOffset, UpdateConsumerOffset};

use bolide_wire::json::{self, IntegerKeys};

use super::*;
use crate::config::replica::ReplicationMode;

fn commit(offset: i64) -> Command {
    Command::request(RequestCode::UPDATE_CONSUMER_OFFSET).with_header(&UpdateConsumerOffset {
        consumer_group: "puller".into(),
        topic: "orders".into(),
        queue_id: 0,
        commit_offset: offset,
        broker_name: None,
    })
}

async fn committed(group: &Group) -> i64 {
    committed_for(group, &group.client).await
}

/// As a client sees it that has asked for other things on its connection before.
async fn committed_for(group: &Group, client: &Client) -> i64 {
    let query = Command::request(RequestCode::QUERY_CONSUMER_OFFSET).with_header(&QueryConsumerOffset {
        consumer_group: "puller".into(),
        topic: "orders".into(),
        queue_id: 0,
        set_zero_if_not_found: Some(true),
        broker_name: None,
    });
    let answer = client.call(&group.address, query, DEADLINE).await.unwrap();
    OffsetResponse::decode(&answer.ext).unwrap().offset
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_master_is_replaced_with_everything_acknowledged_and_comes_back_as_a_slave() {
    let mut group = Group::started(2, |_| {}).await;
    group.send_all("before", 50).await;
    assert_eq!(group.pull(&group.address, 0, 0).await.code, 0);
    assert_eq!(group.ask(commit(7)).await.unwrap().code, 0);
    tokio::time::sleep(Duration::from_millis(500)).await;
    let before = group.epoch();
    for round in 0..4 {
        let leader = group.leader().unwrap();
        group.kill(leader).await;
        group.send_all(&format!("round{round}-"), 20).await;
        assert_eq!(group.leader(), Some(1 - leader));
        assert_eq!(committed(&group).await, 7);
        group.start(leader).await;
        group.until("it is in sync again", |group| group.in_sync() == 2).await;
    }
    assert_eq!(group.epoch(), before + 4);
    let read: Vec<String> = group.read(&group.address.clone()).await;
    let mut wanted: Vec<String> = (0..50).map(|number| format!("before{number}")).collect();
    wanted.extend((0..4).flat_map(|round| (0..20).map(move |number| format!("round{round}-{number}"))));
    let unique: BTreeSet<&String> = read.iter().collect();
    assert!(wanted.iter().all(|body| unique.contains(body)), "{read:?}");
    group.until("both logs are equal", |group| group.equal(0, 1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_that_is_cut_off_loses_its_role_and_then_its_tail() {
    let group = Group::started(2, |_| {}).await;
    group.send_all("before", 5).await;
    let old = group.running(0).broker.clone();
    group.seats[0].state.away.store(true, Ordering::SeqCst);
    group.silent.send_replace(true);
    let lost = group.ask(send("orders", 0, "nobody else has it", "")).await;
    assert!(lost.is_none_or(|answer| answer.response_code() != ResponseCode::SUCCESS));
    group.until("the slave leads", |group| group.leader() == Some(1)).await;
    assert!(!old.leads());
    group.send_all("after", 5).await;
    let diverged = old.store.watermarks().appended;
    assert!(diverged > old.store.watermarks().confirmed);
    group.seats[0].state.away.store(false, Ordering::SeqCst);
    group.silent.send_replace(false);
    group.until("the old master is in sync", |group| group.in_sync() == 2 && group.equal(0, 1)).await;
    let wanted: Vec<String> =
        ["before", "after"].iter().flat_map(|p| (0..5).map(move |n| format!("{p}{n}"))).collect();
    assert_eq!(group.read(&group.address).await, wanted);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slave_gives_out_what_is_confirmed_refuses_sends_and_passes_offsets_on() {
    let group = Group::started(2, |_| {}).await;
    group.send_all("m", 10).await;
    assert_eq!(group.pull(&group.address, 0, 0).await.bodies().len(), 10);
    group
        .until("the slave shows all", |group| {
            let slave = &group.running(1).broker.store;
            slave.watermarks().dispatched == group.running(0).broker.store.watermarks().dispatched
        })
        .await;
    assert_eq!(group.read(&group.slave).await.len(), 10);
    let ahead = group.pull(&group.slave, 100, 0).await;
    assert_eq!((ahead.code, ahead.next), (19, 100), "a slave may be behind");
    assert_eq!(group.pull(&group.address, 100, 0).await.code, 21);
    let call = |command| group.client.call(&group.slave, command, DEADLINE);
    assert_eq!(call(send("orders", 0, "no", "")).await.unwrap().response_code(), ResponseCode::SYSTEM_BUSY);
    assert_eq!(call(commit(4)).await.unwrap().code, 0);
    for _ in 0..100 {
        if committed(&group).await == 4 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    unreachable!("the offset never comes to the master");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_committed_at_a_slave_is_not_undone_by_what_waited_for_a_master() {
    for (returns, leader) in [(false, 1), (true, 0)] {
        let mut group = Group::started(2, |_| {}).await;
        group.send_all("m", 10).await;
        assert_eq!(group.pull(&group.address, 0, 0).await.code, 0);
        assert_eq!(group.ask(commit(2)).await.unwrap().code, 0);
        let at_slave = |group: &Group| {
            let offsets = group.running(1).broker.state.offsets.lock();
            offsets.committed("puller", "orders", 0.into()).map(|offset| offset.0)
        };
        group.until("the slave knows the offset", |group| at_slave(group) == Some(2)).await;
        for seat in &group.seats {
            seat.state.away.store(true, Ordering::SeqCst);
        }
        group.kill(0).await;
        // This one has not heard yet that the master is away.
        let late = Client::new(ClientConfig::default());
        late.oneway(&group.address, commit(3)).await.unwrap();
        let answer = group.client.call(&group.slave, commit(7), DEADLINE).await.unwrap();
        assert_eq!(answer.code, 0);
        // It is tried to tell the master.
        tokio::time::sleep(Duration::from_secs(1)).await;
        group.seats[leader].state.away.store(false, Ordering::SeqCst);
        if returns {
            group.start(0).await;
        }
        group.until("there is a master", |group| group.leader() == Some(leader)).await;
        let told = Instant::now();
        let mut found = committed_for(&group, &late).await;
        while returns && found != 7 && told.elapsed() < DEADLINE {
            tokio::time::sleep(Duration::from_millis(50)).await;
            found = committed_for(&group, &late).await;
        }
        assert_eq!(found, 7, "leader {leader}");
        assert_eq!(group.ask(commit(8)).await.unwrap().code, 0);
        assert_eq!(committed(&group).await, 8);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_planned_switchover_fails_no_send() {
    let group = Arc::new(Group::started(2, |_| {}).await);
    group.send("first").await;
    let stop = CancellationToken::new();
    let senders: Vec<_> = (0..4)
        .map(|sender| {
            let (group, stop) = (group.clone(), stop.clone());
            tokio::spawn(async move {
                // Java clients are sent away, others are handed on.
                let language = if sender % 2 == 0 { Language::Java } else { Language::Go };
                let client = Client::new(ClientConfig::default());
                let (mut sent, mut most) = (0, 0);
                while !stop.is_cancelled() {
                    most = most.max(group.send_as(&client, language, &format!("s{sender}-{sent}")).await);
                    sent += 1;
                }
                (language, sent, most)
            })
        })
        .collect();
    for round in 0..4 {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let (from, to) = (round % 2, 1 - round % 2);
        let replication = group.running(from).broker.replication.get().unwrap();
        let led = replication.switch_over(None).await.unwrap();
        assert_eq!(led.as_str(), format!("a-{to}"));
        group
            .until("the other serves and both are in sync", |group| {
                group.leader() == Some(to) && group.in_sync() == 2
            })
            .await;
    }
    stop.cancel();
    let mut all = 1;
    for sender in senders {
        let (language, sent, most) = sender.await.unwrap();
        // Whoever cannot be sent away is let go in a quiet moment, and may be about to ask again: those clients' own retry
        // is on the next connection.
        let allowed = u32::from(language != Language::Java);
        assert!(most <= allowed, "{language:?} failed {most} times for one message of {sent}");
        all += sent;
    }
    assert_eq!(group.read(&group.address).await.len(), all, "nothing twice, nothing missing");
}

fn lock(client: &str) -> Command {
    let queue = MessageQueue { broker_name: "broker-a".into(), queue_id: 0, topic: "orders".into() };
    let body = LockBatchRequest {
        client_id: client.into(),
        consumer_group: "ordered".into(),
        mq_set: vec![queue],
        only_this_broker: false,
    };
    let body = json::to_vec(&body, IntegerKeys::Quoted).unwrap();
    Command::request(RequestCode::LOCK_BATCH_MQ).with_body(body)
}

async fn locked(group: &Group, client: &str) -> bool {
    let answer = group.ask(lock(client)).await.unwrap();
    let held: LockBatchResponse = json::from_slice(&answer.body).unwrap();
    !held.lock_ok_mq_set.is_empty()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_consumed_in_order_keeps_its_owner_when_the_master_changes() {
    let mut group = Group::started(2, |_| {}).await;
    group.send("first").await;
    assert!(locked(&group, "a").await);
    assert!(!locked(&group, "b").await);
    group.kill(0).await;
    group.until("the other leads", |group| group.leader() == Some(1)).await;
    assert!(!locked(&group, "b").await, "its owner had no time to renew");
    assert!(locked(&group, "a").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_two_copies_asked_for_sends_are_refused_while_there_is_one() {
    let mut group = Group::started(2, |config| config.min_in_sync = 2).await;
    group.send("both").await;
    group.kill(1).await;
    group.until("the slave is out", |group| group.running(0).broker.replication.get().unwrap().short()).await;
    // Told at first, then not answered at all: who cannot acknowledge may have been replaced.
    let refused = group.ask(send("orders", 0, "one", "")).await;
    assert!(refused.is_none_or(|answer| {
        answer.response_code() == ResponseCode::SYSTEM_ERROR
            && answer.remark.is_some_and(|remark| remark.contains("in-sync replicas not enough"))
    }));
    group.start(1).await;
    group.send("both again").await;
    let mut read = group.read(&group.address).await;
    // What was not acknowledged may be there or not.
    read.retain(|body| body != "one");
    assert_eq!(read, ["both", "both again"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_three_replicas_any_may_die_and_slaves_keep_their_ids() {
    let mut group = Group::started(3, |config| config.replication_mode = ReplicationMode::Sync).await;
    group.send_all("a", 10).await;
    group.kill(0).await;
    group.send_all("b", 10).await;
    let leader = group.leader().unwrap();
    let slave = 3 - leader;
    group
        .until("the other follows", |group| {
            group.running(slave).broker.standing.load().role == crate::role::Role::Slave(slave)
        })
        .await;
    group.start(0).await;
    group.until("all are in sync", |group| group.in_sync() == 3).await;
    group.kill(leader).await;
    group.send_all("c", 10).await;
    assert_eq!(group.read(&group.address).await.len(), 30);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_replica_begins_with_a_snapshot_when_the_log_does_not_reach_back() {
    let mut group = Group::new(2, |config| {
        config.mapped_file_size_commit_log = 64 * 1024;
        config.max_message_size = 32 * 1024;
        config.file_reserved_time = 0;
    })
    .await;
    group.start(0).await;
    group.until("it leads", |group| group.leader() == Some(0)).await;
    group.send("first").await;
    let body = "x".repeat(10_000);
    for _ in 0..30 {
        group.send(&body).await;
    }
    assert_eq!(group.pull(&group.address, 0, 0).await.code, 0);
    assert_eq!(group.ask(commit(3)).await.unwrap().code, 0);
    tokio::time::sleep(Duration::from_millis(500)).await;
    let broker = group.running(0).broker.clone();
    let saver = broker.clone();
    tokio::task::spawn_blocking(move || saver.save_snapshot().map(|_| ())).await.unwrap().unwrap();
    let _ = tokio::task::spawn_blocking({
        let store = broker.store.clone();
        move || store.flush_now()
    })
    .await;
    group
        .until("old segments are gone", |_| {
            broker.store.clean_now();
            broker.store.watermarks().min.0 > 0
        })
        .await;
    // The loop of a real process: it ends to begin anew with the snapshot.
    let seat = &group.seats[1];
    let (config, shutdown) = (seat.config.clone(), CancellationToken::new());
    let environment = Environment {
        listeners: group.listeners.iter().map(|listener| listener.try_clone().unwrap()).collect(),
        group_state: Some(Arc::new(seat.state.clone())),
        ..Environment::default()
    };
    let other = tokio::spawn(super::super::run(config, environment, shutdown.clone()));
    group.until("the other is in sync", |group| group.in_sync() == 2).await;
    drop(broker);
    group.kill(0).await;
    group.send("last").await;
    assert_eq!(committed(&group).await, 3);
    let first = group.pull(&group.address, 0, 0).await;
    assert_eq!(first.code, 21, "the oldest messages are gone here too");
    let mut next = first.next;
    let mut last = String::new();
    loop {
        let pulled = group.pull(&group.address, next, 0).await;
        if pulled.code == 19 {
            break;
        }
        last = pulled.bodies().pop().unwrap_or(last);
        next = pulled.next;
    }
    assert_eq!((last.as_str(), next), ("last", 32));
    shutdown.cancel();
    other.await.unwrap().unwrap();
    assert!(!group.seats[1].folder.path().join("incoming-snapshot").exists());
}

/// Timers of one instant, and how often each was delivered.
struct Burst {
    bodies: Vec<String>,
    due: i64,
}

impl Burst {
    /// Stores timers that are due in a second.
    async fn stored(group: &Group, prefix: &str) -> Burst {
        let due = group.running(group.leader().unwrap()).broker.clock.now().0 + 1_000;
        let bodies: Vec<String> = (0..100).map(|number| format!("{prefix}-{number}")).collect();
        for body in &bodies {
            let properties = format!("TIMER_DELIVER_MS\u{1}{due}\u{2}UNIQ_KEY\u{1}{body}\u{2}");
            let answer = group.ask(send("orders", 0, body, &properties)).await.unwrap();
            assert_eq!(answer.code, 0, "{:?}", answer.remark);
        }
        Burst { bodies, due }
    }

    /// Waits until all were delivered: each once.
    async fn comes_once(&self, group: &Group) {
        group
            .until("the last timer is delivered", |group| {
                let leader = group.leader().map(|leader| &group.running(leader).broker);
                leader.is_some_and(|broker| {
                    broker.clock.now().0 >= self.due && broker.state.timers.index.is_empty()
                })
            })
            .await;
        let deadline = tokio::time::Instant::now() + DEADLINE;
        loop {
            let read = group.read(&group.address).await;
            let times = |body: &String| read.iter().filter(|found| *found == body).count();
            let twice: Vec<&String> = self.bodies.iter().filter(|body| times(body) > 1).collect();
            assert!(twice.is_empty(), "delivered more than once: {twice:?}");
            if self.bodies.iter().all(|body| times(body) == 1) {
                return;
            }
            assert!(tokio::time::Instant::now() < deadline, "delivered: {read:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_asynchronous_replication_a_timer_comes_once_although_it_is_acknowledged_early() {
    let group = Group::started(2, |config| config.replication_mode = ReplicationMode::Async).await;
    group.send("first").await;
    let burst = Burst::stored(&group, "timer").await;
    burst.comes_once(&group).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_that_is_killed_in_a_burst_of_timers_leaves_each_to_be_delivered_once() {
    let mut group = Group::started(2, |_| {}).await;
    group.send("first").await;
    for (round, after_ms) in [1, 8, 20].into_iter().enumerate() {
        let burst = Burst::stored(&group, &format!("round{round}")).await;
        let leader = group.leader().unwrap();
        let broker = group.running(leader).broker.clone();
        while broker.clock.now().0 < burst.due + after_ms {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        drop(broker);
        group.kill(leader).await;
        group.until("the other one leads", |group| group.leader() == Some(1 - leader)).await;
        burst.comes_once(&group).await;
        group.start(leader).await;
        group.until("it is in sync again", |group| group.in_sync() == 2).await;
    }
}
