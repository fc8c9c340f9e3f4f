//! What the writer does for a replica: taking over and stepping down, bytes of the master's log, truncation.
//!
//! A truncation is never partly in force: memory first, then the note of what is flushed, then later segments from the newest
//! on, then zeros to the segment's end, forced to disk before anything is appended. A crash in between leaves a log that
//! ends somewhere between the old and the new end, at a record.

use std::{
    io::{self, IoSlice},
    sync::{Arc, atomic::Ordering},
};

use bolide_wire::{EpochMillis, LogOffset, QueueId, TopicName};

use super::{
    append::{Append, Request, Writer},
    raw::{self, Raw},
    replay::is_consumable,
    scan::{Check, Stop, scan},
};
use crate::{
    Ack, AppendBatch, AppendError, Entry, RawError, RoleError,
    consume_queue::Queues,
    epochs::{self, EPOCH_TOPIC, EpochStart},
    mutations::{self, Mutation},
    segment::Segment,
    shared::Shared,
};

/// A stretch of raw bytes within one segment.
struct RawPiece {
    segment: Arc<Segment>,
    offset: u64,
    bytes: bytes::Bytes,
}

impl Writer {
    /// Everything but appends.
    pub(super) fn do_other(&mut self, request: Request) {
        match request {
            Request::Append(append) => (append.done)(Err(AppendError::NotMaster)),
            Request::Raw(Raw { at, bytes, done }) => {
                let len = bytes.len();
                let taken = self.append_raw(at, &bytes);
                self.shared.inbox.release(len);
                done(taken.map(|()| LogOffset(self.position)));
            }
            Request::Truncate { to, done } => {
                done(self.truncate(to).map(|()| LogOffset(self.position)));
            }
            Request::Lead { epoch, master, done } => done(self.lead(epoch, &master)),
            Request::Follow { done } => done(self.follow().map(|()| LogOffset(self.position))),
        }
    }

    fn lead(&mut self, epoch: u64, master: &str) -> Result<LogOffset, RoleError> {
        let shared = Arc::clone(&self.shared);
        if !shared.config.replicated {
            return Err(RoleError::NotReplicated);
        }
        if shared.poisoned() {
            return Err(RoleError::Poisoned);
        }
        if shared.leads() {
            return Err(RoleError::Leading);
        }
        let newest = shared.epochs.lock().newest();
        if epoch <= newest {
            return Err(RoleError::StaleEpoch { newest });
        }
        self.enter_segment()?;
        let tail = shared.assign_after_tail().map_err(|error| {
            shared.poison("reading the commit log to lead", &error);
            RoleError::Poisoned
        })?;
        self.last_timestamp = self.last_timestamp.max(tail);
        let append = epoch_append(epoch, master, self.last_timestamp)?;
        let mut pieces = Vec::new();
        let bytes = append.batch.buf.len();
        let mut placement =
            self.place(append, 0, &mut pieces).map_err(|(_, error)| RoleError::from(error))?;
        placement.done = None;
        let start = placement.placed.first().map_or(LogOffset(self.position), |placed| placed.log_offset);
        let placements = vec![placement];
        shared.dispatcher.lock().from_log = start.0;
        if let Err(error) = self.write(&placements, &pieces) {
            shared.poison("write to the commit log", &error);
            return Err(RoleError::Poisoned);
        }
        shared.epochs.lock().push(EpochStart { epoch, start });
        shared.inbox.count(bytes);
        self.publish(placements);
        shared.flush();
        if shared.poisoned() {
            return Err(RoleError::Poisoned);
        }
        shared.leading.store(true, Ordering::SeqCst);
        tracing::info!(epoch, start = start.0, "this replica leads");
        Ok(start)
    }

    fn follow(&mut self) -> Result<(), RoleError> {
        let shared = &self.shared;
        if !shared.config.replicated {
            return Err(RoleError::NotReplicated);
        }
        shared.leading.store(false, Ordering::SeqCst);
        shared.fail_written(AppendError::NotMaster, Some(u64::MAX));
        tracing::info!(end = self.position, "this replica follows");
        Ok(())
    }

    fn append_raw(&mut self, at: u64, bytes: &bytes::Bytes) -> Result<(), RawError> {
        let shared = Arc::clone(&self.shared);
        if shared.leads() {
            return Err(RawError::Leading);
        }
        if shared.poisoned() {
            return Err(RawError::Poisoned);
        }
        if at != self.position {
            return Err(RawError::Gap { end: LogOffset(self.position) });
        }
        let malformed = |offset: u64| RawError::Malformed { offset: LogOffset(offset) };
        let checked = raw::check(bytes, at, shared.log.segments.size()).map_err(malformed)?;
        let mut newest = shared.epochs.lock().newest();
        for entry in &checked.epochs {
            if entry.epoch <= newest {
                return Err(malformed(entry.start.0));
            }
            newest = entry.epoch;
        }
        let pieces = self.raw_pieces(bytes)?;
        for piece in &pieces {
            if let Err(error) = piece.segment.write(&mut [IoSlice::new(&piece.bytes)], piece.offset) {
                shared.poison("write to the commit log", &error);
                return Err(RawError::Poisoned);
            }
            self.position = piece.offset.saturating_add(piece.bytes.len() as u64);
            self.segment = Arc::clone(&piece.segment);
        }
        shared.metrics.records.inc_by(checked.records);
        shared.metrics.bytes.inc_by(bytes.len() as u64);
        checked.epochs.into_iter().for_each(|entry| {
            shared.epochs.lock().push(entry);
        });
        shared.log.set_appended(self.position);
        shared.progressed();
        shared.advance();
        Ok(())
    }

    /// Where the bytes go, segments made as needed.
    fn raw_pieces(&self, bytes: &bytes::Bytes) -> Result<Vec<RawPiece>, AppendError> {
        let mut pieces = Vec::with_capacity(1);
        let mut rest = bytes.clone();
        let (mut segment, mut offset) = (Arc::clone(&self.segment), self.position);
        while !rest.is_empty() {
            if offset == segment.end() {
                segment = self.segment_after(&segment)?;
                self.shared.segment_wanted();
            }
            let room = usize::try_from(segment.end().saturating_sub(offset)).unwrap_or(usize::MAX);
            let now = rest.split_to(room.min(rest.len()));
            let next = offset.saturating_add(now.len() as u64);
            pieces.push(RawPiece { segment: Arc::clone(&segment), offset, bytes: now });
            offset = next;
        }
        Ok(pieces)
    }

    /// The master's segment may have been full to the last byte: then the next one follows.
    fn enter_segment(&mut self) -> Result<(), AppendError> {
        if self.position == self.segment.end() {
            self.segment = self.segment_after(&self.segment)?;
        }
        Ok(())
    }

    fn truncate(&mut self, to: u64) -> Result<(), RoleError> {
        let shared = Arc::clone(&self.shared);
        if shared.leads() {
            return Err(RoleError::Leading);
        }
        if shared.poisoned() {
            return Err(RoleError::Poisoned);
        }
        if to >= self.position {
            let end = LogOffset(self.position);
            return if to == self.position { Ok(()) } else { Err(RoleError::BeyondEnd { end }) };
        }
        let before = shared.end_of_records(to)?;
        if before != to {
            return Err(RoleError::NoBoundary { before: LogOffset(before) });
        }
        let flushing = shared.flushing.lock();
        {
            // Under the lock, so that nothing beyond is dispatched any more.
            let _dispatcher = shared.dispatcher.lock();
            let confirmed = LogOffset(shared.log.dispatched());
            if to < confirmed.0 {
                return Err(RoleError::Confirmed { confirmed });
            }
            shared.log.rewind(to);
        }
        shared.epochs.lock().truncate(to);
        let old_end = std::mem::replace(&mut self.position, to);
        let cut = shared.cut_off(to);
        drop(flushing);
        match cut {
            Ok(segment) => self.segment = segment,
            Err(error) => {
                shared.poison("truncation of the commit log", &error);
                return Err(RoleError::Poisoned);
            }
        }
        shared.progressed();
        tracing::info!(to, old_end, "the log's end is cut off");
        Ok(())
    }
}

/// The record that begins an epoch, as an append of the store's own.
fn epoch_append(epoch: u64, master: &str, now: EpochMillis) -> Result<Append, RoleError> {
    let buf = epochs::record(epoch, master, now).map_err(|_| RoleError::Name)?;
    let len = u32::try_from(buf.len()).map_err(|_| RoleError::Name)?;
    let topic = TopicName::internal(EPOCH_TOPIC).map_err(|_| RoleError::Name)?;
    let mut entry = Entry::new(len, Queues::unlisted(topic, QueueId(0)));
    (entry.consumable, entry.state) = (false, true);
    let batch = AppendBatch { buf, entries: vec![entry] };
    Ok(Append { batch, ack: Ack::Appended, done: Box::new(|_| {}) })
}

impl Shared {
    /// Every queue goes on after what the log has of it, also where that is not visible yet. Returns the newest store time
    /// there.
    fn assign_after_tail(&self) -> io::Result<EpochMillis> {
        // Nothing becomes visible meanwhile.
        let _dispatcher = self.dispatcher.lock();
        self.queues.assign_from_visible();
        let (from, to) = (self.log.dispatched(), self.log.appended());
        let mut newest = EpochMillis(self.log.newest_time());
        let scanned = scan::<io::Error>(&self.log.segments, from, to, Check::Place, &mut |record, _| {
            newest = newest.max(record.store_timestamp());
            if is_consumable(record) {
                self.queues.assign_after(record.topic(), record.queue_id(), record.queue_offset().0);
            }
            Ok(())
        })?;
        if scanned.stop == Stop::End {
            Ok(newest)
        } else {
            Err(io::Error::new(io::ErrorKind::InvalidData, "an appended record is not good"))
        }
    }

    /// The last offset at or before `to` at which a record ends, counted from what is dispatched.
    fn end_of_records(&self, to: u64) -> Result<u64, RoleError> {
        let from = self.log.dispatched();
        if to <= from {
            return Ok(to);
        }
        let mut end = from;
        let scanned = scan::<io::Error>(&self.log.segments, from, to, Check::Place, &mut |record, at| {
            end = at.saturating_add(record.total_size() as u64);
            Ok(())
        });
        match scanned {
            Ok(scanned) if scanned.at == to => Ok(to),
            Ok(_) => Ok(end),
            Err(error) => {
                self.poison("reading the commit log to truncate it", &error);
                Err(RoleError::Poisoned)
            }
        }
    }

    /// The disk's part of a truncation; returns the segment in which the log goes on. The caller holds `flushing`.
    fn cut_off(&self, to: u64) -> io::Result<Arc<Segment>> {
        // A note of more would make recovery take the missing rest for damage.
        self.note_flushed(self.log.flushed())?;
        let segments = &self.log.segments;
        segments.remove_after(to)?;
        let Some(segment) = segments.find(to) else { return segments.add() };
        if !mutations::is_on(Mutation::TruncateWithoutZeroing) {
            segment.zero_from(to)?;
            segment.sync()?;
        }
        Ok(segment)
    }
}
