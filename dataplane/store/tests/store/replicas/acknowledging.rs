//! When a master acknowledges.

use std::{sync::atomic::Ordering, time::Duration};

use bolide_store::{Ack, Acknowledging, AppendError, Clock, Flush, Refusal};

use super::node::{Answer, Node};

fn master(flush: Flush) -> Node {
    let mut master = Node::new("a", 1, flush);
    master.lead(1).expect("an empty log");
    master
}

fn outcome(answer: &Answer) -> Option<Result<usize, AppendError>> {
    answer.try_recv().ok().map(|answer| answer.map(|placed| placed.len()))
}

#[test]
fn each_class_waits_for_its_own_watermark() {
    for flush in [Flush::Async, Flush::Sync] {
        let mut master = master(flush);
        let send =
            |id, ack| master.send(ack, &[(id, "alpha", 0, 10), (id + 10, "beta", 0, 10)]).expect("leads");
        let [appended, flushed, confirmed] =
            [(1, Ack::Appended), (2, Ack::Flushed), (3, Ack::Confirmed)].map(|(id, ack)| send(id, ack));
        assert_eq!(outcome(&appended), None);
        master.steps.write();
        assert_eq!((outcome(&appended), outcome(&flushed)), (Some(Ok(2)), None));
        master.steps.flush();
        assert_eq!((outcome(&flushed), outcome(&confirmed)), (Some(Ok(2)), None));
        let end = master.end();
        master.store.set_confirmed(bolide_wire::LogOffset(end - 1));
        assert_eq!(outcome(&confirmed), None);
        master.store.set_confirmed(bolide_wire::LogOffset(end));
        assert_eq!(outcome(&confirmed), Some(Ok(2)));
        assert_eq!(master.ids("alpha", 0), [1, 2, 3]);
    }
}

#[test]
fn with_sync_flush_confirmed_means_flushed_too() {
    let mut master = master(Flush::Sync);
    let answer = master.send(Ack::Confirmed, &[(1, "alpha", 0, 10)]).expect("leads");
    master.steps.write();
    master.confirm_all();
    assert_eq!(outcome(&answer), None);
    master.steps.flush();
    assert_eq!(outcome(&answer), Some(Ok(1)));
}

#[test]
fn without_replicas_confirmed_is_what_is_visible() {
    for flush in [Flush::Async, Flush::Sync] {
        let mut node = Node::with("a", 1, crate::support::config(flush));
        let answer = node.send(Ack::Confirmed, &[(1, "alpha", 0, 10)]).expect("needs no master");
        node.steps.write();
        assert_eq!(outcome(&answer).is_some(), flush == Flush::Async);
        node.steps.flush();
        assert_eq!(node.ids("alpha", 0), [1]);
    }
}

#[test]
fn past_the_deadline_acknowledgements_are_held_and_given_once_it_is_extended() {
    let mut master = master(Flush::Async);
    let deadline = |ms: u64| Acknowledging::Until(master.clock.monotonic() + Duration::from_millis(ms));
    let [soon, later] = [deadline(2000), deadline(9000)];
    master.store.set_acknowledging(soon);
    let first = master.append(&[(1, "alpha", 0, 10)]);
    assert_eq!(outcome(&first), Some(Ok(1)));
    // The process stands still for a while.
    let second = master.send(Ack::Appended, &[(2, "alpha", 0, 10)]).expect("leads");
    let third = master.send(Ack::Confirmed, &[(3, "alpha", 0, 10)]).expect("leads");
    master.clock.0.fetch_add(2000, Ordering::SeqCst);
    master.steps.write();
    master.confirm_all();
    assert_eq!((outcome(&second), outcome(&third)), (None, None));
    assert_eq!(master.ids("alpha", 0), [1, 2, 3], "visible all the same");
    master.store.set_acknowledging(soon);
    assert_eq!(outcome(&second), None, "the deadline has passed");
    master.store.set_acknowledging(later);
    assert_eq!((outcome(&second), outcome(&third)), (Some(Ok(1)), Some(Ok(1))));
}

#[test]
fn who_steps_down_fails_what_waits_and_forgets_it() {
    for held in [false, true] {
        let mut master = master(Flush::Async);
        if held {
            master.store.set_acknowledging(Acknowledging::No);
        }
        let [appended, flushed, confirmed] = [(1, Ack::Appended), (2, Ack::Flushed), (3, Ack::Confirmed)]
            .map(|(id, ack)| master.send(ack, &[(id, "alpha", 0, 10)]).expect("leads"));
        master.steps.write();
        let late = master.send(Ack::Appended, &[(4, "alpha", 0, 10)]).expect("leads");
        master.follow().expect("steps down");
        let over = Some(Err(AppendError::NotMaster));
        assert_eq!(outcome(&appended), if held { over } else { Some(Ok(1)) });
        assert_eq!((outcome(&flushed), outcome(&confirmed)), (over, over));
        // It came before the role changed: it is in the log, or it is not; nobody was told that it is.
        assert_ne!(outcome(&late), None);
        master.store.set_acknowledging(Acknowledging::Yes);
        master.steps.flush();
        master.confirm_all();
        let shown = master.ids("alpha", 0);
        assert!(shown.starts_with(&[1, 2, 3]), "the log keeps them: {shown:?}");
    }
}

#[test]
fn who_may_not_acknowledge_takes_no_more_than_it_can_hold() {
    let mut config = crate::support::config(Flush::Async);
    config.replicated = true;
    config.max_pending_batches = 5;
    let mut master = Node::with("a", 1, config);
    master.lead(1).expect("an empty log");
    master.store.set_acknowledging(Acknowledging::No);
    let mut answers = Vec::new();
    let refused = loop {
        match master.send(Ack::Appended, &[(1, "alpha", 0, 10)]) {
            Ok(answer) => answers.push(answer),
            Err(refusal) => break refusal,
        }
        master.steps.write();
        master.confirm_all();
    };
    assert_eq!((refused, answers.len()), (Refusal::Busy, 5));
    master.store.set_acknowledging(Acknowledging::Yes);
    assert!(answers.iter().all(|answer| outcome(answer) == Some(Ok(1))));
    assert!(master.send(Ack::Appended, &[(1, "alpha", 0, 10)]).is_ok());
}

#[test]
fn what_is_not_confirmed_counts_against_the_bound() {
    let mut master = master(Flush::Async);
    let refused = loop {
        if let Err(refusal) = master.send(Ack::Appended, &[(1, "alpha", 0, 5000)]) {
            break refusal;
        }
        master.steps.write();
    };
    assert_eq!(refused, Refusal::Busy);
    master.confirm_all();
    assert!(master.send(Ack::Appended, &[(1, "alpha", 0, 5000)]).is_ok());
}
