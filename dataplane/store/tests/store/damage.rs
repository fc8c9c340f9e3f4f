//! Files that are not what the store wrote.

use bolide_store::{Ack, Flush, OpenError, disk::Crash};
use proptest::prelude::*;

use crate::support::{Harness, open};

fn filled() -> Harness {
    let mut harness = Harness::new(9, Flush::Async);
    for _ in 0..30 {
        harness.append(Ack::Appended, &[("alpha", 0, 600), ("beta", 1, 100)]);
        harness.write();
    }
    harness
}

fn damage(harness: &Harness, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
    let path = harness.path(name);
    let mut bytes = harness.disk.contents(&path).expect("the file is there");
    change(&mut bytes);
    harness.disk.overwrite(&path, &bytes);
}

#[test]
fn a_damaged_record_that_was_flushed_keeps_the_store_from_opening() {
    let mut harness = filled();
    harness.flush();
    let third = harness.model.acked[&3].log_offset.0;
    harness.disk = harness.disk.restart(Crash::Process);
    damage(&harness, "commitlog/00000000000000000000", |bytes| bytes[third as usize + 100] ^= 1);
    // The note of the first file's flush is there, a checkpoint is not: recovery reads all of it.
    let opened = open(&harness.disk, &harness.config, &harness.clock, &harness.recorder);
    match opened {
        Err(OpenError::Damaged { offset, file, .. }) => {
            assert_eq!((offset, file.as_str()), (third, "00000000000000000000"));
        }
        other => assert!(other.is_err(), "must not open"),
    }
}

#[test]
fn a_damaged_record_after_the_flushed_mark_is_the_torn_end() {
    let mut harness = Harness::new(10, Flush::Async);
    harness.append(Ack::Flushed, &[("alpha", 0, 10), ("alpha", 0, 20)]);
    harness.write();
    harness.flush();
    assert!(harness.steps.checkpoint());
    harness.append(Ack::Appended, &[("alpha", 0, 30), ("alpha", 0, 40)]);
    harness.write();
    let third = harness.model.acked[&3].log_offset.0;
    harness.disk = harness.disk.restart(Crash::Process);
    damage(&harness, "commitlog/00000000000000000000", |bytes| bytes[third as usize + 95] ^= 1);
    harness.restart(Crash::Process);
    let recovery = harness.store.recovery();
    assert_eq!((recovery.end, recovery.cut), (third, true));
    harness.check_acked(Some(Ack::Flushed));
    let log = harness.disk.contents(&harness.path("commitlog/00000000000000000000")).expect("there");
    assert!(log[third as usize..].iter().all(|byte| *byte == 0), "the rest is zeroed");
    assert_eq!(harness.queue("alpha", 0).max().0, 2);
}

#[test]
fn a_file_of_another_size_or_a_missing_one_is_refused_with_a_sentence() {
    let mut harness = filled();
    harness.close();
    harness.config.segment_bytes *= 2;
    let opened =
        open(&harness.disk.restart(Crash::Process), &harness.config, &harness.clock, &harness.recorder);
    assert!(matches!(opened, Err(OpenError::SegmentLength { .. })));

    let harness = filled();
    let disk = harness.disk.restart(Crash::Process);
    let gone = harness.path("commitlog/00000000000000016384");
    let last = harness.path("commitlog/00000000000000032768");
    disk.overwrite(&last, &vec![0; 16 << 10]);
    bolide_store::Disk::remove(&disk, &gone).expect("removable");
    let opened = open(&disk, &harness.config, &harness.clock, &harness.recorder);
    assert!(matches!(opened, Err(OpenError::SegmentMissing { .. })));
}

#[test]
fn a_second_store_in_the_same_folder_is_refused() {
    let harness = filled();
    let opened = open(&harness.disk, &harness.config, &harness.clock, &harness.recorder);
    assert!(matches!(opened, Err(OpenError::Locked { .. })));
}

#[test]
fn a_topic_that_is_a_path_makes_no_file_outside_of_the_store() {
    let mut harness = filled();
    harness.flush();
    let queue = harness.store.queue_or_create(
        &bolide_wire::TopicName::internal("../../escape").expect("allowed by the wire"),
        bolide_wire::QueueId(0),
    );
    let mut batch = bolide_store::AppendBatch::default();
    crate::support::add(&mut batch, &queue, 1000, 10);
    let refused =
        harness.store.append(batch, Ack::Appended, Box::new(|_| {})).expect_err("not a folder's name");
    assert_eq!(refused.reason, bolide_store::Refusal::Invalid);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever any file holds, opening gives a store or an error, and a store that opens can be read and written.
    #[test]
    fn arbitrary_bytes_in_any_file_never_panic(
        file in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
        replace in prop::option::of(prop::collection::vec(any::<u8>(), 0..2000)),
        closed in any::<bool>(),
        machine in any::<bool>(),
    ) {
        let mut harness = filled();
        harness.steps.index();
        harness.steps.checkpoint();
        harness.append(Ack::Appended, &[("alpha", 0, 600), ("beta", 1, 100)]);
        harness.write();
        if closed {
            harness.close();
        }
        let disk = harness.disk.restart(Crash::Process);
        let files = disk.files();
        let path = &files[file.index(files.len())];
        let mut bytes = disk.contents(path).expect("listed");
        match replace {
            Some(other) => bytes = other,
            None if !bytes.is_empty() => {
                for (at, value) in changes {
                    let at = at.index(bytes.len());
                    bytes[at] = value;
                }
            }
            None => {}
        }
        disk.overwrite(path, &bytes);
        let disk = if machine { disk.restart(Crash::Machine) } else { disk };
        if let Ok((store, mut steps)) = open(&disk, &harness.config, &harness.clock, &harness.recorder) {
            for name in store.topics() {
                for queue in store.queues_of(&name) {
                    let mut next = queue.min();
                    while next < queue.max() {
                        let Ok(read) = store.read(&queue, next, &Default::default(), &mut |_| true) else { break };
                        prop_assert!(read.next > next);
                        next = read.next;
                    }
                    let _ = store.offset_by_time(
                        &queue,
                        bolide_wire::EpochMillis(1_700_000_000_000),
                        bolide_store::Boundary::Lower,
                    );
                }
            }
            while steps.index() {}
            let everything = bolide_wire::EpochMillis(i64::MAX);
            let _ = store.query("alpha", "key-1", 10, bolide_wire::EpochMillis(0), everything);
            let mut batch = bolide_store::AppendBatch::default();
            let queue = store.queue_or_create(&crate::support::topic("alpha"), bolide_wire::QueueId(0));
            crate::support::add(&mut batch, &queue, 5000, 10);
            store.append(batch, Ack::Appended, Box::new(|_| {})).expect("takes records");
            steps.write();
            steps.flush();
            steps.checkpoint();
            store.close();
        }
    }
}
