//! Owns counters with a memory: totals that the hot path adds to, and the rates of the last minute, hour and day.
//!
//! The hot path touches two atomics. Whoever keeps the counters calls [`Counter::sample`] every [`SAMPLE_MS`]; a counter
//! that never counted has no window.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

use bolide_wire::ids::EpochMillis;
use parking_lot::Mutex;

/// Milliseconds between two samples.
pub(crate) const SAMPLE_MS: i64 = 10_000;

const MINUTE: usize = 7;
const HOUR: usize = 7;
const DAY: usize = 25;
const SAMPLES_PER_HOUR_ENTRY: u64 = 60;
const SAMPLES_PER_DAY_ENTRY: u64 = 360;

#[derive(Debug, Clone, Copy)]
struct Sample {
    at_ms: i64,
    sum: u64,
    times: u64,
}

#[derive(Debug, Default)]
struct Windows {
    taken: u64,
    minute: VecDeque<Sample>,
    hour: VecDeque<Sample>,
    day: VecDeque<Sample>,
}

/// A total with its recent past.
#[derive(Debug, Default)]
pub(crate) struct Counter {
    sum: AtomicU64,
    times: AtomicU64,
    windows: Mutex<Option<Box<Windows>>>,
}

/// What happened in a stretch of time.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub(crate) struct Rate {
    /// Added in the stretch.
    pub(crate) sum: u64,
    /// Added per second.
    pub(crate) per_second: f64,
    /// Added per call.
    pub(crate) per_call: f64,
}

impl Counter {
    /// Adds `value`, counted as one call.
    pub(crate) fn add(&self, value: u64) {
        self.add_calls(value, 1);
    }

    /// Adds `value` of `calls` calls.
    pub(crate) fn add_calls(&self, value: u64, calls: u64) {
        self.sum.fetch_add(value, Ordering::Relaxed);
        self.times.fetch_add(calls, Ordering::Relaxed);
    }

    /// Total since the start.
    pub(crate) fn total(&self) -> u64 {
        self.sum.load(Ordering::Relaxed)
    }

    /// Remembers the total at this time.
    pub(crate) fn sample(&self, now: EpochMillis) {
        let sample = Sample { at_ms: now.0, sum: self.total(), times: self.times.load(Ordering::Relaxed) };
        let mut windows = self.windows.lock();
        if sample.times == 0 && windows.is_none() {
            return;
        }
        // Before the first count there was nothing: without this, what comes before the first sample is in no rate.
        let windows = windows.get_or_insert_with(|| {
            let nothing = Sample { at_ms: sample.at_ms.saturating_sub(SAMPLE_MS), sum: 0, times: 0 };
            let mut windows = Box::<Windows>::default();
            for window in [&mut windows.minute, &mut windows.hour, &mut windows.day] {
                window.push_back(nothing);
            }
            windows
        });
        push(&mut windows.minute, sample, MINUTE);
        if windows.taken.is_multiple_of(SAMPLES_PER_HOUR_ENTRY) {
            push(&mut windows.hour, sample, HOUR);
        }
        if windows.taken.is_multiple_of(SAMPLES_PER_DAY_ENTRY) {
            push(&mut windows.day, sample, DAY);
        }
        windows.taken = windows.taken.wrapping_add(1);
    }

    /// Rate over the last minute.
    pub(crate) fn minute(&self) -> Rate {
        self.windows.lock().as_ref().map(|windows| rate(&windows.minute)).unwrap_or_default()
    }

    /// Rate over the last hour.
    pub(crate) fn hour(&self) -> Rate {
        self.windows.lock().as_ref().map(|windows| rate(&windows.hour)).unwrap_or_default()
    }

    /// Rate over the last day.
    pub(crate) fn day(&self) -> Rate {
        self.windows.lock().as_ref().map(|windows| rate(&windows.day)).unwrap_or_default()
    }

    /// Rate over the last ten to twenty minutes, or since the first sample.
    pub(crate) fn ten_minutes(&self) -> Rate {
        let windows = self.windows.lock();
        let Some(windows) = windows.as_ref() else { return Rate::default() };
        let from = windows.hour.len().saturating_sub(2);
        between(windows.hour.get(from), windows.minute.back())
    }

    /// Rate between the last two samples, some 10 s.
    pub(crate) fn latest(&self) -> Rate {
        let windows = self.windows.lock();
        let Some(minute) = windows.as_ref().map(|windows| &windows.minute) else { return Rate::default() };
        let from = minute.len().saturating_sub(2);
        between(minute.get(from), minute.back())
    }
}

fn push(window: &mut VecDeque<Sample>, sample: Sample, most: usize) {
    if window.len() >= most {
        window.pop_front();
    }
    window.push_back(sample);
}

fn rate(window: &VecDeque<Sample>) -> Rate {
    between(window.front(), window.back())
}

#[expect(clippy::cast_precision_loss, reason = "rates are for people; the counters themselves stay exact")]
fn between(first: Option<&Sample>, last: Option<&Sample>) -> Rate {
    let (Some(first), Some(last)) = (first, last) else { return Rate::default() };
    let sum = last.sum.saturating_sub(first.sum);
    let times = last.times.saturating_sub(first.times);
    let ms = last.at_ms.saturating_sub(first.at_ms);
    Rate {
        sum,
        per_second: if ms > 0 { sum as f64 * 1_000.0 / ms as f64 } else { 0.0 },
        per_call: if times > 0 { sum as f64 / times as f64 } else { 0.0 },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_follow_the_samples() {
        let counter = Counter::default();
        counter.sample(EpochMillis(0));
        assert_eq!(counter.minute(), Rate::default());
        for second in 0..=6 {
            counter.add_calls(100, 10);
            counter.sample(EpochMillis(second * SAMPLE_MS));
        }
        let minute = counter.minute();
        assert_eq!((minute.sum, minute.per_second, minute.per_call), (600, 10.0, 10.0));
        assert_eq!(counter.latest().sum, 100);
        assert_eq!(counter.total(), 700);
    }

    #[test]
    fn what_was_counted_before_the_first_sample_is_in_the_rate() {
        let counter = Counter::default();
        counter.add(30);
        counter.sample(EpochMillis(SAMPLE_MS));
        assert_eq!((counter.minute().sum, counter.day().sum), (30, 30));
        assert_eq!(counter.minute().per_second, 3.0);
    }

    #[test]
    fn old_samples_fall_out_of_the_minute() {
        let counter = Counter::default();
        counter.add(1_000);
        for second in 0..20 {
            counter.sample(EpochMillis(second * SAMPLE_MS));
        }
        assert_eq!(counter.minute().sum, 0);
    }

    #[test]
    fn a_clock_that_jumps_back_gives_no_rate() {
        let counter = Counter::default();
        counter.add(1);
        counter.sample(EpochMillis(50_000));
        counter.add(1);
        counter.sample(EpochMillis(10_000));
        assert_eq!(counter.minute().per_second, 0.0);
    }
}
