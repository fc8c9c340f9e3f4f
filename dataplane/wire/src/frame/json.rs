//! The JSON header, read in one pass without building a value: known members go into their fields, `extFields` stays a
//! slice of the frame.

use bytes::{BufMut, Bytes, BytesMut};

use super::escape::push_quoted;
use super::scan::{Scalar, Scanner};
use super::{Command, FrameError, SerializeType};
use crate::ext::Ext;
use crate::language::Language;

/// Reads a header; members may come in any order, unknown ones are passed over.
pub(super) fn decode(header: Bytes, body: Bytes) -> Result<Command, FrameError> {
    let text = std::str::from_utf8(&header).map_err(|_| FrameError::NotUtf8)?;
    let mut scanner = Scanner::new(text);
    let mut command = Command {
        code: 0,
        language: Language::Other,
        version: 0,
        opaque: 0,
        flag: 0,
        remark: None,
        ext: Ext::new(),
        body,
        serialize: SerializeType::Json,
    };
    let mut ext = None;
    let mut has_code = false;
    let mut first = true;
    scanner.open()?;
    while let Some(key) = scanner.next_key(first)? {
        first = false;
        if key.is("extFields") {
            ext = ext_region(&mut scanner)?.or(ext);
        } else if key.is("code") {
            command.code = number(scanner.scalar()?, "code")?.unwrap_or(0);
            has_code = true;
        } else if key.is("opaque") {
            command.opaque = number(scanner.scalar()?, "opaque")?.unwrap_or(0);
        } else if key.is("flag") {
            command.flag = number(scanner.scalar()?, "flag")?.unwrap_or(0);
        } else if key.is("version") {
            command.version = number(scanner.scalar()?, "version")?.unwrap_or(0);
        } else if key.is("language") {
            command.language = language(scanner.scalar()?);
        } else if key.is("remark") {
            command.remark = scanner.scalar()?.text().map(std::borrow::Cow::into_owned);
        } else {
            scanner.skip_value()?;
        }
    }
    scanner.end()?;
    if !has_code {
        return Err(FrameError::Value { field: "code" });
    }
    if let Some((start, end)) = ext {
        command.ext = Ext::from_json(header.slice(start..end));
    }
    Ok(command)
}

/// Checks an object of scalars and says where it is. `null` is no map.
fn ext_region(scanner: &mut Scanner<'_>) -> Result<Option<(usize, usize)>, FrameError> {
    if scanner.peek() != Some(b'{') {
        return match scanner.scalar()? {
            Scalar::Null => Ok(None),
            Scalar::String(_) | Scalar::Bare(_) => Err(FrameError::Value { field: "extFields" }),
        };
    }
    let start = scanner.position();
    scanner.open()?;
    let mut first = true;
    loop {
        if scanner.compact_member(first).is_none() {
            if scanner.next_key(first)?.is_none() {
                break;
            }
            scanner.scalar()?;
        }
        first = false;
    }
    Ok(Some((start, scanner.position())))
}

fn number(value: Scalar<'_>, field: &'static str) -> Result<Option<i32>, FrameError> {
    value.text().map(|text| text.parse()).transpose().map_err(|_| FrameError::Value { field })
}

fn language(value: Scalar<'_>) -> Language {
    match value {
        Scalar::String(raw) => Language::from_name(&raw.unescaped()),
        Scalar::Bare(text) => text.parse().map_or(Language::Other, Language::from_code),
        Scalar::Null => Language::Other,
    }
}

/// Writes a header with its members in the order of the original; all values of `extFields` are strings.
pub(super) fn encode(command: &Command, out: &mut BytesMut) {
    let mut digits = itoa::Buffer::new();
    out.put_slice(b"{\"code\":");
    out.put_slice(digits.format(command.code).as_bytes());
    out.put_slice(b",\"extFields\":");
    match command.ext.built() {
        Some(object) => out.put_slice(object.as_bytes()),
        None => {
            let mut text = String::from("{");
            for (key, value) in &command.ext {
                if text.len() > 1 {
                    text.push(',');
                }
                push_quoted(&mut text, &key);
                text.push(':');
                push_quoted(&mut text, &value);
            }
            out.put_slice(text.as_bytes());
        }
    }
    out.put_slice(b"},\"flag\":");
    out.put_slice(digits.format(command.flag).as_bytes());
    out.put_slice(b",\"language\":\"");
    out.put_slice(command.language.name().as_bytes());
    out.put_slice(b"\",\"opaque\":");
    out.put_slice(digits.format(command.opaque).as_bytes());
    if let Some(remark) = &command.remark {
        out.put_slice(b",\"remark\":");
        let mut text = String::with_capacity(remark.len().saturating_add(2));
        push_quoted(&mut text, remark);
        out.put_slice(text.as_bytes());
    }
    out.put_slice(b",\"serializeTypeCurrentRPC\":\"JSON\",\"version\":");
    out.put_slice(digits.format(command.version).as_bytes());
    out.put_u8(b'}');
}
