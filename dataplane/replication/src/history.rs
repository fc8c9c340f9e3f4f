//! Which master wrote which part of a log, and where two logs part.
//!
//! Invariants of a table: epochs and starts grow strictly. Two logs whose tables hold the same epoch with the same start are
//! equal from that start to the smaller of the two ends of that epoch, since an epoch has one master and one process.

use std::sync::Arc;

use bolide_wire::LogOffset;

use crate::state::Epoch;

/// Most entries of an epoch table that a hello carries: the newest ones.
pub const MAX_HELLO_EPOCHS: usize = 1024;

/// Where an epoch begins: the offset of its epoch record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochStart {
    /// The epoch.
    pub epoch: Epoch,
    /// Offset of its first byte.
    pub start: LogOffset,
}

/// What a replica's log holds, at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogView {
    /// Oldest byte that is still there.
    pub min: LogOffset,
    /// First byte that is not there.
    pub end: LogOffset,
    /// Forced to disk up to here.
    pub flushed: LogOffset,
    /// The epoch table over the appended log, oldest first; the entry that covers `min` is in it. What lies before the first entry
    /// is of no epoch: written before the group had one.
    pub epochs: Arc<[EpochStart]>,
}

impl LogView {
    /// A log without a byte.
    #[must_use]
    pub fn empty() -> Self {
        Self { min: LogOffset(0), end: LogOffset(0), flushed: LogOffset(0), epochs: Arc::default() }
    }

    /// The epoch that wrote the last byte; 0 when none did.
    #[must_use]
    pub fn last_epoch(&self) -> Epoch {
        self.epochs.last().map_or(Epoch(0), |last| last.epoch)
    }

    /// The newest entries of the table, as many as a hello carries.
    #[must_use]
    pub fn newest_epochs(&self) -> Vec<EpochStart> {
        let skipped = self.epochs.len().saturating_sub(MAX_HELLO_EPOCHS);
        self.epochs.get(skipped..).unwrap_or_default().to_vec()
    }
}

/// Where another replica's log stops being equal to this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fork {
    /// Equal below this offset; what the other has from here on must go.
    At(LogOffset),
    /// Nothing of the other can be told to be equal to what is left of this one.
    Nowhere,
}

/// Where the log of `theirs` and `end`, beginning at `their_min`, parts from `ours`.
#[must_use]
pub fn fork(ours: &LogView, theirs: &[EpochStart], their_min: LogOffset, their_end: LogOffset) -> Fork {
    let reachable = |at: LogOffset| {
        if at >= ours.min && at >= their_min { Fork::At(at) } else { Fork::Nowhere }
    };
    if their_end <= their_min {
        return if their_end <= ours.end { reachable(their_end) } else { Fork::Nowhere };
    }
    for (at, entry) in theirs.iter().enumerate().rev() {
        let Ok(found) = ours.epochs.binary_search_by_key(&entry.epoch, |ours| ours.epoch) else { continue };
        if ours.epochs.get(found).is_none_or(|ours| ours.start != entry.start) {
            continue;
        }
        let end_of = |table: &[EpochStart], index: usize, end: LogOffset| {
            table.get(index.saturating_add(1)).map_or(end, |next| next.start)
        };
        return reachable(end_of(theirs, at, their_end).min(end_of(&ours.epochs, found, ours.end)));
    }
    // Nothing but what was written before the first epoch can be common, and only where both still begin there.
    let first = |table: &[EpochStart], end: LogOffset| table.first().map_or(end, |first| first.start);
    let common = first(theirs, their_end).min(first(&ours.epochs, ours.end));
    if ours.min == LogOffset(0) && their_min == LogOffset(0) { reachable(common) } else { Fork::Nowhere }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(entries: &[(u64, u64)]) -> Vec<EpochStart> {
        entries
            .iter()
            .map(|(epoch, start)| EpochStart { epoch: Epoch(*epoch), start: LogOffset(*start) })
            .collect()
    }

    fn view(min: u64, end: u64, entries: &[(u64, u64)]) -> LogView {
        let (min, end) = (LogOffset(min), LogOffset(end));
        LogView { min, end, flushed: end, epochs: table(entries).into() }
    }

    fn fork_of(ours: &LogView, min: u64, end: u64, entries: &[(u64, u64)]) -> Option<u64> {
        match fork(ours, &table(entries), LogOffset(min), LogOffset(end)) {
            Fork::At(at) => Some(at.0),
            Fork::Nowhere => None,
        }
    }

    #[test]
    fn logs_part_at_the_smaller_end_of_the_last_common_epoch() {
        let ours = view(0, 300, &[(1, 0), (3, 100), (4, 200)]);
        assert_eq!(fork_of(&ours, 0, 300, &[(1, 0), (3, 100), (4, 200)]), Some(300), "equal");
        assert_eq!(fork_of(&ours, 0, 250, &[(1, 0), (3, 100), (4, 200)]), Some(250), "behind");
        assert_eq!(fork_of(&ours, 0, 250, &[(1, 0), (3, 100)]), Some(200), "a tail of the epoch before");
        assert_eq!(fork_of(&ours, 0, 150, &[(1, 0), (3, 100)]), Some(150));
        assert_eq!(fork_of(&ours, 0, 400, &[(1, 0), (2, 90)]), Some(90), "an epoch that we never had");
        assert_eq!(
            fork_of(&ours, 0, 400, &[(1, 0), (3, 120)]),
            Some(100),
            "the same epoch cannot begin twice"
        );
        assert_eq!(fork_of(&ours, 0, 900, &[(1, 0), (3, 100), (4, 200)]), Some(300), "longer than ours");
    }

    #[test]
    fn an_empty_log_may_begin_anywhere_within_ours() {
        let ours = view(100, 300, &[(1, 0), (3, 150)]);
        assert_eq!(fork_of(&ours, 0, 0, &[]), None, "our beginning is gone");
        assert_eq!(fork_of(&ours, 200, 200, &[]), Some(200), "it got a snapshot");
        assert_eq!(fork_of(&ours, 400, 400, &[]), None);
        assert_eq!(fork_of(&view(0, 50, &[]), 0, 0, &[]), Some(0));
    }

    #[test]
    fn what_was_written_before_the_first_epoch_is_common() {
        let ours = view(0, 300, &[(1, 100)]);
        assert_eq!(fork_of(&ours, 0, 60, &[]), Some(60));
        assert_eq!(fork_of(&ours, 0, 160, &[]), Some(100));
        assert_eq!(fork_of(&ours, 50, 60, &[]), None, "that beginning is not known to be ours");
    }

    #[test]
    fn a_part_that_is_gone_needs_a_snapshot() {
        let ours = view(200, 300, &[(1, 0), (3, 250)]);
        assert_eq!(fork_of(&ours, 0, 150, &[(1, 0)]), None);
        assert_eq!(fork_of(&ours, 0, 220, &[(1, 0)]), Some(220));
        assert_eq!(fork_of(&ours, 0, 900, &[(7, 10)]), None);
    }
}
