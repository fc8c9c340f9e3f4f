//! The key-value table and its file, in upstream's form: `{"configTable":{"NAMESPACE":{"key":"value"}}}`.
//!
//! Invariant: what a reader sees is what the file holds: a change is written, synced and renamed into place before it shows.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use parking_lot::{Mutex, RwLock};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Order configuration of topics: `broker-a:4;broker-b:4` by topic.
pub(crate) const ORDER_TOPIC_CONFIG: &str = "ORDER_TOPIC_CONFIG";

/// Broker groups whose write permission is withdrawn, so that a restart of the nameserver does not give it back.
pub(crate) const WRITE_PERM_WIPED: &str = "BOLIDE_WRITE_PERM_WIPED";

type Namespaces = BTreeMap<String, BTreeMap<String, String>>;

/// The table cannot be read or written.
#[derive(Debug, Error)]
pub enum KvError {
    /// The file or its folder.
    #[error("cannot {action} {path}")]
    File {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is not what was written.
    #[error("{path} is not a key-value table; restore it, or move it away to start with an empty one")]
    Content {
        /// The file.
        path: PathBuf,
        /// Where it goes wrong.
        source: serde_json::Error,
    },
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Stored {
    config_table: Namespaces,
}

#[derive(Debug)]
pub(crate) struct Kv {
    path: PathBuf,
    table: RwLock<Namespaces>,
    /// Held while a change is written, so that changes reach the file in order and readers never wait for the disk.
    writing: Mutex<()>,
}

impl Kv {
    /// Reads the file; none is an empty table.
    pub(crate) fn open(path: PathBuf) -> Result<Self, KvError> {
        let table = match fs::read(&path) {
            Ok(bytes) => {
                let stored: Stored = serde_json::from_slice(&bytes)
                    .map_err(|source| KvError::Content { path: path.clone(), source })?;
                stored.config_table
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Namespaces::new(),
            Err(source) => return Err(KvError::File { action: "read", path, source }),
        };
        Ok(Self { path, table: RwLock::new(table), writing: Mutex::new(()) })
    }

    pub(crate) fn get(&self, namespace: &str, key: &str) -> Option<String> {
        self.table.read().get(namespace)?.get(key).cloned()
    }

    pub(crate) fn namespace(&self, namespace: &str) -> Option<BTreeMap<String, String>> {
        self.table.read().get(namespace).cloned()
    }

    /// Sets a value; blocks until it is on disk.
    pub(crate) fn put(&self, namespace: &str, key: &str, value: &str) -> Result<(), KvError> {
        self.change(|table| {
            table.entry(namespace.to_owned()).or_default().insert(key.to_owned(), value.to_owned())
        })
    }

    /// Removes a value; blocks until that is on disk.
    pub(crate) fn delete(&self, namespace: &str, key: &str) -> Result<(), KvError> {
        self.change(|table| table.get_mut(namespace).and_then(|entries| entries.remove(key)))
    }

    fn change<T>(&self, edit: impl FnOnce(&mut Namespaces) -> T) -> Result<(), KvError> {
        let _writing = self.writing.lock();
        let mut changed = self.table.read().clone();
        edit(&mut changed);
        let stored = Stored { config_table: changed };
        let bytes = serde_json::to_vec(&stored)
            .map_err(|source| KvError::Content { path: self.path.clone(), source })?;
        replace_file(&self.path, &bytes)?;
        *self.table.write() = stored.config_table;
        Ok(())
    }
}

/// Puts `bytes` into `path` so that a crash leaves either the old or the new file.
fn replace_file(path: &Path, bytes: &[u8]) -> Result<(), KvError> {
    let failed = |action, path: &Path| {
        let path = path.to_owned();
        move |source| KvError::File { action, path, source }
    };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(failed("make", folder))?;
    let fresh = path.with_extension("json.new");
    let mut file = File::create(&fresh).map_err(failed("create", &fresh))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(failed("write", &fresh))?;
    fs::rename(&fresh, path).map_err(failed("replace", path))?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed("sync", folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_survive_a_restart_in_upstreams_form() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("namesrv/kvConfig.json");
        let kv = Kv::open(path.clone()).unwrap();
        kv.put(ORDER_TOPIC_CONFIG, "T", "broker-a:4").unwrap();
        kv.put("N", "gone", "1").unwrap();
        kv.delete("N", "gone").unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text, r#"{"configTable":{"N":{},"ORDER_TOPIC_CONFIG":{"T":"broker-a:4"}}}"#);
        let again = Kv::open(path).unwrap();
        assert_eq!(again.get(ORDER_TOPIC_CONFIG, "T").as_deref(), Some("broker-a:4"));
        assert_eq!(again.get("N", "gone"), None);
    }

    #[test]
    fn a_change_that_cannot_be_written_does_not_show() {
        let folder = tempfile::tempdir().unwrap();
        let kv = Kv::open(folder.path().join("kvConfig.json")).unwrap();
        kv.put("N", "k", "old").unwrap();
        fs::create_dir(folder.path().join("kvConfig.json.new")).unwrap();
        assert!(matches!(kv.put("N", "k", "new"), Err(KvError::File { .. })));
        assert_eq!(kv.get("N", "k").as_deref(), Some("old"));
    }

    #[test]
    fn a_damaged_file_is_refused_rather_than_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kvConfig.json");
        fs::write(&path, "{\"configTable\":").unwrap();
        assert!(matches!(Kv::open(path), Err(KvError::Content { .. })));
    }
}
