//! Typed headers: which entries of a command's string map a request or response has, and how each reads as a value.
//! One module per family of requests; each header is declared once, by the `header!` macro.

mod field;
mod macros;

pub mod consumer;
pub mod group;
pub mod pop;
pub mod pull;
pub mod query;
pub mod replica;
pub mod reply;
pub mod route;
pub mod send;
pub mod stats;
pub mod topic;
pub mod transaction;

#[cfg(test)]
mod tests;

pub use field::FieldValue;

use crate::ext::Ext;

/// A header that can be written into a string map.
pub trait EncodeHeader {
    /// Adds the header's fields to `ext`, which holds none of them yet.
    fn encode(&self, ext: &mut Ext);
}

/// A header that can be read from a string map, borrowing from it where its strings need no unescaping.
pub trait DecodeHeader<'ext>: Sized {
    /// Reads the fields; entries the header does not know are passed over.
    fn decode(ext: &'ext Ext) -> Result<Self, HeaderError>;
}

/// A header without fields.
impl EncodeHeader for () {
    fn encode(&self, _ext: &mut Ext) {}
}

/// Why a string map is not the header that was expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// A required field is absent.
    #[error("the header field {field} is missing")]
    Missing {
        /// Its name on the wire.
        field: &'static str,
    },
    /// A field's text does not read as its type.
    #[error("the header field {field} has the bad value {value}")]
    Invalid {
        /// Its name on the wire.
        field: &'static str,
        /// The text, cut to 64 characters.
        value: String,
    },
}
