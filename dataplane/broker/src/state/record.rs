//! Owns the form of state changes in the log: one JSON object per record in the system topic, its only member named after
//! the kind, which is the record's tag too.
//!
//! Every record states absolute values, never differences, so that applying one twice, or one that a snapshot already
//! holds, changes nothing. What is said of pops holds once all records after it are applied too, see `pops/change.rs`.

use std::collections::BTreeMap;

use bolide_wire::body::assignment::SetMessageRequestMode;
use bolide_wire::body::group::SubscriptionGroupConfig;
use bolide_wire::body::topic::{DataVersion, TopicConfig};
use bolide_wire::ids::{GroupName, TopicName};
use serde::{Deserialize, Serialize};

use super::grants::Grant;

use super::pops::change::QueueChange;
use super::transactions::HalfId;

/// Topic of the records, queue 0. No client sees it.
pub(crate) const STATE_TOPIC: &str = "rmq_sys_bolide_state";

/// `topic@group` to queue to offset: the form of `consumerOffset.json`.
pub(crate) type OffsetTable = BTreeMap<String, BTreeMap<i32, i64>>;

/// One change of state.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub(crate) enum StateRecord {
    /// Topics made, changed and deleted.
    Topics {
        /// Version of the table afterwards.
        data_version: DataVersion,
        /// Made or changed.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        put: Vec<TopicConfig>,
        /// Deleted, with all offsets in them.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        remove: Vec<TopicName>,
    },
    /// Groups made, changed and deleted.
    Groups {
        /// Version of the table afterwards.
        data_version: DataVersion,
        /// Made or changed.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        put: Vec<SubscriptionGroupConfig>,
        /// Deleted.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        remove: Vec<GroupName>,
        /// Whether the offsets of the deleted groups go too.
        #[serde(default)]
        clean_offsets: bool,
    },
    /// What a group may not read of a topic.
    Forbidden {
        /// Version of the table of groups afterwards.
        data_version: DataVersion,
        /// Group.
        group: String,
        /// Topic.
        topic: String,
        /// Forbidden kinds of access as bits, [`super::groups::READ_FORBIDDEN`]; 0 for none.
        bits: i32,
    },
    /// Committed offsets.
    Offsets {
        /// By topic and group.
        offsets: OffsetTable,
    },
    /// Transactions checked or rolled back. Committed and discarded ones are said by the record of the message itself.
    Transactions {
        /// Transactions whose producers are asked now, and the number of times with this one.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        checked: Vec<(HalfId, u32)>,
        /// Transactions that ended without a message.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        rolled_back: Vec<HalfId>,
    },
    /// Timers that are done without a delivery: they were recalled, or have no place to go to.
    Timers {
        /// As the property [`super::delays::SOURCE_PROPERTY`] of a delivery.
        passed: String,
    },
    /// Messages popped, acknowledged, made invisible for another time.
    Pops {
        /// By queue of a group.
        queues: Vec<QueueChange>,
    },
    /// How groups get the messages of topics.
    RequestModes {
        /// Set.
        put: Vec<SetMessageRequestMode>,
    },
    /// Queues of ordered consumption taken and given up.
    Locks {
        /// Belong to their client now.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        take: Vec<Grant>,
        /// Are given up by their client.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        give: Vec<Grant>,
    },
}

impl StateRecord {
    /// The kind, for the record's tag.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            StateRecord::Topics { .. } => "topics",
            StateRecord::Groups { .. } => "groups",
            StateRecord::Forbidden { .. } => "forbidden",
            StateRecord::Offsets { .. } => "offsets",
            StateRecord::Transactions { .. } => "transactions",
            StateRecord::Timers { .. } => "timers",
            StateRecord::Pops { .. } => "pops",
            StateRecord::RequestModes { .. } => "requestModes",
            StateRecord::Locks { .. } => "locks",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_read_back_and_name_their_kind() {
        let record =
            StateRecord::Offsets { offsets: BTreeMap::from([("t@g".into(), BTreeMap::from([(3, 9)]))]) };
        let text = serde_json::to_string(&record).unwrap();
        assert_eq!(text, r#"{"offsets":{"offsets":{"t@g":{"3":9}}}}"#);
        let StateRecord::Offsets { offsets } = serde_json::from_str(&text).unwrap() else {
            panic!("another kind")
        };
        assert_eq!(offsets["t@g"][&3], 9);
        assert_eq!(record.kind(), "offsets");
    }

    #[test]
    fn transactions_are_short() {
        let record =
            StateRecord::Transactions { checked: vec![(HalfId(7), 2)], rolled_back: vec![HalfId(9)] };
        let text = serde_json::to_string(&record).unwrap();
        assert_eq!(text, r#"{"transactions":{"checked":[[7,2]],"rolledBack":[9]}}"#);
    }

    #[test]
    fn an_unknown_kind_is_an_error_to_the_reader() {
        assert!(serde_json::from_str::<StateRecord>(r#"{"later":{"x":1}}"#).is_err());
    }
}
