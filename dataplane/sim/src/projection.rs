//! What the broker would keep beside the store: committed offsets, a projection of the log with a snapshot now and then.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use bolide_store::{Observer, Queue};
use bolide_wire::{LogOffset, message::RecordRef};

/// Topic of the records that commit an offset.
pub(crate) const STATE_TOPIC: &str = "rmq_sys_bolide_state";

/// Committed offsets, by consumer and queue.
pub(crate) type Offsets = BTreeMap<(u32, u32), i64>;

/// Offsets with the log offset that they cover.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshot {
    pub(crate) covers: LogOffset,
    pub(crate) offsets: Offsets,
}

#[derive(Debug, Default)]
struct Applied {
    offsets: Offsets,
    next: LogOffset,
    wrong: Option<String>,
}

/// The observer of one process.
#[derive(Debug)]
pub(crate) struct Projection {
    covers: LogOffset,
    applied: Mutex<Applied>,
    progressed: AtomicBool,
}

impl Projection {
    pub(crate) fn new(snapshot: &Snapshot) -> Self {
        let applied = Applied { offsets: snapshot.offsets.clone(), next: snapshot.covers, wrong: None };
        Self { covers: snapshot.covers, applied: Mutex::new(applied), progressed: AtomicBool::new(false) }
    }

    fn applied(&self) -> MutexGuard<'_, Applied> {
        self.applied.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn offsets(&self) -> Offsets {
        self.applied().offsets.clone()
    }

    /// Whether the log moved since the last call.
    pub(crate) fn take_progress(&self) -> bool {
        self.progressed.swap(false, Ordering::SeqCst)
    }

    /// What was applied in a wrong order or could not be read.
    pub(crate) fn wrong(&self) -> Option<String> {
        self.applied().wrong.clone()
    }
}

pub(crate) fn commit_body(consumer: u32, queue: u32, offset: i64) -> Vec<u8> {
    [&consumer.to_be_bytes()[..], &queue.to_be_bytes(), &offset.to_be_bytes()].concat()
}

fn read_commit(body: &[u8]) -> Option<((u32, u32), i64)> {
    let (consumer, rest) = body.split_first_chunk::<4>()?;
    let (queue, rest) = rest.split_first_chunk::<4>()?;
    let offset = i64::from_be_bytes(*rest.first_chunk::<8>()?);
    Some(((u32::from_be_bytes(*consumer), u32::from_be_bytes(*queue)), offset))
}

impl Observer for Projection {
    fn replay_from(&self) -> LogOffset {
        self.covers
    }

    fn apply(&self, record: &RecordRef<'_>, at: LogOffset) {
        let mut applied = self.applied();
        if at < applied.next {
            let next = applied.next;
            applied.wrong.get_or_insert(format!("record at {at} is applied after one at {next}"));
        }
        applied.next = at;
        if record.topic() != STATE_TOPIC {
            return;
        }
        match read_commit(record.body()) {
            Some((key, offset)) => {
                applied.offsets.insert(key, offset);
            }
            None => {
                applied.wrong.get_or_insert(format!("the commit at {at} cannot be read"));
            }
        }
    }

    fn progressed(&self, _appended: LogOffset, _flushed: LogOffset) {
        self.progressed.store(true, Ordering::SeqCst);
    }

    fn arrived(&self, _queue: &Arc<Queue>) {}

    fn snapshot_covers(&self) -> LogOffset {
        self.covers
    }
}
