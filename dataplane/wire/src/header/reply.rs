//! Request-reply: what the broker pushes to the requester.

use super::macros::header;
use crate::ids::EpochMillis;

header! {
    /// PUSH_REPLY_MESSAGE_TO_CLIENT (326).
    pub struct PushReplyMessage {
        required "producerGroup" producer_group: String,
        required "topic" topic: String,
        required "defaultTopic" default_topic: String,
        required "defaultTopicQueueNums" default_topic_queue_nums: i32,
        required "queueId" queue_id: i32,
        required "sysFlag" sys_flag: i32,
        required "bornTimestamp" born_timestamp: EpochMillis,
        required "flag" flag: i32,
        optional "properties" properties: String,
        optional "reconsumeTimes" reconsume_times: i32,
        optional "unitMode" unit_mode: bool,
        required "bornHost" born_host: String,
        required "storeHost" store_host: String,
        required "storeTimestamp" store_timestamp: EpochMillis,
    }
}
