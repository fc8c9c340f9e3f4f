//! A forward-only scanner over JSON text that hands out slices instead of building values. It checks the syntax of
//! what it passes over, so a region it has passed once can be walked again without new faults.

use std::borrow::Cow;

/// Deepest nesting passed over in a member nobody asked for.
const MAX_DEPTH: usize = 32;

/// Where the text stopped being the JSON that was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("bad JSON at byte {at}: expected {expected}")]
pub struct SyntaxError {
    /// Byte position in the header.
    pub at: usize,
    /// What should have been there.
    pub expected: &'static str,
}

/// A string as it stands between its quotes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RawString<'a> {
    text: &'a str,
    escaped: bool,
}

impl<'a> RawString<'a> {
    #[inline]
    pub(crate) fn unescaped(self) -> Cow<'a, str> {
        if self.escaped { Cow::Owned(unescape(self.text)) } else { Cow::Borrowed(self.text) }
    }

    #[inline]
    pub(crate) fn is(self, plain: &str) -> bool {
        !self.escaped && self.text == plain
    }
}

/// One value that is not an object or an array.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Scalar<'a> {
    String(RawString<'a>),
    /// A number or a boolean, as its text.
    Bare(&'a str),
    Null,
}

impl<'a> Scalar<'a> {
    pub(crate) fn text(self) -> Option<Cow<'a, str>> {
        match self {
            Self::String(raw) => Some(raw.unescaped()),
            Self::Bare(text) => Some(Cow::Borrowed(text)),
            Self::Null => None,
        }
    }
}

pub(crate) struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    #[inline]
    pub(crate) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    pub(crate) fn position(&self) -> usize {
        self.at
    }

    #[cold]
    pub(crate) fn fail<T>(&self, expected: &'static str) -> Result<T, SyntaxError> {
        Err(SyntaxError { at: self.at, expected })
    }

    #[inline]
    fn rest(&self) -> &'a [u8] {
        self.text.as_bytes().get(self.at..).unwrap_or_default()
    }

    #[inline]
    fn advance(&mut self, bytes: usize) {
        self.at = self.at.saturating_add(bytes);
    }

    #[cold]
    fn skip_space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.rest().first() {
            self.advance(1);
        }
    }

    /// The next byte after white space, not consumed.
    #[inline]
    pub(crate) fn peek(&mut self) -> Option<u8> {
        match self.rest().first() {
            // Peers write compactly, so white space is the rare case.
            Some(byte) if *byte > b' ' => Some(*byte),
            Some(_) => {
                self.skip_space();
                self.rest().first().copied()
            }
            None => None,
        }
    }

    /// Consumes `byte` if it is next.
    #[inline]
    pub(crate) fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        if found {
            self.advance(1);
        }
        found
    }

    /// Starts an object.
    pub(crate) fn open(&mut self) -> Result<(), SyntaxError> {
        if self.eat(b'{') { Ok(()) } else { self.fail("an object") }
    }

    /// The next member's name, or `None` at the end of the object. `first` is true right after `open`.
    #[inline]
    pub(crate) fn next_key(&mut self, first: bool) -> Result<Option<RawString<'a>>, SyntaxError> {
        if !first && self.eat(b',') {
            // The usual case comes first.
        } else if self.eat(b'}') {
            return Ok(None);
        } else if !first {
            return self.fail("a comma or the end of the object");
        }
        let key = self.string()?;
        if self.eat(b':') { Ok(Some(key)) } else { self.fail("a colon") }
    }

    pub(crate) fn end(&mut self) -> Result<(), SyntaxError> {
        if self.peek().is_none() { Ok(()) } else { self.fail("the end of the header") }
    }

    #[inline]
    fn string(&mut self) -> Result<RawString<'a>, SyntaxError> {
        if !self.eat(b'"') {
            return self.fail("a string");
        }
        let inner = self.rest();
        if let Some(len) = find_quote_or_escape(inner)
            && inner.get(len) == Some(&b'"')
        {
            let end = self.at.saturating_add(len);
            let text = self.text.get(self.at..end).unwrap_or_default();
            self.at = end.saturating_add(1);
            return Ok(RawString { text, escaped: false });
        }
        self.escaped_string()
    }

    /// The rest of a string that holds an escape, or does not end.
    fn escaped_string(&mut self) -> Result<RawString<'a>, SyntaxError> {
        let start = self.at;
        loop {
            let Some(stop) = find_quote_or_escape(self.rest()) else {
                return self.fail("the end of a string");
            };
            self.advance(stop);
            let length = match self.rest() {
                [b'"', ..] => {
                    let text = self.text.get(start..self.at).unwrap_or_default();
                    self.advance(1);
                    return Ok(RawString { text, escaped: true });
                }
                [_, b'u', digits @ ..] => match digits.first_chunk::<4>() {
                    Some(digits) if digits.iter().all(u8::is_ascii_hexdigit) => 6,
                    _ => return self.fail("four hexadecimal digits"),
                },
                [_, b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..] => 2,
                _ => return self.fail("an escape"),
            };
            self.advance(length);
        }
    }

    /// The next member of an object of texts, if it is written compactly: no white space, nothing escaped in the key, a
    /// text as value. `None` changes nothing; the member is then read by `next_key` and `scalar`. This is how clients
    /// write their maps, and it saves most of what those two look out for.
    #[inline]
    pub(crate) fn compact_member(&mut self, first: bool) -> Option<(RawString<'a>, RawString<'a>)> {
        let rest = self.rest();
        let member = if first { rest } else { rest.strip_prefix(b",")? };
        let key = member.strip_prefix(b"\"")?;
        let (key_bytes, tail) = key.split_at_checked(find_quote_or_escape(key)?)?;
        let value = tail.strip_prefix(b"\":\"")?;
        let key_at = self.at.saturating_add(rest.len().saturating_sub(key.len()));
        let value_at = self.at.saturating_add(rest.len().saturating_sub(value.len()));
        let value_len = find_quote_or_escape(value)?;
        let key = self.text.get(key_at..key_at.saturating_add(key_bytes.len()))?;
        let key = RawString { text: key, escaped: false };
        if value.get(value_len) == Some(&b'"') {
            let end = value_at.saturating_add(value_len);
            let value = RawString { text: self.text.get(value_at..end)?, escaped: false };
            self.at = end.saturating_add(1);
            return Some((key, value));
        }
        let member_at = self.at;
        self.at = value_at;
        match self.escaped_string() {
            Ok(value) => Some((key, value)),
            Err(_) => {
                self.at = member_at;
                None
            }
        }
    }

    /// A string, number, boolean or null.
    #[inline]
    pub(crate) fn scalar(&mut self) -> Result<Scalar<'a>, SyntaxError> {
        match self.peek() {
            Some(b'"') => self.string().map(Scalar::String),
            Some(b'-' | b'0'..=b'9' | b't' | b'f' | b'n') => self.bare(),
            _ => self.fail("a string, number, boolean or null"),
        }
    }

    fn bare(&mut self) -> Result<Scalar<'a>, SyntaxError> {
        let rest = self.rest();
        let len = rest
            .iter()
            .position(|byte| !matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'+' | b'-' | b'.'))
            .unwrap_or(rest.len());
        let text = self.text.get(self.at..self.at.saturating_add(len)).unwrap_or_default();
        let number = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E'));
        let scalar = match text {
            "null" => Scalar::Null,
            "true" | "false" => Scalar::Bare(text),
            _ if number && text.bytes().any(|byte| byte.is_ascii_digit()) => Scalar::Bare(text),
            _ => return self.fail("a number, boolean or null"),
        };
        self.advance(len);
        Ok(scalar)
    }

    /// Passes over any value.
    pub(crate) fn skip_value(&mut self) -> Result<(), SyntaxError> {
        let mut open: [u8; MAX_DEPTH] = [0; MAX_DEPTH];
        let mut depth = 0usize;
        let mut first = false;
        loop {
            let closer = depth.checked_sub(1).and_then(|top| open.get(top)).copied();
            let close = closer.is_some_and(|closer| self.eat(closer));
            if close {
                depth = depth.saturating_sub(1);
            } else {
                if closer.is_some() && !first && !self.eat(b',') {
                    return self.fail("a comma or the end of the value");
                }
                if closer == Some(b'}') {
                    self.string()?;
                    if !self.eat(b':') {
                        return self.fail("a colon");
                    }
                }
                let opens = match self.peek() {
                    Some(b'{') => Some(b'}'),
                    Some(b'[') => Some(b']'),
                    _ => None,
                };
                if let Some(closer) = opens {
                    let Some(slot) = open.get_mut(depth) else {
                        return self.fail("a less deeply nested value");
                    };
                    *slot = closer;
                    depth = depth.saturating_add(1);
                    self.advance(1);
                    first = true;
                    continue;
                }
                self.scalar()?;
            }
            first = false;
            if depth == 0 {
                return Ok(());
            }
        }
    }
}

/// Where the next quote or backslash is. Eight bytes at a time: the strings of a header are too short for a vector
/// search to pay, and too long for a byte loop.
#[inline]
fn find_quote_or_escape(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    // The high bit of each byte that is zero; bits above the lowest hit may be wrong, and are not looked at.
    let zeros = |word: u64| word.wrapping_sub(ONES) & !word & HIGHS;
    let mut rest = bytes;
    let mut at = 0usize;
    while let Some((chunk, tail)) = rest.split_first_chunk::<8>() {
        let word = u64::from_le_bytes(*chunk);
        let hits = zeros(word ^ ONES.wrapping_mul(0x22)) | zeros(word ^ ONES.wrapping_mul(0x5C));
        if hits != 0 {
            let byte = usize::try_from(hits.trailing_zeros().wrapping_shr(3)).unwrap_or_default();
            return Some(at.saturating_add(byte));
        }
        at = at.saturating_add(8);
        rest = tail;
    }
    rest.iter().position(|byte| matches!(byte, b'"' | b'\\')).map(|byte| at.saturating_add(byte))
}

/// The text of a string whose escapes the scanner has checked. Lone surrogates become U+FFFD, as in Java.
fn unescape(raw: &str) -> String {
    let mut text = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = find_quote_or_escape(rest.as_bytes()) {
        let Some((plain, escape)) = rest.split_at_checked(at) else { break };
        text.push_str(plain);
        rest = unescape_one(escape, &mut text);
    }
    text.push_str(rest);
    text
}

/// Appends what the escape at the front of `escape` stands for, and returns what follows it.
fn unescape_one<'a>(escape: &'a str, text: &mut String) -> &'a str {
    let Some((kind, rest)) = escape.get(1..).and_then(|tail| tail.split_at_checked(1)) else {
        return "";
    };
    match kind {
        "u" => {
            let (unit, after) = code_unit(rest);
            if let Some(character) = char::from_u32(unit) {
                text.push(character);
                return after;
            }
            if let Some((low, after_low)) = after.strip_prefix("\\u").map(code_unit)
                && (0xD800..0xDC00).contains(&unit)
                && (0xDC00..0xE000).contains(&low)
            {
                text.push(pair(unit, low));
                return after_low;
            }
            text.push(char::REPLACEMENT_CHARACTER);
            return after;
        }
        "b" => text.push('\u{8}'),
        "f" => text.push('\u{c}'),
        "n" => text.push('\n'),
        "r" => text.push('\r'),
        "t" => text.push('\t'),
        other => text.push_str(other),
    }
    rest
}

fn code_unit(text: &str) -> (u32, &str) {
    let Some((digits, rest)) = text.split_at_checked(4) else {
        return (u32::from(char::REPLACEMENT_CHARACTER), "");
    };
    let unit = digits
        .chars()
        .fold(0u32, |unit, digit| unit.wrapping_shl(4) | digit.to_digit(16).unwrap_or_default());
    (unit, rest)
}

fn pair(high: u32, low: u32) -> char {
    let offset = (high & 0x3FF).wrapping_shl(10) | (low & 0x3FF);
    char::from_u32(offset.wrapping_add(0x1_0000)).unwrap_or(char::REPLACEMENT_CHARACTER)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn string(text: &str) -> Option<String> {
        let mut scanner = Scanner::new(text);
        scanner.string().ok().map(|raw| raw.unescaped().into_owned())
    }

    #[test]
    fn strings_are_unescaped_as_java_does() {
        assert_eq!(
            string(r#""plain and rather long, past the short loop""#).as_deref(),
            Some("plain and rather long, past the short loop")
        );
        assert_eq!(string(r#""a\u0001b\n\"\\\/\t\u00e9""#).as_deref(), Some("a\u{1}b\n\"\\/\té"));
        assert_eq!(string(r#""\ud83d\ude00""#).as_deref(), Some("😀"));
        assert_eq!(string(r#""\ud83d!""#).as_deref(), Some("\u{fffd}!"));
        assert_eq!(string(r#""\ude00\ud83d\u0041""#).as_deref(), Some("\u{fffd}\u{fffd}A"));
        assert_eq!(string(r#""\u00g1""#), None);
        assert_eq!(string(r#""\x""#), None);
        assert_eq!(string(r#""open"#), None);
    }

    #[test]
    fn any_value_is_skipped_exactly() {
        for text in [r#"{"a":[1,{"b":null}],"c":"]}"}"#, "[]", "{}", "-1.5e3", "true", r#"[[],[{}]]"#] {
            let mut scanner = Scanner::new(text);
            assert_eq!(scanner.skip_value(), Ok(()), "{text}");
            assert_eq!(scanner.end(), Ok(()), "{text}");
        }
        for text in ["[1 2]", "{\"a\" 1}", "[,]", "{1:2}", "nul", "--", "[", &"[".repeat(40)] {
            let mut scanner = Scanner::new(text);
            assert!(scanner.skip_value().and_then(|()| scanner.end()).is_err(), "{text}");
        }
    }
}
