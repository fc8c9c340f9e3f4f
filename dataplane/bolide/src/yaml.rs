//! Reads and writes the YAML files of processes; every error is one line that names the file, and the key or place that is wrong.

use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Why a YAML file could not be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum YamlError {
    #[error("cannot read {path}: {source}")]
    Read { path: String, source: std::io::Error },
    #[error("{path}: {reason}")]
    Parse { path: String, reason: String },
}

/// Reads one document from a file.
///
/// # Errors
/// The file cannot be read, is not YAML, or does not have the shape of `T`.
pub(crate) fn from_file<T: DeserializeOwned>(path: &Path) -> Result<T, YamlError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| YamlError::Read { path: path.display().to_string(), source })?;
    from_text(path, &text)
}

/// Reads one document from text; `path` is only named in errors.
///
/// # Errors
/// The text is not YAML, or does not have the shape of `T`.
pub(crate) fn from_text<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T, YamlError> {
    bolide_api::yaml::read(text)
        .map_err(|error| YamlError::Parse { path: path.display().to_string(), reason: first_line(&error) })
}

/// Writes one document.
///
/// # Errors
/// The value has no YAML form.
pub(crate) fn to_text<T: Serialize>(value: &T) -> Result<String, bolide_api::yaml::WriteError> {
    bolide_api::yaml::write(value)
}

/// The message of the parser without its drawing of the source below it.
pub(crate) fn first_line(error: &impl std::fmt::Display) -> String {
    let text = error.to_string();
    let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    line.trim().trim_start_matches("error: ").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        #[serde(rename = "listenPort")]
        listen_port: u16,
    }

    #[test]
    fn an_unknown_key_is_named() {
        let error = from_text::<Sample>(Path::new("b.yaml"), "listenPort: 1\nlistenPrt: 2\n")
            .unwrap_err()
            .to_string();
        assert!(error.contains("b.yaml") && error.contains("listenPrt"), "{error}");
        assert!(!error.contains('\n'), "{error}");
    }

    #[test]
    fn a_value_of_the_wrong_type_is_told_with_its_line() {
        let error = from_text::<Sample>(Path::new("b.yaml"), "listenPort: many\n").unwrap_err().to_string();
        assert!(error.contains("line 1"), "{error}");
        assert!(!error.contains('\n'), "{error}");
    }

    #[test]
    fn a_document_is_read() {
        assert_eq!(from_text::<Sample>(Path::new("b.yaml"), "listenPort: 7\n").unwrap().listen_port, 7);
    }
}
