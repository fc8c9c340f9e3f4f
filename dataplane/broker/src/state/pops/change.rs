//! Owns the form of pop consumption in the log: what one record says of one queue of one group.
//!
//! Every part is absolute or conditional on what it names, so that a record applied again, followed by all records after
//! it, ends in the same state. The parts of one change apply in the order of the fields.

use bolide_wire::ids::{GroupName, QueueId, RETRY_PREFIX, TopicName};
use serde::{Deserialize, Serialize};

use super::bits::Bits;

/// A queue as one group pops it. The topic is the one that the messages are in, which may be a retry topic.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct PopKey {
    /// Group.
    pub(crate) group: GroupName,
    /// Topic.
    pub(crate) topic: TopicName,
    /// Queue.
    pub(crate) queue: QueueId,
}

impl PopKey {
    /// Whether the messages are in a retry topic of the group.
    pub(crate) fn is_retry(&self) -> bool {
        self.topic.strip_prefix(RETRY_PREFIX).is_some_and(|rest| rest.starts_with(&*self.group))
    }

    /// The topic that consumers ask for to get them.
    pub(crate) fn asked_for(&self) -> TopicName {
        let rest = self.topic.strip_prefix(RETRY_PREFIX).and_then(|rest| rest.strip_prefix(&*self.group));
        let normal = rest.and_then(|rest| rest.strip_prefix(['_', '+']));
        normal.and_then(|topic| TopicName::internal(topic).ok()).unwrap_or_else(|| self.topic.clone())
    }
}

/// What names a checkpoint within its queue: its first offset, and when it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct CheckpointId(pub(crate) i64, pub(crate) i64);

impl CheckpointId {
    /// First offset.
    pub(crate) fn start(self) -> i64 {
        self.0
    }

    /// Milliseconds since 1970.
    pub(crate) fn pop_time(self) -> i64 {
        self.1.saturating_abs()
    }

    /// Names the checkpoint of a message that nobody has and that waits before it comes again. No handle of a client does.
    pub(crate) fn waiting(self, offset: i64) -> CheckpointId {
        CheckpointId(offset, -self.pop_time())
    }

    /// Whether nobody has the messages.
    pub(crate) fn is_waiting(self) -> bool {
        self.1 < 0
    }
}

/// Messages given out: when they come again, which, and where the log holds the first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Given(pub(crate) CheckpointId, pub(crate) i64, pub(crate) Bits, pub(crate) u64);

/// One message of a checkpoint gets a checkpoint of its own: from, offset, when that is made, when it comes again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Moved(pub(crate) CheckpointId, pub(crate) i64, pub(crate) i64, pub(crate) i64);

/// The messages of an ordered queue that are out: no others are given before these are acknowledged or come again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OrderedBatch {
    /// First offset.
    pub(crate) start: i64,
    /// Milliseconds since 1970.
    pub(crate) pop_time: i64,
    /// When the messages come again, unless `visible_at` says otherwise.
    pub(crate) ends_at: i64,
    /// The attempt that asked; another try of it is not held up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) attempt: Option<String>,
    /// The messages.
    pub(crate) given: Bits,
    /// Those not acknowledged.
    pub(crate) out: Bits,
    /// Messages with a time of their own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) visible_at: Vec<(i64, i64)>,
    /// How often messages were given before, if ever.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) times: Vec<(i64, i32)>,
}

impl OrderedBatch {
    /// When a message comes again.
    fn again_at(&self, offset: i64) -> i64 {
        self.visible_at.iter().find(|(own, _)| *own == offset).map_or(self.ends_at, |(_, at)| *at)
    }

    /// When the queue is free again without a further acknowledgement; `None` when it is free at once.
    pub(crate) fn free_at(&self) -> Option<i64> {
        self.out.offsets(self.start).map(|offset| self.again_at(offset)).max()
    }

    /// The first offset that is not acknowledged, or the one after the last.
    pub(crate) fn next(&self) -> i64 {
        let after =
            || self.given.offsets(self.start).last().map_or(self.start, |last| last.saturating_add(1));
        self.out.first(self.start).unwrap_or_else(after)
    }

    /// How often the message was given before.
    pub(crate) fn times_of(&self, offset: i64) -> i32 {
        self.times.iter().find(|(own, _)| *own == offset).map_or(0, |(_, times)| *times)
    }
}

/// What happened in one queue of one group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct QueueChange {
    /// Group.
    #[serde(rename = "g")]
    pub(crate) group: GroupName,
    /// Topic.
    #[serde(rename = "t")]
    pub(crate) topic: TopicName,
    /// Queue.
    #[serde(rename = "q")]
    pub(crate) queue: QueueId,
    /// Pops begin here: what was out is forgotten, and the committed offset is no longer that of the clients.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) taken: bool,
    /// Done with: acknowledged, or gone for good.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) acks: Vec<(CheckpointId, Bits)>,
    /// Invisible for another time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) moved: Vec<Moved>,
    /// Acknowledged in order: pop time and offset.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) ordered_acks: Vec<(i64, i64)>,
    /// In order, invisible for another time: pop time, offset, when it comes again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) ordered_moves: Vec<(i64, i64, i64)>,
    /// Given out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) given: Vec<Given>,
    /// Given out in order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ordered: Option<OrderedBatch>,
    /// Where the next pop begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) next: Option<i64>,
}

impl QueueChange {
    /// No change of a queue.
    pub(crate) fn of(key: &PopKey) -> QueueChange {
        QueueChange {
            group: key.group.clone(),
            topic: key.topic.clone(),
            queue: key.queue,
            taken: false,
            acks: Vec::new(),
            moved: Vec::new(),
            ordered_acks: Vec::new(),
            ordered_moves: Vec::new(),
            given: Vec::new(),
            ordered: None,
            next: None,
        }
    }

    /// The queue.
    pub(crate) fn key(&self) -> PopKey {
        PopKey { group: self.group.clone(), topic: self.topic.clone(), queue: self.queue }
    }
}
