//! The offset message id: the broker's address and the commit log offset, in hexadecimal.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use crate::ids::LogOffset;
use crate::reader::Reader;

/// Where a message is: on which broker, at which log offset. Written as 32 (IPv4) or 56 (IPv6) upper-case hexadecimal
/// digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OffsetMessageId {
    /// The broker.
    pub host: SocketAddr,
    /// The commit log offset.
    pub offset: LogOffset,
}

/// A text that is not an offset message id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an offset message id: {0}")]
pub struct IdError(String);

const HEX: &[u8; 16] = b"0123456789ABCDEF";
const MAX_BYTES: usize = 28;

impl OffsetMessageId {
    fn bytes(&self) -> ([u8; MAX_BYTES], usize) {
        let mut bytes = [0u8; MAX_BYTES];
        let port = u32::from(self.host.port()).to_be_bytes();
        let offset = self.offset.0.to_be_bytes();
        let mut len = 0usize;
        let mut put = |part: &[u8]| {
            let end = len.saturating_add(part.len());
            if let Some(slot) = bytes.get_mut(len..end) {
                slot.copy_from_slice(part);
                len = end;
            }
        };
        match self.host.ip() {
            IpAddr::V4(ip) => put(&ip.octets()),
            IpAddr::V6(ip) => put(&ip.octets()),
        }
        put(&port);
        put(&offset);
        (bytes, len)
    }

    fn read(text: &str) -> Option<Self> {
        let mut bytes = [0u8; MAX_BYTES];
        let digits = text.as_bytes();
        if !matches!(digits.len(), 32 | 56) {
            return None;
        }
        for (slot, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            for digit in pair {
                let value = char::from(*digit).to_digit(16)?;
                *slot = slot.wrapping_shl(4) | u8::try_from(value).ok()?;
            }
        }
        let mut reader = Reader::new(&bytes);
        let ip = if digits.len() == 32 { IpAddr::from(reader.ipv4()?) } else { IpAddr::from(reader.ipv6()?) };
        let port = u16::try_from(reader.i32()?).ok()?;
        let offset = LogOffset::from_wire(reader.i64()?)?;
        Some(Self { host: SocketAddr::new(ip, port), offset })
    }
}

impl fmt::Display for OffsetMessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (bytes, len) = self.bytes();
        let mut text = [0u8; MAX_BYTES * 2];
        for (pair, byte) in text.chunks_exact_mut(2).zip(bytes) {
            if let [high, low] = pair {
                *high = HEX.get(usize::from(byte >> 4)).copied().unwrap_or(b'0');
                *low = HEX.get(usize::from(byte & 0xF)).copied().unwrap_or(b'0');
            }
        }
        let digits = text.get(..len.saturating_mul(2)).unwrap_or_default();
        f.write_str(std::str::from_utf8(digits).unwrap_or_default())
    }
}

impl FromStr for OffsetMessageId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        Self::read(text).ok_or_else(|| IdError(text.chars().take(64).collect()))
    }
}
