//! Owns the reading of several sorted sources as one.

use std::{cmp::Reverse, collections::BinaryHeap, io, sync::Arc};

use crate::{entry::Entry, run::Run};

enum Source {
    File { run: Arc<Run>, next: u64 },
    Memory(std::vec::IntoIter<Entry>),
}

impl Source {
    fn next(&mut self) -> io::Result<Option<Entry>> {
        match self {
            Source::File { run, next } => {
                let entry = run.entry(*next)?;
                *next = next.saturating_add(1);
                Ok(entry)
            }
            Source::Memory(entries) => Ok(entries.next()),
        }
    }
}

/// All entries of the sources in order, each once: after a crash an entry may be in two of them.
#[derive(Default)]
pub(crate) struct Merge {
    sources: Vec<Source>,
    heads: BinaryHeap<Reverse<(Entry, usize)>>,
    last: Option<Entry>,
}

impl Merge {
    /// Adds a file from a position on.
    pub(crate) fn add_run(&mut self, run: Arc<Run>, from: u64) -> io::Result<()> {
        self.add(Source::File { run, next: from })
    }

    /// Adds entries that are in order.
    pub(crate) fn add_memory(&mut self, entries: Vec<Entry>) -> io::Result<()> {
        self.add(Source::Memory(entries.into_iter()))
    }

    fn add(&mut self, mut source: Source) -> io::Result<()> {
        if let Some(head) = source.next()? {
            self.heads.push(Reverse((head, self.sources.len())));
        }
        self.sources.push(source);
        Ok(())
    }

    /// The next entry.
    pub(crate) fn next(&mut self) -> io::Result<Option<Entry>> {
        while let Some(Reverse((entry, index))) = self.heads.pop() {
            if let Some(source) = self.sources.get_mut(index)
                && let Some(head) = source.next()?
            {
                self.heads.push(Reverse((head, index)));
            }
            if self.last != Some(entry) {
                self.last = Some(entry);
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }
}
