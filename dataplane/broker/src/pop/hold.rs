//! Owns the pops and notifications that wait for messages: by topic and group, in order of arrival, with a deadline each.
//!
//! Pure: time comes in as milliseconds of a monotonic clock. Whoever takes an entry out answers it or puts it back.
//! Invariant: `deadlines`, `waits` and `groups` speak of the same entries.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use bolide_wire::ids::{GroupName, QueueId, TopicName};

/// What is waited for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct WaitKey {
    /// The topic asked for.
    pub(crate) topic: TopicName,
    /// The group that asks.
    pub(crate) group: GroupName,
}

/// A request that waits.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Held<T> {
    number: u64,
    deadline_ms: u64,
    queue: Option<QueueId>,
    /// What is needed to answer it.
    pub(crate) waiting: T,
}

impl<T> Held<T> {
    /// The queue it waits for; `None` for any.
    pub(crate) fn queue(&self) -> Option<QueueId> {
        self.queue
    }

    /// Its place, and what is in it.
    pub(crate) fn apart(self) -> (Held<()>, T) {
        let Held { number, deadline_ms, queue, waiting } = self;
        (Held { number, deadline_ms, queue, waiting: () }, waiting)
    }

    /// The same place with something in it.
    pub(crate) fn with<U>(self, waiting: U) -> Held<U> {
        Held { number: self.number, deadline_ms: self.deadline_ms, queue: self.queue, waiting }
    }
}

/// How many may wait.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Room {
    /// For one queue of one topic and group.
    pub(crate) each: usize,
    /// In all.
    pub(crate) all: usize,
}

/// Waiting requests.
pub(crate) struct PopHold<T> {
    waits: HashMap<WaitKey, VecDeque<Held<T>>>,
    groups: HashMap<TopicName, BTreeSet<GroupName>>,
    deadlines: BTreeMap<(u64, u64), WaitKey>,
    next_number: u64,
}

impl<T> PopHold<T> {
    pub(crate) fn new() -> Self {
        PopHold { waits: HashMap::new(), groups: HashMap::new(), deadlines: BTreeMap::new(), next_number: 0 }
    }

    /// Number of waiting requests.
    pub(crate) fn len(&self) -> usize {
        self.deadlines.len()
    }

    /// Requests that wait for one queue, or for any with `None`.
    pub(crate) fn count(&self, key: &WaitKey, queue: Option<QueueId>) -> usize {
        self.waits.get(key).map_or(0, |held| held.iter().filter(|held| held.queue == queue).count())
    }

    /// Adds a request; true when its deadline is now the nearest one. Handed back when there is no room.
    pub(crate) fn insert(
        &mut self,
        key: &WaitKey,
        queue: Option<QueueId>,
        deadline_ms: u64,
        waiting: T,
        room: Room,
    ) -> Result<bool, T> {
        if self.len() >= room.all || self.count(key, queue) >= room.each {
            return Err(waiting);
        }
        let number = self.next_number;
        self.next_number = self.next_number.wrapping_add(1);
        let nearest = self.deadlines.first_key_value().is_none_or(|((first, _), _)| deadline_ms < *first);
        self.put(key, Held { number, deadline_ms, queue, waiting });
        Ok(nearest)
    }

    fn put(&mut self, key: &WaitKey, held: Held<T>) {
        self.deadlines.insert((held.deadline_ms, held.number), key.clone());
        self.groups.entry(key.topic.clone()).or_default().insert(key.group.clone());
        let waits = self.waits.entry(key.clone()).or_default();
        let place = waits.partition_point(|other| other.number < held.number);
        waits.insert(place, held);
    }

    /// Puts back what was taken, in its place.
    pub(crate) fn put_back(&mut self, key: &WaitKey, held: Held<T>) {
        self.put(key, held);
    }

    /// Takes the first request that waits for `queue` or for any; with `None`, the first of all.
    pub(crate) fn take_first(&mut self, key: &WaitKey, queue: Option<QueueId>) -> Option<Held<T>> {
        let waits = self.waits.get_mut(key)?;
        let fits = |held: &Held<T>| queue.is_none() || held.queue.is_none() || held.queue == queue;
        let place = waits.iter().position(fits)?;
        let held = waits.remove(place)?;
        self.deadlines.remove(&(held.deadline_ms, held.number));
        self.drop_empty(key);
        Some(held)
    }

    /// Groups that wait for messages of the topic.
    pub(crate) fn groups_of(&self, topic: &str) -> Vec<WaitKey> {
        let Some((topic, groups)) = self.groups.get_key_value(topic) else { return Vec::new() };
        groups.iter().map(|group| WaitKey { topic: topic.clone(), group: group.clone() }).collect()
    }

    /// Takes every request whose deadline has come.
    pub(crate) fn take_due(&mut self, now_ms: u64) -> Vec<T> {
        let mut due = Vec::new();
        while let Some(((deadline, _), _)) = self.deadlines.first_key_value() {
            if *deadline > now_ms {
                break;
            }
            let Some(((_, number), key)) = self.deadlines.pop_first() else { break };
            let Some(waits) = self.waits.get_mut(&key) else { continue };
            if let Some(place) = waits.iter().position(|held| held.number == number) {
                due.extend(waits.remove(place).map(|held| held.waiting));
            }
            self.drop_empty(&key);
        }
        due
    }

    fn drop_empty(&mut self, key: &WaitKey) {
        if self.waits.get(key).is_none_or(|waits| !waits.is_empty()) {
            return;
        }
        self.waits.remove(key);
        if let Some(groups) = self.groups.get_mut(&*key.topic) {
            groups.remove(&*key.group);
            if groups.is_empty() {
                self.groups.remove(&*key.topic);
            }
        }
    }

    /// Drops requests that nobody waits for any more.
    pub(crate) fn retain(&mut self, keep: impl Fn(&T) -> bool) {
        let keys: Vec<WaitKey> = self.waits.keys().cloned().collect();
        for key in keys {
            if let Some(waits) = self.waits.get_mut(&key) {
                let deadlines = &mut self.deadlines;
                waits.retain(|held| {
                    let kept = keep(&held.waiting);
                    if !kept {
                        deadlines.remove(&(held.deadline_ms, held.number));
                    }
                    kept
                });
            }
            self.drop_empty(&key);
        }
    }

    /// The nearest deadline.
    pub(crate) fn next_deadline(&self) -> Option<u64> {
        self.deadlines.first_key_value().map(|((deadline, _), _)| *deadline)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: Room = Room { each: 2, all: 4 };

    fn key(group: &str) -> WaitKey {
        WaitKey { topic: TopicName::new("t").unwrap(), group: GroupName::new(group).unwrap() }
    }

    #[test]
    fn requests_are_taken_in_order_by_the_queue_they_wait_for() {
        let mut hold = PopHold::new();
        hold.insert(&key("g"), Some(QueueId(1)), 30, 'a', ROOM).unwrap();
        hold.insert(&key("g"), None, 20, 'b', ROOM).unwrap();
        hold.insert(&key("h"), None, 40, 'c', ROOM).unwrap();
        assert_eq!(hold.groups_of("t"), [key("g"), key("h")]);
        assert_eq!(hold.take_first(&key("g"), Some(QueueId(2))).map(|held| held.waiting), Some('b'));
        let first = hold.take_first(&key("g"), None).unwrap();
        assert_eq!(hold.groups_of("t"), [key("h")]);
        hold.put_back(&key("g"), first);
        assert_eq!((hold.len(), hold.next_deadline()), (2, Some(30)));
        assert_eq!(hold.take_due(30), ['a']);
        assert_eq!((hold.count(&key("g"), None), hold.count(&key("h"), None)), (0, 1));
    }

    #[test]
    fn there_is_room_for_so_many() {
        let mut hold = PopHold::new();
        assert_eq!(hold.insert(&key("g"), None, 2, 1, ROOM), Ok(true));
        assert_eq!(hold.insert(&key("g"), None, 1, 2, ROOM), Ok(true));
        assert_eq!(hold.insert(&key("g"), None, 3, 3, ROOM), Err(3));
        assert_eq!(hold.insert(&key("g"), Some(QueueId(0)), 3, 4, ROOM), Ok(false));
        assert_eq!(hold.insert(&key("h"), None, 3, 5, ROOM), Ok(false));
        assert_eq!(hold.insert(&key("h"), Some(QueueId(0)), 3, 6, ROOM), Err(6));
        assert_eq!(hold.count(&key("g"), None), 2);
        hold.retain(|number| *number != 2);
        assert_eq!((hold.count(&key("g"), None), hold.len(), hold.next_deadline()), (1, 3, Some(2)));
    }
}
