//! LOCK_BATCH_MQ (41) and UNLOCK_BATCH_MQ (42).

use super::queue::MessageQueue;

body! {
    /// The body of both requests.
    pub struct LockBatchRequest {
        pub client_id: String,
        pub consumer_group: String,
        pub mq_set: Vec<MessageQueue>,
        /// Do not ask the other replicas.
        pub only_this_broker: bool,
    }
}

body! {
    /// The response of LOCK_BATCH_MQ: all queues the client holds after the call.
    pub struct LockBatchResponse {
        #[serde(rename = "lockOKMQSet")]
        pub lock_ok_mq_set: Vec<MessageQueue>,
    }
}
