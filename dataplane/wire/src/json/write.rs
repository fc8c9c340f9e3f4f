//! Writes bodies in the dialect, on top of `serde_json`: a formatter decides what quotes a map key gets.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::{CharEscape, Formatter, Serializer};

/// How integer keys of maps are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IntegerKeys {
    /// `{"0":..}`, which is JSON.
    Quoted,
    /// `{0:..}`, which is what the original writes.
    Unquoted,
}

/// Writes `value` compactly.
pub fn to_vec<T: Serialize + ?Sized>(
    value: &T,
    integer_keys: IntegerKeys,
) -> Result<Vec<u8>, serde_json::Error> {
    let mut out = Vec::with_capacity(256);
    let dialect = Dialect { integer_keys, key: Key::None };
    value.serialize(&mut Serializer::with_formatter(&mut out, dialect))?;
    Ok(out)
}

/// Where the writer stands with respect to a map key.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Key {
    None,
    /// Began; whether it gets a quote is not known yet.
    Started,
    /// A string: has its opening quote.
    Quoted,
    /// An integer without quotes, or an object.
    Raw,
}

struct Dialect {
    integer_keys: IntegerKeys,
    key: Key,
}

impl Dialect {
    /// Called before anything of a key is written.
    fn settle<W: ?Sized + Write>(&mut self, writer: &mut W, as_integer: bool) -> io::Result<()> {
        if self.key != Key::Started {
            return Ok(());
        }
        if as_integer && self.integer_keys == IntegerKeys::Unquoted {
            self.key = Key::Raw;
            return Ok(());
        }
        self.key = Key::Quoted;
        writer.write_all(b"\"")
    }
}

macro_rules! integer {
    ($name:ident, $type:ty) => {
        fn $name<W: ?Sized + Write>(&mut self, writer: &mut W, value: $type) -> io::Result<()> {
            self.settle(writer, true)?;
            writer.write_all(itoa::Buffer::new().format(value).as_bytes())
        }
    };
}

impl Formatter for Dialect {
    integer!(write_i8, i8);
    integer!(write_i16, i16);
    integer!(write_i32, i32);
    integer!(write_i64, i64);
    integer!(write_u8, u8);
    integer!(write_u16, u16);
    integer!(write_u32, u32);
    integer!(write_u64, u64);

    fn begin_object_key<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.key = Key::Started;
        if first { Ok(()) } else { writer.write_all(b",") }
    }

    fn end_object_key<W: ?Sized + Write>(&mut self, _writer: &mut W) -> io::Result<()> {
        self.key = Key::None;
        Ok(())
    }

    fn begin_string<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        if self.key == Key::Started { Ok(()) } else { writer.write_all(b"\"") }
    }

    fn end_string<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.settle(writer, false)?;
        if self.key == Key::Raw { Ok(()) } else { writer.write_all(b"\"") }
    }

    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        if fragment.is_empty() {
            return Ok(());
        }
        self.settle(writer, false)?;
        writer.write_all(fragment.as_bytes())
    }

    fn write_char_escape<W: ?Sized + Write>(&mut self, writer: &mut W, escape: CharEscape) -> io::Result<()> {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        if self.key == Key::Started && matches!(escape, CharEscape::AsciiControl(1)) {
            // The mark of an object key: what follows is JSON already.
            self.key = Key::Raw;
            return Ok(());
        }
        self.settle(writer, false)?;
        let raw = self.key == Key::Raw;
        match escape {
            CharEscape::Quote if raw => writer.write_all(b"\""),
            CharEscape::ReverseSolidus if raw => writer.write_all(b"\\"),
            CharEscape::Quote => writer.write_all(b"\\\""),
            CharEscape::ReverseSolidus => writer.write_all(b"\\\\"),
            CharEscape::Solidus => writer.write_all(b"\\/"),
            CharEscape::Backspace => writer.write_all(b"\\b"),
            CharEscape::FormFeed => writer.write_all(b"\\f"),
            CharEscape::LineFeed => writer.write_all(b"\\n"),
            CharEscape::CarriageReturn => writer.write_all(b"\\r"),
            CharEscape::Tab => writer.write_all(b"\\t"),
            CharEscape::AsciiControl(byte) => {
                let digit = |nibble: u8| HEX.get(usize::from(nibble & 0xF)).copied().unwrap_or(b'0');
                writer.write_all(&[b'\\', b'u', b'0', b'0', digit(byte >> 4), digit(byte)])
            }
        }
    }
}
