//! What all parts of one store share.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use bolide_wire::LogOffset;
use parking_lot::Mutex;

use crate::{
    AppendError, Clock, Disk, StoreConfig, StoreMetrics,
    acknowledging::Gate,
    commit_log::{CommitLog, dispatch::Dispatcher},
    consume_queue::Queues,
    disk::DiskLock,
    epochs::EpochTable,
    inbox::{Bell, Inbox},
    index::Index,
    observer::Observer,
};

pub(crate) struct Shared {
    pub(crate) config: StoreConfig,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: StoreMetrics,
    pub(crate) observer: Arc<dyn Observer>,
    pub(crate) log: CommitLog,
    pub(crate) queues: Queues,
    pub(crate) index: Index,
    pub(crate) inbox: Inbox,
    pub(crate) dispatcher: Mutex<Dispatcher>,
    /// Appends are taken; always without replicas. Changed to true by the writer only.
    pub(crate) leading: AtomicBool,
    pub(crate) gate: Gate,
    pub(crate) epochs: Mutex<EpochTable>,
    /// Records below this offset are in the owner's snapshot.
    pub(crate) observer_from: AtomicU64,
    /// One flush at a time: a failed fsync is reported once, and whoever sees it must poison the store before another
    /// flush can claim success.
    pub(crate) flushing: Mutex<()>,
    /// One checkpoint at a time, and none while a topic is deleted.
    pub(crate) checkpointing: Mutex<()>,
    /// Log offset that the checkpoint on disk covers.
    pub(crate) checkpointed: AtomicU64,
    pub(crate) disk_full: AtomicBool,
    pub(crate) poisoned: AtomicBool,
    pub(crate) bells: Bells,
    /// Held until the last user of the store is gone.
    pub(crate) _lock: Box<dyn DiskLock>,
}

/// Ways to wake the workers early.
#[derive(Default)]
pub(crate) struct Bells {
    pub(crate) flush: Bell,
    pub(crate) checkpoint: Bell,
    pub(crate) index: Bell,
    pub(crate) segment: Bell,
    pub(crate) retention: Bell,
    pub(crate) dispatch: Bell,
}

impl Bells {
    pub(crate) fn close(&self) {
        for bell in
            [&self.flush, &self.checkpoint, &self.index, &self.segment, &self.retention, &self.dispatch]
        {
            bell.close();
        }
    }
}

impl Shared {
    pub(crate) fn poisoned(&self) -> bool {
        self.poisoned.load(Ordering::Acquire)
    }

    pub(crate) fn leads(&self) -> bool {
        self.leading.load(Ordering::SeqCst)
    }

    /// The end of the log has moved, or what of it is on disk.
    pub(crate) fn progressed(&self) {
        if self.config.replicated {
            self.observer.progressed(LogOffset(self.log.appended()), LogOffset(self.log.flushed()));
        }
    }

    /// A write or fsync failed: what is on disk is not known any more. Nothing is acknowledged from now on.
    pub(crate) fn poison(&self, what: &'static str, error: &io::Error) {
        if !self.poisoned.swap(true, Ordering::AcqRel) {
            tracing::error!(%error, what, "the store is poisoned and takes no more writes");
            self.metrics.poisoned.set(1);
        }
        self.fail_waiting(AppendError::Poisoned);
    }

    /// The writer has begun a segment: the one after it should be made ready.
    pub(crate) fn segment_wanted(&self) {
        self.bells.segment.ring();
    }

    pub(crate) fn checkpoint_offset(&self) -> u64 {
        self.checkpointed.load(Ordering::Acquire)
    }
}
