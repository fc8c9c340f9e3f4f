//! Reading records.

use std::net::{IpAddr, SocketAddr};

use super::{MAGIC_BLANK, MAGIC_V1, MAGIC_V2, body_crc, sys_flag};
use crate::ids::{EpochMillis, LogOffset, QueueId, QueueOffset};
use crate::properties::PropertiesRef;
use crate::reader::Reader;

/// Why bytes are not a record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Fewer bytes than the record needs.
    #[error("truncated: {available} bytes where {needed} are needed")]
    Truncated {
        /// Bytes the record says it has.
        needed: usize,
        /// Bytes there are.
        available: usize,
    },
    /// Neither a record nor a filler.
    #[error("unknown magic {0:#010x}")]
    Magic(i32),
    /// The filler at the end of a commit log file.
    #[error("filler of {total} bytes")]
    Blank {
        /// Bytes it covers.
        total: usize,
    },
    /// The fields do not add up to the total size.
    #[error("total size {total} does not match the fields")]
    Inconsistent {
        /// The record's total size in bytes.
        total: usize,
    },
    /// A number that cannot be negative is.
    #[error("bad {field} {value}")]
    Field {
        /// The field.
        field: &'static str,
        /// Its value.
        value: i64,
    },
    /// Topic or properties are not UTF-8.
    #[error("{field} is not UTF-8")]
    NotUtf8 {
        /// The field.
        field: &'static str,
    },
    /// The body does not match its checksum.
    #[error("body checksum {found:#010x} where {expected:#010x} is recorded")]
    Crc {
        /// The checksum in the record.
        expected: i32,
        /// The checksum of the body.
        found: i32,
    },
}

/// A checked view of one record. All lengths add up, topic and properties are UTF-8; the body's checksum is only
/// checked by [`RecordRef::verify_crc`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordRef<'a> {
    bytes: &'a [u8],
    body_crc: i32,
    queue_id: QueueId,
    flag: i32,
    queue_offset: QueueOffset,
    log_offset: LogOffset,
    sys_flag: i32,
    born_timestamp: EpochMillis,
    born_host: SocketAddr,
    store_timestamp: EpochMillis,
    store_host: SocketAddr,
    reconsume_times: i32,
    prepared_transaction_offset: i64,
    body: &'a [u8],
    topic: &'a str,
    properties: &'a str,
}

/// What the first eight bytes say: a record's total size, or why it is none.
fn head(bytes: &[u8]) -> Result<(usize, i32), RecordError> {
    let mut reader = Reader::new(bytes);
    let short = RecordError::Truncated { needed: 8, available: bytes.len() };
    let total = reader.i32().ok_or(short.clone())?;
    let magic = reader.i32().ok_or(short)?;
    let size = usize::try_from(total);
    let size = size.map_err(|_| RecordError::Field { field: "total size", value: i64::from(total) })?;
    match magic {
        MAGIC_V1 | MAGIC_V2 => Ok((size, magic)),
        MAGIC_BLANK => Err(RecordError::Blank { total: size }),
        other => Err(RecordError::Magic(other)),
    }
}

fn host(reader: &mut Reader<'_>, v6: bool) -> Option<(IpAddr, i32)> {
    let ip = if v6 { IpAddr::from(reader.ipv6()?) } else { IpAddr::from(reader.ipv4()?) };
    Some((ip, reader.i32()?))
}

fn socket(host: (IpAddr, i32), field: &'static str) -> Result<SocketAddr, RecordError> {
    let port = u16::try_from(host.1).map_err(|_| RecordError::Field { field, value: i64::from(host.1) })?;
    Ok(SocketAddr::new(host.0, port))
}

fn text<'a>(bytes: &'a [u8], field: &'static str) -> Result<&'a str, RecordError> {
    std::str::from_utf8(bytes).map_err(|_| RecordError::NotUtf8 { field })
}

/// The fields as they stand, before their values are checked.
struct Fields<'a> {
    body_crc: i32,
    queue_id: i32,
    flag: i32,
    queue_offset: i64,
    log_offset: i64,
    sys_flag: i32,
    born_timestamp: i64,
    born_host: (IpAddr, i32),
    store_timestamp: i64,
    store_host: (IpAddr, i32),
    reconsume_times: i32,
    prepared_transaction_offset: i64,
    body: &'a [u8],
    topic: &'a [u8],
    properties: &'a [u8],
}

impl<'a> Fields<'a> {
    fn read(reader: &mut Reader<'a>, magic: i32) -> Option<Self> {
        let body_crc = reader.i32()?;
        let queue_id = reader.i32()?;
        let flag = reader.i32()?;
        let queue_offset = reader.i64()?;
        let log_offset = reader.i64()?;
        let sys_flag = reader.i32()?;
        Some(Self {
            body_crc,
            queue_id,
            flag,
            queue_offset,
            log_offset,
            sys_flag,
            born_timestamp: reader.i64()?,
            born_host: host(reader, sys_flag & sys_flag::BORN_HOST_V6 != 0)?,
            store_timestamp: reader.i64()?,
            store_host: host(reader, sys_flag & sys_flag::STORE_HOST_V6 != 0)?,
            reconsume_times: reader.i32()?,
            prepared_transaction_offset: reader.i64()?,
            body: reader.block32()?,
            topic: if magic == MAGIC_V1 {
                let len = reader.u8()?;
                reader.take(usize::from(len))?
            } else {
                reader.block16()?
            },
            properties: reader.block16()?,
        })
    }
}

impl<'a> RecordRef<'a> {
    /// Checks the record at the front of `bytes`; what follows it is left alone.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, RecordError> {
        let (total, magic) = head(bytes)?;
        let truncated = RecordError::Truncated { needed: total, available: bytes.len() };
        let record = bytes.get(..total).ok_or(truncated)?;
        let mut reader = Reader::new(record.get(8..).unwrap_or_default());
        let fields = Fields::read(&mut reader, magic).filter(|_| reader.is_empty());
        let fields = fields.ok_or(RecordError::Inconsistent { total })?;
        Ok(Self {
            bytes: record,
            body_crc: fields.body_crc,
            queue_id: QueueId::from_wire(fields.queue_id)
                .ok_or(RecordError::Field { field: "queueId", value: i64::from(fields.queue_id) })?,
            flag: fields.flag,
            queue_offset: QueueOffset(fields.queue_offset),
            log_offset: LogOffset::from_wire(fields.log_offset)
                .ok_or(RecordError::Field { field: "physicalOffset", value: fields.log_offset })?,
            sys_flag: fields.sys_flag,
            born_timestamp: EpochMillis(fields.born_timestamp),
            born_host: socket(fields.born_host, "bornHost port")?,
            store_timestamp: EpochMillis(fields.store_timestamp),
            store_host: socket(fields.store_host, "storeHost port")?,
            reconsume_times: fields.reconsume_times,
            prepared_transaction_offset: fields.prepared_transaction_offset,
            body: fields.body,
            topic: text(fields.topic, "topic")?,
            properties: text(fields.properties, "properties")?,
        })
    }

    /// Fails when the body does not match its checksum.
    pub fn verify_crc(&self) -> Result<(), RecordError> {
        let found = body_crc(self.body);
        if found == self.body_crc { Ok(()) } else { Err(RecordError::Crc { expected: self.body_crc, found }) }
    }

    /// The whole record.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Bytes of the whole record.
    #[must_use]
    pub fn total_size(&self) -> usize {
        self.bytes.len()
    }

    /// The recorded checksum of the body.
    #[must_use]
    pub fn body_crc(&self) -> i32 {
        self.body_crc
    }

    /// The queue.
    #[must_use]
    pub fn queue_id(&self) -> QueueId {
        self.queue_id
    }

    /// The user's flag.
    #[must_use]
    pub fn flag(&self) -> i32 {
        self.flag
    }

    /// Position in the queue.
    #[must_use]
    pub fn queue_offset(&self) -> QueueOffset {
        self.queue_offset
    }

    /// The position in the commit log that the record itself states.
    #[must_use]
    pub fn log_offset(&self) -> LogOffset {
        self.log_offset
    }

    /// Bits of [`super::sys_flag`].
    #[must_use]
    pub fn sys_flag(&self) -> i32 {
        self.sys_flag
    }

    /// When the producer made it, by its clock.
    #[must_use]
    pub fn born_timestamp(&self) -> EpochMillis {
        self.born_timestamp
    }

    /// The producer's address.
    #[must_use]
    pub fn born_host(&self) -> SocketAddr {
        self.born_host
    }

    /// When the broker appended it.
    #[must_use]
    pub fn store_timestamp(&self) -> EpochMillis {
        self.store_timestamp
    }

    /// The broker's address.
    #[must_use]
    pub fn store_host(&self) -> SocketAddr {
        self.store_host
    }

    /// Retries so far.
    #[must_use]
    pub fn reconsume_times(&self) -> i32 {
        self.reconsume_times
    }

    /// On a committed message: commit log offset of its half message; otherwise 0.
    #[must_use]
    pub fn prepared_transaction_offset(&self) -> i64 {
        self.prepared_transaction_offset
    }

    /// The body as stored, compressed if the producer compressed it.
    #[must_use]
    pub fn body(&self) -> &'a [u8] {
        self.body
    }

    /// The topic it is stored under.
    #[must_use]
    pub fn topic(&self) -> &'a str {
        self.topic
    }

    /// The properties.
    #[must_use]
    pub fn properties(&self) -> PropertiesRef<'a> {
        PropertiesRef::new(self.properties)
    }

    /// The message id formed by store host and log offset.
    #[must_use]
    pub fn offset_message_id(&self) -> super::OffsetMessageId {
        super::OffsetMessageId { host: self.store_host, offset: self.log_offset }
    }
}

/// Bytes before the host of the producer.
const BEFORE_BORN_HOST: usize = 48;
/// Where the bits of [`super::sys_flag`] are.
const SYS_FLAG_AT: usize = 36;

/// The properties of a record that is known to be whole, without looking at anything else in it: for filters, which look at
/// many records and take few. `None` when the bytes are no record.
#[must_use]
pub fn stored_properties(record: &[u8]) -> Option<PropertiesRef<'_>> {
    let magic = Reader::new(record.get(4..)?).i32()?;
    let flags = Reader::new(record.get(SYS_FLAG_AT..)?).i32()?;
    let host = |v6: i32| if flags & v6 == 0 { 8 } else { 20 };
    let mut reader = Reader::new(record.get(BEFORE_BORN_HOST..)?);
    reader.take(host(sys_flag::BORN_HOST_V6))?;
    reader.i64()?;
    reader.take(host(sys_flag::STORE_HOST_V6))?;
    reader.i32()?;
    reader.i64()?;
    reader.block32()?;
    match magic {
        MAGIC_V1 => {
            let len = reader.u8()?;
            reader.take(usize::from(len))?
        }
        MAGIC_V2 => reader.block16()?,
        _ => return None,
    };
    std::str::from_utf8(reader.block16()?).ok().map(PropertiesRef::new)
}

/// The records of a pull response or of a stretch of log, back to back. Ends after the first error, and at a filler
/// (which is yielded as [`RecordError::Blank`]).
#[must_use]
pub fn records(bytes: &[u8]) -> Records<'_> {
    Records { rest: bytes }
}

/// Iterator made by [`records`].
#[derive(Clone, Debug)]
pub struct Records<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<RecordRef<'a>, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let parsed = RecordRef::parse(self.rest);
        self.rest = match &parsed {
            Ok(record) => self.rest.get(record.total_size()..).unwrap_or_default(),
            Err(_) => &[],
        };
        Some(parsed)
    }
}
