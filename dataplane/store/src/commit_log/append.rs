//! The writer: gives records their place and writes them.
//!
//! A step takes all waiting requests, assigns offsets, stamps the records where they lie and writes them with as few calls
//! as possible. The memory order is the log's order. Nothing of a batch is written unless all of it has found a place.
//! What a replica asks of the writer beyond appends is in `role`.

use std::{
    io::{self, IoSlice},
    ops::Range,
    sync::Arc,
};

use bolide_wire::{
    EpochMillis, LogOffset, QueueOffset,
    message::{self, BLANK_HEAD_BYTES},
};

use super::{dispatch::Placement, raw::Raw};
use crate::{Ack, AppendBatch, AppendError, Done, Placed, Queue, RoleDone, segment::Segment, shared::Shared};

/// Bytes of one write call, unless a single batch is larger.
pub(crate) const WRITE_BYTES: usize = 4 << 20;
/// Buffers of one write call.
const WRITE_BUFFERS: usize = 1024;

/// An accepted append on its way to the writer.
pub(crate) struct Append {
    pub(crate) batch: AppendBatch,
    pub(crate) ack: Ack,
    pub(crate) done: Done,
}

/// What the writer does, in the order in which it was asked.
pub(crate) enum Request {
    Append(Append),
    Raw(Raw),
    Truncate { to: u64, done: RoleDone },
    Lead { epoch: u64, master: String, done: RoleDone },
    Follow { done: RoleDone },
}

impl From<Append> for Request {
    fn from(append: Append) -> Self {
        Self::Append(append)
    }
}

impl From<Raw> for Request {
    fn from(raw: Raw) -> Self {
        Self::Raw(raw)
    }
}

impl Request {
    /// Bytes that count against the bound of the inbox.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Append(append) => append.batch.buf.len(),
            Self::Raw(raw) => raw.bytes.len(),
            Self::Truncate { .. } | Self::Lead { .. } | Self::Follow { .. } => 0,
        }
    }

    pub(crate) fn fail(self, error: AppendError) {
        match self {
            Self::Append(append) => (append.done)(Err(error)),
            Self::Raw(raw) => (raw.done)(Err(error.into())),
            Self::Truncate { done, .. } | Self::Lead { done, .. } | Self::Follow { done } => {
                done(Err(error.into()));
            }
        }
    }
}

/// The state of the log's only writer.
pub(crate) struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) segment: Arc<Segment>,
    pub(super) position: u64,
    pub(super) last_timestamp: EpochMillis,
    /// Appends between two other requests.
    appends: Vec<Append>,
}

/// A stretch of one write.
pub(super) struct Piece {
    pub(super) segment: Arc<Segment>,
    pub(super) offset: u64,
    source: Source,
}

enum Source {
    /// Bytes of the buffer of a placement.
    Records(usize, Range<usize>),
    /// The head of the filler that closes a segment.
    Blank([u8; BLANK_HEAD_BYTES]),
}

impl Writer {
    /// A writer that goes on at `position`, in the last segment.
    pub(crate) fn new(
        shared: Arc<Shared>,
        segment: Arc<Segment>,
        position: u64,
        newest: EpochMillis,
    ) -> Self {
        Self { shared, segment, position, last_timestamp: newest, appends: Vec::new() }
    }

    /// Does all requests in their order, as many appends as possible at once.
    pub(crate) fn step(&mut self, now: EpochMillis, requests: &mut Vec<Request>) {
        // Store time never goes back: binary search by time relies on it.
        self.last_timestamp = self.last_timestamp.max(now);
        for request in requests.drain(..) {
            match request {
                Request::Append(append) => self.appends.push(append),
                other => {
                    self.append_all();
                    self.do_other(other);
                }
            }
        }
        self.append_all();
    }

    /// Appends what was gathered, makes it visible if the confirm offset allows, and acknowledges what waits for no more.
    fn append_all(&mut self) {
        if self.appends.is_empty() {
            return;
        }
        let mut appends = std::mem::take(&mut self.appends);
        let mut placements = Vec::with_capacity(appends.len());
        let mut pieces = Vec::with_capacity(appends.len());
        let leading = self.shared.leads();
        for append in appends.drain(..) {
            let bytes = append.batch.buf.len();
            if !leading {
                self.shared.inbox.release(bytes);
                (append.done)(Err(AppendError::NotMaster));
                continue;
            }
            match self.place(append, placements.len(), &mut pieces) {
                Ok(placement) => placements.push(placement),
                Err((done, error)) => {
                    self.shared.inbox.release(bytes);
                    done(Err(error));
                }
            }
        }
        self.appends = appends;
        if placements.is_empty() {
            return;
        }
        if let Err(error) = self.write(&placements, &pieces) {
            self.shared.poison("write to the commit log", &error);
            for placement in placements {
                self.shared.inbox.release(placement.batch.buf.len());
                placement.fail(AppendError::Poisoned);
            }
            return;
        }
        self.publish(placements);
    }

    /// What was placed is written.
    pub(super) fn publish(&self, placements: Vec<Placement>) {
        let records: usize = placements.iter().map(|placement| placement.placed.len()).sum();
        self.shared.metrics.records.inc_by(records as u64);
        self.shared.log.set_appended(self.position);
        self.shared.progressed();
        self.shared.dispatch(placements);
    }

    /// Gives every record of a request its offsets, or none of them.
    pub(super) fn place(
        &mut self,
        append: Append,
        index: usize,
        pieces: &mut Vec<Piece>,
    ) -> Result<Placement, (Done, AppendError)> {
        let Append { mut batch, ack, done } = append;
        if self.shared.poisoned() {
            return Err((done, AppendError::Poisoned));
        }
        let before = (Arc::clone(&self.segment), self.position, pieces.len());
        let mut placed = Vec::with_capacity(batch.entries.len());
        match self.place_entries(&mut batch, index, pieces, &mut placed) {
            Ok(()) => Ok(Placement { batch, ack, done: Some(done), placed, end: self.position }),
            Err(error) => {
                for entry in batch.entries.iter().take(placed.len()).filter(|entry| entry.consumable) {
                    entry.queue.unassign();
                }
                (self.segment, self.position) = (before.0, before.1);
                pieces.truncate(before.2);
                Err((done, error))
            }
        }
    }

    fn place_entries(
        &mut self,
        batch: &mut AppendBatch,
        index: usize,
        pieces: &mut Vec<Piece>,
        placed: &mut Vec<Placed>,
    ) -> Result<(), AppendError> {
        let AppendBatch { buf, entries } = batch;
        let mut rest = buf.as_mut_slice();
        let (mut at, mut run, mut run_offset) = (0_usize, 0_usize, self.position);
        let mut group_left = 0_u16;
        for number in 0..entries.len() {
            if group_left == 0 {
                let group = entries.get(number..).unwrap_or_default();
                group_left = group.first().map_or(1, |entry| entry.group_len.max(1));
                let bytes: u64 =
                    group.iter().take(usize::from(group_left)).map(|entry| u64::from(entry.len)).sum();
                if bytes.saturating_add(BLANK_HEAD_BYTES as u64)
                    > self.segment.end().saturating_sub(self.position)
                {
                    if at > run {
                        pieces.push(self.piece(run_offset, Source::Records(index, run..at)));
                    }
                    self.roll(pieces)?;
                    (run, run_offset) = (at, self.position);
                }
            }
            group_left = group_left.saturating_sub(1);
            let Some(entry) = entries.get_mut(number) else { break };
            if entry.queue.deleted() {
                entry.queue = self.shared.queues.find_or_create(entry.queue.topic(), entry.queue.id());
            }
            let queue_offset = if entry.consumable { entry.queue.assign() } else { 0 };
            let place = Placed {
                log_offset: LogOffset(self.position),
                queue_offset: QueueOffset(queue_offset),
                store_timestamp: self.last_timestamp,
            };
            placed.push(place);
            let (record, later) = rest.split_at_mut_checked(entry.len as usize).ok_or(AppendError::Closed)?;
            message::stamp(record, place.queue_offset, place.log_offset, place.store_timestamp)
                .map_err(|_| AppendError::Closed)?;
            rest = later;
            at = at.saturating_add(entry.len as usize);
            self.position = self.position.saturating_add(u64::from(entry.len));
        }
        if at > run {
            pieces.push(self.piece(run_offset, Source::Records(index, run..at)));
        }
        Ok(())
    }

    fn piece(&self, offset: u64, source: Source) -> Piece {
        Piece { segment: Arc::clone(&self.segment), offset, source }
    }

    /// The segment after `segment`, made if need be.
    pub(super) fn segment_after(&self, segment: &Segment) -> Result<Arc<Segment>, AppendError> {
        let segments = &self.shared.log.segments;
        if let Some(next) = segments.find(segment.end()) {
            return Ok(next);
        }
        segments.add().map_err(|error| {
            tracing::error!(%error, offset = segment.end(), "no next commit log file");
            match error.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => AppendError::DiskFull,
                _ => AppendError::NoSegment,
            }
        })
    }

    /// Closes the segment with filler and goes on at the start of the next.
    fn roll(&mut self, pieces: &mut Vec<Piece>) -> Result<(), AppendError> {
        let next = self.segment_after(&self.segment)?;
        let total = self.segment.end().saturating_sub(self.position);
        let head = message::blank_head(u32::try_from(total).unwrap_or(u32::MAX));
        pieces.push(self.piece(self.position, Source::Blank(head)));
        self.position = next.base;
        self.segment = next;
        self.shared.segment_wanted();
        Ok(())
    }

    pub(super) fn write(&self, placements: &[Placement], pieces: &[Piece]) -> io::Result<()> {
        let mut rest = pieces;
        while let Some(first) = rest.first() {
            let mut bytes = 0_usize;
            let mut slices: Vec<IoSlice<'_>> = Vec::with_capacity(rest.len().min(WRITE_BUFFERS));
            for piece in rest.iter().take(WRITE_BUFFERS) {
                let slice = match &piece.source {
                    Source::Blank(head) => head.as_slice(),
                    Source::Records(index, range) => placements
                        .get(*index)
                        .and_then(|placement| placement.batch.buf.get(range.clone()))
                        .unwrap_or_default(),
                };
                let full = bytes > 0 && bytes.saturating_add(slice.len()) > WRITE_BYTES;
                if full || !Arc::ptr_eq(&piece.segment, &first.segment) {
                    break;
                }
                bytes = bytes.saturating_add(slice.len());
                slices.push(IoSlice::new(slice));
            }
            let count = slices.len().max(1);
            first.segment.write(&mut slices, first.offset)?;
            self.shared.metrics.bytes.inc_by(bytes as u64);
            #[expect(clippy::cast_precision_loss, reason = "a histogram does not need the last bits")]
            self.shared.metrics.write_bytes.observe(bytes as f64);
            rest = rest.get(count..).unwrap_or_default();
        }
        Ok(())
    }
}

/// True when entries and bytes agree and every group fits into a segment of this size.
pub(crate) fn is_valid(batch: &AppendBatch, segment_bytes: u64) -> bool {
    let total: u64 = batch.entries.iter().map(|entry| u64::from(entry.len)).sum();
    let mut rest = batch.entries.as_slice();
    while let Some(first) = rest.first() {
        let Some((group, later)) = rest.split_at_checked(usize::from(first.group_len.max(1))) else {
            return false;
        };
        let bytes: u64 = group.iter().map(|entry| u64::from(entry.len)).sum();
        if bytes.saturating_add(BLANK_HEAD_BYTES as u64) > segment_bytes {
            return false;
        }
        rest = later;
    }
    let framed = |queue: &Queue, len: u32| queue.storable() && len as usize >= MIN_RECORD_BYTES;
    total == batch.buf.len() as u64 && batch.entries.iter().all(|entry| framed(&entry.queue, entry.len))
}

/// A record with IPv4 hosts and nothing in it; the stamp's fields lie within.
const MIN_RECORD_BYTES: usize = 91;
