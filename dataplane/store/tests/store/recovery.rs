//! What recovery reads, and what it makes of a store without checkpoints.

use std::sync::atomic::Ordering;

use bolide_store::{Ack, Flush, disk::Crash};

use crate::support::{Harness, SEGMENT};

/// The least that one look at the log reads.
const ONE_LOOK: u64 = 64 << 10;

fn fill(harness: &mut Harness, batches: usize) {
    for number in 0..batches {
        harness.append(Ack::Appended, &[("alpha", (number % 2) as u32, 700), ("beta", 0, 300)]);
        harness.write();
    }
}

#[test]
fn after_a_clean_close_no_record_is_read() {
    let mut harness = Harness::new(1, Flush::Async);
    fill(&mut harness, 100);
    harness.close();
    harness.restart(Crash::Process);
    let recovery = harness.store.recovery();
    assert_eq!((recovery.records, recovery.from, recovery.cut), (0, recovery.end, false));
    assert!(recovery.bytes <= ONE_LOOK, "{recovery:?}");
    harness.check_acked(None);
    harness.check_index();
}

#[test]
fn after_a_kill_only_what_the_checkpoint_does_not_cover_is_read() {
    for crash in [Crash::Process, Crash::Machine] {
        let mut harness = Harness::new(2, Flush::Async);
        fill(&mut harness, 200);
        assert!(harness.steps.checkpoint());
        let covered = harness.store.watermarks().checkpoint.0;
        fill(&mut harness, 7);
        harness.flush();
        harness.restart(crash);
        let recovery = harness.store.recovery();
        assert_eq!(recovery.from, covered);
        assert_eq!(recovery.records, 14);
        assert!(recovery.end - covered < SEGMENT && recovery.bytes <= 2 * SEGMENT + ONE_LOOK, "{recovery:?}");
        harness.check_acked(None);
        harness.check_seen();
    }
}

#[test]
fn a_snapshot_older_than_the_checkpoint_is_brought_up_to_date_without_touching_the_queues() {
    let mut harness = Harness::new(3, Flush::Async);
    fill(&mut harness, 30);
    harness.close();
    harness.recorder.applied.lock().expect("no panic").clear();
    harness.recorder.replay_from.store(0, Ordering::SeqCst);
    harness.restart(Crash::Process);
    let applied = harness.recorder.applied.lock().expect("no panic").clone();
    assert_eq!(applied.len(), 60, "every record from the snapshot on");
    assert!(applied.is_sorted(), "in the order of the log");
    harness.check_acked(None);
    assert_eq!(harness.read_all().len(), 60);
}

#[test]
fn live_state_records_reach_the_observer_once_and_in_order() {
    let mut harness = Harness::new(4, Flush::Sync);
    fill(&mut harness, 20);
    assert!(harness.recorder.applied.lock().expect("no panic").is_empty(), "not before the flush");
    harness.flush();
    let applied = harness.recorder.applied.lock().expect("no panic").clone();
    assert_eq!(applied.len(), 8, "every fifth of 40");
    assert!(applied.is_sorted());
}

#[test]
fn a_store_without_our_files_is_rebuilt_from_the_log() {
    let mut harness = Harness::new(5, Flush::Async);
    fill(&mut harness, 120);
    harness.close();
    for path in harness.disk.files() {
        let ours = path.to_string_lossy().contains("bolide-");
        if ours || path.starts_with(harness.path("consumequeue")) || path.starts_with(harness.path("index")) {
            bolide_store::Disk::remove(&harness.disk, &path).expect("removable");
        }
    }
    harness.restart(Crash::Process);
    assert_eq!(harness.store.recovery().records, 240);
    harness.check_acked(None);
    harness.check_seen();
    harness.check_index();
}

#[test]
fn a_queue_whose_records_are_all_gone_keeps_its_offsets_without_our_checkpoint() {
    let mut harness = Harness::new(6, Flush::Async);
    harness.append(Ack::Appended, &[("old", 0, 10), ("old", 0, 10), ("old", 0, 10)]);
    harness.write();
    fill(&mut harness, 60);
    harness.flush();
    assert!(harness.steps.checkpoint());
    harness.recorder.covers.store(u64::MAX, Ordering::SeqCst);
    harness.clock.0.fetch_add(100 * 3_600_000, Ordering::SeqCst);
    assert!(harness.steps.retain() > 0);
    harness.close();
    bolide_store::Disk::remove(&harness.disk, &harness.path("bolide-checkpoint")).expect("removable");
    harness.restart(Crash::Process);
    let queue = harness.queue("old", 0);
    assert_eq!((queue.min().0, queue.max().0), (3, 3));
    harness.append(Ack::Appended, &[("old", 0, 10)]);
    harness.write();
    assert_eq!(queue.max().0, 4);
}

#[test]
fn the_folder_has_the_files_of_the_original() {
    let mut harness = Harness::new(7, Flush::Async);
    fill(&mut harness, 20);
    assert!(harness.disk.files().contains(&harness.path("abort")), "open stores are marked");
    harness.close();
    let files = harness.disk.files();
    assert!(!files.contains(&harness.path("abort")), "closed stores are not");
    for name in ["commitlog/00000000000000000000", "commitlog/00000000000000016384", "checkpoint"] {
        assert!(files.contains(&harness.path(name)), "{name}");
    }
    let queue =
        harness.disk.contents(&harness.path("consumequeue/beta/0/00000000000000000000")).expect("there");
    assert_eq!(queue.len(), 16 * 20);
    // Second record of beta: behind alpha, beta, alpha. Offset 8, size 4, tag hash 8.
    let placed = harness.model.acked[&4];
    assert_eq!(queue[20..28], placed.log_offset.0.to_be_bytes());
    let log = harness.disk.contents(&harness.path("commitlog/00000000000000000000")).expect("there");
    let at = placed.log_offset.0 as usize;
    assert_eq!(queue[28..32], log[at..at + 4], "size as in the record");
    let hash = i64::from(bolide_wire::properties::java_hash("tag1"));
    assert_eq!(queue[32..40], hash.to_be_bytes());
    // The first file ends in a blank record: the rest of the file, the blank magic, then zeros.
    let blank = (0..log.len() - 8)
        .find(|at| log[at + 4..at + 8] == [0xCB, 0xD4, 0x31, 0x94])
        .expect("a blank record");
    assert_eq!(log[blank..blank + 4], u32::try_from(log.len() - blank).expect("small").to_be_bytes());
    assert!(log[blank + 8..].iter().all(|byte| *byte == 0));
    let checkpoint = harness.disk.contents(&harness.path("checkpoint")).expect("there");
    assert_eq!(checkpoint.len(), 4096);
    assert_eq!(checkpoint[..8], 1_700_000_000_000_i64.to_be_bytes());
}
