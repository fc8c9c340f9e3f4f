//! Owns the look at due checkpoints: which of their messages come again where, which wait longer, and which are gone.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;

use bolide_store::{ReadLimits, ReadStatus};
use bolide_wire::ids::{QueueOffset, TopicName};
use bolide_wire::message::{RecordRef, records};
use bolide_wire::pop::PopSource;
use bytes::Bytes;

use super::backoff;
use crate::broker::Broker;
use crate::state::groups::Group;
use crate::state::pops::bits::{Bits, SPAN, distance};
use crate::state::pops::change::{CheckpointId, PopKey};
use crate::state::pops::due::DueCheckpoint;

/// Bytes of one round, about.
const ROUND_BYTES: usize = 4 << 20;

/// A message that leaves its checkpoint.
pub(super) struct Returning {
    pub(super) key: Arc<PopKey>,
    pub(super) id: CheckpointId,
    pub(super) offset: i64,
    /// The record as it lies in the log.
    pub(super) record: Bytes,
    /// Topic that it comes to.
    pub(super) target: TopicName,
    /// It came too often.
    pub(super) dead: bool,
    /// It must not come before that time.
    pub(super) visible_at: Option<i64>,
}

/// What became of due checkpoints.
#[derive(Default)]
pub(super) struct Found {
    pub(super) returning: Vec<Returning>,
    /// Messages that are no more.
    pub(super) gone: Vec<(Arc<PopKey>, CheckpointId, Bits)>,
    /// Checkpoints that cannot be read now.
    pub(super) unreadable: Vec<DueCheckpoint>,
}

impl Found {
    /// Looks at checkpoints until there is enough for a round; those that are left are still due. Blocks for the disk.
    pub(super) fn read(broker: &Broker, due: Vec<DueCheckpoint>) -> Found {
        let mut found = Found::default();
        let mut bytes = 0;
        for checkpoint in due {
            if bytes >= ROUND_BYTES {
                break;
            }
            match found.look(broker, &checkpoint, &mut bytes) {
                Ok(()) => {}
                Err(error) => {
                    let PopKey { group, topic, queue } = &*checkpoint.key;
                    tracing::error!(%group, %topic, queue = queue.0, %error, "popped messages cannot be read");
                    found.unreadable.push(checkpoint);
                }
            }
        }
        found
    }

    fn look(&mut self, broker: &Broker, checkpoint: &DueCheckpoint, bytes: &mut usize) -> io::Result<()> {
        let DueCheckpoint { key, id, out } = checkpoint;
        let group = broker.state.groups.find(&key.group);
        let (Some(group), Some(topic)) = (group, broker.state.topics.find(&key.topic)) else {
            self.gone.push((key.clone(), *id, out.clone()));
            return Ok(());
        };
        let queue = topic.queue(&broker.store, key.queue);
        let limits = ReadLimits {
            max_messages: out.len().max(1),
            max_bytes: ROUND_BYTES,
            max_scan: usize::try_from(SPAN).unwrap_or(usize::MAX),
            ..ReadLimits::default()
        };
        let wanted = |offset: i64| out.has(distance(id.start(), offset));
        let last = out.offsets(id.start()).last().unwrap_or(id.start());
        let mut next = QueueOffset(out.first(id.start()).unwrap_or(last)).max(queue.min());
        let mut seen = HashSet::new();
        let mut messages = Vec::new();
        while next.0 <= last {
            let read = broker.store.read(&queue, next, &limits, &mut |unit| wanted(unit.queue_offset.0))?;
            for slice in &read.slices {
                for record in records(slice) {
                    let record = record.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
                    seen.insert(record.queue_offset().0);
                    *bytes += record.bytes().len();
                    messages.extend(returning(broker, &group, checkpoint, &record, slice));
                }
            }
            if read.next <= next || (read.status != ReadStatus::Found && read.next.0 > last) {
                break;
            }
            next = read.next;
            if *bytes >= ROUND_BYTES {
                // The rest is still due and comes with the next round.
                self.returning.extend(messages);
                return Ok(());
            }
        }
        self.returning.extend(messages);
        let gone = out.offsets(id.start()).filter(|offset| !seen.contains(offset));
        let gone = Bits::of(id.start(), gone);
        if !gone.is_empty() {
            self.gone.push((key.clone(), *id, gone));
        }
        Ok(())
    }
}

fn returning(
    broker: &Broker,
    group: &Group,
    checkpoint: &DueCheckpoint,
    record: &RecordRef<'_>,
    slice: &Bytes,
) -> Option<Returning> {
    let DueCheckpoint { key, id, .. } = checkpoint;
    let dead = record.reconsume_times() >= group.config.retry_max_times;
    let now = broker.clock.now().0;
    let visible_at = backoff::pause_ms(&group.config.group_retry_policy, record.reconsume_times())
        .map(|pause| id.pop_time().saturating_add(pause))
        .filter(|at| !dead && !id.is_waiting() && *at > now);
    let retry = || {
        let v2 = broker.live.load().config.enable_retry_topic_v2;
        let source = if v2 { PopSource::RetryV2 } else { PopSource::RetryV1 };
        source.topic(&key.topic, &key.group).ok()
    };
    let target = if dead {
        TopicName::dlq_of(&key.group)
    } else if key.is_retry() {
        key.topic.clone()
    } else {
        // Too long a name for a topic: the dead-letter topic is the only one left.
        retry().unwrap_or_else(|| TopicName::dlq_of(&key.group))
    };
    let dead = target.is_dlq();
    let record_bytes = slice.slice_ref(record.bytes());
    Some(Returning {
        key: key.clone(),
        id: *id,
        offset: record.queue_offset().0,
        record: record_bytes,
        target,
        dead,
        visible_at,
    })
}
