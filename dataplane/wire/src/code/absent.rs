//! What of the protocol no server of this project does, and why. Servers say it to whoever asks, and the table of request
//! codes in `docs/` says it to readers. Codes in neither a server's dispatch table nor here are requests to clients.

use super::RequestCode;

const DEAD: &str = "no client or tool sends it any more";
const FILTER_SERVER: &str = "filter servers are gone since 4.3: subscribe with SQL92";
const CONTAINER: &str = "there are no broker containers: every broker is a process of its own";
const CONTROLLER: &str = "there is no controller: brokers agree through the group's lease";
const STATIC_TOPIC: &str = "static topics do not exist here: a group's queues move with its master";
const ROCKSDB: &str = "nothing is kept in RocksDB";
const COLD_DATA: &str = "reads of old data have bounds of their own (coldReadThreads, maxTransfer...InDisk)";
const TIMER_FILES: &str = "timers have no wheel file here; how many wait is in /metrics";
const AUTH: &str = "access control is not in this version";

/// Codes that no server answers, with the reason, in order of number.
pub const ABSENT: &[(RequestCode, &str)] = &[
    (RequestCode::QUERY_BROKER_OFFSET, DEAD),
    (RequestCode::GET_TOPIC_CONFIG_LIST, DEAD),
    (RequestCode::GET_TOPIC_NAME_LIST, DEAD),
    (RequestCode::TRIGGER_DELETE_FILES, "old files go by themselves; DELETE_EXPIRED_COMMITLOG looks at once"),
    (RequestCode::GET_CLIENT_CONFIG, DEAD),
    (RequestCode::GET_TIMER_CHECK_POINT, TIMER_FILES),
    (RequestCode::GET_TIMER_METRICS, TIMER_FILES),
    (RequestCode::SUSPEND_CONSUMER, DEAD),
    (RequestCode::RESUME_CONSUMER, DEAD),
    (RequestCode::RESET_CONSUMER_OFFSET_IN_CONSUMER, DEAD),
    (RequestCode::RESET_CONSUMER_OFFSET_IN_BROKER, DEAD),
    (RequestCode::ADJUST_CONSUMER_THREAD_POOL, DEAD),
    (RequestCode::WHO_CONSUME_THE_MESSAGE, DEAD),
    (RequestCode::REGISTER_FILTER_SERVER, FILTER_SERVER),
    (RequestCode::REGISTER_MESSAGE_FILTER_CLASS, FILTER_SERVER),
    (RequestCode::CHECK_ROCKSDB_CQ_WRITE_PROGRESS, ROCKSDB),
    (RequestCode::EXPORT_ROCKSDB_CONFIG_TO_JSON, ROCKSDB),
    (RequestCode::UPDATE_AND_CREATE_STATIC_TOPIC, STATIC_TOPIC),
    (RequestCode::ADD_BROKER, CONTAINER),
    (RequestCode::REMOVE_BROKER, CONTAINER),
    (RequestCode::NOTIFY_MIN_BROKER_ID_CHANGE, "no broker acts for a master: a promoted one is the master"),
    (RequestCode::EXCHANGE_BROKER_HA_INFO, "replicas speak a protocol of their own"),
    (RequestCode::RESET_MASTER_FLUSH_OFFSET, "a replica's offset is what it holds, and is not set by hand"),
    (RequestCode::CONTROLLER_ALTER_SYNC_STATE_SET, CONTROLLER),
    (RequestCode::CONTROLLER_ELECT_MASTER, CONTROLLER),
    (RequestCode::CONTROLLER_REGISTER_BROKER, CONTROLLER),
    (RequestCode::CONTROLLER_GET_REPLICA_INFO, CONTROLLER),
    (RequestCode::CONTROLLER_GET_METADATA_INFO, CONTROLLER),
    (RequestCode::CONTROLLER_GET_SYNC_STATE_DATA, CONTROLLER),
    (RequestCode::NOTIFY_BROKER_ROLE_CHANGED, CONTROLLER),
    (RequestCode::UPDATE_CONTROLLER_CONFIG, CONTROLLER),
    (RequestCode::GET_CONTROLLER_CONFIG, CONTROLLER),
    (RequestCode::CLEAN_BROKER_DATA, CONTROLLER),
    (RequestCode::CONTROLLER_GET_NEXT_BROKER_ID, CONTROLLER),
    (RequestCode::CONTROLLER_APPLY_BROKER_ID, CONTROLLER),
    (RequestCode::UPDATE_COLD_DATA_FLOW_CTR_CONFIG, COLD_DATA),
    (RequestCode::REMOVE_COLD_DATA_FLOW_CTR_CONFIG, COLD_DATA),
    (RequestCode::GET_COLD_DATA_FLOW_CTR_INFO, COLD_DATA),
    (RequestCode::SET_COMMITLOG_READ_MODE, "the system decides how far it reads ahead"),
    (RequestCode::AUTH_CREATE_USER, AUTH),
    (RequestCode::AUTH_UPDATE_USER, AUTH),
    (RequestCode::AUTH_DELETE_USER, AUTH),
    (RequestCode::AUTH_GET_USER, AUTH),
    (RequestCode::AUTH_LIST_USER, AUTH),
    (RequestCode::AUTH_CREATE_ACL, AUTH),
    (RequestCode::AUTH_UPDATE_ACL, AUTH),
    (RequestCode::AUTH_DELETE_ACL, AUTH),
    (RequestCode::AUTH_GET_ACL, AUTH),
    (RequestCode::AUTH_LIST_ACL, AUTH),
    (RequestCode::POP_ROLLBACK, "the state of pop has one form only"),
];

/// Requests that brokers send to clients, in order of number; no server answers them unless its own table says so.
pub const TO_CLIENTS: &[RequestCode] = &[
    RequestCode::CHECK_TRANSACTION_STATE,
    RequestCode::NOTIFY_CONSUMER_IDS_CHANGED,
    RequestCode::RESET_CONSUMER_CLIENT_OFFSET,
    RequestCode::GET_CONSUMER_STATUS_FROM_CLIENT,
    RequestCode::GET_CONSUMER_RUNNING_INFO,
    RequestCode::CONSUME_MESSAGE_DIRECTLY,
    RequestCode::PUSH_REPLY_MESSAGE_TO_CLIENT,
];

impl RequestCode {
    /// Why no server of this project answers the code; `None` when one does, or nobody ever asks a server.
    #[must_use]
    pub fn why_absent(self) -> Option<&'static str> {
        let at = ABSENT.binary_search_by_key(&self, |(code, _)| *code).ok()?;
        ABSENT.get(at).map(|(_, why)| *why)
    }

    /// The remark of the answer "not supported": the text that tools know, then the reason where there is one.
    #[must_use]
    pub fn not_supported(self) -> String {
        let reason = self.why_absent().map(|why| format!(": {why}")).unwrap_or_default();
        format!(" request type {} not supported{reason}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_are_in_order_so_that_they_can_be_searched() {
        assert!(ABSENT.is_sorted_by(|a, b| a.0 < b.0));
        assert!(TO_CLIENTS.is_sorted_by(|a, b| a < b));
        for (code, why) in ABSENT {
            assert_eq!(code.why_absent(), Some(*why));
            assert!(code.name().is_some());
        }
    }

    #[test]
    fn a_reason_follows_the_text_that_tools_know() {
        assert_eq!(RequestCode(9_999).not_supported(), " request type 9999 not supported");
        let said = RequestCode::AUTH_LIST_USER.not_supported();
        assert_eq!(said, " request type 3005 not supported: access control is not in this version");
    }
}
