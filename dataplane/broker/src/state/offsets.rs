//! Owns the consumer offsets of every group: a projection of the log plus the commits that are on their way into it.
//!
//! Per (group, topic, queue) two values are kept: `logged`, what the applied log says, and `current`, what consumers are
//! told. A commit changes `current` at once and marks the queue dirty; a batch of dirty queues becomes one log record,
//! and applying that record moves `logged`. A snapshot holds `logged` only, so it is never ahead of the log.
//! The pull position and a pending server-side reset live beside them in memory; neither survives a restart.
//! A replica that begins to lead knows for a moment what was committed here while nobody led: a lower commit by a client was
//! made earlier, and has waited for a master.

use std::collections::{BTreeMap, HashMap};

use bolide_wire::ids::{GroupName, QueueId, QueueOffset, TopicName};

use super::record::OffsetTable;

#[derive(Debug, Default, Clone, Copy)]
struct Slot {
    logged: Option<QueueOffset>,
    current: Option<QueueOffset>,
    pulled: Option<QueueOffset>,
    reset: Option<QueueOffset>,
    dirty: bool,
    /// `current` follows from pop consumption.
    by_pops: bool,
    /// `logged` does.
    logged_by_pops: bool,
}

type Queues = BTreeMap<QueueId, Slot>;

/// Whose the offset of a queue is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    /// There is none.
    Nobody,
    /// It was committed.
    Clients(QueueOffset),
    /// It follows from what the group pops and acknowledges.
    Pops,
}

/// All consumer offsets of the broker.
#[derive(Debug, Default)]
pub(crate) struct Offsets {
    groups: HashMap<GroupName, HashMap<TopicName, Queues>>,
    dirty: Vec<(GroupName, TopicName, QueueId)>,
    /// What was committed here before this replica led; empty but for the beginning of a term.
    kept: HashMap<(GroupName, TopicName, QueueId), QueueOffset>,
}

/// Whether applied records also say what consumers are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Follow {
    /// Records come from elsewhere (recovery, a master): they are the truth.
    Log,
    /// Records are this broker's own commits, which memory already knows or has overtaken.
    Own,
}

impl Offsets {
    fn slot(&self, group: &str, topic: &str, queue: QueueId) -> Option<&Slot> {
        self.groups.get(group)?.get(topic)?.get(&queue)
    }

    fn slot_mut(&mut self, group: &GroupName, topic: &TopicName, queue: QueueId) -> &mut Slot {
        if !self.groups.contains_key(&**group) {
            self.groups.insert(group.clone(), HashMap::new());
        }
        let topics = self.groups.entry(group.clone()).or_default();
        topics.entry(topic.clone()).or_default().entry(queue).or_default()
    }

    /// Committed offset of a queue.
    pub(crate) fn committed(&self, group: &str, topic: &str, queue: QueueId) -> Option<QueueOffset> {
        self.slot(group, topic, queue)?.current
    }

    /// Where the group last pulled up to.
    pub(crate) fn pulled(&self, group: &str, topic: &str, queue: QueueId) -> Option<QueueOffset> {
        self.slot(group, topic, queue)?.pulled
    }

    /// Commits an offset; it may go backwards, but not behind what this replica has kept from before it led. Ignored while a
    /// reset of the queue waits for its pull.
    pub(crate) fn commit(
        &mut self,
        group: &GroupName,
        topic: &TopicName,
        queue: QueueId,
        offset: QueueOffset,
    ) {
        if !self.kept.is_empty()
            && self.kept.get(&(group.clone(), topic.clone(), queue)).is_some_and(|kept| offset < *kept)
        {
            return;
        }
        let slot = self.slot_mut(group, topic, queue);
        if slot.reset.is_some() || slot.current == Some(offset) {
            return;
        }
        slot.current = Some(offset);
        slot.by_pops = false;
        if !std::mem::replace(&mut slot.dirty, true) {
            self.dirty.push((group.clone(), topic.clone(), queue));
        }
    }

    /// Remembers where a pull ended.
    pub(crate) fn note_pull(
        &mut self,
        group: &GroupName,
        topic: &TopicName,
        queue: QueueId,
        next: QueueOffset,
    ) {
        if let Some(slot) = self
            .groups
            .get_mut(&**group)
            .and_then(|topics| topics.get_mut(&**topic))
            .and_then(|q| q.get_mut(&queue))
        {
            slot.pulled = Some(next);
            return;
        }
        self.slot_mut(group, topic, queue).pulled = Some(next);
    }

    /// Commits `offset` and makes the next pull of the queue start there. Logged also where the group is there already: what it
    /// has popped comes again.
    pub(crate) fn reset(
        &mut self,
        group: &GroupName,
        topic: &TopicName,
        queue: QueueId,
        offset: QueueOffset,
    ) {
        self.kept.remove(&(group.clone(), topic.clone(), queue));
        let slot = self.slot_mut(group, topic, queue);
        (slot.current, slot.reset) = (Some(offset), Some(offset));
        slot.by_pops = false;
        if !std::mem::replace(&mut slot.dirty, true) {
            self.dirty.push((group.clone(), topic.clone(), queue));
        }
    }

    /// Takes a pending reset of the queue.
    pub(crate) fn take_reset(&mut self, group: &str, topic: &str, queue: QueueId) -> Option<QueueOffset> {
        self.groups.get_mut(group)?.get_mut(topic)?.get_mut(&queue)?.reset.take()
    }

    /// Topics that the group has committed offsets for.
    pub(crate) fn topics_of(&self, group: &str) -> Vec<TopicName> {
        let Some(topics) = self.groups.get(group) else { return Vec::new() };
        topics
            .iter()
            .filter(|(_, queues)| queues.values().any(|slot| slot.current.is_some()))
            .map(|(t, _)| t.clone())
            .collect()
    }

    /// Groups that have committed offsets for the topic.
    pub(crate) fn groups_of(&self, topic: &str) -> Vec<GroupName> {
        let committed = |queues: &Queues| queues.values().any(|slot| slot.current.is_some());
        self.groups
            .iter()
            .filter(|(_, t)| t.get(topic).is_some_and(committed))
            .map(|(group, _)| group.clone())
            .collect()
    }

    /// Committed offsets of a group in a topic, by queue.
    pub(crate) fn queues_of(&self, group: &str, topic: &str) -> BTreeMap<QueueId, QueueOffset> {
        let queues = self.groups.get(group).and_then(|topics| topics.get(topic));
        queues.into_iter().flatten().filter_map(|(queue, slot)| Some((*queue, slot.current?))).collect()
    }

    /// Up to `max` dirty queues with their offsets, which are dirty no longer. Give them back with `again` when the log refuses.
    pub(crate) fn take_dirty(&mut self, max: usize) -> OffsetTable {
        let mut table = OffsetTable::new();
        let rest = self.dirty.split_off(self.dirty.len().min(max));
        for (group, topic, queue) in std::mem::replace(&mut self.dirty, rest) {
            let slot =
                self.groups.get_mut(&*group).and_then(|t| t.get_mut(&*topic)).and_then(|q| q.get_mut(&queue));
            let Some(slot) = slot else { continue };
            slot.dirty = false;
            if let Some(offset) = slot.current.filter(|_| !slot.by_pops) {
                table.entry(key(&topic, &group)).or_default().insert(queue.to_wire(), offset.0);
            }
        }
        table
    }

    /// Whether a commit is not in the log, nor on its way there.
    pub(crate) fn has_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// Marks the queues of `table` dirty again.
    pub(crate) fn again(&mut self, table: &OffsetTable) {
        for (topic, group, queue, _) in entries(table) {
            let slot = self.slot_mut(&group, &topic, queue);
            if slot.current.is_some() && !std::mem::replace(&mut slot.dirty, true) {
                self.dirty.push((group, topic, queue));
            }
        }
    }

    /// Applies a record or a snapshot.
    pub(crate) fn apply(&mut self, table: &OffsetTable, follow: Follow) {
        for (topic, group, queue, offset) in entries(table) {
            let slot = self.slot_mut(&group, &topic, queue);
            slot.logged = Some(offset);
            slot.logged_by_pops = false;
            // A commit that was made here and is on its way to the master stays, unless the log has overtaken it.
            let overtaken = !slot.dirty || slot.current.is_none_or(|current| current <= offset);
            if follow == Follow::Log && overtaken || slot.current.is_none() {
                slot.current = Some(offset);
                slot.by_pops = false;
            }
        }
    }

    /// What the applied log says of a queue that is popped: the least offset not done with, and the next to be given.
    /// A commit by clients stands until pops begin from it, which `taken` says.
    pub(crate) fn popped(
        &mut self,
        group: &GroupName,
        topic: &TopicName,
        queue: QueueId,
        committed: QueueOffset,
        next: QueueOffset,
        taken: bool,
    ) {
        let slot = self.slot_mut(group, topic, queue);
        if taken {
            slot.reset = None;
        }
        if taken || slot.by_pops || slot.current.is_none() {
            (slot.current, slot.by_pops, slot.pulled) = (Some(committed), true, Some(next));
        }
        if taken || slot.logged_by_pops || slot.logged.is_none() {
            (slot.logged, slot.logged_by_pops) = (Some(committed), true);
        }
    }

    /// What the group popped is forgotten, but not how far it came: its offsets are as if clients had committed them.
    pub(crate) fn pops_forgotten(&mut self, group: &str) {
        let queues = self.groups.get_mut(group).into_iter().flat_map(HashMap::values_mut);
        for slot in queues.flat_map(BTreeMap::values_mut) {
            (slot.by_pops, slot.logged_by_pops) = (false, false);
        }
    }

    /// Whose the offset of the queue is.
    pub(crate) fn owner(&self, group: &str, topic: &str, queue: QueueId) -> Owner {
        match self.slot(group, topic, queue) {
            Some(Slot { by_pops: true, .. }) => Owner::Pops,
            Some(Slot { current: Some(offset), .. }) => Owner::Clients(*offset),
            _ => Owner::Nobody,
        }
    }

    /// Whether the applied log says that the offset follows from pops.
    pub(crate) fn logged_by_pops(&self, group: &str, topic: &str, queue: QueueId) -> bool {
        self.slot(group, topic, queue).is_some_and(|slot| slot.logged_by_pops)
    }

    /// What was committed here and is not in the log yet holds against lower commits until [`Offsets::settled`]. They may be
    /// old: what clients sent to the master while there was none has waited at its address, and comes now all at once.
    pub(crate) fn lead(&mut self) {
        let kept = self.dirty.iter().filter_map(|(group, topic, queue)| {
            let slot = self.slot(group, topic, *queue)?;
            let offset = slot.current.filter(|_| slot.dirty && !slot.by_pops)?;
            Some(((group.clone(), topic.clone(), *queue), offset))
        });
        self.kept = kept.collect();
    }

    /// Nothing that waited for this replica to lead comes any more.
    pub(crate) fn settled(&mut self) {
        self.kept = HashMap::new();
    }

    /// The log is the truth from now on, except for commits that are not in it yet.
    pub(crate) fn follow(&mut self) {
        self.settled();
        for slot in self.groups.values_mut().flat_map(HashMap::values_mut).flat_map(BTreeMap::values_mut) {
            slot.reset = None;
            if !slot.dirty {
                (slot.current, slot.by_pops) = (slot.logged, slot.logged_by_pops);
            }
        }
    }

    /// Forgets a group or a topic, or one topic of one group.
    pub(crate) fn remove(&mut self, group: Option<&str>, topic: Option<&str>) {
        let of_another = |name: &str, removed: Option<&str>| removed.is_some_and(|removed| name != removed);
        self.kept.retain(|(of, in_topic, _), _| of_another(of, group) || of_another(in_topic, topic));
        match (group, topic) {
            (Some(group), None) => {
                self.groups.remove(group);
            }
            (Some(group), Some(topic)) => {
                if let Some(topics) = self.groups.get_mut(group) {
                    topics.remove(topic);
                }
            }
            (None, Some(topic)) => {
                for topics in self.groups.values_mut() {
                    topics.remove(topic);
                }
            }
            (None, None) => {}
        }
        self.groups.retain(|_, topics| !topics.is_empty());
    }

    /// What the applied log says, for a snapshot.
    pub(crate) fn logged(&self) -> OffsetTable {
        self.table(|slot| slot.logged)
    }

    /// What consumers are told, for the administrator.
    pub(crate) fn current(&self) -> OffsetTable {
        self.table(|slot| slot.current)
    }

    fn table(&self, value: impl Fn(&Slot) -> Option<QueueOffset>) -> OffsetTable {
        let mut table = OffsetTable::new();
        for (group, topics) in &self.groups {
            for (topic, queues) in topics {
                let found: BTreeMap<i32, i64> = queues
                    .iter()
                    .filter_map(|(queue, slot)| Some((queue.to_wire(), value(slot)?.0)))
                    .collect();
                if !found.is_empty() {
                    table.insert(key(topic, group), found);
                }
            }
        }
        table
    }
}

fn key(topic: &str, group: &str) -> String {
    format!("{topic}@{group}")
}

fn entries(table: &OffsetTable) -> impl Iterator<Item = (TopicName, GroupName, QueueId, QueueOffset)> + '_ {
    table.iter().flat_map(|(key, queues)| {
        let names = key.split_once('@').and_then(|(topic, group)| {
            Some((TopicName::internal(topic).ok()?, GroupName::internal(group).ok()?))
        });
        names.into_iter().flat_map(move |(topic, group)| {
            queues.iter().filter_map(move |(queue, offset)| {
                Some((topic.clone(), group.clone(), QueueId::from_wire(*queue)?, QueueOffset(*offset)))
            })
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> (GroupName, TopicName) {
        (GroupName::internal("g").unwrap(), TopicName::internal("t").unwrap())
    }

    #[test]
    fn what_was_committed_before_this_replica_led_holds_against_commits_that_waited() {
        let (g, t) = names();
        let mut offsets = Offsets::default();
        let told = |offsets: &Offsets, queue| offsets.committed("g", "t", QueueId(queue)).unwrap().0;
        offsets.apply(&OffsetTable::from([(key(&t, &g), BTreeMap::from([(1, 8)]))]), Follow::Log);
        offsets.commit(&g, &t, QueueId(0), QueueOffset(9));
        offsets.lead();
        offsets.commit(&g, &t, QueueId(0), QueueOffset(3));
        assert_eq!(told(&offsets, 0), 9);
        offsets.commit(&g, &t, QueueId(0), QueueOffset(12));
        offsets.commit(&g, &t, QueueId(0), QueueOffset(10));
        assert_eq!(told(&offsets, 0), 10, "as clients like it above");
        offsets.commit(&g, &t, QueueId(1), QueueOffset(3));
        assert_eq!(told(&offsets, 1), 3, "nothing was committed here before");
        offsets.reset(&g, &t, QueueId(0), QueueOffset(2));
        assert_eq!(told(&offsets, 0), 2, "an administrator's word");
        offsets.remove(None, Some("t"));
        offsets.commit(&g, &t, QueueId(0), QueueOffset(9));
        offsets.lead();
        offsets.settled();
        offsets.commit(&g, &t, QueueId(0), QueueOffset(3));
        assert_eq!(told(&offsets, 0), 3);
        offsets.lead();
        offsets.remove(Some("g"), None);
        offsets.commit(&g, &t, QueueId(0), QueueOffset(1));
        assert_eq!(told(&offsets, 0), 1, "of another group of that name");
    }

    #[test]
    fn a_commit_is_told_at_once_and_logged_when_applied() {
        let (g, t) = names();
        let mut offsets = Offsets::default();
        offsets.commit(&g, &t, QueueId(1), QueueOffset(7));
        offsets.commit(&g, &t, QueueId(1), QueueOffset(9));
        assert_eq!(offsets.committed("g", "t", QueueId(1)), Some(QueueOffset(9)));
        assert!(offsets.logged().is_empty());
        let batch = offsets.take_dirty(100);
        assert_eq!(batch["t@g"][&1], 9);
        offsets.commit(&g, &t, QueueId(1), QueueOffset(12));
        offsets.apply(&batch, Follow::Own);
        assert_eq!(offsets.committed("g", "t", QueueId(1)), Some(QueueOffset(12)));
        assert_eq!(offsets.logged()["t@g"][&1], 9);
        assert_eq!(offsets.take_dirty(100)["t@g"][&1], 12);
        assert!(offsets.take_dirty(100).is_empty());
    }

    #[test]
    fn recovery_follows_the_log_even_backwards() {
        let mut offsets = Offsets::default();
        for value in [5, 9, 3] {
            offsets.apply(&BTreeMap::from([("t@g".into(), BTreeMap::from([(0, value)]))]), Follow::Log);
        }
        assert_eq!(offsets.committed("g", "t", QueueId(0)), Some(QueueOffset(3)));
        assert!(offsets.take_dirty(10).is_empty());
    }

    #[test]
    fn a_master_that_follows_forgets_what_the_log_does_not_say_and_keeps_new_commits() {
        let (g, t) = names();
        let mut offsets = Offsets::default();
        offsets.apply(&BTreeMap::from([("t@g".into(), BTreeMap::from([(0, 5), (1, 5)]))]), Follow::Log);
        offsets.commit(&g, &t, QueueId(0), QueueOffset(8));
        let lost = offsets.take_dirty(1);
        offsets.commit(&g, &t, QueueId(1), QueueOffset(9));
        offsets.follow();
        assert_eq!(lost["t@g"][&0], 8);
        assert_eq!(offsets.committed("g", "t", QueueId(0)), Some(QueueOffset(5)));
        assert_eq!(offsets.committed("g", "t", QueueId(1)), Some(QueueOffset(9)));
        let log = |offset| BTreeMap::from([("t@g".into(), BTreeMap::from([(1, offset)]))]);
        offsets.apply(&log(7), Follow::Log);
        assert_eq!(offsets.committed("g", "t", QueueId(1)), Some(QueueOffset(9)));
        assert_eq!(offsets.take_dirty(10)["t@g"], BTreeMap::from([(1, 9)]));
        offsets.apply(&log(6), Follow::Log);
        assert_eq!(offsets.committed("g", "t", QueueId(1)), Some(QueueOffset(6)));
    }

    #[test]
    fn a_refused_batch_is_taken_again_with_the_newest_value() {
        let (g, t) = names();
        let mut offsets = Offsets::default();
        for queue in 0..5 {
            offsets.commit(&g, &t, QueueId(queue), QueueOffset(1));
        }
        let first = offsets.take_dirty(2);
        assert_eq!(first.values().map(BTreeMap::len).sum::<usize>(), 2);
        offsets.commit(&g, &t, QueueId(0), QueueOffset(2));
        offsets.again(&first);
        let all = offsets.take_dirty(100);
        assert_eq!(all["t@g"].len(), 5);
        assert_eq!(all["t@g"][&0], 2);
    }

    #[test]
    fn a_reset_holds_off_commits_until_it_is_taken() {
        let (g, t) = names();
        let mut offsets = Offsets::default();
        offsets.commit(&g, &t, QueueId(0), QueueOffset(50));
        offsets.reset(&g, &t, QueueId(0), QueueOffset(10));
        offsets.commit(&g, &t, QueueId(0), QueueOffset(60));
        assert_eq!(offsets.committed("g", "t", QueueId(0)), Some(QueueOffset(10)));
        assert_eq!(offsets.take_reset("g", "t", QueueId(0)), Some(QueueOffset(10)));
        assert_eq!(offsets.take_reset("g", "t", QueueId(0)), None);
        offsets.commit(&g, &t, QueueId(0), QueueOffset(11));
        assert_eq!(offsets.committed("g", "t", QueueId(0)), Some(QueueOffset(11)));
    }

    #[test]
    fn a_popped_offset_follows_the_pops_until_a_client_commits() {
        let (g, t) = names();
        let mut offsets = Offsets::default();
        let popped = |offsets: &mut Offsets, committed, taken| {
            offsets.popped(&g, &t, QueueId(0), QueueOffset(committed), QueueOffset(committed + 5), taken);
        };
        assert_eq!(offsets.owner("g", "t", QueueId(0)), Owner::Nobody);
        popped(&mut offsets, 3, true);
        assert_eq!(offsets.owner("g", "t", QueueId(0)), Owner::Pops);
        assert_eq!(offsets.pulled("g", "t", QueueId(0)), Some(QueueOffset(8)));
        offsets.commit(&g, &t, QueueId(0), QueueOffset(50));
        popped(&mut offsets, 4, false);
        assert_eq!(offsets.owner("g", "t", QueueId(0)), Owner::Clients(QueueOffset(50)));
        assert_eq!(offsets.logged()["t@g"][&0], 4, "the log does not know of the commit");
        popped(&mut offsets, 50, true);
        assert!(offsets.take_dirty(10).is_empty(), "the record of the pops said it already");
        assert_eq!(offsets.committed("g", "t", QueueId(0)), Some(QueueOffset(50)));
    }

    #[test]
    fn removal_by_group_and_by_topic() {
        let (g, t) = names();
        let mut offsets = Offsets::default();
        offsets.commit(&g, &t, QueueId(0), QueueOffset(1));
        offsets.commit(&GroupName::internal("h").unwrap(), &t, QueueId(0), QueueOffset(1));
        assert_eq!(offsets.groups_of("t").len(), 2);
        offsets.remove(Some("g"), None);
        assert_eq!(offsets.groups_of("t"), vec![GroupName::internal("h").unwrap()]);
        offsets.remove(None, Some("t"));
        assert!(offsets.topics_of("h").is_empty());
        assert!(offsets.take_dirty(10).is_empty());
    }
}
