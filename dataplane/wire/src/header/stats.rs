//! Statistics of a broker.

use super::macros::header;

header! {
    /// VIEW_BROKER_STATS_DATA (315).
    pub struct ViewBrokerStatsData {
        required "statsName" stats_name: String,
        required "statsKey" stats_key: String,
    }
}

header! {
    /// GET_BROKER_CONSUME_STATS (317).
    pub struct GetBrokerConsumeStats {
        required "isOrder" order: bool,
    }
}

header! {
    /// QUERY_CONSUME_QUEUE (321).
    pub struct QueryConsumeQueue {
        required "topic" topic: String,
        required "queueId" queue_id: i32,
        required "index" index: i64,
        required "count" count: i32,
        optional "consumerGroup" consumer_group: String,
    }
}
