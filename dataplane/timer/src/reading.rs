//! Owns the questions to the index: what is due, what lies before a log offset.
//!
//! The answer is put together outside the lock, from files that do not change and a copy of the part of the memory that
//! matters; so the thread that writes the log never waits for a reader.

use std::{collections::BTreeSet, io, ops::ControlFlow, sync::Arc};

use bolide_wire::{EpochMillis, LogOffset};

use crate::{
    entry::{Entry, Key, Kind},
    index::{Inner, TimerIndex},
    merge::Merge,
    progress::Progress,
    run::Run,
};

/// Timers to be delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// In the order of delivery; recalls stand before the messages of their instant.
    pub entries: Vec<Entry>,
    /// The index knew of everything below this log offset.
    pub seen: LogOffset,
    /// When the first one after `entries` is due.
    pub next: Option<EpochMillis>,
}

/// A delivery that is not in the index yet: of what was known below `seen`, everything up to `upto` will be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnderWay {
    /// What was known to it, see [`Due::seen`].
    pub seen: LogOffset,
    /// The last of its timers.
    pub upto: Key,
}

struct Parts {
    runs: Vec<Arc<Run>>,
    memory: Vec<Entry>,
    /// What the log says: the only thing that a file may be told.
    progress: Progress,
    /// The same with what is under way: what the answer leaves out.
    expected: Progress,
    seen: u64,
}

impl Parts {
    /// Copies of the memory only what `wanted` goes on for.
    fn of(
        inner: &Inner,
        under_way: Option<UnderWay>,
        mut wanted: impl FnMut(&Entry) -> ControlFlow<()>,
    ) -> Parts {
        let progress = inner.progress.clone();
        let mut expected = progress.clone();
        if let Some(UnderWay { seen, upto }) = under_way {
            expected.delivered(seen, upto);
        }
        let mut memory = Vec::new();
        for (key, identity) in &inner.memory {
            if expected.is_done(*key) {
                continue;
            }
            let entry = Entry { key: *key, identity: *identity };
            memory.push(entry);
            if wanted(&entry).is_break() {
                break;
            }
        }
        Parts { runs: inner.runs.clone(), memory, progress, expected, seen: inner.seen }
    }
}

impl TimerIndex {
    /// What is due at `now`: at most `max` messages, and all recalls among them.
    ///
    /// # Errors
    /// A file that cannot be read. After a damaged one the index is made anew at the next start.
    pub fn due(&self, now: EpochMillis, max: usize) -> io::Result<Due> {
        self.due_after(None, now, max)
    }

    /// Like [`TimerIndex::due`], as it will be once a delivery that is under way is in the log. Nothing is taken for done by
    /// this: the answer is worth something only if that delivery comes into the log, and before anything made of the answer.
    ///
    /// # Errors
    /// As [`TimerIndex::due`].
    pub fn due_after(&self, under_way: Option<UnderWay>, now: EpochMillis, max: usize) -> io::Result<Due> {
        let mut messages = 0_usize;
        // One more than wanted: it says when the next one is due.
        let parts = Parts::of(&self.inner.lock(), under_way, |entry| {
            messages = messages.saturating_add(usize::from(entry.key.kind() == Kind::Message));
            if messages > max || entry.key.due() > now {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
        self.gather(parts, now, max).inspect_err(|error| self.note_damage(error))
    }

    fn gather(&self, parts: Parts, now: EpochMillis, max: usize) -> io::Result<Due> {
        let mut merge = Merge::default();
        for run in parts.runs {
            let from = run.advance(&parts.progress)?;
            merge.add_run(run, from)?;
        }
        merge.add_memory(parts.memory)?;
        let mut due = Due { entries: Vec::new(), seen: LogOffset(parts.seen), next: None };
        let mut messages = 0_usize;
        while let Some(entry) = merge.next()? {
            if parts.expected.is_done(entry.key) {
                continue;
            }
            messages = messages.saturating_add(usize::from(entry.key.kind() == Kind::Message));
            if entry.key.due() > now || messages > max {
                due.next = Some(entry.key.due());
                break;
            }
            due.entries.push(entry);
        }
        Ok(due)
    }

    /// Pending entries whose records lie before `below`: the `max` first ones of the log, in the order of the log.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn before(&self, below: LogOffset, max: usize) -> io::Result<Vec<Entry>> {
        if self.is_clear_below(below) {
            return Ok(Vec::new());
        }
        let parts = Parts::of(&self.inner.lock(), None, |_| ControlFlow::Continue(()));
        let found = earliest(&parts, below, max).inspect_err(|error| self.note_damage(error))?;
        if found.is_empty() {
            self.clear_below.fetch_max(below.0, std::sync::atomic::Ordering::AcqRel);
        }
        Ok(found.into_iter().map(|(_, entry)| entry).collect())
    }

    /// Whether nothing pending lies before `below`, as far as it was asked already.
    fn is_clear_below(&self, below: LogOffset) -> bool {
        self.clear_below.load(std::sync::atomic::Ordering::Acquire) >= below.0
    }
}

fn earliest(parts: &Parts, below: LogOffset, max: usize) -> io::Result<BTreeSet<(u64, Entry)>> {
    let mut found = BTreeSet::new();
    let mut consider = |entry: &Entry| {
        let at = entry.key.at().0;
        if at < below.0 && !parts.progress.is_done(entry.key) {
            found.insert((at, *entry));
            if found.len() > max {
                found.pop_last();
            }
        }
    };
    parts.memory.iter().for_each(&mut consider);
    for run in parts.runs.iter().filter(|run| run.min_at < below.0) {
        let mut position = run.advance(&parts.progress)?;
        while let Some(entry) = run.entry(position)? {
            consider(&entry);
            position = position.saturating_add(1);
        }
    }
    Ok(found)
}
