//! Dispatch of records read from the log: at recovery, and while following. The same as `dispatch` does with what the
//! writer holds in memory.

use std::{
    io,
    sync::{Arc, atomic::Ordering},
};

use bolide_wire::message::{RecordRef, sys_flag};

use super::{
    dispatch::Effects,
    scan::{Check, Stop, scan},
};
use crate::{
    consume_queue::{Replayed, Unit},
    index::keys_of,
    shared::Shared,
};

/// Log bytes dispatched at once, so that the writer does not wait long.
const STEP_BYTES: u64 = 1 << 20;

/// Prepared and rolled back records are in no queue; nor are those that begin an epoch, which count as rolled back.
pub(super) fn is_consumable(record: &RecordRef<'_>) -> bool {
    let transaction = sys_flag::transaction(record.sys_flag());
    transaction != sys_flag::TRANSACTION_PREPARED && transaction != sys_flag::TRANSACTION_ROLLBACK
}

/// Dispatches in steps what no writer holds in memory.
pub(crate) struct Follower {
    shared: Arc<Shared>,
}

impl Follower {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Dispatches a stretch of confirmed log; true when there is more.
    pub(crate) fn step(&mut self) -> bool {
        self.shared.dispatch_from_log()
    }
}

/// Where a stretch of dispatch came to.
#[derive(Default)]
struct Reached {
    stopped_at: Option<u64>,
    newest_time: i64,
    /// It goes on when a checkpoint, or whatever else changes files of queues, has ended.
    waits: bool,
}

/// What a stretch of dispatch did.
struct Stretch {
    end: u64,
    waits: bool,
}

impl Shared {
    /// Makes a record visible in its queue.
    pub(super) fn replay_unit(&self, record: &RecordRef<'_>) -> io::Result<Replayed> {
        let unit = Unit {
            log_offset: record.log_offset(),
            size: u32::try_from(record.total_size()).unwrap_or(u32::MAX),
            tags_code: self.observer.tags_code(record),
            queue_offset: record.queue_offset(),
        };
        let (topic, id, offset) = (record.topic(), record.queue_id(), record.queue_offset().0);
        let replayed = self.queues.replay(topic, id, offset, unit.encode())?;
        if matches!(replayed, Replayed::LeftOut) {
            tracing::warn!(
                offset = record.log_offset().0,
                "record of a topic or queue offset that cannot be; left out"
            );
        }
        Ok(replayed)
    }

    /// One step of dispatch from the log; true when more is confirmed.
    pub(crate) fn dispatch_from_log(&self) -> bool {
        if self.poisoned() {
            return false;
        }
        if self.queues.unwritten_bytes() >= self.config.max_unwritten_queue_bytes {
            self.bells.checkpoint.ring();
            return false;
        }
        let mut effects = Effects::default();
        let (more, waits) = {
            let dispatcher = self.dispatcher.lock();
            let (from, to) = (self.log.dispatched(), self.log.confirmed().min(dispatcher.from_log));
            if from >= to {
                return false;
            }
            match self.replay_stretch(from, to, &mut effects) {
                // Nothing at all: the confirm offset lies within a record, and will move.
                Ok(Stretch { end, waits }) => (from < end && end < to && !waits, waits),
                Err(error) => {
                    drop(dispatcher);
                    self.poison("reading the commit log to dispatch it", &error);
                    return false;
                }
            }
        };
        self.carry_out(effects);
        // What follows may be in memory.
        if !more && !waits {
            self.advance();
        }
        more
    }

    /// Dispatches `from..to`, or the first part of it; returns how far it came.
    fn replay_stretch(&self, from: u64, to: u64, effects: &mut Effects) -> io::Result<Stretch> {
        let observer_from = self.observer_from.load(Ordering::Acquire);
        let limit = to.min(from.saturating_add(STEP_BYTES));
        let mut reached = Reached { newest_time: self.log.newest_time(), ..Reached::default() };
        let mut visit = |record: &RecordRef<'_>, at: u64| {
            if at >= limit || at.saturating_add(record.total_size() as u64) > to {
                reached.stopped_at = Some(at);
                return Err(io::Error::from(io::ErrorKind::Interrupted));
            }
            if is_consumable(record) {
                match self.replay_unit(record)? {
                    Replayed::Announce(queue) => effects.arrived.push(queue),
                    Replayed::Later => {
                        (reached.stopped_at, reached.waits) = (Some(at), true);
                        return Err(io::Error::from(io::ErrorKind::Interrupted));
                    }
                    Replayed::Quietly | Replayed::LeftOut => {}
                }
            }
            keys_of(record, at, &mut effects.keys);
            if at >= observer_from {
                self.observer.apply(record, record.log_offset());
            }
            reached.newest_time = reached.newest_time.max(record.store_timestamp().0);
            Ok(())
        };
        let scanned = scan(&self.log.segments, from, self.log.appended(), Check::Place, &mut visit);
        let at = match (scanned, reached.stopped_at) {
            (_, Some(at)) => at,
            (Ok(scanned), None) if scanned.at < to && scanned.stop != Stop::End => {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a confirmed record is not good"));
            }
            (Ok(scanned), None) => scanned.at,
            (Err(error), None) => return Err(error),
        };
        let at = at.min(to);
        if at > from {
            if self.index.feed(&mut effects.keys, at) {
                self.bells.index.ring();
            }
            self.log.set_dispatched(at, reached.newest_time);
        }
        Ok(Stretch { end: at, waits: reached.waits })
    }
}
