//! The message record: the same bytes in the commit log, in pull responses and in transaction checks.
//!
//! Owns the record's layout (both versions, IPv4 and IPv6 hosts), the batch body of SEND_BATCH_MESSAGE and the offset
//! message id. A record is encoded once, by whoever receives the message, and stamped once, by the log's writer.

pub mod batch;
pub mod id;
pub mod record;
pub mod sys_flag;
mod write;

pub use batch::{BatchMessage, BatchMessages, encode_batch};
pub use id::OffsetMessageId;
pub use record::{RecordError, RecordRef, Records, records, stored_properties};
pub use write::{EncodeError, NewRecord, encode_record, stamp};

/// Magic of a record whose topic length is one byte.
pub const MAGIC_V1: i32 = -626_843_481;
/// Magic of a record whose topic length is two bytes, for topics over 127 bytes.
pub const MAGIC_V2: i32 = -626_843_477;
/// Magic of the filler at the end of a commit log file.
pub const MAGIC_BLANK: i32 = -875_286_124;
/// Bytes written of a filler: total size and magic.
pub const BLANK_HEAD_BYTES: usize = 8;

/// Longest topic of a version 1 record, in bytes: its length is read as a signed byte.
pub const TOPIC_V1_MAX_BYTES: usize = 127;

/// The head of a filler that covers `total` bytes.
#[must_use]
pub fn blank_head(total: u32) -> [u8; BLANK_HEAD_BYTES] {
    let [a, b, c, d] = total.to_be_bytes();
    let [e, f, g, h] = MAGIC_BLANK.to_be_bytes();
    [a, b, c, d, e, f, g, h]
}

/// The checksum of a body as records hold it: CRC32 (IEEE) without its top bit.
#[must_use]
pub fn body_crc(body: &[u8]) -> i32 {
    let crc = crc32fast::hash(body) & 0x7FFF_FFFF;
    i32::try_from(crc).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests;
