//! Notices edits of the manifests by their names, sizes and times.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::manifest;

/// What was last seen of the manifests.
#[derive(Debug)]
pub(crate) struct Watch {
    path: PathBuf,
    seen: Vec<Seen>,
}

#[derive(Debug, PartialEq, Eq)]
struct Seen {
    file: PathBuf,
    bytes: u64,
    modified: Option<SystemTime>,
}

impl Watch {
    pub(crate) fn new(path: &Path) -> Self {
        Self { path: path.to_path_buf(), seen: look(path) }
    }

    /// Whether something changed since the last call. A file that is away for a moment, as some editors do while saving, is not a
    /// change.
    pub(crate) fn changed(&mut self) -> bool {
        let now = look(&self.path);
        if now.is_empty() || now == self.seen {
            return false;
        }
        self.seen = now;
        true
    }
}

fn look(path: &Path) -> Vec<Seen> {
    let files = manifest::files(path).unwrap_or_default();
    let look = |file: PathBuf| {
        let metadata = std::fs::metadata(&file).ok()?;
        Some(Seen { bytes: metadata.len(), modified: metadata.modified().ok(), file })
    };
    files.into_iter().filter_map(look).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edit_is_seen_once() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.yaml");
        std::fs::write(&file, "a").unwrap();
        let mut watch = Watch::new(&file);
        assert!(!watch.changed());
        std::fs::write(&file, "ab").unwrap();
        assert!(watch.changed());
        assert!(!watch.changed());
    }

    #[test]
    fn a_file_that_is_being_replaced_is_no_change_until_it_is_back() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.yaml");
        std::fs::write(&file, "a").unwrap();
        let mut watch = Watch::new(&file);
        std::fs::remove_file(&file).unwrap();
        assert!(!watch.changed());
        std::fs::write(&file, "abc").unwrap();
        assert!(watch.changed());
    }

    #[test]
    fn a_new_file_in_a_folder_is_a_change() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.yaml"), "a").unwrap();
        let mut watch = Watch::new(dir.path());
        std::fs::write(dir.path().join("b.yaml"), "b").unwrap();
        assert!(watch.changed());
    }
}
