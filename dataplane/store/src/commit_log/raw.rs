//! Bytes of the log as they go from replica to replica: cut into whole records where they are read, and checked record by
//! record before they are written.

use std::io;

use bolide_wire::message::{BLANK_HEAD_BYTES, RecordError, RecordRef};
use bytes::Bytes;

use crate::{
    RawDone,
    epochs::{self, EpochStart, Found},
    shared::Shared,
};

/// A stretch of the master's log on its way to the writer.
pub(crate) struct Raw {
    pub(crate) at: u64,
    pub(crate) bytes: Bytes,
    pub(crate) done: RawDone,
}

/// What is in a stretch of log that is good.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Checked {
    pub(crate) records: u64,
    /// Epochs that begin in it.
    pub(crate) epochs: Vec<EpochStart>,
}

/// Log offset after the segment that holds `at`.
fn segment_end(at: u64, segment_bytes: u64) -> u64 {
    let within = at.checked_rem(segment_bytes).unwrap_or(0);
    at.saturating_sub(within).saturating_add(segment_bytes)
}

/// Checks that `bytes` are whole records and fillers that lie at `at`, where a segment may end only with a filler or in
/// full. The error is the offset of the first that is not good.
pub(crate) fn check(bytes: &[u8], at: u64, segment_bytes: u64) -> Result<Checked, u64> {
    let mut found = Checked::default();
    let (mut rest, mut at) = (bytes, at);
    while !rest.is_empty() {
        let end = segment_end(at, segment_bytes);
        let len = match RecordRef::parse(rest) {
            Ok(record) if record.log_offset().0 == at && record.verify_crc().is_ok() => {
                match epochs::find(&record) {
                    Found::Other => {}
                    Found::Start(start) => found.epochs.push(start),
                    Found::Unreadable => return Err(at),
                }
                found.records = found.records.saturating_add(1);
                record.total_size()
            }
            Err(RecordError::Blank { total }) if at.checked_add(total as u64) == Some(end) => total,
            _ => return Err(at),
        };
        if at.checked_add(len as u64).is_none_or(|next| next > end) {
            return Err(at);
        }
        rest = rest.get(len..).ok_or(at)?;
        at = at.saturating_add(len as u64);
    }
    Ok(found)
}

/// Bytes at the front of a record's segment that say how long it is.
fn item_len(head: &[u8]) -> Option<usize> {
    usize::try_from(i32::from_be_bytes(*head.first_chunk::<4>()?)).ok().filter(|len| *len >= BLANK_HEAD_BYTES)
}

/// Length of the whole records and fillers at the front of `bytes`.
fn whole_items(bytes: &[u8]) -> usize {
    let mut len = 0_usize;
    while let Some(item) = bytes.get(len..).and_then(item_len) {
        match len.checked_add(item) {
            Some(next) if next <= bytes.len() => len = next,
            _ => break,
        }
    }
    len
}

impl Shared {
    /// See `Store::log_slice`.
    pub(crate) fn log_slice(&self, from: u64, max_bytes: usize) -> io::Result<Bytes> {
        let truncations = self.log.truncations();
        let end = self.log.appended();
        if from == end {
            return Ok(Bytes::new());
        }
        let found = self.log.segments.find(from);
        let Some(segment) = found.filter(|_| from < end) else {
            let kind = if from > end { io::ErrorKind::InvalidInput } else { io::ErrorKind::NotFound };
            return Err(kind.into());
        };
        let available = segment.end().min(end).saturating_sub(from);
        let mut head = [0; 36];
        let head_len = usize::try_from(available).unwrap_or(usize::MAX).min(head.len());
        let head = head.get_mut(..head_len).unwrap_or_default();
        segment.read(head, from)?;
        let first =
            item_len(head).filter(|len| *len as u64 <= available).ok_or(io::ErrorKind::InvalidData)?;
        let own_place = head.last_chunk::<8>().map(|place| u64::from_be_bytes(*place));
        let is_filler =
            from.checked_add(first as u64) == Some(segment.end()) && head.get(4..8) == Some(&BLANK);
        if !is_filler && own_place != Some(from) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let len = usize::try_from(available).unwrap_or(usize::MAX).min(max_bytes.max(first));
        let cut = (len as u64) < available;
        let to = from.saturating_add(len as u64);
        // What is confirmed never changes and can be shown as it lies. What is not is copied: a truncation may overwrite it.
        let mut bytes = if to <= self.log.dispatched() {
            segment.view(from, len)?
        } else {
            let mut copy = vec![0; len];
            segment.read(&mut copy, from)?;
            Bytes::from(copy)
        };
        if cut {
            bytes.truncate(whole_items(&bytes));
        }
        if self.log.truncations() != truncations || self.log.appended() < end {
            return Err(io::ErrorKind::Interrupted.into());
        }
        Ok(bytes)
    }
}

/// Magic of a filler, as it lies in the log.
const BLANK: [u8; 4] = bolide_wire::message::MAGIC_BLANK.to_be_bytes();

#[cfg(test)]
mod tests {
    use super::*;
    use bolide_wire::{
        EpochMillis, LogOffset, QueueId, QueueOffset,
        message::{NewRecord, blank_head, encode_record, stamp},
    };

    const SEGMENT: u64 = 4096;

    fn record(at: u64, body: usize) -> Vec<u8> {
        let record = NewRecord {
            topic: "alpha",
            queue_id: QueueId(0),
            flag: 0,
            sys_flag: 0,
            born_timestamp: EpochMillis(1),
            born_host: ([127, 0, 0, 1], 5000).into(),
            store_host: ([127, 0, 0, 1], 10911).into(),
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body: &vec![7; body],
            properties: "",
        };
        let mut out = Vec::new();
        encode_record(&record, &mut out).expect("small");
        stamp(&mut out, QueueOffset(0), LogOffset(at), EpochMillis(2)).expect("whole");
        out
    }

    fn filler(at: u64) -> Vec<u8> {
        let total = segment_end(at, SEGMENT) - at;
        let mut out = blank_head(total as u32).to_vec();
        out.resize(total as usize, 0);
        out
    }

    #[test]
    fn records_and_fillers_across_segments_are_good() {
        let mut bytes = record(3990, 0);
        let at = 3990 + bytes.len() as u64;
        assert!(at < SEGMENT, "there is room for a filler");
        bytes.extend(filler(at));
        bytes.extend(record(SEGMENT, 100));
        let checked = check(&bytes, 3990, SEGMENT).expect("good");
        assert_eq!(checked.records, 2);
    }

    #[test]
    fn what_is_wrong_is_named_by_its_offset() {
        let first = record(100, 10);
        let second_at = 100 + first.len() as u64;
        let mut bytes = first.clone();
        bytes.extend(record(second_at, 10));
        assert_eq!(check(&bytes, 100, SEGMENT).map(|found| found.records), Ok(2));
        assert_eq!(check(&bytes, 101, SEGMENT), Err(101), "records lie elsewhere");
        for at in [8, 30, first.len() - 20] {
            let mut harmed = bytes.clone();
            harmed[first.len() + at] ^= 0x40;
            assert_eq!(check(&harmed, 100, SEGMENT), Err(second_at), "byte {at}");
        }
        for len in first.len() + 1..bytes.len() {
            assert_eq!(check(&bytes[..len], 100, SEGMENT), Err(second_at), "cut at {len}");
        }
        assert_eq!(check(&[0; 64], 100, SEGMENT), Err(100), "zeros");
    }

    #[test]
    fn nothing_crosses_the_end_of_a_segment() {
        let at = SEGMENT - 50;
        assert_eq!(check(&record(at, 10), at, SEGMENT), Err(at));
        let mut short = filler(at);
        short[3] -= 1;
        short.pop();
        assert_eq!(check(&short, at, SEGMENT), Err(at));
        assert_eq!(check(&filler(at)[..20], at, SEGMENT), Err(at), "a filler that is not whole");
    }

    #[test]
    fn only_whole_items_are_handed_out() {
        let first = record(0, 10);
        let mut bytes = first.clone();
        bytes.extend(record(first.len() as u64, 10));
        assert_eq!(whole_items(&bytes), bytes.len());
        assert_eq!(whole_items(&bytes[..bytes.len() - 1]), first.len());
        assert_eq!(whole_items(&bytes[..3]), 0);
        assert_eq!(whole_items(&[0; 100]), 0, "zeros do not go on forever");
    }
}
