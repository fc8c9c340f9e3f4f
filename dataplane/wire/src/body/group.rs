//! Consumer group definitions.

use std::collections::{BTreeMap, BTreeSet};

use super::java_enum::java_enum;
use super::topic::DataVersion;

java_enum! {
    /// How the delay before a retry grows.
    pub enum RetryPolicyType {
        /// By a list of delays.
        #[default]
        Customized = "CUSTOMIZED",
        /// By a factor.
        Exponential = "EXPONENTIAL",
    }
}

body! {
    /// A list of delays; the last one repeats.
    pub struct CustomizedRetryPolicy {
        /// Milliseconds.
        pub next: Vec<i64>,
    }
}

body! {
    /// A delay that grows by a factor up to a limit.
    pub struct ExponentialRetryPolicy {
        /// Milliseconds.
        pub initial: i64,
        /// Milliseconds.
        pub max: i64,
        pub multiplier: i64,
    }
}

body! {
    /// When a group's failed messages come back.
    pub struct GroupRetryPolicy {
        #[serde(skip_serializing_if = "Option::is_none")]
        pub customized_retry_policy: Option<CustomizedRetryPolicy>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub exponential_retry_policy: Option<ExponentialRetryPolicy>,
        #[serde(rename = "type")]
        pub kind: RetryPolicyType,
    }
}

body! {
    /// A subscription fixed in a group's definition.
    pub struct SimpleSubscriptionData {
        pub expression: String,
        pub expression_type: String,
        pub topic: String,
        pub version: i64,
    }
}

/// A consumer group as a broker knows it.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SubscriptionGroupConfig {
    pub attributes: BTreeMap<String, String>,
    /// The broker id that pulls are sent to.
    pub broker_id: i64,
    pub consume_broadcast_enable: bool,
    pub consume_enable: bool,
    pub consume_from_min_enable: bool,
    pub consume_message_orderly: bool,
    pub consume_timeout_minute: i32,
    pub group_name: String,
    pub group_retry_policy: GroupRetryPolicy,
    pub group_sys_flag: i32,
    pub notify_consumer_ids_changed_enable: bool,
    /// Retries before a message goes to the dead-letter topic.
    pub retry_max_times: i32,
    pub retry_queue_nums: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscription_data_set: Option<Vec<SimpleSubscriptionData>>,
    /// The broker id suggested to a group that is far behind.
    pub which_broker_when_consume_slowly: i64,
}

impl Default for SubscriptionGroupConfig {
    fn default() -> Self {
        Self::new("")
    }
}

impl SubscriptionGroupConfig {
    /// The definition a group gets when nobody says otherwise.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            attributes: BTreeMap::new(),
            broker_id: 0,
            consume_broadcast_enable: true,
            consume_enable: true,
            consume_from_min_enable: true,
            consume_message_orderly: false,
            consume_timeout_minute: 15,
            group_name: name.to_owned(),
            group_retry_policy: GroupRetryPolicy::default(),
            group_sys_flag: 0,
            notify_consumer_ids_changed_enable: true,
            retry_max_times: 16,
            retry_queue_nums: 1,
            subscription_data_set: None,
            which_broker_when_consume_slowly: 1,
        }
    }
}

body! {
    /// All groups of a broker: the response of GET_ALL_SUBSCRIPTIONGROUP_CONFIG and `subscriptionGroup.json`.
    pub struct SubscriptionGroupTable {
        #[serde(skip_serializing_if = "Option::is_none")]
        pub data_version: Option<DataVersion>,
        /// Group, then topic, then bits of what is forbidden.
        pub forbidden_table: BTreeMap<String, BTreeMap<String, i32>>,
        pub subscription_group_table: BTreeMap<String, SubscriptionGroupConfig>,
    }
}

body! {
    /// The body of UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST.
    pub struct SubscriptionGroupList {
        pub group_config_list: Vec<SubscriptionGroupConfig>,
    }
}

body! {
    /// The response of QUERY_TOPIC_CONSUME_BY_WHO.
    pub struct GroupList {
        pub group_list: BTreeSet<String>,
    }
}

body! {
    /// The response of UPDATE_AND_GET_GROUP_FORBIDDEN.
    pub struct GroupForbidden {
        pub group: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub readable: Option<bool>,
        pub topic: String,
    }
}
