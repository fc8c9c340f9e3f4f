//! When a broker group that is no longer wanted may go: when nobody would miss a message.

use bolide_api::BrokerSet;
use bolide_api::broker_set::ClaimRetention;
use bolide_client::ClientError;
use bolide_resources::{Cluster, Group, labels};
use kube::ResourceExt;

use super::observe;
use crate::brokers::Brokers;
use crate::context::Context;

/// What becomes of a group that is not wanted any more. It takes no new messages in either case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Leaving {
    /// It stays for now, for the reason given.
    Waits(String),
    /// It can go.
    Gone,
}

/// Decides for one group by asking its broker.
pub(crate) async fn decide<B: Brokers>(
    ctx: &Context<B>,
    set: &BrokerSet,
    cluster: &Cluster,
    group: &Group,
) -> Leaving {
    if is_discarded(set, group.number) {
        return Leaving::Gone;
    }
    let override_with = format!(
        "to remove it anyway, annotate the BrokerSet with {}={}",
        labels::DISCARD_GROUPS,
        group.number
    );
    if cluster.spec.stopped {
        return Leaving::Waits(format!(
            "leaves when the set runs again and it has been read; {override_with}"
        ));
    }
    let Some(address) = observe::address(group) else {
        return Leaving::Waits(format!("leaves, but has no address yet; {override_with}"));
    };
    let Contents { unread, behind, stored } = match contents(ctx, &address).await {
        Ok(contents) => contents,
        Err(error) => {
            return Leaving::Waits(format!("leaves, but does not answer ({error}); {override_with}"));
        }
    };
    if unread > 0 {
        Leaving::Waits(format!(
            "leaves when its last {unread} messages are consumed (group {behind} is behind); {override_with}"
        ))
    } else if stored > 0 && cluster.spec.storage.claim_retention == ClaimRetention::Delete {
        Leaving::Waits(format!(
            "leaves when retention has deleted its {stored} messages, since its volume would be deleted; {override_with}"
        ))
    } else {
        Leaving::Gone
    }
}

/// What a broker holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Contents {
    /// Messages that some group has yet to read, counted for each such group.
    unread: i64,
    /// One of those groups.
    behind: String,
    /// Messages in all.
    stored: i64,
}

async fn contents<B: Brokers>(ctx: &Context<B>, address: &str) -> Result<Contents, ClientError> {
    let topics = ctx.brokers.topics(address).await?;
    let mut unread = 0;
    let mut behind = String::new();
    let mut stored = 0;
    let names = topics.iter().map(|topic| topic.topic_name.as_str());
    for topic in names.filter(|topic| !is_system(topic)) {
        let queues = ctx.brokers.topic_stats(address, topic).await?;
        stored +=
            queues.iter().map(|queue| queue.max_offset.saturating_sub(queue.min_offset).max(0)).sum::<i64>();
        for consumer in ctx.brokers.consumers_of(address, topic).await? {
            let progress = ctx.brokers.progress(address, &consumer, Some(topic)).await?;
            let lag: i64 = progress.iter().map(bolide_client::ConsumedQueue::lag).sum();
            if lag > 0 {
                unread += lag;
                behind = consumer;
            }
        }
    }
    Ok(Contents { unread, behind, stored })
}

/// Whether a person has said that the group may go with its messages.
fn is_discarded(set: &BrokerSet, group: u32) -> bool {
    let listed = set.annotations().get(labels::DISCARD_GROUPS);
    listed.is_some_and(|listed| listed.split(',').any(|number| number.trim().parse() == Ok(group)))
}

/// Topics that every broker makes by itself when it needs them.
pub(crate) fn is_brokers_own(topic: &str) -> bool {
    const NAMES: &[&str] = &["SCHEDULE_TOPIC_XXXX", "RMQ_SYS_TRANS_HALF_TOPIC"];
    is_system(topic) || NAMES.contains(&topic) || topic.starts_with('%')
}

/// Topics that brokers keep for their own use; what is in them is nobody's message.
fn is_system(topic: &str) -> bool {
    const NAMES: &[&str] = &[
        "TBW102",
        "SELF_TEST_TOPIC",
        "OFFSET_MOVED_EVENT",
        "BenchmarkTest",
        "RMQ_SYS_TRANS_OP_HALF_TOPIC",
        "RMQ_SYS_TRACE_TOPIC",
    ];
    NAMES.contains(&topic) || topic.starts_with("rmq_sys_")
}

#[cfg(test)]
mod tests {
    use super::*;
    use bolide_api::BrokerSetSpec;

    #[test]
    fn the_annotation_lists_groups() {
        let mut set = BrokerSet::new("demo", BrokerSetSpec::default());
        assert!(!is_discarded(&set, 1));
        set.annotations_mut().insert(labels::DISCARD_GROUPS.into(), "1, 3".into());
        assert!(is_discarded(&set, 1) && is_discarded(&set, 3));
        assert!(!is_discarded(&set, 13) && !is_discarded(&set, 2));
    }

    #[test]
    fn delayed_and_half_messages_count_as_messages() {
        assert!(!is_system("SCHEDULE_TOPIC_XXXX"));
        assert!(!is_system("RMQ_SYS_TRANS_HALF_TOPIC"));
        assert!(!is_system("%RETRY%billing"));
        assert!(is_system("rmq_sys_bolide_state"));
    }
}
