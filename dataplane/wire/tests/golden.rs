//! Our codecs against bytes written by the original; `golden/README.md` says how they were made.

use std::path::Path;

use bolide_wire::body::assignment::QueryAssignmentResponse;
use bolide_wire::body::connection::ConsumerConnection;
use bolide_wire::body::group::{SubscriptionGroupConfig, SubscriptionGroupTable};
use bolide_wire::body::heartbeat::{ConsumeFromWhere, ConsumeType, HeartbeatData, MessageModel};
use bolide_wire::body::lock::{LockBatchRequest, LockBatchResponse};
use bolide_wire::body::offset::{
    ConsumeStats, ConsumeStatsList, ConsumerOffsetTable, ConsumerStatus, CorrectionOffsets, ResetOffset,
};
use bolide_wire::body::pop::BatchAckRequest;
use bolide_wire::body::register::RegisterBrokerBody;
use bolide_wire::body::route::{ClusterInfo, TopicRouteData};
use bolide_wire::body::topic::{TopicConfig, TopicConfigTable, TopicList, TopicStatsTable};
use bolide_wire::body::{MessageQueue, QueueMap};
use bolide_wire::frame::DEFAULT_MAX_FRAME;
use bolide_wire::header::pull::PullMessage;
use bolide_wire::header::send::SendMessageV2;
use bolide_wire::json::{self, IntegerKeys};
use bolide_wire::message::{
    BatchMessage, BatchMessages, NewRecord, OffsetMessageId, RecordRef, encode_batch, encode_record, stamp,
    sys_flag,
};
use bolide_wire::{Command, EpochMillis, LogOffset, QueueId, QueueOffset, RequestCode, SerializeType};
use bytes::BytesMut;
use serde::Serialize;
use serde::de::DeserializeOwned;

const PROPERTIES: &str =
    "KEYS\u{1}k1 k2\u{2}UNIQ_KEY\u{1}7F0000010001\u{2}TAGS\u{1}größe\u{2}quote\u{1}a\"b\\c\u{2}";

fn golden(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)).expect(name)
}

fn command(name: &str) -> Command {
    let mut bytes = BytesMut::from(&golden(name)[..]);
    let command =
        bolide_wire::decode(&mut bytes, DEFAULT_MAX_FRAME).expect("a legal frame").expect("a whole frame");
    assert!(bytes.is_empty());
    command
}

fn send_header() -> SendMessageV2<'static> {
    SendMessageV2 {
        producer_group: "pg".into(),
        topic: "TopicA".into(),
        default_topic: "TBW102".into(),
        default_topic_queue_nums: 4,
        queue_id: 2,
        sys_flag: 0,
        born_timestamp: EpochMillis(1_700_000_000_000),
        flag: 7,
        properties: Some(PROPERTIES.into()),
        reconsume_times: Some(0),
        unit_mode: Some(false),
        max_reconsume_times: Some(16),
        batch: false,
        broker_name: None,
    }
}

#[test]
fn a_send_of_the_java_client_is_read_in_both_header_forms() {
    for (name, serialize) in
        [("send_v2_json.bin", SerializeType::Json), ("send_v2_rocketmq.bin", SerializeType::Rocketmq)]
    {
        let command = command(name);
        assert_eq!(command.request_code(), RequestCode::SEND_MESSAGE_V2);
        assert_eq!((command.opaque, command.version, command.serialize), (42, 479, serialize));
        assert_eq!(&command.body[..], b"hello");
        assert_eq!(SendMessageV2::decode(&command.ext), Ok(send_header()), "{name}");
        assert_eq!(command.ext.get("bname").as_deref(), Some("broker-a"));
    }
}

#[test]
fn our_send_has_the_bytes_of_the_java_client() {
    let mut command = Command::request(RequestCode::SEND_MESSAGE_V2)
        .with_header(&send_header())
        .with_ext("bname", "broker-a")
        .with_body(&b"hello"[..]);
    command.opaque = 42;
    let mut bytes = BytesMut::new();
    bolide_wire::encode(&command, &mut bytes).expect("fits");
    assert_eq!(String::from_utf8_lossy(&bytes), String::from_utf8_lossy(&golden("send_v2_json.bin")));
}

#[test]
fn a_pull_is_read() {
    let command = command("pull_json.bin");
    let pull = PullMessage::decode(&command.ext).expect("a pull header");
    assert_eq!(
        (&*pull.consumer_group, &*pull.topic, pull.queue_id, pull.queue_offset),
        ("cg", "TopicA", 1, 10)
    );
    assert_eq!((pull.sys_flag, pull.commit_offset, pull.suspend_timeout_millis), (3, 9, 15_000));
    assert_eq!((pull.max_msg_nums, pull.max_msg_bytes), (32, Some(262_144)));
    assert_eq!((pull.subscription.as_deref(), pull.expression_type.as_deref()), (Some("A||B"), Some("TAG")));
}

#[test]
fn a_response_with_a_remark_is_read() {
    let command = command("response_json.bin");
    assert!(command.is_response());
    assert_eq!(command.remark.as_deref(), Some("a \"remark\"\u{7}"));
}

fn record<'a>(topic: &'a str, hosts: [&str; 2]) -> NewRecord<'a> {
    let [born_host, store_host] = hosts.map(|host| host.parse().expect("an address"));
    NewRecord {
        topic,
        queue_id: QueueId(3),
        flag: 7,
        sys_flag: sys_flag::COMPRESSED,
        born_timestamp: EpochMillis(1_700_000_000_000),
        born_host,
        store_host,
        reconsume_times: 2,
        prepared_transaction_offset: 99,
        body: b"hello",
        properties: "TAGS\u{1}größe\u{2}KEYS\u{1}k\u{2}",
    }
}

#[test]
fn our_records_have_the_bytes_of_the_original() {
    let long = "t".repeat(130);
    for (name, new) in [
        ("record_v1.bin", record("TopicA", ["10.1.2.3:4567", "10.9.8.7:10911"])),
        ("record_v2_ipv6.bin", record(&long, ["[2001:db8::1]:4567", "[2001:db8::2]:10911"])),
    ] {
        let mut bytes = Vec::new();
        encode_record(&new, &mut bytes).expect("fits");
        stamp(&mut bytes, QueueOffset(5), LogOffset(0), EpochMillis(1_700_000_000_123)).expect("long enough");
        assert_eq!(bytes, golden(name), "{name}");
        let read = RecordRef::parse(&bytes).expect("a record");
        assert_eq!(read.verify_crc(), Ok(()));
        assert_eq!(
            (read.topic(), read.queue_offset(), read.born_host()),
            (new.topic, QueueOffset(5), new.born_host)
        );
    }
}

#[test]
fn our_batch_has_the_bytes_of_the_original() {
    let bytes = golden("batch.bin");
    let read: Vec<BatchMessage<'_>> = BatchMessages::new(&bytes).collect::<Result<_, _>>().expect("a batch");
    assert_eq!((read[0].flag, read[0].body, read[0].properties().tags()), (1, &b"one"[..], Some("A")));
    assert_eq!((read[1].body, read[1].properties().get("x")), (&b"two"[..], Some("y")));
    assert_eq!(encode_batch(&read), Ok(bytes.clone()));
}

#[test]
fn our_offset_message_id_has_the_text_of_the_original() {
    let id =
        OffsetMessageId { host: "10.9.8.7:10911".parse().expect("an address"), offset: LogOffset(1 << 40) };
    assert_eq!(id.to_string().as_bytes(), golden("offset_message_id.txt"));
}

/// Reads a golden body and writes it again: the bytes must be the same.
fn same<T: DeserializeOwned + Serialize>(name: &str, keys: IntegerKeys) -> T {
    let bytes = golden(name);
    let value: T = json::from_slice(&bytes).expect(name);
    let written = json::to_vec(&value, keys).expect("a body");
    assert_eq!(String::from_utf8_lossy(&written), String::from_utf8_lossy(&bytes), "{name}");
    value
}

fn queue(queue_id: i32) -> MessageQueue {
    MessageQueue { broker_name: "broker-a".into(), queue_id, topic: "TopicA".into() }
}

#[test]
fn bodies_are_read_and_written_byte_for_byte() {
    let heartbeat: HeartbeatData = same("heartbeat.json", IntegerKeys::Unquoted);
    let consumer = &heartbeat.consumer_data_set[0];
    assert_eq!(
        (consumer.consume_type, consumer.message_model),
        (ConsumeType::Passively, MessageModel::Clustering)
    );
    assert_eq!(consumer.consume_from_where, ConsumeFromWhere::FirstOffset);
    assert_eq!(consumer.subscription_data_set[0].code_set, [65]);

    let route: TopicRouteData = same("route_unquoted.json", IntegerKeys::Unquoted);
    assert_eq!(route.broker_datas[0].broker_addrs[&1], "127.0.0.1:10912");
    assert_eq!(same::<TopicRouteData>("route_standard.json", IntegerKeys::Quoted), route);
    same::<ClusterInfo>("cluster_info.json", IntegerKeys::Unquoted);

    let topic: TopicConfig = same("topic_config.json", IntegerKeys::Unquoted);
    assert_eq!((topic.read_queue_nums, topic.write_queue_nums, topic.perm), (8, 4, 6));
    same::<TopicConfigTable>("topic_table.json", IntegerKeys::Unquoted);
    same::<TopicList>("topic_list.json", IntegerKeys::Unquoted);

    let stats: TopicStatsTable = same("topic_stats.json", IntegerKeys::Unquoted);
    assert_eq!(stats.offset_table[&queue(0)].max_offset, 9);
    let stats: ConsumeStats = same("consume_stats.json", IntegerKeys::Unquoted);
    assert_eq!(stats.offset_table[&queue(1)].pull_offset, 6);
    same::<ConsumeStatsList>("consume_stats_list.json", IntegerKeys::Unquoted);
    let reset: ResetOffset = same("reset_offset.json", IntegerKeys::Unquoted);
    assert_eq!(reset.offset_table, QueueMap::from_iter([(queue(2), 77)]));
    same::<ConsumerStatus>("consumer_status.json", IntegerKeys::Unquoted);
    let offsets: ConsumerOffsetTable = same("consumer_offset.json", IntegerKeys::Unquoted);
    assert_eq!(offsets.offset_table["TopicA@cg"][&1], 6);
    same::<CorrectionOffsets>("correction_offset.json", IntegerKeys::Unquoted);

    same::<LockBatchRequest>("lock_request.json", IntegerKeys::Unquoted);
    same::<LockBatchResponse>("lock_response.json", IntegerKeys::Unquoted);
    same::<ConsumerConnection>("consumer_connection.json", IntegerKeys::Unquoted);
    let ack: BatchAckRequest = same("batch_ack.json", IntegerKeys::Unquoted);
    assert_eq!((ack.acks[0].start_offset, ack.acks[0].bit_set.as_str()), (100, "BQ=="));

    let group: SubscriptionGroupConfig = same("subscription_group.json", IntegerKeys::Unquoted);
    assert_eq!(group, SubscriptionGroupConfig::new("cg"));
    let groups: SubscriptionGroupTable =
        json::from_slice(&golden("subscription_group_table.json")).expect("a table of groups");
    assert_eq!(groups.subscription_group_table["cg"], group);
}

#[test]
fn a_registration_is_read_plain_and_compressed() {
    let plain: RegisterBrokerBody = same("register.json", IntegerKeys::Unquoted);
    let packed = RegisterBrokerBody::decode(&golden("register_compressed.bin"), true, 479, 1 << 20)
        .expect("a compressed registration");
    let (plain, packed) = (plain.topic_config_serialize_wrapper, packed.topic_config_serialize_wrapper);
    assert_eq!(packed.topic_config_table, plain.topic_config_table);
    assert_eq!(packed.data_version, plain.data_version);
    assert_eq!(packed.topic_config_table["TopicA"].attributes["message.type"], "FIFO");
}

/// What the broker only relays must still pass the reader, for tools of ours that look into it.
#[test]
fn running_info_with_object_keys_becomes_strict_json() {
    let strict = json::normalize(&golden("running_info.json")).expect("the dialect");
    let value: serde_json::Value = serde_json::from_slice(&strict).expect("strict JSON");
    let table = value["mqTable"].as_object().expect("a table");
    assert_eq!(table.len(), 1);
}

#[test]
fn an_absent_assignment_list_reads_as_absent() {
    let response: QueryAssignmentResponse = json::from_slice(b"").expect("nothing is an empty object");
    assert!(response.message_queue_assignments.is_none(), "the client keeps what it has");
}
