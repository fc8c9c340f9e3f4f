//! Dispatch: what happens when a record is confirmed. Its unit becomes visible, its keys go to the index, the observer
//! sees it, its sender is told.
//!
//! Whoever moves a watermark calls `advance`; the lock keeps the order of the log. Callbacks run after the lock.
//! What the writer appended while leading is dispatched from memory; everything else from the log, by `replay`.

use std::{collections::VecDeque, sync::Arc};

use bolide_wire::message::RecordRef;

use crate::{
    Ack, AppendBatch, AppendError, Done, Entry, Flush, Placed, Queue, Tags, consume_queue::Unit, index::Key,
    shared::Shared,
};

/// A written batch that is not yet dispatched.
pub(crate) struct Placement {
    pub(crate) batch: AppendBatch,
    pub(crate) ack: Ack,
    /// Taken once called.
    pub(crate) done: Option<Done>,
    pub(crate) placed: Vec<Placed>,
    /// Log offset after its last record.
    pub(crate) end: u64,
}

impl Placement {
    pub(crate) fn fail(self, error: AppendError) {
        if let Some(done) = self.done {
            done(Err(error));
        }
    }
}

/// A success that is due.
type Success = (Done, Vec<Placed>);

/// Batches between watermarks, each list in the order of the log.
pub(crate) struct Dispatcher {
    /// What lies below is dispatched from the log, what lies after it from memory: 0 without replicas, the start of the
    /// epoch while leading, everything while following.
    pub(super) from_log: u64,
    /// Grows when this replica stops leading: an acknowledgement of an earlier term is a failure.
    term: u64,
    unconfirmed: VecDeque<Placement>,
    unflushed: VecDeque<(u64, Done, Vec<Placed>)>,
    /// Due, but the gate is closed.
    held: Vec<Success>,
}

impl Dispatcher {
    pub(crate) fn new(from_log: u64) -> Self {
        Self { from_log, term: 0, unconfirmed: VecDeque::new(), unflushed: VecDeque::new(), held: Vec::new() }
    }
}

/// What is done once the lock is released.
#[derive(Default)]
pub(super) struct Effects {
    pub(super) arrived: Vec<Arc<Queue>>,
    pub(super) keys: Vec<Key>,
    done: Vec<Success>,
    term: u64,
}

impl Shared {
    /// Takes written batches over and does what the watermarks allow by now.
    pub(crate) fn dispatch(&self, placements: Vec<Placement>) {
        self.advance_with(placements);
    }

    /// A watermark has moved.
    pub(crate) fn advance(&self) {
        self.advance_with(Vec::new());
    }

    /// True when an acknowledgement here or at the master, or with sync flush a record's visibility, waits for an fsync.
    pub(crate) fn flush_is_awaited(&self) -> bool {
        let dispatcher = self.dispatcher.lock();
        let sync = self.config.flush == Flush::Sync;
        !dispatcher.unflushed.is_empty() || sync && (!dispatcher.unconfirmed.is_empty() || !self.leads())
    }

    fn advance_with(&self, placements: Vec<Placement>) {
        let mut effects = Effects::default();
        {
            let mut dispatcher = self.dispatcher.lock();
            effects.term = dispatcher.term;
            let new = placements.len();
            dispatcher.unconfirmed.extend(placements);
            let (confirmed, flushed) = (self.log.confirmed(), self.log.flushed());
            let from_log = dispatcher.from_log.min(confirmed);
            if from_log > 0 && self.log.dispatched() < from_log {
                self.bells.dispatch.ring();
            } else {
                self.dispatch_from_memory(&mut dispatcher, confirmed, flushed, &mut effects);
            }
            self.part_early(&mut dispatcher, new, flushed, &mut effects);
            while let Some((end, done, placed)) = dispatcher.unflushed.pop_front() {
                if end > flushed {
                    dispatcher.unflushed.push_front((end, done, placed));
                    break;
                }
                effects.done.push((done, placed));
            }
        }
        self.carry_out(effects);
    }

    /// Dispatches what is in memory and confirmed.
    fn dispatch_from_memory(
        &self,
        dispatcher: &mut Dispatcher,
        confirmed: u64,
        flushed: u64,
        effects: &mut Effects,
    ) {
        let mut dispatched = None;
        while let Some(placement) = dispatcher.unconfirmed.pop_front() {
            if placement.end > confirmed {
                dispatcher.unconfirmed.push_front(placement);
                break;
            }
            dispatched =
                Some((placement.end, placement.placed.last().map_or(0, |last| last.store_timestamp.0)));
            self.inbox.release(placement.batch.buf.len());
            self.dispatch_one(&placement, effects);
            if let Some(done) = placement.done {
                if placement.ack != Ack::Flushed || placement.end <= flushed {
                    effects.done.push((done, placement.placed));
                } else {
                    dispatcher.unflushed.push_back((placement.end, done, placement.placed));
                }
            }
        }
        if let Some((end, newest_time)) = dispatched {
            if self.index.feed(&mut effects.keys, end) {
                self.bells.index.ring();
            }
            self.log.set_dispatched(end, newest_time);
        }
    }

    /// Parts those of the `new` batches that stay unconfirmed from their acknowledgement, if it waits for less.
    fn part_early(&self, dispatcher: &mut Dispatcher, new: usize, flushed: u64, effects: &mut Effects) {
        let Dispatcher { unconfirmed, unflushed, .. } = dispatcher;
        let old = unconfirmed.len().saturating_sub(new);
        for placement in unconfirmed.iter_mut().skip(old) {
            let wait = match placement.ack {
                Ack::Appended => false,
                // Without replicas what is flushed is confirmed.
                Ack::Flushed if self.config.replicated => placement.end > flushed,
                Ack::Flushed | Ack::Confirmed => continue,
            };
            let Some(done) = placement.done.take() else { continue };
            if wait {
                unflushed.push_back((placement.end, done, placement.placed.clone()));
            } else {
                effects.done.push((done, placement.placed.clone()));
            }
        }
    }

    /// Everything that must not happen under the lock.
    pub(super) fn carry_out(&self, effects: Effects) {
        if self.checkpoint_is_due() {
            self.bells.checkpoint.ring();
        }
        self.acknowledge(effects.done, effects.term);
        for queue in effects.arrived {
            queue.announced();
            self.observer.arrived(&queue);
        }
    }

    /// Tells senders of their success, or holds that back while the gate is closed.
    fn acknowledge(&self, due: Vec<Success>, term: u64) {
        let mut late = Vec::new();
        for (done, placed) in due {
            if self.gate.is_open(|| self.clock.monotonic()) {
                done(Ok(placed));
            } else {
                late.push((done, placed));
            }
        }
        if late.is_empty() {
            return;
        }
        let over = {
            let mut dispatcher = self.dispatcher.lock();
            let over = if dispatcher.term == term {
                dispatcher.held.append(&mut late);
                Vec::new()
            } else {
                late
            };
            self.gate.note_held(dispatcher.held.len());
            over
        };
        for (done, _) in over {
            done(Err(AppendError::NotMaster));
        }
        if self.gate.is_open(|| self.clock.monotonic()) {
            self.release_held();
        }
    }

    /// The gate was opened, or may have been.
    pub(crate) fn release_held(&self) {
        let (held, term) = {
            let mut dispatcher = self.dispatcher.lock();
            if !self.gate.is_open(|| self.clock.monotonic()) {
                return;
            }
            self.gate.note_held(0);
            (std::mem::take(&mut dispatcher.held), dispatcher.term)
        };
        self.acknowledge(held, term);
    }

    fn dispatch_one(&self, placement: &Placement, effects: &mut Effects) {
        let mut rest = placement.batch.buf.as_slice();
        for (entry, placed) in placement.batch.entries.iter().zip(&placement.placed) {
            let (record, later) = rest.split_at_checked(entry.len as usize).unwrap_or((rest, &[]));
            rest = later;
            if entry.consumable && self.queues.push(&entry.queue, unit(entry, placed).encode()) {
                effects.arrived.push(Arc::clone(&entry.queue));
            }
            effects.keys.extend(entry.keys.iter().map(|hash| Key {
                hash,
                log_offset: placed.log_offset.0,
                store_timestamp: placed.store_timestamp.0,
            }));
            if entry.state {
                match RecordRef::parse(record) {
                    Ok(record) => self.observer.apply(&record, placed.log_offset),
                    Err(error) => {
                        tracing::error!(%error, offset = placed.log_offset.0, "state record is malformed")
                    }
                }
            }
        }
    }

    /// The store is poisoned or gone: nothing that waits will ever be acknowledged.
    pub(crate) fn fail_waiting(&self, error: AppendError) {
        let mut requests = Vec::new();
        self.inbox.take(&mut requests);
        for request in requests {
            self.inbox.release(request.bytes());
            request.fail(error);
        }
        self.fail_written(error, None);
    }

    /// What is written waits for an acknowledgement in vain. It stays in the log, and what lies below `from_log`, if given,
    /// is dispatched from there.
    pub(crate) fn fail_written(&self, error: AppendError, from_log: Option<u64>) {
        let (unconfirmed, unflushed, held) = {
            let mut dispatcher = self.dispatcher.lock();
            dispatcher.term = dispatcher.term.wrapping_add(1);
            dispatcher.from_log = from_log.unwrap_or(dispatcher.from_log);
            self.gate.note_held(0);
            let Dispatcher { unconfirmed, unflushed, held, .. } = &mut *dispatcher;
            (std::mem::take(unconfirmed), std::mem::take(unflushed), std::mem::take(held))
        };
        for placement in unconfirmed {
            self.inbox.release(placement.batch.buf.len());
            placement.fail(error);
        }
        for (_, done, _) in unflushed {
            done(Err(error));
        }
        for (done, _) in held {
            done(Err(error));
        }
    }
}

fn unit(entry: &Entry, placed: &Placed) -> Unit {
    let tags_code = match entry.tags {
        Tags::Hash(code) => code,
        Tags::DeliverAfter(ms) => placed.store_timestamp.0.saturating_add(ms),
    };
    Unit { log_offset: placed.log_offset, size: entry.len, tags_code, queue_offset: placed.queue_offset }
}
