//! A diverged tail is cut off and another history taken.

use bolide_store::{
    Flush, RoleError,
    disk::{Crash, Fault},
};
use bolide_wire::LogOffset;

use super::node::{Node, rejoin, stream_all};
use crate::support::SEGMENT;

/// Two copies of a confirmed log; then `a`, the old master, has a tail that `b`, the new one, never saw.
fn parted(flush: Flush, seed: u64, tail: u64) -> (Node, Node, u64) {
    let (mut a, mut b) = (Node::new("a", seed, flush), Node::new("b", seed + 1, flush));
    a.lead(1).expect("an empty log");
    for id in 1..=5 {
        a.append(&[(id, "alpha", 0, 600)]);
    }
    stream_all(&a, &mut b);
    for node in [&mut a, &mut b] {
        node.steps.flush();
        node.confirm_all();
        node.steps.checkpoint();
        assert_eq!(node.ids("alpha", 0).len(), 5);
    }
    let parting = a.end();
    // The master's confirm offset stands, since nobody has the tail.
    let (mut a, seen) = (reopened(a), parting);
    a.lead(2).expect("a restart of the master");
    stream_all(&a, &mut b);
    let common = a.end();
    for id in 100..100 + tail {
        a.append(&[(id, "alpha", 0, 600), (id + 1000, "gamma", 1, 600)]);
    }
    assert_eq!(a.store.watermarks().dispatched.0, seen);
    b.lead(3).expect("takes over");
    for id in 50..53 {
        b.append(&[(id, "alpha", 0, 300), (id + 1000, "beta", 0, 300)]);
    }
    (a, b, common)
}

fn reopened(mut node: Node) -> Node {
    node.restart(Crash::Process);
    node
}

fn assert_same(a: &mut Node, b: &mut Node) {
    for node in [&mut *a, &mut *b] {
        node.steps.flush();
        node.confirm_all();
        while node.steps.index() {}
    }
    assert_eq!(a.log(), b.log());
    assert_eq!(a.store.epochs(), b.store.epochs());
    assert_eq!(a.visible(), b.visible());
    assert_eq!(a.ids("alpha", 0), [1, 2, 3, 4, 5, 50, 51, 52]);
    assert!(a.ids("gamma", 1).is_empty());
}

#[test]
fn the_tail_of_another_history_goes_and_the_masters_comes() {
    for flush in [Flush::Async, Flush::Sync] {
        // One tail within the segment, one over several.
        for tail in [3, 60] {
            for flushed in [false, true] {
                let (mut a, mut b, common) = parted(flush, 1, tail);
                let _ = a.steps.prepare_segment();
                if flushed {
                    a.steps.flush();
                }
                a.follow().expect("steps down");
                rejoin(&b, &mut a).expect("truncates");
                assert_eq!((a.end(), a.store.epochs().len()), (common, 2));
                a.assert_clean_end();
                stream_all(&b, &mut a);
                assert_same(&mut a, &mut b);
                // And it leads again, in the same files.
                a.lead(4).expect("takes over");
                for id in 200..240 {
                    a.append(&[(id, "delta", 0, 600)]);
                }
                a.steps.flush();
                a.confirm_all();
                assert_eq!(a.ids("delta", 0).len(), 40);
                let _ = a.steps.prepare_segment();
                let shown = a.visible();
                a.restart(Crash::Process);
                a.confirm_all();
                assert_eq!(a.visible(), shown);
            }
        }
    }
}

#[test]
fn a_truncation_that_cannot_be_changes_nothing() {
    let (mut a, _, common) = parted(Flush::Async, 1, 3);
    a.follow().expect("steps down");
    let (log, epochs) = (a.log(), a.store.epochs());
    let shown = a.store.watermarks().dispatched;
    assert_eq!(a.truncate(0), Err(RoleError::Confirmed { confirmed: shown }));
    assert_eq!(a.truncate(common + 1), Err(RoleError::NoBoundary { before: LogOffset(common) }));
    let end = LogOffset(a.end());
    assert_eq!(a.truncate(end.0 + 1), Err(RoleError::BeyondEnd { end }));
    assert_eq!(a.truncate(end.0), Ok(end));
    assert_eq!((a.log(), a.store.epochs()), (log, epochs));
}

/// A log that is cut off, and grows again to exactly where an old record began; then the process ends. Returns where the log
/// should end, where it does, and what it shows.
pub(super) fn grown_to_an_old_record() -> (u64, u64, Vec<u64>) {
    let mut node = Node::new("a", 5, Flush::Async);
    node.lead(1).expect("an empty log");
    let base = node.end();
    node.append(&[(1, "alpha", 0, 500)]);
    let second = node.end();
    node.append(&[(2, "alpha", 0, 500), (3, "alpha", 0, 500)]);
    node.follow().expect("steps down");
    // The new history has a record as long as the first, so that the old second one would join on.
    let mut other = Node::new("b", 6, Flush::Async);
    other.lead(1).expect("an empty log");
    other.append(&[(7, "alpha", 0, 500)]);
    assert_eq!(other.end(), second);
    node.truncate(base).expect("nothing was shown");
    let bytes = other.store.log_slice(LogOffset(base), 1 << 20).expect("readable");
    node.append_raw(base, bytes).expect("joins on");
    node.restart(Crash::Process);
    node.confirm_all();
    (second, node.end(), node.ids("alpha", 0))
}

/// A log with the bytes of one of its records once more behind its end, as in a file used twice. Returns like
/// `grown_to_an_old_record`.
pub(super) fn followed_by_a_record_of_another_place() -> (u64, u64, Vec<u64>) {
    let mut node = Node::new("a", 5, Flush::Async);
    node.lead(1).expect("an empty log");
    let first = node.end() as usize;
    node.append(&[(1, "alpha", 0, 500)]);
    let end = node.end() as usize;
    let path = node.config.root.join("commitlog/00000000000000000000");
    let mut bytes = node.disk.contents(&path).expect("the first file");
    bytes.copy_within(first..end, end);
    node.disk.overwrite(&path, &bytes);
    node.restart(Crash::Process);
    node.confirm_all();
    (end as u64, node.end(), node.ids("alpha", 0))
}

#[test]
fn old_records_do_not_come_back_behind_new_ones() {
    let (wanted, found, ids) = grown_to_an_old_record();
    assert_eq!((found, ids), (wanted, vec![7]));
}

#[test]
fn a_record_of_another_place_is_not_taken() {
    let (wanted, found, ids) = followed_by_a_record_of_another_place();
    assert_eq!((found, ids), (wanted, vec![1]));
}

/// Goes down at every step of a truncation; afterwards the log is a beginning of the old one, and what follows works.
#[test]
fn a_crash_at_every_step_of_a_truncation_loses_nothing_confirmed() {
    for (crash, flush) in
        [(Crash::Process, Flush::Async), (Crash::Machine, Flush::Async), (Crash::Machine, Flush::Sync)]
    {
        for step in 1..40 {
            let (mut a, mut b, common) = parted(flush, 10 + step, 40);
            let _ = a.steps.prepare_segment();
            a.steps.flush();
            a.follow().expect("steps down");
            let old = a.log();
            a.disk.fault_after(Some((step, Fault::Crash)));
            let cut = a.truncate(common);
            let whole = !a.disk.is_down();
            a.restart(crash);
            if whole {
                assert_eq!((cut, a.end()), (Ok(LogOffset(common)), common));
            }
            assert!(a.end() >= common, "what is common stays");
            assert!(old.starts_with(&a.log()), "a beginning of the old log");
            a.assert_clean_end();
            rejoin(&b, &mut a).expect("truncates");
            stream_all(&b, &mut a);
            assert_same(&mut a, &mut b);
            if whole {
                break;
            }
            assert!(step < 39, "the truncation ends");
        }
    }
}

#[test]
fn a_truncation_that_fails_poisons_the_store_and_the_next_start_mends_it() {
    for step in 1..12 {
        let (mut a, mut b, common) = parted(Flush::Async, 30 + step, 40);
        a.steps.flush();
        a.follow().expect("steps down");
        a.disk.fault_after(Some((step, Fault::Fail)));
        let cut = a.truncate(common);
        assert_eq!(a.store.poisoned(), cut == Err(RoleError::Poisoned), "{cut:?}");
        if cut.is_err() {
            assert_eq!(a.lead(9), Err(RoleError::Poisoned));
        }
        a.disk.fault_after(None);
        a.restart(Crash::Machine);
        rejoin(&b, &mut a).expect("truncates");
        stream_all(&b, &mut a);
        assert_same(&mut a, &mut b);
    }
}

#[test]
fn a_truncation_to_the_end_of_a_file_keeps_the_next_one_empty() {
    let mut node = Node::new("a", 7, Flush::Async);
    node.lead(1).expect("an empty log");
    for id in 1..60 {
        node.append(&[(id, "alpha", 0, 1000)]);
    }
    node.steps.flush();
    node.follow().expect("steps down");
    assert!(node.end() > 3 * SEGMENT);
    for to in [3 * SEGMENT, 2 * SEGMENT, SEGMENT] {
        assert_eq!(node.truncate(to), Ok(LogOffset(to)));
        node.assert_clean_end();
        node.restart(Crash::Machine);
        assert_eq!(node.end(), to);
    }
    node.lead(2).expect("goes on there");
    assert_eq!(node.store.epochs().last().expect("leads").start, LogOffset(SEGMENT));
}
