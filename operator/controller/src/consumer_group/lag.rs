//! How far a group has read: members, lag by topic, dead letters.

use std::collections::{BTreeMap, BTreeSet};

use bolide_api::ConsumerGroupStatus;
use bolide_api::consumer_group::TopicLag;
use bolide_client::{ClientError, ConsumedQueue};

use crate::brokers::Brokers;
use crate::context::Context;
use crate::target::Broker;

/// Topics shown in the status at most.
const TOPICS_SHOWN: usize = 100;

/// What was measured on all brokers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Measured {
    members: BTreeSet<String>,
    topics: BTreeMap<String, TopicLag>,
    dead: i64,
}

/// Asks every broker.
pub(crate) async fn measure<B: Brokers>(
    ctx: &Context<B>,
    group: &str,
    brokers: &[Broker],
) -> Result<Measured, ClientError> {
    let now_ms = (ctx.now)().as_millisecond();
    let dead_letters = format!("%DLQ%{group}");
    let mut measured = Measured::default();
    for broker in brokers {
        measured.members.extend(ctx.brokers.members(&broker.address, group).await?);
        for queue in ctx.brokers.progress(&broker.address, group, None).await? {
            measured.add(&queue, now_ms);
        }
        if ctx.brokers.topic(&broker.address, &dead_letters).await?.is_some() {
            let queues = ctx.brokers.topic_stats(&broker.address, &dead_letters).await?;
            measured.dead += queues
                .iter()
                .map(|queue| queue.max_offset.saturating_sub(queue.min_offset).max(0))
                .sum::<i64>();
        }
    }
    Ok(measured)
}

impl Measured {
    fn add(&mut self, queue: &ConsumedQueue, now_ms: i64) {
        let topic = self
            .topics
            .entry(queue.topic.clone())
            .or_insert_with(|| TopicLag { topic: queue.topic.clone(), ..TopicLag::default() });
        let lag = queue.lag();
        topic.lag += lag;
        if lag > 0 && queue.last_timestamp > 0 {
            let behind = (now_ms.saturating_sub(queue.last_timestamp) / 1000).max(0);
            topic.lag_seconds = topic.lag_seconds.max(Some(behind));
        } else if lag == 0 {
            topic.lag_seconds = topic.lag_seconds.max(Some(0));
        }
    }

    /// Puts the figures into the status; those with the most lag first.
    pub(crate) fn write_into(self, status: &mut ConsumerGroupStatus) {
        let mut topics: Vec<TopicLag> = self.topics.into_values().collect();
        topics.sort_by(|a, b| b.lag.cmp(&a.lag).then_with(|| a.topic.cmp(&b.topic)));
        status.members = Some(u32::try_from(self.members.len()).unwrap_or(u32::MAX));
        status.lag = Some(topics.iter().map(|topic| topic.lag).sum());
        status.lag_seconds = topics.iter().filter_map(|topic| topic.lag_seconds).max();
        status.dead_letters = Some(self.dead);
        topics.truncate(TOPICS_SHOWN);
        status.topics = topics;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(topic: &str, broker_offset: i64, consumer_offset: i64, last_timestamp: i64) -> ConsumedQueue {
        ConsumedQueue {
            topic: topic.into(),
            broker: "b".into(),
            queue: 0,
            broker_offset,
            consumer_offset,
            last_timestamp,
        }
    }

    #[test]
    fn lag_is_summed_and_the_age_is_the_worst() {
        let mut measured = Measured::default();
        measured.add(&queue("a", 10, 10, 1_000), 100_000);
        measured.add(&queue("b", 10, 4, 90_000), 100_000);
        measured.add(&queue("b", 10, 9, 40_000), 100_000);
        measured.add(&queue("c", 5, 0, 0), 100_000);
        let mut status = ConsumerGroupStatus::default();
        measured.write_into(&mut status);
        assert_eq!((status.lag, status.lag_seconds), (Some(12), Some(60)));
        let shown: Vec<_> =
            status.topics.iter().map(|topic| (topic.topic.as_str(), topic.lag_seconds)).collect();
        assert_eq!(shown, [("b", Some(60)), ("c", None), ("a", Some(0))]);
    }
}
