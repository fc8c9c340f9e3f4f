//! BATCH_ACK_MESSAGE (200151).

body! {
    /// Acknowledged messages of one pop from one queue.
    pub struct BatchAck {
        /// Base64 of a little-endian bit set: bit i is the message at start offset + i.
        #[serde(rename = "b", alias = "bitSet")]
        pub bit_set: String,
        #[serde(rename = "c", alias = "consumerGroup")]
        pub consumer_group: String,
        /// Milliseconds.
        #[serde(rename = "it", alias = "invisibleTime")]
        pub invisible_time: i64,
        /// Milliseconds since 1970.
        #[serde(rename = "pt", alias = "popTime")]
        pub pop_time: i64,
        #[serde(rename = "q", alias = "queueId")]
        pub queue_id: i32,
        /// `0` normal topic, `1` and `2` pop retry topic of the first and second kind.
        #[serde(rename = "r", alias = "retry")]
        pub retry: String,
        #[serde(rename = "rq", alias = "reviveQueueId")]
        pub revive_queue_id: i32,
        #[serde(rename = "so", alias = "startOffset")]
        pub start_offset: i64,
        /// The normal topic, whatever `retry` says.
        #[serde(rename = "t", alias = "topic")]
        pub topic: String,
    }
}

body! {
    /// The body of BATCH_ACK_MESSAGE.
    pub struct BatchAckRequest {
        pub acks: Vec<BatchAck>,
        pub broker_name: String,
    }
}
