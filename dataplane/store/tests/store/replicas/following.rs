//! A follower that is given the master's bytes.

use bolide_store::{Ack, Flush, RawError, Refusal, RoleError, disk::Crash};
use bolide_wire::{LogOffset, QueueId, QueueOffset, message::RecordRef};

use super::node::{Node, stream, stream_all};
use crate::support::{SEGMENT, key};

fn pair(flush: Flush) -> (Node, Node) {
    let mut master = Node::new("a", 1, flush);
    master.lead(1).expect("an empty log");
    (master, Node::new("b", 2, flush))
}

/// Several segments of records, with fillers between them.
fn fill(master: &mut Node, first_id: u64) {
    for id in first_id..first_id + 40 {
        master.append(&[
            (id, "alpha", (id % 2) as u32, 700 + (id % 7) as usize * 100),
            (id + 1000, "beta", 0, 30),
        ]);
    }
}

#[test]
fn a_follower_is_a_copy_byte_for_byte_and_shows_the_same() {
    for flush in [Flush::Async, Flush::Sync] {
        let (mut master, mut follower) = pair(flush);
        fill(&mut master, 1);
        stream_all(&master, &mut follower);
        assert!(master.end() > 2 * SEGMENT);
        assert_eq!(master.log(), follower.log());
        assert_eq!(master.store.epochs(), follower.store.epochs());
        assert!(master.visible().is_empty() && follower.visible().is_empty(), "nothing is confirmed");
        for node in [&mut master, &mut follower] {
            node.steps.flush();
            node.confirm_all();
        }
        assert_eq!(master.visible(), follower.visible());
        assert_eq!(follower.visible().values().map(Vec::len).sum::<usize>(), 80);
        while follower.steps.index() {}
        let everything = bolide_wire::EpochMillis(i64::MAX);
        for id in [1, 40, 1040] {
            let topic = if id > 1000 { "beta" } else { "alpha" };
            let found = follower.store.query(topic, &key(id), 8, bolide_wire::EpochMillis(0), everything);
            assert_eq!(found.expect("readable").len(), 1, "key of {id}");
        }
    }
}

#[test]
fn a_follower_applies_every_record_in_the_order_of_the_log() {
    let (mut master, mut follower) = pair(Flush::Async);
    fill(&mut master, 1);
    stream_all(&master, &mut follower);
    follower.confirm_all();
    let applied = follower.applied();
    assert_eq!(applied.len(), 81, "the record that begins the epoch too");
    assert!(applied.is_sorted());
    master.confirm_all();
    let own = master.applied();
    assert!(own.iter().all(|at| applied.contains(at)));
    assert!(own.contains(&0), "the epoch is applied by the master too");
}

#[test]
fn nothing_is_shown_beyond_the_confirm_offset() {
    let (mut master, mut follower) = pair(Flush::Async);
    master.append(&[(1, "alpha", 0, 10)]);
    let half = master.end();
    master.append(&[(2, "alpha", 0, 10)]);
    stream_all(&master, &mut follower);
    for node in [&mut master, &mut follower] {
        node.confirm(half);
        assert_eq!(node.ids("alpha", 0), [1]);
        assert_eq!(node.store.watermarks().dispatched.0, half);
        assert!(node.store.record_at(LogOffset(half)).expect("readable").is_none());
        // Within a record: nothing new.
        node.confirm(half + 20);
        assert_eq!(node.ids("alpha", 0), [1]);
        node.confirm_all();
        assert_eq!(node.ids("alpha", 0), [1, 2]);
    }
}

#[test]
fn with_sync_flush_a_follower_shows_what_it_has_flushed() {
    let (mut master, mut follower) = pair(Flush::Sync);
    master.append(&[(1, "alpha", 0, 10)]);
    stream_all(&master, &mut follower);
    follower.confirm_all();
    assert!(follower.visible().is_empty());
    follower.steps.flush();
    while follower.steps.dispatch() {}
    assert_eq!(follower.ids("alpha", 0), [1]);
}

#[test]
fn each_role_refuses_what_belongs_to_the_other() {
    let (mut master, follower) = pair(Flush::Async);
    assert_eq!(follower.send(Ack::Appended, &[(1, "alpha", 0, 1)]).err(), Some(Refusal::NotMaster));
    let bytes = master.store.log_slice(LogOffset(0), 1 << 20).expect("readable");
    assert_eq!(master.append_raw(master.end(), bytes), Err(RawError::Leading));
    assert_eq!(master.truncate(0), Err(RoleError::Leading));
    assert_eq!(master.lead(2), Err(RoleError::Leading));
    assert_eq!(master.follow(), Ok(LogOffset(master.end())));
    assert_eq!(master.follow(), Ok(LogOffset(master.end())), "it follows already");
    assert_eq!(master.send(Ack::Appended, &[(1, "alpha", 0, 1)]).err(), Some(Refusal::NotMaster));
    assert_eq!(master.lead(1), Err(RoleError::StaleEpoch { newest: 1 }));
    assert!(master.lead(2).is_ok());
}

#[test]
fn bytes_that_are_not_good_change_nothing() {
    let (mut master, mut follower) = pair(Flush::Async);
    fill(&mut master, 1);
    let all = master.store.log_slice(LogOffset(0), 4000).expect("readable");
    assert_eq!(follower.append_raw(10, all.clone()), Err(RawError::Gap { end: LogOffset(0) }));
    let first = RecordRef::parse(&all).expect("a record").total_size();
    let mut harmed = all.to_vec();
    harmed[first + 120] ^= 1;
    assert_eq!(
        follower.append_raw(0, harmed.into()),
        Err(RawError::Malformed { offset: LogOffset(first as u64) })
    );
    let moved = all.slice(first..);
    assert_eq!(follower.append_raw(0, moved), Err(RawError::Malformed { offset: LogOffset(0) }));
    assert_eq!((follower.end(), follower.store.epochs().len()), (0, 0));
    follower.assert_clean_end();
    assert_eq!(follower.append_raw(0, all.clone()), Ok(LogOffset(all.len() as u64)));
    // The same epoch once more is a log that cannot be.
    let mut again = all.slice(..first).to_vec();
    let at = all.len() as u64;
    again[28..36].copy_from_slice(&at.to_be_bytes());
    assert_eq!(follower.append_raw(at, again.into()), Err(RawError::Malformed { offset: LogOffset(at) }));
}

#[test]
fn a_slice_is_whole_records_of_one_file() {
    let (mut master, mut follower) = pair(Flush::Async);
    fill(&mut master, 1);
    let mut at = 0;
    let mut slices = 0;
    while at < master.end() {
        // Larger than some records and smaller than others.
        let bytes = master.store.log_slice(LogOffset(at), 900).expect("readable");
        assert!(!bytes.is_empty());
        let end = at + bytes.len() as u64;
        assert_eq!(at / SEGMENT, (end - 1) / SEGMENT, "within one file");
        assert_eq!(follower.append_raw(at, bytes), Ok(LogOffset(end)));
        (at, slices) = (end, slices + 1);
    }
    assert!(slices > 40);
    assert_eq!(master.log(), follower.log());
    assert!(master.store.log_slice(LogOffset(at), 900).expect("the end").is_empty());
    assert!(master.store.log_slice(LogOffset(at + 1), 900).is_err());
    assert!(master.store.log_slice(LogOffset(5), 900).is_err(), "no record begins there");
    let confirmed = master.end();
    master.confirm(confirmed);
    let shown = master.store.log_slice(LogOffset(0), 4000).expect("readable");
    assert_eq!(shown, follower.store.log_slice(LogOffset(0), 4000).expect("readable"));
}

#[test]
fn a_promoted_follower_goes_on_with_dense_queue_offsets_and_later_store_times() {
    for crash in [None, Some(Crash::Process), Some(Crash::Machine)] {
        let (mut master, mut follower) = pair(Flush::Async);
        fill(&mut master, 1);
        let confirmed = master.end();
        stream_all(&master, &mut follower);
        follower.confirm(confirmed);
        // The tail is not confirmed when the follower takes over; one queue is new to it.
        master.clock.0.fetch_add(60_000, std::sync::atomic::Ordering::SeqCst);
        master.append(&[(100, "alpha", 0, 10), (101, "gamma", 3, 10), (102, "gamma", 3, 10)]);
        stream_all(&master, &mut follower);
        follower.steps.flush();
        if let Some(crash) = crash {
            follower.steps.checkpoint();
            follower.restart(crash);
        }
        assert_eq!(follower.lead(2).expect("takes over").0, master.end());
        let answer = follower.append(&[(103, "alpha", 0, 10), (104, "gamma", 3, 10)]);
        let placed = answer.try_recv().expect("answered").expect("written");
        let alpha = follower.store.queue("alpha", QueueId(0)).expect("known").max();
        assert_eq!(placed[0].queue_offset, QueueOffset(alpha.0 + 1), "after the one that is not visible yet");
        assert_eq!(placed[1].queue_offset, QueueOffset(2));
        assert!(placed[0].store_timestamp.0 >= 1_700_000_060_000, "store time never goes back");
        assert!(follower.ids("gamma", 3).is_empty());
        follower.confirm_all();
        assert_eq!(follower.ids("gamma", 3), [101, 102, 104]);
        assert_eq!(follower.ids("alpha", 0).last(), Some(&103));
        // And the old master follows the new one.
        master.follow().expect("steps down");
        stream_all(&follower, &mut master);
        master.confirm_all();
        assert_eq!(master.log(), follower.log());
        assert_eq!(master.visible(), follower.visible());
    }
}

#[test]
fn after_a_restart_the_unconfirmed_tail_is_hidden_until_it_is_confirmed() {
    for (crash, clean) in [(Crash::Process, false), (Crash::Machine, false), (Crash::Machine, true)] {
        let (mut master, mut follower) = pair(Flush::Async);
        fill(&mut master, 1);
        stream_all(&master, &mut follower);
        let confirmed = master.end();
        fill(&mut master, 200);
        stream_all(&master, &mut follower);
        for node in [&mut master, &mut follower] {
            node.confirm(confirmed);
            node.steps.checkpoint();
            node.steps.flush();
            let shown = node.visible();
            let end = node.end();
            if clean {
                node.store.close();
            }
            node.restart(crash);
            assert_eq!((node.end(), node.store.recovery().visible), (end, confirmed), "{}", node.name);
            assert_eq!(node.visible(), shown);
            assert!(node.applied().iter().all(|at| *at < confirmed), "nothing unconfirmed is applied");
            assert!(!node.store.leads(), "a replica opens following");
            node.confirm_all();
            assert_eq!(node.ids("alpha", 0).len(), 40);
            assert_eq!(node.applied().len(), 161, "every record is applied once");
        }
        assert_eq!(master.visible(), follower.visible());
    }
}

#[test]
fn a_topic_deleted_and_made_anew_keeps_what_came_after_the_deletion() {
    for late in [false, true] {
        let (mut master, mut follower) = pair(Flush::Async);
        master.append(&[(1, "gone", 0, 10), (2, "gone", 0, 10), (3, "gone", 1, 10), (4, "alpha", 0, 10)]);
        master.confirm_all();
        stream_all(&master, &mut follower);
        follower.confirm_all();
        let at = LogOffset(master.end());
        master.append(&[(5, "alpha", 0, 10)]);
        assert!(master.store.delete_topic("gone").expect("deletes"));
        master.append(&[(6, "gone", 0, 10)]);
        // The follower's owner learns of the deletion at `at`, and may be late.
        stream_all(&master, &mut follower);
        if late {
            follower.confirm_all();
        }
        assert!(follower.store.delete_topic_before("gone", || at).expect("deletes"));
        assert!(!follower.store.delete_topic_before("gone", || at).expect("nothing left"));
        follower.confirm_all();
        assert_eq!(follower.visible(), master.visible());
        assert_eq!((follower.ids("gone", 0), follower.ids("gone", 1)), (vec![6], vec![]));
        follower.steps.flush();
        follower.restart(Crash::Machine);
        follower.confirm_all();
        assert_eq!(follower.visible(), master.visible());
    }
}

#[test]
fn dispatch_waits_for_the_queue_files_when_too_much_is_in_memory() {
    let (mut master, _) = pair(Flush::Async);
    let mut config = master.config.clone();
    config.max_unwritten_queue_bytes = 200;
    let mut follower = Node::with("b", 3, config);
    fill(&mut master, 1);
    // A step takes at most a stretch of log; this one fits into a single stretch, the next one waits.
    stream(&master, &mut follower, 3000, 10).expect("joins on");
    follower.confirm_all();
    let first = follower.store.watermarks().dispatched;
    stream_all(&master, &mut follower);
    assert!(!follower.steps.dispatch());
    assert_eq!(follower.store.watermarks().dispatched, first, "no more until a checkpoint");
    assert!(follower.steps.checkpoint());
    while follower.steps.dispatch() {}
    assert_eq!(follower.store.watermarks().dispatched.0, follower.end());
}
