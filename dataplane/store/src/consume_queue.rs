//! Consume queues: for every queue of a topic, where its records lie in the commit log, one unit of 20 bytes per record.
//!
//! New units live in memory (`queue.rs`) and reach the files (`files.rs`) at checkpoints; a queue that receives nothing
//! holds neither memory for units nor a file handle. `table.rs` knows all queues.
//!
//! Invariants of a queue: `min <= written <= max <= next`; units `written..max` are in memory, units `min..written` in
//! the files; the unit at queue offset `q` lies at byte `q * 20` of the queue's files.

mod files;
mod queue;
mod table;

use bolide_wire::{LogOffset, QueueOffset};

pub(crate) use files::QueueFiles;
pub use queue::Queue;
pub(crate) use table::{QueueState, Queues, Replayed};

/// Bytes of a unit.
pub(crate) const UNIT_BYTES: usize = 20;
/// Size field of the units that fill a file before a queue's first record.
const FILLER_SIZE: i32 = i32::MAX;

/// A unit as it lies in the file.
pub(crate) type RawUnit = [u8; UNIT_BYTES];

/// Where one record of a queue lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unit {
    /// First byte of the record in the commit log.
    pub log_offset: LogOffset,
    /// Bytes of the record.
    pub size: u32,
    /// Hash of its tag; for delayed records the delivery time in ms.
    pub tags_code: i64,
    /// Its offset in the queue. Not part of the stored unit; given by the unit's place.
    pub queue_offset: QueueOffset,
}

impl Unit {
    pub(crate) fn encode(&self) -> RawUnit {
        let mut raw = [0; UNIT_BYTES];
        let (offset, rest) = raw.split_at_mut(8);
        let (size, tags) = rest.split_at_mut(4);
        offset.copy_from_slice(&self.log_offset.0.to_be_bytes());
        size.copy_from_slice(&self.size.to_be_bytes());
        tags.copy_from_slice(&self.tags_code.to_be_bytes());
        raw
    }

    /// The unit of these bytes; `None` for filler, for unwritten space and for what cannot be a unit.
    pub(crate) fn decode(raw: &RawUnit, queue_offset: i64) -> Option<Self> {
        let (offset, rest) = raw.split_first_chunk::<8>()?;
        let (size, rest) = rest.split_first_chunk::<4>()?;
        let tags = rest.first_chunk::<8>()?;
        let offset = u64::try_from(i64::from_be_bytes(*offset)).ok()?;
        let size = i32::from_be_bytes(*size);
        if size <= 0 || (size == FILLER_SIZE && offset == 0) {
            return None;
        }
        Some(Self {
            log_offset: LogOffset(offset),
            size: u32::try_from(size).ok()?,
            tags_code: i64::from_be_bytes(*tags),
            queue_offset: QueueOffset(queue_offset),
        })
    }
}

/// The unit that fills a file up to the first record of its queue.
pub(crate) fn filler() -> RawUnit {
    let mut raw = [0; UNIT_BYTES];
    if let Some(size) = raw.get_mut(8..12) {
        size.copy_from_slice(&FILLER_SIZE.to_be_bytes());
    }
    raw
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_has_the_bytes_of_the_original() {
        let unit = Unit {
            log_offset: LogOffset(0x0102_0304_0506_0708),
            size: 0x0A0B,
            tags_code: -2,
            queue_offset: QueueOffset(7),
        };
        let raw = unit.encode();
        assert_eq!(
            raw,
            [1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0x0A, 0x0B, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFE]
        );
        assert_eq!(Unit::decode(&raw, 7), Some(unit));
    }

    #[test]
    fn filler_and_empty_space_are_no_units() {
        assert_eq!(filler(), [0, 0, 0, 0, 0, 0, 0, 0, 0x7F, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(Unit::decode(&filler(), 0), None);
        assert_eq!(Unit::decode(&[0; UNIT_BYTES], 0), None);
        assert_eq!(Unit::decode(&[0xFF; UNIT_BYTES], 0), None);
    }
}
