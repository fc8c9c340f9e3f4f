use proptest::prelude::*;

use super::heartbeat::{ConsumeType, HeartbeatData, MessageModel, SubscriptionData};
use super::register::{RegisterBrokerBody, RegisterError};
use super::route::{QueueData, route_keys};
use super::topic::{DataVersion, TopicConfig, TopicConfigTable};
use crate::json::{self, IntegerKeys};

#[test]
fn the_heartbeat_of_a_go_client_is_read() {
    let body = br#"{"clientID":"10.0.0.1@7","producerDataSet":[{"groupName":"pg"}],"consumerDataSet":[{"groupName":"cg",
        "consumeType":"CONSUME_PASSIVELY","messageModel":"BROADCASTING","consumeFromWhere":"NO_SUCH_THING",
        "subscriptionDataSet":[{"classFilterMode":false,"topic":"T","subString":"A","tagsSet":["A"],"codeSet":["65"],
        "subVersion":1700000000000000000,"expressionType":"TAG"},{"topic":"U","tagsSet":null,"codeSet":{}}],"unitMode":false}]}"#;
    let heartbeat: HeartbeatData = json::from_slice(body).expect("a heartbeat");
    let consumer = &heartbeat.consumer_data_set[0];
    assert_eq!(
        (consumer.message_model, consumer.consume_type),
        (MessageModel::Broadcasting, ConsumeType::Passively)
    );
    assert_eq!(consumer.consume_from_where, super::heartbeat::ConsumeFromWhere::default());
    assert_eq!(consumer.subscription_data_set[0].code_set, [65]);
    assert!(consumer.subscription_data_set[1].code_set.is_empty());
    assert!(consumer.subscription_data_set[1].is_tag());
}

#[test]
fn enums_are_read_by_number_too() {
    let heartbeat: HeartbeatData =
        json::from_slice(br#"{"consumerDataSet":[{"consumeType":1,"messageModel":0}]}"#)
            .expect("a heartbeat");
    let consumer = &heartbeat.consumer_data_set[0];
    assert_eq!(
        (consumer.message_model, consumer.consume_type),
        (MessageModel::Broadcasting, ConsumeType::Passively)
    );
}

#[test]
fn empty_sets_come_in_any_shape() {
    let heartbeat: HeartbeatData =
        json::from_slice(br#"{"clientID":"c","consumerDataSet":{},"producerDataSet":null}"#)
            .expect("a heartbeat");
    assert_eq!(heartbeat, HeartbeatData { client_id: "c".to_owned(), ..HeartbeatData::default() });
}

#[test]
fn a_tag_subscription_is_built_as_clients_build_it() {
    let data = SubscriptionData::by_tags("T", "A || B||", 7);
    assert_eq!(data.tags_set, ["A", "B"]);
    assert_eq!(data.code_set, [65, 66]);
    assert_eq!(SubscriptionData::by_tags("T", "", 7).sub_string, "*");
}

#[test]
fn versions_are_compared_by_state_counter_and_time() {
    let version = |state_version, counter, timestamp| DataVersion { counter, state_version, timestamp };
    assert!(version(1, 0, 0) > version(0, 9, 9));
    assert!(version(0, 2, 0) > version(0, 1, 9));
    assert_eq!(version(0, 1, 5).next(crate::ids::EpochMillis(9)), version(0, 2, 9));
}

#[test]
fn old_clients_get_unquoted_keys() {
    assert_eq!(route_keys(400, false), IntegerKeys::Unquoted);
    assert_eq!(route_keys(401, false), IntegerKeys::Quoted);
    assert_eq!(route_keys(121, true), IntegerKeys::Quoted);
}

fn registration(topics: usize) -> RegisterBrokerBody {
    let table =
        (0..topics).map(|index| (format!("T{index}"), TopicConfig::new(&format!("T{index}"), 4))).collect();
    RegisterBrokerBody {
        filter_server_list: vec!["f:1".to_owned()],
        topic_config_serialize_wrapper: TopicConfigTable {
            data_version: Some(DataVersion { counter: 1, state_version: 2, timestamp: 3 }),
            topic_config_table: table,
            topic_queue_mapping_info_map: Some(
                [("S".to_owned(), serde_json::json!({"topic": "S", "epoch": 1}))].into_iter().collect(),
            ),
            ..TopicConfigTable::default()
        },
    }
}

#[test]
fn a_compressed_registration_is_read_back() {
    let body = registration(3);
    let packed = body.encode(true).expect("fits");
    assert_eq!(RegisterBrokerBody::decode(&packed, true, 479, 1 << 20).expect("ours"), body);
}

#[test]
fn a_registration_that_unpacks_too_far_is_refused() {
    let packed = registration(2_000).encode(true).expect("fits");
    assert!(matches!(
        RegisterBrokerBody::decode(&packed, true, 479, 1_000),
        Err(RegisterError::TooLarge { limit: 1_000 })
    ));
    assert!(matches!(RegisterBrokerBody::decode(b"junk", true, 479, 1_000), Err(RegisterError::Inflate(_))));
}

proptest! {
    #[test]
    fn any_sections_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        use std::io::Write;
        let mut packer = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        packer.write_all(&bytes).expect("memory");
        let packed = packer.finish().expect("memory");
        let _ = RegisterBrokerBody::decode(&packed, true, 479, 1 << 16);
        let _ = RegisterBrokerBody::decode(&bytes, false, 479, 1 << 16);
    }

    #[test]
    fn queue_data_round_trips(broker_name in any::<String>(), perm in any::<i32>(), queues in any::<i32>()) {
        let data = QueueData { broker_name, perm, read_queue_nums: queues, topic_sys_flag: 0, write_queue_nums: queues };
        let written = json::to_vec(&data, IntegerKeys::Quoted).expect("a body");
        prop_assert_eq!(json::from_slice::<QueueData>(&written).expect("strict"), data);
    }
}
