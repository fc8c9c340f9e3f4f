//! What a benchmark counts, its progress on standard error, and its result.

use std::io::{IsTerminal, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::output::{self, Format};

/// Longest latency told apart, in microseconds.
const LONGEST_US: u64 = 60_000_000;

/// Counts of one benchmark; shared by its workers.
#[derive(Clone, Debug)]
pub(crate) struct Counts {
    inner: Arc<Mutex<Inner>>,
    begun: Instant,
}

#[derive(Debug)]
struct Inner {
    messages: u64,
    bytes: u64,
    errors: u64,
    last_error: String,
    latency_us: Histogram<u64>,
}

/// The numbers of a finished benchmark.
#[derive(Debug, Serialize)]
pub(crate) struct Outcome {
    pub(crate) messages: u64,
    pub(crate) errors: u64,
    pub(crate) seconds: f64,
    pub(crate) messages_per_second: f64,
    pub(crate) megabytes_per_second: f64,
    pub(crate) latency_p50_ms: f64,
    pub(crate) latency_p90_ms: f64,
    pub(crate) latency_p99_ms: f64,
    pub(crate) latency_p999_ms: f64,
    pub(crate) latency_max_ms: f64,
    pub(crate) last_error: Option<String>,
}

impl Counts {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let latency_us = Histogram::new_with_bounds(1, LONGEST_US, 3)?;
        let inner = Inner { messages: 0, bytes: 0, errors: 0, last_error: String::new(), latency_us };
        Ok(Self { inner: Arc::new(Mutex::new(inner)), begun: Instant::now() })
    }

    fn with<T>(&self, act: impl FnOnce(&mut Inner) -> T) -> T {
        act(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// One request that moved `messages` of `bytes` in total.
    pub(crate) fn done(&self, messages: u64, bytes: u64, latency: Duration) {
        let us = u64::try_from(latency.as_micros()).unwrap_or(LONGEST_US);
        self.with(|inner| {
            inner.messages += messages;
            inner.bytes += bytes;
            inner.latency_us.saturating_record(us.clamp(1, LONGEST_US));
        });
    }

    /// One request that failed.
    pub(crate) fn failed(&self, error: &impl std::fmt::Display) {
        self.with(|inner| {
            inner.errors += 1;
            inner.last_error = error.to_string();
        });
    }

    pub(crate) fn messages(&self) -> u64 {
        self.with(|inner| inner.messages)
    }

    /// Writes the rate of each second to standard error, until dropped or aborted.
    pub(crate) async fn progress(self) {
        let mut before = (0, 0);
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        tick.tick().await;
        loop {
            tick.tick().await;
            let (messages, bytes, errors, p99) = self.with(|inner| {
                (inner.messages, inner.bytes, inner.errors, inner.latency_us.value_at_quantile(0.99))
            });
            let line = format!(
                "{:5.0} s  {:>9} msg/s  {:>7.1} MB/s  p99 {:>8.2} ms  {errors} errors",
                self.begun.elapsed().as_secs_f64(),
                messages - before.0,
                megabytes(bytes - before.1),
                milliseconds(p99),
            );
            before = (messages, bytes);
            let mut out = std::io::stderr().lock();
            // progress is only shown: a closed output must not end the measurement
            let _ = if out.is_terminal() { write!(out, "\r{line}\x1b[K") } else { writeln!(out, "{line}") };
        }
    }

    pub(crate) fn outcome(&self) -> Outcome {
        let seconds = self.begun.elapsed().as_secs_f64();
        self.with(|inner| {
            let at = |quantile| milliseconds(inner.latency_us.value_at_quantile(quantile));
            Outcome {
                messages: inner.messages,
                errors: inner.errors,
                seconds,
                messages_per_second: ratio(inner.messages, seconds),
                megabytes_per_second: ratio(inner.bytes, seconds) / 1e6,
                latency_p50_ms: at(0.5),
                latency_p90_ms: at(0.9),
                latency_p99_ms: at(0.99),
                latency_p999_ms: at(0.999),
                latency_max_ms: milliseconds(inner.latency_us.max()),
                last_error: (inner.errors > 0).then(|| inner.last_error.clone()),
            }
        })
    }
}

#[expect(clippy::cast_precision_loss, reason = "a rate for people needs no more than 53 bits")]
fn ratio(count: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { count as f64 / seconds } else { 0.0 }
}

fn megabytes(bytes: u64) -> f64 {
    ratio(bytes, 1e6)
}

fn milliseconds(us: u64) -> f64 {
    ratio(us, 1000.0)
}

/// Prints the result. Nothing done at all is a failure.
pub(crate) fn finish(format: Format, what: &str, outcome: &Outcome) -> anyhow::Result<()> {
    if std::io::stderr().is_terminal() {
        eprintln!();
    }
    output::print(format, outcome, |outcome| {
        format!(
            "{what} {} messages in {:.1} s: {:.0} msg/s, {:.1} MB/s, {} errors\n\
             latency ms: p50 {:.2}  p90 {:.2}  p99 {:.2}  p99.9 {:.2}  max {:.2}\n",
            outcome.messages,
            outcome.seconds,
            outcome.messages_per_second,
            outcome.megabytes_per_second,
            outcome.errors,
            outcome.latency_p50_ms,
            outcome.latency_p90_ms,
            outcome.latency_p99_ms,
            outcome.latency_p999_ms,
            outcome.latency_max_ms,
        )
    })?;
    match &outcome.last_error {
        Some(error) => anyhow::bail!("{} requests failed, the last one: {error}", outcome.errors),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_become_rates_and_percentiles() {
        let counts = Counts::new().unwrap();
        for ms in 1..=100 {
            counts.done(2, 2_000_000, Duration::from_millis(ms));
        }
        let outcome = counts.outcome();
        assert_eq!(outcome.messages, 200);
        assert!((49.0..=51.0).contains(&outcome.latency_p50_ms), "{outcome:?}");
        assert!((99.0..=101.0).contains(&outcome.latency_p99_ms), "{outcome:?}");
        assert!(outcome.last_error.is_none());
        counts.failed(&"no luck");
        assert_eq!(counts.outcome().last_error.as_deref(), Some("no luck"));
    }
}
