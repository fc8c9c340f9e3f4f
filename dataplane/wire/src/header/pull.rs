//! PULL_MESSAGE (11) and LITE_PULL_MESSAGE (361).

use std::borrow::Cow;

use super::macros::header;

header! {
    /// The request. An absent `expressionType` means a tag filter.
    pub struct PullMessage<'a> {
        required "consumerGroup" consumer_group: Cow<'a, str>,
        required "topic" topic: Cow<'a, str>,
        required "queueId" queue_id: i32,
        required "queueOffset" queue_offset: i64,
        required "maxMsgNums" max_msg_nums: i32,
        required "sysFlag" sys_flag: i32,
        required "commitOffset" commit_offset: i64,
        required "suspendTimeoutMillis" suspend_timeout_millis: i64,
        optional "subscription" subscription: Cow<'a, str>,
        required "subVersion" sub_version: i64,
        optional "expressionType" expression_type: Cow<'a, str>,
        optional "maxMsgBytes" max_msg_bytes: i32,
        optional "requestSource" request_source: i32,
        optional "proxyFrowardClientId" proxy_forward_client_id: Cow<'a, str>,
        optional "bname" broker_name: Cow<'a, str>,
    }
}

header! {
    /// The response; the first four fields must be there on success, not found, retry and moved.
    pub struct PullMessageResponse {
        required "suggestWhichBrokerId" suggest_which_broker_id: i64,
        required "nextBeginOffset" next_begin_offset: i64,
        required "minOffset" min_offset: i64,
        required "maxOffset" max_offset: i64,
        optional "offsetDelta" offset_delta: i64,
        optional "topicSysFlag" topic_sys_flag: i32,
        optional "groupSysFlag" group_sys_flag: i32,
        optional "forbiddenType" forbidden_type: i32,
    }
}

/// Bits of a pull's `sysFlag`.
pub mod sys_flag {
    /// `commitOffset` is to be committed.
    pub const COMMIT_OFFSET: i32 = 0x1;
    /// The broker may hold the request.
    pub const SUSPEND: i32 = 0x2;
    /// The subscription is in the request.
    pub const SUBSCRIPTION: i32 = 0x4;
    /// Filtered by a class, an old way.
    pub const CLASS_FILTER: i32 = 0x8;
    /// A lite pull consumer.
    pub const LITE_PULL: i32 = 0x10;
}

/// Values of `forbiddenType` beside NO_PERMISSION.
pub mod forbidden {
    /// The broker forbids.
    pub const BROKER: i32 = 1;
    /// The group forbids.
    pub const GROUP: i32 = 2;
    /// The topic forbids.
    pub const TOPIC: i32 = 3;
    /// Broadcasting is disabled for the group.
    pub const BROADCASTING_DISABLED: i32 = 4;
    /// The group is forbidden to read the topic.
    pub const SUBSCRIPTION: i32 = 5;
}
