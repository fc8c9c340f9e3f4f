//! Requests to the name server: routes, registration, key-value configuration.

use super::macros::header;

/// Field that this implementation's brokers add to 103, 30001, 904 and 104: the epoch of the group, which grows with each
/// change of master.
pub const EPOCH_FIELD: &str = "bolideEpoch";

header! {
    /// GET_ROUTEINFO_BY_TOPIC (105).
    pub struct GetRouteInfo {
        required "topic" topic: String,
        optional "acceptStandardJsonOnly" accept_standard_json_only: bool,
    }
}

header! {
    /// REGISTER_BROKER (103).
    pub struct RegisterBroker {
        required "brokerName" broker_name: String,
        required "brokerAddr" broker_addr: String,
        required "clusterName" cluster_name: String,
        required "haServerAddr" ha_server_addr: String,
        required "brokerId" broker_id: i64,
        optional "heartbeatTimeoutMillis" heartbeat_timeout_millis: i64,
        optional "enableActingMaster" enable_acting_master: bool,
        defaulted "compressed" compressed: bool = false,
        defaulted "bodyCrc32" body_crc32: i32 = 0,
    }
}

header! {
    /// The response of REGISTER_BROKER; both addresses are for slaves.
    pub struct RegisterBrokerResponse {
        optional "haServerAddr" ha_server_addr: String,
        optional "masterAddr" master_addr: String,
    }
}

header! {
    /// BOLIDE_REGISTER_DELTA (30001): the difference between two versions of a broker's topic table. Both versions are
    /// `DataVersion` as JSON text.
    pub struct RegisterDelta {
        required "clusterName" cluster_name: String,
        required "brokerName" broker_name: String,
        required "brokerId" broker_id: i64,
        required "brokerAddr" broker_addr: String,
        optional "haServerAddr" ha_server_addr: String,
        optional "enableActingMaster" enable_acting_master: bool,
        optional "heartbeatTimeoutMillis" heartbeat_timeout_millis: i64,
        required "baseVersion" base_version: String,
        required "newVersion" new_version: String,
    }
}

header! {
    /// UNREGISTER_BROKER (104).
    pub struct UnregisterBroker {
        required "brokerName" broker_name: String,
        required "brokerAddr" broker_addr: String,
        required "clusterName" cluster_name: String,
        required "brokerId" broker_id: i64,
    }
}

header! {
    /// BROKER_HEARTBEAT (904). `dataVersion` is this implementation's: the topic table the broker believes the name server
    /// has, as JSON text.
    pub struct BrokerHeartbeat {
        required "clusterName" cluster_name: String,
        required "brokerAddr" broker_addr: String,
        required "brokerName" broker_name: String,
        optional "brokerId" broker_id: i64,
        optional "epoch" epoch: i32,
        optional "maxOffset" max_offset: i64,
        optional "confirmOffset" confirm_offset: i64,
        optional "heartbeatTimeoutMills" heartbeat_timeout_mills: i64,
        optional "electionPriority" election_priority: i32,
        optional "dataVersion" data_version: String,
    }
}

header! {
    /// QUERY_DATA_VERSION (322).
    pub struct QueryDataVersion {
        required "brokerName" broker_name: String,
        required "brokerAddr" broker_addr: String,
        required "clusterName" cluster_name: String,
        required "brokerId" broker_id: i64,
    }
}

header! {
    /// The response of QUERY_DATA_VERSION.
    pub struct QueryDataVersionResponse {
        required "changed" changed: bool,
    }
}

header! {
    /// GET_BROKER_MEMBER_GROUP (901).
    pub struct GetBrokerMemberGroup {
        required "clusterName" cluster_name: String,
        required "brokerName" broker_name: String,
    }
}

header! {
    /// GET_TOPICS_BY_CLUSTER (224).
    pub struct GetTopicsByCluster {
        required "cluster" cluster: String,
    }
}

header! {
    /// DELETE_TOPIC_IN_NAMESRV (216).
    pub struct DeleteTopicInNamesrv {
        required "topic" topic: String,
        optional "clusterName" cluster_name: String,
    }
}

header! {
    /// REGISTER_TOPIC_IN_NAMESRV (217).
    pub struct RegisterTopicInNamesrv {
        required "topic" topic: String,
    }
}

header! {
    /// WIPE_WRITE_PERM_OF_BROKER (205) and ADD_WRITE_PERM_OF_BROKER (327).
    pub struct BrokerPermission {
        required "brokerName" broker_name: String,
    }
}

header! {
    /// The response of WIPE_WRITE_PERM_OF_BROKER.
    pub struct WipeWritePermResponse {
        required "wipeTopicCount" wipe_topic_count: i32,
    }
}

header! {
    /// The response of ADD_WRITE_PERM_OF_BROKER.
    pub struct AddWritePermResponse {
        required "addTopicCount" add_topic_count: i32,
    }
}

header! {
    /// PUT_KV_CONFIG (100).
    pub struct PutKvConfig {
        required "namespace" namespace: String,
        required "key" key: String,
        required "value" value: String,
    }
}

header! {
    /// GET_KV_CONFIG (101) and DELETE_KV_CONFIG (102).
    pub struct KvConfigKey {
        required "namespace" namespace: String,
        required "key" key: String,
    }
}

header! {
    /// The response of GET_KV_CONFIG.
    pub struct GetKvConfigResponse {
        optional "value" value: String,
    }
}

header! {
    /// GET_KVLIST_BY_NAMESPACE (219).
    pub struct GetKvListByNamespace {
        required "namespace" namespace: String,
    }
}
