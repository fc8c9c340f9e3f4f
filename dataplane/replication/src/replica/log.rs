//! What the replica knows of its own log, between the effects it asked for and their answers.
//!
//! Invariant: `view` is never ahead of the log. While a truncation or a change of mode is under way, progress is not believed: it
//! may tell of bytes that are being cut off.

use std::sync::Arc;

use bolide_wire::LogOffset;

use super::turn::Turn;
use crate::{
    config::Holds,
    event::{Effect, RawFailure, TruncateFailure},
    history::{EpochStart, LogView},
    mutation::{Mutation, mutated},
    state::Epoch,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Takes raw bytes.
    Follows,
    /// Is being cut.
    Truncates,
    /// Is being given its epoch record.
    BeginsToLead(Epoch),
    /// Takes appends.
    Leads(Epoch),
    /// Finishes appends.
    BeginsToFollow,
}

#[derive(Debug)]
pub(super) struct Log {
    view: LogView,
    phase: Phase,
    /// Raw appends under way.
    raw: usize,
    /// Where the log will end when they are done.
    next: LogOffset,
    /// The store takes no more writes.
    pub(super) failed: bool,
}

impl Log {
    pub(super) fn new(view: LogView) -> Self {
        let next = view.end;
        Self { view, phase: Phase::Follows, raw: 0, next, failed: false }
    }

    pub(super) fn view(&self) -> &LogView {
        &self.view
    }

    /// Up to where this replica holds the log.
    pub(super) fn held(&self, holds: Holds) -> LogOffset {
        match holds {
            Holds::Written => self.view.end,
            Holds::Flushed => self.view.end.min(self.view.flushed),
        }
    }

    /// Where the log will end when all raw appends are done.
    pub(super) fn next(&self) -> LogOffset {
        self.next
    }

    /// Bytes on their way to the log.
    pub(super) fn pending_bytes(&self) -> u64 {
        self.next.0.saturating_sub(self.view.end.0)
    }

    /// Follows, and nothing is under way: `view` is exact.
    pub(super) fn is_quiet(&self) -> bool {
        self.phase == Phase::Follows && self.raw == 0
    }

    pub(super) fn leads(&self) -> Option<Epoch> {
        match self.phase {
            Phase::Leads(epoch) => Some(epoch),
            _ => None,
        }
    }

    pub(super) fn follow(&mut self, turn: &mut Turn<'_>) {
        if matches!(self.phase, Phase::BeginsToLead(_) | Phase::Leads(_)) {
            self.phase = Phase::BeginsToFollow;
            turn.push(Effect::Follow);
        }
    }

    pub(super) fn lead(&mut self, epoch: Epoch, turn: &mut Turn<'_>) {
        self.phase = Phase::BeginsToLead(epoch);
        turn.push(Effect::Lead { epoch });
    }

    pub(super) fn truncate(&mut self, to: LogOffset, turn: &mut Turn<'_>) {
        self.phase = Phase::Truncates;
        turn.push(Effect::Truncate { to });
    }

    pub(super) fn append_raw(&mut self, bytes: bytes::Bytes, turn: &mut Turn<'_>) {
        let at = self.next;
        self.raw = self.raw.saturating_add(1);
        self.next = LogOffset(at.0.saturating_add(bytes.len() as u64));
        turn.push(Effect::AppendRaw { at, bytes });
    }

    pub(super) fn on_progress(&mut self, appended: LogOffset, flushed: LogOffset) {
        match self.phase {
            Phase::Leads(_) => {
                self.view.end = self.view.end.max(appended);
                self.view.flushed = self.view.flushed.max(flushed);
            }
            Phase::Follows => self.view.flushed = self.view.flushed.max(flushed.min(self.view.end)),
            _ => {}
        }
    }

    pub(super) fn on_following(&mut self, view: LogView) {
        if self.phase == Phase::BeginsToFollow {
            self.phase = Phase::Follows;
            self.renew(view);
        }
    }

    /// True when the log leads in that epoch from now on.
    pub(super) fn on_leading(&mut self, epoch: Epoch, view: Option<LogView>) -> bool {
        if self.phase != Phase::BeginsToLead(epoch) {
            return false;
        }
        match view {
            Some(view) => {
                self.phase = Phase::Leads(epoch);
                self.renew(view);
                true
            }
            None => {
                self.phase = Phase::Follows;
                false
            }
        }
    }

    pub(super) fn on_raw(&mut self, result: &Result<LogView, RawFailure>) {
        self.raw = self.raw.saturating_sub(1);
        if self.phase != Phase::Follows {
            return;
        }
        if let Ok(view) = result {
            let next = self.next;
            self.renew(view.clone());
            self.next = next.max(self.view.end);
        }
        if self.raw == 0 {
            self.next = self.view.end;
        }
    }

    pub(super) fn on_truncated(&mut self, result: &Result<LogView, TruncateFailure>) {
        if self.phase != Phase::Truncates {
            return;
        }
        self.phase = Phase::Follows;
        if let Ok(view) = result {
            self.renew(view.clone());
        }
    }

    fn renew(&mut self, view: LogView) {
        let before = std::mem::replace(&mut self.view, view);
        if mutated(Mutation::EpochTableBesideLog) {
            self.view.epochs = beside_the_log(&before.epochs, &self.view.epochs);
        }
        self.next = self.view.end;
    }
}

/// What a table would be that only ever grows: the mistake of [`Mutation::EpochTableBesideLog`].
fn beside_the_log(before: &[EpochStart], found: &[EpochStart]) -> Arc<[EpochStart]> {
    let mut table = before.to_vec();
    let after =
        |last: Option<&EpochStart>, entry: &EpochStart| last.is_none_or(|last| entry.epoch > last.epoch);
    for entry in found {
        if after(table.last(), entry) {
            table.push(*entry);
        }
    }
    table.into()
}
