//! Makes the topics and groups of a running cluster what the manifests say, by the pure difference that the operator uses too.

use anyhow::Context;
use bolide_api::topic::TopicType;
use bolide_api::{BrokerSet, ConsumerGroup, Topic};
use bolide_client::desired::{self, Change, Found, WantedGroup, WantedTopic};
use bolide_client::{Admin, Master};

use super::manifest::Wanted;

/// Namespace of the key-value table that tells clients the queue count of ordered topics.
const ORDER_NAMESPACE: &str = "ORDER_TOPIC_CONFIG";

/// What applying did.
#[derive(Debug, Default)]
pub(crate) struct Applied {
    /// One line for each change.
    pub(crate) lines: Vec<String>,
    /// Queues are to go away once they are read: apply again later.
    pub(crate) waiting: bool,
}

/// Applies what differs. Topics and groups that are not in the manifests are left alone.
///
/// # Errors
/// A server does not answer, or refuses; what was done before stays done.
pub(crate) async fn apply(admin: &Admin, wanted: &Wanted) -> anyhow::Result<Applied> {
    let mut applied = Applied::default();
    let desired = desired(wanted);
    for master in admin.masters().await? {
        let found = found(admin, &master).await.with_context(|| format!("broker {}", master.broker))?;
        for change in desired::changes(&desired, &found) {
            let done = carry_out(admin, &master, &change).await.with_context(|| change.to_string())?;
            applied.waiting |= !done;
            let line = change.to_string();
            if !applied.lines.contains(&line) {
                applied.lines.push(line);
            }
        }
    }
    tell_order(admin, wanted).await.context("cannot tell the nameservers about ordered topics")?;
    Ok(applied)
}

fn desired(wanted: &Wanted) -> desired::Wanted {
    desired::Wanted {
        topics: wanted.topics.iter().map(|topic| wanted_topic(&wanted.set, topic)).collect(),
        groups: wanted.groups.iter().map(wanted_group).collect(),
    }
}

fn wanted_topic(set: &BrokerSet, topic: &Topic) -> WantedTopic {
    let spec = &topic.spec;
    let brokers = |groups: &Vec<u32>| groups.iter().map(|group| set.broker_name(*group)).collect();
    WantedTopic {
        name: topic.topic_name().to_owned(),
        queues: number(spec.queues),
        permission: number(spec.permission.bits()),
        message_type: spec.type_.message_type().to_owned(),
        order: spec.type_ == TopicType::Ordered,
        brokers: spec.groups.as_ref().map(brokers),
    }
}

fn wanted_group(group: &ConsumerGroup) -> WantedGroup {
    let spec = &group.spec;
    WantedGroup {
        name: group.group_name().to_owned(),
        max_retries: number(spec.max_retries),
        retry_queues: number(spec.retry_queues),
        ordered: spec.ordered,
        broadcast: spec.broadcast,
        consume_from_min: spec.consume_from_min,
        notify_on_change: spec.notify_on_change,
        enabled: !spec.paused,
    }
}

/// The schema keeps these numbers far below the limit.
fn number(value: u32) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

async fn found(admin: &Admin, master: &Master) -> anyhow::Result<Found> {
    let topics = admin.topics(&master.address).await?;
    let groups = admin.groups(&master.address).await?;
    Ok(Found {
        broker: master.broker.clone(),
        topics: topics.into_iter().map(|topic| (topic.topic_name.clone(), topic)).collect(),
        groups: groups.into_iter().map(|group| (group.group_name.clone(), group)).collect(),
    })
}

/// Does one change; false when it has to wait.
async fn carry_out(admin: &Admin, master: &Master, change: &Change) -> anyhow::Result<bool> {
    match change {
        Change::MakeTopic(to) | Change::ChangeTopic { to, .. } => {
            admin.put_topic(&master.address, to).await?
        }
        Change::MakeGroup(to) | Change::ChangeGroup { to, .. } => {
            admin.put_group(&master.address, to).await?
        }
        Change::Drain { to, from, until } => {
            if !is_read(admin, master, &to.topic_name, *from..*until).await? {
                return Ok(false);
            }
            admin.put_topic(&master.address, to).await?;
        }
        Change::Conflict { .. } => {}
    }
    Ok(true)
}

/// Whether every group has read these queues of a topic to their ends.
async fn is_read(
    admin: &Admin,
    master: &Master,
    topic: &str,
    queues: std::ops::Range<i32>,
) -> anyhow::Result<bool> {
    for group in admin.consumers_of(&master.address, topic).await? {
        let progress = admin.consume_stats(&master.address, &group, Some(topic)).await?;
        if progress
            .iter()
            .any(|queue| queue.topic == topic && queues.contains(&queue.queue) && queue.lag() > 0)
        {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Clients of an ordered topic see all its queues even while a broker is away: the nameservers know their number.
async fn tell_order(admin: &Admin, wanted: &Wanted) -> anyhow::Result<()> {
    let ordered: Vec<&Topic> =
        wanted.topics.iter().filter(|topic| topic.spec.type_ == TopicType::Ordered).collect();
    if ordered.is_empty() {
        return Ok(());
    }
    let told = admin.kv_list(ORDER_NAMESPACE).await?;
    for topic in ordered {
        let value = order_value(&wanted.set, topic);
        if told.get(topic.topic_name()) != Some(&value) {
            admin.put_kv(ORDER_NAMESPACE, topic.topic_name(), &value).await?;
        }
    }
    Ok(())
}

/// `broker:queues` of each broker group that has the topic.
fn order_value(set: &BrokerSet, topic: &Topic) -> String {
    let groups: Vec<u32> = topic.spec.groups.clone().unwrap_or_else(|| (0..set.spec.groups).collect());
    let each = groups.into_iter().map(|group| format!("{}:{}", set.broker_name(group), topic.spec.queues));
    each.collect::<Vec<_>>().join(";")
}

#[cfg(test)]
mod tests {
    use bolide_api::{BrokerSetSpec, ConsumerGroupSpec, TopicSpec};

    use super::*;

    fn wanted() -> Wanted {
        let mut topic = TopicSpec { queues: 4, type_: TopicType::Ordered, ..TopicSpec::default() };
        topic.groups = Some(vec![1]);
        let group = ConsumerGroupSpec { max_retries: 3, paused: true, ..ConsumerGroupSpec::default() };
        Wanted {
            set: BrokerSet::new("demo", BrokerSetSpec { groups: 2, ..BrokerSetSpec::default() }),
            topics: vec![Topic::new("orders", topic)],
            groups: vec![ConsumerGroup::new("billing", group)],
        }
    }

    #[test]
    fn manifests_become_what_the_difference_works_on() {
        let desired = desired(&wanted());
        let topic = desired.topics.first().unwrap();
        assert_eq!((topic.queues, topic.order, topic.message_type.as_str()), (4, true, "FIFO"));
        assert_eq!(topic.brokers, Some(["demo-broker-1".to_owned()].into()));
        let group = desired.groups.first().unwrap();
        assert_eq!((group.max_retries, group.enabled), (3, false));
    }

    #[test]
    fn the_order_of_a_topic_names_each_of_its_brokers() {
        let mut wanted = wanted();
        assert_eq!(order_value(&wanted.set, &wanted.topics[0]), "demo-broker-1:4");
        wanted.topics[0].spec.groups = None;
        assert_eq!(order_value(&wanted.set, &wanted.topics[0]), "demo-broker-0:4;demo-broker-1:4");
    }
}
