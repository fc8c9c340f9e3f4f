//! Owns the changes of pop consumption that are on their way into the log: batches in order, each of which becomes one
//! record. Bounded in batches and in changes of a batch.
//!
//! Only one batch is appended at a time, by whoever takes them out, and a batch that is refused takes all after it along.
//! So the log never holds a change without those it builds on.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bolide_store::{AppendError, Refusal};

use super::change::{PopKey, QueueChange};

/// Parts of changes that one record holds at most, about.
const MOST_CHANGES: usize = 2_000;
/// Batches that wait at most.
const MOST_BATCHES: usize = 32;
/// Newest checkpoints of a change among which one is looked for, to join acknowledgements.
const JOINED: usize = 16;

/// Why a change is not in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum JournalError {
    /// Too much is on its way.
    Busy,
    /// The broker ends.
    Stopping,
    /// The store did not take it.
    Refused(Refusal),
    /// The store took it and could not finish it.
    Append(AppendError),
}

/// Told once what became of a change.
pub(crate) type Done = Box<dyn FnOnce(Result<(), JournalError>) + Send>;

/// Changes that become one record.
#[derive(Default)]
pub(crate) struct Batch {
    /// Its number; each is one more than the one before.
    pub(crate) number: u64,
    /// Changes by queue.
    pub(crate) changes: HashMap<Arc<PopKey>, QueueChange>,
    /// Who waits for it.
    pub(crate) done: Vec<Done>,
    size: usize,
}

impl std::fmt::Debug for Batch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Batch").field("number", &self.number).field("changes", &self.changes).finish()
    }
}

/// Batches in order; the last is open. Until it is opened a journal takes nothing.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    batches: VecDeque<Batch>,
    next_number: u64,
    opened: bool,
}

impl Journal {
    /// A journal that takes changes.
    pub(crate) fn open() -> Journal {
        Journal { opened: true, ..Journal::default() }
    }

    /// Whether a change may be added. Ask before adding.
    pub(crate) fn check(&self) -> Result<(), JournalError> {
        if !self.opened {
            return Err(JournalError::Stopping);
        }
        let full = self.batches.len() >= MOST_BATCHES
            && self.batches.back().is_none_or(|open| open.size >= MOST_CHANGES);
        if full { Err(JournalError::Busy) } else { Ok(()) }
    }

    fn last(&mut self) -> &mut Batch {
        if self.batches.back().is_none_or(|open| open.size >= MOST_CHANGES) {
            self.batches.push_back(Batch { number: self.next_number, ..Batch::default() });
            self.next_number += 1;
        }
        let last = self.batches.len() - 1;
        &mut self.batches[last]
    }

    /// Number of the batch that the next change joins.
    pub(crate) fn number(&mut self) -> u64 {
        self.last().number
    }

    /// Adds a change of a queue to the open batch.
    pub(crate) fn add(&mut self, key: &Arc<PopKey>, change: QueueChange) {
        let open = self.last();
        open.size += 1;
        match open.changes.get_mut(key) {
            Some(known) if !change.taken => join(known, change),
            // What came before is forgotten by the change, so it need not be written.
            Some(known) => *known = change,
            None => {
                open.changes.insert(key.clone(), change);
            }
        }
    }

    /// Tells `done` what becomes of the changes added so far to the open batch.
    pub(crate) fn wait(&mut self, done: Done) {
        self.last().done.push(done);
    }

    /// Whether nothing is on its way.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// Takes the oldest batch.
    pub(crate) fn take(&mut self) -> Option<Batch> {
        self.batches.pop_front()
    }

    /// Takes no more changes.
    pub(crate) fn close(&mut self) {
        self.opened = false;
    }
}

fn join(known: &mut QueueChange, change: QueueChange) {
    for (id, bits) in change.acks {
        match known.acks.iter_mut().rev().take(JOINED).find(|(other, _)| *other == id) {
            Some((_, joined)) => joined.add(&bits),
            None => known.acks.push((id, bits)),
        }
    }
    known.moved.extend(change.moved);
    known.ordered_acks.extend(change.ordered_acks);
    known.ordered_moves.extend(change.ordered_moves);
    known.given.extend(change.given);
    known.ordered = change.ordered.or(known.ordered.take());
    known.next = change.next.or(known.next);
}

#[cfg(test)]
mod tests {
    use bolide_wire::ids::{GroupName, QueueId, TopicName};

    use super::super::bits::Bits;
    use super::super::change::{CheckpointId, Given};
    use super::*;

    fn key() -> Arc<PopKey> {
        let (group, topic) = (GroupName::new("g").unwrap(), TopicName::new("t").unwrap());
        Arc::new(PopKey { group, topic, queue: QueueId(0) })
    }

    #[test]
    fn acknowledgements_of_a_checkpoint_are_joined() {
        let mut journal = Journal::open();
        for offset in 0..3 {
            let acks = vec![(CheckpointId(0, 9), Bits::of(0, [offset]))];
            journal.add(&key(), QueueChange { acks, ..QueueChange::of(&key()) });
        }
        let batch = journal.take().unwrap();
        assert_eq!(batch.changes[&key()].acks, [(CheckpointId(0, 9), Bits::of(0, 0..3))]);
        assert!(journal.take().is_none());
    }

    #[test]
    fn a_beginning_forgets_what_came_before_it_in_the_batch() {
        let mut journal = Journal::open();
        let given = |start| vec![Given(CheckpointId(start, 1), 5, Bits::one(), 0)];
        journal.add(&key(), QueueChange { given: given(7), next: Some(8), ..QueueChange::of(&key()) });
        journal.add(
            &key(),
            QueueChange { taken: true, given: given(2), next: Some(3), ..QueueChange::of(&key()) },
        );
        journal.add(&key(), QueueChange { given: given(3), next: Some(4), ..QueueChange::of(&key()) });
        let change = journal.take().unwrap().changes.remove(&key()).unwrap();
        assert!(change.taken);
        assert_eq!((change.given, change.next), ([given(2), given(3)].concat(), Some(4)));
    }

    #[test]
    fn the_journal_is_bounded_and_can_be_closed() {
        let mut journal = Journal::open();
        let mut added = 0;
        while journal.check().is_ok() {
            journal.add(&key(), QueueChange::of(&key()));
            added += 1;
        }
        assert_eq!((journal.check(), added), (Err(JournalError::Busy), MOST_BATCHES * MOST_CHANGES));
        assert_eq!(journal.take().unwrap().number, 0);
        assert!(journal.check().is_ok());
        journal.close();
        assert_eq!(journal.check(), Err(JournalError::Stopping));
    }
}
