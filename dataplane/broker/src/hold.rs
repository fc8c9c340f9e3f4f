//! Owns the pulls that wait for messages: by queue, with a deadline each.
//!
//! Pure: time comes in as milliseconds of a monotonic clock. `T` is whatever the caller needs to answer a pull. Whoever takes
//! an entry out answers it or puts it back. Invariant: `deadlines` and `queues` hold the same entries.

use std::collections::{BTreeMap, HashMap};

use bolide_wire::ids::{QueueId, TopicName};

/// A queue that pulls wait for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct HoldKey {
    /// Topic.
    pub(crate) topic: TopicName,
    /// Queue.
    pub(crate) queue: QueueId,
}

struct Entry<T> {
    number: u64,
    deadline_ms: u64,
    waiting: T,
}

/// Waiting pulls.
pub(crate) struct HoldTable<T> {
    queues: HashMap<HoldKey, Vec<Entry<T>>>,
    deadlines: BTreeMap<(u64, u64), HoldKey>,
    next_number: u64,
}

impl<T> HoldTable<T> {
    pub(crate) fn new() -> Self {
        HoldTable { queues: HashMap::new(), deadlines: BTreeMap::new(), next_number: 0 }
    }

    /// Number of waiting pulls.
    pub(crate) fn len(&self) -> usize {
        self.deadlines.len()
    }

    /// Adds a pull; true when its deadline is now the nearest one.
    pub(crate) fn insert(&mut self, key: HoldKey, deadline_ms: u64, waiting: T) -> bool {
        let number = self.next_number;
        self.next_number = self.next_number.wrapping_add(1);
        let nearest = self.deadlines.first_key_value().is_none_or(|((first, _), _)| deadline_ms < *first);
        self.deadlines.insert((deadline_ms, number), key.clone());
        self.queues.entry(key).or_default().push(Entry { number, deadline_ms, waiting });
        nearest
    }

    /// Takes every pull of one queue with its deadline, in order of arrival.
    pub(crate) fn take_queue(&mut self, key: &HoldKey) -> Vec<(u64, T)> {
        let entries = self.queues.remove(key).unwrap_or_default();
        for entry in &entries {
            self.deadlines.remove(&(entry.deadline_ms, entry.number));
        }
        entries.into_iter().map(|entry| (entry.deadline_ms, entry.waiting)).collect()
    }

    /// Takes every pull whose deadline has come.
    pub(crate) fn take_due(&mut self, now_ms: u64) -> Vec<T> {
        let mut due = Vec::new();
        while let Some(((deadline, _), _)) = self.deadlines.first_key_value() {
            if *deadline > now_ms {
                break;
            }
            if let Some(((_, number), key)) = self.deadlines.pop_first() {
                due.extend(self.remove_entry(&key, number));
            }
        }
        due
    }

    fn remove_entry(&mut self, key: &HoldKey, number: u64) -> Option<T> {
        let entries = self.queues.get_mut(key)?;
        let index = entries.iter().position(|entry| entry.number == number)?;
        let entry = entries.remove(index);
        if entries.is_empty() {
            self.queues.remove(key);
        }
        Some(entry.waiting)
    }

    /// Drops pulls that nobody waits for any more.
    pub(crate) fn retain(&mut self, keep: impl Fn(&T) -> bool) {
        let deadlines = &mut self.deadlines;
        self.queues.retain(|_, entries| {
            entries.retain(|entry| {
                let kept = keep(&entry.waiting);
                if !kept {
                    deadlines.remove(&(entry.deadline_ms, entry.number));
                }
                kept
            });
            !entries.is_empty()
        });
    }

    /// The nearest deadline.
    pub(crate) fn next_deadline(&self) -> Option<u64> {
        self.deadlines.first_key_value().map(|((deadline, _), _)| *deadline)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(queue: u32) -> HoldKey {
        HoldKey { topic: TopicName::new("t").unwrap(), queue: QueueId(queue) }
    }

    #[test]
    fn an_arrival_takes_only_its_queue() {
        let mut hold = HoldTable::new();
        assert!(hold.insert(key(0), 100, 'a'));
        assert!(!hold.insert(key(0), 200, 'b'));
        assert!(hold.insert(key(1), 50, 'c'));
        assert_eq!(hold.take_queue(&key(0)), [(100, 'a'), (200, 'b')]);
        assert_eq!(hold.next_deadline(), Some(50));
        assert_eq!(hold.len(), 1);
        assert!(hold.take_queue(&key(0)).is_empty());
    }

    #[test]
    fn deadlines_come_in_order_and_not_early() {
        let mut hold = HoldTable::new();
        hold.insert(key(0), 30, 'c');
        hold.insert(key(0), 10, 'a');
        hold.insert(key(1), 20, 'b');
        assert!(hold.take_due(9).is_empty());
        assert_eq!(hold.take_due(20), ['a', 'b']);
        assert_eq!(hold.take_queue(&key(0)), [(30, 'c')]);
        assert_eq!(hold.next_deadline(), None);
    }

    #[test]
    fn those_that_left_are_dropped() {
        let mut hold = HoldTable::new();
        hold.insert(key(0), 10, 1);
        hold.insert(key(0), 20, 2);
        hold.retain(|number| *number != 1);
        assert_eq!(hold.len(), 1);
        assert_eq!(hold.take_due(100), [2]);
    }
}
