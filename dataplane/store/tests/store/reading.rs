//! Reading by offset, filter, time and key; deleted topics; announcements.

use std::sync::atomic::Ordering;

use bolide_store::{
    Ack, AppendBatch, Boundary, Entry, Flush, ReadLimits, ReadStatus, RecordFilter, Tags, Unit, disk::Crash,
};
use bolide_wire::{
    EpochMillis, QueueId, QueueOffset,
    message::{NewRecord, encode_record, records, sys_flag},
};

use crate::support::{Harness, id_of, topic};

fn hundred() -> Harness {
    let mut harness = Harness::new(1, Flush::Async);
    for _ in 0..100 {
        harness.append(Ack::Appended, &[("alpha", 0, 100)]);
        harness.write();
        harness.clock.0.fetch_add(1000, Ordering::SeqCst);
    }
    harness
}

#[test]
fn the_status_of_a_read_is_that_of_the_original() {
    let harness = hundred();
    let queue = harness.queue("alpha", 0);
    let read = |queue: &bolide_store::Queue, from| {
        let read = harness.store.read(queue, QueueOffset(from), &ReadLimits::default(), &mut |_| true);
        let read = read.expect("readable");
        (read.status, read.next.0, read.messages)
    };
    assert_eq!(read(&harness.queue("empty", 0), 0), (ReadStatus::NoMessageInQueue, 0, 0));
    assert_eq!(read(&queue, -1), (ReadStatus::OffsetTooSmall, 0, 0));
    assert_eq!(read(&queue, 100), (ReadStatus::OffsetOverflowOne, 100, 0));
    assert_eq!(read(&queue, 101), (ReadStatus::OffsetOverflowBadly, 100, 0));
    assert_eq!(read(&queue, 0), (ReadStatus::Found, 32, 32));
    assert_eq!(read(&queue, 90), (ReadStatus::Found, 100, 10));
}

#[test]
fn limits_hold_and_one_record_is_always_returned() {
    let harness = hundred();
    let queue = harness.queue("alpha", 0);
    let limits = ReadLimits { max_bytes: 1, ..ReadLimits::default() };
    let read = harness.store.read(&queue, QueueOffset(5), &limits, &mut |_| true).expect("readable");
    assert_eq!((read.messages, read.next.0), (1, 6));
    let limits = ReadLimits { max_bytes: 3 * read.bytes, ..ReadLimits::default() };
    let read = harness.store.read(&queue, QueueOffset(5), &limits, &mut |_| true).expect("readable");
    assert_eq!((read.messages, read.next.0), (3, 8));
    assert_eq!(read.slices.len(), 1, "neighbours in the log are one slice");
}

/// Wants the records whose id divides by ten, but never looks at a unit of another tag than `tag2`.
struct Tens {
    looked_at: usize,
}

impl RecordFilter for Tens {
    fn wants_unit(&mut self, unit: &Unit) -> bool {
        unit.tags_code == i64::from(bolide_wire::properties::java_hash("tag2"))
    }

    fn reads_records(&self) -> bool {
        true
    }

    fn wants_record(&mut self, record: &[u8]) -> bool {
        self.looked_at += 1;
        let record = records(record).next().expect("a record").expect("whole");
        id_of(&record).is_multiple_of(10)
    }
}

#[test]
fn a_filter_looks_at_the_records_that_its_units_let_through() {
    let harness = hundred();
    let queue = harness.queue("alpha", 0);
    let mut filter = Tens { looked_at: 0 };
    let read = harness
        .store
        .read_filtered(&queue, QueueOffset(0), &ReadLimits::default(), &mut filter)
        .expect("readable");
    let ids: Vec<_> = read
        .slices
        .iter()
        .flat_map(|slice| records(slice))
        .map(|record| id_of(&record.expect("whole")))
        .collect();
    assert_eq!(ids, [20, 50, 80]);
    assert_eq!((filter.looked_at, read.next.0, read.status), (33, 100, ReadStatus::Found));
    let limits = ReadLimits { max_scan: 40, ..ReadLimits::default() };
    let read = harness.store.read_filtered(&queue, QueueOffset(51), &limits, &mut filter).expect("readable");
    assert_eq!((read.messages, read.next.0), (1, 91), "as many units as asked for");
}

#[test]
fn a_filter_may_be_kept_from_records_that_are_not_in_memory() {
    let mut config = crate::support::config(Flush::Async);
    config.hot_bytes = 0;
    let mut harness = Harness::with(1, config);
    harness.append(Ack::Appended, &[("alpha", 0, 100); 6]);
    harness.write();
    let queue = harness.queue("alpha", 0);
    let mut filter = Tens { looked_at: 0 };
    let limits = ReadLimits { filter_cold: false, ..ReadLimits::default() };
    let read = harness.store.read_filtered(&queue, QueueOffset(0), &limits, &mut filter).expect("readable");
    assert!(read.cold && read.slices.is_empty() && filter.looked_at == 0);
    let before = usize::try_from(read.next.0).expect("not negative");
    assert!(before < 3, "it stands before the first record that has to be looked at, not at {before}");
    let read = harness.store.read_filtered(&queue, read.next, &ReadLimits::default(), &mut filter);
    assert_eq!((read.expect("readable").next.0, filter.looked_at), (6, 2));
}

#[test]
fn a_filter_sees_the_tags_code_and_moves_on_over_what_it_refuses() {
    let mut harness = hundred();
    let queue = harness.queue("alpha", 0);
    let wanted = i64::from(bolide_wire::properties::java_hash("tag2"));
    for written in [false, true] {
        if written {
            harness.steps.checkpoint();
            harness.restart(Crash::Process);
        }
        let queue = harness.queue(queue.topic(), 0);
        let mut accept = |unit: &bolide_store::Unit| unit.tags_code == wanted;
        let read = harness
            .store
            .read(&queue, QueueOffset(0), &ReadLimits::default(), &mut accept)
            .expect("readable");
        let ids: Vec<_> = read
            .slices
            .iter()
            .flat_map(|slice| records(slice))
            .map(|record| id_of(&record.expect("whole")))
            .collect();
        assert_eq!(read.messages, 32);
        assert!(ids.iter().all(|id| id % 3 == 2));
        let read = harness.store.read(&queue, QueueOffset(0), &ReadLimits::default(), &mut |_| false);
        let read = read.expect("readable");
        assert_eq!((read.status, read.next.0), (ReadStatus::NoMatchedMessage, 100));
    }
}

#[test]
fn offsets_by_time_are_first_at_or_after_and_last_at_or_before() {
    let harness = hundred();
    let queue = harness.queue("alpha", 0);
    let start = 1_700_000_000_000;
    let find = |time, boundary| {
        harness.store.offset_by_time(&queue, EpochMillis(time), boundary).expect("readable").0
    };
    assert_eq!(find(start + 5000, Boundary::Lower), 5);
    assert_eq!(find(start + 5001, Boundary::Lower), 6);
    assert_eq!(find(start + 5999, Boundary::Upper), 5);
    assert_eq!(find(0, Boundary::Lower), 0);
    assert_eq!(find(0, Boundary::Upper), 0);
    assert_eq!(find(i64::MAX, Boundary::Lower), 100);
    let time = harness.store.store_time(&queue, QueueOffset(7)).expect("readable");
    assert_eq!(time, Some(EpochMillis(start + 7000)));
    assert_eq!(harness.store.store_time(&queue, QueueOffset(100)).expect("readable"), None);
}

#[test]
fn a_query_by_key_respects_the_time_range_and_finds_what_was_appended_a_moment_ago() {
    let harness = hundred();
    let query = |begin, end| {
        let found = harness.store.query("alpha", "key-50", 8, EpochMillis(begin), EpochMillis(end));
        found.expect("readable").len()
    };
    let time = 1_700_000_000_000 + 49 * 1000;
    assert_eq!(query(0, i64::MAX), 1);
    assert_eq!(query(time, time), 1);
    assert_eq!(query(time + 1, i64::MAX), 0);
    assert_eq!(query(0, time - 1), 0);
    let other = harness.store.query("beta", "key-50", 8, EpochMillis(0), EpochMillis(i64::MAX));
    assert!(other.expect("readable").is_empty());
}

#[test]
fn a_deleted_topic_begins_anew_and_stays_deleted() {
    let mut harness = hundred();
    harness.append(Ack::Appended, &[("beta", 0, 10)]);
    harness.write();
    assert!(harness.store.delete_topic("alpha").expect("deleted"));
    assert!(!harness.store.delete_topic("alpha").expect("nothing to delete"));
    assert!(harness.store.queue("alpha", QueueId(0)).is_none());
    harness.restart(Crash::Machine);
    assert!(harness.store.queue("alpha", QueueId(0)).is_none(), "the log's records do not bring it back");
    assert_eq!(harness.queue("beta", 0).max().0, 1);
    harness.append(Ack::Flushed, &[("alpha", 0, 10)]);
    harness.write();
    harness.flush();
    assert_eq!(harness.queue("alpha", 0).max().0, 1);
    harness.restart(Crash::Machine);
    assert_eq!(harness.queue("alpha", 0).max().0, 1);
}

#[test]
fn an_append_to_a_queue_that_was_deleted_meanwhile_goes_to_its_successor() {
    let mut harness = hundred();
    harness.append(Ack::Appended, &[("alpha", 0, 10)]);
    assert!(harness.store.delete_topic("alpha").expect("deleted"));
    harness.write();
    assert_eq!(harness.queue("alpha", 0).max().0, 1);
}

#[test]
fn arrivals_are_announced_only_for_watched_queues_and_after_they_are_visible() {
    let mut harness = Harness::new(1, Flush::Sync);
    harness.queue("alpha", 0).watch(true);
    harness.append(Ack::Flushed, &[("alpha", 0, 1), ("alpha", 0, 1), ("beta", 0, 1)]);
    harness.write();
    assert!(harness.recorder.arrived.lock().expect("no panic").is_empty(), "not yet flushed");
    harness.flush();
    assert_eq!(*harness.recorder.arrived.lock().expect("no panic"), [("alpha".to_owned(), 0)]);
    harness.queue("alpha", 0).watch(false);
    harness.append(Ack::Flushed, &[("alpha", 0, 1)]);
    harness.write();
    harness.flush();
    assert_eq!(harness.recorder.arrived.lock().expect("no panic").len(), 1);
    harness.queue("beta", 0).watch(true);
    for topic in ["alpha", "beta"] {
        assert!(harness.store.delete_topic(topic).expect("deleted"));
    }
    let told = harness.recorder.arrived.lock().expect("no panic").split_off(1);
    assert_eq!(told, [("beta".to_owned(), 0)], "nothing more will arrive");
}

#[test]
fn prepared_records_take_no_queue_offset_now_or_after_recovery() {
    let mut harness = Harness::new(1, Flush::Async);
    harness.append(Ack::Appended, &[("alpha", 0, 1)]);
    let queue = harness.queue("alpha", 0);
    let mut batch = AppendBatch::default();
    let record = NewRecord {
        topic: "alpha",
        queue_id: QueueId(0),
        flag: 0,
        sys_flag: sys_flag::TRANSACTION_PREPARED,
        born_timestamp: EpochMillis(0),
        born_host: ([127, 0, 0, 1], 1).into(),
        store_host: ([127, 0, 0, 1], 1).into(),
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body: b"prepared",
        properties: "",
    };
    let len = encode_record(&record, &mut batch.buf).expect("fits");
    batch.entries.push(Entry { consumable: false, ..Entry::new(len, queue) });
    harness.store.append(batch, Ack::Appended, Box::new(|_| {})).expect("accepted");
    harness.append(Ack::Appended, &[("alpha", 0, 1)]);
    harness.write();
    assert_eq!(harness.read_all().len(), 2);
    harness.restart(Crash::Process);
    assert_eq!(harness.store.recovery().records, 3);
    assert_eq!(harness.read_all().len(), 2);
}

#[test]
fn a_delayed_record_has_its_delivery_time_for_a_tags_code() {
    let mut harness = Harness::new(1, Flush::Async);
    let queue = harness.store.queue_or_create(&topic("SCHEDULE_TOPIC_XXXX"), QueueId(1));
    let mut batch = AppendBatch::default();
    crate::support::add(&mut batch, &queue, 1, 5);
    batch.entries[0].tags = Tags::DeliverAfter(5000);
    harness.store.append(batch, Ack::Appended, Box::new(|_| {})).expect("accepted");
    harness.steps.write();
    let mut seen = Vec::new();
    let mut note = |unit: &bolide_store::Unit| {
        seen.push(unit.tags_code);
        true
    };
    harness.store.read(&queue, QueueOffset(0), &ReadLimits::default(), &mut note).expect("readable");
    assert_eq!(seen, [1_700_000_005_000]);
}
