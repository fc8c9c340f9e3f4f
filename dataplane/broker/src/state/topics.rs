//! Owns the topics of the broker: a projection of the log, laid out so that the send path finds a topic and its queues
//! without a lock and without allocating.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use arc_swap::ArcSwapOption;
use bolide_store::{Queue, Store};
use bolide_wire::body::topic::{DataVersion, TopicConfig, perm};
use bolide_wire::ids::{QueueId, TopicName};
use parking_lot::Mutex;

use super::transactions::{DISCARD_TOPIC, HALF_TOPIC};
use crate::stats::Counter;

/// The topic that delayed messages wait in, one queue per level.
pub(crate) const SCHEDULE_TOPIC: &str = "SCHEDULE_TOPIC_XXXX";
/// The topic that messages for an arbitrary time wait in, and those that take them back.
pub(crate) const TIMER_TOPIC: &str = "rmq_sys_wheel_timer";
/// The topic that clients send their traces to.
pub(crate) const TRACE_TOPIC: &str = "RMQ_SYS_TRACE_TOPIC";
/// Template of topics made on first send.
pub(crate) const TEMPLATE_TOPIC: &str = "TBW102";

const PROTECTED: &[&str] = &[
    SCHEDULE_TOPIC,
    TIMER_TOPIC,
    HALF_TOPIC,
    "RMQ_SYS_TRANS_OP_HALF_TOPIC",
    DISCARD_TOPIC,
    "SELF_TEST_TOPIC",
    "OFFSET_MOVED_EVENT",
];

const SYSTEM: &[&str] = &[
    TEMPLATE_TOPIC,
    SCHEDULE_TOPIC,
    "BenchmarkTest",
    HALF_TOPIC,
    TRACE_TOPIC,
    "RMQ_SYS_TRANS_OP_HALF_TOPIC",
    DISCARD_TOPIC,
    "SELF_TEST_TOPIC",
    "OFFSET_MOVED_EVENT",
    "CHECKPOINT_TOPIC",
];

/// Whether clients may not send to the topic.
pub(crate) fn is_protected(topic: &str) -> bool {
    PROTECTED.contains(&topic) || topic == super::record::STATE_TOPIC
}

/// Whether the topic belongs to the system, apart from those named after broker and cluster.
pub(crate) fn is_system(topic: &str) -> bool {
    SYSTEM.contains(&topic) || topic.starts_with("rmq_sys_")
}

/// What happened in a topic.
#[derive(Debug, Default)]
pub(crate) struct TopicCounters {
    /// Messages stored.
    pub(crate) put: Counter,
    /// Bytes stored.
    pub(crate) put_bytes: Counter,
    /// Transactions committed.
    pub(crate) committed: Counter,
    /// Transactions rolled back.
    pub(crate) rolled_back: Counter,
    /// Transactions given up undecided.
    pub(crate) discarded: Counter,
}

/// One topic as requests see it. A change of the configuration makes a new one that shares the counters.
#[derive(Debug)]
pub(crate) struct Topic {
    /// Name.
    pub(crate) name: TopicName,
    /// Configuration.
    pub(crate) config: TopicConfig,
    /// Clients may not send to it.
    pub(crate) protected: bool,
    /// Part of the system: no business of users.
    pub(crate) system: bool,
    /// What happened.
    pub(crate) counters: Arc<TopicCounters>,
    queues: Box<[ArcSwapOption<Queue>]>,
    turn: AtomicU32,
}

impl Topic {
    pub(crate) fn new(name: TopicName, config: TopicConfig, counters: Arc<TopicCounters>) -> Topic {
        let count = config.read_queue_nums.max(config.write_queue_nums).max(0);
        let queues = (0..count).map(|_| ArcSwapOption::empty()).collect();
        let (protected, system) = (is_protected(&name), is_system(&name));
        Topic { name, config, protected, system, counters, queues, turn: AtomicU32::new(0) }
    }

    /// Number of queues: the larger of readable and writable.
    pub(crate) fn queues(&self) -> u32 {
        u32::try_from(self.queues.len()).unwrap_or(u32::MAX)
    }

    /// Whether clients may send.
    pub(crate) fn writable(&self) -> bool {
        perm::is_writable(self.config.perm)
    }

    /// Whether clients may read.
    pub(crate) fn readable(&self) -> bool {
        perm::is_readable(self.config.perm)
    }

    /// Whether it is a template for topics made on first send.
    pub(crate) fn inheritable(&self) -> bool {
        perm::is_inherited(self.config.perm)
    }

    /// A writable queue; one after the other.
    pub(crate) fn any_write_queue(&self) -> QueueId {
        let count = u32::try_from(self.config.write_queue_nums).unwrap_or(1).max(1);
        QueueId(self.turn.fetch_add(1, Ordering::Relaxed) % count)
    }

    /// The store's queue, made if it does not exist.
    pub(crate) fn queue(&self, store: &Store, id: QueueId) -> Arc<Queue> {
        let slot = usize::try_from(id.0).ok().and_then(|index| self.queues.get(index));
        if let Some(queue) = slot.and_then(|slot| slot.load_full()).filter(|queue| !queue.deleted()) {
            return queue;
        }
        let queue = store.queue_or_create(&self.name, id);
        if let Some(slot) = slot {
            slot.store(Some(queue.clone()));
        }
        queue
    }
}

/// Every topic of the broker.
#[derive(Debug, Default)]
pub(crate) struct Topics {
    table: papaya::HashMap<TopicName, Arc<Topic>>,
    version: Mutex<DataVersion>,
}

impl Topics {
    /// The topic of that name.
    pub(crate) fn find(&self, name: &str) -> Option<Arc<Topic>> {
        self.table.pin().get(name).cloned()
    }

    /// Every topic, in no order.
    pub(crate) fn all(&self) -> Vec<Arc<Topic>> {
        self.table.pin().values().cloned().collect()
    }

    /// Number of topics.
    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    /// Version of the table.
    pub(crate) fn version(&self) -> DataVersion {
        *self.version.lock()
    }

    /// Applies a change that is in the log, or a snapshot.
    pub(crate) fn apply(&self, version: &DataVersion, put: &[TopicConfig], remove: &[TopicName]) {
        let table = self.table.pin();
        for name in remove {
            table.remove(&**name);
        }
        for config in put {
            let Ok(name) = TopicName::internal(&config.topic_name) else { continue };
            let counters = table.get(&name).map(|known| known.counters.clone()).unwrap_or_default();
            table.insert(name.clone(), Arc::new(Topic::new(name, config.clone(), counters)));
        }
        *self.version.lock() = *version;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(name: &str, queues: i32) -> TopicConfig {
        TopicConfig::new(name, queues)
    }

    #[test]
    fn a_change_keeps_the_counters_and_a_deletion_does_not() {
        let topics = Topics::default();
        topics.apply(&DataVersion::default(), &[config("t", 4)], &[]);
        topics.find("t").unwrap().counters.put.add(5);
        topics.apply(&DataVersion::default(), &[config("t", 8)], &[]);
        let topic = topics.find("t").unwrap();
        assert_eq!((topic.queues(), topic.counters.put.total()), (8, 5));
        topics.apply(&DataVersion::default(), &[], std::slice::from_ref(&topic.name));
        assert!(topics.find("t").is_none());
        topics.apply(&DataVersion::default(), &[config("t", 1)], &[]);
        assert_eq!(topics.find("t").unwrap().counters.put.total(), 0);
    }

    #[test]
    fn write_queues_take_turns() {
        let topics = Topics::default();
        topics.apply(&DataVersion::default(), &[config("t", 2)], &[]);
        let topic = topics.find("t").unwrap();
        let turns: Vec<u32> = (0..4).map(|_| topic.any_write_queue().0).collect();
        assert_eq!(turns, [0, 1, 0, 1]);
    }

    #[test]
    fn system_topics_are_known_by_name() {
        assert!(is_protected("SCHEDULE_TOPIC_XXXX") && is_protected("rmq_sys_bolide_state"));
        assert!(is_system("rmq_sys_wheel_timer") && !is_protected("TBW102") && !is_system("orders"));
    }
}
