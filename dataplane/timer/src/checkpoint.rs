//! Owns the way of the index to disk: manifests, and the merging of files.

use std::{io, sync::Arc, sync::atomic::Ordering};

use bolide_wire::LogOffset;

use crate::{
    entry::Entry,
    index::TimerIndex,
    manifest::Manifest,
    merge::Merge,
    progress::Progress,
    run::{Run, RunId, RunWriter},
};

/// Files at which the smallest are merged ...
const MOST_RUNS: usize = 16;
/// ... so many of them at once.
const MERGED_AT_ONCE: usize = 8;

/// The index at a moment, to be made durable once the log is on disk up to it.
#[derive(Debug)]
pub struct Checkpoint {
    watermark: u64,
    progress: Progress,
    runs: Vec<RunId>,
    unsynced: Vec<Arc<Run>>,
    changes: u64,
    tail: Tail,
}

#[derive(Debug)]
enum Tail {
    /// Nothing changed: the file of the last time still holds it.
    Same(Option<RunId>),
    New(Vec<Entry>),
}

impl TimerIndex {
    /// Takes the index as it is. The caller promises that every record below `watermark` was applied before the call, and
    /// forces the log to disk before [`TimerIndex::finish_checkpoint`].
    #[must_use]
    pub fn begin_checkpoint(&self, watermark: LogOffset) -> Checkpoint {
        let inner = self.inner.lock();
        let (changes, tail) = inner.saved;
        let tail = if changes == inner.changes {
            Tail::Same(tail)
        } else {
            let entries = inner.memory.iter().map(|(key, identity)| Entry { key: *key, identity: *identity });
            Tail::New(entries.collect())
        };
        Checkpoint {
            watermark: watermark.0,
            progress: inner.progress.clone(),
            runs: inner.runs.iter().map(|run| run.id).collect(),
            unsynced: inner.unsynced.clone(),
            changes: inner.changes,
            tail,
        }
    }

    /// Makes a checkpoint durable and removes the files that it does without.
    ///
    /// # Errors
    /// The disk refused; the checkpoint before stands.
    pub fn finish_checkpoint(&self, checkpoint: Checkpoint) -> io::Result<()> {
        let _alone = self.files.lock();
        if self.inner.lock().damaged {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the index of timers is damaged"));
        }
        let tail = match checkpoint.tail {
            Tail::Same(tail) => tail,
            Tail::New(entries) if entries.is_empty() => None,
            Tail::New(entries) => {
                let run = self.write(entries.into_iter())?;
                run.sync()?;
                Some(run.id)
            }
        };
        for run in &checkpoint.unsynced {
            run.sync()?;
        }
        self.disk.sync_dir(&self.folder)?;
        let manifest = Manifest::new(checkpoint.watermark, checkpoint.progress, checkpoint.runs, tail);
        manifest.save(self.disk.as_ref(), &self.folder)?;
        self.covered.fetch_max(checkpoint.watermark, Ordering::AcqRel);
        {
            let mut inner = self.inner.lock();
            inner.saved = (checkpoint.changes, tail);
            inner.unsynced.retain(|run| !checkpoint.unsynced.iter().any(|synced| synced.id == run.id));
        }
        self.remove_unused(&manifest)
    }

    fn remove_unused(&self, manifest: &Manifest) -> io::Result<()> {
        let files = self.disk.list(&self.folder)?;
        let used: Vec<RunId> = self.inner.lock().runs.iter().map(|run| run.id).collect();
        for id in files.iter().filter_map(|file| RunId::of_name(&file.name)) {
            if !manifest.names(id) && !used.contains(&id) {
                self.disk.remove(&id.path(&self.folder))?;
            }
        }
        Ok(())
    }

    /// Leaves out files in which nothing is pending, and merges the smallest when there are many. Blocks for the disk; to be
    /// called before a checkpoint, now and then.
    ///
    /// # Errors
    /// A file that cannot be read or written; nothing is changed then.
    pub fn tidy(&self) -> io::Result<()> {
        let _alone = self.files.lock();
        let (runs, progress) = {
            let inner = self.inner.lock();
            (inner.runs.clone(), inner.progress.clone())
        };
        let mut live = Vec::new();
        let mut ended = Vec::new();
        for run in runs {
            let from = run.advance(&progress).inspect_err(|error| self.note_damage(error))?;
            if from >= run.count {
                ended.push(run.id);
            } else {
                live.push((run.count.saturating_sub(from), from, run));
            }
        }
        let mut merged = None;
        if live.len() > MOST_RUNS {
            live.sort_by_key(|(left, ..)| *left);
            live.truncate(MERGED_AT_ONCE);
            merged = Some(self.merge(&live, &progress).inspect_err(|error| self.note_damage(error))?);
            ended.extend(live.iter().map(|(.., run)| run.id));
        }
        if ended.is_empty() {
            return Ok(());
        }
        let mut inner = self.inner.lock();
        inner.runs.retain(|run| !ended.contains(&run.id));
        inner.unsynced.retain(|run| !ended.contains(&run.id));
        if let Some(run) = merged.filter(|run| run.count > 0).map(Arc::new) {
            inner.unsynced.push(Arc::clone(&run));
            inner.runs.push(run);
        }
        inner.changes = inner.changes.wrapping_add(1);
        Ok(())
    }

    fn merge(&self, runs: &[(u64, u64, Arc<Run>)], progress: &Progress) -> io::Result<Run> {
        let mut merge = Merge::default();
        for (_, from, run) in runs {
            merge.add_run(Arc::clone(run), *from)?;
        }
        let mut writer = RunWriter::new(self.disk.as_ref(), &self.folder, self.new_id())?;
        while let Some(entry) = merge.next()? {
            if !progress.is_done(entry.key) {
                writer.push(&entry)?;
            }
        }
        writer.finish()
    }
}
