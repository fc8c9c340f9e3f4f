//! What the store counts. Gauges named `rocketmq_storage_*` have the names and labels of the original.

use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry, core::Collector,
};

use crate::Refusal;

/// From 50 microseconds to 6.5 seconds.
const SECONDS: [f64; 12] =
    [0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.01, 0.025, 0.1, 0.4, 1.6, 6.4];
/// From 1 KiB to 64 MiB.
const BYTES: [f64; 9] =
    [1024.0, 4096.0, 16_384.0, 65_536.0, 262_144.0, 1_048_576.0, 4_194_304.0, 16_777_216.0, 67_108_864.0];

/// Metrics of one store; clones share them.
#[derive(Clone, Debug)]
pub struct StoreMetrics {
    pub(crate) records: IntCounter,
    pub(crate) bytes: IntCounter,
    pub(crate) refused: IntCounterVec,
    pub(crate) write_bytes: Histogram,
    pub(crate) flush_seconds: Histogram,
    pub(crate) checkpoint_seconds: Histogram,
    pub(crate) checkpoint_failures: IntCounter,
    pub(crate) index_failures: IntCounter,
    pub(crate) retention_failures: IntCounter,
    pub(crate) segments_deleted: IntCounter,
    pub(crate) recovered_records: IntCounter,
    pub(crate) recovery_bytes: IntCounter,
    pub(crate) poisoned: IntGauge,
    pub(crate) storage_size: IntGauge,
    pub(crate) flush_behind: IntGauge,
    pub(crate) dispatch_behind: IntGauge,
    pub(crate) reserve_time: IntGauge,
    pub(crate) index_behind: IntGauge,
    pub(crate) queue_bytes_unwritten: IntGauge,
}

fn counter(name: &str, help: &str) -> IntCounter {
    IntCounter::new(name, help).expect("metric names are constants that are valid")
}

fn gauge(name: &str, help: &str) -> IntGauge {
    IntGauge::new(name, help).expect("metric names are constants that are valid")
}

fn storage(name: &str, help: &str) -> IntGauge {
    let opts =
        Opts::new(name, help).const_label("storage_type", "local").const_label("storage_medium", "disk");
    IntGauge::with_opts(opts).expect("metric names are constants that are valid")
}

fn histogram(name: &str, help: &str, buckets: &[f64]) -> Histogram {
    let opts = HistogramOpts::new(name, help).buckets(buckets.to_vec());
    Histogram::with_opts(opts).expect("metric names and buckets are constants that are valid")
}

impl StoreMetrics {
    /// Metrics at zero, not yet registered.
    #[must_use]
    pub fn new() -> Self {
        Self {
            records: counter("bolide_store_appended_records_total", "Records appended to the commit log"),
            bytes: counter("bolide_store_appended_bytes_total", "Bytes appended to the commit log"),
            refused: IntCounterVec::new(
                Opts::new("bolide_store_refused_total", "Append batches refused, by reason"),
                &["reason"],
            )
            .expect("metric names are constants that are valid"),
            write_bytes: histogram(
                "bolide_store_write_bytes",
                "Bytes of one write to the commit log",
                &BYTES,
            ),
            flush_seconds: histogram("bolide_store_flush_seconds", "Duration of one flush", &SECONDS),
            checkpoint_seconds: histogram(
                "bolide_store_checkpoint_seconds",
                "Duration of one checkpoint",
                &SECONDS,
            ),
            checkpoint_failures: counter(
                "bolide_store_checkpoint_failures_total",
                "Checkpoints that failed for want of space",
            ),
            index_failures: counter("bolide_store_index_failures_total", "Failed writes of index files"),
            retention_failures: counter(
                "bolide_store_retention_failures_total",
                "Failed rounds of retention",
            ),
            segments_deleted: counter("bolide_store_segments_deleted_total", "Commit log files deleted"),
            recovered_records: counter(
                "bolide_store_recovered_records_total",
                "Records read from the log at the start",
            ),
            recovery_bytes: counter(
                "bolide_store_recovery_bytes_total",
                "Bytes read from the log at the start",
            ),
            poisoned: gauge("bolide_store_poisoned", "1 after a failed write or fsync"),
            storage_size: storage("rocketmq_storage_size", "Bytes of commit log files"),
            flush_behind: storage("rocketmq_storage_flush_behind_bytes", "Appended bytes not yet flushed"),
            dispatch_behind: storage(
                "rocketmq_storage_dispatch_behind_bytes",
                "Appended bytes not yet visible",
            ),
            reserve_time: storage(
                "rocketmq_storage_message_reserve_time",
                "Age of the oldest record in milliseconds",
            ),
            index_behind: gauge("bolide_store_index_behind_bytes", "Visible bytes not yet indexed by key"),
            queue_bytes_unwritten: gauge(
                "bolide_store_queue_unwritten_bytes",
                "Consume queue bytes in memory only",
            ),
        }
    }

    /// Adds all of them to a registry.
    pub fn register(&self, registry: &Registry) -> Result<(), prometheus::Error> {
        let all: [Box<dyn Collector>; 19] = [
            Box::new(self.records.clone()),
            Box::new(self.bytes.clone()),
            Box::new(self.refused.clone()),
            Box::new(self.write_bytes.clone()),
            Box::new(self.flush_seconds.clone()),
            Box::new(self.checkpoint_seconds.clone()),
            Box::new(self.checkpoint_failures.clone()),
            Box::new(self.index_failures.clone()),
            Box::new(self.retention_failures.clone()),
            Box::new(self.segments_deleted.clone()),
            Box::new(self.recovered_records.clone()),
            Box::new(self.recovery_bytes.clone()),
            Box::new(self.poisoned.clone()),
            Box::new(self.storage_size.clone()),
            Box::new(self.flush_behind.clone()),
            Box::new(self.dispatch_behind.clone()),
            Box::new(self.reserve_time.clone()),
            Box::new(self.index_behind.clone()),
            Box::new(self.queue_bytes_unwritten.clone()),
        ];
        all.into_iter().try_for_each(|metric| registry.register(metric))
    }

    pub(crate) fn count_refused(&self, reason: Refusal) {
        let label = match reason {
            Refusal::Busy => "busy",
            Refusal::DiskFull => "disk_full",
            Refusal::Poisoned => "poisoned",
            Refusal::Closed => "closed",
            Refusal::NotMaster => "not_master",
            Refusal::Invalid => "invalid",
        };
        self.refused.with_label_values(&[label]).inc();
    }
}

impl Default for StoreMetrics {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_metrics_register_once() {
        let registry = Registry::new();
        let metrics = StoreMetrics::new();
        metrics.register(&registry).expect("fresh registry");
        assert!(metrics.register(&registry).is_err());
    }
}
