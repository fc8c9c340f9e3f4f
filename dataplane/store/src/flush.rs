//! Flush: one fsync for all that waits.
//!
//! Segments are forced to disk in the order of the log, and a finished segment is noted durably before anything of the next
//! one counts as flushed. So recovery can tell a damaged segment (refuse) from one that was never flushed (cut off).

use std::{
    io::{self, IoSlice},
    sync::Arc,
};

use crate::{
    checkpoint::{self, FLUSHED_FILE},
    shared::Shared,
};

impl Shared {
    /// Forces everything appended so far to disk and acknowledges what waited for it. False when there was nothing to do
    /// or the store is poisoned.
    pub(crate) fn flush(&self) -> bool {
        let _one_at_a_time = self.flushing.lock();
        let (from, to) = (self.log.flushed(), self.log.appended());
        if from >= to || self.poisoned() {
            return false;
        }
        let start = self.clock.monotonic();
        if let Err(error) = self.sync_segments(from, to) {
            self.poison("flush of the commit log", &error);
            return false;
        }
        self.metrics.flush_seconds.observe(self.clock.monotonic().saturating_sub(start).as_secs_f64());
        self.log.set_flushed(to);
        self.progressed();
        self.advance();
        true
    }

    fn sync_segments(&self, from: u64, to: u64) -> io::Result<()> {
        for segment in self.log.segments.between(from, to) {
            segment.sync()?;
            if segment.end() <= to {
                self.note_flushed(segment.end())?;
                self.log.set_flushed(segment.end());
            }
        }
        Ok(())
    }

    /// Makes it durable that the log is on disk up to here. In place, since there may be no room for a new file; a single
    /// sector is old or new, and a bad one only makes recovery less strict.
    pub(crate) fn note_flushed(&self, offset: u64) -> io::Result<()> {
        let file = self.disk.open(&self.config.root.join(FLUSHED_FILE))?;
        file.write_at(&mut [IoSlice::new(&checkpoint::encode_flushed(offset))], 0)?;
        file.sync_data()
    }

    /// True when the shell should flush without waiting for the interval.
    pub(crate) fn flush_is_urgent(&self) -> bool {
        self.log.appended() > self.log.flushed() && self.flush_is_awaited()
    }
}

/// Flushes in steps.
pub(crate) struct Flusher {
    shared: Arc<Shared>,
}

impl Flusher {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// One group flush; false when there was nothing to flush.
    pub(crate) fn step(&mut self) -> bool {
        self.shared.flush()
    }
}
