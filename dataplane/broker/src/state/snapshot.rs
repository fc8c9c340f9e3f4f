//! Owns the snapshot of the state on disk: JSON files, those in Apache RocketMQ's own form where it has such, and a sidecar
//! that says which log offset they stand for.
//!
//! The sidecar holds the checksums of the files and the log offset, twice: of the snapshot before and of the one being
//! written. It is made durable first, then each file is replaced; so at any moment each file is one of the two, and the
//! replay starts at the older offset of those found. State records are absolute, which makes a mixture and a state that is
//! a little ahead of its offset harmless. A file that is neither of the two was written by Apache RocketMQ: then all
//! are the truth at the end of the log, and nothing is replayed.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};

use bolide_store::Disk;
use bolide_wire::body::assignment::SetMessageRequestMode;
use bolide_wire::body::group::SubscriptionGroupConfig;
use bolide_wire::body::topic::{DataVersion, TopicConfig};
use bolide_wire::ids::LogOffset;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::State;
use super::grants::Grant;
use super::groups::ForbiddenTable;
use super::pops::change::QueueChange;
use super::record::OffsetTable;
use super::transactions::OpenTable;

mod files;

const SIDECAR: &str = "bolide-snapshot.json";
const VERSION: u32 = 1;
/// No file of the snapshot may be larger.
const MAX_FILE_BYTES: u64 = 1 << 30;

/// The state at a log offset.
#[derive(Debug, Clone, Default)]
pub(crate) struct Snapshot {
    /// Version of the topic table.
    pub(crate) topics_version: DataVersion,
    /// Topics.
    pub(crate) topics: Vec<TopicConfig>,
    /// Version of the group table.
    pub(crate) groups_version: DataVersion,
    /// Groups.
    pub(crate) groups: Vec<SubscriptionGroupConfig>,
    /// What groups may not read.
    pub(crate) forbidden: ForbiddenTable,
    /// Consumer offsets.
    pub(crate) offsets: OffsetTable,
    /// Next offset of each delay level.
    pub(crate) delays: BTreeMap<u32, i64>,
    /// Open transactions.
    pub(crate) transactions: OpenTable,
    /// Pop consumption, as changes that make it from nothing.
    pub(crate) pops: Vec<QueueChange>,
    /// How groups get the messages of topics.
    pub(crate) modes: Vec<SetMessageRequestMode>,
    /// Owners of queues that are consumed in order.
    pub(crate) grants: Vec<Grant>,
    /// Records from here on are not in it; `u64::MAX` when all of the log is.
    pub(crate) covers: LogOffset,
}

/// A snapshot could not be read or written.
#[derive(Debug, Error)]
pub enum SnapshotError {
    /// The disk refused.
    #[error("{path}: {source}")]
    Disk {
        /// File.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file is not what it should be.
    #[error("{path}: {source}")]
    Form {
        /// File.
        path: PathBuf,
        /// What the reader said.
        source: bolide_wire::json::JsonError,
    },
    /// The sidecar is of a later version.
    #[error("{path}: version {found}, and this program knows {VERSION}")]
    Version {
        /// File.
        path: PathBuf,
        /// Version found.
        found: u32,
    },
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sidecar {
    version: u32,
    snapshots: Vec<Described>,
}

#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
struct Described {
    log_offset: u64,
    /// File name to CRC32.
    files: BTreeMap<String, u32>,
}

impl Snapshot {
    /// What retention may count as covered: nothing yet when Apache RocketMQ wrote the files.
    pub(super) fn covers_for_retention(&self) -> LogOffset {
        if self.covers.0 == u64::MAX { LogOffset(0) } else { self.covers }
    }

    /// The state as the applied log says, to be written as of `covers`.
    pub(crate) fn of(state: &State, covers: LogOffset) -> Snapshot {
        let mut topics: Vec<TopicConfig> =
            state.topics.all().iter().map(|topic| topic.config.clone()).collect();
        topics.sort_by(|a, b| a.topic_name.cmp(&b.topic_name));
        let mut groups: Vec<_> = state.groups.all().iter().map(|group| group.config.clone()).collect();
        groups.sort_by(|a, b| a.group_name.cmp(&b.group_name));
        let (pops, offsets) = {
            let pops = state.pops.lock();
            let offsets = state.offsets.lock();
            (pops.table(&offsets), offsets.logged())
        };
        Snapshot {
            topics_version: state.topics.version(),
            topics,
            groups_version: state.groups.version(),
            groups,
            forbidden: state.groups.forbidden(),
            offsets,
            delays: state.delays.lock().table().clone(),
            transactions: OpenTable::of(&state.transactions.lock()),
            pops,
            modes: state.modes.lock().all(),
            grants: state.grants.lock().all(),
            covers,
        }
    }

    /// Reads the newest snapshot below `root`; an empty one when there is none.
    pub(crate) fn load(disk: &dyn Disk, root: &Path) -> Result<Snapshot, SnapshotError> {
        let folder = root.join("config");
        let mut bytes = BTreeMap::new();
        for name in files::NAMES {
            if let Some(found) = read(disk, &folder.join(name))? {
                bytes.insert((*name).to_owned(), found);
            }
        }
        if bytes.is_empty() {
            return Ok(Snapshot::default());
        }
        let mut snapshot = files::decode(&folder, &bytes)?;
        let sidecar = read_sidecar(disk, &folder)?;
        snapshot.covers = covered(&sidecar, &bytes);
        Ok(snapshot)
    }

    /// Makes the snapshot durable below `root`. The log must be on disk up to what the snapshot holds.
    pub(crate) fn save(&self, disk: &dyn Disk, root: &Path) -> Result<(), SnapshotError> {
        let folder = root.join("config");
        disk.create_dir(&folder).map_err(|source| SnapshotError::Disk { path: folder.clone(), source })?;
        let encoded = files::encode(&folder, self)?;
        let described = Described {
            log_offset: self.covers.0,
            files: encoded.iter().map(|(name, bytes)| ((*name).to_owned(), crc32fast::hash(bytes))).collect(),
        };
        let mut snapshots = read_sidecar(disk, &folder)?.snapshots;
        let present = present_files(disk, &folder)?;
        snapshots.retain(|known| known.files.iter().any(|(name, crc)| present.get(name) == Some(crc)));
        snapshots.retain(|known| *known != described);
        snapshots.push(described);
        let sidecar = Sidecar { version: VERSION, snapshots };
        let path = folder.join(SIDECAR);
        let text = serde_json::to_vec(&sidecar)
            .map_err(|source| SnapshotError::Form { path: path.clone(), source: source.into() })?;
        replace(disk, &path, &text)?;
        for (name, bytes) in &encoded {
            replace(disk, &folder.join(name), bytes)?;
        }
        Ok(())
    }
}

/// The offset that the files found stand for.
fn covered(sidecar: &Sidecar, bytes: &BTreeMap<String, Vec<u8>>) -> LogOffset {
    let mut lowest = if bytes.len() == files::NAMES.len() { u64::MAX } else { 0 };
    for (name, bytes) in bytes {
        let crc = crc32fast::hash(bytes);
        let known = sidecar.snapshots.iter().filter(|snapshot| snapshot.files.get(name) == Some(&crc));
        match known.map(|snapshot| snapshot.log_offset).max() {
            Some(offset) => lowest = lowest.min(offset),
            None => return LogOffset(u64::MAX),
        }
    }
    LogOffset(lowest)
}

fn read_sidecar(disk: &dyn Disk, folder: &Path) -> Result<Sidecar, SnapshotError> {
    let path = folder.join(SIDECAR);
    let Some(bytes) = read(disk, &path)? else {
        return Ok(Sidecar { version: VERSION, snapshots: Vec::new() });
    };
    let sidecar: Sidecar = bolide_wire::json::from_slice(&bytes)
        .map_err(|source| SnapshotError::Form { path: path.clone(), source })?;
    if sidecar.version != VERSION {
        return Err(SnapshotError::Version { path, found: sidecar.version });
    }
    Ok(sidecar)
}

fn present_files(disk: &dyn Disk, folder: &Path) -> Result<BTreeMap<String, u32>, SnapshotError> {
    let mut present = BTreeMap::new();
    for name in files::NAMES {
        if let Some(bytes) = read(disk, &folder.join(name))? {
            present.insert((*name).to_owned(), crc32fast::hash(&bytes));
        }
    }
    Ok(present)
}

fn read(disk: &dyn Disk, path: &Path) -> Result<Option<Vec<u8>>, SnapshotError> {
    let failed = |source| SnapshotError::Disk { path: path.into(), source };
    let file = match disk.open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let len = file.len().map_err(failed)?;
    if len > MAX_FILE_BYTES {
        return Err(failed(io::Error::new(io::ErrorKind::InvalidData, "larger than any snapshot")));
    }
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
    file.read_at(&mut bytes, 0).map_err(failed)?;
    Ok(Some(bytes))
}

fn replace(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> Result<(), SnapshotError> {
    let write = || -> io::Result<()> {
        let temporary = path.with_extension("json.tmp");
        let file = disk.create(&temporary)?;
        file.write_at(&mut [IoSlice::new(bytes)], 0)?;
        file.sync_data()?;
        disk.rename(&temporary, path)?;
        path.parent().map_or(Ok(()), |folder| disk.sync_dir(folder))
    };
    write().map_err(|source| SnapshotError::Disk { path: path.into(), source })
}

#[cfg(test)]
mod tests;
