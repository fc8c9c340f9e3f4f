use std::borrow::Cow;

use bytes::{BufMut, BytesMut};
use proptest::prelude::*;

use super::consumer::GetMaxOffset;
use super::send::{SendMessage, SendMessageV2};
use super::*;
use crate::frame::{Command, DEFAULT_MAX_FRAME, SerializeType};
use crate::{EpochMillis, RequestCode};

fn decoded(header: &str) -> Command {
    let mut bytes = BytesMut::new();
    bytes.put_i32(i32::try_from(4 + header.len()).expect("short"));
    bytes.put_i32(i32::try_from(header.len()).expect("short"));
    bytes.put_slice(header.as_bytes());
    crate::decode(&mut bytes, DEFAULT_MAX_FRAME).expect("a legal frame").expect("a whole frame")
}

#[test]
fn numbers_and_booleans_of_the_node_client_are_read() {
    let command = decoded(
        r#"{"code":310,"language":"JAVA","version":121,"opaque":1,"flag":0,"extFields":{"a":"g","b":"T","c":"TBW102","d":4,"e":3,"f":0,"g":1700000000000,"h":0,"i":"TAGS\u0001a\u0002","j":null,"m":false}}"#,
    );
    let header = SendMessageV2::decode(&command.ext).expect("a send header");
    assert_eq!((header.queue_id, header.born_timestamp), (3, EpochMillis(1_700_000_000_000)));
    assert_eq!((header.reconsume_times, header.batch), (None, false));
    assert!(matches!(header.topic, Cow::Borrowed("T")));
    assert_eq!(header.properties.as_deref(), Some("TAGS\u{1}a\u{2}"));
}

#[test]
fn a_missing_or_bad_field_is_named() {
    let command = decoded(r#"{"code":30,"extFields":{"topic":"T"}}"#);
    assert_eq!(GetMaxOffset::decode(&command.ext), Err(HeaderError::Missing { field: "queueId" }));
    let command = decoded(r#"{"code":30,"extFields":{"topic":"T","queueId":"x"}}"#);
    assert_eq!(
        GetMaxOffset::decode(&command.ext),
        Err(HeaderError::Invalid { field: "queueId", value: "x".to_owned() })
    );
    let command = decoded(r#"{"code":30,"extFields":{"topic":"T","queueId":"1"}}"#);
    assert_eq!(GetMaxOffset::decode(&command.ext).map(|header| header.committed), Ok(true));
}

#[test]
fn the_long_send_header_becomes_the_short_one() {
    let mut ext = crate::Ext::new();
    let short = SendMessageV2 {
        producer_group: "g".into(),
        topic: "T".into(),
        default_topic: "TBW102".into(),
        default_topic_queue_nums: 4,
        queue_id: -1,
        sys_flag: 1,
        born_timestamp: EpochMillis(5),
        flag: 2,
        properties: None,
        reconsume_times: Some(3),
        unit_mode: None,
        max_reconsume_times: None,
        batch: true,
        broker_name: Some("b".into()),
    };
    for (key, value) in [
        ("producerGroup", "g"),
        ("topic", "T"),
        ("defaultTopic", "TBW102"),
        ("defaultTopicQueueNums", "4"),
        ("queueId", "-1"),
        ("sysFlag", "1"),
        ("bornTimestamp", "5"),
        ("flag", "2"),
        ("reconsumeTimes", "3"),
        ("batch", "TRUE"),
        ("bname", "b"),
    ] {
        ext.insert(key, value);
    }
    let long = SendMessage::decode(&ext).expect("a send header");
    assert_eq!(SendMessageV2::from(long), short);
}

proptest! {
    #[test]
    fn headers_round_trip_through_both_frames(
        texts in any::<(String, String, Option<String>)>(),
        numbers in any::<(i32, i32, i64, Option<i32>, bool)>(),
        binary in any::<bool>(),
    ) {
        // The binary header cannot tell an empty text from an absent one.
        prop_assume!(!binary || [&texts.0, &texts.1].iter().all(|text| !text.is_empty()));
        let header = SendMessageV2 {
            producer_group: texts.0.as_str().into(),
            topic: texts.1.as_str().into(),
            default_topic: "TBW102".into(),
            default_topic_queue_nums: numbers.0,
            queue_id: numbers.1,
            sys_flag: numbers.0,
            born_timestamp: EpochMillis(numbers.2),
            flag: numbers.1,
            properties: texts.2.as_deref().filter(|text| !text.is_empty()).map(Cow::Borrowed),
            reconsume_times: numbers.3,
            unit_mode: Some(numbers.4),
            max_reconsume_times: None,
            batch: numbers.4,
            broker_name: None,
        };
        let mut command = Command::request(RequestCode::SEND_MESSAGE_V2).with_header(&header);
        if binary {
            command.serialize = SerializeType::Rocketmq;
        }
        let mut bytes = BytesMut::new();
        crate::encode(&command, &mut bytes).expect("fits");
        let read = crate::decode(&mut bytes, DEFAULT_MAX_FRAME).expect("ours").expect("whole");
        prop_assert_eq!(SendMessageV2::decode(&read.ext), Ok(header));
    }

    #[test]
    fn any_frame_is_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..120), kind in 0u8..3) {
        let mut frame = BytesMut::new();
        frame.put_i32(i32::try_from(4 + bytes.len()).expect("short"));
        frame.put_u8(kind);
        frame.put_slice(&[0, 0, u8::try_from(bytes.len()).expect("short")]);
        frame.put_slice(&bytes);
        if let Ok(Some(command)) = crate::decode(&mut frame, DEFAULT_MAX_FRAME) {
            let _ = SendMessageV2::decode(&command.ext);
        }
        let mut raw = BytesMut::from(&bytes[..]);
        let _ = crate::decode(&mut raw, DEFAULT_MAX_FRAME);
    }

    #[test]
    fn any_json_like_header_is_read_without_a_panic(inner in "[{}\\[\\],:\"\\\\a0u n-]{0,40}") {
        let header = format!(r#"{{"code":1,"extFields":{{"a":{inner}}}}}"#);
        let mut frame = BytesMut::new();
        frame.put_i32(i32::try_from(4 + header.len()).expect("short"));
        frame.put_i32(i32::try_from(header.len()).expect("short"));
        frame.put_slice(header.as_bytes());
        if let Ok(Some(command)) = crate::decode(&mut frame, DEFAULT_MAX_FRAME) {
            prop_assert!(command.ext.iter().count() < 40);
        }
    }
}
