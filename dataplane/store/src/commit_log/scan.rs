//! Reading the log record by record: for recovery and for the index that fell behind.
//!
//! A record counts only where its own log offset equals its place.

use std::io;

use bolide_wire::message::{MAGIC_BLANK, RecordError, RecordRef};

use crate::{
    mutations::{self, Mutation},
    segment::{Segment, Segments},
};

/// Bytes read at first, so that a look at a log that ends here costs little.
const FIRST_READ: usize = 64 << 10;
/// Bytes read at once later on.
const MAX_READ: usize = 4 << 20;
/// End of a record's field that says where it lies.
const RECORD_PLACE_END: usize = 36;
/// What may be lost on its own when the machine goes down.
const SECTOR: u64 = 512;

/// What records have to stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Check {
    /// Written by this process or checked before.
    Place,
    /// Body checksum as well.
    Checksum,
    /// As well, the last record must not be cut short, which the checksum does not notice in its properties: what may
    /// happen when the process ends in the middle of a write.
    TornEnd,
    /// As well, no record may miss a sector: what may happen to unsynced records when the machine ends.
    LostSectors,
}

/// Why a scan ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// At the given end, or after the last segment.
    End,
    /// Zeros: nothing was ever written here.
    Empty,
    /// Something that is no record of this place.
    Bad(String),
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Scanned {
    /// After the last good record.
    pub(crate) at: u64,
    pub(crate) stop: Stop,
    /// Bytes read from disk.
    pub(crate) bytes: u64,
}

enum Step {
    Next(u64),
    Stop(Stop),
}

/// Bytes of one segment, read ahead.
struct Window {
    buf: Vec<u8>,
    start: u64,
    next_read: usize,
    read: u64,
}

impl Window {
    /// At least `len` bytes from `at`, or all up to `limit`.
    fn bytes(&mut self, segment: &Segment, at: u64, len: usize, limit: u64) -> io::Result<&[u8]> {
        let rest = usize::try_from(limit.saturating_sub(at)).unwrap_or(usize::MAX);
        let need = len.min(rest);
        let skip = at.checked_sub(self.start).and_then(|skip| usize::try_from(skip).ok());
        let have = skip.map_or(0, |skip| self.buf.len().saturating_sub(skip));
        if skip.is_none() || have < need {
            let count = self.next_read.max(need).min(rest);
            self.buf.resize(count, 0);
            self.start = at;
            segment.read(&mut self.buf, at)?;
            self.read = self.read.saturating_add(count as u64);
            self.next_read = self.next_read.saturating_mul(2).min(MAX_READ);
            return Ok(&self.buf);
        }
        Ok(self.buf.get(skip.unwrap_or(0)..).unwrap_or_default())
    }
}

/// Calls `visit` with every record of `from..end`, in order, until one is not good.
pub(crate) fn scan<E: From<io::Error>>(
    segments: &Segments,
    from: u64,
    end: u64,
    check: Check,
    visit: &mut dyn FnMut(&RecordRef<'_>, u64) -> Result<(), E>,
) -> Result<Scanned, E> {
    let mut window = Window { buf: Vec::new(), start: u64::MAX, next_read: FIRST_READ, read: 0 };
    let mut at = from;
    let stop = loop {
        if at >= end {
            break Stop::End;
        }
        let Some(segment) = segments.find(at) else { break Stop::End };
        let limit = segment.end().min(end);
        window.start = u64::MAX;
        let stopped = loop {
            if at >= limit {
                break None;
            }
            match step(&mut window, &segment, at, limit, check, visit)? {
                Step::Next(next) => at = next,
                Step::Stop(stop) => break Some(stop),
            }
        };
        if let Some(stop) = stopped {
            break stop;
        }
    };
    Ok(Scanned { at, stop, bytes: window.read })
}

fn step<E: From<io::Error>>(
    window: &mut Window,
    segment: &Segment,
    at: u64,
    limit: u64,
    check: Check,
    visit: &mut dyn FnMut(&RecordRef<'_>, u64) -> Result<(), E>,
) -> Result<Step, E> {
    let head = window.bytes(segment, at, 8, limit)?;
    if head.iter().take(8).all(|byte| *byte == 0) {
        return Ok(Step::Stop(Stop::Empty));
    }
    let mut bytes = head;
    let mut parsed = RecordRef::parse(bytes);
    if let Err(RecordError::Truncated { needed, .. }) = parsed {
        bytes = window.bytes(segment, at, needed, limit)?;
        parsed = RecordRef::parse(bytes);
    }
    let record = match parsed {
        Ok(record) => record,
        Err(RecordError::Blank { total }) if at.checked_add(total as u64) == Some(segment.end()) => {
            return Ok(Step::Next(segment.end()));
        }
        Err(error) => return Ok(Step::Stop(Stop::Bad(error.to_string()))),
    };
    let misplaced = record.log_offset().0 != at && !mutations::is_on(Mutation::RecoverAnyPlace);
    if misplaced {
        return Ok(Step::Stop(Stop::Bad(format!(
            "it says of itself that it lies at {}",
            record.log_offset()
        ))));
    }
    if check != Check::Place
        && let Err(error) = record.verify_crc()
    {
        return Ok(Step::Stop(Stop::Bad(error.to_string())));
    }
    let next = at.saturating_add(record.total_size() as u64);
    let torn = match check {
        Check::Place | Check::Checksum => false,
        Check::TornEnd => ends_in_zero(&record) && !is_followed(segment, next)?,
        Check::LostSectors => ends_in_zero(&record) || lost_sector(&record, at),
    };
    if torn {
        return Ok(Step::Stop(Stop::Bad("a part of it is missing".to_owned())));
    }
    visit(&record, at)?;
    Ok(Step::Next(next))
}

/// True for the end of a record that was not written: properties are text and end in a separator or a value, and a topic before
/// them, where there are none, is text too.
fn ends_in_zero(record: &RecordRef<'_>) -> bool {
    let properties = !record.properties().as_str().is_empty() && record.bytes().last() == Some(&0);
    properties || record.topic().ends_with('\0')
}

/// True when another record stands at `at`, so that the one before it was written in full.
fn is_followed(segment: &Segment, at: u64) -> io::Result<bool> {
    let mut head = [0; RECORD_PLACE_END];
    let room = segment.end().saturating_sub(at);
    if room < head.len() as u64 {
        return Ok(false);
    }
    segment.read(&mut head, at)?;
    let blank = head.get(4..8) == Some(MAGIC_BLANK.to_be_bytes().as_slice());
    let place = head.last_chunk::<8>().map(|place| u64::from_be_bytes(*place));
    Ok(blank || place == Some(at) && at != 0)
}

/// True when a whole disk sector of topic and properties is zero, which no text is.
fn lost_sector(record: &RecordRef<'_>, at: u64) -> bool {
    let bytes = record.bytes();
    let text = record.topic().len().saturating_add(record.properties().as_str().len()).saturating_add(2);
    let text_start = at.saturating_add(bytes.len().saturating_sub(text) as u64);
    let end = at.saturating_add(bytes.len() as u64);
    let mut sector = text_start.saturating_sub(text_start % SECTOR);
    while sector < end {
        let from = usize::try_from(sector.max(at).saturating_sub(at)).unwrap_or(0);
        let to = usize::try_from(sector.saturating_add(SECTOR).min(end).saturating_sub(at)).unwrap_or(0);
        let part = bytes.get(from..to).unwrap_or_default();
        // An empty property text ends in its two length bytes, which are zero.
        let only_length = record.properties().as_str().is_empty() && part.len() <= 2;
        if !only_length && part.iter().all(|byte| *byte == 0) {
            return true;
        }
        sector = sector.saturating_add(SECTOR);
    }
    false
}
