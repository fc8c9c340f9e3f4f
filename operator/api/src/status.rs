//! Conditions: how every kind says whether it is well, and since when.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The condition type that `kubectl wait --for=condition=Ready` looks at.
pub const READY: &str = "Ready";

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ConditionStatus {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// It cannot be told now.
    Unknown,
}

/// One observation about an object, in the form Kubernetes uses everywhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// What is observed, for example `Ready`.
    #[serde(rename = "type")]
    pub type_: String,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// One CamelCase word for programs.
    pub reason: String,
    /// A sentence for people.
    #[serde(default)]
    pub message: String,
    /// When `status` last changed.
    #[schemars(extend("format" = "date-time"))]
    pub last_transition_time: String,
    /// The generation of the object that this was observed on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

/// Puts `new` among `conditions`: replaces the one of its type, keeps the transition time when the status is the same.
pub fn set_condition(conditions: &mut Vec<Condition>, mut new: Condition) {
    match conditions.iter_mut().find(|held| held.type_ == new.type_) {
        Some(held) => {
            if held.status == new.status {
                new.last_transition_time.clone_from(&held.last_transition_time);
            }
            *held = new;
        }
        None => conditions.push(new),
    }
}

/// The condition of the given type.
pub fn condition<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions.iter().find(|held| held.type_ == type_)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready(status: ConditionStatus, reason: &str, time: &str) -> Condition {
        Condition {
            type_: READY.into(),
            status,
            reason: reason.into(),
            message: String::new(),
            last_transition_time: time.into(),
            observed_generation: Some(1),
        }
    }

    #[test]
    fn the_transition_time_moves_only_with_the_status() {
        let mut conditions = vec![];
        set_condition(&mut conditions, ready(ConditionStatus::False, "Starting", "t1"));
        set_condition(&mut conditions, ready(ConditionStatus::False, "Waiting", "t2"));
        assert_eq!(condition(&conditions, READY).map(|c| c.last_transition_time.as_str()), Some("t1"));
        assert_eq!(condition(&conditions, READY).map(|c| c.reason.as_str()), Some("Waiting"));
        set_condition(&mut conditions, ready(ConditionStatus::True, "Ready", "t3"));
        assert_eq!(condition(&conditions, READY).map(|c| c.last_transition_time.as_str()), Some("t3"));
        assert_eq!(conditions.len(), 1);
    }
}
