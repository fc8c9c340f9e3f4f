//! Owns what the log says of deliveries: which entries are done.
//!
//! Deliveries go in the order of the keys, but a timer can become known late: its record is placed while a later one is being
//! delivered already. So a delivery says two things: how far it has come, and up to which log offset timers were known to it.
//! A claim `(seen, upto)` means: every entry below the log offset `seen` whose key is at most `upto` is done. Of all claims
//! only those are kept that no other covers, which is one, or two while a late timer is caught up with; one more only for
//! each time that the clock goes back.

use bolide_wire::{EpochMillis, LogOffset};
use serde::{Deserialize, Serialize};

use crate::entry::{Key, Kind};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Claim {
    seen: u64,
    due: i64,
    place: u64,
}

impl Claim {
    fn upto(&self) -> Key {
        Key::from_parts(self.due, self.place)
    }

    fn covers(&self, other: &Claim) -> bool {
        self.seen >= other.seen && self.upto() >= other.upto()
    }
}

/// Which entries are done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    claims: Vec<Claim>,
    /// Every entry below this log offset was done or put into the log again.
    rolled: u64,
}

impl Progress {
    /// Every entry below `seen` up to and with `upto` is done.
    pub fn delivered(&mut self, seen: LogOffset, upto: Key) {
        let (due, place) = upto.parts();
        let new = Claim { seen: seen.0, due, place };
        if !self.claims.iter().any(|known| known.covers(&new)) {
            self.claims.retain(|known| !new.covers(known));
            self.claims.push(new);
        }
    }

    /// Every entry up to and with the one at `at` was done or put into the log again.
    pub fn rolled(&mut self, at: LogOffset) {
        self.rolled = self.rolled.max(at.0.saturating_add(1));
    }

    /// Whether nothing is left to do for an entry. A recall has to be known as long as messages of its instant may come.
    #[must_use]
    pub fn is_done(&self, key: Key) -> bool {
        let at = key.at().0;
        let passed = |claim: &Claim| {
            at < claim.seen
                && match key.kind() {
                    Kind::Message => key <= claim.upto(),
                    Kind::Recall => key.due().0 < claim.due,
                }
        };
        at < self.rolled || self.claims.iter().any(passed)
    }

    /// The latest due time of anything delivered.
    #[must_use]
    pub fn latest(&self) -> Option<EpochMillis> {
        self.claims.iter().map(|claim| EpochMillis(claim.due)).max()
    }

    /// All of a sorted list whose entries lie below `below` is done up to this key, itself not included.
    pub(crate) fn start(&self, below: u64) -> Key {
        let covering = self.claims.iter().filter(|claim| claim.seen >= below);
        let due = covering.map(|claim| claim.due).max().unwrap_or(i64::MIN);
        Key::from_parts(due, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(due: i64, at: u64) -> Key {
        Key::message(EpochMillis(due), LogOffset(at))
    }

    fn recall(due: i64, at: u64) -> Key {
        Key::recall(EpochMillis(due), LogOffset(at))
    }

    #[test]
    fn a_timer_that_came_late_stays_pending_until_it_is_delivered_itself() {
        let mut progress = Progress::default();
        progress.delivered(LogOffset(100), message(200, 50));
        assert!(progress.is_done(message(150, 99)) && progress.is_done(message(200, 50)));
        assert!(!progress.is_done(message(200, 51)), "later in the log");
        assert!(!progress.is_done(message(150, 100)), "not known to the delivery");
        progress.delivered(LogOffset(120), message(150, 100));
        assert!(progress.is_done(message(150, 100)) && progress.is_done(message(200, 50)));
        assert!(!progress.is_done(message(160, 110)));
        progress.delivered(LogOffset(130), message(200, 60));
        assert!(progress.is_done(message(160, 110)));
        assert_eq!(progress.claims.len(), 1, "caught up");
    }

    #[test]
    fn claims_may_come_twice_and_in_any_order() {
        let claims = [
            (100, message(200, 50)),
            (120, message(150, 100)),
            (130, message(200, 60)),
            (140, message(10, 131)),
        ];
        let apply = |order: &[usize]| {
            let mut progress = Progress::default();
            for at in order {
                progress.delivered(LogOffset(claims[*at].0), claims[*at].1);
            }
            let mut keys = progress.claims;
            keys.sort_by_key(|claim| claim.seen);
            keys
        };
        let straight = apply(&[0, 1, 2, 3]);
        assert_eq!(apply(&[0, 0, 1, 1, 2, 3, 0, 1, 2, 3]), straight);
        assert_eq!(apply(&[3, 2, 1, 0]), straight);
    }

    #[test]
    fn a_recall_is_kept_until_its_instant_is_over() {
        let mut progress = Progress::default();
        progress.delivered(LogOffset(100), message(200, 50));
        assert!(!progress.is_done(recall(200, 60)));
        assert!(progress.is_done(recall(199, 60)) && !progress.is_done(recall(199, 100)));
        progress.delivered(LogOffset(100), Key::after(EpochMillis(200)));
        assert!(progress.is_done(recall(200, 60)));
        assert!(!progress.is_done(message(201, 3)));
    }

    #[test]
    fn what_was_put_into_the_log_again_is_done_at_its_old_place() {
        let mut progress = Progress::default();
        progress.rolled(LogOffset(10));
        assert!(progress.is_done(message(i64::MAX, 10)) && !progress.is_done(message(1, 11)));
        progress.rolled(LogOffset(3));
        assert!(progress.is_done(recall(5, 10)));
        assert_eq!(progress.latest(), None);
    }
}
