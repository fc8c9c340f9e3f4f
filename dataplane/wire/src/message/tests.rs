use proptest::prelude::*;

use super::*;
use crate::ids::{EpochMillis, LogOffset, QueueId, QueueOffset};

fn sample<'a>(topic: &'a str, body: &'a [u8], properties: &'a str) -> NewRecord<'a> {
    NewRecord {
        topic,
        queue_id: QueueId(3),
        flag: 7,
        sys_flag: sys_flag::COMPRESSED,
        born_timestamp: EpochMillis(1_700_000_000_000),
        born_host: "10.1.2.3:4567".parse().expect("an address"),
        store_host: "10.9.8.7:10911".parse().expect("an address"),
        reconsume_times: 2,
        prepared_transaction_offset: 99,
        body,
        properties,
    }
}

#[test]
fn a_record_is_read_back_with_its_stamps() {
    let mut bytes = Vec::new();
    let written = encode_record(&sample("T", b"hello", "TAGS\u{1}a\u{2}"), &mut bytes).expect("fits");
    assert_eq!(bytes.len(), 91 + 1 + 5 + 7);
    assert_eq!(usize::try_from(written), Ok(bytes.len()));
    stamp(&mut bytes, QueueOffset(5), LogOffset(1 << 40), EpochMillis(42)).expect("long enough");
    let record = RecordRef::parse(&bytes).expect("our own record");
    assert_eq!(record.verify_crc(), Ok(()));
    assert_eq!((record.queue_id(), record.queue_offset()), (QueueId(3), QueueOffset(5)));
    assert_eq!((record.log_offset(), record.store_timestamp()), (LogOffset(1 << 40), EpochMillis(42)));
    assert_eq!((record.topic(), record.body(), record.properties().tags()), ("T", &b"hello"[..], Some("a")));
    assert_eq!(record.born_host().to_string(), "10.1.2.3:4567");
    assert_eq!((record.flag(), record.reconsume_times(), record.prepared_transaction_offset()), (7, 2, 99));
    assert_eq!(record.offset_message_id().to_string(), "0A09080700002A9F0000010000000000");
}

#[test]
fn ipv6_hosts_and_long_topics_change_the_layout() {
    let topic = "t".repeat(128);
    let mut new = sample(&topic, b"x", "");
    new.born_host = "[2001:db8::1]:1".parse().expect("an address");
    new.store_host = "[2001:db8::2]:65535".parse().expect("an address");
    let mut bytes = Vec::new();
    encode_record(&new, &mut bytes).expect("fits");
    stamp(&mut bytes, QueueOffset(1), LogOffset(2), EpochMillis(3)).expect("long enough");
    let record = RecordRef::parse(&bytes).expect("our own record");
    assert_eq!(bytes[4..8], MAGIC_V2.to_be_bytes());
    assert_eq!(record.topic(), topic);
    assert_eq!((record.born_host(), record.store_host()), (new.born_host, new.store_host));
    assert_eq!(record.store_timestamp(), EpochMillis(3));
    assert_eq!(record.sys_flag(), sys_flag::COMPRESSED | sys_flag::BORN_HOST_V6 | sys_flag::STORE_HOST_V6);
    let id = record.offset_message_id();
    assert_eq!(id.to_string().len(), 56);
    assert_eq!(id.to_string().parse(), Ok(id));
}

#[test]
fn what_does_not_fit_leaves_the_buffer_alone() {
    let mut bytes = vec![1];
    let long = "p".repeat(32_768);
    assert_eq!(encode_record(&sample("T", b"", &long), &mut bytes), Err(EncodeError::Properties(32_768)));
    let long = "t".repeat(256);
    assert_eq!(encode_record(&sample(&long, b"", ""), &mut bytes), Err(EncodeError::Topic(256)));
    assert_eq!(bytes, [1]);
}

#[test]
fn a_changed_body_fails_its_checksum() {
    let mut bytes = Vec::new();
    encode_record(&sample("T", b"hello", ""), &mut bytes).expect("fits");
    let at = bytes.windows(5).position(|window| window == b"hello").expect("the body");
    bytes[at] = b'j';
    let record = RecordRef::parse(&bytes).expect("the layout is unchanged");
    assert!(matches!(record.verify_crc(), Err(RecordError::Crc { .. })));
}

#[test]
fn records_stop_at_a_filler_and_at_a_torn_record() {
    let mut bytes = Vec::new();
    encode_record(&sample("T", b"1", ""), &mut bytes).expect("fits");
    encode_record(&sample("T", b"2", ""), &mut bytes).expect("fits");
    let whole = bytes.len();
    bytes.extend_from_slice(&blank_head(100));
    let read: Vec<_> = records(&bytes).collect();
    assert_eq!(read.len(), 3);
    assert_eq!(read[2], Err(RecordError::Blank { total: 100 }));
    let torn: Vec<_> = records(&bytes[..whole - 1]).collect();
    assert_eq!(torn.len(), 2);
    assert!(matches!(torn[1], Err(RecordError::Truncated { .. })));
}

#[test]
fn a_batch_is_read_back() {
    let messages = [
        BatchMessage { flag: 1, body: b"one", properties: "TAGS\u{1}a\u{2}" },
        BatchMessage { flag: 0, body: b"", properties: "" },
    ];
    let body = encode_batch(&messages).expect("fits");
    assert_eq!(BatchMessages::new(&body).collect::<Result<Vec<_>, _>>().as_deref(), Ok(&messages[..]));
    assert!(BatchMessages::new(&body[..body.len() - 1]).any(|message| message.is_err()));
    assert!(BatchMessages::new(&[0, 0, 0, 0, 1]).any(|message| message.is_err()));
}

#[test]
fn only_hexadecimal_ids_of_the_right_length_are_read() {
    assert!("0A09080700002A9F0000010000000000".parse::<OffsetMessageId>().is_ok());
    for bad in
        ["", "0A0908070000", "0A09080700002A9F000001000000000G", "0A0908070FFF2A9F0000010000000000", "ä"]
    {
        assert!(bad.parse::<OffsetMessageId>().is_err(), "{bad}");
    }
}

proptest! {
    #[test]
    fn every_record_round_trips(
        topic in "[a-z]{1,200}",
        body in prop::collection::vec(any::<u8>(), 0..300),
        properties in any::<String>(),
        v6 in any::<(bool, bool)>(),
        numbers in any::<(u16, i32, i32, i64, i64)>(),
        stamps in (any::<i64>(), 0..i64::MAX, any::<i64>()),
    ) {
        let host = |v6: bool| if v6 { "[::1]:9" } else { "1.2.3.4:9" }.parse().expect("an address");
        let new = NewRecord {
            topic: &topic,
            queue_id: QueueId(u32::from(numbers.0)),
            flag: numbers.1,
            sys_flag: numbers.2,
            born_timestamp: EpochMillis(numbers.3),
            born_host: host(v6.0),
            store_host: host(v6.1),
            reconsume_times: numbers.1,
            prepared_transaction_offset: numbers.4,
            body: &body,
            properties: &properties,
        };
        let mut bytes = Vec::new();
        encode_record(&new, &mut bytes).expect("fits");
        let log_offset = LogOffset::from_wire(stamps.1).expect("not negative");
        stamp(&mut bytes, QueueOffset(stamps.0), log_offset, EpochMillis(stamps.2)).expect("long enough");
        let record = RecordRef::parse(&bytes).expect("our own record");
        prop_assert_eq!(record.verify_crc(), Ok(()));
        prop_assert_eq!(record.topic(), new.topic);
        prop_assert_eq!(record.body(), new.body);
        prop_assert_eq!(record.properties().as_str(), new.properties);
        prop_assert_eq!(stored_properties(&bytes), Some(record.properties()));
        prop_assert_eq!(record.queue_id(), new.queue_id);
        prop_assert_eq!((record.born_host(), record.store_host()), (new.born_host, new.store_host));
        prop_assert_eq!(record.born_timestamp(), new.born_timestamp);
        prop_assert_eq!(record.queue_offset(), QueueOffset(stamps.0));
        prop_assert_eq!(record.log_offset(), log_offset);
        prop_assert_eq!(record.store_timestamp(), EpochMillis(stamps.2));
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), at in 0usize..120, byte in any::<u8>()) {
        let _ = records(&bytes).count();
        let _ = BatchMessages::new(&bytes).count();
        let mut record = Vec::new();
        encode_record(&sample("Topic", b"body", "TAGS\u{1}a\u{2}"), &mut record).expect("fits");
        if let Some(slot) = record.get_mut(at) {
            *slot = byte;
        }
        let _ = RecordRef::parse(&record).map(|record| record.verify_crc());
        let _ = (stored_properties(&record), stored_properties(&bytes));
        let _ = stamp(&mut record[..at.min(90)], QueueOffset(1), LogOffset(1), EpochMillis(1));
    }
}
