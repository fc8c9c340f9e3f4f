//! The frame: `length i32, serialize type u8, header length u24, header, body`. Owns the split of a byte stream into
//! commands and back.
//!
//! Invariants: nothing is reserved for bytes that have not arrived; a reply is written in the type of its request; what
//! is encoded always carries `extFields`, `flag` and `version`, because clients rely on all three.

mod binary;
pub(crate) mod escape;
mod json;
pub mod scan;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::code::{RequestCode, ResponseCode};
use crate::ext::Ext;
use crate::header::EncodeHeader;
use crate::language::Language;

/// The version this implementation reports: 5.3.3.
pub const VERSION: i32 = 479;
/// The original's limit for a whole frame, in bytes.
pub const DEFAULT_MAX_FRAME: usize = 16_777_216;

const FLAG_RESPONSE: i32 = 1;
const FLAG_ONEWAY: i32 = 2;
const LENGTH_BYTES: usize = 4;
const HEADER_LENGTH_BYTES: usize = 4;
const HEADER_MAX: usize = 0x00FF_FFFF;

/// How the header of a frame is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SerializeType {
    /// 0: a JSON object.
    #[default]
    Json,
    /// 1: the compact binary form.
    Rocketmq,
}

/// Why a frame could not be read or written. After a read error the stream cannot be followed any further.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The frame is longer than allowed.
    #[error("frame of {length} bytes is over the limit of {limit} bytes")]
    TooLarge {
        /// Bytes the frame announces, its length field included.
        length: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// A length that cannot be: negative, or too short for what it must hold.
    #[error("impossible {field} {value}")]
    Length {
        /// Which length.
        field: &'static str,
        /// Its value.
        value: i64,
    },
    /// Neither JSON nor binary.
    #[error("unknown serialize type {0}")]
    SerializeType(u8),
    /// The header is not UTF-8.
    #[error("header is not UTF-8")]
    NotUtf8,
    /// The JSON header is not what it must be.
    #[error("header: {0}")]
    Syntax(#[from] scan::SyntaxError),
    /// A member of the header has a value that does not fit.
    #[error("header: bad value for {field}")]
    Value {
        /// The member.
        field: &'static str,
    },
    /// The binary header ends too early.
    #[error("binary header is truncated")]
    Truncated,
}

/// One request or response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// Request code, or response code when the response bit is set.
    pub code: i32,
    /// The sender's language.
    pub language: Language,
    /// The sender's version (479 is 5.3.3).
    pub version: i32,
    /// Matches a response with its request; each direction of a connection counts for itself.
    pub opaque: i32,
    /// Bit 0: response, bit 1: one-way.
    pub flag: i32,
    /// Text for people, mostly of errors.
    pub remark: Option<String>,
    /// The string map that typed headers are written to and read from.
    pub ext: Ext,
    /// The body, empty when absent.
    pub body: Bytes,
    /// How the header is written.
    pub serialize: SerializeType,
}

impl Command {
    /// A request with opaque 0; the connection it goes out on sets the opaque.
    #[must_use]
    pub fn request(code: RequestCode) -> Self {
        Self {
            code: code.0,
            language: Language::Java,
            version: VERSION,
            opaque: 0,
            flag: 0,
            remark: None,
            ext: Ext::new(),
            body: Bytes::new(),
            serialize: SerializeType::Json,
        }
    }

    /// The frame of a response to this request.
    #[must_use]
    pub fn response(&self, code: ResponseCode) -> Self {
        Self {
            code: code.0,
            language: Language::Java,
            version: VERSION,
            opaque: self.opaque,
            flag: FLAG_RESPONSE,
            remark: None,
            ext: Ext::new(),
            body: Bytes::new(),
            serialize: self.serialize,
        }
    }

    /// The code, read as a request's.
    #[must_use]
    pub fn request_code(&self) -> RequestCode {
        RequestCode(self.code)
    }

    /// The code, read as a response's.
    #[must_use]
    pub fn response_code(&self) -> ResponseCode {
        ResponseCode(self.code)
    }

    /// True when this answers a request.
    #[must_use]
    pub fn is_response(&self) -> bool {
        self.flag & FLAG_RESPONSE != 0
    }

    /// True when no answer must ever be written.
    #[must_use]
    pub fn is_oneway(&self) -> bool {
        self.flag & FLAG_ONEWAY != 0
    }

    /// Marks the request as one-way.
    #[must_use]
    pub fn oneway(mut self) -> Self {
        self.flag |= FLAG_ONEWAY;
        self
    }

    /// Adds the fields of a typed header.
    #[must_use]
    pub fn with_header(mut self, header: &impl EncodeHeader) -> Self {
        header.encode(&mut self.ext);
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn with_body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Sets the remark.
    #[must_use]
    pub fn with_remark(mut self, remark: impl Into<String>) -> Self {
        self.remark = Some(remark.into());
        self
    }

    /// Sets one entry of the string map.
    #[must_use]
    pub fn with_ext(mut self, key: &str, value: &str) -> Self {
        self.ext.insert(key, value);
        self
    }
}

/// Takes one frame off the front of `stream`. `Ok(None)` means that more bytes are needed; `stream` is then unchanged.
/// `max_frame` bounds the whole frame, its length field included, in bytes.
pub fn decode(stream: &mut BytesMut, max_frame: usize) -> Result<Option<Command>, FrameError> {
    let Some(length) = stream.first_chunk::<LENGTH_BYTES>() else {
        return Ok(None);
    };
    let announced = i32::from_be_bytes(*length);
    let content = usize::try_from(announced)
        .ok()
        .filter(|content| *content >= HEADER_LENGTH_BYTES)
        .ok_or(FrameError::Length { field: "frame length", value: i64::from(announced) })?;
    let total = content.saturating_add(LENGTH_BYTES);
    if total > max_frame {
        return Err(FrameError::TooLarge { length: total, limit: max_frame });
    }
    if stream.len() < total {
        return Ok(None);
    }
    let mut frame = stream.split_to(total).freeze();
    frame.advance(LENGTH_BYTES);
    decode_content(frame).map(Some)
}

/// Reads what follows a frame's length field.
fn decode_content(mut frame: Bytes) -> Result<Command, FrameError> {
    let Some(word) = frame.first_chunk::<HEADER_LENGTH_BYTES>() else {
        return Err(FrameError::Truncated);
    };
    let [kind, high, middle, low] = *word;
    let header_len = u32::from_be_bytes([0, high, middle, low]);
    frame.advance(HEADER_LENGTH_BYTES);
    let header_len = usize::try_from(header_len)
        .ok()
        .filter(|len| *len <= frame.len())
        .ok_or(FrameError::Length { field: "header length", value: i64::from(header_len) })?;
    let body = frame.split_off(header_len);
    match kind {
        0 => json::decode(frame, body),
        1 => binary::decode(frame, body),
        other => Err(FrameError::SerializeType(other)),
    }
}

/// Writes a whole frame.
pub fn encode(command: &Command, out: &mut BytesMut) -> Result<(), FrameError> {
    encode_head(command, command.body.len(), out)?;
    out.extend_from_slice(&command.body);
    Ok(())
}

/// Writes everything of a frame but its body, which the caller sends after it as `body_len` bytes of its own.
/// On error `out` is as it was.
pub fn encode_head(command: &Command, body_len: usize, out: &mut BytesMut) -> Result<(), FrameError> {
    let start = out.len();
    out.put_u64(0);
    let header_start = out.len();
    let written = match command.serialize {
        SerializeType::Json => {
            json::encode(command, out);
            Ok(())
        }
        SerializeType::Rocketmq => binary::encode(command, out),
    };
    let header_len = out.len().saturating_sub(header_start);
    let sealed = written.and_then(|()| lengths(command.serialize, header_len, body_len));
    match sealed {
        Ok(prefix) => {
            if let Some(slot) = out.get_mut(start..header_start) {
                slot.copy_from_slice(&prefix);
            }
            Ok(())
        }
        Err(error) => {
            out.truncate(start);
            Err(error)
        }
    }
}

fn lengths(serialize: SerializeType, header_len: usize, body_len: usize) -> Result<[u8; 8], FrameError> {
    let content = HEADER_LENGTH_BYTES.saturating_add(header_len).saturating_add(body_len);
    let header = u32::try_from(header_len)
        .ok()
        .filter(|_| header_len <= HEADER_MAX)
        .ok_or(FrameError::TooLarge { length: header_len, limit: HEADER_MAX })?;
    let length = i32::try_from(content).map_err(|_| FrameError::TooLarge {
        length: content,
        limit: usize::try_from(i32::MAX).unwrap_or(usize::MAX),
    })?;
    let kind = match serialize {
        SerializeType::Json => 0,
        SerializeType::Rocketmq => 1,
    };
    let [a, b, c, d] = length.to_be_bytes();
    let [_, high, middle, low] = header.to_be_bytes();
    Ok([a, b, c, d, kind, high, middle, low])
}

#[cfg(test)]
mod tests;
