//! Queue assignment by the broker: QUERY_ASSIGNMENT (400), SET_MESSAGE_REQUEST_MODE (401).

use std::collections::BTreeMap;

use super::heartbeat::MessageModel;
use super::java_enum::java_enum;
use super::queue::MessageQueue;

java_enum! {
    /// How a client gets the messages of a queue.
    pub enum MessageRequestMode {
        /// By pulling.
        #[default]
        Pull = "PULL",
        /// By popping.
        Pop = "POP",
    }
}

body! {
    /// The body of QUERY_ASSIGNMENT.
    pub struct QueryAssignmentRequest {
        pub client_id: String,
        pub consumer_group: String,
        pub message_model: MessageModel,
        /// `AVG` or `AVG_BY_CIRCLE`.
        pub strategy_name: String,
        pub topic: String,
    }
}

body! {
    /// A queue given to the client.
    pub struct QueueAssignment {
        #[serde(skip_serializing_if = "Option::is_none")]
        pub attachments: Option<BTreeMap<String, String>>,
        pub message_queue: MessageQueue,
        pub mode: MessageRequestMode,
    }
}

body! {
    /// The response of QUERY_ASSIGNMENT.
    pub struct QueryAssignmentResponse {
        /// Absent: the client keeps what it has. Empty: it has nothing.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub message_queue_assignments: Option<Vec<QueueAssignment>>,
    }
}

body! {
    /// The body of SET_MESSAGE_REQUEST_MODE.
    pub struct SetMessageRequestMode {
        pub consumer_group: String,
        pub mode: MessageRequestMode,
        /// Queues shared by each client; 0 for all.
        pub pop_share_queue_num: i32,
        pub topic: String,
    }
}

body! {
    /// Modes of all groups: the response of GET_ALL_MESSAGE_REQUEST_MODE and `messageRequestMode.json`.
    pub struct MessageRequestModeTable {
        /// Topic, then group.
        pub message_request_mode_map: BTreeMap<String, BTreeMap<String, SetMessageRequestMode>>,
    }
}

impl MessageRequestModeTable {
    /// The table of these modes; the last one of a topic and group counts.
    #[must_use]
    pub fn of(modes: &[SetMessageRequestMode]) -> Self {
        let mut table = Self::default();
        for mode in modes {
            let groups = table.message_request_mode_map.entry(mode.topic.clone()).or_default();
            groups.insert(mode.consumer_group.clone(), mode.clone());
        }
        table
    }

    /// The modes in order of topic and group.
    #[must_use]
    pub fn into_modes(self) -> Vec<SetMessageRequestMode> {
        self.message_request_mode_map.into_values().flat_map(BTreeMap::into_values).collect()
    }
}
