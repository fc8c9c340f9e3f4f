//! Topic definitions, their table with its version, and topic statistics.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::java_enum::java_enum;
use super::queue::QueueMap;

/// Permission bits of a topic or a broker.
pub mod perm {
    /// Consumers may read.
    pub const READ: i32 = 4;
    /// Producers may write.
    pub const WRITE: i32 = 2;
    /// The topic may serve as a template for topics made on first send.
    pub const INHERIT: i32 = 1;

    /// True when `bits` allow reading.
    #[must_use]
    pub fn is_readable(bits: i32) -> bool {
        bits & READ != 0
    }

    /// True when `bits` allow writing.
    #[must_use]
    pub fn is_writable(bits: i32) -> bool {
        bits & WRITE != 0
    }

    /// True when `bits` make the topic a template.
    #[must_use]
    pub fn is_inherited(bits: i32) -> bool {
        bits & INHERIT != 0
    }
}

java_enum! {
    /// How a topic's messages are tagged.
    pub enum TopicFilterType {
        /// One tag a message.
        #[default]
        SingleTag = "SINGLE_TAG",
        /// Several tags a message.
        MultiTag = "MULTI_TAG",
    }
}

/// A topic as a broker knows it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicConfig {
    /// `message.type`, `queue.type`, `cleanup.policy`, `reserve.time`.
    pub attributes: BTreeMap<String, String>,
    pub order: bool,
    /// Bits of [`perm`].
    pub perm: i32,
    pub read_queue_nums: i32,
    pub topic_filter_type: TopicFilterType,
    pub topic_name: String,
    /// Bit 0: unit, bit 1: unit subscription.
    pub topic_sys_flag: i32,
    pub write_queue_nums: i32,
}

impl Default for TopicConfig {
    fn default() -> Self {
        Self::new("", 16)
    }
}

impl TopicConfig {
    /// A topic that may be read and written, with `queues` queues.
    #[must_use]
    pub fn new(name: &str, queues: i32) -> Self {
        Self {
            attributes: BTreeMap::new(),
            order: false,
            perm: perm::READ | perm::WRITE,
            read_queue_nums: queues,
            topic_filter_type: TopicFilterType::SingleTag,
            topic_name: name.to_owned(),
            topic_sys_flag: 0,
            write_queue_nums: queues,
        }
    }
}

/// The version of a table. Equal only when all three agree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DataVersion {
    /// Changes so far.
    pub counter: i64,
    /// Changes of role so far.
    pub state_version: i64,
    /// Of the last change, in milliseconds since 1970.
    pub timestamp: i64,
}

impl DataVersion {
    /// The version after a change at `now` (milliseconds since 1970).
    #[must_use]
    pub fn next(self, now: crate::ids::EpochMillis) -> Self {
        Self { counter: self.counter.saturating_add(1), timestamp: now.0, ..self }
    }
}

impl PartialOrd for DataVersion {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for DataVersion {
    fn cmp(&self, other: &Self) -> Ordering {
        let key = |version: &Self| (version.state_version, version.counter, version.timestamp);
        key(self).cmp(&key(other))
    }
}

body! {
    /// All topics of a broker: the response of GET_ALL_TOPIC_CONFIG, part of a registration, and `topics.json`.
    pub struct TopicConfigTable {
        #[serde(skip_serializing_if = "Option::is_none")]
        pub data_version: Option<DataVersion>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub mapping_data_version: Option<DataVersion>,
        pub topic_config_table: BTreeMap<String, TopicConfig>,
        /// Static topics, passed on as they are.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub topic_queue_mapping_detail_map: Option<BTreeMap<String, serde_json::Value>>,
        /// Static topics, passed on as they are.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub topic_queue_mapping_info_map: Option<BTreeMap<String, serde_json::Value>>,
    }
}

body! {
    /// The body of UPDATE_AND_CREATE_TOPIC_LIST.
    pub struct TopicConfigList {
        pub topic_config_list: Vec<TopicConfig>,
    }
}

body! {
    /// Names of topics, of one broker where stated.
    pub struct TopicList {
        #[serde(skip_serializing_if = "Option::is_none")]
        pub broker_addr: Option<String>,
        pub topic_list: Vec<String>,
    }
}

body! {
    /// Statistics of one queue.
    pub struct TopicOffset {
        /// Store time of the last message, in milliseconds since 1970; 0 for none.
        pub last_update_timestamp: i64,
        pub max_offset: i64,
        pub min_offset: i64,
    }
}

body! {
    /// The response of GET_TOPIC_STATS_INFO.
    pub struct TopicStatsTable {
        pub offset_table: QueueMap<TopicOffset>,
        /// Messages a second.
        pub topic_put_tps: f64,
    }
}
