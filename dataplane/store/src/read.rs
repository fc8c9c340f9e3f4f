//! Reading: by queue and offset, by log offset, by time, by key. What is returned are the bytes of the log as they lie in
//! the page cache, without copying.

use std::{io, sync::Arc};

use bolide_wire::{EpochMillis, LogOffset, QueueOffset, message::RecordRef};
use bytes::Bytes;

use crate::{
    Queue,
    batch::index_hash,
    consume_queue::Unit,
    index::{Lookup, has_key},
    segment::Segment,
    shared::Shared,
};

/// Units fetched at once beyond the first batch, when a filter lets little through.
const UNITS_AT_ONCE: usize = 256;
/// Records whose memory is asked for at once, before a filter looks at them one by one.
const RECORDS_AHEAD: usize = 8;
/// Where a filter looks in a record: at bytes from its front, where the lengths are ...
const LOOKED_AT_FROM_FRONT: [usize; 3] = [0, 48, 88];
/// ... and from its end, where the properties are.
const LOOKED_AT_FROM_END: [usize; 3] = [1, 65, 129];
/// Rounds of a query by key, each further into the past.
const QUERY_ROUNDS: usize = 3;

/// How much one read returns; the defaults are those of the original.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadLimits {
    /// Records at most. Default 32.
    pub max_messages: usize,
    /// Bytes at most, except that one record is always returned. Default 262,144.
    pub max_bytes: usize,
    /// Units looked at. Default 800.
    pub max_scan: usize,
    /// Whether a filter may look at records that are probably not in memory, which may block. Otherwise the read stops before
    /// the first such record, with `cold` set. Default true.
    pub filter_cold: bool,
}

impl Default for ReadLimits {
    fn default() -> Self {
        Self { max_messages: 32, max_bytes: 262_144, max_scan: 800, filter_cold: true }
    }
}

/// Decides which records a read returns.
pub trait RecordFilter {
    /// By the unit of the queue alone; asked first. False passes the record over without looking at it.
    fn wants_unit(&mut self, unit: &Unit) -> bool;

    /// Whether [`RecordFilter::wants_record`] has anything to say.
    fn reads_records(&self) -> bool {
        false
    }

    /// By the whole record, as it lies in the log.
    fn wants_record(&mut self, _record: &[u8]) -> bool {
        true
    }
}

/// A filter that knows units only.
pub(crate) struct ByUnit<'a>(pub(crate) &'a mut dyn FnMut(&Unit) -> bool);

impl RecordFilter for ByUnit<'_> {
    fn wants_unit(&mut self, unit: &Unit) -> bool {
        (self.0)(unit)
    }
}

/// Outcome of a read, named as in the original.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadStatus {
    /// There are records.
    Found,
    /// All records looked at were refused by the filter; go on at `next`.
    NoMatchedMessage,
    /// Nothing was ever in the queue.
    NoMessageInQueue,
    /// The offset is below `min`.
    OffsetTooSmall,
    /// The offset is the one that the next record will get.
    OffsetOverflowOne,
    /// The offset is beyond that.
    OffsetOverflowBadly,
    /// A consume queue file is missing; go on at `next`.
    OffsetFoundNull,
    /// The records were just deleted; go on at `next`.
    MessageWasRemoving,
}

/// What a read returns.
#[derive(Clone, Debug)]
pub struct ReadResult {
    /// Outcome.
    pub status: ReadStatus,
    /// Where to read next.
    pub next: QueueOffset,
    /// The queue's minimum at the time.
    pub min: QueueOffset,
    /// The queue's maximum at the time.
    pub max: QueueOffset,
    /// Whole records, in order; adjacent ones in one slice.
    pub slices: Vec<Bytes>,
    /// Number of records in `slices`.
    pub messages: usize,
    /// Bytes in `slices`.
    pub bytes: usize,
    /// True when a record lies so far back that it is probably not in memory: one in `slices`, or the one that stopped the read
    /// (see [`ReadLimits::filter_cold`]).
    pub cold: bool,
}

/// Which record an offset by time means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Boundary {
    /// The first one stored at or after the time.
    Lower,
    /// The last one stored at or before the time.
    Upper,
}

/// Records that lie side by side become one slice.
#[derive(Default)]
struct Runs {
    slices: Vec<Bytes>,
    segment: Option<Arc<Segment>>,
    start: u64,
    len: usize,
}

impl Runs {
    fn finish(&mut self) -> io::Result<()> {
        if self.len > 0
            && let Some(segment) = &self.segment
        {
            self.slices.push(segment.view(self.start, self.len)?);
            self.len = 0;
        }
        Ok(())
    }

    /// Adds a record; false when the log does not have it any more.
    fn add(&mut self, shared: &Shared, unit: &Unit) -> io::Result<bool> {
        let at = unit.log_offset.0;
        let size = unit.size as usize;
        let end = at.saturating_add(size as u64);
        let inside = |segment: &Arc<Segment>| segment.base <= at && end <= segment.end();
        if self.segment.as_ref().is_some_and(inside) {
            if self.start.saturating_add(self.len as u64) == at && self.len > 0 {
                self.len = self.len.saturating_add(size);
                return Ok(true);
            }
            self.finish()?;
        } else {
            self.finish()?;
            self.segment = shared.log.segments.find(at).filter(inside);
            if self.segment.is_none() {
                return Ok(false);
            }
        }
        (self.start, self.len) = (at, size);
        Ok(true)
    }
}

/// The published bytes of the segment that was looked into last.
#[derive(Default)]
struct Window {
    start: u64,
    bytes: Bytes,
}

impl Window {
    /// The bytes of a unit's record; `None` when the log does not have it any more.
    fn record(&mut self, shared: &Shared, unit: &Unit) -> io::Result<Option<&[u8]>> {
        let at = unit.log_offset.0;
        let end = at.saturating_add(u64::from(unit.size));
        let covered = self.start.saturating_add(self.bytes.len() as u64);
        if at < self.start || end > covered {
            let Some(segment) = shared.log.segments.find(at) else { return Ok(None) };
            // Confirmed records do not change any more.
            let published = segment.end().min(shared.log.readable());
            if end > published {
                return Ok(None);
            }
            let len = usize::try_from(published.saturating_sub(at)).map_err(io::Error::other)?;
            (self.start, self.bytes) = (at, segment.view(at, len)?);
        }
        let from = usize::try_from(at.saturating_sub(self.start)).map_err(io::Error::other)?;
        Ok(self.bytes.get(from..from.saturating_add(unit.size as usize)))
    }

    /// Reads a few bytes of records that are about to be looked at, as far as they are in the window. These reads do not wait
    /// for each other, so the processor fetches all of it from memory at once, and not record after record.
    fn fetch(&self, units: &[Unit]) {
        let mut sum = 0_u8;
        for unit in units {
            let Some(from) = unit.log_offset.0.checked_sub(self.start) else { continue };
            let Ok(from) = usize::try_from(from) else { continue };
            let size = unit.size as usize;
            let Some(record) = self.bytes.get(from..from.saturating_add(size)) else { continue };
            let from_end = LOOKED_AT_FROM_END.iter().filter_map(|back| size.checked_sub(*back));
            for at in LOOKED_AT_FROM_FRONT.into_iter().chain(from_end) {
                sum = sum.wrapping_add(record.get(at).copied().unwrap_or(0));
            }
        }
        std::hint::black_box(sum);
    }
}

impl Shared {
    pub(crate) fn is_cold(&self, offset: u64) -> bool {
        self.log.appended().saturating_sub(offset) > self.config.hot_bytes
    }

    pub(crate) fn read(
        &self,
        queue: &Queue,
        from: QueueOffset,
        limits: &ReadLimits,
        filter: &mut dyn RecordFilter,
    ) -> io::Result<ReadResult> {
        let (max, min) = (queue.max(), queue.min());
        let mut result = ReadResult {
            status: ReadStatus::NoMatchedMessage,
            next: from,
            min,
            max,
            slices: Vec::new(),
            messages: 0,
            bytes: 0,
            cold: false,
        };
        let outside = if max.0 == 0 {
            Some((ReadStatus::NoMessageInQueue, QueueOffset(0)))
        } else if from < min {
            Some((ReadStatus::OffsetTooSmall, min))
        } else if from == max {
            Some((ReadStatus::OffsetOverflowOne, from))
        } else if from > max {
            Some((ReadStatus::OffsetOverflowBadly, max))
        } else {
            None
        };
        if let Some((status, next)) = outside {
            (result.status, result.next) = (status, next);
            return Ok(result);
        }
        self.read_units(queue, limits, filter, &mut result)?;
        Ok(result)
    }

    fn read_units(
        &self,
        queue: &Queue,
        limits: &ReadLimits,
        filter: &mut dyn RecordFilter,
        result: &mut ReadResult,
    ) -> io::Result<()> {
        let reads_records = filter.reads_records();
        let mut window = Window::default();
        let mut runs = Runs::default();
        let mut units = Vec::new();
        let mut removed = false;
        let mut scanned = 0_usize;
        let mut wanted = limits.max_messages.max(1);
        let max_scan = limits.max_scan.max(wanted);
        let mut full = false;
        while !full && scanned < max_scan && result.next < result.max {
            let left = usize::try_from(result.max.0.saturating_sub(result.next.0)).unwrap_or(usize::MAX);
            let count = wanted.min(max_scan.saturating_sub(scanned)).min(left);
            wanted = UNITS_AT_ONCE;
            match self.queues.units(queue, result.next.0, count, &mut units) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => units.clear(),
                outcome => outcome?,
            }
            if units.is_empty() {
                // The file is missing, or holds no units here.
                if result.messages == 0 && !removed {
                    result.status = ReadStatus::OffsetFoundNull;
                    result.next = QueueOffset(self.queues.file_end(result.next.0).min(result.max.0));
                }
                break;
            }
            for (index, unit) in units.iter().enumerate() {
                let ahead = index.checked_rem(RECORDS_AHEAD) == Some(0);
                // What may have to be read from disk is not asked for ahead.
                if reads_records && ahead && !self.is_cold(unit.log_offset.0) {
                    let end = index.saturating_add(RECORDS_AHEAD).min(units.len());
                    window.fetch(units.get(index..end).unwrap_or_default());
                }
                scanned = scanned.saturating_add(1);
                let after = QueueOffset(unit.queue_offset.0.saturating_add(1));
                if !filter.wants_unit(unit) {
                    result.next = after;
                    continue;
                }
                if reads_records {
                    if !limits.filter_cold && self.is_cold(unit.log_offset.0) {
                        result.cold = true;
                        full = true;
                        break;
                    }
                    match window.record(self, unit)? {
                        Some(record) if !filter.wants_record(record) => {
                            result.next = after;
                            continue;
                        }
                        Some(_) => {}
                        None => {
                            removed = true;
                            result.next = after;
                            continue;
                        }
                    }
                }
                let bytes = result.bytes.saturating_add(unit.size as usize);
                if result.messages > 0 && bytes > limits.max_bytes {
                    full = true;
                    break;
                }
                result.next = after;
                if !runs.add(self, unit)? {
                    removed = true;
                    continue;
                }
                result.cold |= self.is_cold(unit.log_offset.0);
                result.bytes = bytes;
                result.messages = result.messages.saturating_add(1);
                if result.messages >= limits.max_messages {
                    full = true;
                    break;
                }
            }
        }
        runs.finish()?;
        result.slices = runs.slices;
        if result.messages > 0 {
            result.status = ReadStatus::Found;
        } else if removed {
            result.status = ReadStatus::MessageWasRemoving;
        }
        Ok(())
    }

    /// The record that starts at this log offset, if one does and it is confirmed.
    pub(crate) fn record_at(&self, offset: LogOffset) -> io::Result<Option<Bytes>> {
        let end = self.log.readable();
        let Some(segment) = self.log.segments.find(offset.0).filter(|_| offset.0 < end) else {
            return Ok(None);
        };
        let limit = segment.end().min(end);
        let available = limit.saturating_sub(offset.0);
        let mut head = [0; 4];
        if available < head.len() as u64 {
            return Ok(None);
        }
        segment.read(&mut head, offset.0)?;
        let size = u32::from_be_bytes(head);
        if u64::from(size) > available {
            return Ok(None);
        }
        let bytes = segment.view(offset.0, size as usize)?;
        let whole = RecordRef::parse(&bytes).is_ok_and(|record| record.log_offset() == offset);
        Ok(whole.then_some(bytes))
    }

    pub(crate) fn store_time(&self, queue: &Queue, offset: QueueOffset) -> io::Result<Option<EpochMillis>> {
        if offset < queue.min() || offset >= queue.max() {
            return Ok(None);
        }
        let unit = match self.queues.unit(queue, offset.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            unit => unit?,
        };
        let Some(unit) = unit else { return Ok(None) };
        let record = self.record_at(unit.log_offset)?;
        Ok(record.and_then(|bytes| RecordRef::parse(&bytes).ok().map(|record| record.store_timestamp())))
    }

    pub(crate) fn offset_by_time(
        &self,
        queue: &Queue,
        time: EpochMillis,
        boundary: Boundary,
    ) -> io::Result<QueueOffset> {
        let (min, max) = (queue.min().0, queue.max().0);
        // The first offset that is past the boundary; what cannot be read was deleted and is before it.
        let past = |stored: EpochMillis| match boundary {
            Boundary::Lower => stored >= time,
            Boundary::Upper => stored > time,
        };
        let (mut low, mut high) = (min, max);
        while low < high {
            let middle = low.midpoint(high);
            if self.store_time(queue, QueueOffset(middle))?.is_some_and(past) {
                high = middle;
            } else {
                low = middle.saturating_add(1);
            }
        }
        let found = match boundary {
            Boundary::Lower => low,
            Boundary::Upper => low.saturating_sub(1),
        };
        Ok(QueueOffset(found.clamp(min, max)))
    }

    pub(crate) fn query(
        &self,
        topic: &str,
        key: &str,
        max: usize,
        begin: EpochMillis,
        end: EpochMillis,
    ) -> io::Result<Vec<Bytes>> {
        let mut found: Vec<Bytes> = Vec::new();
        let mut lookup = Lookup { hash: index_hash(topic, key), begin: begin.0, end: end.0, max };
        for _ in 0..QUERY_ROUNDS {
            let mut offsets = self.index_lookup(&lookup)?;
            offsets.sort_unstable();
            offsets.dedup();
            let mut oldest = None;
            for offset in offsets.iter().rev() {
                let Some(bytes) = self.record_at(LogOffset(*offset))? else { continue };
                let Ok(record) = RecordRef::parse(&bytes) else { continue };
                let stored = record.store_timestamp();
                oldest = Some(stored.0);
                if record.topic() == topic && has_key(&record, key) && (begin..=end).contains(&stored) {
                    found.push(bytes);
                }
            }
            match oldest {
                Some(time) if found.is_empty() && offsets.len() >= max => lookup.end = time.saturating_sub(1),
                _ => break,
            }
        }
        found.truncate(max);
        Ok(found)
    }
}
