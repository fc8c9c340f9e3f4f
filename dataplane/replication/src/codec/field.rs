//! Fields of a frame: number, length, value.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::CodecError;

/// Most fields of one frame that are looked at; there are fewer than this many numbers.
const MAX_FIELDS: usize = 64;

/// Writes the frame of one message.
pub(super) struct Writer(BytesMut);

impl Writer {
    pub(super) fn new(kind: u8) -> Self {
        let mut buf = BytesMut::with_capacity(256);
        buf.put_u32(0);
        buf.put_u8(kind);
        Self(buf)
    }

    pub(super) fn u64(&mut self, number: u8, value: u64) {
        self.head(number, 8);
        self.0.put_u64(value);
    }

    pub(super) fn bytes(&mut self, number: u8, value: &[u8]) {
        self.head(number, value.len());
        self.0.put_slice(value);
    }

    /// Number and length of a field whose value follows the frame's first part.
    pub(super) fn head(&mut self, number: u8, len: usize) {
        self.0.put_u8(number);
        self.0.put_u32(u32::try_from(len).unwrap_or(u32::MAX));
    }

    /// The frame, to be followed by this many bytes.
    pub(super) fn finish(mut self, following: usize) -> Bytes {
        let len = self.0.len().saturating_sub(4).saturating_add(following);
        if let Some(head) = self.0.first_chunk_mut::<4>() {
            *head = u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes();
        }
        self.0.freeze()
    }
}

/// The fields of one frame, as slices of it.
pub(super) struct Fields {
    kind: u8,
    found: Vec<(u8, Bytes)>,
}

impl Fields {
    pub(super) fn read(kind: u8, mut frame: Bytes) -> Result<Self, CodecError> {
        let malformed = CodecError::Malformed { kind, field: 0 };
        let mut found = Vec::new();
        while frame.has_remaining() {
            if frame.remaining() < 5 || found.len() >= MAX_FIELDS {
                return Err(malformed);
            }
            let number = frame.get_u8();
            let len = usize::try_from(frame.get_u32()).unwrap_or(usize::MAX);
            if len > frame.remaining() {
                return Err(CodecError::Malformed { kind, field: number });
            }
            found.push((number, frame.split_to(len)));
        }
        Ok(Self { kind, found })
    }

    pub(super) fn malformed(&self, field: u8) -> CodecError {
        CodecError::Malformed { kind: self.kind, field }
    }

    pub(super) fn find(&self, number: u8) -> Option<&Bytes> {
        self.found.iter().find(|(found, _)| *found == number).map(|(_, value)| value)
    }

    pub(super) fn bytes(&self, number: u8) -> Result<Bytes, CodecError> {
        self.find(number).cloned().ok_or_else(|| self.malformed(number))
    }

    pub(super) fn u64(&self, number: u8) -> Result<u64, CodecError> {
        let bytes = self.find(number).map(AsRef::<[u8]>::as_ref);
        let bytes = bytes.and_then(|value| <[u8; 8]>::try_from(value).ok());
        bytes.map(u64::from_be_bytes).ok_or_else(|| self.malformed(number))
    }

    pub(super) fn u16(&self, number: u8) -> Result<u16, CodecError> {
        u16::try_from(self.u64(number)?).map_err(|_| self.malformed(number))
    }

    pub(super) fn text(&self, number: u8, limit: usize) -> Result<String, CodecError> {
        let bytes = self.bytes(number)?;
        let text = std::str::from_utf8(&bytes).ok().filter(|text| text.len() <= limit);
        text.map(str::to_owned).ok_or_else(|| self.malformed(number))
    }
}
