use bolide_wire::header::EncodeHeader;
use bolide_wire::message::{BatchMessage, OffsetMessageId, encode_batch};
use bolide_wire::{Command, RequestCode};

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_first_send_makes_the_topic_and_the_message_reads_back_as_sent() {
    let lab = Harness::start().await;
    let answer = sent(&lab.send("orders", "hello", "TAGS\u{1}A\u{2}UNIQ_KEY\u{1}U1\u{2}").await);
    assert_eq!((answer.queue_id, answer.queue_offset, answer.transaction_id.as_deref()), (0, 0, Some("U1")));
    assert_eq!(answer.region.as_deref(), Some("DefaultRegion"));
    let id: OffsetMessageId = answer.msg_id.parse().unwrap();
    let pulled = lab.pull("orders", 0, 0, "*", 0).await;
    assert_eq!((pulled.code, pulled.next), (0, 1));
    let record = pulled.records()[0];
    record.verify_crc().unwrap();
    assert_eq!((record.body(), record.topic(), record.log_offset()), (&b"hello"[..], "orders", id.offset));
    let properties = record.properties();
    assert_eq!((properties.get("UNIQ_KEY"), properties.get("TAGS")), (Some("U1"), Some("A")));
    assert_eq!(
        (properties.get("CLUSTER"), properties.get("TRACE_ON")),
        (Some("DefaultCluster"), Some("true"))
    );
    assert_eq!(lab.broker.state.topics.find("orders").unwrap().queues(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_of_first_sends_makes_the_topic_once() {
    let lab = Harness::start().await;
    let before = lab.broker.state.topics.version().counter;
    let sends = (0..50).map(|number| {
        let body = number.to_string();
        let lab = &lab;
        async move { sent(&lab.send("burst", &body, "").await).queue_offset }
    });
    let mut offsets = futures::future::join_all(sends).await;
    offsets.sort_unstable();
    assert_eq!(offsets, (0..50).collect::<Vec<i64>>());
    assert_eq!(lab.broker.state.topics.version().counter, before + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_sends_get_their_codes_and_the_connection_stays() {
    let lab = Harness::start_with(|config| config.max_message_size = 100).await;
    assert_eq!(lab.send("good", "x", "").await.code, 0);
    assert_eq!(lab.send("bad name", "x", "").await.code, 29);
    assert_eq!(lab.send("SCHEDULE_TOPIC_XXXX", "x", "").await.code, 16);
    assert_eq!(lab.send("rmq_sys_bolide_state", "x", "").await.code, 16);
    assert_eq!(lab.send("rmq_sys_other", "x", "").await.code, 17);
    assert_eq!(lab.call(send("good", 99, "x", "")).await.code, 29);
    assert_eq!(lab.send("good", &"x".repeat(101), "").await.code, 13);
    assert_eq!(lab.send("good", "x", &format!("p\u{1}{}\u{2}", "v".repeat(33_000))).await.code, 13);
    assert_eq!(lab.send("%RETRY%nobody", "x", "").await.code, 26);
    assert_eq!(lab.call(Command::request(RequestCode(9_876))).await.code, 3);
    assert_eq!(lab.call(Command::request(RequestCode::SEND_MESSAGE_V2)).await.code, 1);
    assert_eq!(sent(&lab.send("good", "y", "").await).queue_offset, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_auto_creation_an_unknown_topic_is_refused() {
    let lab = Harness::start_with(|config| config.auto_create_topic_enable = false).await;
    let answer = lab.send("orders", "x", "").await;
    assert_eq!(answer.code, 17);
    assert_eq!(answer.remark.as_deref(), Some("topic[orders] not exist, apply first please!"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_broker_refuses_every_send_and_is_readable() {
    let lab = Harness::start().await;
    sent(&lab.send("orders", "x", "").await);
    let update = Command::request(RequestCode::UPDATE_BROKER_CONFIG).with_body("brokerPermission=4");
    assert_eq!(lab.call(update).await.code, 0);
    assert_eq!(lab.send("orders", "y", "").await.code, 16);
    assert_eq!(lab.send("new", "y", "").await.code, 16);
    assert_eq!(lab.pull("orders", 0, 0, "*", 0).await.bodies(), ["x"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_several_records_and_one_answer() {
    let lab = Harness::start().await;
    sent(&lab.send("orders", "first", "").await);
    let message = |body: &'static str, properties: &'static str| BatchMessage {
        flag: 7,
        body: body.as_bytes(),
        properties,
    };
    let body =
        encode_batch(&[message("a", "TAGS\u{1}A\u{2}"), message("b", "UNIQ_KEY\u{1}UB"), message("c", "")])
            .unwrap();
    let header = SendMessageV2 { batch: true, ..send_header("orders", 0, "WAIT\u{1}true\u{2}") };
    let request = Command::request(RequestCode::SEND_BATCH_MESSAGE).with_header(&header).with_body(body);
    let answer = sent(&lab.call(request).await);
    assert_eq!((answer.queue_offset, answer.msg_id.split(',').count()), (1, 3));
    let pulled = lab.pull("orders", 0, 1, "*", 0).await;
    assert_eq!(pulled.bodies(), ["a", "b", "c"]);
    assert_eq!(pulled.records()[1].properties().get("UNIQ_KEY"), Some("UB"));
    assert_eq!(pulled.records()[2].properties().get("WAIT"), Some("true"));
    let delayed = encode_batch(&[message("a", ""), message("b", "DELAY\u{1}3\u{2}")]).unwrap();
    let request = Command::request(RequestCode::SEND_BATCH_MESSAGE).with_header(&header).with_body(delayed);
    assert_eq!(lab.call(request).await.code, 13);
    assert_eq!(lab.pull("orders", 0, 4, "*", 0).await.code, 19);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_one_way_send_is_stored_and_not_answered() {
    let lab = Harness::start().await;
    sent(&lab.send("orders", "first", "").await);
    lab.client.oneway(&lab.address, send("orders", 0, "quiet", "")).await.unwrap();
    assert_eq!(lab.pull("orders", 0, 1, "*", 5_000).await.bodies(), ["quiet"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn long_names_and_long_header_names_work() {
    let lab = Harness::start().await;
    let mut request = Command::request(RequestCode::SEND_MESSAGE).with_body("v1");
    bolide_wire::header::send::SendMessage {
        producer_group: "p".into(),
        topic: "long".into(),
        default_topic: "TBW102".into(),
        default_topic_queue_nums: 2,
        queue_id: -1,
        sys_flag: 0,
        born_timestamp: EpochMillis(1),
        flag: 0,
        properties: None,
        reconsume_times: None,
        unit_mode: None,
        max_reconsume_times: None,
        batch: false,
        broker_name: None,
    }
    .encode(&mut request.ext);
    let answer = sent(&lab.call(request).await);
    assert_eq!(answer.transaction_id.map(|id| id.len()), Some(32));
    let group = "g".repeat(120);
    lab.join(&group, "long").await;
    let retry = format!("%RETRY%{group}");
    sent(&lab.send(&retry, "long topic", "").await);
    assert_eq!(lab.pull(&retry, 0, 0, "*", 0).await.records()[0].topic(), retry);
}
