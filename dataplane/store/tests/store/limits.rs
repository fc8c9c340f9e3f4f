//! Bounds: full queue, full disk, failed disk, retention.

use std::sync::atomic::Ordering;

use bolide_store::{
    Ack, AppendBatch, Flush, ReadLimits, ReadStatus, Refusal,
    disk::{Crash, Disk, Fault},
};
use bolide_wire::{EpochMillis, QueueOffset};

use crate::support::{Harness, SEGMENT, add, config};

fn refusal(harness: &Harness, len: usize, id: u64) -> Option<Refusal> {
    let mut batch = AppendBatch::default();
    add(&mut batch, &harness.queue("alpha", 0), id, len);
    let refused = harness.store.append(batch, Ack::Appended, Box::new(|_| {})).err()?;
    assert_eq!(refused.batch.entries.len(), 1, "the batch is handed back");
    Some(refused.reason)
}

#[test]
fn a_full_queue_says_busy_and_takes_more_once_the_writer_has_worked() {
    let mut harness = Harness::new(1, Flush::Async);
    while refusal(&harness, 1000, 1) != Some(Refusal::Busy) {}
    harness.write();
    assert_eq!(refusal(&harness, 1000, 1), None);
}

#[test]
fn with_sync_flush_bytes_count_until_they_are_flushed() {
    let mut harness = Harness::new(1, Flush::Sync);
    while refusal(&harness, 1000, 1) != Some(Refusal::Busy) {}
    harness.write();
    assert_eq!(refusal(&harness, 1000, 1), Some(Refusal::Busy));
    harness.flush();
    assert_eq!(refusal(&harness, 1000, 1), None);
}

#[test]
fn a_record_larger_than_a_file_and_a_batch_that_does_not_add_up_are_invalid() {
    let harness = Harness::new(1, Flush::Async);
    assert_eq!(refusal(&harness, SEGMENT as usize, 1), Some(Refusal::Invalid));
    let mut batch = AppendBatch::default();
    add(&mut batch, &harness.queue("alpha", 0), 1, 100);
    batch.buf.push(0);
    let refused =
        harness.store.append(batch, Ack::Appended, Box::new(|_| {})).expect_err("one byte too many");
    assert_eq!(refused.reason, Refusal::Invalid);
}

#[test]
fn a_group_stays_in_one_file() {
    let mut harness = Harness::new(1, Flush::Async);
    harness.append(Ack::Appended, &[("alpha", 0, 12_000)]);
    harness.write();
    let mut batch = AppendBatch::default();
    for id in [102, 103, 104] {
        add(&mut batch, &harness.queue("alpha", 0), id, 2000);
    }
    batch.entries[0].group_len = 3;
    let (tell, told) = std::sync::mpsc::channel();
    let done = Box::new(move |placed| tell.send(placed).expect("listening"));
    harness.store.append(batch, Ack::Appended, done).expect("accepted");
    harness.steps.write();
    let placed = told.try_recv().expect("answered").expect("written");
    assert_eq!(
        placed[0].log_offset.0, SEGMENT,
        "the group begins the next file, although one record had room"
    );
}

#[test]
fn after_a_failed_fsync_nothing_is_acknowledged_and_reading_goes_on() {
    let mut harness = Harness::new(1, Flush::Async);
    harness.append(Ack::Flushed, &[("alpha", 0, 10)]);
    harness.write();
    harness.disk.fault_after(Some((1, Fault::Fail)));
    harness.flush();
    assert!(harness.store.poisoned());
    assert!(harness.model.acked.is_empty());
    harness.flush();
    assert!(harness.model.acked.is_empty(), "a repeated fsync proves nothing");
    assert_eq!(refusal(&harness, 10, 2), Some(Refusal::Poisoned));
    assert!(!harness.store.flush_now());
    let queue = harness.queue("alpha", 0);
    let read =
        harness.store.read(&queue, QueueOffset(0), &ReadLimits::default(), &mut |_| true).expect("readable");
    assert_eq!(read.status, ReadStatus::Found);
    harness.close();
    assert!(harness.disk.files().contains(&harness.path("abort")), "a poisoned store is not closed cleanly");
}

#[test]
fn appends_are_refused_before_the_disk_is_full_and_resume_at_the_lower_mark() {
    let mut config = config(Flush::Async);
    config.retention.refuse_ratio = 0.9;
    config.retention.clean_forcibly_ratio = 0.5;
    let mut harness = Harness::with(1, config);
    harness.disk.set_capacity(20 * SEGMENT);
    harness.recorder.covers.store(u64::MAX, Ordering::SeqCst);
    let mut accepted = 0;
    while refusal(&harness, 5000, 1) != Some(Refusal::DiskFull) {
        harness.steps.write();
        let _ = harness.steps.prepare_segment();
        accepted += 1;
        assert!(accepted < 1000, "refused before the disk is full");
    }
    assert!(harness.store.disk_usage().expect("known").available > 0, "there is room left");
    // State records still pass, unless they are a client's.
    assert_eq!(refusal(&harness, 10, 5), None);
    let mut batch = AppendBatch::default();
    add(&mut batch, &harness.queue("alpha", 0), 10, 10);
    batch.entries[0].client = true;
    let refused = harness.store.append(batch, Ack::Appended, Box::new(|_| {})).expect_err("a client's");
    assert_eq!(refused.reason, Refusal::DiskFull);
    harness.steps.write();
    // Reading goes on.
    let queue = harness.queue("alpha", 0);
    let read =
        harness.store.read(&queue, QueueOffset(0), &ReadLimits::default(), &mut |_| true).expect("readable");
    assert_eq!(read.status, ReadStatus::Found);
    // Nothing may be deleted before a checkpoint covers it.
    assert_eq!(harness.steps.retain(), 0);
    assert_eq!(refusal(&harness, 10, 1), Some(Refusal::DiskFull));
    assert!(harness.steps.checkpoint());
    assert!(harness.steps.retain() > 0);
    while harness.steps.retain() > 0 {}
    assert_eq!(refusal(&harness, 10, 1), None);
    assert!(queue.min().0 > 0);
}

#[test]
fn a_disk_that_is_full_loses_nothing_acknowledged_and_recovers_when_there_is_room() {
    let mut harness = Harness::new(3, Flush::Async);
    harness.disk.set_capacity(4 * SEGMENT);
    for _ in 0..60 {
        harness.append(Ack::Appended, &[("alpha", 0, 900), ("beta", 0, 700)]);
        harness.write();
        harness.steps.checkpoint();
    }
    assert!(harness.model.acked.len() < 120, "the disk is smaller than what was sent");
    assert!(!harness.store.poisoned(), "a full disk is no failed write");
    harness.check_acked(None);
    harness.disk.set_capacity(u64::MAX);
    harness.append(Ack::Appended, &[("alpha", 0, 900)]);
    harness.write();
    harness.flush();
    assert!(harness.steps.checkpoint());
    harness.restart(Crash::Process);
    harness.check_acked(None);
}

#[test]
fn retention_deletes_by_age_only_what_the_snapshot_covers() {
    let mut harness = Harness::new(4, Flush::Async);
    for _ in 0..60 {
        harness.append(Ack::Appended, &[("alpha", 0, 900), ("beta", 0, 700)]);
        harness.write();
        harness.clock.0.fetch_add(3_600_000, Ordering::SeqCst);
    }
    harness.steps.index();
    assert!(harness.steps.checkpoint());
    assert_eq!(harness.steps.retain(), 0, "the owner's snapshot covers nothing");
    harness.clock.0.fetch_add(40 * 3_600_000, Ordering::SeqCst);
    harness.recorder.covers.store(2 * SEGMENT, Ordering::SeqCst);
    assert_eq!(harness.steps.retain(), 2);
    let queue = harness.queue("alpha", 0);
    let min = queue.min();
    assert!(min.0 > 0);
    let limits = ReadLimits::default();
    let read = harness.store.read(&queue, QueueOffset(0), &limits, &mut |_| true).expect("readable");
    assert_eq!((read.status, read.next), (ReadStatus::OffsetTooSmall, min));
    let read = harness.store.read(&queue, min, &limits, &mut |_| true).expect("readable");
    assert_eq!(read.status, ReadStatus::Found);
    assert!(harness.store.record_at(bolide_wire::LogOffset(0)).expect("readable").is_none());
    let first = harness.store.offset_by_time(&queue, EpochMillis(0), bolide_store::Boundary::Lower);
    assert_eq!(first.expect("readable"), min);
    let files: Vec<_> = harness.disk.list(&harness.path("commitlog")).expect("listed");
    assert_eq!(files[0].name, "00000000000000032768");
    // The rest is young enough, or the newest.
    harness.recorder.covers.store(u64::MAX, Ordering::SeqCst);
    harness.clock.0.fetch_add(10_000 * 3_600_000, Ordering::SeqCst);
    while harness.steps.retain() > 0 {}
    assert_eq!(harness.disk.list(&harness.path("commitlog")).expect("listed").len(), 1);
    harness.model.acked.retain(|_, placed| placed.log_offset.0 >= harness.store.watermarks().min.0);
    harness.check_acked(None);
    harness.restart(Crash::Machine);
    harness.check_acked(None);
    assert!(harness.queue("alpha", 0).min() > min);
}

#[test]
fn retention_waits_for_the_owner_to_release_a_file_and_flushes_what_replaced_it() {
    let mut harness = Harness::new(5, Flush::Async);
    for _ in 0..60 {
        harness.append(Ack::Appended, &[("alpha", 0, 900), ("beta", 0, 700)]);
        harness.write();
        harness.clock.0.fetch_add(3_600_000, Ordering::SeqCst);
    }
    harness.flush();
    harness.steps.index();
    assert!(harness.steps.checkpoint());
    harness.clock.0.fetch_add(1_000 * 3_600_000, Ordering::SeqCst);
    harness.recorder.covers.store(u64::MAX, Ordering::SeqCst);
    harness.recorder.needs.store(SEGMENT - 1, Ordering::SeqCst);
    assert_eq!(harness.steps.retain(), 0, "a record of the first file is needed");
    harness.append(Ack::Appended, &[("alpha", 0, 900)]);
    harness.write();
    assert!(harness.store.watermarks().flushed < harness.store.watermarks().dispatched);
    harness.recorder.needs.store(SEGMENT, Ordering::SeqCst);
    assert_eq!(harness.steps.retain(), 1);
    assert_eq!(harness.store.watermarks().flushed, harness.store.watermarks().dispatched);
}
