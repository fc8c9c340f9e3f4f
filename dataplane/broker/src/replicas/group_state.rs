//! Owns the ways to the group state: the value that says who leads, in a place that can compare and set.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use bolide_replication::{CasOutcome, GroupState, MAX_STATE_BYTES, StateError, Versioned};
use futures::future::BoxFuture;
use thiserror::Error;

/// Why the group state could not be read.
#[derive(Debug, Error)]
pub enum GroupStateError {
    /// The place does not answer, or refuses.
    #[error("the group state cannot be reached: {0}")]
    Unreachable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// What is there is no group state.
    #[error(transparent)]
    Form(#[from] StateError),
}

/// Where a group's state is kept.
pub trait GroupStateStore: Send + Sync + 'static {
    /// Reads the state, never from a cache. None when there is none.
    fn load(&self) -> BoxFuture<'_, Result<Option<Versioned>, GroupStateError>>;

    /// Sets the state if it is still the one of `version`.
    fn compare_and_set<'a>(&'a self, version: &'a str, new: &'a GroupState) -> BoxFuture<'a, CasOutcome>;
}

/// The group state in a file, for replicas on one machine. Changes are made under a lock on a file beside it, and replace the
/// file, so that it is one of the states at any moment. Its text is its version.
#[derive(Debug, Clone)]
pub struct FileGroupState {
    path: PathBuf,
}

impl FileGroupState {
    /// The state in the file `path`.
    #[must_use]
    pub fn new(path: PathBuf) -> FileGroupState {
        FileGroupState { path }
    }

    /// Makes the file, unless it is there; true when it was made.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn create(&self, state: &GroupState) -> io::Result<bool> {
        let _lock = self.lock()?;
        if self.path.exists() {
            return Ok(false);
        }
        self.replace(&state.to_json().map_err(io::Error::other)?)?;
        Ok(true)
    }

    fn lock(&self) -> io::Result<File> {
        let path = self.path.with_extension("lock");
        let lock = File::options().create(true).truncate(false).write(true).open(path)?;
        lock.lock()?;
        Ok(lock)
    }

    fn read(&self) -> io::Result<Option<String>> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let most = u64::try_from(MAX_STATE_BYTES).unwrap_or(u64::MAX);
        let mut text = String::new();
        file.take(most.saturating_add(1)).read_to_string(&mut text)?;
        Ok(Some(text))
    }

    fn replace(&self, text: &str) -> io::Result<()> {
        let temporary = self.path.with_extension("new");
        let mut file = File::create(&temporary)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&temporary, &self.path)?;
        File::open(self.path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new(".")))?
            .sync_all()
    }

    fn set(&self, version: &str, new: &str) -> io::Result<bool> {
        let _lock = self.lock()?;
        if self.read()?.as_deref() != Some(version) {
            return Ok(false);
        }
        self.replace(new)?;
        Ok(true)
    }
}

impl GroupStateStore for FileGroupState {
    fn load(&self) -> BoxFuture<'_, Result<Option<Versioned>, GroupStateError>> {
        let this = self.clone();
        Box::pin(async move {
            let read = tokio::task::spawn_blocking(move || this.read()).await;
            let text = read
                .map_err(|error| GroupStateError::Unreachable(Box::new(error)))?
                .map_err(|error| GroupStateError::Unreachable(Box::new(error)))?;
            let Some(version) = text else { return Ok(None) };
            Ok(Some(Versioned { state: GroupState::from_json(&version)?, version }))
        })
    }

    fn compare_and_set<'a>(&'a self, version: &'a str, new: &'a GroupState) -> BoxFuture<'a, CasOutcome> {
        let (this, version) = (self.clone(), version.to_owned());
        let new = new.to_json();
        Box::pin(async move {
            let Ok(new) = new else { return CasOutcome::Conflict };
            let text = new.clone();
            match tokio::task::spawn_blocking(move || this.set(&version, &text)).await {
                Ok(Ok(true)) => CasOutcome::Set { version: new },
                Ok(Ok(false)) => CasOutcome::Conflict,
                Ok(Err(error)) => {
                    tracing::warn!(%error, "the group state may not have been written");
                    CasOutcome::Unknown
                }
                Err(_) => CasOutcome::Unknown,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use bolide_replication::ReplicaName;

    use super::*;

    #[tokio::test]
    async fn of_two_who_set_the_same_version_one_succeeds() {
        let folder = tempfile::tempdir().unwrap();
        let file = FileGroupState::new(folder.path().join("state.json"));
        assert!(file.load().await.unwrap().is_none());
        let name = |name| ReplicaName::new(name).unwrap();
        assert!(file.create(&GroupState::new_group(name("a"))).unwrap());
        assert!(!file.create(&GroupState::new_group(name("b"))).unwrap());
        let first = file.load().await.unwrap().unwrap();
        assert_eq!(first.state, GroupState::new_group(name("a")));
        let next = |epoch: u64| GroupState { epoch: bolide_replication::Epoch(epoch), ..first.state.clone() };
        let (one, two) = (next(1), next(2));
        let both = futures::future::join(
            file.compare_and_set(&first.version, &one),
            file.compare_and_set(&first.version, &two),
        )
        .await;
        let set = |outcome: &CasOutcome| matches!(outcome, CasOutcome::Set { .. });
        assert!(set(&both.0) != set(&both.1), "{both:?}");
        let now = file.load().await.unwrap().unwrap();
        assert_eq!(now.state, if set(&both.0) { one } else { two });
        std::fs::write(folder.path().join("state.json"), "{}").unwrap();
        assert!(matches!(file.load().await, Err(GroupStateError::Form(_))));
    }
}
