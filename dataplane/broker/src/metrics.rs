//! Owns the broker's metrics. What the hot path counts are the counters of topics and groups; their metrics, and all
//! gauges, are made at scrape time. Names are those of the original where it has a like metric.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bolide_wire::ResponseCode;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

use crate::broker::Broker;

mod replicas;
mod scrape;

/// Buckets of the time that transactions take, in seconds; the original's.
const TRANSACTION_SECONDS: [f64; 6] = [5.0, 60.0, 600.0, 3_600.0, 43_200.0, 86_400.0];
/// Buckets of the lateness of timers.
const LATENESS_SECONDS: &[f64] =
    &[0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 10.0, 60.0, 3_600.0];

/// Counters that are added to as things happen.
#[derive(Debug, Clone)]
pub struct BrokerMetrics {
    refused: IntCounterVec,
    refused_total: Arc<AtomicU64>,
    transaction_seconds: HistogramVec,
    transaction_checks: IntCounter,
    transaction_unchecked: IntCounter,
    timers_late: Histogram,
}

impl BrokerMetrics {
    /// Adds the metrics to `registry`.
    pub fn register(registry: &Registry) -> Result<BrokerMetrics, prometheus::Error> {
        let opts =
            Opts::new("bolide_broker_sends_refused_total", "Sends that were not stored, by response code");
        let refused = IntCounterVec::new(opts, &["code"])?;
        registry.register(Box::new(refused.clone()))?;
        let opts = HistogramOpts::new(
            "rocketmq_finish_message_latency",
            "Seconds from the making of a transaction's message to its commit",
        )
        .buckets(TRANSACTION_SECONDS.to_vec());
        let transaction_seconds = HistogramVec::new(opts, &["topic"])?;
        let transaction_checks = IntCounter::new(
            "bolide_broker_transaction_checks_total",
            "Producers asked for the end of a transaction",
        )?;
        let transaction_unchecked = IntCounter::new(
            "bolide_broker_transaction_checks_unsent_total",
            "Checks of transactions for which no producer of the group was connected",
        )?;
        registry.register(Box::new(transaction_seconds.clone()))?;
        registry.register(Box::new(transaction_checks.clone()))?;
        registry.register(Box::new(transaction_unchecked.clone()))?;
        let opts = HistogramOpts::new(
            "bolide_broker_timer_lateness_seconds",
            "Time between the due time of a message and its delivery",
        );
        let timers_late = Histogram::with_opts(opts.buckets(LATENESS_SECONDS.to_vec()))?;
        registry.register(Box::new(timers_late.clone()))?;
        let refused_total = Arc::default();
        Ok(BrokerMetrics {
            refused,
            refused_total,
            transaction_seconds,
            transaction_checks,
            transaction_unchecked,
            timers_late,
        })
    }

    /// A transaction was committed, `ms` milliseconds after its message was made.
    pub(crate) fn committed(&self, topic: &str, ms: i64) {
        let seconds = Duration::from_millis(u64::try_from(ms).unwrap_or(0)).as_secs_f64();
        self.transaction_seconds.with_label_values(&[topic]).observe(seconds);
    }

    /// A check of a transaction was due; `sent` says whether there was a producer to ask.
    pub(crate) fn transaction_checked(&self, sent: bool) {
        let counter = if sent { &self.transaction_checks } else { &self.transaction_unchecked };
        counter.inc();
    }

    /// A send was answered with this code.
    pub(crate) fn send_refused(&self, code: ResponseCode) {
        self.refused.with_label_values(&[code.name().unwrap_or("other")]).inc();
        self.refused_total.fetch_add(1, Ordering::Relaxed);
    }

    /// Timers are delivered so many milliseconds late.
    pub(crate) fn timers_late(&self, late_ms: &[i64]) {
        for ms in late_ms {
            let ms = u32::try_from(*ms).unwrap_or(if *ms < 0 { 0 } else { u32::MAX });
            self.timers_late.observe(f64::from(ms) / 1e3);
        }
    }

    /// Sends that were not stored.
    pub(crate) fn refused_sends(&self) -> u64 {
        self.refused_total.load(Ordering::Relaxed)
    }
}

/// Makes the metrics of a broker when they are asked for.
pub(crate) struct BrokerCollector {
    broker: Weak<Broker>,
    desc: Desc,
}

impl BrokerCollector {
    pub(crate) fn new(broker: Weak<Broker>) -> Result<BrokerCollector, prometheus::Error> {
        let name = "rocketmq_broker_permission".to_owned();
        let desc =
            Desc::new(name, "Permission of the broker".into(), Vec::new(), std::collections::HashMap::new())?;
        Ok(BrokerCollector { broker, desc })
    }
}

impl Collector for BrokerCollector {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let Some(broker) = self.broker.upgrade() else { return Vec::new() };
        match scrape::all(&broker) {
            Ok(families) => families,
            Err(error) => {
                tracing::error!(%error, "metrics cannot be made");
                Vec::new()
            }
        }
    }
}

/// Families with the labels that every metric of a broker carries.
struct Families<'a> {
    broker: &'a Broker,
    made: Vec<MetricFamily>,
}

impl Families<'_> {
    fn opts(&self, name: &str, help: &str) -> Opts {
        let id = format!("{}_{}", self.broker.names.broker, self.broker.live.load().config.broker_id);
        Opts::new(name, help)
            .const_label("cluster", self.broker.names.cluster.as_str())
            .const_label("node_type", "broker")
            .const_label("node_id", id)
    }

    fn gauge(&mut self, name: &str, help: &str, value: i64) -> Result<(), prometheus::Error> {
        let gauge = IntGauge::with_opts(self.opts(name, help))?;
        gauge.set(value);
        self.made.extend(gauge.collect());
        Ok(())
    }

    fn counters<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        labels: [&str; N],
        rows: &[([&str; N], u64)],
    ) -> Result<(), prometheus::Error> {
        let counters = IntCounterVec::new(self.opts(name, help), &labels)?;
        for (values, total) in rows.iter().take(scrape::MOST_SERIES) {
            counters.with_label_values(values).inc_by(*total);
        }
        self.made.extend(counters.collect());
        Ok(())
    }

    fn gauges<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        labels: [&str; N],
        rows: &[([&str; N], i64)],
    ) -> Result<(), prometheus::Error> {
        let gauges = IntGaugeVec::new(self.opts(name, help), &labels)?;
        for (values, value) in rows.iter().take(scrape::MOST_SERIES) {
            gauges.with_label_values(values).add(*value);
        }
        self.made.extend(gauges.collect());
        Ok(())
    }
}
