//! Owns the requests by which a person hurries what the broker does by itself: old files and unused queues go.

use bolide_wire::ids::TopicName;

use super::Call;
use crate::error::Failure;
use crate::reply::Reply;
use crate::state::record::STATE_TOPIC;

/// Codes 306 and 329: what is expired goes now rather than at the next round. Queue files go with the log they point into.
pub(crate) fn clean(call: &Call) -> Result<Reply, Failure> {
    call.broker.store.clean_now();
    Ok(Reply::ok())
}

/// Code 316: the queues of topics that are not configured go.
pub(crate) async fn clean_unused_topics(call: Call) -> Result<Reply, Failure> {
    let configured = |topic: &TopicName| {
        **topic == *STATE_TOPIC
            || topic.starts_with("%LMQ%")
            || call.broker.state.topics.find(topic).is_some()
    };
    let mut unused = call.broker.store.topics();
    unused.retain(|topic| !configured(topic));
    call.broker
        .cold_read(move |store| unused.iter().try_for_each(|topic| store.delete_topic(topic).map(|_| ())))
        .await?;
    Ok(Reply::ok())
}
