//! The epoch table is a projection of the log, like everything else.

use std::sync::atomic::Ordering;

use bolide_store::{
    EpochStart, Flush, RoleError,
    disk::{Crash, Disk, Fault},
};
use bolide_wire::LogOffset;

use super::node::{Node, stream_all};
use crate::support::SEGMENT;

fn epochs(node: &Node) -> Vec<u64> {
    node.store.epochs().iter().map(|entry| entry.epoch).collect()
}

/// Leads in epochs 1, 2, 4 and 8, with records in between.
fn master() -> Node {
    let mut node = Node::new("a", 1, Flush::Async);
    for epoch in [1, 2, 4, 8] {
        node.lead(epoch).expect("newer than the last");
        for id in 0..8 {
            node.append(&[(epoch * 100 + id, "alpha", 0, 1000)]);
        }
        node.follow().expect("steps down");
    }
    node
}

#[test]
fn epochs_begin_where_their_records_lie_and_come_back_after_every_kind_of_restart() {
    for crash in [Crash::Process, Crash::Machine] {
        for checkpoint in [false, true] {
            for close in [false, true] {
                let mut node = master();
                let wanted = node.store.epochs();
                assert_eq!((epochs(&node), wanted[0].start), (vec![1, 2, 4, 8], LogOffset(0)));
                // Some below the checkpoint, some after it.
                let middle = wanted[2].start.0 + 300;
                node.confirm(middle);
                node.steps.flush();
                if checkpoint {
                    assert!(node.steps.checkpoint());
                }
                if close {
                    node.store.close();
                }
                // As if the observer had a snapshot: recovery reads no more than it must.
                node.restart(crash);
                assert_eq!(node.store.epochs(), wanted, "{crash:?} {checkpoint} {close}");
                node.recorder.replay_from.store(u64::MAX, Ordering::SeqCst);
                let disk = node.disk.restart(crash);
                let (store, _) =
                    crate::support::open(&disk, &node.config, &node.clock, &node.recorder).expect("opens");
                assert_eq!(store.epochs(), wanted);
                drop(store);
                let checkpoint = node.config.root.join("bolide-checkpoint");
                let disk = disk.restart(crash);
                let _ = disk.remove(&checkpoint);
                let (store, _) =
                    crate::support::open(&disk, &node.config, &node.clock, &node.recorder).expect("opens");
                assert_eq!(store.epochs(), wanted, "the log alone tells");
            }
        }
    }
}

#[test]
fn an_epoch_is_on_disk_before_it_is_reported() {
    for step in 1..10 {
        let mut node = Node::new("a", step, Flush::Async);
        node.disk.fault_after(Some((step, Fault::Crash)));
        let led = node.lead(1);
        let whole = !node.disk.is_down();
        assert_eq!(led.is_ok(), whole);
        node.restart(Crash::Machine);
        if whole {
            assert_eq!(epochs(&node), [1]);
            return;
        }
        let next = epochs(&node).last().map_or(1, |last| last + 1);
        assert!(node.lead(next).is_ok());
    }
    panic!("leading takes fewer steps");
}

#[test]
fn retention_takes_old_epochs_and_leaves_the_one_that_covers_the_first_byte() {
    let mut node = master();
    let all = node.store.epochs();
    node.confirm_all();
    node.steps.checkpoint();
    node.clock.0.fetch_add(100 * 3600 * 1000, Ordering::SeqCst);
    node.recorder.covers.store(u64::MAX, Ordering::SeqCst);
    assert!(node.steps.retain() > 0);
    let min = node.store.watermarks().min;
    assert!(min.0 >= SEGMENT);
    let kept: Vec<EpochStart> = node.store.epochs();
    let covering = all.iter().rposition(|entry| entry.start <= min).expect("one covers it");
    assert!(covering > 0, "some went");
    assert_eq!(kept, all[covering..]);
    // The last one comes with the next checkpoint.
    node.lead(9).expect("leads");
    node.confirm_all();
    assert!(node.steps.checkpoint());
    let kept = node.store.epochs();
    node.restart(Crash::Machine);
    assert_eq!(node.store.epochs(), kept);
}

#[test]
fn a_follower_learns_of_epochs_from_the_bytes() {
    let master = master();
    let mut follower = Node::new("b", 2, Flush::Async);
    stream_all(&master, &mut follower);
    assert_eq!(follower.store.epochs(), master.store.epochs());
    assert_eq!(follower.lead(8), Err(RoleError::StaleEpoch { newest: 8 }));
    let starts = master.store.epochs();
    follower.truncate(starts[2].start.0).expect("nothing was shown");
    assert_eq!(follower.store.epochs(), starts[..2]);
    follower.restart(Crash::Process);
    assert_eq!(follower.store.epochs(), starts[..2]);
}

#[test]
fn a_store_that_had_no_replicas_goes_on_with_them_and_back() {
    let mut node = Node::with("a", 1, crate::support::config(Flush::Async));
    node.append(&[(1, "alpha", 0, 10)]);
    assert_eq!(node.lead(1), Err(RoleError::NotReplicated));
    assert_eq!(node.follow(), Err(RoleError::NotReplicated));
    node.store.close();
    node.config.replicated = true;
    node.restart(Crash::Process);
    assert_eq!((node.ids("alpha", 0), epochs(&node)), (vec![1], vec![]));
    node.lead(5).expect("its first epoch");
    node.append(&[(2, "alpha", 0, 10)]);
    node.confirm_all();
    node.store.close();
    node.config.replicated = false;
    node.restart(Crash::Process);
    node.append(&[(3, "alpha", 0, 10)]);
    assert_eq!((node.ids("alpha", 0), epochs(&node)), (vec![1, 2, 3], vec![5]));
    node.steps.flush();
    assert!(node.steps.checkpoint());
    node.config.replicated = true;
    node.restart(Crash::Machine);
    assert_eq!((node.ids("alpha", 0), epochs(&node)), (vec![1, 2, 3], vec![5]));
    assert_eq!(node.lead(5), Err(RoleError::StaleEpoch { newest: 5 }));
}
