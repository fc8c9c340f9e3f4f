//! Topics, and what nameservers tell clients of ordered ones.

use bolide_api::topic::TopicType;
use bolide_api::{BrokerSet, Topic};
use bolide_client::desired::WantedTopic;

use crate::number;

/// The topic that an object asks for, on the broker groups that it names; without names on all that the set asks for. A group on its
/// way out is not among those.
pub fn wanted_topic(set: &BrokerSet, topic: &Topic) -> WantedTopic {
    let spec = &topic.spec;
    WantedTopic {
        name: topic.topic_name().to_owned(),
        queues: number(spec.queues),
        permission: number(spec.permission.bits()),
        message_type: spec.type_.message_type().to_owned(),
        order: spec.type_ == TopicType::Ordered,
        brokers: Some(groups(set, topic).map(|group| set.broker_name(group)).collect()),
    }
}

/// The order configuration of an ordered topic, in upstream's form `broker:queues;broker:queues`; `None` for a topic of another type.
/// Clients take the number of queues from it, so that the queues of a broker that is away keep their place.
pub fn order_configuration(set: &BrokerSet, topic: &Topic) -> Option<String> {
    if topic.spec.type_ != TopicType::Ordered {
        return None;
    }
    let each = groups(set, topic).map(|group| format!("{}:{}", set.broker_name(group), topic.spec.queues));
    Some(each.collect::<Vec<_>>().join(";"))
}

/// Numbers of the groups that shall have the topic, in their order.
fn groups(set: &BrokerSet, topic: &Topic) -> impl Iterator<Item = u32> {
    let mut groups: Vec<u32> = match &topic.spec.groups {
        Some(named) => named.clone(),
        None => (0..set.spec.groups).collect(),
    };
    groups.sort_unstable();
    groups.into_iter()
}

#[cfg(test)]
mod tests {
    use bolide_api::{BrokerSetSpec, TopicSpec};

    use super::*;

    fn set() -> BrokerSet {
        BrokerSet::new("demo", BrokerSetSpec { groups: 11, ..BrokerSetSpec::default() })
    }

    fn topic(type_: TopicType, groups: Option<Vec<u32>>) -> Topic {
        Topic::new("orders", TopicSpec { queues: 4, type_, groups, ..TopicSpec::default() })
    }

    #[test]
    fn a_topic_is_wanted_on_the_groups_it_names_or_on_all() {
        let named = wanted_topic(&set(), &topic(TopicType::Ordered, Some(vec![1])));
        assert_eq!((named.queues, named.order, named.message_type.as_str()), (4, true, "FIFO"));
        assert_eq!(named.brokers, Some(["demo-broker-1".to_owned()].into()));
        let all = wanted_topic(&set(), &topic(TopicType::Normal, None));
        assert_eq!(all.brokers.map(|brokers| brokers.len()), Some(11));
    }

    #[test]
    fn the_order_names_each_broker_once_by_number() {
        let order = |type_, groups| order_configuration(&set(), &topic(type_, groups));
        assert_eq!(
            order(TopicType::Ordered, Some(vec![10, 2])).as_deref(),
            Some("demo-broker-2:4;demo-broker-10:4")
        );
        assert_eq!(order(TopicType::Ordered, None).map(|text| text.matches(":4").count()), Some(11));
        assert_eq!(order(TopicType::Delay, None), None);
    }
}
