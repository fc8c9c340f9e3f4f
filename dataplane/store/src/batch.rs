//! What is appended: records encoded by the caller, with what the writer needs to know of each so that it parses
//! nothing.

use std::sync::Arc;

use bolide_wire::{EpochMillis, LogOffset, QueueOffset};
use thiserror::Error;

use crate::Queue;

/// Records back to back, in the order in which they are to be appended.
#[derive(Debug, Default)]
pub struct AppendBatch {
    /// The records, each as `bolide_wire::message::encode_record` makes it.
    pub buf: Vec<u8>,
    /// One entry per record; the lengths add up to `buf.len()`.
    pub entries: Vec<Entry>,
}

/// What the store has to know of one record.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Bytes of the record.
    pub len: u32,
    /// The queue it belongs to.
    pub queue: Arc<Queue>,
    /// Third field of its consume queue unit.
    pub tags: Tags,
    /// Hashes of its index keys.
    pub keys: Keys,
    /// More than 1: this is the first of that many records that must lie in one commit log file. 0 and 1 mean nothing.
    pub group_len: u16,
    /// True: `Observer::apply` is called with it once it is confirmed.
    pub state: bool,
    /// True: a client's message, refused when the disk is nearly full even with `state`.
    pub client: bool,
    /// False: the record takes no queue offset and gets no unit (prepared and rollback records).
    pub consumable: bool,
}

impl Entry {
    /// An ordinary record without tag and keys.
    #[must_use]
    pub fn new(len: u32, queue: Arc<Queue>) -> Self {
        Self {
            len,
            queue,
            tags: Tags::Hash(0),
            keys: Keys::default(),
            group_len: 1,
            state: false,
            client: false,
            consumable: true,
        }
    }
}

/// The tags code of a consume queue unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tags {
    /// This value: the hash of the tag, 0 without one.
    Hash(i64),
    /// Store time plus these milliseconds: the delivery time of a delayed record.
    DeliverAfter(i64),
}

/// Index key hashes of a record; nearly always one or two.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keys {
    len: u8,
    first: [i32; 2],
    more: Vec<i32>,
}

impl Keys {
    /// Adds a key by its [`index_hash`].
    pub fn push(&mut self, hash: i32) {
        match self.first.get_mut(usize::from(self.len)) {
            Some(place) => {
                *place = hash;
                self.len = self.len.saturating_add(1);
            }
            None => self.more.push(hash),
        }
    }

    /// The hashes in the order of `push`.
    pub fn iter(&self) -> impl Iterator<Item = i32> + '_ {
        self.first.iter().take(usize::from(self.len)).chain(&self.more).copied()
    }
}

/// Hash of an index key: the absolute value of Java's `String.hashCode` of `topic#key`, 0 where that has none.
#[must_use]
pub fn index_hash(topic: &str, key: &str) -> i32 {
    let units = topic.encode_utf16().chain("#".encode_utf16()).chain(key.encode_utf16());
    let hash = units.fold(0_i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    hash.checked_abs().unwrap_or(0)
}

/// When an append is reported as done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ack {
    /// Written to the kernel: survives the end of the process.
    Appended,
    /// Forced to disk: survives the end of the machine.
    Flushed,
    /// Visible: written, flushed if the flush mode says so, and held by every replica in sync.
    Confirmed,
}

/// Where a record came to lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// First byte in the commit log.
    pub log_offset: LogOffset,
    /// Offset in its queue; 0 when not consumable.
    pub queue_offset: QueueOffset,
    /// Time stamp written into it.
    pub store_timestamp: EpochMillis,
}

/// Called once, from a thread of the store: with one `Placed` per entry, or with why nothing was acknowledged. Must not block.
pub type Done = Box<dyn FnOnce(Result<Vec<Placed>, AppendError>) + Send>;

/// Why an accepted append was not acknowledged.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum AppendError {
    /// No room for another commit log file; nothing of the batch was written.
    #[error("no disk space for another commit log file")]
    DiskFull,
    /// Another commit log file could not be made for another reason than space; nothing of the batch was written.
    #[error("the next commit log file could not be made")]
    NoSegment,
    /// A write or fsync failed. The records may or may not be found after a restart.
    #[error("the store is poisoned by a failed write or fsync")]
    Poisoned,
    /// The store was closed before the records were written.
    #[error("the store is closed")]
    Closed,
    /// The replica stopped leading before the acknowledgement. The records may or may not stay.
    #[error("this replica is not the master any more")]
    NotMaster,
}

/// An append that was not accepted; nothing happened, everything is handed back.
#[derive(thiserror::Error)]
#[error("append refused: {reason}")]
pub struct Refused {
    /// Why.
    pub reason: Refusal,
    /// The batch, unchanged.
    pub batch: AppendBatch,
    /// The callback, not called.
    pub done: Done,
}

impl std::fmt::Debug for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Refused").field("reason", &self.reason).finish_non_exhaustive()
    }
}

/// Why an append is not accepted.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Refusal {
    /// Too much waits for the writer, the disk or the consume queues.
    #[error("too many appends wait")]
    Busy,
    /// The disk is nearly full. Batches of nothing but state records that are no client's messages are still accepted.
    #[error("the disk is nearly full")]
    DiskFull,
    /// A write or fsync failed earlier.
    #[error("the store is poisoned by a failed write or fsync")]
    Poisoned,
    /// The store is closed or closing.
    #[error("the store is closed")]
    Closed,
    /// This replica does not lead.
    #[error("this replica is not the master")]
    NotMaster,
    /// Entries and bytes do not agree, or a record or group is larger than a commit log file.
    #[error("the batch is malformed or larger than a commit log file")]
    Invalid,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_hash_is_the_absolute_java_hash_of_topic_and_key() {
        // "Ea#" and "FB#" share Java's hash; "polygenelubricants" hashes to i32::MIN.
        assert_eq!(index_hash("Ea", ""), index_hash("FB", ""));
        assert_eq!(index_hash("a", "b"), (97 * 31 + 35) * 31 + 98);
        assert!(index_hash("topic", "0A0B0C") >= 0);
    }

    #[test]
    fn keys_come_back_in_order_beyond_the_inline_room() {
        let mut keys = Keys::default();
        for hash in 1..=5 {
            keys.push(hash);
        }
        assert_eq!(keys.iter().collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    }
}
