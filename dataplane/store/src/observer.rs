//! What the owner of a store adds to it: projections of its own, kept up to date by the log.

use std::sync::Arc;

use bolide_wire::{LogOffset, message::RecordRef};

use crate::Queue;

/// Told of records as they become confirmed, and at recovery of those since its snapshot.
pub trait Observer: Send + Sync {
    /// The log offset that the owner's snapshot covers: recovery replays every record from here (or from the store's own
    /// checkpoint, if that is older) through `apply`. 0 means all there is.
    fn replay_from(&self) -> LogOffset;

    /// A confirmed record. Recovery: every record at or after `replay_from`. Later: every record of a replica that
    /// follows, and of one that leads those whose `Entry::state` is true. In the order of the log, one at a time. Must not
    /// append and wait, nor delete a topic.
    fn apply(&self, record: &RecordRef<'_>, at: LogOffset);

    /// Third field of a record's consume queue unit, when it is rebuilt; must give what `Entry::tags` gave.
    fn tags_code(&self, record: &RecordRef<'_>) -> i64 {
        record.properties().tags_code()
    }

    /// With replicas: the log now ends at `appended`, and is on disk up to `flushed`. Both go back at a truncation. Called
    /// from a thread of the store, possibly with locks held; must not call the store and must not block.
    fn progressed(&self, appended: LogOffset, flushed: LogOffset) {
        let _ = (appended, flushed);
    }

    /// Records became visible in a queue with `Queue::watched` set, or such a queue was deleted. Called from a thread of the
    /// store or of whoever deletes, without locks that reading needs; must not block.
    fn arrived(&self, queue: &Arc<Queue>);

    /// Log below this offset may be deleted: the owner's durable snapshot covers it.
    fn snapshot_covers(&self) -> LogOffset;

    /// Asked before the log below `below` is deleted. False while a record there is still needed: the owner appends what it
    /// needs anew, and is asked again at the next round. What was applied before `true` is forced to disk before anything is
    /// deleted. Must not block.
    fn release(&self, below: LogOffset) -> bool {
        let _ = below;
        true
    }
}
