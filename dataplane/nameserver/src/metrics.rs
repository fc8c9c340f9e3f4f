//! Counts of the nameserver.

use prometheus::{IntCounter, IntCounterVec, IntGaugeVec, Opts, Registry};

/// Counters and gauges; cheap to clone.
#[derive(Clone, Debug)]
pub struct NameserverMetrics {
    entries: IntGaugeVec,
    registrations: IntCounterVec,
    refused: IntCounter,
    evicted: IntCounterVec,
}

impl NameserverMetrics {
    /// Metrics in `registry`.
    ///
    /// # Errors
    /// If the registry has them already.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let metrics = Self {
            entries: IntGaugeVec::new(
                Opts::new(
                    "bolide_nameserver_entries",
                    "Entries of the routing table: broker groups, members, topics.",
                ),
                &["kind"],
            )?,
            registrations: IntCounterVec::new(
                Opts::new(
                    "bolide_nameserver_registrations_total",
                    "Registrations taken in, by form: full, partial, delta.",
                ),
                &["form"],
            )?,
            refused: IntCounter::new(
                "bolide_nameserver_registrations_refused_total",
                "Registrations refused.",
            )?,
            evicted: IntCounterVec::new(
                Opts::new("bolide_nameserver_evictions_total", "Members removed, by reason: silent, closed."),
                &["reason"],
            )?,
        };
        registry.register(Box::new(metrics.entries.clone()))?;
        registry.register(Box::new(metrics.registrations.clone()))?;
        registry.register(Box::new(metrics.refused.clone()))?;
        registry.register(Box::new(metrics.evicted.clone()))?;
        Ok(metrics)
    }

    pub(crate) fn on_registration(&self, form: &str) {
        self.registrations.with_label_values(&[form]).inc();
    }

    pub(crate) fn on_refusal(&self) {
        self.refused.inc();
    }

    pub(crate) fn on_eviction(&self, reason: &str, members: usize) {
        self.evicted.with_label_values(&[reason]).inc_by(members as u64);
    }

    pub(crate) fn set_entries(&self, kind: &str, count: usize) {
        self.entries.with_label_values(&[kind]).set(i64::try_from(count).unwrap_or(i64::MAX));
    }
}
