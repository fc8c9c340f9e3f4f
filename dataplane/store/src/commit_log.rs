//! The commit log: segments and the watermarks that say how far what has come.
//!
//! Invariants: `dispatched <= confirmed <= appended` and `flushed <= appended`. Bytes below `dispatched` are never changed,
//! those below `appended` only by a truncation. `confirmed` is a minimum over watermarks, what the replicas have among them.

pub(crate) mod append;
pub(crate) mod dispatch;
pub(crate) mod load;
pub(crate) mod raw;
pub(crate) mod recover;
pub(crate) mod replay;
pub(crate) mod role;
pub(crate) mod scan;

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use bolide_wire::LogOffset;

use crate::{config::Flush, segment::Segments};

/// How far a store has come; each a log offset, the first byte that is not covered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watermarks {
    /// Oldest byte that is still there.
    pub min: LogOffset,
    /// Given to the kernel.
    pub appended: LogOffset,
    /// Forced to disk.
    pub flushed: LogOffset,
    /// Safe by the promise of the flush mode: may be shown.
    pub confirmed: LogOffset,
    /// Visible in consume queues.
    pub dispatched: LogOffset,
    /// Consume queues below this offset are on disk: where recovery starts.
    pub checkpoint: LogOffset,
    /// Indexed by key.
    pub indexed: LogOffset,
}

pub(crate) struct CommitLog {
    pub(crate) segments: Segments,
    flush: Flush,
    appended: AtomicU64,
    flushed: AtomicU64,
    /// Every replica in sync has the log up to here; without replicas no bound.
    replicated: AtomicU64,
    dispatched: AtomicU64,
    newest_time: AtomicI64,
    /// Number of truncations so far: tells a reader that bytes it read may have been cut off meanwhile.
    truncations: AtomicU64,
}

impl CommitLog {
    pub(crate) fn new(segments: Segments, flush: Flush, replicated: bool) -> Self {
        Self {
            segments,
            flush,
            appended: AtomicU64::new(0),
            flushed: AtomicU64::new(0),
            replicated: AtomicU64::new(if replicated { 0 } else { u64::MAX }),
            dispatched: AtomicU64::new(0),
            newest_time: AtomicI64::new(0),
            truncations: AtomicU64::new(0),
        }
    }

    /// Recovery has found the log's end, and has dispatched what is certainly confirmed.
    pub(crate) fn start_at(&self, end: u64, flushed: u64, dispatched: u64, newest_time: i64) {
        self.newest_time.store(newest_time, Ordering::Release);
        self.appended.store(end, Ordering::Release);
        self.flushed.store(flushed.min(end), Ordering::Release);
        self.dispatched.store(dispatched, Ordering::Release);
        self.replicated.fetch_max(dispatched, Ordering::AcqRel);
    }

    pub(crate) fn min(&self) -> u64 {
        self.segments.min().unwrap_or(0)
    }

    pub(crate) fn appended(&self) -> u64 {
        self.appended.load(Ordering::Acquire)
    }

    pub(crate) fn set_appended(&self, offset: u64) {
        self.appended.store(offset, Ordering::Release);
    }

    pub(crate) fn flushed(&self) -> u64 {
        self.flushed.load(Ordering::Acquire)
    }

    pub(crate) fn set_flushed(&self, offset: u64) {
        self.flushed.fetch_max(offset, Ordering::AcqRel);
    }

    /// The confirm offset: what the flush mode allows here and every replica in sync has.
    pub(crate) fn confirmed(&self) -> u64 {
        let here = match self.flush {
            Flush::Async => self.appended(),
            Flush::Sync => self.appended().min(self.flushed()),
        };
        here.min(self.replicated.load(Ordering::Acquire))
    }

    /// Records below this may be read. Queues and the observer tell of a confirmed record while its batch is being dispatched,
    /// before `dispatched` has passed it: whoever was told must find it.
    pub(crate) fn readable(&self) -> u64 {
        self.confirmed().max(self.dispatched())
    }

    /// Every replica in sync has the log up to `offset`; false when that is no news.
    pub(crate) fn set_replicated(&self, offset: u64) -> bool {
        self.replicated.fetch_max(offset, Ordering::AcqRel) < offset
    }

    /// The log ends at `to`, which is not below `dispatched`. Before the bytes after it change.
    pub(crate) fn rewind(&self, to: u64) {
        self.replicated.fetch_min(to, Ordering::AcqRel);
        self.flushed.fetch_min(to, Ordering::AcqRel);
        self.appended.store(to, Ordering::Release);
        self.truncations.fetch_add(1, Ordering::AcqRel);
    }

    pub(crate) fn truncations(&self) -> u64 {
        self.truncations.load(Ordering::Acquire)
    }

    pub(crate) fn dispatched(&self) -> u64 {
        self.dispatched.load(Ordering::Acquire)
    }

    pub(crate) fn set_dispatched(&self, offset: u64, newest_time: i64) {
        self.newest_time.store(newest_time, Ordering::Release);
        self.dispatched.store(offset, Ordering::Release);
    }

    /// Store time in ms of the newest dispatched record; at least that of every record before it.
    pub(crate) fn newest_time(&self) -> i64 {
        self.newest_time.load(Ordering::Acquire)
    }
}
