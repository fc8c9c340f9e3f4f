//! Owns `replica.json` in the store's root: what a replica remembers of itself from one process to the next.

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};

use bolide_replication::{Identity, Incarnation, REPLICA_FILE, ReplicaFile, ReplicaName, Seen, StateError};
use bolide_store::Disk;
use thiserror::Error;

/// The file cannot be read or written.
#[derive(Debug, Error)]
pub enum IdentityError {
    /// The disk refuses.
    #[error("{path}: {source}")]
    Disk {
        /// File.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is not what it should be.
    #[error("{path}: {source}")]
    Form {
        /// File.
        path: PathBuf,
        /// What is wrong.
        source: StateError,
    },
}

/// The file of a running replica. Its calls block for the disk.
#[derive(Debug, Clone)]
pub(super) struct Remembered {
    path: PathBuf,
    file: ReplicaFile,
}

impl Remembered {
    /// Reads the file below `root`, or makes it, and notes durably that a process has begun.
    pub(super) fn open(disk: &dyn Disk, root: &Path) -> Result<Remembered, IdentityError> {
        let path = root.join(REPLICA_FILE);
        let failed = |source| IdentityError::Disk { path: path.clone(), source };
        disk.create_dir(root).map_err(failed)?;
        let found = match std::fs::read_to_string(&path) {
            Ok(text) => Some(
                ReplicaFile::from_json(&text)
                    .map_err(|source| IdentityError::Form { path: path.clone(), source })?,
            ),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(failed(error)),
        };
        let file = ReplicaFile::start(found, &disk.boot_id(), random().map_err(failed)?);
        let remembered = Remembered { path, file };
        remembered.write(disk)?;
        Ok(remembered)
    }

    /// Who this process is.
    pub(super) fn identity(&self, name: &str) -> Result<Identity, IdentityError> {
        let form = |source| IdentityError::Form { path: self.path.clone(), source };
        self.file.identity(ReplicaName::new(name).map_err(form)?).map_err(form)
    }

    /// Notes a higher group state.
    pub(super) fn saw(&mut self, disk: &dyn Disk, seen: Seen) -> Result<(), IdentityError> {
        self.file = self.file.clone().with_seen(seen);
        self.write(disk)
    }

    /// Notes that the store was closed with everything on disk.
    pub(super) fn closed(&self, disk: &dyn Disk) -> Result<(), IdentityError> {
        Remembered { file: self.file.clone().closed(), path: self.path.clone() }.write(disk)
    }

    /// Notes that what the store held is gone: the next process is another member of the group.
    pub(super) fn emptied(&self, disk: &dyn Disk) -> Result<(), IdentityError> {
        let fresh = random().map_err(|source| IdentityError::Disk { path: self.path.clone(), source })?;
        // No boot id: so the next start takes nothing for kept.
        let file = ReplicaFile::start(Some(self.file.clone()), "", fresh);
        Remembered { file, path: self.path.clone() }.write(disk)
    }

    fn write(&self, disk: &dyn Disk) -> Result<(), IdentityError> {
        let text =
            self.file.to_json().map_err(|source| IdentityError::Form { path: self.path.clone(), source })?;
        let write = || -> io::Result<()> {
            let temporary = self.path.with_extension("new");
            let file = disk.create(&temporary)?;
            file.write_at(&mut [IoSlice::new(text.as_bytes())], 0)?;
            file.sync_data()?;
            disk.rename(&temporary, &self.path)?;
            self.path.parent().map_or(Ok(()), |folder| disk.sync_dir(folder))
        };
        write().map_err(|source| IdentityError::Disk { path: self.path.clone(), source })
    }
}

fn random() -> io::Result<Incarnation> {
    use std::io::Read;
    let mut bytes = [0; 8];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(Incarnation(u64::from_be_bytes(bytes)))
}

#[cfg(test)]
mod tests {
    use bolide_replication::Epoch;
    use bolide_store::RealDisk;

    use super::*;

    #[test]
    fn a_process_that_is_killed_stays_the_same_member_and_one_that_lost_its_store_does_not() {
        let (folder, disk) = (tempfile::tempdir().unwrap(), RealDisk::new());
        let open = || Remembered::open(&disk, folder.path()).unwrap();
        let who = |remembered: &Remembered| remembered.identity("a-0").unwrap();
        let mut first = open();
        let seen = Seen { epoch: Epoch(4), revision: 7 };
        first.saw(&disk, seen).unwrap();
        let again = open();
        assert_eq!(who(&again), who(&first));
        assert_eq!(who(&again).seen, Some(seen));
        again.emptied(&disk).unwrap();
        let other = open();
        assert_ne!(who(&other).member, who(&first).member);
        assert_eq!(who(&other).seen, Some(seen));
        std::fs::write(folder.path().join(REPLICA_FILE), "[").unwrap();
        assert!(matches!(Remembered::open(&disk, folder.path()), Err(IdentityError::Form { .. })));
    }
}
