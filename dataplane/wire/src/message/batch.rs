//! The body of SEND_BATCH_MESSAGE: messages back to back, each with its own flag, body and properties.

use super::RecordError;
use crate::properties::PropertiesRef;
use crate::reader::Reader;

/// Bytes of an entry beside its body and properties.
const FIXED_BYTES: usize = 22;

/// One message of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchMessage<'a> {
    /// The user's flag.
    pub flag: i32,
    /// The body.
    pub body: &'a [u8],
    /// The encoded properties.
    pub properties: &'a str,
}

impl<'a> BatchMessage<'a> {
    /// The properties as a view.
    #[must_use]
    pub fn properties(&self) -> PropertiesRef<'a> {
        PropertiesRef::new(self.properties)
    }
}

/// Iterator over the messages of a batch body; ends after the first error.
#[derive(Clone, Debug)]
pub struct BatchMessages<'a> {
    rest: &'a [u8],
}

impl<'a> BatchMessages<'a> {
    /// Walks `body`.
    #[must_use]
    pub fn new(body: &'a [u8]) -> Self {
        Self { rest: body }
    }

    fn entry(&self) -> Result<(BatchMessage<'a>, &'a [u8]), RecordError> {
        let available = self.rest.len();
        let size = Reader::new(self.rest).i32().ok_or(RecordError::Truncated { needed: 4, available })?;
        let size = usize::try_from(size)
            .map_err(|_| RecordError::Field { field: "batch entry size", value: i64::from(size) })?;
        let (entry, rest) =
            self.rest.split_at_checked(size).ok_or(RecordError::Truncated { needed: size, available })?;
        let mut reader = Reader::new(entry);
        let message = read_entry(&mut reader).filter(|_| reader.is_empty());
        let (flag, body, properties) = message.ok_or(RecordError::Inconsistent { total: size })?;
        let properties =
            std::str::from_utf8(properties).map_err(|_| RecordError::NotUtf8 { field: "properties" })?;
        Ok((BatchMessage { flag, body, properties }, rest))
    }
}

fn read_entry<'a>(reader: &mut Reader<'a>) -> Option<(i32, &'a [u8], &'a [u8])> {
    // Size, magic and checksum: clients leave the latter two 0.
    reader.take(12)?;
    Some((reader.i32()?, reader.block32()?, reader.block16()?))
}

impl<'a> Iterator for BatchMessages<'a> {
    type Item = Result<BatchMessage<'a>, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        match self.entry() {
            Ok((message, rest)) => {
                self.rest = rest;
                Some(Ok(message))
            }
            Err(error) => {
                self.rest = &[];
                Some(Err(error))
            }
        }
    }
}

/// Writes a batch body. Fails when a body or a property string does not fit its length field.
pub fn encode_batch(messages: &[BatchMessage<'_>]) -> Result<Vec<u8>, super::EncodeError> {
    let mut out = Vec::new();
    for message in messages {
        let properties_len = i16::try_from(message.properties.len())
            .map_err(|_| super::EncodeError::Properties(message.properties.len()))?;
        let too_long = super::EncodeError::Body(message.body.len());
        let body_len = i32::try_from(message.body.len()).map_err(|_| too_long)?;
        let size = FIXED_BYTES.saturating_add(message.body.len()).saturating_add(message.properties.len());
        let size = i32::try_from(size).map_err(|_| too_long)?;
        out.extend_from_slice(&size.to_be_bytes());
        out.extend_from_slice(&[0; 8]);
        out.extend_from_slice(&message.flag.to_be_bytes());
        out.extend_from_slice(&body_len.to_be_bytes());
        out.extend_from_slice(message.body);
        out.extend_from_slice(&properties_len.to_be_bytes());
        out.extend_from_slice(message.properties.as_bytes());
    }
    Ok(out)
}
