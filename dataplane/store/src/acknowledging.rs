//! Whether a master may acknowledge. One that has not heard of its replicas for too long may not be the master any more, so
//! acknowledgements are held until it has; the time is looked at before each one, since a process that was stopped in between
//! must not go on with old news.
//!
//! Invariant: who finds the gate closed puts its acknowledgement among the held ones, counts it, and looks again; who opens
//! the gate does so before it looks at the count. So none stays behind an open gate.

use std::{
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
    time::Duration,
};

/// Until when acknowledgements are given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acknowledging {
    /// From now on, without end.
    Yes,
    /// As long as [`crate::Clock::monotonic`] is less than this.
    Until(Duration),
    /// No more; those that are due are held.
    No,
}

const ALWAYS: u64 = u64::MAX;
const NEVER: u64 = 0;

pub(crate) struct Gate {
    /// Nanoseconds of the monotonic clock.
    until: AtomicU64,
    /// Number of held acknowledgements.
    held: AtomicUsize,
}

impl Gate {
    pub(crate) fn new(first: Acknowledging) -> Self {
        let gate = Self { until: AtomicU64::new(NEVER), held: AtomicUsize::new(0) };
        gate.set(first);
        gate
    }

    /// Sets it; true when there may be held acknowledgements to look after.
    pub(crate) fn set(&self, to: Acknowledging) -> bool {
        let until = match to {
            Acknowledging::Yes => ALWAYS,
            Acknowledging::Until(time) => {
                u64::try_from(time.as_nanos()).unwrap_or(ALWAYS).min(ALWAYS.saturating_sub(1))
            }
            Acknowledging::No => NEVER,
        };
        self.until.store(until, Ordering::SeqCst);
        self.held() > 0
    }

    /// True when an acknowledgement may be given now.
    pub(crate) fn is_open(&self, now: impl FnOnce() -> Duration) -> bool {
        match self.until.load(Ordering::SeqCst) {
            ALWAYS => true,
            NEVER => false,
            until => now().as_nanos() < u128::from(until),
        }
    }

    pub(crate) fn held(&self) -> usize {
        self.held.load(Ordering::SeqCst)
    }

    /// Notes how many are held; under the lock that guards them.
    pub(crate) fn note_held(&self, count: usize) {
        self.held.store(count, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_looked_at_each_time() {
        let gate = Gate::new(Acknowledging::No);
        assert!(!gate.is_open(|| Duration::ZERO));
        gate.set(Acknowledging::Until(Duration::from_secs(2)));
        assert!(gate.is_open(|| Duration::from_millis(1999)));
        assert!(!gate.is_open(|| Duration::from_secs(2)));
        gate.set(Acknowledging::Until(Duration::MAX));
        assert!(gate.is_open(|| Duration::from_secs(1 << 30)));
        gate.set(Acknowledging::Yes);
        assert!(gate.is_open(|| Duration::MAX));
    }

    #[test]
    fn held_ones_are_noticed_by_who_opens() {
        let gate = Gate::new(Acknowledging::Yes);
        assert!(!gate.set(Acknowledging::No));
        gate.note_held(3);
        assert!(gate.set(Acknowledging::Yes));
    }
}
