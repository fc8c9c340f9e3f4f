use bolide_transport::{Conn, Handler, TransportMetrics};
use bolide_wire::body::heartbeat::ProducerData;
use bolide_wire::header::transaction::{CheckTransactionState, EndTransaction, ResumeCheckHalfMessage};
use bolide_wire::ids::{LogOffset, QueueId};
use bolide_wire::message::{OffsetMessageId, RecordRef};
use tokio::sync::mpsc;

use super::*;
use crate::state::transactions::HalfId;

const COMMIT: i32 = 8;
const ROLLBACK: i32 = 12;
const HALF: &str = "RMQ_SYS_TRANS_HALF_TOPIC";
const DISCARDED: &str = "TRANS_CHECK_MAX_TIME_TOPIC";

/// A half message as its producer knows it.
#[derive(Clone)]
struct Sent {
    id: OffsetMessageId,
    queue_offset: i64,
}

impl Sent {
    fn end(&self, decision: i32) -> EndTransaction {
        EndTransaction {
            topic: Some("orders".into()),
            producer_group: "pg".into(),
            tran_state_table_offset: self.queue_offset,
            commit_log_offset: self.id.offset.to_wire(),
            commit_or_rollback: decision,
            from_transaction_check: false,
            msg_id: "U".into(),
            transaction_id: None,
            broker_name: None,
        }
    }
}

fn properties(unique: &str) -> String {
    format!("TRAN_MSG\u{1}true\u{2}PGROUP\u{1}pg\u{2}UNIQ_KEY\u{1}{unique}\u{2}TAGS\u{1}A\u{2}")
}

async fn half(lab: &Harness, body: &str) -> Sent {
    half_with(lab, body, &properties(body)).await
}

async fn half_with(lab: &Harness, body: &str, properties: &str) -> Sent {
    let answer = sent(&lab.call(send("orders", 1, body, properties)).await);
    assert_eq!(answer.queue_id, 1, "the queue that it is for");
    Sent { id: answer.msg_id.parse().unwrap(), queue_offset: answer.queue_offset }
}

async fn end(lab: &Harness, sent: &Sent, decision: i32) -> Command {
    lab.ask(RequestCode::END_TRANSACTION, &sent.end(decision)).await
}

async fn visible(lab: &Harness) -> Vec<String> {
    lab.pull("orders", 1, 0, "*", 0).await.bodies()
}

fn open(lab: &Harness, sent: &Sent) -> bool {
    lab.broker.state.transactions.lock().place_of(HalfId(sent.id.offset.0)).is_some()
}

/// A producer of the group, and the checks that it is asked.
struct Producer {
    client: Client,
    asked: mpsc::UnboundedReceiver<Command>,
}

struct Ask(mpsc::UnboundedSender<Command>);

impl Handler for Ask {
    fn handle(&self, _: &Conn, requests: Vec<Command>) {
        requests.into_iter().for_each(|request| self.0.send(request).unwrap());
    }
}

impl Producer {
    async fn join(lab: &Harness, group: &str) -> Producer {
        let (tell, asked) = mpsc::unbounded_channel();
        let metrics = TransportMetrics::unregistered();
        let client = Client::with_handler(ClientConfig::default(), Arc::new(Ask(tell)), metrics);
        let heartbeat = HeartbeatData {
            client_id: "producer".into(),
            producer_data_set: vec![ProducerData { group_name: group.into() }],
            ..HeartbeatData::default()
        };
        let body = json::to_vec(&heartbeat, IntegerKeys::Quoted).unwrap();
        let request = Command::request(RequestCode::HEART_BEAT).with_body(body);
        assert_eq!(client.call(&lab.address, request, TIMEOUT).await.unwrap().code, 0);
        Producer { client, asked }
    }

    async fn check(&mut self) -> Command {
        tokio::time::timeout(TIMEOUT, self.asked.recv()).await.unwrap().unwrap()
    }
}

fn quick(config: &mut BrokerConfig) {
    config.transaction_time_out = 100;
    config.transaction_check_interval = 100;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_committed_message_with_a_time_waits_for_it() {
    let mut lab = Harness::start().await;
    let far = properties("far") + "TIMER_DELAY_SEC\u{1}999999999\u{2}";
    assert_eq!(
        lab.call(send("orders", 1, "far", &far)).await.code,
        13,
        "refused before it is a half message"
    );
    let later = half_with(&lab, "later", &(properties("later") + "TIMER_DELAY_SEC\u{1}3600\u{2}")).await;
    assert_eq!(end(&lab, &later, COMMIT).await.code, 0);
    assert!(!open(&lab, &later));
    assert_eq!(lab.pull("orders", 1, 0, "*", 300).await.code, 19, "decided, but not due");
    lab = lab.restart(false).await;
    assert!(!open(&lab, &later));
    lab.clock.jump(3_601_000);
    assert_eq!(lab.pull("orders", 1, 0, "A", 10_000).await.bodies(), ["later"]);
    lab = lab.restart(true).await;
    assert_eq!(visible(&lab).await, ["later"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_committed_message_appears_once_and_says_where_it_came_from() {
    let lab = Harness::start().await;
    let first = half(&lab, "first").await;
    assert_eq!(lab.pull("orders", 1, 0, "*", 0).await.code, 19, "a half message is invisible");
    assert_eq!(first.queue_offset, 0);
    for round in 0..3 {
        assert_eq!(end(&lab, &first, COMMIT).await.code, 0, "decision {round}");
        assert_eq!(visible(&lab).await, ["first"], "decision {round}");
    }
    assert_eq!(end(&lab, &first, ROLLBACK).await.code, 0);
    let pulled = lab.pull("orders", 1, 0, "A", 0).await;
    let record = pulled.records()[0];
    assert_eq!(record.sys_flag() & 0xC, 8);
    assert_eq!(record.prepared_transaction_offset(), first.id.offset.to_wire());
    let properties = record.properties();
    assert_eq!((properties.get("TRAN_MSG"), properties.get("UNIQ_KEY")), (Some("true"), Some("first")));
    assert_eq!((properties.get("__transactionId__"), properties.get("PGROUP")), (Some("first"), Some("pg")));
    assert_eq!((properties.get("REAL_TOPIC"), properties.get("REAL_QID")), (None, None));
    let kept = lab.pull(HALF, 0, 0, "*", 0).await;
    let record = kept.records()[0];
    assert_eq!((record.sys_flag() & 0xC, record.properties().get("REAL_QID")), (0, Some("1")));
    let index = lab.broker.store.query(
        "orders",
        "first",
        8,
        bolide_wire::ids::EpochMillis(0),
        bolide_wire::ids::EpochMillis(i64::MAX),
    );
    assert_eq!(index.unwrap().len(), 1, "found by its unique id");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolled_back_message_never_appears() {
    let lab = Harness::start().await;
    let (first, second) = (half(&lab, "1").await, half(&lab, "2").await);
    let header = Command::request(RequestCode::END_TRANSACTION).with_header(&first.end(ROLLBACK));
    lab.client.oneway(&lab.address, header).await.unwrap();
    assert_eq!(end(&lab, &second, COMMIT).await.code, 0);
    assert_eq!(visible(&lab).await, ["2"]);
    assert!(!open(&lab, &first));
    assert_eq!(end(&lab, &first, COMMIT).await.code, 0, "as upstream, but nothing comes of it");
    assert_eq!(visible(&lab).await, ["2"]);
    let orders = lab.broker.state.topics.find("orders").unwrap();
    let counters = &orders.counters;
    assert_eq!((counters.committed.total(), counters.rolled_back.total(), counters.put.total()), (1, 1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_decisions_at_once_on_one_transaction_are_one() {
    let lab = Harness::start().await;
    let mut all = Vec::new();
    for number in 0..20 {
        all.push(half(&lab, &number.to_string()).await);
    }
    let (lab, all) = (&lab, &all);
    let decisions = (0..400).map(|number| async move {
        let decision = if number % 7 < 3 { COMMIT } else { ROLLBACK };
        end(lab, &all[number % all.len()], decision).await.code
    });
    let codes = futures::future::join_all(decisions).await;
    assert!(codes.iter().all(|code| *code == 0), "{codes:?}");
    assert_eq!(lab.broker.state.open_transactions(), 0);
    let mut bodies = visible(lab).await;
    let count = bodies.len();
    bodies.sort();
    bodies.dedup();
    assert_eq!(bodies.len(), count, "none twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_must_name_the_transaction_rightly() {
    let lab = Harness::start().await;
    let first = half(&lab, "first").await;
    let plain = sent(&lab.send("orders", "plain", "").await);
    let plain: OffsetMessageId = plain.msg_id.parse().unwrap();
    for settled in [false, true] {
        let wrong = |change: &dyn Fn(&mut EndTransaction)| {
            let mut header = first.end(COMMIT);
            change(&mut header);
            header
        };
        for (header, remark) in [
            (wrong(&|header| header.producer_group = "other".into()), "The producer group wrong"),
            (wrong(&|header| header.tran_state_table_offset = 7), "The transaction state table offset wrong"),
            (wrong(&|header| header.commit_log_offset += 1), "Find prepared transaction message failed"),
            (wrong(&|header| header.commit_log_offset = -1), "Find prepared transaction message failed"),
            (wrong(&|header| header.commit_log_offset = 1 << 40), "Find prepared transaction message failed"),
            (
                wrong(&|header| header.commit_log_offset = plain.offset.to_wire()),
                "Find prepared transaction message failed",
            ),
        ] {
            let answer = lab.ask(RequestCode::END_TRANSACTION, &header).await;
            assert_eq!((answer.code, answer.remark.as_deref()), (1, Some(remark)), "settled {settled}");
        }
        assert_eq!(open(&lab, &first), !settled);
        assert_eq!(end(&lab, &first, COMMIT).await.code, 0);
    }
    assert_eq!(visible(&lab).await, ["first"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_is_not_answered_and_decides_nothing() {
    let lab = Harness::start().await;
    let first = half(&lab, "first").await;
    for flags in [0, 4, 99] {
        let header = Command::request(RequestCode::END_TRANSACTION).with_header(&first.end(flags));
        let answer = lab.client.call(&lab.address, header, Duration::from_millis(100)).await;
        assert!(matches!(answer, Err(bolide_transport::CallError::Timeout { .. })), "{flags}: {answer:?}");
    }
    assert!(open(&lab, &first));
    assert_eq!(end(&lab, &first, COMMIT).await.code, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn half_messages_can_be_refused_and_are_bounded() {
    let lab = Harness::start_with(|config| config.max_open_transactions = 2).await;
    let first = half(&lab, "1").await;
    half(&lab, "2").await;
    assert_eq!(lab.call(send("orders", 1, "3", &properties("3"))).await.code, 2, "busy");
    assert_eq!(end(&lab, &first, ROLLBACK).await.code, 0);
    half(&lab, "3").await;
    let long = properties("4").replace("pg", &"g".repeat(256));
    let update = |text: &str| Command::request(RequestCode::UPDATE_BROKER_CONFIG).with_body(text.to_owned());
    assert_eq!(lab.call(update("maxOpenTransactions=10")).await.code, 0);
    assert_eq!(lab.call(send("orders", 1, "4", &long)).await.code, 13);
    assert_eq!(lab.call(update("rejectTransactionMessage=true")).await.code, 0);
    let answer = lab.call(send("orders", 1, "4", &properties("4"))).await;
    assert_eq!(answer.code, 16);
    // The retry of a consumer before 4.6.1 has the properties of the message that failed.
    let mut retry = send("orders", 1, "retry", &(properties("5") + "DELAY\u{1}1\u{2}"));
    retry.ext.insert("j", "1");
    assert_eq!(lab.call(retry).await.code, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_of_a_delayed_message_delays_after_the_commit() {
    let lab = Harness::start().await;
    let first = half_with(&lab, "late", &(properties("late") + "DELAY\u{1}1\u{2}")).await;
    assert_eq!(end(&lab, &first, COMMIT).await.code, 0);
    assert_eq!(lab.pull("orders", 1, 0, "*", 0).await.code, 19);
    let pulled = lab.pull("orders", 1, 0, "*", 10_000).await;
    assert_eq!((pulled.bodies(), pulled.records()[0].sys_flag() & 0xC), (vec!["late".to_owned()], 8));
    assert_eq!(lab.broker.state.open_transactions(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_producer_of_the_group_is_asked_until_it_knows() {
    let lab = Harness::start_with(quick).await;
    let mut producer = Producer::join(&lab, "pg").await;
    let mut stranger = Producer::join(&lab, "others").await;
    let first = half(&lab, "first").await;
    for times in 1..=2 {
        let asked = producer.check().await;
        assert_eq!(asked.code, RequestCode::CHECK_TRANSACTION_STATE.0);
        assert!(asked.is_oneway());
        let header = CheckTransactionState::decode(&asked.ext).unwrap();
        assert_eq!(header.commit_log_offset, first.id.offset.to_wire());
        assert_eq!(header.tran_state_table_offset, first.queue_offset);
        assert_eq!(header.offset_msg_id.as_deref(), Some(&*first.id.to_string()));
        assert_eq!(
            (header.transaction_id.as_deref(), header.msg_id.as_deref()),
            (Some("first"), Some("first"))
        );
        let record = RecordRef::parse(&asked.body).unwrap();
        record.verify_crc().unwrap();
        assert_eq!((record.topic(), record.queue_id(), record.body()), ("orders", QueueId(1), &b"first"[..]));
        assert_eq!((record.log_offset(), record.offset_message_id()), (first.id.offset, first.id));
        let properties = record.properties();
        assert_eq!((properties.get("PGROUP"), properties.get("UNIQ_KEY")), (Some("pg"), Some("first")));
        assert_eq!(properties.get("TRANSACTION_CHECK_TIMES"), Some(&*times.to_string()));
    }
    let half_queue = lab.broker.half_queue();
    assert_eq!(half_queue.max().0, 1, "a check appends no half message");
    let mut header = first.end(COMMIT);
    header.from_transaction_check = true;
    let answer = Command::request(RequestCode::END_TRANSACTION).with_header(&header);
    producer.client.oneway(&lab.address, answer).await.unwrap();
    assert_eq!(lab.pull("orders", 1, 0, "*", 10_000).await.bodies(), ["first"]);
    assert!(stranger.asked.try_recv().is_err(), "no producer of another group is asked");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_producer_is_asked_when_the_first_is_gone_even_after_a_crash() {
    let mut lab = Harness::start_with(|config| {
        quick(config);
        config.transaction_check_max = 1_000;
    })
    .await;
    let gone = Producer::join(&lab, "pg").await;
    let first = half(&lab, "first").await;
    gone.client.close(Duration::ZERO).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    lab = lab.restart(false).await;
    assert!(open(&lab, &first));
    let mut other = Producer::join(&lab, "pg").await;
    let asked = CheckTransactionState::decode(&other.check().await.ext).unwrap();
    assert_eq!(asked.commit_log_offset, first.id.offset.to_wire());
    assert_eq!(end(&lab, &first, ROLLBACK).await.code, 0);
    lab = lab.restart(false).await;
    assert!(!open(&lab, &first));
    assert_eq!(end(&lab, &first, COMMIT).await.code, 0);
    assert_eq!(lab.pull("orders", 1, 0, "*", 0).await.code, 19);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_nobody_decides_is_discarded_and_can_be_resumed() {
    let mut lab = Harness::start_with(|config| {
        quick(config);
        config.transaction_check_max = 3;
    })
    .await;
    let mut producer = Producer::join(&lab, "pg").await;
    let first = half(&lab, "first").await;
    let reply = until_stored(&lab, DISCARDED).await;
    let mut asked = 0;
    while producer.asked.try_recv().is_ok() {
        asked += 1;
    }
    assert_eq!(asked, 3);
    let record = reply.records()[0];
    assert_eq!((record.body(), record.properties().get("REAL_TOPIC")), (&b"first"[..], Some("orders")));
    assert_eq!(record.properties().get("TRANSACTION_CHECK_TIMES"), Some("3"));
    let discarded = record.offset_message_id();
    assert!(!open(&lab, &first));
    assert_eq!(lab.broker.state.topics.find("orders").unwrap().counters.discarded.total(), 1);
    for clean in [false, true] {
        lab = lab.restart(clean).await;
        assert_eq!(lab.broker.state.open_transactions(), 0);
        assert_eq!(lab.broker.store.queue(DISCARDED, QueueId(0)).unwrap().max().0, 1);
    }
    let resume = |id: OffsetMessageId| ResumeCheckHalfMessage { msg_id: Some(id.to_string()), topic: None };
    let wrong = lab.ask(RequestCode::RESUME_CHECK_HALF_MESSAGE, &resume(first.id)).await;
    assert_eq!(wrong.code, 29, "a half message is not a discarded one");
    let mut producer = Producer::join(&lab, "pg").await;
    let answer = lab.ask(RequestCode::RESUME_CHECK_HALF_MESSAGE, &resume(discarded)).await;
    assert_eq!(answer.code, 0, "{:?}", answer.remark);
    let asked = CheckTransactionState::decode(&producer.check().await.ext).unwrap();
    let resumed = Sent {
        id: OffsetMessageId { offset: LogOffset::from_wire(asked.commit_log_offset).unwrap(), ..first.id },
        queue_offset: asked.tran_state_table_offset,
    };
    assert_eq!(end(&lab, &resumed, COMMIT).await.code, 0);
    assert_eq!(visible(&lab).await, ["first"]);
}

/// Pulls until something is in queue 0 of a topic that may not exist yet.
async fn until_stored(lab: &Harness, topic: &str) -> Pulled {
    for _ in 0..400 {
        if lab.broker.store.queue(topic, QueueId(0)).is_some_and(|queue| queue.max().0 > 0) {
            return lab.pull(topic, 0, 0, "*", 0).await;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("nothing came to {topic}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_immunity_time_puts_the_first_check_off_and_refuses_a_late_decision() {
    let lab = Harness::start_with(quick).await;
    let mut producer = Producer::join(&lab, "pg").await;
    let immune = |seconds: &str| properties("x") + "CHECK_IMMUNITY_TIME_IN_SECONDS\u{1}" + seconds + "\u{2}";
    let long = half_with(&lab, "long", &immune("3600")).await;
    let short = half_with(&lab, "short", &immune("1")).await;
    let started = std::time::Instant::now();
    let asked = CheckTransactionState::decode(&producer.check().await.ext).unwrap();
    assert_eq!(asked.commit_log_offset, short.id.offset.to_wire());
    assert!(started.elapsed() > Duration::from_millis(900), "{:?}", started.elapsed());
    assert_eq!(end(&lab, &short, COMMIT).await.code, 604);
    assert_eq!(end(&lab, &long, COMMIT).await.code, 0);
    let mut header = short.end(COMMIT);
    header.from_transaction_check = true;
    assert_eq!(lab.ask(RequestCode::END_TRANSACTION, &header).await.code, 0);
    assert_eq!(visible(&lab).await, ["long", "short"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_before_and_after_each_step_changes_no_outcome() {
    let mut lab = Harness::start().await;
    let (first, second) = (half(&lab, "1").await, half(&lab, "2").await);
    for clean in [false, true, false] {
        lab = lab.restart(clean).await;
        assert!(open(&lab, &first) && open(&lab, &second));
        assert_eq!(lab.pull("orders", 1, 0, "*", 0).await.code, 19);
    }
    assert_eq!(end(&lab, &first, COMMIT).await.code, 0);
    lab = lab.restart(false).await;
    assert_eq!(end(&lab, &first, COMMIT).await.code, 0);
    assert_eq!(end(&lab, &second, ROLLBACK).await.code, 0);
    for clean in [true, false] {
        lab = lab.restart(clean).await;
        assert_eq!(end(&lab, &first, COMMIT).await.code, 0);
        assert_eq!(end(&lab, &second, COMMIT).await.code, 0);
        assert_eq!(visible(&lab).await, ["1"]);
        assert_eq!(lab.broker.state.open_transactions(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn half_messages_move_on_before_their_file_is_deleted() {
    let mut lab = Harness::start_with(|config| {
        config.mapped_file_size_commit_log = 64 << 10;
        config.max_message_size = 10_000;
        config.file_reserved_time = 0;
        config.transaction_time_out = 3_600_000;
    })
    .await;
    let (first, second) = (half(&lab, "1").await, half(&lab, "2").await);
    for round in 1..=2 {
        let old = lab.broker.state.transactions.lock().oldest().unwrap();
        let filler = "f".repeat(8_000);
        for _ in 0..24 {
            sent(&lab.send("filler", &filler, "").await);
        }
        let broker = lab.broker.clone();
        tokio::task::spawn_blocking(move || broker.save_snapshot().map(drop)).await.unwrap().unwrap();
        for _ in 0..500 {
            lab.broker.store.clean_now();
            if lab.broker.store.watermarks().min > old {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(lab.broker.store.watermarks().min > old, "round {round}: the file is gone");
        assert!(lab.broker.state.transactions.lock().oldest().unwrap() > old);
        lab = lab.restart(round == 1).await;
        assert!(open(&lab, &first) && open(&lab, &second), "round {round}");
    }
    assert_eq!(lab.broker.half_queue().max().0, 6, "each was moved twice");
    assert_eq!(end(&lab, &first, COMMIT).await.code, 0);
    assert_eq!(end(&lab, &second, ROLLBACK).await.code, 0);
    assert_eq!(lab.broker.state.open_transactions(), 0);
    lab = lab.restart(false).await;
    assert_eq!(lab.broker.state.open_transactions(), 0);
    assert_eq!(visible(&lab).await, ["1"]);
    let pulled = lab.pull("orders", 1, 0, "*", 0).await;
    assert_eq!(pulled.records()[0].prepared_transaction_offset(), first.id.offset.to_wire());
    assert_eq!(pulled.records()[0].properties().get("TRAN_SRC"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_tell_open_committed_rolled_back_and_discarded_transactions() {
    let registry = Registry::new();
    let lab = Harness::start().await;
    let (first, second) = (half(&lab, "1").await, half(&lab, "2").await);
    half(&lab, "3").await;
    end(&lab, &first, COMMIT).await;
    end(&lab, &second, ROLLBACK).await;
    let collector = crate::metrics::BrokerCollector::new(Arc::downgrade(&lab.broker)).unwrap();
    registry.register(Box::new(collector)).unwrap();
    let text = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
    for (name, value) in [
        ("rocketmq_half_messages", 1),
        ("rocketmq_commit_messages_total", 1),
        ("rocketmq_rollback_messages_total", 1),
    ] {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        assert!(line.ends_with(&format!(r#"topic="orders"}} {value}"#)), "{name}: {line}");
    }
}
