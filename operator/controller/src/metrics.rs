//! Metrics of the operator itself.

use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

/// From a reconcile that changes nothing to one that waits for brokers, in seconds.
const RECONCILE_BUCKETS: &[f64] = &[0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 30.0];

/// All metrics; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    /// Reconciles by kind and result.
    pub(crate) reconciles: IntCounterVec,
    /// How long they take.
    pub(crate) reconcile_seconds: HistogramVec,
    /// Objects by kind, and whether they are ready.
    pub(crate) objects: IntGaugeVec,
    /// 1 while this replica leads.
    pub(crate) leader: IntGauge,
    /// Requests to the API server by verb, resource and code.
    pub(crate) api_requests: IntCounterVec,
}

impl Metrics {
    /// Makes the metrics known to `registry`.
    ///
    /// # Errors
    /// One of the names is taken.
    pub(crate) fn register(registry: &Registry) -> prometheus::Result<Self> {
        let metrics = Self {
            reconciles: IntCounterVec::new(
                Opts::new("bolide_operator_reconciles_total", "Reconciles by kind and result."),
                &["kind", "result"],
            )?,
            reconcile_seconds: HistogramVec::new(
                HistogramOpts::new("bolide_operator_reconcile_seconds", "Duration of reconciles in seconds.")
                    .buckets(RECONCILE_BUCKETS.to_vec()),
                &["kind"],
            )?,
            objects: IntGaugeVec::new(
                Opts::new("bolide_operator_objects", "Objects by kind and whether they are ready."),
                &["kind", "ready"],
            )?,
            leader: IntGauge::new("bolide_operator_leader", "1 while this replica leads.")?,
            api_requests: IntCounterVec::new(
                Opts::new("bolide_operator_api_requests_total", "Requests to the API server."),
                &["verb", "resource", "code"],
            )?,
        };
        registry.register(Box::new(metrics.reconciles.clone()))?;
        registry.register(Box::new(metrics.reconcile_seconds.clone()))?;
        registry.register(Box::new(metrics.objects.clone()))?;
        registry.register(Box::new(metrics.leader.clone()))?;
        registry.register(Box::new(metrics.api_requests.clone()))?;
        Ok(metrics)
    }
}
