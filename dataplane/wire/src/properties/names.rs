//! Names of the properties the protocol gives a meaning to.

/// Index keys, separated by spaces.
pub const KEYS: &str = "KEYS";
/// The tag.
pub const TAGS: &str = "TAGS";
/// "false": answer without waiting for flush and replication.
pub const WAIT: &str = "WAIT";
/// Delay level, 1 to 18 by default.
pub const DELAY: &str = "DELAY";
/// Deliver after so many seconds.
pub const TIMER_DELAY_SEC: &str = "TIMER_DELAY_SEC";
/// Deliver after so many milliseconds.
pub const TIMER_DELAY_MS: &str = "TIMER_DELAY_MS";
/// Deliver at this time.
pub const TIMER_DELIVER_MS: &str = "TIMER_DELIVER_MS";
/// The delivery time the broker computed.
pub const TIMER_OUT_MS: &str = "TIMER_OUT_MS";
/// When a timer took the message in.
pub const TIMER_ENQUEUE_MS: &str = "TIMER_ENQUEUE_MS";
/// When a timer gave the message out.
pub const TIMER_DEQUEUE_MS: &str = "TIMER_DEQUEUE_MS";
/// How often a timer put the message back.
pub const TIMER_ROLL_TIMES: &str = "TIMER_ROLL_TIMES";
/// Recall: which message to drop.
pub const TIMER_DEL_UNIQKEY: &str = "TIMER_DEL_UNIQKEY";
/// Delay level served by the timer.
pub const TIMER_DELAY_LEVEL: &str = "TIMER_DELAY_LEVEL";
/// Original topic of a message in a retry topic.
pub const RETRY_TOPIC: &str = "RETRY_TOPIC";
/// Target topic while a message waits in a system topic.
pub const REAL_TOPIC: &str = "REAL_TOPIC";
/// Target queue while a message waits in a system topic.
pub const REAL_QID: &str = "REAL_QID";
/// "true" on half messages.
pub const TRAN_MSG: &str = "TRAN_MSG";
/// Producer group.
pub const PGROUP: &str = "PGROUP";
/// Set by clients from a pull response.
pub const MIN_OFFSET: &str = "MIN_OFFSET";
/// Set by clients from a pull response.
pub const MAX_OFFSET: &str = "MAX_OFFSET";
/// First offset id of a retried message.
pub const ORIGIN_MESSAGE_ID: &str = "ORIGIN_MESSAGE_ID";
/// Retries so far, when a client sends the retry itself.
pub const RECONSUME_TIME: &str = "RECONSUME_TIME";
/// Most retries, when a client sends the retry itself.
pub const MAX_RECONSUME_TIMES: &str = "MAX_RECONSUME_TIMES";
/// Region, set by the broker.
pub const MSG_REGION: &str = "MSG_REGION";
/// Whether clients should trace, set by the broker.
pub const TRACE_ON: &str = "TRACE_ON";
/// The client's message id.
pub const UNIQ_KEY: &str = "UNIQ_KEY";
/// Extension of the client's message id.
pub const EXTEND_UNIQ_INFO: &str = "EXTEND_UNIQ_INFO";
/// Set by clients.
pub const CONSUME_START_TIME: &str = "CONSUME_START_TIME";
/// Number of messages in an inner batch.
pub const INNER_NUM: &str = "INNER_NUM";
/// First queue offset of an inner batch.
pub const INNER_BASE: &str = "INNER_BASE";
/// Duplicate detection.
pub const DUP_INFO: &str = "DUP_INFO";
/// No transaction check before this age.
pub const CHECK_IMMUNITY_TIME_IN_SECONDS: &str = "CHECK_IMMUNITY_TIME_IN_SECONDS";
/// Queue offset of the half message.
pub const TRAN_PREPARED_QUEUE_OFFSET: &str = "TRAN_PREPARED_QUEUE_OFFSET";
/// Checks so far.
pub const TRANSACTION_CHECK_TIMES: &str = "TRANSACTION_CHECK_TIMES";
/// Namespace.
pub const INSTANCE_ID: &str = "INSTANCE_ID";
/// Matches a reply with its request.
pub const CORRELATION_ID: &str = "CORRELATION_ID";
/// Client id that waits for the reply.
pub const REPLY_TO_CLIENT: &str = "REPLY_TO_CLIENT";
/// How long the requester waits, in milliseconds.
pub const TTL: &str = "TTL";
/// When the reply arrived at the requester.
pub const ARRIVE_TIME: &str = "ARRIVE_TIME";
/// When the broker pushed the reply.
pub const PUSH_REPLY_TIME: &str = "PUSH_REPLY_TIME";
/// "reply" on replies.
pub const MSG_TYPE: &str = "MSG_TYPE";
/// Cluster name, set by the broker.
pub const CLUSTER: &str = "CLUSTER";
/// Handle of a popped message; removed from what clients send.
pub const POP_CK: &str = "POP_CK";
/// Offset of a pop checkpoint.
pub const POP_CK_OFFSET: &str = "POP_CK_OFFSET";
/// Further queues of the message.
pub const INNER_MULTI_DISPATCH: &str = "INNER_MULTI_DISPATCH";
/// Offsets in the further queues.
pub const INNER_MULTI_QUEUE_OFFSET: &str = "INNER_MULTI_QUEUE_OFFSET";
/// Trace context.
pub const TRACE_CONTEXT: &str = "TRACE_CONTEXT";
/// When the message was made.
pub const BORN_TIMESTAMP: &str = "BORN_TIMESTAMP";
/// Original topic of a dead letter.
pub const DLQ_ORIGIN_TOPIC: &str = "DLQ_ORIGIN_TOPIC";
/// Original id of a dead letter.
pub const DLQ_ORIGIN_MESSAGE_ID: &str = "DLQ_ORIGIN_MESSAGE_ID";
/// Transaction id.
pub const TRANSACTION_ID: &str = "__transactionId__";
/// When the message was popped first.
pub const FIRST_POP_TIME: &str = "1ST_POP_TIME";
/// Ordering key of FIFO messages.
pub const SHARDING_KEY: &str = "__SHARDINGKEY";
/// The producer's address.
pub const BORN_HOST: &str = "__BORNHOST";
/// CRC32 of the record before it: ten decimal digits, the least significant first.
pub const CRC32: &str = "__CRC32#";
/// Prefix of properties that are never stored.
pub const TRANSIENT_PREFIX: &str = "__RMQ.TRANSIENT.";
/// Source of a delayed delivery, `level:queueOffset`; this implementation's own.
pub const DELAY_SRC: &str = "DELAY_SRC";
/// Half message that a record stands for, `logOffset:queueOffset:storedMs:checks:checkedMs`; this implementation's own.
pub const TRAN_SRC: &str = "TRAN_SRC";
/// Source of a message that came again because nobody acknowledged it; this implementation's own.
pub const POP_SRC: &str = "POP_SRC";
