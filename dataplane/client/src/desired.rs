//! The difference between the topics and groups that somebody wants and those that a broker has: pure, no I/O.
//!
//! `bolide up` and the operator both apply what [`changes`] returns. Invariants: applying all changes and looking again
//! gives no further changes (but [`Change::Drain`], which waits for consumers); what nobody asked for is left alone;
//! what a broker knows beyond what we state (attributes, flags, policies) is kept; a topic never loses a queue that
//! still holds something unread.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use bolide_wire::body::group::SubscriptionGroupConfig;
use bolide_wire::body::topic::TopicConfig;

/// The topic attribute that says what kind of messages a topic takes.
pub const MESSAGE_TYPE: &str = "message.type";
/// What a topic without that attribute takes.
const DEFAULT_MESSAGE_TYPE: &str = "NORMAL";

/// A topic as somebody wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedTopic {
    /// Name of the topic.
    pub name: String,
    /// Queues on each broker; at least 1.
    pub queues: i32,
    /// Bits of `bolide_wire::body::topic::perm`.
    pub permission: i32,
    /// Value of the attribute [`MESSAGE_TYPE`].
    pub message_type: String,
    /// The topic is ordered.
    pub order: bool,
    /// The brokers that shall have it; `None` for all of them.
    pub brokers: Option<BTreeSet<String>>,
}

/// A consumer group as somebody wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedGroup {
    /// Name of the group.
    pub name: String,
    /// Deliveries before the dead letter queue.
    pub max_retries: i32,
    /// Queues of the retry topic; at least 1.
    pub retry_queues: i32,
    /// Each queue is consumed in order.
    pub ordered: bool,
    /// Broadcast consumption is allowed.
    pub broadcast: bool,
    /// New members may start from the oldest message.
    pub consume_from_min: bool,
    /// Members are told of others that come or go.
    pub notify_on_change: bool,
    /// The group may consume.
    pub enabled: bool,
}

/// Everything that is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Topics, each name once.
    pub topics: Vec<WantedTopic>,
    /// Groups, each name once.
    pub groups: Vec<WantedGroup>,
}

/// What one broker has; it may be only the part that is asked about.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    /// Name of the broker.
    pub broker: String,
    /// Topics by name.
    pub topics: BTreeMap<String, TopicConfig>,
    /// Groups by name.
    pub groups: BTreeMap<String, SubscriptionGroupConfig>,
}

/// One thing to do on one broker.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Make the topic.
    MakeTopic(TopicConfig),
    /// Give the topic this definition.
    ChangeTopic {
        /// The definition to write.
        to: TopicConfig,
        /// What differs, for people, as `4 -> 8 queues`.
        why: String,
    },
    /// When queues `from..until` hold nothing that a group has yet to read, give the topic this definition.
    Drain {
        /// The definition to write then.
        to: TopicConfig,
        /// First queue that goes.
        from: i32,
        /// First queue after them.
        until: i32,
    },
    /// The topic cannot become what is wanted.
    Conflict {
        /// Name of the topic.
        topic: String,
        /// Why, in a sentence.
        sentence: String,
    },
    /// Make the group.
    MakeGroup(SubscriptionGroupConfig),
    /// Give the group this definition.
    ChangeGroup {
        /// The definition to write.
        to: SubscriptionGroupConfig,
        /// What differs, for people.
        why: String,
    },
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MakeTopic(to) => {
                write!(f, "topic {} made with {} queues", to.topic_name, to.write_queue_nums)
            }
            Self::ChangeTopic { to, why } => write!(f, "topic {} changed: {why}", to.topic_name),
            Self::Drain { to, from, until } => {
                write!(
                    f,
                    "topic {}: queues {from} to {} go away when they are read",
                    to.topic_name,
                    until - 1
                )
            }
            Self::Conflict { topic, sentence } => write!(f, "topic {topic}: {sentence}"),
            Self::MakeGroup(to) => write!(f, "group {} made", to.group_name),
            Self::ChangeGroup { to, why } => write!(f, "group {} changed: {why}", to.group_name),
        }
    }
}

/// What is to be done about the order configuration of a topic on one nameserver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OrderChange {
    /// Write this value.
    Put(String),
    /// Remove the entry.
    Delete,
}

/// What is to be done so that one nameserver has the `wanted` order configuration of a topic, or none; `None` when it is so.
pub fn order_change(wanted: Option<&str>, found: Option<&str>) -> Option<OrderChange> {
    match (wanted, found) {
        (Some(wanted), found) if found != Some(wanted) => Some(OrderChange::Put(wanted.to_owned())),
        (None, Some(_)) => Some(OrderChange::Delete),
        _ => None,
    }
}

/// What is to be done on the broker `found` so that it has what is wanted. Groups come first: a group that exists before
/// its topic misses nothing.
pub fn changes(wanted: &Wanted, found: &Found) -> Vec<Change> {
    let groups = wanted.groups.iter().filter_map(|group| group_change(group, found.groups.get(&group.name)));
    let here =
        |topic: &&WantedTopic| topic.brokers.as_ref().is_none_or(|brokers| brokers.contains(&found.broker));
    let topics = wanted.topics.iter().filter(here);
    groups.chain(topics.filter_map(|topic| topic_change(topic, found.topics.get(&topic.name)))).collect()
}

/// What is to be done with one topic on one broker; `None` when it is as wanted.
pub fn topic_change(wanted: &WantedTopic, found: Option<&TopicConfig>) -> Option<Change> {
    let Some(found) = found else {
        let mut to = TopicConfig::new(&wanted.name, wanted.queues);
        to.perm = wanted.permission;
        to.order = wanted.order;
        if wanted.message_type != DEFAULT_MESSAGE_TYPE {
            to.attributes.insert(MESSAGE_TYPE.to_owned(), wanted.message_type.clone());
        }
        return Some(Change::MakeTopic(to));
    };
    let type_found = found.attributes.get(MESSAGE_TYPE).map_or(DEFAULT_MESSAGE_TYPE, String::as_str);
    if type_found != wanted.message_type {
        let sentence = format!(
            "it exists with type {type_found} and cannot become {}: messages of the old type may be stored",
            wanted.message_type
        );
        return Some(Change::Conflict { topic: wanted.name.clone(), sentence });
    }
    let mut to = found.clone();
    let mut why = Differences::default();
    why.set(&mut to.perm, wanted.permission, |from, to| format!("permission {from} -> {to}"));
    why.set(&mut to.order, wanted.order, |_, to| format!("ordered {to}"));
    why.set(&mut to.write_queue_nums, wanted.queues, |from, to| format!("{from} -> {to} queues"));
    if to.read_queue_nums < wanted.queues {
        why.set(&mut to.read_queue_nums, wanted.queues, |from, to| format!("{from} -> {to} read queues"));
    }
    if !why.0.is_empty() {
        return Some(Change::ChangeTopic { to, why: why.sentence() });
    }
    let until = to.read_queue_nums;
    if until > wanted.queues {
        to.read_queue_nums = wanted.queues;
        return Some(Change::Drain { to, from: wanted.queues, until });
    }
    None
}

/// What is to be done with one group on one broker; `None` when it is as wanted.
pub fn group_change(wanted: &WantedGroup, found: Option<&SubscriptionGroupConfig>) -> Option<Change> {
    let mut to = found.cloned().unwrap_or_else(|| SubscriptionGroupConfig::new(&wanted.name));
    let mut why = Differences::default();
    why.set(&mut to.retry_max_times, wanted.max_retries, |from, to| format!("retries {from} -> {to}"));
    why.set(&mut to.retry_queue_nums, wanted.retry_queues, |from, to| format!("retry queues {from} -> {to}"));
    why.set(&mut to.consume_message_orderly, wanted.ordered, |_, to| format!("ordered {to}"));
    why.set(&mut to.consume_broadcast_enable, wanted.broadcast, |_, to| format!("broadcast {to}"));
    why.set(&mut to.consume_from_min_enable, wanted.consume_from_min, |_, to| {
        format!("from the oldest {to}")
    });
    why.set(&mut to.notify_consumer_ids_changed_enable, wanted.notify_on_change, |_, to| {
        format!("notify {to}")
    });
    why.set(&mut to.consume_enable, wanted.enabled, |_, to| {
        if to { "resumed".to_owned() } else { "paused".to_owned() }
    });
    match found {
        None => Some(Change::MakeGroup(to)),
        Some(_) if why.0.is_empty() => None,
        Some(_) => Some(Change::ChangeGroup { to, why: why.sentence() }),
    }
}

/// What differs, collected while fields are set.
#[derive(Default)]
struct Differences(Vec<String>);

impl Differences {
    fn set<T: PartialEq + Copy>(&mut self, field: &mut T, wanted: T, say: impl Fn(T, T) -> String) {
        if *field != wanted {
            self.0.push(say(*field, wanted));
            *field = wanted;
        }
    }

    fn sentence(&self) -> String {
        self.0.join(", ")
    }
}

#[cfg(test)]
mod tests;
