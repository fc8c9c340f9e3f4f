//! Retention: deletes the oldest commit log files by age and by disk use, and says when appends are refused.
//!
//! Only files that the owner's snapshot and the store's checkpoint cover and that the owner releases are deleted, and never the
//! newest. The age of a file is the store time of the first record after it, not the file's modification time. Deleting and refusing have
//! thresholds of their own, and refusing has one for each direction, so that it does not flap.

use std::{
    io,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bolide_wire::{EpochMillis, message::RecordRef};

use crate::{disk::Space, shared::Shared};

/// Disk use of a store.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DiskUsage {
    /// Size of the file system in bytes.
    pub total: u64,
    /// Bytes that may still be written.
    pub available: u64,
    /// Used part, 0.0 to 1.0.
    pub ratio: f64,
    /// Bytes of commit log files.
    pub commit_log_bytes: u64,
    /// Appends are refused.
    pub full: bool,
}

/// Deletes in steps.
pub(crate) struct Retention {
    shared: Arc<Shared>,
}

impl Retention {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// One round; returns the number of deleted files.
    pub(crate) fn step(&mut self, now: EpochMillis) -> usize {
        let deleted = self.shared.retain(now).unwrap_or_else(|error| {
            self.shared.metrics.retention_failures.inc();
            tracing::error!(%error, "deleting old commit log files failed");
            0
        });
        self.shared.check_disk();
        self.shared.measure(now);
        deleted
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a ratio needs no more than the leading digits of a disk's size"
)]
fn used_ratio(space: Space) -> f64 {
    if space.total == 0 {
        return 0.0;
    }
    1.0 - (space.available as f64 / space.total as f64)
}

impl Shared {
    fn retain(&self, now: EpochMillis) -> io::Result<usize> {
        let settings = &self.config.retention;
        let mut deleted = 0_usize;
        while deleted < settings.batch && self.is_first_expendable(now)? && self.is_first_released() {
            self.log.segments.remove_first()?;
            self.metrics.segments_deleted.inc();
            deleted = deleted.saturating_add(1);
        }
        if deleted > 0 {
            let log_min = self.log.min();
            tracing::info!(files = deleted, min = log_min, "old commit log files deleted");
            self.epochs.lock().prune(log_min);
            self.queues.advance_min(log_min)?;
            self.index.remove_below(log_min)?;
        }
        Ok(deleted)
    }

    fn is_first_expendable(&self, now: EpochMillis) -> io::Result<bool> {
        let segments = self.log.segments.all();
        let [first, second, ..] = segments.as_slice() else { return Ok(false) };
        let covered = self.observer.snapshot_covers().0.min(self.checkpoint_offset()).min(self.log.flushed());
        if first.end() > covered {
            return Ok(false);
        }
        let reserved = i64::try_from(self.config.retention.reserved.as_millis()).unwrap_or(i64::MAX);
        let begun = self.time_at(second.base)?;
        if begun.is_some_and(|begun| begun.0.saturating_add(reserved) <= now.0) {
            return Ok(true);
        }
        let space = self.disk.space(&self.config.root)?;
        Ok(self.config.retention.clean_forcibly
            && used_ratio(space) > self.config.retention.clean_forcibly_ratio)
    }

    /// Whether the owner needs nothing of the first segment any more, and what it appended in its place is on disk.
    fn is_first_released(&self) -> bool {
        let Some(first) = self.log.segments.all().first().map(|first| first.end()) else { return false };
        if !self.observer.release(bolide_wire::LogOffset(first)) {
            return false;
        }
        let applied = self.log.dispatched();
        if self.log.flushed() < applied {
            self.flush();
        }
        !self.poisoned() && self.log.flushed() >= applied
    }

    /// Store time of the record at the start of a segment; `None` when there is none yet.
    fn time_at(&self, base: u64) -> io::Result<Option<EpochMillis>> {
        let record = self.record_at(bolide_wire::LogOffset(base))?;
        Ok(record.and_then(|bytes| RecordRef::parse(&bytes).ok().map(|record| record.store_timestamp())))
    }

    /// Decides whether appends are refused for want of space.
    pub(crate) fn check_disk(&self) {
        let Ok(space) = self.disk.space(&self.config.root) else { return };
        let settings = &self.config.retention;
        let ratio = used_ratio(space);
        let full = self.disk_full.load(Ordering::Acquire);
        let now_full = if full {
            ratio > settings.clean_forcibly_ratio
                || space.available < settings.refuse_free_bytes.saturating_mul(2)
        } else {
            ratio > settings.refuse_ratio || space.available < settings.refuse_free_bytes
        };
        if now_full != full {
            tracing::warn!(full = now_full, ratio, available = space.available, "disk space");
            self.disk_full.store(now_full, Ordering::Release);
        }
    }

    pub(crate) fn disk_usage(&self) -> io::Result<DiskUsage> {
        let space = self.disk.space(&self.config.root)?;
        let files = self.log.segments.all().len() as u64;
        Ok(DiskUsage {
            total: space.total,
            available: space.available,
            ratio: used_ratio(space),
            commit_log_bytes: files.saturating_mul(self.log.segments.size()),
            full: self.disk_full.load(Ordering::Acquire),
        })
    }

    /// Brings the gauges up to date.
    pub(crate) fn measure(&self, now: EpochMillis) {
        let gauge = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        let appended = self.log.appended();
        let metrics = &self.metrics;
        let files = self.log.segments.all().len() as u64;
        metrics.storage_size.set(gauge(files.saturating_mul(self.log.segments.size())));
        metrics.flush_behind.set(gauge(appended.saturating_sub(self.log.flushed())));
        metrics.dispatch_behind.set(gauge(appended.saturating_sub(self.log.dispatched())));
        metrics.index_behind.set(gauge(self.log.dispatched().saturating_sub(self.index.applied())));
        metrics.queue_bytes_unwritten.set(i64::try_from(self.queues.unwritten_bytes()).unwrap_or(i64::MAX));
        if let Ok(oldest) = self.time_at(self.log.min()) {
            metrics.reserve_time.set(oldest.map_or(0, |oldest| now.0.saturating_sub(oldest.0)));
        }
    }
}

/// Time between two looks at the gauges.
pub(crate) const MEASURE_INTERVAL: Duration = Duration::from_secs(5);
