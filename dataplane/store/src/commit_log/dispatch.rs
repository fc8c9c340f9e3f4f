//! Dispatch: what happens when a record is confirmed. Its unit becomes visible, its keys go to the index, the observer
//! sees it, its sender is told.
//!
//! Whoever moves a watermark calls `advance`; the lock keeps the order of the log. Callbacks run after the lock.

use std::{collections::VecDeque, sync::Arc};

use bolide_wire::message::RecordRef;

use crate::{
    Ack, AppendBatch, AppendError, Done, Entry, Placed, Queue, Tags, consume_queue::Unit, index::Key,
    shared::Shared,
};

/// A written batch that is not yet dispatched or not yet acknowledged.
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

/// Batches between watermarks, each list in the order of the log.
#[derive(Default)]
pub(crate) struct Dispatcher {
    unconfirmed: VecDeque<Placement>,
    unflushed: VecDeque<(u64, Done, Vec<Placed>)>,
}

#[derive(Default)]
struct Effects {
    arrived: Vec<Arc<Queue>>,
    keys: Vec<Key>,
    done: Vec<(Done, Vec<Placed>)>,
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

    /// True when an acknowledgement or, with sync flush, a record's visibility waits for an fsync.
    pub(crate) fn flush_is_awaited(&self) -> bool {
        let dispatcher = self.dispatcher.lock();
        !dispatcher.unflushed.is_empty() || !dispatcher.unconfirmed.is_empty()
    }

    fn advance_with(&self, placements: Vec<Placement>) {
        let mut effects = Effects::default();
        {
            let mut dispatcher = self.dispatcher.lock();
            dispatcher.unconfirmed.extend(placements);
            let (confirmed, flushed) = (self.log.confirmed(), self.log.flushed());
            let mut dispatched = None;
            while let Some(placement) = dispatcher.unconfirmed.pop_front() {
                if placement.end > confirmed {
                    dispatcher.unconfirmed.push_front(placement);
                    break;
                }
                dispatched =
                    Some((placement.end, placement.placed.last().map_or(0, |last| last.store_timestamp.0)));
                self.inbox.release(placement.batch.buf.len());
                self.dispatch_one(&placement, &mut effects);
                if let Some(done) = placement.done {
                    if placement.ack == Ack::Appended || placement.end <= flushed {
                        effects.done.push((done, placement.placed));
                    } else {
                        dispatcher.unflushed.push_back((placement.end, done, placement.placed));
                    }
                }
            }
            while let Some((end, done, placed)) = dispatcher.unflushed.pop_front() {
                if end > flushed {
                    dispatcher.unflushed.push_front((end, done, placed));
                    break;
                }
                effects.done.push((done, placed));
            }
            if let Some((end, newest_time)) = dispatched {
                if self.index.feed(&mut effects.keys, end) {
                    self.bells.index.ring();
                }
                self.log.set_dispatched(end, newest_time);
            }
        }
        if self.checkpoint_is_due() {
            self.bells.checkpoint.ring();
        }
        for (done, placed) in effects.done {
            done(Ok(placed));
        }
        for queue in effects.arrived {
            queue.announced();
            self.observer.arrived(&queue);
        }
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
            self.inbox.release(request.batch.buf.len());
            (request.done)(Err(error));
        }
        let (unconfirmed, unflushed) = {
            let mut dispatcher = self.dispatcher.lock();
            (std::mem::take(&mut dispatcher.unconfirmed), std::mem::take(&mut dispatcher.unflushed))
        };
        for placement in unconfirmed {
            self.inbox.release(placement.batch.buf.len());
            placement.fail(error);
        }
        for (_, done, _) in unflushed {
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
