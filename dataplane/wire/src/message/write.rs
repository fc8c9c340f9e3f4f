//! Writing records.

use std::net::{IpAddr, SocketAddr};

use super::{MAGIC_V1, MAGIC_V2, RecordError, TOPIC_V1_MAX_BYTES, body_crc, sys_flag};
use crate::ids::{EpochMillis, INTERNAL_NAME_MAX_BYTES, LogOffset, QueueId, QueueOffset};
use crate::properties::PROPERTIES_MAX_BYTES;

const QUEUE_OFFSET_AT: usize = 20;
const LOG_OFFSET_AT: usize = 28;
const SYS_FLAG_AT: usize = 36;
const STORE_TIMESTAMP_AT_V4: usize = 56;
const STORE_TIMESTAMP_AT_V6: usize = 68;

/// A message about to become a record.
#[derive(Clone, Copy, Debug)]
pub struct NewRecord<'a> {
    /// At most 255 bytes.
    pub topic: &'a str,
    /// The queue.
    pub queue_id: QueueId,
    /// The user's flag.
    pub flag: i32,
    /// Bits of [`super::sys_flag`]; the address bits are set by the encoder.
    pub sys_flag: i32,
    /// By the producer's clock.
    pub born_timestamp: EpochMillis,
    /// The producer's address.
    pub born_host: SocketAddr,
    /// The broker's address, as clients can reach it.
    pub store_host: SocketAddr,
    /// Retries so far.
    pub reconsume_times: i32,
    /// On a committed message: commit log offset of its half message; otherwise 0.
    pub prepared_transaction_offset: i64,
    /// The body as received.
    pub body: &'a [u8],
    /// The encoded properties, at most 32767 bytes.
    pub properties: &'a str,
}

/// Why a message does not fit a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// Over 255 bytes.
    #[error("topic of {0} bytes is longer than {INTERNAL_NAME_MAX_BYTES}")]
    Topic(usize),
    /// Over 32767 bytes.
    #[error("properties of {0} bytes are longer than {PROPERTIES_MAX_BYTES}")]
    Properties(usize),
    /// The record would be longer than a length field can say.
    #[error("body of {0} bytes is too long")]
    Body(usize),
}

fn put_host(out: &mut Vec<u8>, host: SocketAddr) {
    match host.ip() {
        IpAddr::V4(ip) => out.extend_from_slice(&ip.octets()),
        IpAddr::V6(ip) => out.extend_from_slice(&ip.octets()),
    }
    out.extend_from_slice(&u32::from(host.port()).to_be_bytes());
}

fn host_bytes(host: SocketAddr) -> usize {
    if host.is_ipv6() { 20 } else { 8 }
}

/// Appends one record to `out` and returns its length in bytes. Queue offset, log offset and store timestamp are
/// written as 0; [`stamp`] fills them in. Version 2 is chosen for topics over 127 bytes.
/// On error `out` is as it was.
pub fn encode_record(record: &NewRecord<'_>, out: &mut Vec<u8>) -> Result<u32, EncodeError> {
    let topic_len = u8::try_from(record.topic.len()).map_err(|_| EncodeError::Topic(record.topic.len()))?;
    let properties_len = i16::try_from(record.properties.len());
    let properties_len = properties_len.map_err(|_| EncodeError::Properties(record.properties.len()))?;
    let too_long = EncodeError::Body(record.body.len());
    let body_len = i32::try_from(record.body.len()).map_err(|_| too_long)?;
    let wide_topic = record.topic.len() > TOPIC_V1_MAX_BYTES;
    // 75 fixed bytes, the hosts, and the lengths of the three variable fields.
    let total = [
        if wide_topic { 76usize } else { 75 },
        host_bytes(record.born_host),
        host_bytes(record.store_host),
        record.body.len(),
        record.topic.len(),
        record.properties.len(),
    ]
    .into_iter()
    .fold(0usize, usize::saturating_add);
    let total_size = i32::try_from(total).map_err(|_| too_long)?;

    out.reserve(total);
    out.extend_from_slice(&total_size.to_be_bytes());
    out.extend_from_slice(&if wide_topic { MAGIC_V2 } else { MAGIC_V1 }.to_be_bytes());
    out.extend_from_slice(&body_crc(record.body).to_be_bytes());
    out.extend_from_slice(&record.queue_id.to_wire().to_be_bytes());
    out.extend_from_slice(&record.flag.to_be_bytes());
    out.extend_from_slice(&[0; 16]);
    out.extend_from_slice(&flags_with_hosts(record).to_be_bytes());
    out.extend_from_slice(&record.born_timestamp.0.to_be_bytes());
    put_host(out, record.born_host);
    out.extend_from_slice(&[0; 8]);
    put_host(out, record.store_host);
    out.extend_from_slice(&record.reconsume_times.to_be_bytes());
    out.extend_from_slice(&record.prepared_transaction_offset.to_be_bytes());
    out.extend_from_slice(&body_len.to_be_bytes());
    out.extend_from_slice(record.body);
    if wide_topic {
        out.push(0);
    }
    out.push(topic_len);
    out.extend_from_slice(record.topic.as_bytes());
    out.extend_from_slice(&properties_len.to_be_bytes());
    out.extend_from_slice(record.properties.as_bytes());
    Ok(total_size.unsigned_abs())
}

fn flags_with_hosts(record: &NewRecord<'_>) -> i32 {
    let mut flags = record.sys_flag & !(sys_flag::BORN_HOST_V6 | sys_flag::STORE_HOST_V6);
    if record.born_host.is_ipv6() {
        flags |= sys_flag::BORN_HOST_V6;
    }
    if record.store_host.is_ipv6() {
        flags |= sys_flag::STORE_HOST_V6;
    }
    flags
}

/// Fills in what only the log's writer knows. `record` starts at a record made by [`encode_record`].
pub fn stamp(
    record: &mut [u8],
    queue_offset: QueueOffset,
    log_offset: LogOffset,
    store_timestamp: EpochMillis,
) -> Result<(), RecordError> {
    let available = record.len();
    let truncated = || RecordError::Truncated { needed: STORE_TIMESTAMP_AT_V6.saturating_add(8), available };
    let flags = record.get(SYS_FLAG_AT..).and_then(|rest| rest.first_chunk::<4>()).ok_or_else(truncated)?;
    let born_v6 = i32::from_be_bytes(*flags) & sys_flag::BORN_HOST_V6 != 0;
    let store_timestamp_at = if born_v6 { STORE_TIMESTAMP_AT_V6 } else { STORE_TIMESTAMP_AT_V4 };
    let stamps = [
        (QUEUE_OFFSET_AT, queue_offset.0),
        (LOG_OFFSET_AT, log_offset.to_wire()),
        (store_timestamp_at, store_timestamp.0),
    ];
    for (at, value) in stamps {
        let slot = record.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<8>()).ok_or_else(truncated)?;
        *slot = value.to_be_bytes();
    }
    Ok(())
}
