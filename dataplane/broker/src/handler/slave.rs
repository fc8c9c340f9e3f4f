//! Owns which requests a slave answers. Every code that is not listed needs the master.

use bolide_wire::RequestCode;

/// Codes that a slave serves, in order of number.
const SERVED: &[RequestCode] = &[
    RequestCode::PULL_MESSAGE,
    RequestCode::QUERY_MESSAGE,
    RequestCode::QUERY_CONSUMER_OFFSET,
    // kept here and passed on to the master
    RequestCode::UPDATE_CONSUMER_OFFSET,
    RequestCode::GET_ALL_TOPIC_CONFIG,
    RequestCode::UPDATE_BROKER_CONFIG,
    RequestCode::GET_BROKER_CONFIG,
    RequestCode::GET_BROKER_RUNTIME_INFO,
    RequestCode::SEARCH_OFFSET_BY_TIMESTAMP,
    RequestCode::GET_MAX_OFFSET,
    RequestCode::GET_MIN_OFFSET,
    RequestCode::GET_EARLIEST_MSG_STORETIME,
    RequestCode::VIEW_MESSAGE_BY_ID,
    RequestCode::HEART_BEAT,
    RequestCode::UNREGISTER_CLIENT,
    RequestCode::GET_CONSUMER_LIST_BY_GROUP,
    RequestCode::GET_ALL_CONSUMER_OFFSET,
    RequestCode::GET_ALL_DELAY_OFFSET,
    RequestCode::CHECK_CLIENT_CONFIG,
    RequestCode::GET_ALL_SUBSCRIPTIONGROUP_CONFIG,
    RequestCode::GET_TOPIC_STATS_INFO,
    RequestCode::GET_CONSUMER_CONNECTION_LIST,
    RequestCode::GET_PRODUCER_CONNECTION_LIST,
    RequestCode::GET_CONSUME_STATS,
    RequestCode::QUERY_TOPIC_CONSUME_BY_WHO,
    RequestCode::QUERY_CONSUME_TIME_SPAN,
    RequestCode::GET_SYSTEM_TOPIC_LIST_FROM_BROKER,
    RequestCode::GET_CONSUMER_RUNNING_INFO,
    RequestCode::QUERY_CORRECTION_OFFSET,
    RequestCode::VIEW_BROKER_STATS_DATA,
    RequestCode::GET_BROKER_CONSUME_STATS,
    RequestCode::QUERY_CONSUME_QUEUE,
    RequestCode::GET_ALL_PRODUCER_INFO,
    RequestCode::QUERY_TOPICS_BY_CONSUMER,
    RequestCode::QUERY_SUBSCRIPTION_BY_CONSUMER,
    RequestCode::GET_TOPIC_CONFIG,
    RequestCode::GET_SUBSCRIPTIONGROUP_CONFIG,
    RequestCode::LITE_PULL_MESSAGE,
    RequestCode::BOLIDE_REPLICA_STATUS,
];

/// Whether a slave answers this code itself.
pub(crate) fn serves(code: RequestCode) -> bool {
    SERVED.binary_search(&code).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_in_order_and_has_nothing_that_appends() {
        assert!(SERVED.is_sorted());
        for code in [RequestCode::SEND_MESSAGE_V2, RequestCode::LOCK_BATCH_MQ, RequestCode(77_777)] {
            assert!(!serves(code), "{code}");
        }
    }
}
