//! What the name server tells: routes, clusters, members of a group.

use std::collections::{BTreeMap, BTreeSet};

use crate::json::IntegerKeys;

/// First client version that gets quoted integer keys: 4.9.4.
const QUOTED_KEYS_SINCE: i32 = 401;

/// The id of a group's master in the address tables.
pub const MASTER_ID: i64 = 0;

body! {
    /// The addresses of a broker group.
    pub struct BrokerData {
        /// By broker id; 0 is the master.
        pub broker_addrs: BTreeMap<i64, String>,
        pub broker_name: String,
        pub cluster: String,
        pub enable_acting_master: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub zone_name: Option<String>,
    }
}

body! {
    /// The queues of a topic on a broker group.
    pub struct QueueData {
        pub broker_name: String,
        /// Bits of [`super::topic::perm`].
        pub perm: i32,
        pub read_queue_nums: i32,
        pub topic_sys_flag: i32,
        pub write_queue_nums: i32,
    }
}

body! {
    /// The response of GET_ROUTEINFO_BY_TOPIC, written with [`route_keys`].
    pub struct TopicRouteData {
        pub broker_datas: Vec<BrokerData>,
        pub filter_server_table: BTreeMap<String, Vec<String>>,
        /// `broker-a:4;broker-b:4` for ordered topics.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub order_topic_conf: Option<String>,
        pub queue_datas: Vec<QueueData>,
        /// Static topics, passed on as they are.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub topic_queue_mapping_by_broker: Option<BTreeMap<String, serde_json::Value>>,
    }
}

/// How a route's integer keys are written for a client.
#[must_use]
pub fn route_keys(client_version: i32, accept_standard_json_only: bool) -> IntegerKeys {
    if accept_standard_json_only || client_version >= QUOTED_KEYS_SINCE {
        IntegerKeys::Quoted
    } else {
        IntegerKeys::Unquoted
    }
}

body! {
    /// The response of GET_BROKER_CLUSTER_INFO.
    pub struct ClusterInfo {
        pub broker_addr_table: BTreeMap<String, BrokerData>,
        /// Broker groups by cluster.
        pub cluster_addr_table: BTreeMap<String, BTreeSet<String>>,
    }
}

body! {
    /// The live members of a broker group.
    pub struct BrokerMemberGroup {
        pub broker_addrs: BTreeMap<i64, String>,
        pub broker_name: String,
        pub cluster: String,
    }
}

body! {
    /// The response of GET_BROKER_MEMBER_GROUP.
    pub struct BrokerMemberGroupResponse {
        #[serde(skip_serializing_if = "Option::is_none")]
        pub broker_member_group: Option<BrokerMemberGroup>,
    }
}
