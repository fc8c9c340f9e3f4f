//! Sending: SEND_MESSAGE (10), SEND_MESSAGE_V2 (310), SEND_BATCH_MESSAGE (320), SEND_REPLY_MESSAGE (324, 325),
//! CONSUMER_SEND_MSG_BACK (36), RECALL_MESSAGE (370), and the response to a send.

use std::borrow::Cow;

use super::macros::header;
use crate::ids::EpochMillis;

header! {
    /// SEND_MESSAGE and SEND_REPLY_MESSAGE, long names.
    pub struct SendMessage<'a> {
        required "producerGroup" producer_group: Cow<'a, str>,
        required "topic" topic: Cow<'a, str>,
        /// The template for a topic made on first send, `TBW102`.
        required "defaultTopic" default_topic: Cow<'a, str>,
        /// Most queues of a topic made on first send.
        required "defaultTopicQueueNums" default_topic_queue_nums: i32,
        /// -1: the broker picks.
        required "queueId" queue_id: i32,
        /// Bits of `message::sys_flag`.
        required "sysFlag" sys_flag: i32,
        /// By the producer's clock.
        required "bornTimestamp" born_timestamp: EpochMillis,
        /// The user's flag.
        required "flag" flag: i32,
        /// The encoded properties.
        optional "properties" properties: Cow<'a, str>,
        optional "reconsumeTimes" reconsume_times: i32,
        optional "unitMode" unit_mode: bool,
        optional "maxReconsumeTimes" max_reconsume_times: i32,
        /// True: the body is a batch. Decides, not the request code.
        defaulted "batch" batch: bool = false,
        optional "bname" broker_name: Cow<'a, str>,
    }
}

header! {
    /// SEND_MESSAGE_V2, SEND_BATCH_MESSAGE and SEND_REPLY_MESSAGE_V2: the same fields by one-letter names.
    pub struct SendMessageV2<'a> {
        required "a" producer_group: Cow<'a, str>,
        required "b" topic: Cow<'a, str>,
        /// The template for a topic made on first send, `TBW102`.
        required "c" default_topic: Cow<'a, str>,
        /// Most queues of a topic made on first send.
        required "d" default_topic_queue_nums: i32,
        /// -1: the broker picks.
        required "e" queue_id: i32,
        /// Bits of `message::sys_flag`.
        required "f" sys_flag: i32,
        /// By the producer's clock.
        required "g" born_timestamp: EpochMillis,
        /// The user's flag.
        required "h" flag: i32,
        /// The encoded properties.
        optional "i" properties: Cow<'a, str>,
        optional "j" reconsume_times: i32,
        optional "k" unit_mode: bool,
        optional "l" max_reconsume_times: i32,
        /// True: the body is a batch. Decides, not the request code.
        defaulted "m" batch: bool = false,
        /// Some Java clients write it as `bname` instead.
        optional "n" broker_name: Cow<'a, str>,
    }
}

/// The short form is the form that the rest of the code works with.
impl<'a> From<SendMessage<'a>> for SendMessageV2<'a> {
    fn from(long: SendMessage<'a>) -> Self {
        Self {
            producer_group: long.producer_group,
            topic: long.topic,
            default_topic: long.default_topic,
            default_topic_queue_nums: long.default_topic_queue_nums,
            queue_id: long.queue_id,
            sys_flag: long.sys_flag,
            born_timestamp: long.born_timestamp,
            flag: long.flag,
            properties: long.properties,
            reconsume_times: long.reconsume_times,
            unit_mode: long.unit_mode,
            max_reconsume_times: long.max_reconsume_times,
            batch: long.batch,
            broker_name: long.broker_name,
        }
    }
}

header! {
    /// The response to every kind of send. `msgId`, `queueId` and `queueOffset` must also be there on the timeout codes.
    pub struct SendMessageResponse {
        /// The offset message id; ids separated by commas for a batch.
        required "msgId" msg_id: String,
        required "queueId" queue_id: i32,
        /// Of the first message of a batch.
        required "queueOffset" queue_offset: i64,
        /// The client's own message id (`UNIQ_KEY`).
        optional "transactionId" transaction_id: String,
        /// Only for inner batches.
        optional "batchUniqId" batch_uniq_id: String,
        /// Only for messages that can be recalled.
        optional "recallHandle" recall_handle: String,
        optional "MSG_REGION" region: String,
        /// Anything but "false" makes Java clients trace.
        optional "TRACE_ON" trace_on: bool,
    }
}

header! {
    /// CONSUMER_SEND_MSG_BACK.
    pub struct ConsumerSendMsgBack {
        /// Commit log offset of the message.
        required "offset" offset: i64,
        required "group" group: String,
        /// 0: by the number of retries; negative: to the dead-letter topic.
        required "delayLevel" delay_level: i32,
        optional "originMsgId" origin_msg_id: String,
        optional "originTopic" origin_topic: String,
        defaulted "unitMode" unit_mode: bool = false,
        optional "maxReconsumeTimes" max_reconsume_times: i32,
        optional "bname" broker_name: String,
    }
}

header! {
    /// RECALL_MESSAGE.
    pub struct RecallMessage {
        required "topic" topic: String,
        required "recallHandle" recall_handle: String,
        optional "producerGroup" producer_group: String,
    }
}

header! {
    /// The response to RECALL_MESSAGE.
    pub struct RecallMessageResponse {
        required "msgId" msg_id: String,
    }
}
