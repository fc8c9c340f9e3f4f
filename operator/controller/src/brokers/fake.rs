//! Brokers and nameservers in memory for tests.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bolide_client::desired::OrderChange;
use bolide_client::{ClientError, ConsumedQueue, QueueStats, ResetTo};
use bolide_wire::body::group::SubscriptionGroupConfig;
use bolide_wire::body::replica::ReplicaStatus;
use bolide_wire::body::topic::TopicConfig;
use parking_lot::Mutex;

use super::{Answer, Brokers};
use crate::fake_api::FakeApi;

/// What one broker knows.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct State {
    pub(crate) topics: BTreeMap<String, TopicConfig>,
    pub(crate) groups: BTreeMap<String, SubscriptionGroupConfig>,
    pub(crate) stats: BTreeMap<String, Vec<QueueStats>>,
    pub(crate) progress: BTreeMap<String, Vec<ConsumedQueue>>,
    pub(crate) settings: BTreeMap<String, String>,
    pub(crate) resets: Vec<(String, String, ResetTo)>,
    /// Order configuration of topics, where the server is a nameserver.
    pub(crate) order: BTreeMap<String, String>,
    pub(crate) down: bool,
}

/// Brokers by address; one that was never asked for is empty and well.
#[derive(Clone, Default)]
pub(crate) struct FakeBrokers {
    states: Arc<Mutex<BTreeMap<String, State>>>,
    /// Broker groups that no nameserver knows.
    pub(crate) unregistered: Arc<Mutex<BTreeSet<String>>>,
    api: FakeApi,
}

impl FakeBrokers {
    /// Brokers in the pods that `api` has; their writes are writes of its.
    pub(crate) fn of(api: FakeApi) -> Self {
        Self { states: Arc::default(), unregistered: Arc::default(), api }
    }

    pub(crate) fn edit(&self, addr: &str, change: impl FnOnce(&mut State)) {
        change(self.states.lock().entry(addr.to_owned()).or_default());
    }

    pub(crate) fn states(&self) -> BTreeMap<String, State> {
        self.states.lock().clone()
    }

    fn read<T>(&self, addr: &str, read: impl FnOnce(&State) -> T) -> Answer<T> {
        let mut states = self.states.lock();
        let state = states.entry(addr.to_owned()).or_default();
        if state.down { Err(failed(addr, "down")) } else { Ok(read(state)) }
    }

    fn write(&self, addr: &str, write: impl FnOnce(&mut State)) -> Answer<()> {
        self.read(addr, |_| ())?;
        self.api.writes.begin();
        self.edit(addr, write);
        Ok(())
    }
}

fn failed(addr: &str, reason: &str) -> ClientError {
    ClientError::Body { addr: addr.to_owned(), reason: reason.to_owned() }
}

impl Brokers for FakeBrokers {
    async fn registered(&self, _: &str) -> Answer<BTreeSet<String>> {
        Ok((0..4)
            .map(|group| format!("demo-broker-{group}"))
            .filter(|name| !self.unregistered.lock().contains(name))
            .collect())
    }

    async fn topic(&self, addr: &str, name: &str) -> Answer<Option<TopicConfig>> {
        self.read(addr, |state| state.topics.get(name).cloned())
    }

    async fn topics(&self, addr: &str) -> Answer<Vec<TopicConfig>> {
        self.read(addr, |state| state.topics.values().cloned().collect())
    }

    async fn groups(&self, addr: &str) -> Answer<Vec<SubscriptionGroupConfig>> {
        self.read(addr, |state| state.groups.values().cloned().collect())
    }

    async fn order(&self, namesrv: &str, topic: &str) -> Answer<Option<String>> {
        self.read(namesrv, |state| state.order.get(topic).cloned())
    }

    async fn change_order(&self, namesrv: &str, topic: &str, change: &OrderChange) -> Answer<()> {
        self.write(namesrv, |state| match change {
            OrderChange::Put(value) => drop(state.order.insert(topic.to_owned(), value.clone())),
            OrderChange::Delete => drop(state.order.remove(topic)),
        })
    }

    async fn put_topic(&self, addr: &str, config: &TopicConfig) -> Answer<()> {
        self.write(addr, |state| {
            state.topics.insert(config.topic_name.clone(), config.clone());
        })
    }

    async fn delete_topic(&self, addr: &str, name: &str) -> Answer<()> {
        self.write(addr, |state| {
            state.topics.remove(name);
        })
    }

    async fn topic_stats(&self, addr: &str, name: &str) -> Answer<Vec<QueueStats>> {
        self.read(addr, |state| state.stats.get(name).cloned().unwrap_or_default())
    }

    async fn consumers_of(&self, addr: &str, topic: &str) -> Answer<Vec<String>> {
        self.read(addr, |state| {
            let reads = |queues: &Vec<ConsumedQueue>| queues.iter().any(|queue| queue.topic == topic);
            state
                .progress
                .iter()
                .filter(|(_, queues)| reads(queues))
                .map(|(group, _)| group.clone())
                .collect()
        })
    }

    async fn group(&self, addr: &str, name: &str) -> Answer<Option<SubscriptionGroupConfig>> {
        self.read(addr, |state| state.groups.get(name).cloned())
    }

    async fn put_group(&self, addr: &str, config: &SubscriptionGroupConfig) -> Answer<()> {
        self.write(addr, |state| {
            state.groups.insert(config.group_name.clone(), config.clone());
        })
    }

    async fn delete_group(&self, addr: &str, name: &str) -> Answer<()> {
        self.write(addr, |state| {
            state.groups.remove(name);
        })
    }

    async fn progress(&self, addr: &str, group: &str, topic: Option<&str>) -> Answer<Vec<ConsumedQueue>> {
        self.read(addr, |state| {
            let queues = state.progress.get(group).into_iter().flatten();
            queues.filter(|queue| topic.is_none_or(|topic| queue.topic == topic)).cloned().collect()
        })
    }

    async fn members(&self, addr: &str, _: &str) -> Answer<BTreeSet<String>> {
        self.read(addr, |_| BTreeSet::from(["client-1".to_owned()]))
    }

    async fn reset(&self, addr: &str, group: &str, topic: &str, to: ResetTo) -> Answer<()> {
        self.write(addr, |state| {
            let order = (group.to_owned(), topic.to_owned(), to);
            if state.resets.last() != Some(&order) {
                state.resets.push(order);
            }
        })
    }

    async fn runtime(&self, addr: &str) -> Answer<BTreeMap<String, String>> {
        self.read(addr, |_| BTreeMap::from([("commitLogDiskRatio".to_owned(), "0.42".to_owned())]))
    }

    async fn settings(&self, addr: &str) -> Answer<BTreeMap<String, String>> {
        self.read(addr, |state| state.settings.clone())
    }

    async fn replica_status(&self, addr: &str) -> Answer<Option<ReplicaStatus>> {
        self.read(addr, |_| self.api.replica_status(addr))
    }

    async fn hand_over(&self, addr: &str, to: &str) -> Answer<()> {
        self.write(addr, |_| ())?;
        if self.api.hand_over(addr, to) { Ok(()) } else { Err(failed(addr, "it cannot lead")) }
    }

    async fn change_settings(&self, addr: &str, settings: &BTreeMap<String, String>) -> Answer<()> {
        if settings.get("maxMessageSize").is_some_and(|size| size.parse::<u32>().is_err()) {
            return Err(failed(addr, "maxMessageSize must be a number"));
        }
        self.write(addr, |state| state.settings.extend(settings.clone()))
    }
}
