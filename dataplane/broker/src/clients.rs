//! Owns the table of connected clients: members, subscriptions and producers by group.
//!
//! Pure: the clock comes in and notifications go out as effects, for the caller to send. A client is known by its
//! connection. `C` is a handle on the connection. Invariants: a group without members does not exist; `connections` names
//! exactly the groups that hold the connection.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;

use bolide_wire::Language;
use bolide_wire::body::heartbeat::{ConsumeFromWhere, ConsumeType, MessageModel};
use bolide_wire::ids::{EpochMillis, GroupName};

pub(crate) mod selectors;
pub(crate) mod subscription;

pub(crate) use subscription::Subscription;

/// A number that names one connection for the life of the process.
pub(crate) type ConnectionId = u64;

/// What a heartbeat says about the client itself.
#[derive(Debug, Clone)]
pub(crate) struct Client<C> {
    /// Handle on the connection.
    pub(crate) channel: C,
    /// Number of the connection.
    pub(crate) connection: ConnectionId,
    /// Name that the client gives itself.
    pub(crate) id: Arc<str>,
    /// Language of the client.
    pub(crate) language: Language,
    /// Version number of the client.
    pub(crate) version: i32,
    /// Address of the client.
    pub(crate) address: SocketAddr,
    /// Time of the last heartbeat.
    pub(crate) seen: EpochMillis,
}

/// How a group consumes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ConsumeStyle {
    /// Pull, push or pop.
    pub(crate) consume_type: ConsumeType,
    /// Whether members share the messages.
    pub(crate) message_model: MessageModel,
    /// Where a new group begins.
    pub(crate) consume_from_where: ConsumeFromWhere,
}

impl ConsumeStyle {
    /// Every member gets every message.
    pub(crate) fn broadcasting(&self) -> bool {
        self.message_model == MessageModel::Broadcasting
    }
}

/// One consumer group with members.
#[derive(Debug)]
pub(crate) struct ConsumerGroup<C> {
    /// Members by connection.
    pub(crate) members: HashMap<ConnectionId, Client<C>>,
    /// Subscriptions by topic.
    pub(crate) subscriptions: HashMap<String, Arc<Subscription>>,
    /// Style of the last heartbeat.
    pub(crate) style: ConsumeStyle,
    fingerprint: i32,
}

#[derive(Debug, Default)]
struct Memberships {
    consumers: BTreeSet<GroupName>,
    producers: BTreeSet<GroupName>,
}

/// Part of a heartbeat about one consumer group.
#[derive(Debug)]
pub(crate) struct Registration {
    /// How the group consumes.
    pub(crate) style: ConsumeStyle,
    /// Subscriptions; `None` leaves the known ones untouched.
    pub(crate) subscriptions: Option<Vec<Subscription>>,
    /// Fingerprint of a V2 heartbeat, 0 for V1.
    pub(crate) fingerprint: i32,
}

/// What a registration changed.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Change {
    /// Members or subscribed topics changed: the group must be told.
    pub(crate) notify: bool,
    /// The stored fingerprint was another one: the client should send the full form.
    pub(crate) fingerprint: bool,
}

/// Every client of the broker.
#[derive(Debug)]
pub(crate) struct Clients<C> {
    consumers: HashMap<GroupName, ConsumerGroup<C>>,
    producers: HashMap<GroupName, HashMap<ConnectionId, Client<C>>>,
    connections: HashMap<ConnectionId, Memberships>,
    /// Producers by the name they give themselves, with the connection that said it last: where replies to requests go.
    producer_ids: HashMap<Arc<str>, (ConnectionId, C)>,
}

impl<C: Clone> Clients<C> {
    pub(crate) fn new() -> Self {
        Clients {
            consumers: HashMap::new(),
            producers: HashMap::new(),
            connections: HashMap::new(),
            producer_ids: HashMap::new(),
        }
    }

    /// Adds or refreshes a producer.
    pub(crate) fn register_producer(&mut self, group: &GroupName, client: Client<C>) {
        self.connections.entry(client.connection).or_default().producers.insert(group.clone());
        self.producer_ids.insert(client.id.clone(), (client.connection, client.channel.clone()));
        self.producers.entry(group.clone()).or_default().insert(client.connection, client);
    }

    /// Adds or refreshes a consumer and replaces the group's subscriptions by those it sent.
    pub(crate) fn register_consumer(
        &mut self,
        group: &GroupName,
        client: Client<C>,
        sent: Registration,
    ) -> Change {
        self.connections.entry(client.connection).or_default().consumers.insert(group.clone());
        let known = self.consumers.entry(group.clone()).or_insert_with(|| ConsumerGroup {
            members: HashMap::new(),
            subscriptions: HashMap::new(),
            style: sent.style,
            fingerprint: 0,
        });
        let mut change = Change::default();
        known.style = sent.style;
        let before = known.members.insert(client.connection, client.clone());
        change.notify = before.is_none_or(|before| before.id != client.id);
        if let Some(subscriptions) = sent.subscriptions {
            let topics: HashSet<&str> = subscriptions.iter().map(|s| s.topic.as_str()).collect();
            let count = known.subscriptions.len();
            known.subscriptions.retain(|topic, _| topics.contains(topic.as_str()));
            change.notify |= known.subscriptions.len() != count;
            for subscription in subscriptions {
                match known.subscriptions.get(&subscription.topic) {
                    Some(old) if old.version >= subscription.version => {}
                    Some(_) => {
                        known.subscriptions.insert(subscription.topic.clone(), Arc::new(subscription));
                    }
                    None => {
                        change.notify = true;
                        known.subscriptions.insert(subscription.topic.clone(), Arc::new(subscription));
                    }
                }
            }
        }
        if sent.fingerprint != 0 {
            change.fingerprint = known.fingerprint != 0 && known.fingerprint != sent.fingerprint;
            known.fingerprint = sent.fingerprint;
        }
        change
    }

    /// Takes a consumer out of one group; true when it was a member.
    pub(crate) fn unregister_consumer(&mut self, group: &str, connection: ConnectionId) -> bool {
        let Some(known) = self.consumers.get_mut(group) else { return false };
        let was = known.members.remove(&connection).is_some();
        if known.members.is_empty() {
            self.consumers.remove(group);
        }
        self.forget_membership(connection, |memberships| {
            memberships.consumers.remove(group);
        });
        was
    }

    /// Takes a producer out of one group.
    pub(crate) fn unregister_producer(&mut self, group: &str, connection: ConnectionId) {
        let mut left = None;
        if let Some(known) = self.producers.get_mut(group) {
            left = known.remove(&connection);
            if known.is_empty() {
                self.producers.remove(group);
            }
        }
        self.forget_membership(connection, |memberships| {
            memberships.producers.remove(group);
        });
        let elsewhere = self.connections.get(&connection).is_some_and(|known| !known.producers.is_empty());
        if let Some(id) = left.filter(|_| !elsewhere).map(|client| client.id)
            && self.producer_ids.get(&id).is_some_and(|(current, _)| *current == connection)
        {
            self.producer_ids.remove(&id);
        }
    }

    fn forget_membership(&mut self, connection: ConnectionId, forget: impl FnOnce(&mut Memberships)) {
        let Some(memberships) = self.connections.get_mut(&connection) else { return };
        forget(memberships);
        if memberships.consumers.is_empty() && memberships.producers.is_empty() {
            self.connections.remove(&connection);
        }
    }

    /// Forgets a connection; returns the consumer groups that lost a member.
    pub(crate) fn disconnect(&mut self, connection: ConnectionId) -> Vec<GroupName> {
        let Some(memberships) = self.connections.remove(&connection) else { return Vec::new() };
        for group in &memberships.producers {
            self.unregister_producer(group, connection);
        }
        memberships
            .consumers
            .into_iter()
            .filter(|group| self.unregister_consumer(group, connection))
            .collect()
    }

    /// Forgets clients silent for more than `timeout_ms`; returns their channels and the consumer groups to be told.
    pub(crate) fn expire(&mut self, now: EpochMillis, timeout_ms: i64) -> (Vec<C>, Vec<GroupName>) {
        let mut seen: HashMap<ConnectionId, (&Client<C>, i64)> = HashMap::new();
        let everyone = self.consumers.values().flat_map(|group| group.members.values());
        for client in everyone.chain(self.producers.values().flat_map(HashMap::values)) {
            let newest = seen.entry(client.connection).or_insert((client, client.seen.0));
            newest.1 = newest.1.max(client.seen.0);
        }
        let silent: Vec<(ConnectionId, C)> = seen
            .into_iter()
            .filter(|(_, (_, newest))| now.0.saturating_sub(*newest) > timeout_ms)
            .map(|(connection, (client, _))| (connection, client.channel.clone()))
            .collect();
        let mut groups = BTreeSet::new();
        let mut channels = Vec::new();
        for (connection, channel) in silent {
            groups.extend(self.disconnect(connection));
            channels.push(channel);
        }
        (channels, groups.into_iter().collect())
    }

    /// A group with members.
    pub(crate) fn consumer_group(&self, group: &str) -> Option<&ConsumerGroup<C>> {
        self.consumers.get(group)
    }

    /// Every group with members.
    pub(crate) fn consumer_groups(&self) -> impl Iterator<Item = (&GroupName, &ConsumerGroup<C>)> {
        self.consumers.iter()
    }

    /// Groups with members that subscribe to the topic.
    pub(crate) fn groups_subscribed(&self, topic: &str) -> Vec<GroupName> {
        self.consumers
            .iter()
            .filter(|(_, g)| g.subscriptions.contains_key(topic))
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// The connection of the producer that calls itself so.
    pub(crate) fn producer(&self, id: &str) -> Option<&C> {
        self.producer_ids.get(id).map(|(_, channel)| channel)
    }

    /// Connected producers of a group.
    pub(crate) fn producers_of(&self, group: &str) -> impl Iterator<Item = &Client<C>> {
        self.producers.get(group).into_iter().flat_map(HashMap::values)
    }

    /// Every producer group with its connections.
    pub(crate) fn producer_groups(
        &self,
    ) -> impl Iterator<Item = (&GroupName, &HashMap<ConnectionId, Client<C>>)> {
        self.producers.iter()
    }

    /// Channels that must hear of a change of the group; none for a broadcast group.
    pub(crate) fn to_notify(&self, group: &str) -> Vec<C> {
        let Some(known) = self.consumers.get(group) else { return Vec::new() };
        if known.style.broadcasting() {
            return Vec::new();
        }
        known.members.values().map(|client| client.channel.clone()).collect()
    }
}

impl<C> ConsumerGroup<C> {
    /// Ids of the members, each once, sorted.
    pub(crate) fn client_ids(&self) -> Vec<Arc<str>> {
        let ids: BTreeSet<Arc<str>> = self.members.values().map(|client| client.id.clone()).collect();
        ids.into_iter().collect()
    }

    /// The member with that id.
    pub(crate) fn member(&self, id: &str) -> Option<&Client<C>> {
        self.members.values().find(|client| &*client.id == id)
    }
}

#[cfg(test)]
mod tests;
