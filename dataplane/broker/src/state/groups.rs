//! Owns the consumer groups of the broker: a projection of the log, found without a lock.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use bolide_wire::body::group::SubscriptionGroupConfig;
use bolide_wire::body::topic::DataVersion;
use bolide_wire::ids::{GroupName, TopicName};
use parking_lot::Mutex;

use crate::stats::Counter;

/// Groups that exist on every broker without being made.
pub(crate) const PREDEFINED: &[&str] = &[
    "TOOLS_CONSUMER",
    "FILTERSRV_CONSUMER",
    "SELF_TEST_C_GROUP",
    "CID_ONS-HTTP-PROXY",
    "CID_ONSAPI_PULL",
    "CID_ONSAPI_PERMISSION",
    "CID_ONSAPI_OWNER",
    "CID_RMQ_SYS_TRANS",
];

/// The bit that forbids a group to read a topic, as the original numbers permissions.
pub(crate) const READ_FORBIDDEN: i32 = 1 << 2;

/// Whether the group belongs to the system.
pub(crate) fn is_system(group: &str) -> bool {
    PREDEFINED.contains(&group) || group.starts_with("CID_RMQ_SYS_")
}

/// What a group took out of one topic.
#[derive(Debug, Default)]
pub(crate) struct ReadCounters {
    /// Messages given.
    pub(crate) got: Counter,
    /// Bytes given.
    pub(crate) got_bytes: Counter,
    /// Milliseconds that pulls with messages took, holding included.
    pub(crate) latency_ms: Counter,
}

/// What happened in a group.
#[derive(Debug, Default)]
pub(crate) struct GroupCounters {
    /// Messages sent to the dead-letter topic.
    pub(crate) dead_letters: Counter,
    topics: papaya::HashMap<TopicName, Arc<TopicOfGroup>>,
}

/// Counters of one topic of a group.
#[derive(Debug, Default)]
pub(crate) struct TopicOfGroup {
    /// Reads.
    pub(crate) reads: ReadCounters,
    /// Messages sent back.
    pub(crate) sent_back: Counter,
}

impl GroupCounters {
    /// Counters of a topic of the group.
    pub(crate) fn topic(&self, topic: &TopicName) -> Arc<TopicOfGroup> {
        let topics = self.topics.pin();
        if let Some(known) = topics.get(&**topic) {
            return known.clone();
        }
        topics.get_or_insert_with(topic.clone(), Arc::default).clone()
    }

    /// Every topic of the group that has counters.
    pub(crate) fn topics(&self) -> Vec<(TopicName, Arc<TopicOfGroup>)> {
        self.topics.pin().iter().map(|(topic, counters)| (topic.clone(), counters.clone())).collect()
    }
}

/// One group as requests see it. A change of the configuration makes a new one that shares the counters.
#[derive(Debug)]
pub(crate) struct Group {
    /// Name.
    pub(crate) name: GroupName,
    /// Configuration.
    pub(crate) config: SubscriptionGroupConfig,
    /// What happened.
    pub(crate) counters: Arc<GroupCounters>,
}

/// Every group of the broker.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    table: papaya::HashMap<GroupName, Arc<Group>>,
    version: Mutex<DataVersion>,
    forbidden: ArcSwap<ForbiddenTable>,
}

/// Group, topic, bits.
pub(crate) type ForbiddenTable = BTreeMap<String, BTreeMap<String, i32>>;

impl Groups {
    /// The group of that name.
    pub(crate) fn find(&self, name: &str) -> Option<Arc<Group>> {
        self.table.pin().get(name).cloned()
    }

    /// Every group, in no order.
    pub(crate) fn all(&self) -> Vec<Arc<Group>> {
        self.table.pin().values().cloned().collect()
    }

    /// Number of groups.
    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    /// Version of the table.
    pub(crate) fn version(&self) -> DataVersion {
        *self.version.lock()
    }

    /// What groups may not read.
    pub(crate) fn forbidden(&self) -> ForbiddenTable {
        ForbiddenTable::clone(&self.forbidden.load())
    }

    /// Whether the group may read the topic.
    pub(crate) fn may_read(&self, group: &str, topic: &str) -> bool {
        let forbidden = self.forbidden.load();
        forbidden.is_empty()
            || forbidden
                .get(group)
                .and_then(|topics| topics.get(topic))
                .is_none_or(|bits| bits & READ_FORBIDDEN == 0)
    }

    /// Sets what came with the store.
    pub(crate) fn set_forbidden(&self, table: ForbiddenTable) {
        self.forbidden.store(Arc::new(table));
    }

    /// Applies a change that is in the log.
    pub(crate) fn forbid(&self, version: &DataVersion, group: &str, topic: &str, bits: i32) {
        let mut table = self.forbidden();
        let topics = table.entry(group.to_owned()).or_default();
        topics.remove(topic);
        if bits != 0 {
            topics.insert(topic.to_owned(), bits);
        }
        table.retain(|_, topics| !topics.is_empty());
        self.set_forbidden(table);
        *self.version.lock() = *version;
    }

    /// Applies a change that is in the log, or a snapshot.
    pub(crate) fn apply(&self, version: &DataVersion, put: &[SubscriptionGroupConfig], remove: &[GroupName]) {
        let table = self.table.pin();
        for name in remove {
            table.remove(&**name);
            if self.forbidden.load().contains_key(&**name) {
                let mut forbidden = self.forbidden();
                forbidden.remove(&**name);
                self.set_forbidden(forbidden);
            }
        }
        for config in put {
            let Ok(name) = GroupName::internal(&config.group_name) else { continue };
            let counters = table.get(&name).map(|known| known.counters.clone()).unwrap_or_default();
            table.insert(name.clone(), Arc::new(Group { name, config: config.clone(), counters }));
        }
        *self.version.lock() = *version;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_keeps_the_counters() {
        let groups = Groups::default();
        let topic = TopicName::new("t").unwrap();
        groups.apply(&DataVersion::default(), &[SubscriptionGroupConfig::new("g")], &[]);
        groups.find("g").unwrap().counters.topic(&topic).sent_back.add(2);
        let changed = SubscriptionGroupConfig { retry_max_times: 3, ..SubscriptionGroupConfig::new("g") };
        groups.apply(&DataVersion::default(), &[changed], &[]);
        let group = groups.find("g").unwrap();
        assert_eq!(group.config.retry_max_times, 3);
        assert_eq!(group.counters.topic(&topic).sent_back.total(), 2);
        groups.apply(&DataVersion::default(), &[], std::slice::from_ref(&group.name));
        assert_eq!(groups.len(), 0);
    }

    #[test]
    fn what_is_forbidden_goes_with_its_group() {
        let groups = Groups::default();
        groups.apply(&DataVersion::default(), &[SubscriptionGroupConfig::new("g")], &[]);
        assert!(groups.may_read("g", "t"));
        groups.forbid(&DataVersion::default(), "g", "t", READ_FORBIDDEN);
        assert!(!groups.may_read("g", "t") && groups.may_read("g", "u") && groups.may_read("h", "t"));
        groups.forbid(&DataVersion::default(), "g", "t", 0);
        assert!(groups.forbidden().is_empty());
        groups.forbid(&DataVersion::default(), "g", "t", READ_FORBIDDEN);
        groups.apply(&DataVersion::default(), &[], &[GroupName::new("g").unwrap()]);
        assert!(groups.may_read("g", "t") && groups.forbidden().is_empty());
    }

    #[test]
    fn predefined_groups_are_system_groups() {
        assert!(is_system("TOOLS_CONSUMER") && is_system("CID_RMQ_SYS_REVIVE_GROUP") && !is_system("orders"));
    }
}
