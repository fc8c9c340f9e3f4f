//! Text tables and broker statistics.

use std::collections::BTreeMap;

use super::heartbeat::SubscriptionData;

body! {
    /// A table of texts: runtime information, key-value configuration.
    pub struct KvTable {
        pub table: BTreeMap<String, String>,
    }
}

body! {
    /// Rates over a span.
    pub struct StatsItem {
        /// Average per call.
        pub avgpt: f64,
        pub sum: i64,
        /// Per second.
        pub tps: f64,
    }
}

body! {
    /// The response of VIEW_BROKER_STATS_DATA.
    pub struct BrokerStatsData {
        pub stats_day: StatsItem,
        pub stats_hour: StatsItem,
        pub stats_minute: StatsItem,
    }
}

body! {
    /// One unit of a consume queue.
    pub struct ConsumeQueueUnit {
        #[serde(skip_serializing_if = "Option::is_none")]
        pub bit_map: Option<String>,
        pub eval: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub extend_data_json: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub msg: Option<String>,
        pub physic_offset: i64,
        pub physic_size: i32,
        pub tags_code: i64,
    }
}

body! {
    /// The response of QUERY_CONSUME_QUEUE.
    pub struct ConsumeQueueUnits {
        #[serde(skip_serializing_if = "Option::is_none")]
        pub filter_data: Option<String>,
        pub max_queue_index: i64,
        pub min_queue_index: i64,
        pub queue_data: Vec<ConsumeQueueUnit>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub subscription_data: Option<SubscriptionData>,
    }
}

body! {
    /// The response of CONSUME_MESSAGE_DIRECTLY.
    pub struct ConsumeDirectlyResult {
        pub auto_commit: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub consume_result: Option<String>,
        pub order: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub remark: Option<String>,
        /// Milliseconds.
        pub spent_time_mills: i64,
    }
}

body! {
    /// The response of GET_BROKER_HA_STATUS.
    pub struct HaRuntimeInfo {
        #[serde(skip_serializing_if = "Option::is_none")]
        pub ha_client_runtime_info: Option<serde_json::Value>,
        pub ha_connection_info: Vec<serde_json::Value>,
        pub in_sync_slave_nums: i32,
        pub master: bool,
        pub master_commit_log_max_offset: i64,
    }
}
