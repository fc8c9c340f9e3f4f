//! The header's string map (`extFields`). What was received stays the bytes it arrived in and is walked again by whoever
//! decodes a typed header from it; what is built is the JSON text that will be sent. No map is ever made.
//!
//! Invariants: `Repr::Json` holds an object whose syntax has been checked, with scalar members only. `Repr::Built` is empty,
//! or an object of strings that lacks only its closing brace.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;

use crate::frame::escape::{escape_from, push_quoted};
use crate::frame::scan::Scanner;
use crate::reader::Reader;

/// Room for the entries of an ordinary reply.
const BUILT_BYTES: usize = 224;

/// A header's string map.
#[derive(Clone, Default)]
pub struct Ext(Repr);

#[derive(Clone)]
enum Repr {
    /// A JSON object, braces included.
    Json(Bytes),
    /// Entries of the binary header: key length i16, key, value length i32, value.
    Binary(Bytes),
    /// Entries made here.
    Built(String),
}

impl Default for Repr {
    fn default() -> Self {
        Self::Built(String::new())
    }
}

impl Ext {
    /// An empty map.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    pub(crate) fn from_json(object: Bytes) -> Self {
        Self(Repr::Json(object))
    }

    pub(crate) fn from_binary(entries: Bytes) -> Self {
        Self(Repr::Binary(entries))
    }

    /// Every entry in the order received. Absent (null, or empty in the binary header) values are passed over, numbers
    /// and booleans are yielded as their text. A key may occur twice; the last one counts.
    #[must_use]
    pub fn iter(&self) -> Iter<'_> {
        let object = match &self.0 {
            Repr::Json(bytes) => std::str::from_utf8(bytes).unwrap_or_default(),
            Repr::Binary(bytes) => return Iter(Source::Binary(Reader::new(bytes))),
            Repr::Built(text) => text,
        };
        let mut scanner = Scanner::new(object);
        match scanner.open() {
            Ok(()) => Iter(Source::Json { scanner, first: true }),
            Err(_) => Iter(Source::Binary(Reader::new(&[]))),
        }
    }

    /// The object as it will be sent, without its closing brace, when it was made here.
    pub(crate) fn built(&self) -> Option<&str> {
        match &self.0 {
            Repr::Built(text) if text.is_empty() => Some("{"),
            Repr::Built(text) => Some(text),
            Repr::Json(_) | Repr::Binary(_) => None,
        }
    }

    /// The value of `key`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<Cow<'_, str>> {
        self.iter().filter(|(name, _)| name == key).last().map(|(_, value)| value)
    }

    /// True when there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// Sets `key`, replacing a former value.
    pub fn insert(&mut self, key: &str, value: &str) {
        if self.get(key).is_some() {
            self.remove(key);
        }
        self.append(key, |text| text.push_str(value));
    }

    /// Takes `key` out.
    pub fn remove(&mut self, key: &str) {
        self.0 = Repr::Built(self.written(|name| name != key));
    }

    /// Adds an entry whose key is known not to be present yet; `write` appends the value's text.
    pub fn append(&mut self, key: &str, write: impl FnOnce(&mut String)) {
        if let Repr::Json(_) | Repr::Binary(_) = self.0 {
            self.0 = Repr::Built(self.written(|_| true));
        }
        if let Repr::Built(text) = &mut self.0 {
            push_member(text, key, write);
        }
    }

    /// The entries that `keep` lets through, as they are built here.
    fn written(&self, keep: impl Fn(&str) -> bool) -> String {
        let mut text = String::new();
        for (name, value) in self.iter().filter(|(name, _)| keep(name)) {
            push_member(&mut text, &name, |text| text.push_str(&value));
        }
        text
    }
}

fn push_member(text: &mut String, key: &str, write: impl FnOnce(&mut String)) {
    if text.is_empty() {
        text.reserve(BUILT_BYTES);
        text.push('{');
    } else {
        text.push(',');
    }
    push_quoted(text, key);
    text.push_str(":\"");
    let start = text.len();
    write(text);
    escape_from(text, start);
    text.push('"');
}

/// Iterator over the entries of an [`Ext`].
pub struct Iter<'a>(Source<'a>);

enum Source<'a> {
    Json { scanner: Scanner<'a>, first: bool },
    Binary(Reader<'a>),
}

impl<'a> Iterator for Iter<'a> {
    type Item = (Cow<'a, str>, Cow<'a, str>);

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.0 {
            Source::Json { scanner, first } => loop {
                if let Some((key, value)) = scanner.compact_member(*first) {
                    *first = false;
                    return Some((key.unescaped(), value.unescaped()));
                }
                let key = scanner.next_key(*first).ok()??;
                *first = false;
                if let Some(value) = scanner.scalar().ok()?.text() {
                    return Some((key.unescaped(), value));
                }
            },
            Source::Binary(reader) => loop {
                let key = reader.block16()?;
                let value = reader.block32()?;
                if !key.is_empty() && !value.is_empty() {
                    return Some((String::from_utf8_lossy(key), String::from_utf8_lossy(value)));
                }
            },
        }
    }
}

impl<'a> IntoIterator for &'a Ext {
    type Item = (Cow<'a, str>, Cow<'a, str>);
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

impl<K: AsRef<str>, V: AsRef<str>> FromIterator<(K, V)> for Ext {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let mut ext = Self::new();
        for (key, value) in entries {
            ext.insert(key.as_ref(), value.as_ref());
        }
        ext
    }
}

impl PartialEq for Ext {
    fn eq(&self, other: &Self) -> bool {
        self.iter().collect::<BTreeMap<_, _>>() == other.iter().collect::<BTreeMap<_, _>>()
    }
}

impl Eq for Ext {}

impl fmt::Debug for Ext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn insert_replaces_and_remove_removes() {
        let mut ext = Ext::new();
        ext.insert("a", "1");
        ext.insert("b", "");
        ext.insert("a", "2");
        assert_eq!(ext.get("a").as_deref(), Some("2"));
        assert_eq!(ext.get("b").as_deref(), Some(""));
        assert_eq!(ext.iter().count(), 2);
        ext.remove("a");
        assert_eq!(ext.get("a"), None);
    }

    #[test]
    fn a_received_map_can_be_changed() {
        let mut ext = Ext::from_json(Bytes::from_static(br#"{"q":4,"on":true,"none":null,"t":"a\u0001b"}"#));
        assert_eq!(ext.get("q").as_deref(), Some("4"));
        assert_eq!(ext.get("on").as_deref(), Some("true"));
        assert_eq!(ext.get("none"), None);
        ext.insert("q", "5");
        assert_eq!(ext, [("q", "5"), ("on", "true"), ("t", "a\u{1}b")].into_iter().collect());
    }

    #[test]
    fn the_last_of_two_equal_keys_counts() {
        let ext = Ext::from_json(Bytes::from_static(br#"{"a":"1","a":"2"}"#));
        assert_eq!(ext.get("a").as_deref(), Some("2"));
    }
}
