//! A new replica whose log begins in the middle.

use std::sync::atomic::Ordering;

use bolide_store::{
    Ack, Flush, OpenError, Seed, bootstrap,
    disk::{Crash, Fault, FaultyDisk},
};
use bolide_wire::{LogOffset, QueueId, QueueOffset};

use super::node::{Node, stream_all};
use crate::support::SEGMENT;

/// A master with a queue that received nothing for long, and one that is busy.
fn master() -> Node {
    let mut master = Node::new("a", 1, Flush::Async);
    master.lead(1).expect("an empty log");
    for id in 1..=3 {
        master.append(&[(id, "idle", 2, 100)]);
    }
    for id in 10..80 {
        master.append(&[(id, "busy", 0, 900)]);
    }
    master.follow().expect("steps down");
    master.lead(3).expect("a newer epoch");
    for id in 80..90 {
        master.append(&[(id, "busy", 0, 900)]);
    }
    master.steps.flush();
    master.confirm_all();
    assert!(master.end() > 4 * SEGMENT);
    master
}

fn made(disk: &FaultyDisk, seed: &Seed) -> Result<(), OpenError> {
    let config = Node::new("b", 9, Flush::Async).config;
    bootstrap(disk, &config, seed)
}

#[test]
fn a_new_replica_goes_on_with_the_offsets_and_epochs_of_the_log_it_does_not_have() {
    let mut master = master();
    let snapshot = 3 * SEGMENT + 5000;
    let seed = master.store.seed(LogOffset(snapshot)).expect("visible");
    assert_eq!(seed.base.0, 3 * SEGMENT);
    let seed = Seed::decode(seed.as_bytes().clone()).expect("its own bytes");

    let mut config = master.config.clone();
    config.flush = Flush::Sync;
    let disk = FaultyDisk::new(2);
    bootstrap(&disk, &config, &seed).expect("an empty disk");
    let mut replica = Node::on("b", disk, config);
    assert_eq!((replica.end(), replica.store.watermarks().min), (seed.base.0, seed.base));
    assert_eq!(replica.store.epochs(), master.store.epochs()[..1]);
    // Its owner was given a snapshot: what that covers is not applied again.
    replica.recorder.replay_from.store(snapshot, Ordering::SeqCst);
    replica.disk = replica.disk.restart(Crash::Machine);
    (replica.store, replica.steps) =
        crate::support::open(&replica.disk, &replica.config, &replica.clock, &replica.recorder)
            .expect("opens");

    stream_all(&master, &mut replica);
    replica.steps.flush();
    replica.confirm_all();
    assert!(replica.applied().iter().all(|at| *at >= snapshot));
    assert!(replica.applied().len() > 5);
    assert_eq!(replica.log(), master.log()[seed.base.0 as usize..]);
    assert_eq!(replica.store.epochs(), master.store.epochs());
    let busy = &replica.visible()[&("busy".to_owned(), 0)];
    assert!(master.visible()[&("busy".to_owned(), 0)].ends_with(busy));
    let idle = replica.store.queue("idle", QueueId(2)).expect("known by the seed");
    assert_eq!((idle.min(), idle.max()), (QueueOffset(3), QueueOffset(3)));

    replica.steps.checkpoint();
    replica.restart(Crash::Machine);
    replica.lead(4).expect("takes over");
    let answer = replica.send(Ack::Appended, &[(200, "idle", 2, 10)]).expect("leads");
    replica.steps.write();
    let placed = answer.try_recv().expect("answered").expect("written");
    assert_eq!(placed[0].queue_offset, QueueOffset(3), "after those it never had");
    master.follow().expect("steps down");
    stream_all(&replica, &mut master);
    assert_eq!(replica.log(), master.log()[seed.base.0 as usize..]);
}

#[test]
fn a_seed_is_of_what_is_visible_and_still_there() {
    let mut master = master();
    assert!(master.store.seed(LogOffset(master.end() + 1)).is_err());
    master.steps.checkpoint();
    master.clock.0.fetch_add(100 * 3600 * 1000, Ordering::SeqCst);
    master.recorder.covers.store(u64::MAX, Ordering::SeqCst);
    assert!(master.steps.retain() > 0);
    assert!(master.store.seed(LogOffset(0)).is_err());
    let seed = master.store.seed(master.store.watermarks().min).expect("there");
    let idle = master.store.queue("idle", QueueId(2)).expect("kept");
    assert_eq!(idle.max(), QueueOffset(3));
    let mut damaged = seed.as_bytes().to_vec();
    damaged[30] ^= 1;
    assert_eq!(Seed::decode(damaged.into()), None);
    assert_eq!(Seed::decode(bytes::Bytes::new()), None);
}

#[test]
fn an_open_store_and_one_of_another_file_size_are_left_alone() {
    let master = master();
    let seed = master.store.seed(LogOffset(SEGMENT)).expect("visible");
    assert!(matches!(bootstrap(&master.disk, &master.config, &seed), Err(OpenError::Locked { .. })));
    let mut config = master.config.clone();
    config.segment_bytes = 3 * SEGMENT;
    assert!(matches!(bootstrap(&FaultyDisk::new(3), &config, &seed), Err(OpenError::Config { .. })));
    assert_eq!(master.ids("idle", 2), [1, 2, 3]);
}

/// Goes down at every step while an old store is replaced: what opens afterwards is an old one that lost its end, an empty
/// one, or the new one; made again, it is the new one.
#[test]
fn a_crash_at_every_step_leaves_a_store_that_opens() {
    let master = master();
    let seed = master.store.seed(LogOffset(2 * SEGMENT)).expect("visible");
    for crash in [Crash::Process, Crash::Machine] {
        for step in 1..60 {
            let mut old = Node::new("b", step, Flush::Async);
            old.lead(7).expect("an empty log");
            for id in 500..540 {
                old.append(&[(id, "old", 0, 900)]);
            }
            old.steps.flush();
            let log = old.log();
            let disk = old.disk.restart(Crash::Process);
            disk.fault_after(Some((step, Fault::Crash)));
            let done = made(&disk, &seed);
            assert_eq!(done.is_err(), disk.is_down());
            let node = Node::on("b", disk.restart(crash), old.config.clone());
            if node.store.watermarks().min == seed.base {
                assert_eq!(node.end(), seed.base.0);
                assert!(node.store.queue("idle", QueueId(2)).is_some());
            } else {
                assert!(done.is_err());
                assert!(log.starts_with(&node.log()));
            }
            node.store.close();
            let disk = node.disk.restart(crash);
            made(&disk, &seed).expect("no fault");
            let mut node = Node::on("b", disk.restart(Crash::Machine), node.config.clone());
            stream_all(&master, &mut node);
            assert_eq!(node.log(), master.log()[seed.base.0 as usize..]);
            assert_eq!(node.store.epochs(), master.store.epochs());
            if done.is_ok() {
                break;
            }
            assert!(step < 59, "it ends");
        }
    }
}
