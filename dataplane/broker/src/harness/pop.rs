use bolide_wire::body::assignment::{
    MessageRequestMode, QueryAssignmentRequest, QueryAssignmentResponse, SetMessageRequestMode,
};
use bolide_wire::body::pop::{BatchAck, BatchAckRequest};
use bolide_wire::header::pop::{
    AckMessage, ChangeInvisibleTime, ChangeInvisibleTimeResponse, Notification, NotificationResponse,
    PeekMessage, PollingInfo, PollingInfoResponse, PopMessage, PopMessageResponse,
};
use bolide_wire::ids::{QueueId, QueueOffset};
use bolide_wire::message::RecordRef;
use bolide_wire::pop::{Handle, PopSource};

use super::*;

/// The answer to a pop.
struct Popped {
    code: i32,
    header: PopMessageResponse,
    body: bytes::Bytes,
}

impl Popped {
    fn records(&self) -> Vec<RecordRef<'_>> {
        bolide_wire::message::records(&self.body).collect::<Result<_, _>>().unwrap()
    }

    fn bodies(&self) -> Vec<String> {
        self.records().iter().map(|record| String::from_utf8_lossy(record.body()).into_owned()).collect()
    }

    /// Topic, queue, offset and handle of each message, as a client makes them of the header.
    fn handles(&self) -> Vec<(String, i32, i64, String)> {
        let info = |text: &Option<String>| -> Vec<(String, String)> {
            let items = text.as_deref().unwrap_or_default().split(';').filter(|item| !item.is_empty());
            let item = |item: &str| {
                let fields: Vec<&str> = item.split(' ').collect();
                assert_eq!(fields.len(), 3, "{item}");
                (format!("{}@{}", fields[0], fields[1]), fields[2].to_owned())
            };
            items.map(item).collect()
        };
        let starts = info(&self.header.start_offset_info);
        let offsets = info(&self.header.msg_offset_info);
        let handle = |record: &RecordRef<'_>| {
            let retry = if record.topic().starts_with("%RETRY%") { "1" } else { "0" };
            let key = format!("{retry}@{}", record.queue_id());
            let start = &starts.iter().find(|(found, _)| *found == key).expect("a start").1;
            let offset = record.queue_offset().0;
            let known = &offsets.iter().find(|(found, _)| *found == key).expect("offsets").1;
            assert!(known.split(',').any(|text| text == offset.to_string()), "{known} holds {offset}");
            let handle = Handle {
                start: QueueOffset(start.parse().unwrap()),
                pop_time: self.header.pop_time,
                invisible_ms: self.header.invisible_time,
                revive_queue: self.header.revive_qid,
                source: PopSource::parse(retry).unwrap(),
                broker: "broker-a",
                queue: record.queue_id(),
                offset: Some(record.queue_offset()),
            };
            (record.topic().to_owned(), record.queue_id().to_wire(), offset, handle.to_string())
        };
        self.records().iter().map(handle).collect()
    }
}

/// A pop of `group` from any queue of `orders`.
pub(crate) fn request(group: &str, most: i32, invisible_ms: i64, hold_ms: i64) -> PopMessage {
    PopMessage {
        consumer_group: group.into(),
        topic: "orders".into(),
        queue_id: -1,
        max_msg_nums: most,
        invisible_time: invisible_ms,
        poll_time: hold_ms,
        born_time: None,
        init_mode: 0,
        exp_type: Some("TAG".into()),
        exp: Some("*".into()),
        order: false,
        attempt_id: None,
        broker_name: None,
    }
}

async fn pop(lab: &Harness, header: &PopMessage) -> Popped {
    let answer = lab.ask(RequestCode::POP_MESSAGE, header).await;
    let header =
        PopMessageResponse::decode(&answer.ext).unwrap_or_else(|error| panic!("{error}: {answer:?}"));
    Popped { code: answer.code, header, body: answer.body }
}

async fn take(lab: &Harness, most: i32, invisible_ms: i64) -> Popped {
    pop(lab, &request("workers", most, invisible_ms, 15_000)).await
}

async fn ack(lab: &Harness, (topic, queue, offset, handle): &(String, i32, i64, String)) -> i32 {
    let header = AckMessage {
        consumer_group: "workers".into(),
        topic: topic.clone(),
        queue_id: *queue,
        extra_info: handle.clone(),
        offset: *offset,
        broker_name: None,
    };
    lab.ask(RequestCode::ACK_MESSAGE, &header).await.code
}

async fn delay(lab: &Harness, handle: &(String, i32, i64, String), invisible_ms: i64) -> Command {
    let header = ChangeInvisibleTime {
        consumer_group: "workers".into(),
        topic: handle.0.clone(),
        queue_id: handle.1,
        extra_info: handle.3.clone(),
        offset: handle.2,
        invisible_time: invisible_ms,
        broker_name: None,
    };
    lab.ask(RequestCode::CHANGE_MESSAGE_INVISIBLETIME, &header).await
}

fn committed(lab: &Harness, topic: &str) -> Option<i64> {
    let offsets = lab.broker.state.offsets.lock();
    offsets.committed("workers", topic, QueueId(0)).map(|offset| offset.0)
}

async fn fill(lab: &Harness, count: usize) {
    for number in 0..count {
        sent(&lab.send("orders", &format!("m-{number}"), "").await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_message_is_given_once_and_the_offset_is_below_all_that_is_out() {
    let lab = Harness::start().await;
    fill(&lab, 5).await;
    let first = take(&lab, 3, 60_000).await;
    assert_eq!((first.code, first.bodies()), (0, vec!["m-0".into(), "m-1".into(), "m-2".into()]));
    assert_eq!(first.header.start_offset_info.as_deref(), Some("0 0 0"));
    assert_eq!(first.header.msg_offset_info.as_deref(), Some("0 0 0,1,2"));
    assert_eq!(first.header.rest_num, 2);
    let second = take(&lab, 32, 60_000).await;
    assert_eq!(second.bodies(), ["m-3", "m-4"]);
    assert_eq!(pop(&lab, &request("workers", 3, 60_000, 0)).await.code, 210);
    assert_eq!(committed(&lab, "orders"), Some(0));
    for handle in second.handles().iter().chain(&first.handles()[..1]) {
        assert_eq!(ack(&lab, handle).await, 0);
        assert_eq!(ack(&lab, handle).await, 0, "once more is no failure");
    }
    assert_eq!(committed(&lab, "orders"), Some(1));
    for handle in &first.handles()[1..] {
        assert_eq!(ack(&lab, handle).await, 0);
    }
    assert_eq!(committed(&lab, "orders"), Some(5));
    assert_eq!(lab.broker.state.pops.lock().checkpoints(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_acknowledges_comes_again_and_then_dies() {
    let lab = Harness::start().await;
    lab.join("workers", "orders").await;
    let mut config = lab.broker.state.groups.find("workers").unwrap().config.clone();
    config.retry_max_times = 1;
    lab.broker.change_groups(vec![config], Vec::new(), false).await.unwrap();
    sent(&lab.send("orders", "hard", "TAGS\u{1}A\u{2}KEYS\u{1}k\u{2}").await);
    let first = take(&lab, 1, 100).await;
    assert_eq!(first.bodies(), ["hard"]);
    let again = take(&lab, 1, 100).await;
    let record = again.records()[0];
    assert_eq!((record.body(), record.reconsume_times()), (&b"hard"[..], 1));
    assert_eq!((record.topic(), record.properties().tags()), ("%RETRY%workers_orders", Some("A")));
    let popped = first.header.pop_time.0.to_string();
    assert_eq!(record.properties().get("1ST_POP_TIME"), Some(popped.as_str()));
    assert_eq!(again.header.start_offset_info.as_deref(), Some("1 0 0"));
    assert_eq!(committed(&lab, "orders"), Some(1), "it left its first queue");
    assert_eq!(ack(&lab, &first.handles()[0]).await, 0, "too late is no failure");
    while lab.broker.state.topics.find("%DLQ%workers").is_none() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let dead = lab.pull("%DLQ%workers", 0, 0, "*", 10_000).await;
    assert_eq!((dead.bodies(), dead.records()[0].reconsume_times()), (vec!["hard".to_owned()], 2));
    assert_eq!(dead.records()[0].properties().get("DLQ_ORIGIN_TOPIC"), Some("orders"));
    assert_eq!(lab.broker.state.groups.find("workers").unwrap().counters.dead_letters.total(), 1);
    assert_eq!(committed(&lab, "%RETRY%workers_orders"), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_invisible_time_makes_another_handle() {
    let lab = Harness::start().await;
    fill(&lab, 2).await;
    let first = take(&lab, 2, 60_000).await;
    let answer = delay(&lab, &first.handles()[1], 0).await;
    let changed = ChangeInvisibleTimeResponse::decode(&answer.ext).unwrap();
    assert_eq!((answer.code, changed.invisible_time), (0, 0));
    let again = take(&lab, 32, 60_000).await;
    assert_eq!((again.bodies(), again.records()[0].reconsume_times()), (vec!["m-1".to_owned()], 1));
    let longer = delay(&lab, &first.handles()[0], 90_000).await;
    let longer = ChangeInvisibleTimeResponse::decode(&longer.ext).unwrap();
    assert_eq!(ack(&lab, &first.handles()[0]).await, 0);
    assert_eq!(committed(&lab, "orders"), Some(0), "the old handle acknowledges nothing");
    let (topic, queue, offset, _) = first.handles()[0].clone();
    let handle = format!("{offset} {} 90000 {} 0 broker-a 0 {offset}", longer.pop_time, longer.revive_qid);
    assert_eq!(ack(&lab, &(topic, queue, offset, handle)).await, 0);
    assert_eq!(committed(&lab, "orders"), Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_acknowledged_by_its_bits() {
    let lab = Harness::start().await;
    fill(&lab, 4).await;
    let popped = take(&lab, 4, 60_000).await;
    let batch = |distances: &[u32]| {
        let ack = BatchAck {
            bit_set: BatchAck::bits_of(distances),
            consumer_group: "workers".into(),
            invisible_time: 60_000,
            pop_time: popped.header.pop_time.0,
            queue_id: 0,
            retry: "0".into(),
            revive_queue_id: popped.header.revive_qid,
            start_offset: 0,
            topic: "orders".into(),
        };
        let request = BatchAckRequest { acks: vec![ack], broker_name: "broker-a".into() };
        let body = json::to_vec(&request, IntegerKeys::Quoted).unwrap();
        Command::request(RequestCode::BATCH_ACK_MESSAGE).with_body(body)
    };
    assert_eq!(lab.call(batch(&[0, 1, 3, 77])).await.code, 0);
    assert_eq!(committed(&lab, "orders"), Some(2));
    assert_eq!(lab.call(batch(&[2])).await.code, 0);
    assert_eq!(committed(&lab, "orders"), Some(4));
    let empty = Command::request(RequestCode::BATCH_ACK_MESSAGE).with_body(&br#"{"acks":[]}"#[..]);
    assert_eq!(lab.call(empty).await.code, 208);
}

#[tokio::test(flavor = "multi_thread")]
async fn pops_survive_a_crash_and_a_clean_stop() {
    for clean in [false, true] {
        let mut lab = Harness::start().await;
        fill(&lab, 4).await;
        let popped = take(&lab, 3, 60_000).await;
        assert_eq!(ack(&lab, &popped.handles()[1]).await, 0);
        lab = lab.restart(clean).await;
        assert_eq!(committed(&lab, "orders"), Some(0));
        assert_eq!(ack(&lab, &popped.handles()[0]).await, 0, "a handle outlives the broker");
        assert_eq!(committed(&lab, "orders"), Some(2));
        assert_eq!(take(&lab, 32, 60_000).await.bodies(), ["m-3"], "what is out is not given again");
        assert_eq!(delay(&lab, &popped.handles()[2], 0).await.code, 0);
        let again = take(&lab, 32, 60_000).await;
        assert_eq!(again.bodies(), ["m-2"], "clean: {clean}");
        lab = lab.restart(false).await;
        assert_eq!(pop(&lab, &request("workers", 32, 60_000, 300)).await.code, 210, "nothing comes twice");
        assert_eq!(ack(&lab, &again.handles()[0]).await, 0);
        assert_eq!(committed(&lab, "%RETRY%workers_orders"), Some(1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_pop_gets_what_arrives_and_what_comes_again() {
    let lab = Harness::start().await;
    fill(&lab, 1).await;
    take(&lab, 1, 400).await;
    let waiting = request("workers", 32, 60_000, 15_000);
    let asking = PollingInfo { consumer_group: "workers".into(), topic: "orders".into(), queue_id: -1 };
    let (again, waits) = tokio::join!(pop(&lab, &waiting), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        PollingInfoResponse::decode(&lab.ask(RequestCode::POLLING_INFO, &asking).await.ext).unwrap()
    });
    assert_eq!((again.bodies(), waits.polling_num), (vec!["m-0".to_owned()], 1));
    let (new, ()) = tokio::join!(pop(&lab, &waiting), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        sent(&lab.call(send("orders", 3, "new", "")).await);
    });
    assert_eq!((new.bodies(), new.handles()[0].1), (vec!["new".to_owned()], 3));
    let tagged = PopMessage { exp: Some("B".into()), ..waiting };
    let (chosen, ()) = tokio::join!(pop(&lab, &tagged), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        sent(&lab.send("orders", "not this", "TAGS\u{1}A\u{2}").await);
        tokio::time::sleep(Duration::from_millis(50)).await;
        sent(&lab.send("orders", "this", "TAGS\u{1}B\u{2}").await);
    });
    assert_eq!(chosen.bodies(), ["this"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notification_tells_and_takes_nothing() {
    let lab = Harness::start().await;
    fill(&lab, 1).await;
    let ask = |hold_ms| Notification {
        consumer_group: "workers".into(),
        topic: "orders".into(),
        queue_id: -1,
        poll_time: hold_ms,
        born_time: None,
        order: false,
        attempt_id: None,
    };
    let told = |answer: Command| NotificationResponse::decode(&answer.ext).unwrap().has_msg;
    lab.join("workers", "orders").await;
    assert!(told(lab.ask(RequestCode::NOTIFICATION, &ask(0)).await));
    let peek = PeekMessage {
        topic: "orders".into(),
        queue_id: -1,
        max_msg_nums: 8,
        consumer_group: "workers".into(),
    };
    assert_eq!(lab.ask(RequestCode::PEEK_MESSAGE, &peek).await.code, 0);
    assert_eq!(take(&lab, 8, 60_000).await.bodies(), ["m-0"]);
    assert_eq!(lab.ask(RequestCode::PEEK_MESSAGE, &peek).await.code, 19);
    assert!(!told(lab.ask(RequestCode::NOTIFICATION, &ask(100)).await));
    let held = ask(15_000);
    let (answer, _) = tokio::join!(lab.ask(RequestCode::NOTIFICATION, &held), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        lab.send("orders", "new", "").await
    });
    assert!(told(answer));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ordered_queue_waits_for_its_batch() {
    let lab = Harness::start().await;
    fill(&lab, 4).await;
    let ordered = |attempt: &str, hold_ms| PopMessage {
        order: true,
        attempt_id: Some(attempt.into()),
        queue_id: 0,
        ..request("workers", 2, 60_000, hold_ms)
    };
    let first = pop(&lab, &ordered("a", 0)).await;
    assert_eq!((first.bodies(), first.header.revive_qid), (vec!["m-0".into(), "m-1".into()], 999));
    assert_eq!(first.header.order_count_info.as_deref(), Some("0 0 0"));
    assert_eq!(pop(&lab, &ordered("b", 0)).await.code, 210);
    assert_eq!(pop(&lab, &ordered("a", 0)).await.bodies(), ["m-0", "m-1"], "an attempt may be repeated");
    let same = pop(&lab, &ordered("a", 0)).await.handles();
    assert_eq!(ack(&lab, &("orders".into(), 0, 3, same[0].3.clone())).await, 13);
    assert_eq!(ack(&lab, &same[0]).await, 0);
    assert_eq!(committed(&lab, "orders"), Some(1));
    let moved = delay(&lab, &same[1], 200).await;
    let moved = ChangeInvisibleTimeResponse::decode(&moved.ext).unwrap();
    assert_eq!(moved.pop_time.to_string(), same[1].3.split(' ').nth(1).unwrap());
    let next = pop(&lab, &ordered("b", 10_000)).await;
    assert_eq!(next.bodies(), ["m-1", "m-2"]);
    assert_eq!(next.header.order_count_info.as_deref(), Some("0 qo0%1 1;0 0 0"));
    let third = ordered("c", 10_000);
    let (last, code) = tokio::join!(pop(&lab, &third), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let mut code = 0;
        for handle in next.handles() {
            code += ack(&lab, &handle).await;
        }
        code
    });
    assert_eq!((last.bodies(), code), (vec!["m-3".to_owned()], 0));
    assert_eq!(committed(&lab, "orders"), Some(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_a_queue_that_is_read_no_more_are_acknowledged() {
    let lab = Harness::start().await;
    sent(&lab.call(send("orders", 3, "m", "")).await);
    let first = take(&lab, 1, 60_000).await;
    lab.broker.change_topics(vec![bolide_wire::body::topic::TopicConfig::new("orders", 1)]).await.unwrap();
    assert_eq!(ack(&lab, &first.handles()[0]).await, 0);
    assert_eq!(lab.broker.state.pops.lock().checkpoints(), 0);
    let (topic, _, offset, handle) = first.handles()[0].clone();
    assert_eq!(ack(&lab, &(topic, 44, offset, handle)).await, 13, "there is no such queue");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_to_where_the_group_is_brings_back_what_is_out_also_after_a_crash() {
    let mut lab = Harness::start().await;
    fill(&lab, 2).await;
    assert_eq!(take(&lab, 2, 60_000).await.bodies(), ["m-0", "m-1"]);
    assert_eq!(committed(&lab, "orders"), Some(0));
    let group = lab.broker.state.groups.find("workers").unwrap().name.clone();
    let topic = lab.broker.state.topics.find("orders").unwrap().name.clone();
    lab.broker.state.offsets.lock().reset(&group, &topic, QueueId(0), QueueOffset(0));
    lab = lab.restart(false).await;
    assert_eq!(pop(&lab, &request("workers", 2, 60_000, 0)).await.bodies(), ["m-0", "m-1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_come_again_and_new_ones_share_a_pop() {
    let lab = Harness::start().await;
    fill(&lab, 40).await;
    let first = take(&lab, 20, 100).await;
    assert_eq!(first.bodies().len(), 20);
    while lab.broker.state.pops.lock().checkpoints() > 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let both = take(&lab, 16, 60_000).await;
    let again = both.handles().iter().filter(|(topic, ..)| topic.starts_with("%RETRY%")).count();
    assert!((4..=5).contains(&again), "a quarter came again: {again} of {}", both.bodies().len());
    assert_eq!(both.bodies().len(), 16);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_moves_the_pops_and_a_group_can_begin_at_the_end() {
    let lab = Harness::start().await;
    fill(&lab, 3).await;
    assert_eq!(take(&lab, 3, 60_000).await.bodies().len(), 3);
    let (group, topic) = {
        let state = &lab.broker.state;
        (
            state.groups.find("workers").unwrap().name.clone(),
            state.topics.find("orders").unwrap().name.clone(),
        )
    };
    lab.broker.state.offsets.lock().reset(&group, &topic, QueueId(0), QueueOffset(1));
    assert_eq!(take(&lab, 3, 60_000).await.bodies(), ["m-1", "m-2"]);
    assert_eq!(committed(&lab, "orders"), Some(1));
    lab.broker.state.offsets.lock().commit(&group, &topic, QueueId(0), QueueOffset(2));
    assert_eq!(take(&lab, 3, 60_000).await.bodies(), ["m-2"]);
    let lab = lab.restart(false).await;
    assert_eq!(committed(&lab, "orders"), Some(2));
    assert_eq!(pop(&lab, &request("workers", 3, 60_000, 0)).await.code, 210);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_popped_is_refused() {
    let lab = Harness::start().await;
    fill(&lab, 1).await;
    let code = |header: PopMessage| {
        let lab = &lab;
        async move { lab.ask(RequestCode::POP_MESSAGE, &header).await.code }
    };
    let good = request("workers", 1, 60_000, 0);
    assert_eq!(code(PopMessage { topic: "missing".into(), ..good.clone() }).await, 17);
    assert_eq!(code(PopMessage { queue_id: 99, ..good.clone() }).await, 29);
    assert_eq!(code(PopMessage { max_msg_nums: 0, ..good.clone() }).await, 29);
    let popped = pop(&lab, &good).await;
    let (topic, queue, offset, handle) = popped.handles()[0].clone();
    assert_eq!(ack(&lab, &(topic.clone(), queue, 99, handle.clone())).await, 208);
    assert_eq!(ack(&lab, &(topic.clone(), 99, offset, handle.clone())).await, 13);
    assert_eq!(ack(&lab, &(topic, queue, offset, "no handle".into())).await, 13);
    assert_eq!(ack(&lab, &("missing".into(), queue, offset, handle)).await, 17);
    let mut config = lab.broker.state.groups.find("workers").unwrap().config.clone();
    config.consume_enable = false;
    lab.broker.change_groups(vec![config], Vec::new(), false).await.unwrap();
    assert_eq!(code(good).await, 16);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_mode_is_kept_and_queues_are_assigned_by_it() {
    let mut lab = Harness::start().await;
    fill(&lab, 1).await;
    lab.join("workers", "orders").await;
    let assigned = |lab: Harness| async move {
        let request = QueryAssignmentRequest {
            client_id: "harness".into(),
            consumer_group: "workers".into(),
            strategy_name: "AVG".into(),
            topic: "orders".into(),
            ..QueryAssignmentRequest::default()
        };
        let body = json::to_vec(&request, IntegerKeys::Quoted).unwrap();
        let answer = lab.call(Command::request(RequestCode::QUERY_ASSIGNMENT).with_body(body)).await;
        let response: QueryAssignmentResponse = json::from_slice(&answer.body).unwrap();
        let queues = response.message_queue_assignments.expect("assignments");
        (lab, queues.iter().map(|one| (one.mode, one.message_queue.queue_id)).collect::<Vec<_>>())
    };
    let queues;
    (lab, queues) = assigned(lab).await;
    assert_eq!(queues, [0, 1, 2, 3].map(|queue| (MessageRequestMode::Pull, queue)));
    let set = |topic: &str| {
        let mode = SetMessageRequestMode {
            consumer_group: "workers".into(),
            mode: MessageRequestMode::Pop,
            pop_share_queue_num: 8,
            topic: topic.into(),
        };
        let body = json::to_vec(&mode, IntegerKeys::Quoted).unwrap();
        Command::request(RequestCode::SET_MESSAGE_REQUEST_MODE).with_body(body)
    };
    assert_eq!(lab.call(set("missing")).await.code, 17);
    assert_eq!(lab.call(set("%RETRY%workers")).await.code, 16);
    assert_eq!(lab.call(set("orders")).await.code, 0);
    for clean in [false, true, false] {
        lab = lab.restart(clean).await;
        lab.join("workers", "orders").await;
        let queues;
        (lab, queues) = assigned(lab).await;
        assert_eq!(queues, [(MessageRequestMode::Pop, -1)], "clean: {clean}");
    }
}
