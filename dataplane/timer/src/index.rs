//! Owns the index: what is in memory, which files there are, and what comes to them from the log.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bolide_store::Disk;
use bolide_wire::{EpochMillis, LogOffset};
use parking_lot::Mutex;
use thiserror::Error;

use crate::{
    entry::{Entry, Key, Kind},
    manifest::Manifest,
    progress::Progress,
    run::{Run, RunId, RunWriter},
};

/// Entries held in memory before they become a file: 65,536.
pub const MEMORY_ENTRIES: usize = 65_536;
/// Entries after which a file that could not be written is tried again.
const TRY_AGAIN: usize = 4_096;

/// The index cannot be opened.
#[derive(Debug, Error)]
#[error("the index of timers in {folder}: {source}")]
pub struct IndexError {
    /// Folder of the index.
    pub folder: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

/// What was found at the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The log has to be replayed from here.
    pub replay_from: LogOffset,
    /// There was no usable index: it is made anew from the log.
    pub rebuilt: bool,
}

pub(crate) struct Inner {
    pub(crate) memory: BTreeMap<Key, u64>,
    /// Number of entries in memory at which they become a file.
    freeze_at: usize,
    pub(crate) runs: Vec<Arc<Run>>,
    /// Runs that are not forced to disk yet.
    pub(crate) unsynced: Vec<Arc<Run>>,
    pub(crate) progress: Progress,
    /// One past the newest entry.
    pub(crate) seen: u64,
    /// Counts changes, so that a checkpoint knows of none.
    pub(crate) changes: u64,
    /// As of the newest manifest: its changes and its tail.
    pub(crate) saved: (u64, Option<RunId>),
    pub(crate) damaged: bool,
}

/// The pending timers of one log.
pub struct TimerIndex {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) folder: PathBuf,
    pub(crate) memory_entries: usize,
    pub(crate) inner: Mutex<Inner>,
    /// Held while files are merged or a manifest is written.
    pub(crate) files: Mutex<()>,
    next_id: AtomicU64,
    /// The newest manifest covers the log below.
    pub(crate) covered: AtomicU64,
    /// No entry below this log offset is pending.
    pub(crate) clear_below: AtomicU64,
}

impl std::fmt::Debug for TimerIndex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TimerIndex").field("folder", &self.folder).finish_non_exhaustive()
    }
}

impl TimerIndex {
    /// Opens the index in `folder`, or begins one: then the whole log has to be replayed.
    ///
    /// # Errors
    /// [`IndexError`] when the disk fails; damaged files are no error, but made anew.
    pub fn open(disk: Arc<dyn Disk>, folder: &Path) -> Result<(TimerIndex, Opened), IndexError> {
        TimerIndex::open_with(disk, folder, MEMORY_ENTRIES)
    }

    /// Like [`TimerIndex::open`], with another number of entries in memory: for tests.
    ///
    /// # Errors
    /// As [`TimerIndex::open`].
    pub fn open_with(
        disk: Arc<dyn Disk>,
        folder: &Path,
        memory_entries: usize,
    ) -> Result<(TimerIndex, Opened), IndexError> {
        let failed = |source| IndexError { folder: folder.to_owned(), source };
        disk.create_dir(folder).map_err(failed)?;
        let found = match load(disk.as_ref(), folder) {
            Ok(found) => found,
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
                ) =>
            {
                tracing::warn!(folder = %folder.display(), %error, "the index of timers is damaged and is made anew from the log");
                Manifest::remove(disk.as_ref(), folder).map_err(failed)?;
                None
            }
            Err(error) => return Err(failed(error)),
        };
        let rebuilt = found.is_none();
        let (manifest, runs, memory) = found.unwrap_or_else(|| {
            (Manifest::new(0, Progress::default(), Vec::new(), None), Vec::new(), BTreeMap::new())
        });
        let next_id = remove_others(disk.as_ref(), folder, &manifest).map_err(failed)?;
        let newest = runs.iter().map(|run| run.max_at).chain(memory.keys().map(|key| key.at().0)).max();
        let inner = Inner {
            freeze_at: memory_entries,
            memory,
            runs,
            unsynced: Vec::new(),
            progress: manifest.progress,
            seen: newest.map_or(0, |newest| newest.saturating_add(1)),
            changes: 0,
            saved: (if rebuilt { u64::MAX } else { 0 }, manifest.tail),
            damaged: false,
        };
        let index = TimerIndex {
            disk,
            folder: folder.to_owned(),
            memory_entries,
            inner: Mutex::new(inner),
            files: Mutex::new(()),
            next_id: AtomicU64::new(next_id),
            covered: AtomicU64::new(if rebuilt { 0 } else { manifest.watermark }),
            clear_below: AtomicU64::new(0),
        };
        Ok((index, Opened { replay_from: LogOffset(manifest.watermark), rebuilt }))
    }

    /// A timer, or the recall of one, is in the log. Returns true when nothing that is pending is due before it.
    pub fn add(&self, key: Key, identity: u64) -> bool {
        let mut inner = self.inner.lock();
        inner.seen = inner.seen.max(key.at().0.saturating_add(1));
        if inner.progress.is_done(key) {
            return false;
        }
        inner.memory.insert(key, identity);
        inner.changes = inner.changes.wrapping_add(1);
        if inner.memory.len() >= inner.freeze_at {
            self.freeze(&mut inner);
        }
        key.kind() == Kind::Message
    }

    /// A delivery is in the log: of what was known below `seen`, everything up to `upto` is done.
    pub fn delivered(&self, seen: LogOffset, upto: Key) {
        self.change(|progress| progress.delivered(seen, upto));
    }

    /// The record at `at` was put into the log again, as all pending ones before it were.
    pub fn rolled(&self, at: LogOffset) {
        self.change(|progress| progress.rolled(at));
    }

    fn change(&self, change: impl FnOnce(&mut Progress)) {
        let mut inner = self.inner.lock();
        change(&mut inner.progress);
        inner.changes = inner.changes.wrapping_add(1);
        while let Some(first) = inner.memory.first_key_value()
            && inner.progress.is_done(*first.0)
        {
            inner.memory.pop_first();
        }
    }

    /// The latest due time of anything delivered: what is due then or before cannot be recalled any more.
    #[must_use]
    pub fn latest_delivered(&self) -> Option<EpochMillis> {
        self.inner.lock().progress.latest()
    }

    /// Number of entries that are waiting; a little more than there are timers.
    #[must_use]
    pub fn len(&self) -> u64 {
        let inner = self.inner.lock();
        let files = inner.runs.iter().map(|run| run.count.saturating_sub(run.done()));
        files.fold(inner.memory.len() as u64, u64::saturating_add)
    }

    /// True when nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The log below may be deleted as far as the files of the index are concerned.
    #[must_use]
    pub fn covers(&self) -> LogOffset {
        LogOffset(self.covered.load(Ordering::Acquire))
    }

    pub(crate) fn new_id(&self) -> RunId {
        RunId(self.next_id.fetch_add(1, Ordering::Relaxed))
    }

    /// Makes a file of what is in memory. Does not wait for the disk: the kernel takes the bytes.
    fn freeze(&self, inner: &mut Inner) {
        let written =
            self.write(inner.memory.iter().map(|(key, identity)| Entry { key: *key, identity: *identity }));
        match written {
            Ok(run) => {
                let run = Arc::new(run);
                inner.runs.push(Arc::clone(&run));
                inner.unsynced.push(run);
                inner.memory.clear();
                inner.freeze_at = self.memory_entries;
            }
            Err(error) => {
                tracing::error!(%error, "timers stay in memory: their file could not be written");
                inner.freeze_at = inner.memory.len().saturating_add(TRY_AGAIN);
            }
        }
    }

    pub(crate) fn write(&self, entries: impl Iterator<Item = Entry>) -> io::Result<Run> {
        let mut writer = RunWriter::new(self.disk.as_ref(), &self.folder, self.new_id())?;
        for entry in entries {
            writer.push(&entry)?;
        }
        writer.finish()
    }

    /// What was read cannot be trusted: the next start makes the index anew.
    pub(crate) fn note_damage(&self, error: &io::Error) {
        if error.kind() != io::ErrorKind::InvalidData {
            return;
        }
        let known = std::mem::replace(&mut self.inner.lock().damaged, true);
        if !known {
            tracing::error!(%error, "the index of timers is damaged; restart the broker to make it anew from the log");
            if let Err(error) = Manifest::remove(self.disk.as_ref(), &self.folder) {
                tracing::error!(%error, "the manifest of the damaged index could not be removed");
            }
        }
    }
}

type Loaded = (Manifest, Vec<Arc<Run>>, BTreeMap<Key, u64>);

fn load(disk: &dyn Disk, folder: &Path) -> io::Result<Option<Loaded>> {
    let Some(manifest) = Manifest::load(disk, folder)? else { return Ok(None) };
    let runs = manifest.runs.iter().map(|id| Run::open(disk, folder, *id).map(Arc::new));
    let runs = runs.collect::<io::Result<Vec<_>>>()?;
    let mut memory = BTreeMap::new();
    if let Some(id) = manifest.tail {
        let tail = Run::open(disk, folder, id)?;
        let mut position = 0_u64;
        while let Some(entry) = tail.entry(position)? {
            memory.insert(entry.key, entry.identity);
            position = position.saturating_add(1);
        }
    }
    Ok(Some((manifest, runs, memory)))
}

/// Removes files that the manifest does not name; returns a number that none has.
fn remove_others(disk: &dyn Disk, folder: &Path, manifest: &Manifest) -> io::Result<u64> {
    let mut next = 0;
    for file in disk.list(folder)? {
        let Some(id) = RunId::of_name(&file.name) else { continue };
        next = next.max(id.0.saturating_add(1));
        if !manifest.names(id) {
            disk.remove(&id.path(folder))?;
        }
    }
    Ok(next)
}
