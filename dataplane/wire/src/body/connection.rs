//! Who is connected: members of a consumer group, producers.

use std::collections::BTreeMap;

use super::heartbeat::{ConsumeFromWhere, ConsumeType, MessageModel, SubscriptionData};

body! {
    /// The response of GET_CONSUMER_LIST_BY_GROUP.
    pub struct ConsumerIdList {
        pub consumer_id_list: Vec<String>,
    }
}

body! {
    /// One client connection.
    pub struct Connection {
        pub client_addr: String,
        pub client_id: String,
        /// Name of the client's language, such as `JAVA`.
        pub language: String,
        pub version: i32,
    }
}

body! {
    /// The response of GET_CONSUMER_CONNECTION_LIST.
    pub struct ConsumerConnection {
        pub connection_set: Vec<Connection>,
        pub consume_from_where: ConsumeFromWhere,
        pub consume_type: ConsumeType,
        pub message_model: MessageModel,
        pub subscription_table: BTreeMap<String, SubscriptionData>,
    }
}

body! {
    /// The response of GET_PRODUCER_CONNECTION_LIST.
    pub struct ProducerConnection {
        pub connection_set: Vec<Connection>,
    }
}

body! {
    /// One producer in [`ProducerTable`].
    pub struct ProducerInfo {
        pub client_id: String,
        pub language: String,
        pub last_update_timestamp: i64,
        #[serde(rename = "remoteIP")]
        pub remote_ip: String,
        pub version: i32,
    }
}

body! {
    /// The response of GET_ALL_PRODUCER_INFO: producers by group.
    pub struct ProducerTable {
        pub data: BTreeMap<String, Vec<ProducerInfo>>,
    }
}

body! {
    /// The response of QUERY_SUBSCRIPTION_BY_CONSUMER.
    pub struct ConsumerSubscription {
        pub group: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub subscription_data: Option<SubscriptionData>,
        pub topic: String,
    }
}
