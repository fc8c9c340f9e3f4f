//! Time as an argument: the store never reads a clock itself, so that the simulator and the tests own it.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bolide_wire::EpochMillis;

/// Wall clock for time stamps, monotonic clock for intervals.
pub trait Clock: Send + Sync {
    /// Wall clock time.
    fn now(&self) -> EpochMillis;
    /// Time since an arbitrary fixed point; never goes back.
    fn monotonic(&self) -> Duration;
}

/// The machine's clocks.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// Starts the monotonic clock at zero.
    #[must_use]
    pub fn new() -> Self {
        Self { start: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> EpochMillis {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        EpochMillis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }
}
