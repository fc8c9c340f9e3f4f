//! Owns the queues that a pop may take from, and how they stand.

use std::sync::Arc;

use bolide_store::Queue;
use bolide_wire::ids::QueueId;
use bolide_wire::pop::PopSource;

use super::Target;
use crate::broker::Broker;
use crate::state::pops::change::PopKey;
use crate::state::pops::{self, Mode, Standing};
use crate::state::topics::Topic;

/// A queue that a pop may take from.
pub(crate) struct Source {
    pub(crate) kind: PopSource,
    pub(crate) topic: Arc<Topic>,
    pub(crate) key: PopKey,
    pub(crate) queue: Arc<Queue>,
    pub(crate) standing: Standing,
    /// Too much of the queue is out.
    pub(crate) full: bool,
}

impl Source {
    /// Messages that may be there, filter aside.
    pub(crate) fn waiting(&self) -> i64 {
        if self.full || self.standing.held_up {
            return 0;
        }
        self.queue.max().0.saturating_sub(self.standing.from).max(0)
    }

    /// Where a group without an offset starts: at the first message of a queue that still has its first one, as for pulls.
    pub(crate) fn begin(kind: PopSource, queue: &Queue, from_end: bool) -> i64 {
        let from_end = from_end && kind == PopSource::Topic && queue.min().0 > 0;
        if from_end { queue.max().0 } else { queue.min().0 }
    }
}

impl Target {
    /// How the target asks, at the present time.
    pub(crate) fn mode(&self, broker: &Broker) -> Mode<'_> {
        match &self.ordered {
            None => Mode::Free,
            Some(attempt) => Mode::Ordered(attempt.as_deref(), broker.clock.now().0),
        }
    }
}

/// Every queue of the target, beginning with another one each turn; then those of its retry topics.
pub(crate) fn all(broker: &Broker, target: &Target, turn: u32) -> Vec<Source> {
    let mut queues: Vec<(PopSource, Arc<Topic>, Arc<Queue>)> = Vec::new();
    let mut add = |kind: PopSource, topic: &Arc<Topic>, only: Option<QueueId>| {
        let count = u32::try_from(topic.config.read_queue_nums).unwrap_or(0);
        let all = (0..count).map(|index| QueueId((index + turn % count) % count));
        for queue in all.filter(|queue| only.is_none_or(|only| only == *queue)) {
            queues.push((kind, topic.clone(), topic.queue(&broker.store, queue)));
        }
    };
    add(PopSource::Topic, &target.topic, target.queue);
    if target.ordered.is_none() {
        for (kind, name) in &target.retries {
            if let Some(topic) = broker.state.topics.find(name) {
                add(*kind, &topic, None);
            }
        }
    }
    let live = broker.live.load();
    let limit = |limit: u32| usize::try_from(limit).unwrap_or(usize::MAX);
    let mode = target.mode(broker);
    let pops = broker.state.pops.lock();
    let offsets = broker.state.offsets.lock();
    let no_room = pops.checkpoints() >= limit(live.config.pop_ck_max_buffer_size);
    let each = limit(live.config.pop_ck_offset_max_queue_size);
    let source = |(kind, topic, queue): (PopSource, Arc<Topic>, Arc<Queue>)| {
        let key = pops::key(&target.group.name, &topic.name, queue.id());
        let begin = || Source::begin(kind, &queue, target.from_end);
        let standing = pops.standing(&key, mode, &offsets, begin);
        let full = target.ordered.is_none() && (no_room || standing.checkpoints >= each);
        Source { kind, topic, key, queue, standing, full }
    };
    queues.into_iter().map(source).collect()
}

/// Whether there may be something to pop.
pub(crate) fn any(broker: &Broker, target: &Target) -> bool {
    all(broker, target, 0).iter().any(|source| source.waiting() > 0)
}

/// Asks to be told when something arrives for the target.
pub(crate) fn watch(broker: &Broker, target: &Target) {
    for source in all(broker, target, 0) {
        source.queue.watch(true);
    }
}
