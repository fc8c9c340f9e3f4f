//! Owns the small file that says which sorted files count, and what the log below its watermark said.

use std::{
    io::{self, IoSlice},
    path::{Path, PathBuf},
};

use bolide_store::Disk;
use serde::{Deserialize, Serialize};

use crate::{progress::Progress, run::RunId};

const VERSION: u32 = 1;
const NAME: &str = "manifest.json";
/// A manifest names at most some dozens of files.
const MAX_BYTES: u64 = 1 << 20;

/// The index as of a log offset.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Manifest {
    version: u32,
    /// All timers below this log offset are in the files named here.
    pub(crate) watermark: u64,
    pub(crate) progress: Progress,
    pub(crate) runs: Vec<RunId>,
    /// The file with what is in memory.
    pub(crate) tail: Option<RunId>,
}

fn path(folder: &Path) -> PathBuf {
    folder.join(NAME)
}

impl Manifest {
    pub(crate) fn new(watermark: u64, progress: Progress, runs: Vec<RunId>, tail: Option<RunId>) -> Manifest {
        Manifest { version: VERSION, watermark, progress, runs, tail }
    }

    /// Whether it names a file.
    pub(crate) fn names(&self, id: RunId) -> bool {
        self.tail == Some(id) || self.runs.contains(&id)
    }

    /// Reads the manifest; `None` when there is none.
    pub(crate) fn load(disk: &dyn Disk, folder: &Path) -> io::Result<Option<Manifest>> {
        let file = match disk.open(&path(folder)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let len = file.len()?;
        if len > MAX_BYTES {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the manifest is longer than it can be"));
        }
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
        file.read_at(&mut bytes, 0)?;
        let manifest: Manifest = serde_json::from_slice(&bytes)?;
        if manifest.version != VERSION {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the manifest is of another version"));
        }
        Ok(Some(manifest))
    }

    /// Replaces the manifest, so that a crash leaves the old or the new one.
    pub(crate) fn save(&self, disk: &dyn Disk, folder: &Path) -> io::Result<()> {
        let bytes = serde_json::to_vec(self)?;
        let (target, temporary) = (path(folder), folder.join("manifest.tmp"));
        let file = disk.create(&temporary)?;
        file.write_at(&mut [IoSlice::new(&bytes)], 0)?;
        file.sync_data()?;
        disk.rename(&temporary, &target)?;
        disk.sync_dir(folder)
    }

    /// Removes the manifest: the next start makes the index anew from the log.
    pub(crate) fn remove(disk: &dyn Disk, folder: &Path) -> io::Result<()> {
        match disk.remove(&path(folder)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => disk.sync_dir(folder),
        }
    }
}
