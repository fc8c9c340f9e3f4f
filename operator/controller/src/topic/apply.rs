//! Brings one topic on all of its broker groups to what is wanted, by the same difference that `bolide up` uses.

use bolide_api::topic::TopicGroupStatus;
use bolide_api::{BrokerSet, Topic};
use bolide_client::ClientError;
use bolide_client::desired::{Change, WantedTopic, order_change, topic_change};
use bolide_desired::{order_configuration, wanted_topic};
use bolide_wire::body::topic::TopicConfig;

use crate::brokers::Brokers;
use crate::context::Context;
use crate::target::{self, Broker};

/// What came of it, over all groups.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// The topic as it now is on each group that was reached.
    pub(crate) groups: Vec<TopicGroupStatus>,
    /// What was changed, for people.
    pub(crate) done: Vec<String>,
    /// What waits for consumers.
    pub(crate) draining: Vec<String>,
    /// What cannot be.
    pub(crate) conflicts: Vec<String>,
    /// Brokers that did not do what they were asked.
    pub(crate) failures: Vec<String>,
    /// Why some nameserver does not know the order configuration of the topic.
    pub(crate) untold: Option<ClientError>,
}

/// Every group is tried, whatever happens on others.
pub(crate) async fn apply<B: Brokers>(ctx: &Context<B>, topic: &Topic, set: &BrokerSet) -> Outcome {
    let mut outcome = Outcome::default();
    let wanted = wanted_topic(set, topic);
    let here =
        |broker: &&Broker| wanted.brokers.as_ref().is_none_or(|brokers| brokers.contains(&broker.name));
    for broker in target::brokers(set).iter().filter(here) {
        if let Err(error) = on_broker(ctx, &wanted, broker, &mut outcome).await {
            outcome.failures.push(format!("{}: {error}", broker.name));
        }
    }
    let order = order_configuration(set, topic);
    if outcome.conflicts.is_empty() && order.is_some() {
        outcome.untold = tell_order(ctx, &wanted.name, order.as_deref(), set).await;
    }
    outcome
}

/// Brings every nameserver to the wanted order configuration of a topic; returns what went wrong on the last that did not take it.
pub(crate) async fn tell_order<B: Brokers>(
    ctx: &Context<B>,
    topic: &str,
    order: Option<&str>,
    set: &BrokerSet,
) -> Option<ClientError> {
    let mut failed = None;
    for namesrv in target::nameservers(set) {
        let told = async {
            let found = ctx.brokers.order(&namesrv, topic).await?;
            match order_change(order, found.as_deref()) {
                Some(change) => ctx.brokers.change_order(&namesrv, topic, &change).await,
                None => Ok(()),
            }
        };
        failed = told.await.err().or(failed);
    }
    failed
}

async fn on_broker<B: Brokers>(
    ctx: &Context<B>,
    wanted: &WantedTopic,
    broker: &Broker,
    outcome: &mut Outcome,
) -> Result<(), ClientError> {
    let mut found = ctx.brokers.topic(&broker.address, &wanted.name).await?;
    match topic_change(wanted, found.as_ref()) {
        None => {}
        Some(change @ (Change::MakeTopic(_) | Change::ChangeTopic { .. })) => {
            if let Change::MakeTopic(to) | Change::ChangeTopic { to, .. } = &change {
                ctx.brokers.put_topic(&broker.address, to).await?;
                found = Some(to.clone());
            }
            outcome.done.push(format!("{}: {change}", broker.name));
        }
        Some(Change::Drain { to, from, until }) => match unread(ctx, wanted, broker, from).await? {
            0 => {
                ctx.brokers.put_topic(&broker.address, &to).await?;
                found = Some(to);
                outcome.done.push(format!("{}: queues {from} to {} removed", broker.name, until - 1));
            }
            unread => outcome.draining.push(format!(
                "{}: queues {from} to {} go away when their last {unread} messages are read",
                broker.name,
                until - 1
            )),
        },
        Some(Change::Conflict { sentence, .. }) => {
            outcome.conflicts.push(format!("{}: {sentence}", broker.name))
        }
        Some(Change::MakeGroup(_) | Change::ChangeGroup { .. }) => {}
    }
    if let Some(found) = found {
        outcome.groups.push(described(broker, &found));
    }
    Ok(())
}

/// Messages in queues from `from` on that some group has yet to read; where nobody has ever read the topic, all of them.
async fn unread<B: Brokers>(
    ctx: &Context<B>,
    wanted: &WantedTopic,
    broker: &Broker,
    from: i32,
) -> Result<i64, ClientError> {
    let consumers = ctx.brokers.consumers_of(&broker.address, &wanted.name).await?;
    if consumers.is_empty() {
        let queues = ctx.brokers.topic_stats(&broker.address, &wanted.name).await?;
        let surplus = queues.iter().filter(|queue| queue.queue >= from);
        return Ok(surplus.map(|queue| queue.max_offset.saturating_sub(queue.min_offset).max(0)).sum());
    }
    let mut most = 0;
    for consumer in consumers {
        let progress = ctx.brokers.progress(&broker.address, &consumer, Some(&wanted.name)).await?;
        let lag: i64 =
            progress.iter().filter(|queue| queue.queue >= from).map(bolide_client::ConsumedQueue::lag).sum();
        most = most.max(lag);
    }
    Ok(most)
}

fn described(broker: &Broker, found: &TopicConfig) -> TopicGroupStatus {
    let number = |number: i32| u32::try_from(number).unwrap_or(0);
    TopicGroupStatus {
        name: broker.name.clone(),
        write_queues: number(found.write_queue_nums),
        read_queues: number(found.read_queue_nums),
    }
}
