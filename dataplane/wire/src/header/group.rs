//! Administration of consumer groups on a broker.

use super::macros::header;
use crate::ids::EpochMillis;

header! {
    /// GET_ALL_SUBSCRIPTIONGROUP_CONFIG (201), with paging by newer clients.
    pub struct GetAllSubscriptionGroupConfig {
        optional "groupSeq" group_seq: i32,
        optional "dataVersion" data_version: String,
        optional "maxGroupNum" max_group_num: i32,
    }
}

header! {
    /// The response of GET_ALL_SUBSCRIPTIONGROUP_CONFIG.
    pub struct GetAllSubscriptionGroupConfigResponse {
        required "totalGroupNum" total_group_num: i32,
    }
}

header! {
    /// GET_SUBSCRIPTIONGROUP_CONFIG (352).
    pub struct GetSubscriptionGroupConfig {
        required "group" group: String,
    }
}

header! {
    /// DELETE_SUBSCRIPTIONGROUP (207).
    pub struct DeleteSubscriptionGroup {
        required "groupName" group_name: String,
        defaulted "cleanOffset" clean_offset: bool = false,
    }
}

header! {
    /// GET_CONSUME_STATS (208); `topicList` is separated by `;` and wins over `topic`.
    pub struct GetConsumeStats {
        required "consumerGroup" consumer_group: String,
        optional "topic" topic: String,
        optional "topicList" topic_list: String,
    }
}

header! {
    /// GET_CONSUMER_CONNECTION_LIST (203).
    pub struct GetConsumerConnectionList {
        required "consumerGroup" consumer_group: String,
    }
}

header! {
    /// GET_PRODUCER_CONNECTION_LIST (204).
    pub struct GetProducerConnectionList {
        required "producerGroup" producer_group: String,
    }
}

header! {
    /// QUERY_TOPICS_BY_CONSUMER (343).
    pub struct QueryTopicsByConsumer {
        required "group" group: String,
    }
}

header! {
    /// QUERY_SUBSCRIPTION_BY_CONSUMER (345).
    pub struct QuerySubscriptionByConsumer {
        required "group" group: String,
        optional "topic" topic: String,
    }
}

header! {
    /// QUERY_CONSUME_TIME_SPAN (303).
    pub struct QueryConsumeTimeSpan {
        required "topic" topic: String,
        required "group" group: String,
    }
}

header! {
    /// INVOKE_BROKER_TO_RESET_OFFSET (222). A timestamp of -1 means the end; `offset` wins over it.
    pub struct ResetOffset {
        required "group" group: String,
        required "topic" topic: String,
        required "timestamp" timestamp: EpochMillis,
        defaulted "isForce" force: bool = false,
        defaulted "queueId" queue_id: i32 = -1,
        optional "offset" offset: i64,
    }
}

header! {
    /// RESET_CONSUMER_CLIENT_OFFSET (220), broker to client.
    pub struct ResetConsumerClientOffset {
        required "topic" topic: String,
        required "group" group: String,
        required "timestamp" timestamp: EpochMillis,
        required "isForce" force: bool,
    }
}

header! {
    /// INVOKE_BROKER_TO_GET_CONSUMER_STATUS (223).
    pub struct GetConsumerStatus {
        required "topic" topic: String,
        required "group" group: String,
        optional "clientAddr" client_addr: String,
    }
}

header! {
    /// GET_CONSUMER_STATUS_FROM_CLIENT (221), broker to client.
    pub struct GetConsumerStatusFromClient {
        required "topic" topic: String,
        required "group" group: String,
    }
}

header! {
    /// GET_CONSUMER_RUNNING_INFO (307), relayed to the client.
    pub struct GetConsumerRunningInfo {
        required "consumerGroup" consumer_group: String,
        required "clientId" client_id: String,
        defaulted "jstackEnable" jstack_enable: bool = false,
    }
}

header! {
    /// CONSUME_MESSAGE_DIRECTLY (309), relayed to the client.
    pub struct ConsumeMessageDirectly {
        required "consumerGroup" consumer_group: String,
        optional "clientId" client_id: String,
        optional "msgId" msg_id: String,
        optional "brokerName" broker_name: String,
        optional "topic" topic: String,
        optional "topicSysFlag" topic_sys_flag: i32,
        optional "groupSysFlag" group_sys_flag: i32,
    }
}

header! {
    /// CLONE_GROUP_OFFSET (314).
    pub struct CloneGroupOffset {
        required "srcGroup" src_group: String,
        required "destGroup" dest_group: String,
        optional "topic" topic: String,
        defaulted "offline" offline: bool = false,
    }
}

header! {
    /// QUERY_CORRECTION_OFFSET (308).
    pub struct QueryCorrectionOffset {
        required "topic" topic: String,
        required "compareGroup" compare_group: String,
        optional "filterGroups" filter_groups: String,
    }
}

header! {
    /// UPDATE_AND_GET_GROUP_FORBIDDEN (353).
    pub struct GroupForbidden {
        required "group" group: String,
        required "topic" topic: String,
        optional "readable" readable: bool,
    }
}
