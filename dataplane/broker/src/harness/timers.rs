use bolide_store::Clock;
use bolide_wire::body::group::{
    ExponentialRetryPolicy, GroupRetryPolicy, RetryPolicyType, SubscriptionGroupConfig,
};
use bolide_wire::header::send::{ConsumerSendMsgBack, RecallMessage, RecallMessageResponse};
use bolide_wire::message::OffsetMessageId;
use bolide_wire::properties::names;

use super::*;
use crate::timers::handle::RecallHandle;

const HOUR_MS: i64 = 3_600_000;

impl Harness {
    /// Sends a message for later; returns its recall handle.
    async fn later(&self, body: &str, name: &str, value: i64) -> String {
        let properties = format!("{name}\u{1}{value}\u{2}UNIQ_KEY\u{1}U-{body}\u{2}");
        sent(&self.send("orders", body, &properties).await).recall_handle.unwrap()
    }

    async fn recall(&self, handle: &str) -> Command {
        let header = RecallMessage {
            topic: "orders".into(),
            recall_handle: handle.into(),
            producer_group: Some("producers".into()),
        };
        self.ask(RequestCode::RECALL_MESSAGE, &header).await
    }

    /// Bodies of the topic from an offset on, once there are so many.
    async fn until(&self, offset: i64, count: usize) -> Vec<String> {
        let mut bodies = Vec::new();
        while bodies.len() < count {
            let at = offset + i64::try_from(bodies.len()).unwrap();
            let pulled = self.pull("orders", 0, at, "*", 15_000).await;
            assert_eq!(pulled.code, 0, "no message at {at}, got {bodies:?}");
            bodies.extend(pulled.bodies());
        }
        bodies
    }

    async fn nothing_more(&self, offset: i64) {
        assert_eq!(self.pull("orders", 0, offset, "*", 400).await.code, 19, "nothing at {offset}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timer_comes_at_its_time_to_the_millisecond_and_says_where_from() {
    let lab = Harness::start().await;
    sent(&lab.send("orders", "first", "").await);
    let asked = lab.clock.now().0 + 700;
    let handle = lab.later("at", names::TIMER_DELIVER_MS, asked).await;
    let handle = RecallHandle::decode(&handle).unwrap();
    assert_eq!((handle.topic.as_str(), handle.broker.as_str()), ("orders", "broker-a"));
    assert_eq!((handle.due.0, handle.unique_key.as_str()), (asked, "U-at"));
    lab.nothing_more(1).await;
    let pulled = lab.pull("orders", 0, 1, "*", 10_000).await;
    let record = pulled.records()[0];
    assert_eq!(record.body(), b"at");
    let number = |name: &str| record.properties().get(name).unwrap().parse::<i64>().unwrap();
    assert_eq!(number(names::TIMER_OUT_MS), asked);
    assert!(number(names::TIMER_DEQUEUE_MS) >= asked && record.store_timestamp().0 >= asked, "not early");
    assert!(number(names::TIMER_ENQUEUE_MS) < asked);
    assert_eq!(record.properties().get(names::TIMER_DELIVER_MS), None);
    assert_eq!(record.properties().get(names::UNIQ_KEY), Some("U-at"));
}

#[tokio::test(flavor = "multi_thread")]
async fn timers_come_in_the_order_of_their_times() {
    let lab = Harness::start().await;
    sent(&lab.send("orders", "first", "").await);
    let begin = lab.clock.now().0 + 1_500;
    let order: Vec<i64> = (0..300).map(|number| (number * 7_919) % 1_000).collect();
    let sends = order.iter().map(|after| {
        let lab = &lab;
        async move { lab.later(&format!("{after:04}"), names::TIMER_DELIVER_MS, begin + after).await }
    });
    futures::future::join_all(sends).await;
    let bodies = lab.until(1, 300).await;
    assert!(bodies.is_sorted(), "{bodies:?}");
    assert!(lab.broker.state.timers.index.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_time_is_refused_and_a_past_one_is_now() {
    let lab = Harness::start().await;
    assert_eq!(lab.send("orders", "x", "TIMER_DELAY_SEC\u{1}259201\u{2}").await.code, 13);
    let remark = lab.send("orders", "x", "TIMER_DELAY_MS\u{1}soon\u{2}").await.remark.unwrap();
    assert!(remark.contains("max delay 259200000ms"), "{remark}");
    let now = sent(&lab.send("orders", "now", "TIMER_DELIVER_MS\u{1}5\u{2}").await);
    assert_eq!((now.queue_offset, now.recall_handle), (0, None));
    let level = sent(&lab.send("orders", "level", "DELAY\u{1}1\u{2}TIMER_DELAY_SEC\u{1}9\u{2}").await);
    assert_eq!(level.recall_handle, None, "a delay level comes first");
    assert_eq!(lab.send("rmq_sys_wheel_timer", "x", "").await.code, 16);
    let update = Command::request(RequestCode::UPDATE_BROKER_CONFIG)
        .with_body("timerWheelEnable=false\nrecallMessageEnable=false");
    assert_eq!(lab.call(update).await.code, 0);
    assert_eq!(lab.send("orders", "x", "TIMER_DELAY_SEC\u{1}1\u{2}").await.code, 1);
    assert_eq!(lab.recall("x").await.code, 16);
    assert_eq!(lab.until(0, 2).await, ["now", "level"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn timers_survive_every_restart_and_come_once() {
    let mut lab = Harness::start().await;
    sent(&lab.send("orders", "first", "").await);
    lab.later("b", names::TIMER_DELAY_MS, 2 * HOUR_MS).await;
    lab.later("a", names::TIMER_DELAY_SEC, 3_600).await;
    lab = lab.restart(false).await;
    lab.nothing_more(1).await;
    lab = lab.restart(true).await;
    lab.later("c", names::TIMER_DELAY_MS, 3 * HOUR_MS).await;
    assert_eq!(lab.broker.state.timers.index.len(), 3);
    lab.clock.jump(HOUR_MS + 1_000);
    assert_eq!(lab.until(1, 1).await, ["a"]);
    for clean in [false, true, false] {
        lab = lab.restart(clean).await;
        lab.nothing_more(2).await;
    }
    lab.clock.jump(3 * HOUR_MS);
    assert_eq!(lab.until(2, 2).await, ["b", "c"]);
    lab = lab.restart(false).await;
    lab.nothing_more(4).await;
    // Without its files the index comes from the log alone.
    lab.later("d", names::TIMER_DELAY_MS, HOUR_MS).await;
    let files = lab.folder.path().join("timers");
    lab = lab.restart_after(true, || std::fs::remove_dir_all(&files).unwrap()).await;
    assert_eq!(lab.broker.state.timers.index.len(), 1);
    lab.clock.jump(HOUR_MS);
    assert_eq!(lab.until(4, 1).await, ["d"]);
    lab.nothing_more(5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_jumps_back_delays_and_one_that_jumps_ahead_does_not() {
    let mut lab = Harness::start().await;
    sent(&lab.send("orders", "first", "").await);
    lab.later("a", names::TIMER_DELAY_MS, 2_000).await;
    lab.clock.jump(-HOUR_MS);
    lab.later("b", names::TIMER_DELAY_MS, 300).await;
    assert_eq!(lab.until(1, 1).await, ["b"], "due by the clock of now");
    lab.nothing_more(2).await;
    lab = lab.restart(false).await;
    lab.nothing_more(2).await;
    lab.clock.jump(2 * HOUR_MS);
    assert_eq!(lab.until(2, 1).await, ["a"]);
    // Due before what was delivered already: it is neither forgotten nor early.
    lab.clock.jump(-2 * HOUR_MS);
    lab.later("c", names::TIMER_DELAY_MS, 800).await;
    lab.nothing_more(3).await;
    assert_eq!(lab.until(3, 1).await, ["c"]);
    lab = lab.restart(false).await;
    lab.nothing_more(4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recalled_message_never_comes_and_a_late_recall_is_refused() {
    let mut lab = Harness::start().await;
    sent(&lab.send("orders", "first", "").await);
    let due = lab.clock.now().0 + HOUR_MS;
    let mut handles = Vec::new();
    for body in ["a", "b", "c"] {
        handles.push(lab.later(body, names::TIMER_DELIVER_MS, due).await);
    }
    let gone = lab.later("gone", names::TIMER_DELIVER_MS, due + 5_000).await;
    for handle in [&handles[1], &gone] {
        let answer = lab.recall(handle).await;
        assert_eq!(answer.code, 0, "{:?}", answer.remark);
        let unique = RecallHandle::decode(handle).unwrap().unique_key;
        assert_eq!(RecallMessageResponse::decode(&answer.ext).unwrap().msg_id, unique);
    }
    for clean in [false, true] {
        lab = lab.restart(clean).await;
    }
    lab.clock.jump(HOUR_MS + 10_000);
    assert_eq!(lab.until(1, 2).await, ["a", "c"]);
    lab.nothing_more(3).await;
    assert!(lab.broker.state.timers.index.is_empty(), "recalls leave nothing behind");
    let late = lab.recall(&handles[0]).await;
    assert_eq!((late.code, late.remark.as_deref()), (604, Some("recall failed, timestamp invalid")));
    // The clock goes back: what was delivered stays so.
    lab.clock.jump(-2 * HOUR_MS);
    assert_eq!(lab.recall(&handles[2]).await.code, 604);
    assert_eq!(lab.recall("no handle").await.code, 604);
    let other = crate::timers::handle::encode("orders", "broker-b", lab.clock.now(), "U");
    assert_eq!(lab.recall(&other).await.code, 604);
    lab = lab.restart(false).await;
    lab.nothing_more(3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pending_timers_move_on_before_their_part_of_the_log_is_deleted() {
    let mut lab = Harness::start_with(|config| {
        config.mapped_file_size_commit_log = 256 * 1024;
        config.max_message_size = 64 * 1024;
        config.timer_max_delay_sec = 366 * 86_400;
    })
    .await;
    sent(&lab.send("orders", "first", "").await);
    let mut handles = Vec::new();
    for number in 0..20 {
        handles.push(lab.later(&format!("{number:02}"), names::TIMER_DELAY_MS, 200 * HOUR_MS + number).await);
    }
    assert_eq!(lab.recall(&handles[7]).await.code, 0);
    for _ in 0..30 {
        sent(&lab.send("other", &"x".repeat(40_000), "").await);
    }
    lab.clock.jump(100 * HOUR_MS);
    sent(&lab.send("other", "young", "").await);
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    while lab.broker.store.watermarks().min.0 == 0 {
        assert!(
            tokio::time::Instant::now() < deadline,
            "the first file stays: {:?}",
            lab.broker.store.watermarks()
        );
        let broker = lab.broker.clone();
        tokio::task::spawn_blocking(move || broker.save_snapshot().map(drop)).await.unwrap().unwrap();
        lab.broker.store.clean_now();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let min = lab.broker.store.watermarks().min;
    assert_eq!(lab.broker.state.timers.index.before(min, 10).unwrap(), []);
    lab = lab.restart(false).await;
    assert!(!lab.broker.state.timers.index.is_empty());
    // A recall finds its message wherever it went.
    assert_eq!(lab.recall(&handles[3]).await.code, 0);
    lab.clock.jump(101 * HOUR_MS);
    let next = lab.broker.store.queue("orders", bolide_wire::ids::QueueId(0)).unwrap().max().0.max(1);
    let wanted: Vec<String> =
        (0..20).filter(|number| ![3, 7].contains(number)).map(|number| format!("{number:02}")).collect();
    assert_eq!(lab.until(next.min(1), wanted.len()).await, wanted);
    lab.nothing_more(19).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_with_a_retry_policy_decides_how_long_a_failed_message_waits() {
    let lab = Harness::start().await;
    lab.join("workers", "orders").await;
    let policy = GroupRetryPolicy {
        kind: RetryPolicyType::Exponential,
        exponential_retry_policy: Some(ExponentialRetryPolicy { initial: 300, max: 900, multiplier: 2 }),
        ..GroupRetryPolicy::default()
    };
    let config = SubscriptionGroupConfig {
        group_retry_policy: policy,
        retry_max_times: 2,
        ..SubscriptionGroupConfig::new("workers")
    };
    lab.broker.change_groups(vec![config], Vec::new(), false).await.unwrap();
    let id: OffsetMessageId =
        sent(&lab.send("orders", "job", "TAGS\u{1}A\u{2}").await).msg_id.parse().unwrap();
    let mut offset = id.offset;
    for (round, wait) in [(0, 300), (1, 600)] {
        let before = lab.clock.now().0;
        assert_eq!(send_back(&lab, offset.to_wire(), 0).await, 0);
        let pulled = lab.pull("%RETRY%workers", 0, round, "*", 10_000).await;
        let record = pulled.records()[0];
        let waited = record.store_timestamp().0 - before;
        assert!((wait..wait + 5_000).contains(&waited), "retry {round} after {waited} ms");
        assert_eq!(record.properties().get(names::TAGS), Some("A"));
        assert_eq!(i64::from(record.reconsume_times()), round + 1);
        offset = record.log_offset();
    }
    assert_eq!(send_back(&lab, offset.to_wire(), 0).await, 0);
    let dead = lab.pull("%DLQ%workers", 0, 0, "*", 5_000).await;
    assert_eq!(dead.bodies(), ["job"]);
    assert_eq!(dead.records()[0].properties().get(names::TIMER_OUT_MS), None);
    let update = Command::request(RequestCode::UPDATE_BROKER_CONFIG)
        .with_body("brokerPermission=4\nallowRecallWhenBrokerNotWriteable=false");
    assert_eq!(lab.call(update).await.code, 0);
    assert_eq!(send_back(&lab, offset.to_wire(), 0).await, 16, "a read-only broker takes nothing back");
    assert_eq!(lab.recall("x").await.code, 14);
}

async fn send_back(lab: &Harness, offset: i64, delay_level: i32) -> i32 {
    let header = ConsumerSendMsgBack {
        offset,
        group: "workers".into(),
        delay_level,
        origin_msg_id: None,
        origin_topic: Some("orders".into()),
        unit_mode: false,
        max_reconsume_times: None,
        broker_name: None,
    };
    lab.ask(RequestCode::CONSUMER_SEND_MSG_BACK, &header).await.code
}
