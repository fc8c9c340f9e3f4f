//! Consumer groups and their offsets.

use super::macros::header;
use crate::ids::EpochMillis;

header! {
    /// UNREGISTER_CLIENT (35).
    pub struct UnregisterClient {
        required "clientID" client_id: String,
        optional "producerGroup" producer_group: String,
        optional "consumerGroup" consumer_group: String,
    }
}

header! {
    /// GET_CONSUMER_LIST_BY_GROUP (38).
    pub struct GetConsumerListByGroup {
        required "consumerGroup" consumer_group: String,
    }
}

header! {
    /// NOTIFY_CONSUMER_IDS_CHANGED (40), broker to client.
    pub struct NotifyConsumerIdsChanged {
        required "consumerGroup" consumer_group: String,
    }
}

header! {
    /// QUERY_CONSUMER_OFFSET (14).
    pub struct QueryConsumerOffset {
        required "consumerGroup" consumer_group: String,
        required "topic" topic: String,
        required "queueId" queue_id: i32,
        optional "setZeroIfNotFound" set_zero_if_not_found: bool,
        optional "bname" broker_name: String,
    }
}

header! {
    /// UPDATE_CONSUMER_OFFSET (15).
    pub struct UpdateConsumerOffset {
        required "consumerGroup" consumer_group: String,
        required "topic" topic: String,
        required "queueId" queue_id: i32,
        required "commitOffset" commit_offset: i64,
        optional "bname" broker_name: String,
    }
}

header! {
    /// GET_MAX_OFFSET (30).
    pub struct GetMaxOffset {
        required "topic" topic: String,
        required "queueId" queue_id: i32,
        defaulted "committed" committed: bool = true,
    }
}

header! {
    /// GET_MIN_OFFSET (31).
    pub struct GetMinOffset {
        required "topic" topic: String,
        required "queueId" queue_id: i32,
    }
}

header! {
    /// SEARCH_OFFSET_BY_TIMESTAMP (29); `boundaryType` is `lower` (when absent) or `upper`.
    pub struct SearchOffset {
        required "topic" topic: String,
        required "queueId" queue_id: i32,
        required "timestamp" timestamp: EpochMillis,
        optional "boundaryType" boundary_type: String,
    }
}

header! {
    /// GET_EARLIEST_MSG_STORETIME (32).
    pub struct GetEarliestMsgStoreTime {
        required "topic" topic: String,
        required "queueId" queue_id: i32,
    }
}

header! {
    /// The response of the queries for an offset: 14, 29, 30, 31.
    pub struct OffsetResponse {
        required "offset" offset: i64,
    }
}

header! {
    /// The response of GET_EARLIEST_MSG_STORETIME; -1 for none.
    pub struct TimestampResponse {
        required "timestamp" timestamp: EpochMillis,
    }
}

header! {
    /// The response of HEART_BEAT: support of version 2, and whether the client must send its subscriptions again.
    pub struct HeartbeatResponse {
        required "IS_SUPPORT_HEART_BEAT_V2" supports_v2: bool,
        required "IS_SUB_CHANGE" subscription_changed: bool,
    }
}
