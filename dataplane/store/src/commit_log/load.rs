//! Finding the segments of a store at open.

use std::{io, path::Path, path::PathBuf, sync::Arc};

use thiserror::Error;

use crate::{
    disk::Disk,
    segment::{Segment, segment_name},
};

/// Why a store does not open. Nothing was changed, unless it says so.
#[derive(Debug, Error)]
pub enum OpenError {
    /// Another process, or another store in this one, uses the folder.
    #[error("{path} is in use by another broker; stop it or choose another folder")]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// The file system failed.
    #[error("{what} in {path}: {source}")]
    Io {
        /// What was being done.
        what: &'static str,
        /// The store's folder.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// A commit log file has another length than configured.
    #[error(
        "commit log file {name} has {found} bytes, expected {expected}; set mappedFileSizeCommitLog to what the store was made with"
    )]
    SegmentLength {
        /// Its name.
        name: String,
        /// Its length in bytes.
        found: u64,
        /// The configured length.
        expected: u64,
    },
    /// The commit log files do not join on.
    #[error("commit log file {name} is missing between others; restore it, or move the older files away")]
    SegmentMissing {
        /// Name of the file that should be there.
        name: String,
    },
    /// A record in the middle of the log, which was flushed before, is not good.
    #[error(
        "the commit log is damaged at offset {offset} (file {file}): {reason}; restore the file from a copy, or move this and the later files away to go on without them"
    )]
    Damaged {
        /// Where.
        offset: u64,
        /// Name of the file.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Settings that cannot work.
    #[error("store setting {key}: {reason}")]
    Config {
        /// Field of `StoreConfig`.
        key: &'static str,
        /// Why.
        reason: &'static str,
    },
}

impl OpenError {
    pub(crate) fn io<'a>(what: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> Self + 'a {
        move |source| Self::Io { what, path: path.to_owned(), source }
    }
}

/// Opens all segments of a folder, oldest first. Removes files that were being made, and an empty last one.
pub(crate) fn load_segments(disk: &dyn Disk, dir: &Path, size: u64) -> Result<Vec<Arc<Segment>>, OpenError> {
    let failed = || OpenError::io("opening the commit log", dir);
    let mut names: Vec<(u64, u64, String)> = Vec::new();
    for entry in disk.list(dir).map_err(failed())? {
        if entry.is_dir {
            continue;
        }
        if entry.name.ends_with(".new") {
            disk.remove(&dir.join(&entry.name)).map_err(failed())?;
        } else if entry.name.len() == 20
            && let Ok(base) = entry.name.parse::<u64>()
        {
            names.push((base, entry.len, entry.name));
        }
    }
    // Who made the newest file may have ended before its name was on disk.
    disk.sync_dir(dir).map_err(failed())?;
    names.sort_unstable();
    if let Some((_, _, name)) = names.pop_if(|(_, len, _)| *len == 0) {
        disk.remove(&dir.join(name)).map_err(failed())?;
    }
    let mut segments: Vec<Arc<Segment>> = Vec::with_capacity(names.len());
    for (base, len, name) in names {
        if len != size {
            return Err(OpenError::SegmentLength { name, found: len, expected: size });
        }
        let expected = segments.last().map_or(base, |last| last.end());
        if base != expected || base.checked_rem(size) != Some(0) {
            return Err(OpenError::SegmentMissing { name: segment_name(expected) });
        }
        segments.push(Arc::new(Segment::open(disk, dir, base, size).map_err(failed())?));
    }
    Ok(segments)
}
