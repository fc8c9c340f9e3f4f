//! Looking up messages.

use super::macros::header;
use crate::ids::EpochMillis;

header! {
    /// VIEW_MESSAGE_BY_ID (33).
    pub struct ViewMessage {
        required "offset" offset: i64,
        optional "topic" topic: String,
    }
}

header! {
    /// QUERY_MESSAGE (12).
    pub struct QueryMessage {
        required "topic" topic: String,
        required "key" key: String,
        required "maxNum" max_num: i32,
        required "beginTimestamp" begin_timestamp: EpochMillis,
        required "endTimestamp" end_timestamp: EpochMillis,
        defaulted "_UNIQUE_KEY_QUERY" unique_key_query: bool = false,
        optional "indexType" index_type: String,
    }
}

header! {
    /// The response of QUERY_MESSAGE.
    pub struct QueryMessageResponse {
        required "indexLastUpdateTimestamp" index_last_update_timestamp: EpochMillis,
        required "indexLastUpdatePhyoffset" index_last_update_phyoffset: i64,
    }
}
