//! SQL92 expressions over message properties, in the dialect of the original.
//!
//! ```text
//! or      := and { OR and }              and := eq { AND eq }
//! eq      := cmp { ('='|'<>') cmp | IS [NOT] NULL }
//! cmp     := un { ('>'|'>='|'<'|'<=') un | [NOT] (CONTAINS|STARTSWITH|ENDSWITH) 'text'
//!               | [NOT] BETWEEN un AND un | [NOT] IN ('text' {, 'text'}) }
//! un      := '+' un | '-' un | NOT un | primary
//! primary := literal | property | '(' or ')'
//! ```
//!
//! Logic is three-valued: an absent property is unknown, what is computed from unknown is unknown, and only true
//! matches. A property is text; beside a number or a boolean it is converted, and if that fails the whole expression does
//! not match. Where the original differs from this (it ignores what follows a complete expression, refuses `0.0`, calls
//! two absent properties equal), the difference is listed in `tests/golden.rs`.

mod ast;
mod eval;
mod lexer;
mod parser;
mod required;

use ast::Expr;

/// Longest expression, in bytes.
pub const MAX_BYTES: usize = 32 * 1024;
/// Deepest nesting of an expression.
pub const MAX_DEPTH: usize = 64;

/// Why an expression was refused, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("column {column}: {fault}")]
pub struct SyntaxError {
    /// Byte position of the fault.
    pub at: usize,
    /// The same as a column, counted in characters from 1.
    pub column: usize,
    /// What is wrong.
    pub fault: String,
}

/// A fault found while compiling, before its column is known.
#[derive(Debug)]
struct Fault {
    at: usize,
    what: String,
}

impl Fault {
    fn new(at: usize, what: impl Into<String>) -> Self {
        Self { at, what: what.into() }
    }
}

/// A compiled expression.
#[derive(Clone, Debug, PartialEq)]
pub struct Selector {
    condition: Expr,
}

impl Selector {
    /// Compiles `expression`.
    pub fn compile(expression: &str) -> Result<Self, SyntaxError> {
        parse(expression).map(|condition| Self { condition }).map_err(|fault| {
            let before = expression.get(..fault.at).unwrap_or(expression);
            SyntaxError { at: fault.at, column: before.chars().count().saturating_add(1), fault: fault.what }
        })
    }

    /// True when the message with these properties is wanted. `property` yields the value of a property by name; it may
    /// be asked for the same name more than once.
    pub fn matches<'a>(&'a self, property: impl Fn(&str) -> Option<&'a str>) -> bool {
        matches!(self.evaluate(property), Ok(Some(true)))
    }

    /// The texts of which `property` must be one in every message that matches; `None` when the expression does not say.
    /// Sorted, each once. What stands in a queue beside a message, such as the hash of its tag, can be compared with these
    /// before the message itself is looked at.
    #[must_use]
    pub fn required_texts(&self, property: &str) -> Option<Vec<&str>> {
        required::texts(&self.condition, property)
    }

    /// The truth of the expression: `None` is unknown, an error means that a value did not convert.
    pub fn evaluate<'a>(
        &'a self,
        property: impl Fn(&str) -> Option<&'a str>,
    ) -> Result<Option<bool>, Mismatch> {
        eval::condition(&self.condition, &property)
    }
}

/// A property's text did not convert to the type it is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a property does not convert to the type it is compared with")]
pub struct Mismatch;

fn parse(expression: &str) -> Result<Expr, Fault> {
    if expression.len() > MAX_BYTES {
        return Err(Fault::new(0, format!("the expression is longer than {MAX_BYTES} bytes")));
    }
    let tokens = lexer::tokens(expression)?;
    parser::parse(&tokens, expression.len())
}

#[cfg(test)]
mod tests;
