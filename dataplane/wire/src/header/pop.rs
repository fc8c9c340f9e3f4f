//! Pop consumption.

use super::macros::header;
use crate::ids::EpochMillis;

header! {
    /// POP_MESSAGE (200050). Times are milliseconds; `bornTime` is by the client's clock.
    pub struct PopMessage {
        required "consumerGroup" consumer_group: String,
        required "topic" topic: String,
        required "queueId" queue_id: i32,
        required "maxMsgNums" max_msg_nums: i32,
        required "invisibleTime" invisible_time: i64,
        required "pollTime" poll_time: i64,
        optional "bornTime" born_time: EpochMillis,
        required "initMode" init_mode: i32,
        optional "expType" exp_type: String,
        optional "exp" exp: String,
        defaulted "order" order: bool = false,
        optional "attemptId" attempt_id: String,
        optional "bname" broker_name: String,
    }
}

header! {
    /// The response of POP_MESSAGE, needed on polling full and timeout too.
    pub struct PopMessageResponse {
        required "popTime" pop_time: EpochMillis,
        required "invisibleTime" invisible_time: i64,
        required "reviveQid" revive_qid: i32,
        required "restNum" rest_num: i64,
        optional "startOffsetInfo" start_offset_info: String,
        optional "msgOffsetInfo" msg_offset_info: String,
        optional "orderCountInfo" order_count_info: String,
    }
}

header! {
    /// ACK_MESSAGE (200051).
    pub struct AckMessage {
        required "consumerGroup" consumer_group: String,
        required "topic" topic: String,
        required "queueId" queue_id: i32,
        required "extraInfo" extra_info: String,
        required "offset" offset: i64,
        optional "bname" broker_name: String,
    }
}

header! {
    /// CHANGE_MESSAGE_INVISIBLETIME (200053).
    pub struct ChangeInvisibleTime {
        required "consumerGroup" consumer_group: String,
        required "topic" topic: String,
        required "queueId" queue_id: i32,
        required "extraInfo" extra_info: String,
        required "offset" offset: i64,
        required "invisibleTime" invisible_time: i64,
        optional "bname" broker_name: String,
    }
}

header! {
    /// The response of CHANGE_MESSAGE_INVISIBLETIME.
    pub struct ChangeInvisibleTimeResponse {
        required "popTime" pop_time: EpochMillis,
        required "invisibleTime" invisible_time: i64,
        required "reviveQid" revive_qid: i32,
    }
}

header! {
    /// PEEK_MESSAGE (200052).
    pub struct PeekMessage {
        required "topic" topic: String,
        required "queueId" queue_id: i32,
        required "maxMsgNums" max_msg_nums: i32,
        required "consumerGroup" consumer_group: String,
    }
}

header! {
    /// NOTIFICATION (200054).
    pub struct Notification {
        required "consumerGroup" consumer_group: String,
        required "topic" topic: String,
        required "queueId" queue_id: i32,
        required "pollTime" poll_time: i64,
        optional "bornTime" born_time: EpochMillis,
        defaulted "order" order: bool = false,
        optional "attemptId" attempt_id: String,
    }
}

header! {
    /// The response of NOTIFICATION.
    pub struct NotificationResponse {
        required "hasMsg" has_msg: bool,
        defaulted "pollingFull" polling_full: bool = false,
    }
}

header! {
    /// POLLING_INFO (200055).
    pub struct PollingInfo {
        required "consumerGroup" consumer_group: String,
        required "topic" topic: String,
        required "queueId" queue_id: i32,
    }
}

header! {
    /// The response of POLLING_INFO.
    pub struct PollingInfoResponse {
        required "pollingNum" polling_num: i32,
    }
}
