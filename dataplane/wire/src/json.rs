//! The JSON dialect of bodies: what the original's library writes and reads beyond JSON.
//!
//! Reading: integer keys without quotes, objects as keys, `null` for "absent". A body that is strict JSON is read as it
//! is; any other is first rewritten to strict JSON. Writing: integer keys with or without quotes, maps keyed by a
//! message queue with the object as the raw key (see [`crate::body::queue::QueueMap`]).

mod normalize;
mod write;

use serde::de::DeserializeOwned;

pub use normalize::{NormalizeError, normalize};
pub use write::{IntegerKeys, to_vec};

/// First character of a map key that stands for an object: the key's text is then JSON, not a string.
pub(crate) const OBJECT_KEY_MARK: char = '\u{1}';

/// Why a body could not be read.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// Not even the dialect.
    #[error("body: {0}")]
    Dialect(#[from] NormalizeError),
    /// JSON, but not the expected shape.
    #[error("body: {0}")]
    Shape(#[from] serde_json::Error),
}

/// Reads a body, leniently. An empty body reads as an empty object.
pub fn from_slice<T: DeserializeOwned>(body: &[u8]) -> Result<T, JsonError> {
    if body.is_empty() {
        return Ok(serde_json::from_slice(b"{}")?);
    }
    if let Ok(value) = serde_json::from_slice(body) {
        return Ok(value);
    }
    let strict = normalize(body)?;
    Ok(serde_json::from_slice(&strict)?)
}

#[cfg(test)]
mod tests;
