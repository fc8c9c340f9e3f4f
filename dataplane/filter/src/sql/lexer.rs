//! Text to tokens. Keywords are recognized in any case; comments are `-- to the end of the line` and `/* between */`.

use std::borrow::Cow;

use super::Fault;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keyword {
    And,
    Between,
    Contains,
    EndsWith,
    False,
    In,
    Is,
    Not,
    Null,
    Or,
    StartsWith,
    True,
}

const KEYWORDS: [(&str, Keyword); 12] = [
    ("AND", Keyword::And),
    ("BETWEEN", Keyword::Between),
    ("CONTAINS", Keyword::Contains),
    ("ENDSWITH", Keyword::EndsWith),
    ("FALSE", Keyword::False),
    ("IN", Keyword::In),
    ("IS", Keyword::Is),
    ("NOT", Keyword::Not),
    ("NULL", Keyword::Null),
    ("OR", Keyword::Or),
    ("STARTSWITH", Keyword::StartsWith),
    ("TRUE", Keyword::True),
];

#[derive(Clone, Debug, PartialEq)]
pub(super) enum TokenKind<'a> {
    Keyword(Keyword),
    Property(&'a str),
    /// At most 2^63; the sign is a token of its own.
    Int(u64),
    /// Finite.
    Float(f64),
    Text(Cow<'a, str>),
    /// `= <> > >= < <= ( ) , + -`
    Symbol(&'static str),
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Token<'a> {
    pub(super) kind: TokenKind<'a>,
    pub(super) at: usize,
    /// As written, for faults.
    pub(super) text: &'a str,
}

// Longer ones first.
const SYMBOLS: [&str; 11] = ["<>", ">=", "<=", "=", ">", "<", "(", ")", ",", "+", "-"];

pub(super) fn tokens(source: &str) -> Result<Vec<Token<'_>>, Fault> {
    let mut lexer = Lexer { source, at: 0 };
    let mut tokens = Vec::new();
    while let Some(token) = lexer.next()? {
        tokens.push(token);
    }
    Ok(tokens)
}

struct Lexer<'a> {
    source: &'a str,
    at: usize,
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        self.source.get(self.at..).unwrap_or_default()
    }

    fn advance(&mut self, bytes: usize) {
        self.at = self.at.saturating_add(bytes);
    }

    fn skip_blank(&mut self) -> Result<(), Fault> {
        loop {
            let rest = self.rest();
            let blank =
                rest.len().saturating_sub(rest.trim_start_matches([' ', '\t', '\n', '\r', '\u{c}']).len());
            self.advance(blank);
            let rest = self.rest();
            if rest.starts_with("--") {
                self.advance(rest.find(['\n', '\r']).unwrap_or(rest.len()));
            } else if rest.starts_with("/*") {
                let Some(end) = rest.find("*/") else {
                    return Err(Fault::new(self.at, "the comment does not end"));
                };
                self.advance(end.saturating_add(2));
            } else if blank == 0 {
                return Ok(());
            }
        }
    }

    fn next(&mut self) -> Result<Option<Token<'a>>, Fault> {
        self.skip_blank()?;
        let at = self.at;
        let rest = self.rest();
        let Some(first) = rest.chars().next() else {
            return Ok(None);
        };
        let kind = if first == '\'' {
            self.text()?
        } else if first.is_ascii_digit()
            || (first == '.' && rest.chars().nth(1).is_some_and(|c| c.is_ascii_digit()))
        {
            self.number()?
        } else if let Some(symbol) = SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol)) {
            self.advance(symbol.len());
            TokenKind::Symbol(symbol)
        } else {
            self.word()?
        };
        Ok(Some(Token { kind, at, text: self.source.get(at..self.at).unwrap_or_default() }))
    }

    fn word(&mut self) -> Result<TokenKind<'a>, Fault> {
        let rest = self.rest();
        let end =
            rest.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '$'))).unwrap_or(rest.len());
        let Some(word) = rest.get(..end).filter(|word| !word.is_empty()) else {
            let found = rest.chars().next().unwrap_or_default();
            return Err(Fault::new(self.at, format!("the character `{found}` has no meaning here")));
        };
        self.advance(end);
        let keyword = KEYWORDS.iter().find(|(text, _)| text.eq_ignore_ascii_case(word));
        Ok(keyword.map_or(TokenKind::Property(word), |(_, keyword)| TokenKind::Keyword(*keyword)))
    }

    fn text(&mut self) -> Result<TokenKind<'a>, Fault> {
        let start = self.at;
        let inner = self.rest().get(1..).unwrap_or_default();
        let mut end = 0usize;
        loop {
            let tail = inner.get(end..).unwrap_or_default();
            let Some(quote) = tail.find('\'') else {
                return Err(Fault::new(start, "the text does not end"));
            };
            end = end.saturating_add(quote);
            if !tail.get(quote..).unwrap_or_default().starts_with("''") {
                break;
            }
            end = end.saturating_add(2);
        }
        let raw = inner.get(..end).unwrap_or_default();
        self.advance(end.saturating_add(2));
        Ok(TokenKind::Text(if raw.contains('\'') {
            Cow::Owned(raw.replace("''", "'"))
        } else {
            Cow::Borrowed(raw)
        }))
    }

    fn digits(&mut self) {
        let rest = self.rest();
        self.advance(rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len()));
    }

    fn number(&mut self) -> Result<TokenKind<'a>, Fault> {
        let start = self.at;
        self.digits();
        let mut float = false;
        if self.rest().starts_with('.') {
            float = true;
            self.advance(1);
            self.digits();
        }
        if self.rest().starts_with(['e', 'E']) {
            float = true;
            self.advance(1);
            if self.rest().starts_with(['+', '-']) {
                self.advance(1);
            }
            if !self.rest().starts_with(|c: char| c.is_ascii_digit()) {
                return Err(Fault::new(start, "the exponent has no digits"));
            }
            self.digits();
        }
        let text = self.source.get(start..self.at).unwrap_or_default();
        if float {
            let value = text.parse().ok().filter(|value: &f64| value.is_finite());
            return value.map(TokenKind::Float).ok_or_else(|| Fault::new(start, "the number is too large"));
        }
        if text.len() > 1 && text.starts_with('0') {
            return Err(Fault::new(start, "an integer has no leading zeros"));
        }
        if self.rest().starts_with(['l', 'L']) {
            self.advance(1);
        }
        let value = text.parse().ok().filter(|value: &u64| *value <= i64::MIN.unsigned_abs());
        value.map(TokenKind::Int).ok_or_else(|| Fault::new(start, "the number is too large"))
    }
}
