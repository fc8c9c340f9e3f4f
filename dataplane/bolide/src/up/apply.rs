//! Makes the topics and groups of a running cluster what the manifests say, by the pure difference that the operator uses too.

use anyhow::Context;
use bolide_client::desired::{self, Change, Found};
use bolide_client::{Admin, Master};
use bolide_desired::{order_configuration, wanted_group, wanted_topic};

use super::manifest::Wanted;

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

/// Clients of an ordered topic see all its queues even while a broker is away: every nameserver knows their number.
async fn tell_order(admin: &Admin, wanted: &Wanted) -> anyhow::Result<()> {
    for topic in &wanted.topics {
        let Some(order) = order_configuration(&wanted.set, topic) else { continue };
        crate::topic::tell_order(admin, topic.topic_name(), Some(&order)).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use bolide_api::{BrokerSet, BrokerSetSpec, ConsumerGroup, ConsumerGroupSpec, Topic, TopicSpec};

    use super::*;

    #[test]
    fn manifests_become_what_the_difference_works_on() {
        let wanted = Wanted {
            set: BrokerSet::new("demo", BrokerSetSpec { groups: 2, ..BrokerSetSpec::default() }),
            topics: vec![Topic::new("orders", TopicSpec { queues: 4, ..TopicSpec::default() })],
            groups: vec![ConsumerGroup::new("billing", ConsumerGroupSpec::default())],
        };
        let desired = desired(&wanted);
        let topic = desired.topics.first().unwrap();
        assert_eq!((topic.name.as_str(), topic.queues), ("orders", 4));
        assert_eq!(topic.brokers.as_ref().map(|brokers| brokers.len()), Some(2));
        assert_eq!(desired.groups.first().map(|group| group.name.as_str()), Some("billing"));
    }
}
