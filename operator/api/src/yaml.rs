//! The only place that knows which YAML library is used.
//!
//! Written text quotes strings that YAML 1.1 readers (kubectl's among them) would take as booleans.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Text that is not the YAML that was asked for; the source says where.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ReadError(#[from] Box<serde_saphyr::Error>);

/// A value that YAML cannot hold.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct WriteError(#[from] serde_saphyr::ser_error::Error);

/// Reads one document.
///
/// # Errors
/// The text is not YAML, or not a `T`.
pub fn read<T: DeserializeOwned>(text: &str) -> Result<T, ReadError> {
    serde_saphyr::from_str(text).map_err(|error| ReadError(Box::new(error)))
}

/// Reads all documents of a text; empty ones are left out.
///
/// # Errors
/// The text is not YAML, or a document is not a `T`.
pub fn read_all<T: DeserializeOwned>(text: &str) -> Result<Vec<T>, ReadError> {
    serde_saphyr::from_multiple(text).map_err(|error| ReadError(Box::new(error)))
}

/// Writes one document.
///
/// # Errors
/// `value` has something that YAML cannot hold, such as a map with maps as keys.
pub fn write(value: &impl Serialize) -> Result<String, WriteError> {
    Ok(serde_saphyr::to_string(value)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_that_look_like_booleans_are_quoted() {
        for word in ["y", "no", "on", "true", "1", "0x1f", "null", "~", "1e3", "12:30:00"] {
            let text = write(&word).expect("a string can be written");
            assert!(text.starts_with(['"', '\'']), "{word} was written as {text}");
            assert_eq!(read::<String>(&text).expect("what was written can be read"), word);
        }
    }

    #[test]
    fn empty_documents_are_left_out() {
        let all: Vec<serde_json::Value> =
            read_all("---\n---\na: 1\n---\n# nothing\n---\nb: 2\n").expect("valid");
        assert_eq!(all.len(), 2, "{all:?}");
    }
}
