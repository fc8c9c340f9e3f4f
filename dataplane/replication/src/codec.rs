//! The bytes of a message, on a stream (plain or TLS).
//!
//! A frame is its length without these four bytes (u32), the kind (u8), then fields: number (u8), length (u32), value; all numbers
//! big-endian. Fields of unknown number and frames of unknown kind are skipped. The log bytes of a batch are its last field, with a CRC32C
//! over epoch, session, offset and bytes before it.
//!
//! Invariants: no bytes make the decoder panic, or hold more than [`MAX_FRAME_BYTES`].

mod field;

use bolide_wire::LogOffset;
use bytes::{Buf, Bytes, BytesMut};

use field::{Fields, Writer};

use crate::{
    history::{EpochStart, MAX_HELLO_EPOCHS},
    message::{Ack, Batch, Heartbeat, Hello, Message, Session, Standing, TruncateTo, Welcome},
    state::{Epoch, Incarnation, Member, ReplicaName, Seen},
};

/// Largest frame, without its length field.
pub const MAX_FRAME_BYTES: usize = 8 << 20;
/// Longest cluster or group name in a hello.
const MAX_TEXT_BYTES: usize = 1024;

/// Why bytes are not a message. The stream cannot be read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// Longer than a frame may be.
    #[error("a frame of {len} bytes is longer than allowed")]
    TooLong {
        /// Length as given.
        len: u32,
    },
    /// A field is cut off, missing, or not what it should be.
    #[error("message of kind {kind}: field {field} is missing or malformed")]
    Malformed {
        /// Kind of the message.
        kind: u8,
        /// Number of the field; 0 for the frame itself.
        field: u8,
    },
    /// The bytes of a batch do not fit their checksum.
    #[error("the checksum of a batch does not fit")]
    Checksum,
}

mod kind {
    pub(super) const HELLO: u8 = 1;
    pub(super) const WELCOME: u8 = 2;
    pub(super) const TRUNCATE_TO: u8 = 3;
    pub(super) const NEED_SNAPSHOT: u8 = 4;
    pub(super) const BATCH: u8 = 5;
    pub(super) const HEARTBEAT: u8 = 6;
    pub(super) const ACK: u8 = 7;
    pub(super) const LEAD: u8 = 8;
    pub(super) const RESIGN: u8 = 9;
    pub(super) const REFUSE: u8 = 10;
    pub(super) const SHELL: u8 = 11;
}

/// Field numbers; the same number means the same in every kind.
mod number {
    pub(super) const PROTOCOL: u8 = 1;
    pub(super) const CLUSTER: u8 = 2;
    pub(super) const GROUP: u8 = 3;
    pub(super) const SEGMENT_BYTES: u8 = 4;
    pub(super) const NAME: u8 = 5;
    pub(super) const INCARNATION: u8 = 6;
    pub(super) const SEEN: u8 = 7;
    pub(super) const LEADS: u8 = 8;
    pub(super) const LAST_EPOCH: u8 = 9;
    pub(super) const END: u8 = 10;
    pub(super) const SESSION: u8 = 11;
    pub(super) const FOLLOWS: u8 = 12;
    pub(super) const EPOCHS: u8 = 13;
    pub(super) const MIN: u8 = 14;
    pub(super) const EPOCH: u8 = 15;
    pub(super) const OFFSET: u8 = 16;
    pub(super) const CONFIRM: u8 = 17;
    pub(super) const STAMP: u8 = 18;
    pub(super) const ECHO: u8 = 19;
    pub(super) const WRITTEN: u8 = 20;
    pub(super) const FLUSHED: u8 = 21;
    pub(super) const CRC: u8 = 22;
    pub(super) const BYTES: u8 = 23;
}

/// The bytes of a message: the first part made here, the second the log bytes of a batch as they are.
#[must_use]
pub fn encode(message: &Message) -> (Bytes, Bytes) {
    let mut payload = Bytes::new();
    let writer = match message {
        Message::Hello(hello) => {
            let mut out = Writer::new(kind::HELLO);
            out.u64(number::PROTOCOL, u64::from(hello.protocol));
            out.bytes(number::CLUSTER, hello.cluster.as_bytes());
            out.bytes(number::GROUP, hello.group.as_bytes());
            out.u64(number::SEGMENT_BYTES, hello.segment_bytes);
            standing(&mut out, &hello.standing);
            out.u64(number::SESSION, hello.session.0);
            out.u64(number::FOLLOWS, hello.follows.0);
            out.u64(number::MIN, hello.min.0);
            let table: Vec<u8> = hello
                .epochs
                .iter()
                .flat_map(|entry| [entry.epoch.0.to_be_bytes(), entry.start.0.to_be_bytes()])
                .flatten()
                .collect();
            out.bytes(number::EPOCHS, &table);
            out
        }
        Message::Welcome(welcome) => {
            let mut out = Writer::new(kind::WELCOME);
            out.u64(number::PROTOCOL, u64::from(welcome.protocol));
            standing(&mut out, &welcome.standing);
            out
        }
        Message::TruncateTo(truncate) => {
            let mut out = Writer::new(kind::TRUNCATE_TO);
            out.u64(number::EPOCH, truncate.epoch.0);
            out.u64(number::SESSION, truncate.session.0);
            out.u64(number::OFFSET, truncate.offset.0);
            out
        }
        Message::NeedSnapshot { epoch, min } => {
            let mut out = Writer::new(kind::NEED_SNAPSHOT);
            out.u64(number::EPOCH, epoch.0);
            out.u64(number::MIN, min.0);
            out
        }
        Message::Batch(batch) => {
            let mut out = Writer::new(kind::BATCH);
            out.u64(number::EPOCH, batch.epoch.0);
            out.u64(number::SESSION, batch.session.0);
            out.u64(number::OFFSET, batch.offset.0);
            out.u64(number::CONFIRM, batch.confirm.0);
            out.u64(number::CRC, u64::from(checksum(batch)));
            payload = batch.bytes.clone();
            out.head(number::BYTES, payload.len());
            out
        }
        Message::Heartbeat(beat) => {
            let mut out = Writer::new(kind::HEARTBEAT);
            standing(&mut out, &beat.standing);
            out.u64(number::CONFIRM, beat.confirm.0);
            out.u64(number::STAMP, beat.stamp);
            out.u64(number::ECHO, beat.echo);
            out
        }
        Message::Ack(ack) => {
            let mut out = Writer::new(kind::ACK);
            out.u64(number::EPOCH, ack.epoch.0);
            out.u64(number::SESSION, ack.session.0);
            out.u64(number::WRITTEN, ack.written.0);
            out.u64(number::FLUSHED, ack.flushed.0);
            out.u64(number::ECHO, ack.echo);
            out
        }
        Message::Lead { epoch, end } => {
            let mut out = Writer::new(kind::LEAD);
            out.u64(number::EPOCH, epoch.0);
            out.u64(number::END, end.0);
            out
        }
        Message::Resign { epoch } => {
            let mut out = Writer::new(kind::RESIGN);
            out.u64(number::EPOCH, epoch.0);
            out
        }
        Message::Refuse { epoch } => {
            let mut out = Writer::new(kind::REFUSE);
            out.u64(number::EPOCH, epoch.0);
            out
        }
        Message::Shell(bytes) => {
            let mut out = Writer::new(kind::SHELL);
            payload = bytes.clone();
            out.head(number::BYTES, payload.len());
            out
        }
    };
    (writer.finish(payload.len()), payload)
}

fn standing(out: &mut Writer, standing: &Standing) {
    out.bytes(number::NAME, standing.member.name.as_str().as_bytes());
    out.u64(number::INCARNATION, standing.member.incarnation.0);
    if let Some(seen) = standing.seen {
        let bytes: Vec<u8> = [seen.epoch.0.to_be_bytes(), seen.revision.to_be_bytes()].concat();
        out.bytes(number::SEEN, &bytes);
    }
    if let Some(epoch) = standing.leads {
        out.u64(number::LEADS, epoch.0);
    }
    out.u64(number::LAST_EPOCH, standing.last_epoch.0);
    out.u64(number::END, standing.end.0);
}

fn checksum(batch: &Batch) -> u32 {
    let head = [batch.epoch.0, batch.session.0, batch.offset.0].map(u64::to_be_bytes);
    crc32c::crc32c_append(crc32c::crc32c(head.as_flattened()), &batch.bytes)
}

/// Takes one message off the beginning of `buf`; `None` when more bytes are needed. Frames of unknown kind are passed over.
///
/// # Errors
/// The bytes are not a message; the link has to be closed.
pub fn decode(buf: &mut BytesMut) -> Result<Option<Message>, CodecError> {
    loop {
        let Some(head) = buf.first_chunk::<4>() else { return Ok(None) };
        let len = u32::from_be_bytes(*head);
        let bytes = usize::try_from(len).unwrap_or(usize::MAX);
        if bytes > MAX_FRAME_BYTES {
            return Err(CodecError::TooLong { len });
        }
        let whole = bytes.saturating_add(head.len());
        if buf.len() < whole {
            buf.reserve(whole.saturating_sub(buf.len()));
            return Ok(None);
        }
        let mut frame = buf.split_to(whole).freeze();
        frame.advance(4);
        if frame.is_empty() {
            return Err(CodecError::Malformed { kind: 0, field: 0 });
        }
        let kind = frame.get_u8();
        if let Some(message) = parse(kind, Fields::read(kind, frame)?)? {
            return Ok(Some(message));
        }
    }
}

fn parse(kind: u8, fields: Fields) -> Result<Option<Message>, CodecError> {
    let offset = |number: u8| fields.u64(number).map(LogOffset);
    let epoch = || fields.u64(number::EPOCH).map(Epoch);
    let session = || fields.u64(number::SESSION).map(Session);
    let message = match kind {
        kind::HELLO => Message::Hello(Hello {
            protocol: fields.u16(number::PROTOCOL)?,
            cluster: fields.text(number::CLUSTER, MAX_TEXT_BYTES)?,
            group: fields.text(number::GROUP, MAX_TEXT_BYTES)?,
            segment_bytes: fields.u64(number::SEGMENT_BYTES)?,
            standing: parse_standing(&fields)?,
            session: session()?,
            follows: Epoch(fields.u64(number::FOLLOWS)?),
            epochs: parse_epochs(&fields)?,
            min: offset(number::MIN)?,
        }),
        kind::WELCOME => Message::Welcome(Welcome {
            protocol: fields.u16(number::PROTOCOL)?,
            standing: parse_standing(&fields)?,
        }),
        kind::TRUNCATE_TO => Message::TruncateTo(TruncateTo {
            epoch: epoch()?,
            session: session()?,
            offset: offset(number::OFFSET)?,
        }),
        kind::NEED_SNAPSHOT => Message::NeedSnapshot { epoch: epoch()?, min: offset(number::MIN)? },
        kind::BATCH => {
            let batch = Batch {
                epoch: epoch()?,
                session: session()?,
                offset: offset(number::OFFSET)?,
                confirm: offset(number::CONFIRM)?,
                bytes: fields.bytes(number::BYTES)?,
            };
            if fields.u64(number::CRC)? != u64::from(checksum(&batch)) {
                return Err(CodecError::Checksum);
            }
            Message::Batch(batch)
        }
        kind::HEARTBEAT => Message::Heartbeat(Heartbeat {
            standing: parse_standing(&fields)?,
            confirm: offset(number::CONFIRM)?,
            stamp: fields.u64(number::STAMP)?,
            echo: fields.u64(number::ECHO)?,
        }),
        kind::ACK => Message::Ack(Ack {
            epoch: epoch()?,
            session: session()?,
            written: offset(number::WRITTEN)?,
            flushed: offset(number::FLUSHED)?,
            echo: fields.u64(number::ECHO)?,
        }),
        kind::LEAD => Message::Lead { epoch: epoch()?, end: offset(number::END)? },
        kind::RESIGN => Message::Resign { epoch: epoch()? },
        kind::REFUSE => Message::Refuse { epoch: epoch()? },
        kind::SHELL => Message::Shell(fields.bytes(number::BYTES)?),
        _ => return Ok(None),
    };
    Ok(Some(message))
}

fn parse_standing(fields: &Fields) -> Result<Standing, CodecError> {
    let name = fields.text(number::NAME, MAX_TEXT_BYTES)?;
    let name = ReplicaName::new(&name).map_err(|_| fields.malformed(number::NAME))?;
    let seen = match fields.find(number::SEEN) {
        Some(bytes) => {
            let (epoch, revision) = pair(bytes).ok_or_else(|| fields.malformed(number::SEEN))?;
            Some(Seen { epoch: Epoch(epoch), revision })
        }
        None => None,
    };
    let leads = match fields.find(number::LEADS) {
        Some(_) => Some(Epoch(fields.u64(number::LEADS)?)),
        None => None,
    };
    Ok(Standing {
        member: Member::new(name, Incarnation(fields.u64(number::INCARNATION)?)),
        seen,
        leads,
        last_epoch: Epoch(fields.u64(number::LAST_EPOCH)?),
        end: LogOffset(fields.u64(number::END)?),
    })
}

/// A table that does not grow is refused: it would make a wrong fork.
fn parse_epochs(fields: &Fields) -> Result<Vec<EpochStart>, CodecError> {
    let wrong = || fields.malformed(number::EPOCHS);
    let bytes = fields.bytes(number::EPOCHS)?;
    let entries = bytes.chunks(16);
    if entries.len() > MAX_HELLO_EPOCHS {
        return Err(wrong());
    }
    let mut table: Vec<EpochStart> = Vec::with_capacity(entries.len());
    for entry in entries {
        let (epoch, start) = pair(entry).ok_or_else(wrong)?;
        let entry = EpochStart { epoch: Epoch(epoch), start: LogOffset(start) };
        if table.last().is_some_and(|last| last.epoch >= entry.epoch || last.start >= entry.start) {
            return Err(wrong());
        }
        table.push(entry);
    }
    Ok(table)
}

fn pair(bytes: &[u8]) -> Option<(u64, u64)> {
    let (first, second) = bytes.split_first_chunk::<8>()?;
    let second: [u8; 8] = second.try_into().ok()?;
    Some((u64::from_be_bytes(*first), u64::from_be_bytes(second)))
}

#[cfg(test)]
mod tests;
