//! The binary header: fixed integers, remark, and the entries of the string map, which stay a slice of the frame.

use bytes::{BufMut, Bytes, BytesMut};

use super::{Command, FrameError, SerializeType};
use crate::code::RequestCode;
use crate::ext::Ext;
use crate::language::Language;
use crate::reader::Reader;

pub(super) fn decode(header: Bytes, body: Bytes) -> Result<Command, FrameError> {
    let mut reader = Reader::new(&header);
    let command = read_fixed(&mut reader, body).ok_or(FrameError::Truncated)?;
    let remark = reader.block32().ok_or(FrameError::Truncated)?;
    let remark = std::str::from_utf8(remark).map_err(|_| FrameError::NotUtf8)?;
    // A header may end here when there is no entry.
    let entries = if reader.is_empty() { &[][..] } else { reader.block32().ok_or(FrameError::Truncated)? };
    check_entries(entries)?;
    let code = if command.is_response() { command.code } else { RequestCode(command.code).widened().0 };
    Ok(Command {
        code,
        remark: (!remark.is_empty()).then(|| remark.to_owned()),
        ext: Ext::from_binary(header.slice_ref(entries)),
        ..command
    })
}

fn read_fixed(reader: &mut Reader<'_>, body: Bytes) -> Option<Command> {
    Some(Command {
        code: i32::from(reader.i16()?),
        language: Language::from_code(reader.u8()?),
        version: i32::from(reader.i16()?),
        opaque: reader.i32()?,
        flag: reader.i32()?,
        remark: None,
        ext: Ext::new(),
        body,
        serialize: SerializeType::Rocketmq,
    })
}

fn check_entries(entries: &[u8]) -> Result<(), FrameError> {
    let mut reader = Reader::new(entries);
    while !reader.is_empty() {
        let key = reader.block16().ok_or(FrameError::Truncated)?;
        let value = reader.block32().ok_or(FrameError::Truncated)?;
        if std::str::from_utf8(key).is_err() || std::str::from_utf8(value).is_err() {
            return Err(FrameError::NotUtf8);
        }
    }
    Ok(())
}

/// Writes a header. The 16 bits for the code hold every response code; longer request codes lose their upper half, as
/// they do in the original.
pub(super) fn encode(command: &Command, out: &mut BytesMut) -> Result<(), FrameError> {
    let [_, _, high, low] = command.code.to_be_bytes();
    out.put_slice(&[high, low]);
    out.put_u8(command.language.code());
    out.put_i16(i16::try_from(command.version).unwrap_or(i16::MAX));
    out.put_i32(command.opaque);
    out.put_i32(command.flag);
    put_block32(out, command.remark.as_deref().unwrap_or_default())?;
    let mark = out.len();
    out.put_i32(0);
    let start = out.len();
    for (key, value) in &command.ext {
        out.put_i16(i16::try_from(key.len()).map_err(|_| FrameError::Value { field: "extFields" })?);
        out.put_slice(key.as_bytes());
        put_block32(out, &value)?;
    }
    let length = i32::try_from(out.len().saturating_sub(start))
        .map_err(|_| FrameError::Value { field: "extFields" })?;
    if let Some(slot) = out.get_mut(mark..start) {
        slot.copy_from_slice(&length.to_be_bytes());
    }
    Ok(())
}

fn put_block32(out: &mut BytesMut, text: &str) -> Result<(), FrameError> {
    let length = i32::try_from(text.len()).map_err(|_| FrameError::Value { field: "header text" })?;
    out.put_i32(length);
    out.put_slice(text.as_bytes());
    Ok(())
}
