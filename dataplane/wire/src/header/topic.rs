//! Administration of topics on a broker.

use super::macros::header;

header! {
    /// UPDATE_AND_CREATE_TOPIC (17). `attributes`: `+k=v` sets and `-k` removes, separated by commas.
    pub struct CreateTopic {
        required "topic" topic: String,
        required "defaultTopic" default_topic: String,
        required "readQueueNums" read_queue_nums: i32,
        required "writeQueueNums" write_queue_nums: i32,
        required "perm" perm: i32,
        required "topicFilterType" topic_filter_type: String,
        optional "topicSysFlag" topic_sys_flag: i32,
        required "order" order: bool,
        optional "attributes" attributes: String,
        defaulted "force" force: bool = false,
    }
}

header! {
    /// Requests that name a topic and nothing else: DELETE_TOPIC_IN_BROKER (215), GET_TOPIC_CONFIG (351), GET_TOPIC_STATS_INFO
    /// (202), QUERY_TOPIC_CONSUME_BY_WHO (300).
    pub struct TopicOnly {
        required "topic" topic: String,
    }
}

header! {
    /// GET_ALL_TOPIC_CONFIG (21), with paging by newer clients.
    pub struct GetAllTopicConfig {
        optional "topicSeq" topic_seq: i32,
        optional "dataVersion" data_version: String,
        optional "maxTopicNum" max_topic_num: i32,
    }
}

header! {
    /// The response of GET_ALL_TOPIC_CONFIG.
    pub struct GetAllTopicConfigResponse {
        required "totalTopicNum" total_topic_num: i32,
    }
}

header! {
    /// The response of GET_BROKER_CONFIG (26): `DataVersion` as JSON text.
    pub struct GetBrokerConfigResponse {
        required "version" version: String,
    }
}
