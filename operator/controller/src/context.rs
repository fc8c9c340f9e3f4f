//! What every reconcile needs: the API server, the brokers, the objects seen last, the clock.

use std::sync::Arc;

use bolide_api::status::{Condition, ConditionStatus};
use bolide_api::{BrokerSet, ConsumerGroup, Topic};
use jiff::Timestamp;
use kube::Client;
use kube::runtime::reflector::{ObjectRef, Store};

use crate::events::Events;
use crate::metrics::Metrics;

/// The objects of our kinds as the watches last showed them.
#[derive(Clone)]
pub(crate) struct Seen {
    pub(crate) sets: Store<BrokerSet>,
    pub(crate) topics: Store<Topic>,
    pub(crate) groups: Store<ConsumerGroup>,
}

impl Seen {
    /// A set by name.
    pub(crate) fn set(&self, namespace: &str, name: &str) -> Option<Arc<BrokerSet>> {
        self.sets.get(&ObjectRef::new(name).within(namespace))
    }
}

/// Shared by all reconciles; cheap to clone.
#[derive(Clone)]
pub(crate) struct Context<B> {
    pub(crate) client: Client,
    pub(crate) brokers: B,
    pub(crate) seen: Seen,
    pub(crate) events: Events,
    pub(crate) metrics: Metrics,
    /// Image of sets that name none.
    pub(crate) image: Arc<str>,
    pub(crate) now: fn() -> Timestamp,
}

impl<B> Context<B> {
    /// A condition observed now.
    pub(crate) fn condition(
        &self,
        type_: &str,
        holds: bool,
        reason: &str,
        message: impl Into<String>,
        generation: Option<i64>,
    ) -> Condition {
        Condition {
            type_: type_.to_owned(),
            status: if holds { ConditionStatus::True } else { ConditionStatus::False },
            reason: reason.to_owned(),
            message: message.into(),
            last_transition_time: self.time(),
            observed_generation: generation,
        }
    }

    /// The present moment as Kubernetes writes it, to the second.
    pub(crate) fn time(&self) -> String {
        (self.now)().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    }
}
