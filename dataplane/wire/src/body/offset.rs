//! Consumer offsets: tables, statistics, resets.

use std::collections::BTreeMap;

use super::queue::{MessageQueue, QueueMap};
use super::topic::DataVersion;

body! {
    /// All offsets of a broker: the response of GET_ALL_CONSUMER_OFFSET and `consumerOffset.json`.
    pub struct ConsumerOffsetTable {
        #[serde(skip_serializing_if = "Option::is_none")]
        pub data_version: Option<DataVersion>,
        /// By `topic@group`, then by queue.
        pub offset_table: BTreeMap<String, BTreeMap<i32, i64>>,
    }
}

body! {
    /// Progress by delay level: the response of GET_ALL_DELAY_OFFSET and `delayOffset.json`.
    pub struct DelayOffsetTable {
        #[serde(skip_serializing_if = "Option::is_none")]
        pub data_version: Option<DataVersion>,
        pub offset_table: BTreeMap<i32, i64>,
    }
}

body! {
    /// Progress of a group in one queue.
    pub struct OffsetWrapper {
        pub broker_offset: i64,
        pub consumer_offset: i64,
        /// Store time of the last message consumed, in milliseconds since 1970; 0 for none.
        pub last_timestamp: i64,
        pub pull_offset: i64,
    }
}

body! {
    /// The response of GET_CONSUME_STATS.
    pub struct ConsumeStats {
        /// Messages a second.
        pub consume_tps: f64,
        pub offset_table: QueueMap<OffsetWrapper>,
    }
}

body! {
    /// The response of GET_BROKER_CONSUME_STATS.
    pub struct ConsumeStatsList {
        pub broker_addr: String,
        /// One map of group to statistics for each group.
        pub consume_stats_list: Vec<BTreeMap<String, Vec<ConsumeStats>>>,
        pub total_diff: i64,
        pub total_inflight_diff: i64,
    }
}

body! {
    /// Reset offsets by queue, to clients and to tools.
    pub struct ResetOffset {
        pub offset_table: QueueMap<i64>,
    }
}

body! {
    /// One entry of [`ResetOffsetForCpp`].
    pub struct QueueWithOffset {
        pub broker_name: String,
        pub offset: i64,
        pub queue_id: i32,
        pub topic: String,
    }
}

body! {
    /// Reset offsets in the form for C++ callers.
    pub struct ResetOffsetForCpp {
        pub offset_table: Vec<QueueWithOffset>,
    }
}

body! {
    /// What clients say about their offsets: the response of GET_CONSUMER_STATUS_FROM_CLIENT and, gathered by client id,
    /// of INVOKE_BROKER_TO_GET_CONSUMER_STATUS.
    pub struct ConsumerStatus {
        pub consumer_table: BTreeMap<String, QueueMap<i64>>,
        pub message_queue_table: QueueMap<i64>,
    }
}

body! {
    /// The span between a queue's first message and a group's progress.
    pub struct QueueTimeSpan {
        pub consume_time_stamp: i64,
        /// Milliseconds.
        pub delay_time: i64,
        pub max_time_stamp: i64,
        pub message_queue: MessageQueue,
        pub min_time_stamp: i64,
    }
}

body! {
    /// The response of QUERY_CONSUME_TIME_SPAN.
    pub struct ConsumeTimeSpan {
        pub consume_time_span_set: Vec<QueueTimeSpan>,
    }
}

body! {
    /// The response of QUERY_CORRECTION_OFFSET: offsets by queue.
    pub struct CorrectionOffsets {
        pub correction_offsets: BTreeMap<i32, i64>,
    }
}
