//! Owns pop consumption: which messages are out with whom until when, and where each group pops next. A projection of the
//! log, with the changes that are on their way into it.
//!
//! A *checkpoint* is what one pop took from one queue. Each of its messages leaves it once: acknowledged, moved to a
//! checkpoint of its own with another time, or come again in the retry topic. The record of that message in the retry
//! topic names its checkpoint, so that coming again and leaving are one step.
//!
//! Invariants: every message below `next` of a queue is in no checkpoint only if it is done with; the committed offset is
//! the least offset that is out, or `next`; `due` holds every checkpoint at its time. What is reserved is not in the log
//! yet: it is forgotten when the log refuses, and nothing that depends on it is in the log then, because all changes go
//! through one [`Journal`] in order.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use bolide_wire::ids::{QueueId, QueueOffset};

use super::offsets::{Offsets, Owner};

pub(crate) mod bits;
pub(crate) mod change;
pub(crate) mod due;
pub(crate) mod journal;
pub(crate) mod source;
#[cfg(test)]
mod tests;

use bits::{Bits, distance};
use change::{CheckpointId, Given, Moved, OrderedBatch, PopKey, QueueChange};
use due::Due;
use journal::Journal;
use source::Source;

#[derive(Debug, Clone, PartialEq, Eq)]
struct Checkpoint {
    /// When the messages come again.
    visible_at: i64,
    /// Where it stands in `due`.
    due_at: i64,
    /// Messages that are out.
    out: Bits,
    /// None of them lies further back in the log.
    log: u64,
}

#[derive(Debug, Default)]
struct PopQueue {
    /// Where the applied log says that the next pop begins; `None` before the first record.
    next: Option<i64>,
    checkpoints: BTreeMap<CheckpointId, Checkpoint>,
    ordered: Option<OrderedBatch>,
    /// Where the next pop begins once the journal's batch of that number is in the log.
    reserved: Option<(i64, u64)>,
    /// The batch with which pops take the offset over from the clients.
    taking: Option<u64>,
}

impl PopQueue {
    /// The least offset that is out, or the next one.
    fn committed(&self) -> Option<i64> {
        let mut least = self.next?;
        for (id, checkpoint) in &self.checkpoints {
            if id.start() >= least {
                break;
            }
            least = checkpoint.out.first(id.start()).map_or(least, |first| first.min(least));
        }
        Some(least)
    }

    fn is_default(&self) -> bool {
        self.next.is_none() && self.checkpoints.is_empty() && self.ordered.is_none()
    }
}

/// What a pop finds in a queue.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Standing {
    /// Where to read from.
    pub(crate) from: i64,
    /// Pops begin here.
    pub(crate) taken: bool,
    /// Nothing may be given now.
    pub(crate) held_up: bool,
    /// Checkpoints of the queue.
    pub(crate) checkpoints: usize,
    /// What was given in order last.
    pub(crate) ordered: Option<OrderedBatch>,
}

impl Standing {
    /// Whether a pop that read from one may take what it read from the other.
    pub(crate) fn same(&self, other: &Standing) -> bool {
        (self.from, self.taken, self.held_up, &self.ordered)
            == (other.from, other.taken, other.held_up, &other.ordered)
    }
}

/// How a pop asks.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Mode<'a> {
    /// Messages in any order.
    Free,
    /// One batch at a time; the attempt, and the present time.
    Ordered(Option<&'a str>, i64),
}

/// What became of an acknowledgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Acked {
    /// It is on its way into the log.
    Journaled,
    /// The message is not out: acknowledged before, or it has come again.
    NotOut,
    /// The message was never in the batch.
    Illegal,
}

/// Pop consumption of all groups.
#[derive(Debug, Default)]
pub(crate) struct Pops {
    queues: HashMap<Arc<PopKey>, PopQueue>,
    due: BTreeSet<Due>,
    /// When ordered queues are free again.
    unlocks: BTreeSet<(i64, Arc<PopKey>)>,
    checkpoints: usize,
    /// Changes on their way into the log.
    pub(crate) journal: Journal,
}

impl Pops {
    /// Applies one change that is in the log, or in a snapshot.
    pub(crate) fn apply(&mut self, change: &QueueChange, offsets: &mut Offsets) {
        let key = self.shared_key(&change.key());
        if change.taken {
            self.forget_out(&key);
        }
        for (id, bits) in &change.acks {
            self.clear(&key, *id, bits);
        }
        for Moved(from, offset, made, visible_at) in &change.moved {
            let one = Bits::of(from.start(), [*offset]);
            let log =
                self.queues.get(&key).and_then(|queue| queue.checkpoints.get(from)).map(|known| known.log);
            if self.clear(&key, *from, &one) {
                let id = CheckpointId(*offset, *made);
                self.insert(&key, &Given(id, *visible_at, Bits::one(), log.unwrap_or(0)));
            }
        }
        self.apply_ordered(&key, change);
        for given in &change.given {
            self.insert(&key, given);
        }
        let queue = self.queues.entry(key.clone()).or_default();
        if change.next.is_some() {
            queue.next = change.next;
        }
        self.tell(&key, change.taken, offsets);
    }

    fn apply_ordered(&mut self, key: &Arc<PopKey>, change: &QueueChange) {
        let queue = self.queues.entry(key.clone()).or_default();
        let before = queue.ordered.as_ref().and_then(OrderedBatch::free_at);
        for (pop_time, offset) in &change.ordered_acks {
            let Some(batch) = queue.ordered.as_mut().filter(|batch| batch.pop_time == *pop_time) else {
                continue;
            };
            batch.out.remove(&Bits::of(batch.start, [*offset]));
            queue.next = Some(batch.next());
        }
        for (pop_time, offset, at) in &change.ordered_moves {
            let Some(batch) = queue.ordered.as_mut().filter(|batch| batch.pop_time == *pop_time) else {
                continue;
            };
            batch.visible_at.retain(|(own, _)| own != offset);
            if batch.out.has(distance(batch.start, *offset)) {
                batch.visible_at.push((*offset, *at));
            }
        }
        if change.ordered.is_some() || !change.given.is_empty() {
            queue.ordered.clone_from(&change.ordered);
        }
        let after = queue.ordered.as_ref().and_then(OrderedBatch::free_at);
        if before != after {
            before.map(|at| self.unlocks.remove(&(at, key.clone())));
            after.map(|at| self.unlocks.insert((at, key.clone())));
        }
    }

    /// A message came again, or died: its record in the log says from where.
    pub(crate) fn came_again(&mut self, source: &Source, offsets: &mut Offsets) {
        let Some((key, _)) = self.queues.get_key_value(&source.key) else { return };
        let key = key.clone();
        if self.clear(&key, source.id, &Bits::of(source.id.start(), [source.offset])) {
            self.tell(&key, false, offsets);
        }
    }

    /// Writes to the offsets what the queue's state says.
    fn tell(&self, key: &Arc<PopKey>, taken: bool, offsets: &mut Offsets) {
        let Some(queue) = self.queues.get(key) else { return };
        if let (Some(committed), Some(next)) = (queue.committed(), queue.next) {
            offsets.popped(
                &key.group,
                &key.topic,
                key.queue,
                QueueOffset(committed),
                QueueOffset(next),
                taken,
            );
        }
    }

    fn shared_key(&self, key: &PopKey) -> Arc<PopKey> {
        self.queues.get_key_value(key).map_or_else(|| Arc::new(key.clone()), |(known, _)| known.clone())
    }

    fn insert(&mut self, key: &Arc<PopKey>, Given(id, visible_at, bits, log): &Given) {
        if bits.is_empty() {
            return;
        }
        let queue = self.queues.entry(key.clone()).or_default();
        let due = |at| Due { at, key: key.clone(), id: *id };
        match queue.checkpoints.get_mut(id) {
            Some(known) => {
                self.due.remove(&due(known.due_at));
                (known.visible_at, known.due_at) = (*visible_at, *visible_at);
                known.out.add(bits);
            }
            None => {
                let (visible_at, out) = (*visible_at, bits.clone());
                let made = Checkpoint { visible_at, due_at: visible_at, out, log: *log };
                queue.checkpoints.insert(*id, made);
                self.checkpoints += 1;
            }
        }
        self.due.insert(due(*visible_at));
    }

    /// Takes messages out of a checkpoint; true when one of them was in it.
    fn clear(&mut self, key: &Arc<PopKey>, id: CheckpointId, gone: &Bits) -> bool {
        let Some(queue) = self.queues.get_mut(key) else { return false };
        let Some(checkpoint) = queue.checkpoints.get_mut(&id) else { return false };
        let before = checkpoint.out.len();
        checkpoint.out.remove(gone);
        let changed = checkpoint.out.len() < before;
        if checkpoint.out.is_empty() {
            self.due.remove(&Due { at: checkpoint.due_at, key: key.clone(), id });
            queue.checkpoints.remove(&id);
            self.checkpoints -= 1;
        }
        changed
    }

    fn forget_out(&mut self, key: &Arc<PopKey>) {
        let Some(queue) = self.queues.get_mut(key) else { return };
        for (id, checkpoint) in std::mem::take(&mut queue.checkpoints) {
            self.due.remove(&Due { at: checkpoint.due_at, key: key.clone(), id });
            self.checkpoints -= 1;
        }
        if let Some(at) = queue.ordered.take().and_then(|batch| batch.free_at()) {
            self.unlocks.remove(&(at, key.clone()));
        }
    }

    /// Forgets what `gone` names: a deleted topic or group.
    pub(crate) fn forget(&mut self, gone: impl Fn(&PopKey) -> bool) {
        let keys: Vec<_> = self.queues.keys().filter(|key| gone(key)).cloned().collect();
        for key in keys {
            self.forget_out(&key);
            self.queues.remove(&key);
        }
    }

    /// What a pop finds in a queue; `begin` says where a group without an offset starts.
    pub(crate) fn standing(
        &self,
        key: &PopKey,
        mode: Mode<'_>,
        offsets: &Offsets,
        begin: impl FnOnce() -> i64,
    ) -> Standing {
        let queue = self.queues.get(key);
        let known = queue.and_then(|queue| queue.reserved.map(|(next, _)| next).or(queue.next));
        let (from, taken) = match offsets.owner(&key.group, &key.topic, key.queue) {
            _ if queue.is_some_and(|queue| queue.taking.is_some()) => (known.unwrap_or(0), false),
            Owner::Pops if known.is_some() => (known.unwrap_or(0), false),
            Owner::Pops | Owner::Nobody => (begin(), true),
            Owner::Clients(offset) => (offset.0, true),
        };
        let ordered = queue.and_then(|queue| queue.ordered.clone()).filter(|_| !taken);
        let held_up = match mode {
            Mode::Free => false,
            Mode::Ordered(attempt, now) => {
                let again = |batch: &OrderedBatch| attempt.is_some() && batch.attempt.as_deref() == attempt;
                let locked = |batch: &OrderedBatch| batch.free_at().is_some_and(|at| at > now);
                queue.is_some_and(|queue| queue.reserved.is_some())
                    || ordered.as_ref().is_some_and(|batch| !again(batch) && locked(batch))
            }
        };
        let checkpoints = queue.map_or(0, |queue| queue.checkpoints.len());
        Standing { from, taken, held_up, checkpoints, ordered }
    }

    /// Reserves what a pop found: its change of the queue joins the open batch of the journal.
    pub(crate) fn reserve(&mut self, key: &PopKey, change: QueueChange) {
        let key = self.shared_key(key);
        let number = self.journal.number();
        let queue = self.queues.entry(key.clone()).or_default();
        if let Some(next) = change.next {
            queue.reserved = Some((next, number));
        }
        if change.taken {
            queue.taking = Some(number);
        }
        self.journal.add(&key, change);
    }

    /// Messages of one checkpoint are done with.
    pub(crate) fn ack(&mut self, key: &PopKey, id: CheckpointId, bits: &Bits) -> Acked {
        let Some((key, queue)) = self.queues.get_key_value(key) else { return Acked::NotOut };
        let out = queue.checkpoints.get(&id).is_some_and(|known| {
            bits.offsets(id.start()).any(|offset| known.out.has(distance(id.start(), offset)))
        });
        if !out {
            return Acked::NotOut;
        }
        let key = key.clone();
        self.journal.add(&key, QueueChange { acks: vec![(id, bits.clone())], ..QueueChange::of(&key) });
        Acked::Journaled
    }

    /// One message comes again at another time.
    pub(crate) fn delay(&mut self, key: &PopKey, moved: Moved) -> Acked {
        let Moved(id, offset, ..) = moved;
        let Some((key, queue)) = self.queues.get_key_value(key) else { return Acked::NotOut };
        let of = distance(id.start(), offset);
        if !queue.checkpoints.get(&id).is_some_and(|known| known.out.has(of)) {
            return Acked::NotOut;
        }
        let key = key.clone();
        self.journal.add(&key, QueueChange { moved: vec![moved], ..QueueChange::of(&key) });
        Acked::Journaled
    }

    /// A message given in order is done with, or comes again at `visible_at`.
    pub(crate) fn settle_ordered(
        &mut self,
        key: &PopKey,
        pop_time: i64,
        offset: i64,
        visible_at: Option<i64>,
    ) -> Acked {
        let Some((key, queue)) = self.queues.get_key_value(key) else { return Acked::NotOut };
        let Some(batch) = queue.ordered.as_ref().filter(|batch| batch.pop_time == pop_time) else {
            return Acked::NotOut;
        };
        let of = distance(batch.start, offset);
        if !batch.given.has(of) {
            return if offset < batch.next() { Acked::NotOut } else { Acked::Illegal };
        }
        if !batch.out.has(of) {
            return Acked::NotOut;
        }
        let key = key.clone();
        let mut change = QueueChange::of(&key);
        match visible_at {
            None => change.ordered_acks.push((pop_time, offset)),
            Some(at) => change.ordered_moves.push((pop_time, offset, at)),
        }
        self.journal.add(&key, change);
        Acked::Journaled
    }

    /// The journal's batch of that number is in the log.
    pub(crate) fn settled(&mut self, number: u64, keys: impl Iterator<Item = Arc<PopKey>>) {
        for key in keys {
            let Some(queue) = self.queues.get_mut(&key) else { continue };
            queue.reserved = queue.reserved.filter(|(_, batch)| *batch > number);
            queue.taking = queue.taking.filter(|batch| *batch > number);
        }
    }

    /// A master begins: it logs changes, and none is on its way.
    pub(crate) fn begin_term(&mut self) {
        self.journal = Journal::open();
        self.queues.retain(|_, queue| {
            (queue.reserved, queue.taking) = (None, None);
            !queue.is_default()
        });
    }

    /// The log refused a batch: what was reserved is not, in these queues.
    pub(crate) fn refused(&mut self, keys: impl Iterator<Item = Arc<PopKey>>) {
        for key in keys {
            let Some(queue) = self.queues.get_mut(&key) else { continue };
            (queue.reserved, queue.taking) = (None, None);
            if queue.is_default() {
                self.queues.remove(&key);
            }
        }
    }

    /// Checkpoints of all queues.
    pub(crate) fn checkpoints(&self) -> usize {
        self.checkpoints
    }

    /// Everything, for a snapshot: as changes that make it from nothing.
    pub(crate) fn table(&self, offsets: &Offsets) -> Vec<QueueChange> {
        let mut table: Vec<QueueChange> = self
            .queues
            .iter()
            .filter(|(_, queue)| !queue.is_default())
            .map(|(key, queue)| QueueChange {
                taken: offsets.logged_by_pops(&key.group, &key.topic, key.queue),
                given: queue
                    .checkpoints
                    .iter()
                    .map(|(id, known)| Given(*id, known.visible_at, known.out.clone(), known.log))
                    .collect(),
                ordered: queue.ordered.clone(),
                next: queue.next,
                ..QueueChange::of(key)
            })
            .collect();
        table.sort_by_key(QueueChange::key);
        table
    }

    /// Offsets of the queue that are out.
    #[cfg(test)]
    pub(crate) fn out(&self, key: &PopKey) -> Vec<i64> {
        let Some(queue) = self.queues.get(key) else { return Vec::new() };
        let free = queue.checkpoints.iter().flat_map(|(id, known)| known.out.offsets(id.start()));
        let ordered = queue.ordered.iter().flat_map(|batch| batch.out.offsets(batch.start));
        let mut out: Vec<i64> = free.chain(ordered).collect();
        out.sort_unstable();
        out
    }
}

/// A queue of one group, by its parts.
pub(crate) fn key(
    group: &bolide_wire::ids::GroupName,
    topic: &bolide_wire::ids::TopicName,
    queue: QueueId,
) -> PopKey {
    PopKey { group: group.clone(), topic: topic.clone(), queue }
}
