//! Owns what pop consumption needs while the broker runs: who waits for messages, and the way of changes into the log.
//! What is out with whom is state, see `state/pops.rs`.

use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::handler::pop::wait::Waiting;
use crate::stats::Counter;

pub(crate) mod hold;
pub(crate) mod journal;
pub(crate) mod revive;

use hold::PopHold;

/// Messages of one pop at most, whatever is asked for.
pub(crate) const MOST_MESSAGES: u32 = 1_024;

/// The live part of pop consumption.
pub(crate) struct Popping {
    /// Requests that wait for messages.
    pub(crate) hold: Mutex<PopHold<Waiting>>,
    /// The nearest deadline of `hold` came closer.
    pub(crate) hold_changed: Notify,
    /// There are changes to log.
    pub(crate) journal: Notify,
    revive: Notify,
    /// Until when the reviver sleeps, by the wall clock.
    asleep_until: AtomicI64,
    turn: AtomicU32,
    /// What became of messages that were not acknowledged in time.
    pub(crate) counters: ReturnCounters,
}

/// Messages that were not acknowledged in time.
#[derive(Debug, Default)]
pub(crate) struct ReturnCounters {
    /// Given again.
    pub(crate) again: Counter,
    /// Sent to a dead-letter topic.
    pub(crate) dead: Counter,
    /// Lost to their group: deleted with the log, or with group or topic.
    pub(crate) dropped: Counter,
}

impl Popping {
    pub(crate) fn new() -> Popping {
        Popping {
            hold: Mutex::new(PopHold::new()),
            hold_changed: Notify::new(),
            journal: Notify::new(),
            revive: Notify::new(),
            asleep_until: AtomicI64::new(i64::MIN),
            turn: AtomicU32::new(0),
            counters: ReturnCounters::default(),
        }
    }

    /// Something is due at that time.
    pub(crate) fn due_at(&self, time: i64) {
        if time < self.asleep_until.load(Ordering::Acquire) {
            self.revive.notify_one();
        }
    }

    /// The reviver sleeps until then.
    pub(crate) fn asleep_until(&self, time: i64) {
        self.asleep_until.store(time, Ordering::Release);
    }

    /// Waits until something is due earlier than the reviver thought.
    pub(crate) async fn due_earlier(&self) {
        self.revive.notified().await;
    }

    /// A number that is another one each time, for taking turns.
    pub(crate) fn turn(&self) -> u32 {
        self.turn.fetch_add(1, Ordering::Relaxed)
    }
}
