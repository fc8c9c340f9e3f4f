//! The machine's clock, moved by the test.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bolide_store::{Clock, SystemClock};
use bolide_wire::ids::EpochMillis;

/// A wall clock that jumps; the monotonic clock does not.
pub(crate) struct JumpingClock {
    machine: SystemClock,
    ahead_ms: AtomicI64,
}

impl JumpingClock {
    pub(crate) fn new() -> JumpingClock {
        JumpingClock { machine: SystemClock::new(), ahead_ms: AtomicI64::new(0) }
    }

    /// Moves the wall clock, forth or back.
    pub(crate) fn jump(&self, ms: i64) {
        self.ahead_ms.fetch_add(ms, Ordering::SeqCst);
    }
}

impl Clock for JumpingClock {
    fn now(&self) -> EpochMillis {
        EpochMillis(self.machine.now().0 + self.ahead_ms.load(Ordering::SeqCst))
    }

    fn monotonic(&self) -> Duration {
        self.machine.monotonic()
    }
}
