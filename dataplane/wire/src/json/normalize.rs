//! Rewrites the dialect to strict JSON, in one pass and without recursion.
//!
//! * `{0:x}` becomes `{"0":x}`;
//! * `{{"a":1}:x}` becomes `{"\u0001{\"a\":1}":x}`;
//! * members whose value is null are dropped, so that they take their default.
//!
//! The output is at most a small multiple of the input: object keys do not nest.

use super::OBJECT_KEY_MARK;

/// Deepest nesting that is read.
const MAX_DEPTH: usize = 64;

/// Where a body stopped being readable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("bad JSON at byte {at}: expected {expected}")]
pub struct NormalizeError {
    /// Byte position in the body.
    pub at: usize,
    /// What should have been there.
    pub expected: &'static str,
}

/// What is open around the current position.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Open {
    /// `empty`: no member has been kept yet.
    Object {
        empty: bool,
    },
    Array {
        empty: bool,
    },
}

struct Normalizer<'a> {
    input: &'a [u8],
    at: usize,
    out: Vec<u8>,
    open: Vec<Open>,
}

/// Rewrites `body` to strict JSON. What is already strict comes out the same, apart from white space and nulls.
pub fn normalize(body: &[u8]) -> Result<Vec<u8>, NormalizeError> {
    let mut normalizer =
        Normalizer { input: body, at: 0, out: Vec::with_capacity(body.len()), open: Vec::new() };
    normalizer.document()?;
    Ok(normalizer.out)
}

impl<'a> Normalizer<'a> {
    fn fail<T>(&self, expected: &'static str) -> Result<T, NormalizeError> {
        Err(NormalizeError { at: self.at, expected })
    }

    fn peek(&mut self) -> Option<u8> {
        loop {
            let byte = self.input.get(self.at).copied()?;
            if !byte.is_ascii_whitespace() {
                return Some(byte);
            }
            self.at = self.at.saturating_add(1);
        }
    }

    fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        if found {
            self.at = self.at.saturating_add(1);
        }
        found
    }

    fn document(&mut self) -> Result<(), NormalizeError> {
        self.value()?;
        while let Some(open) = self.open.last().copied() {
            match open {
                Open::Object { empty } => self.member(empty)?,
                Open::Array { empty } => self.element(empty)?,
            }
        }
        if self.peek().is_none() { Ok(()) } else { self.fail("the end of the body") }
    }

    fn close(&mut self, bracket: u8) {
        self.open.pop();
        self.out.push(bracket);
    }

    fn filled(&mut self, now: Open) {
        if let Some(top) = self.open.last_mut() {
            *top = now;
        }
    }

    fn member(&mut self, empty: bool) -> Result<(), NormalizeError> {
        if self.eat(b'}') {
            self.close(b'}');
            return Ok(());
        }
        // When all members so far were dropped, a comma may or may not come first.
        let separated = self.eat(b',');
        if !empty && !separated {
            return self.fail("a comma or the end of the object");
        }
        if self.eat(b'}') {
            self.close(b'}');
            return Ok(());
        }
        let mark = self.out.len();
        if !empty {
            self.out.push(b',');
        }
        self.key()?;
        if !self.eat(b':') {
            return self.fail("a colon");
        }
        self.out.push(b':');
        self.peek();
        if self.null() {
            self.out.truncate(mark);
            return Ok(());
        }
        self.filled(Open::Object { empty: false });
        self.value()
    }

    /// Consumes a `null`.
    fn null(&mut self) -> bool {
        let rest = self.input.get(self.at..).unwrap_or_default();
        let ends = rest.get(4).is_none_or(|byte| !byte.is_ascii_alphanumeric());
        let found = rest.starts_with(b"null") && ends;
        if found {
            self.at = self.at.saturating_add(4);
        }
        found
    }

    fn element(&mut self, empty: bool) -> Result<(), NormalizeError> {
        if self.eat(b']') {
            self.close(b']');
            return Ok(());
        }
        if !empty {
            if !self.eat(b',') {
                return self.fail("a comma or the end of the array");
            }
            self.out.push(b',');
        }
        self.filled(Open::Array { empty: false });
        self.value()
    }

    fn value(&mut self) -> Result<(), NormalizeError> {
        match self.peek() {
            Some(b'{') => self.open(b'{', Open::Object { empty: true }),
            Some(b'[') => self.open(b'[', Open::Array { empty: true }),
            Some(b'"') => {
                let string = self.string()?;
                self.out.extend_from_slice(string);
                Ok(())
            }
            Some(_) => {
                let bare = self.bare()?;
                self.out.extend_from_slice(bare);
                Ok(())
            }
            None => self.fail("a value"),
        }
    }

    fn open(&mut self, bracket: u8, open: Open) -> Result<(), NormalizeError> {
        if self.open.len() >= MAX_DEPTH {
            return self.fail("a less deeply nested value");
        }
        self.at = self.at.saturating_add(1);
        self.out.push(bracket);
        self.open.push(open);
        Ok(())
    }

    /// A string with its quotes and escapes.
    fn string(&mut self) -> Result<&'a [u8], NormalizeError> {
        let start = self.at;
        let mut at = self.at.saturating_add(1);
        loop {
            match self.input.get(at) {
                Some(b'"') => break,
                Some(b'\\') => at = at.saturating_add(2),
                Some(_) => at = at.saturating_add(1),
                None => return self.fail("the end of a string"),
            }
        }
        self.at = at.saturating_add(1);
        Ok(self.input.get(start..self.at).unwrap_or_default())
    }

    fn bare(&mut self) -> Result<&'a [u8], NormalizeError> {
        let rest = self.input.get(self.at..).unwrap_or_default();
        let len = rest
            .iter()
            .position(|byte| !(byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.' | b'_')))
            .unwrap_or(rest.len());
        if len == 0 {
            return self.fail("a value");
        }
        self.at = self.at.saturating_add(len);
        Ok(rest.get(..len).unwrap_or_default())
    }

    fn key(&mut self) -> Result<(), NormalizeError> {
        match self.peek() {
            Some(b'"') => {
                let string = self.string()?;
                self.out.extend_from_slice(string);
                Ok(())
            }
            Some(b'{') => self.object_key(),
            _ => {
                let bare = self.bare()?;
                self.out.push(b'"');
                self.out.extend_from_slice(bare);
                self.out.push(b'"');
                Ok(())
            }
        }
    }

    /// An object in the place of a key: flat, since the only ones that exist are message queues.
    fn object_key(&mut self) -> Result<(), NormalizeError> {
        let start = self.at;
        self.at = self.at.saturating_add(1);
        loop {
            match self.peek() {
                Some(b'}') => break,
                Some(b'"') => {
                    self.string()?;
                }
                Some(b'{' | b'[') => return self.fail("a flat object as key"),
                Some(_) => self.at = self.at.saturating_add(1),
                None => return self.fail("the end of an object key"),
            }
        }
        self.at = self.at.saturating_add(1);
        let object = self.input.get(start..self.at).unwrap_or_default();
        self.out.push(b'"');
        self.out.extend_from_slice(b"\\u000");
        self.out.extend_from_slice(u32::from(OBJECT_KEY_MARK).to_string().as_bytes());
        for byte in object {
            match byte {
                b'"' | b'\\' => self.out.extend_from_slice(&[b'\\', *byte]),
                b'\n' | b'\r' | b'\t' => self.out.push(b' '),
                _ => self.out.push(*byte),
            }
        }
        self.out.push(b'"');
        Ok(())
    }
}
