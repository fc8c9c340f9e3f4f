//! Time from a request's last byte to its reply being queued, per request code.
//!
//! Own counters instead of `prometheus::Histogram`: replies of one batch mostly share code and duration, and `observe_many` counts
//! them in one step. Labels are the known request codes and `other`, so the set is bounded whatever peers send.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bolide_wire::code::RequestCode;
use prometheus::core::{Collector, Desc};
use prometheus::proto;

/// Name and unit as upstream's.
const NAME: &str = "rocketmq_rpc_latency";

/// Upper bounds in milliseconds; held pulls are why it reaches half a minute.
const BUCKETS_MS: [f64; 16] = [
    0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1_000.0, 3_000.0, 10_000.0,
    30_000.0,
];

/// The label of codes without a name.
const OTHER: u16 = 0;

#[derive(Clone, Debug)]
pub(crate) struct Latency {
    table: Arc<Table>,
}

#[derive(Debug)]
struct Table {
    desc: Desc,
    role: String,
    labels: HashMap<i32, u16>,
    series: Vec<Series>,
}

#[derive(Debug)]
struct Series {
    name: String,
    /// One more than the bounds: the last counts what is above all of them.
    buckets: [AtomicU64; BUCKETS_MS.len() + 1],
    sum_us: AtomicU64,
}

impl Series {
    fn new(name: String) -> Self {
        Self { name, buckets: std::array::from_fn(|_| AtomicU64::new(0)), sum_us: AtomicU64::new(0) }
    }
}

impl Latency {
    pub(crate) fn new(role: &str) -> Self {
        let mut series = vec![Series::new("other".to_owned())];
        let mut labels = HashMap::new();
        for (code, name) in RequestCode::KNOWN {
            if let Ok(index) = u16::try_from(series.len()) {
                labels.insert(code.0, index);
                series.push(Series::new(name.to_ascii_lowercase()));
            }
        }
        let const_labels = HashMap::from([("role".to_owned(), role.to_owned())]);
        let desc = Desc::new(
            NAME.to_owned(),
            "Milliseconds from a request's last byte to its reply being queued, by request code.".to_owned(),
            vec!["request_code".to_owned()],
            const_labels,
        )
        .expect("constant names are valid");
        Self { table: Arc::new(Table { desc, role: role.to_owned(), labels, series }) }
    }

    /// Index of the label of a request code.
    pub(crate) fn label(&self, code: i32) -> u16 {
        self.table.labels.get(&code).copied().unwrap_or(OTHER)
    }

    /// Counts `count` requests that each took `elapsed`.
    pub(crate) fn observe_many(&self, label: u16, elapsed: Duration, count: u64) {
        let Some(series) = self.table.series.get(usize::from(label)) else { return };
        let ms = elapsed.as_secs_f64() * 1_000.0;
        let bucket = BUCKETS_MS.partition_point(|bound| *bound < ms);
        if let Some(counter) = series.buckets.get(bucket) {
            counter.fetch_add(count, Ordering::Relaxed);
        }
        let us = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
        series.sum_us.fetch_add(us.saturating_mul(count), Ordering::Relaxed);
    }
}

impl Collector for Latency {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.table.desc]
    }

    fn collect(&self) -> Vec<proto::MetricFamily> {
        let mut metrics = Vec::new();
        for series in &self.table.series {
            let mut cumulative = 0;
            let mut buckets = Vec::with_capacity(BUCKETS_MS.len());
            for (bound, counter) in BUCKETS_MS.iter().zip(&series.buckets) {
                cumulative += counter.load(Ordering::Relaxed);
                let mut bucket = proto::Bucket::default();
                bucket.set_upper_bound(*bound);
                bucket.set_cumulative_count(cumulative);
                buckets.push(bucket);
            }
            let count = series.buckets.last().map_or(0, |above| above.load(Ordering::Relaxed)) + cumulative;
            if count == 0 {
                continue;
            }
            let mut histogram = proto::Histogram::default();
            histogram.set_sample_count(count);
            histogram.set_sample_sum(series.sum_us.load(Ordering::Relaxed) as f64 / 1_000.0);
            histogram.set_bucket(buckets);
            let mut metric = proto::Metric::default();
            metric.set_label(vec![pair("request_code", &series.name), pair("role", &self.table.role)]);
            metric.set_histogram(histogram);
            metrics.push(metric);
        }
        if metrics.is_empty() {
            return Vec::new();
        }
        let mut family = proto::MetricFamily::default();
        family.set_name(NAME.to_owned());
        family.set_help(self.table.desc.help.clone());
        family.set_field_type(proto::MetricType::HISTOGRAM);
        family.set_metric(metrics);
        vec![family]
    }
}

fn pair(name: &str, value: &str) -> proto::LabelPair {
    let mut pair = proto::LabelPair::default();
    pair.set_name(name.to_owned());
    pair.set_value(value.to_owned());
    pair
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_counted_in_their_bucket_under_their_code() {
        let latency = Latency::new("server");
        let label = latency.label(310);
        latency.observe_many(label, Duration::from_micros(200), 64);
        latency.observe_many(latency.label(-5), Duration::from_secs(60), 1);
        let families = latency.collect();
        let metrics = families[0].get_metric();
        assert_eq!(metrics.len(), 2);
        let send = metrics[1].get_histogram();
        assert_eq!(send.get_sample_count(), 64);
        assert_eq!(send.get_bucket()[0].cumulative_count(), 0);
        assert_eq!(send.get_bucket()[1].cumulative_count(), 64);
        let other = metrics[0].get_histogram();
        assert_eq!(other.get_sample_count(), 1);
        assert_eq!(other.get_bucket().last().unwrap().cumulative_count(), 0);
    }
}
