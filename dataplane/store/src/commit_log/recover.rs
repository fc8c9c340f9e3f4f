//! Recovery: finds the log's end and brings the projections up to it, reading no more than what the checkpoint and the
//! observer's snapshot do not cover.
//!
//! What is not good before the flushed mark was on disk once: the store refuses to open. What is not good after it is the
//! torn end: it is cut off, later segments are removed, the rest of the segment is zeroed and forced to disk before
//! anything is appended.

use std::io;

use bolide_wire::message::RecordRef;

use super::{
    append::WRITE_BYTES,
    load::OpenError,
    replay::is_consumable,
    scan::{Check, Scanned, Stop, scan},
};
use crate::{
    Flush,
    checkpoint::{CHECKPOINT_FILE, Checkpoint, FLUSHED_FILE},
    epochs::{self, EpochTable, Found},
    segment::{Segment, segment_name},
    shared::Shared,
};

/// What the small files say of the last run.
#[derive(Debug, Default)]
pub(crate) struct LastRun {
    pub(crate) checkpoint: Option<Checkpoint>,
    /// The log was on disk up to here.
    pub(crate) flushed: Option<u64>,
    /// It was closed.
    pub(crate) clean: bool,
    /// It did not end well, but the machine has not been down since: only the last write can be torn.
    pub(crate) same_boot: bool,
}

/// What recovery did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Log offset from which the log was read.
    pub from: u64,
    /// Where the log ends.
    pub end: u64,
    /// Records read.
    pub records: u64,
    /// Bytes read from commit log files.
    pub bytes: u64,
    /// Something after the end was cut off.
    pub cut: bool,
    /// Records below this offset are visible. With replicas those after it wait for the confirm offset; without, it is
    /// where the log ends.
    pub visible: u64,
}

struct Replay<'a> {
    shared: &'a Shared,
    /// Records from here on go to the consume queues.
    queues_from: u64,
    /// Records from here on go to the observer.
    observer_from: u64,
    /// Records from here on may not be confirmed, and go nowhere.
    unconfirmed_from: u64,
    newest_time: i64,
    records: u64,
    epochs: EpochTable,
    /// After the last record that is dispatched; at least the checkpoint.
    visible: u64,
}

impl Replay<'_> {
    fn visit(&mut self, record: &RecordRef<'_>, at: u64) -> io::Result<()> {
        self.records = self.records.saturating_add(1);
        if let Found::Start(start) = epochs::find(record)
            && !self.epochs.push(start)
        {
            tracing::error!(
                offset = at,
                epoch = start.epoch,
                "an epoch begins that is older than the one before"
            );
        }
        if at >= self.unconfirmed_from {
            return Ok(());
        }
        self.visible = self.visible.max(at.saturating_add(record.total_size() as u64));
        self.newest_time = self.newest_time.max(record.store_timestamp().0);
        if at >= self.queues_from && is_consumable(record) {
            self.shared.replay_unit(record)?;
            let queues = &self.shared.queues;
            if queues.unwritten_bytes() >= self.shared.config.max_unwritten_queue_bytes / 2 {
                queues.write_tails(at)?;
            }
        }
        if at >= self.observer_from {
            self.shared.observer.apply(record, record.log_offset());
        }
        Ok(())
    }
}

impl Shared {
    /// Recovers; afterwards all watermarks stand at the log's end, with replicas those of what is visible at what is
    /// certainly confirmed.
    pub(crate) fn recover(&self, last: LastRun) -> Result<Recovery, OpenError> {
        let failed = || OpenError::io("recovering the store", &self.config.root);
        let segments = &self.log.segments;
        let Some(newest) = segments.last() else {
            self.start_empty().map_err(failed())?;
            return Ok(Recovery::default());
        };
        let (log_min, capacity) = (self.log.min(), newest.end());
        let checkpoint =
            last.checkpoint.filter(|checkpoint| (log_min..=capacity).contains(&checkpoint.log_offset));
        for queue in checkpoint.iter().flat_map(|checkpoint| &checkpoint.queues) {
            self.queues.insert(&queue.topic, queue.id, queue.min, queue.written);
        }
        let queues_from = checkpoint.as_ref().map_or(log_min, |checkpoint| checkpoint.log_offset);
        let observer_from = self.observer.replay_from().0.max(log_min);
        let from = queues_from.min(observer_from);
        let mut epochs =
            EpochTable::new(checkpoint.as_ref().map_or_else(Vec::new, |found| found.epochs.clone()));
        epochs.truncate(from);
        let mut replay = Replay {
            shared: self,
            queues_from,
            observer_from,
            // Both were confirmed once. What came after may be confirmed too, but nothing here says so.
            unconfirmed_from: if self.config.replicated { queues_from.max(observer_from) } else { u64::MAX },
            newest_time: checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.store_timestamp),
            records: 0,
            epochs,
            visible: queues_from,
        };
        let known = checkpoint.as_ref().map(|checkpoint| checkpoint.log_offset).max(last.flushed);
        let known = known.map(|known| known.min(capacity));
        let torn = if last.clean || last.same_boot { Check::TornEnd } else { Check::LostSectors };

        let mut visit = |record: &RecordRef<'_>, at: u64| replay.visit(record, at);
        let flushed = known.unwrap_or(0).max(from);
        let first = scan(segments, from, flushed, Check::Checksum, &mut visit).map_err(failed())?;
        if first.at < flushed {
            return Err(damaged(&first, segments.size()));
        }
        let second = scan(segments, first.at, capacity, torn, &mut visit).map_err(failed())?;
        let end = second.at;
        let last_run_cut = second.stop != Stop::End;
        if known.is_none() && last_run_cut && self.is_followed(end).map_err(failed())? {
            return Err(damaged(&second, segments.size()));
        }

        let closed =
            last.clean && checkpoint.as_ref().is_some_and(|found| found.clean && found.log_offset == end);
        let cut = !closed && self.cut(end, &second.stop, last.same_boot).map_err(failed())?;
        let on_disk = closed || !last.same_boot;
        if !on_disk && self.config.flush == Flush::Sync {
            let unflushed = segments.between(known.unwrap_or(log_min), end);
            unflushed.iter().try_for_each(|segment| segment.sync()).map_err(failed())?;
        }
        let flushed_to =
            if on_disk || self.config.flush == Flush::Sync { end } else { known.unwrap_or(log_min) };

        // A filler at the end belongs to the record after it, unless nobody else has a say in that.
        let visible = if self.config.replicated { replay.visible.min(end) } else { end };
        let recovery = Recovery {
            from,
            end,
            records: replay.records,
            bytes: first.bytes.saturating_add(second.bytes),
            cut,
            visible,
        };
        let newest_time = replay.newest_time;
        // A snapshot from another replica may cover log that this one has yet to be given.
        let covered = self.observer.replay_from().0;
        let observer_from = if covered == u64::MAX { visible } else { covered };
        self.observer_from.store(observer_from, std::sync::atomic::Ordering::Release);
        let mut epochs = replay.epochs;
        epochs.prune(log_min);
        *self.epochs.lock() = epochs;
        self.log.start_at(end, flushed_to, visible, newest_time);
        self.queues.assign_from_visible();
        self.bring_up_projections(checkpoint.as_ref(), log_min, end, visible).map_err(failed())?;
        self.metrics.recovered_records.inc_by(recovery.records);
        self.metrics.recovery_bytes.inc_by(recovery.bytes);
        Ok(recovery)
    }

    /// There is no log: whatever else there is describes another one.
    fn start_empty(&self) -> io::Result<()> {
        for topic in self.disk.list(self.queues.files().dir())?.into_iter().filter(|entry| entry.is_dir) {
            self.disk.remove_dir(&self.queues.files().dir().join(topic.name))?;
        }
        for name in [CHECKPOINT_FILE, FLUSHED_FILE] {
            match self.disk.remove(&self.config.root.join(name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        self.disk.sync_dir(&self.config.root)?;
        self.index.clear()?;
        self.index.start_at(0, 0);
        self.log.start_at(0, 0, 0, 0);
        self.log.segments.add_first(0)?;
        Ok(())
    }

    /// True when a later segment has something in it.
    fn is_followed(&self, end: u64) -> io::Result<bool> {
        for segment in self.log.segments.all().iter().filter(|segment| segment.base > end) {
            let mut head = [0; 8];
            segment.read(&mut head, segment.base)?;
            if head != [0; 8] {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Makes sure that nothing after the log's end can be taken for a record, now or after the next crash.
    fn cut(&self, end: u64, stop: &Stop, same_boot: bool) -> io::Result<bool> {
        let segments = &self.log.segments;
        segments.remove_after(end)?;
        let Some(segment) = segments.find(end) else { return Ok(false) };
        let garbage = match stop {
            Stop::Bad(reason) => {
                tracing::warn!(offset = end, reason, "the log's end is torn here; what follows is cut off");
                true
            }
            // A truncation that was interrupted may have left records of another history far behind the end.
            Stop::Empty | Stop::End if self.config.replicated => true,
            Stop::Empty | Stop::End => !same_boot || !self.is_zero_after(&segment, end)?,
        };
        if garbage {
            segment.zero_from(end)?;
            segment.sync()?;
        }
        Ok(garbage)
    }

    /// Looks at what one interrupted write can have reached.
    fn is_zero_after(&self, segment: &Segment, end: u64) -> io::Result<bool> {
        let reach = (WRITE_BYTES as u64).saturating_add(self.config.max_pending_bytes as u64);
        let limit = segment.end().min(end.saturating_add(reach));
        let mut buf = vec![0; 1 << 20];
        let mut at = end;
        while at < limit {
            let count = usize::try_from(limit.saturating_sub(at)).unwrap_or(usize::MAX).min(buf.len());
            let part = buf.get_mut(..count).unwrap_or_default();
            segment.read(part, at)?;
            if part.iter().any(|byte| *byte != 0) {
                return Ok(false);
            }
            at = at.saturating_add(count as u64);
        }
        Ok(true)
    }

    fn bring_up_projections(
        &self,
        checkpoint: Option<&Checkpoint>,
        log_min: u64,
        end: u64,
        visible: u64,
    ) -> io::Result<()> {
        match checkpoint {
            Some(_) => self.queues.remove_orphans()?,
            None => self.queues.adopt_from_files()?,
        }
        if checkpoint.is_some_and(|checkpoint| checkpoint.log_min != log_min) {
            self.queues.advance_min(log_min)?;
        }
        let covered = checkpoint.map_or(log_min, |checkpoint| checkpoint.log_offset);
        self.checkpointed.store(covered, std::sync::atomic::Ordering::Release);
        if self.index.end_in_files().is_some_and(|known| known >= end) {
            self.index.clear()?;
        }
        let indexed = match checkpoint {
            Some(checkpoint) if checkpoint.index_time == 0 || self.index.end_in_files().is_some() => {
                checkpoint.indexed.min(visible)
            }
            Some(_) => log_min,
            None => self.index.end_in_files().unwrap_or(0).max(log_min).min(visible),
        };
        self.index.start_at(indexed, visible);
        Ok(())
    }
}

fn damaged(scanned: &Scanned, segment_bytes: u64) -> OpenError {
    let reason = match &scanned.stop {
        Stop::Bad(reason) => reason.clone(),
        Stop::Empty => "nothing is there".to_owned(),
        Stop::End => "the log ends".to_owned(),
    };
    let base = scanned.at.saturating_sub(scanned.at.checked_rem(segment_bytes).unwrap_or(0));
    OpenError::Damaged { offset: scanned.at, file: segment_name(base), reason }
}
