//! The group state as far as this replica knows it, and its one request at a time to the place that holds it.
//!
//! Invariants:
//! - `known` never goes back: an answer of a lower epoch or revision than was ever seen is not believed.
//! - A compare-and-set without a known outcome may still take effect, until the version that it named is gone. Until then
//!   `possible` gives its state too, and whoever counts acknowledgements needs the union.

use std::time::Duration;

use super::turn::Turn;
use crate::{
    event::{CasOutcome, Effect, Unavailable},
    mutation::{Mutation, mutated},
    state::{GroupState, Seen, Versioned},
};

/// Undecided writes that are kept apart; beyond that, the first is tried again instead of a new one.
const MAX_UNDECIDED: usize = 4;
/// Pause before the group state is read again after a write that did not go as expected.
const SOON: Duration = Duration::from_millis(20);
/// Pause after a read that failed.
const LATER: Duration = Duration::from_millis(100);

#[derive(Debug)]
enum Busy {
    No,
    Loading,
    Setting(GroupState),
}

/// Why the group state is of no use at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    Unavailable,
    Missing,
    Behind,
}

#[derive(Debug)]
pub(super) struct Group {
    known: Option<Versioned>,
    /// The highest state seen, in this process or before; none when this replica never was part of the group.
    seen: Option<Seen>,
    undecided: Vec<GroupState>,
    busy: Busy,
    /// A write has met another one: `known` is not the newest.
    outdated: bool,
    loaded_at: Option<Duration>,
    /// When the newest load was begun.
    asked_at: Option<Duration>,
    /// No load before this time.
    load_after: Duration,
    trouble: Option<Trouble>,
}

impl Group {
    pub(super) fn new(seen: Option<Seen>) -> Self {
        Self {
            known: None,
            seen,
            undecided: Vec::new(),
            busy: Busy::No,
            outdated: false,
            loaded_at: None,
            asked_at: None,
            load_after: Duration::ZERO,
            trouble: None,
        }
    }

    pub(super) fn known(&self) -> Option<&GroupState> {
        self.known.as_ref().map(|known| &known.state)
    }

    pub(super) fn seen(&self) -> Option<Seen> {
        self.seen
    }

    pub(super) fn trouble(&self) -> Option<Trouble> {
        self.trouble
    }

    /// No request is under way.
    pub(super) fn is_idle(&self) -> bool {
        matches!(self.busy, Busy::No)
    }

    /// `known` was read or written by this process at or after that time, and nothing says that it is old.
    pub(super) fn is_fresh(&self, since: Duration) -> bool {
        !self.outdated && self.trouble.is_none() && self.loaded_at.is_some_and(|at| at >= since)
    }

    /// The outcome of some write is not known.
    pub(super) fn is_undecided(&self) -> bool {
        !self.undecided.is_empty()
    }

    /// A write has met another one, or has no known outcome: the state should be read.
    pub(super) fn is_outdated(&self) -> bool {
        self.outdated
    }

    /// Every state that may be the newest one.
    pub(super) fn possible(&self) -> impl Iterator<Item = &GroupState> {
        let setting = match &self.busy {
            Busy::Setting(state) => Some(state),
            _ => None,
        };
        self.known().into_iter().chain(&self.undecided).chain(setting)
    }

    /// A peer proves that a higher epoch exists, or the replica takes one itself.
    pub(super) fn saw(&mut self, seen: Seen, turn: &mut Turn<'_>) {
        let before = self.seen;
        self.seen = self.seen.max(Some(seen));
        if before.is_none_or(|before| before.epoch < seen.epoch) {
            turn.push(Effect::PersistSeen(seen));
        }
    }

    /// Reads the state unless it is being read, or was so less than `pause` ago.
    pub(super) fn load(&mut self, pause: Duration, turn: &mut Turn<'_>) {
        let paused = self.asked_at.map_or(Duration::ZERO, |at| at.saturating_add(pause));
        let paused = if self.outdated { Duration::ZERO } else { paused };
        if self.is_idle() && turn.due(self.load_after.max(paused)) {
            self.busy = Busy::Loading;
            self.asked_at = Some(turn.now);
            self.load_after = turn.now.saturating_add(SOON);
            turn.push(Effect::LoadState);
        }
    }

    /// Tries to write a successor of the known state.
    pub(super) fn set(&mut self, new: GroupState, turn: &mut Turn<'_>) {
        let Some(known) = &self.known else { return };
        let new = match self.undecided.first() {
            Some(first) if self.undecided.len() >= MAX_UNDECIDED && !self.undecided.contains(&new) => {
                first.clone()
            }
            _ => new,
        };
        turn.push(Effect::CompareAndSet { version: known.version.clone(), new: new.clone() });
        self.busy = Busy::Setting(new);
    }

    /// `floor`: what the log itself proves to have been seen.
    pub(super) fn on_loaded(
        &mut self,
        result: Result<Option<Versioned>, Unavailable>,
        floor: Seen,
        turn: &mut Turn<'_>,
    ) {
        if !matches!(self.busy, Busy::Loading) {
            return;
        }
        self.busy = Busy::No;
        let found = match result {
            Err(Unavailable) => {
                self.trouble = Some(Trouble::Unavailable);
                self.load_after = turn.now.saturating_add(LATER);
                return;
            }
            Ok(None) => {
                self.trouble = Some(Trouble::Missing);
                return;
            }
            Ok(Some(found)) => found,
        };
        let seen = found.state.seen();
        if seen < floor.max(self.seen.unwrap_or_default()) && !mutated(Mutation::BelievesRecreatedState) {
            self.trouble = Some(Trouble::Behind);
            return;
        }
        self.trouble = None;
        self.loaded_at = Some(turn.now);
        self.outdated = false;
        if self.known.as_ref().is_none_or(|known| known.state.revision < seen.revision) {
            // The version that undecided writes have named is gone.
            self.undecided.clear();
        }
        self.known = Some(found);
        self.saw(seen, turn);
    }

    pub(super) fn on_cas(&mut self, outcome: CasOutcome, turn: &mut Turn<'_>) {
        let Busy::Setting(new) = std::mem::replace(&mut self.busy, Busy::No) else { return };
        match outcome {
            CasOutcome::Set { version } => {
                self.undecided.clear();
                self.outdated = false;
                self.loaded_at = Some(turn.now);
                let seen = new.seen();
                self.known = Some(Versioned { state: new, version });
                self.saw(seen, turn);
            }
            CasOutcome::Conflict => {
                self.outdated = true;
            }
            CasOutcome::Unknown => {
                if !self.undecided.contains(&new) {
                    self.undecided.push(new);
                }
                self.outdated = true;
                self.load_after = turn.now.saturating_add(SOON);
            }
        }
    }
}
