//! Events: what changed about an object, for `kubectl describe`.

use bolide_api::status::{Condition, ConditionStatus, READY, condition};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Client, Resource};

use crate::apply::MANAGER;

/// Reasons that do not go away by themselves.
const NEEDS_A_PERSON: &[&str] = &["Invalid", "Conflict", "TypeConflict", "NoBrokerGroup"];

/// Publishes events. A lost event changes nothing, so failures are only logged.
#[derive(Clone)]
pub(crate) struct Events(Recorder);

impl Events {
    /// `instance` is the name of this operator's pod.
    pub(crate) fn new(client: Client, instance: Option<String>) -> Self {
        Self(Recorder::new(client, Reporter { controller: MANAGER.to_owned(), instance }))
    }

    /// Says that something was done.
    pub(crate) async fn done<K: Resource<DynamicType = ()>>(&self, of: &K, reason: &str, note: String) {
        self.publish(of, EventType::Normal, reason, note).await;
    }

    /// Says that something stands in the way.
    pub(crate) async fn warn<K: Resource<DynamicType = ()>>(&self, of: &K, reason: &str, note: String) {
        self.publish(of, EventType::Warning, reason, note).await;
    }

    /// Says it when `Ready` has another status or reason than before.
    pub(crate) async fn readiness<K>(&self, of: &K, before: &[Condition], after: &[Condition])
    where
        K: Resource<DynamicType = ()>,
    {
        let Some(now) = condition(after, READY) else { return };
        let same = condition(before, READY)
            .is_some_and(|old| (old.status, &old.reason) == (now.status, &now.reason));
        if same {
            return;
        }
        let note = now.message.clone();
        let was_ready = condition(before, READY).is_some_and(|old| old.status == ConditionStatus::True);
        // on the way to being ready for the first time, nothing is wrong yet
        let is_wrong = was_ready || NEEDS_A_PERSON.contains(&now.reason.as_str());
        if now.status == ConditionStatus::True || !is_wrong {
            self.done(of, &now.reason, note).await;
        } else {
            self.warn(of, &now.reason, note).await;
        }
    }

    async fn publish<K: Resource<DynamicType = ()>>(
        &self,
        of: &K,
        type_: EventType,
        reason: &str,
        note: String,
    ) {
        let note = note.chars().take(1000).collect();
        let event = Event {
            type_,
            reason: reason.to_owned(),
            note: Some(note),
            action: "Reconcile".to_owned(),
            secondary: None,
        };
        if let Err(error) = self.0.publish(&event, &of.object_ref(&())).await {
            tracing::debug!(%error, reason, "an event could not be published");
        }
    }
}
