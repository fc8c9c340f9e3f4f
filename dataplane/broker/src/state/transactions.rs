//! Owns the open transactions: half messages that are not yet decided, where each lies now, and when it is to be checked.
//!
//! A projection. A half message's record opens a transaction; the committed message (transaction bits "commit", prepared
//! offset) ends it, as do a rollback (a state record) and a discard (a record with [`SOURCE_PROPERTY`]): the end and what comes of
//! it are one record. A half message may be appended anew, with the same property, before its log is deleted. A client names a
//! transaction for good by where the half message lay first, its [`HalfId`].
//! Invariants: `moved` holds exactly those that do not lie at their id; each open transaction is in exactly one list of
//! `due`; what is applied twice, or again after a snapshot that is ahead, changes nothing in the end. A claim is the only thing
//! that is not in the log: whoever appends an end or a copy holds it, so in the log the end of a transaction comes last.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use bolide_wire::ids::{EpochMillis, LogOffset, QueueOffset};
use bolide_wire::message::RecordRef;
use bolide_wire::properties::{PropertiesRef, names};
use serde::{Deserialize, Serialize};

mod claims;
mod source;
mod table;

pub(crate) use claims::Claims;
pub(crate) use source::{HalfSource, SOURCE_PROPERTY};
pub(crate) use table::OpenTable;

/// Topic that half messages wait in, queue 0.
pub(crate) const HALF_TOPIC: &str = "RMQ_SYS_TRANS_HALF_TOPIC";
/// Topic of half messages that nobody decided, queue 0.
pub(crate) const DISCARD_TOPIC: &str = "TRANS_CHECK_MAX_TIME_TOPIC";

/// Log offset at which a half message was stored first: the name of its transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct HalfId(pub(crate) u64);

/// One open transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Open {
    /// Its name.
    pub(crate) id: HalfId,
    /// Offset of the half message in its queue when it was stored first.
    pub(crate) queue_offset: QueueOffset,
    /// When it was stored first.
    pub(crate) stored: EpochMillis,
    /// Times that a producer was to be asked.
    pub(crate) checks: u32,
    /// When that was last.
    pub(crate) checked: EpochMillis,
    /// Age in ms before which it is not checked, when the producer said one.
    pub(crate) immunity_ms: Option<i64>,
    /// Producer group.
    pub(crate) group: Arc<str>,
    /// Topic that the message is for.
    pub(crate) topic: Arc<str>,
    /// Somebody is appending its end or a copy.
    pub(crate) claimed: bool,
}

/// When transactions are checked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timing {
    /// Age in ms of a half message at its first check.
    pub(crate) first_ms: i64,
    /// Time in ms between checks.
    pub(crate) interval_ms: i64,
}

/// The list that an open transaction is in, by what its next check counts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum List {
    /// From its storing.
    Fresh,
    /// From its storing and the immunity that its producer gave it.
    Immune,
    /// From the check before.
    Checked,
}

#[derive(Debug, Default)]
struct Due {
    fresh: BTreeSet<(i64, HalfId)>,
    immune: BTreeSet<(i64, HalfId)>,
    checked: BTreeSet<(i64, HalfId)>,
}

impl Due {
    fn list(&mut self, list: List) -> &mut BTreeSet<(i64, HalfId)> {
        match list {
            List::Fresh => &mut self.fresh,
            List::Immune => &mut self.immune,
            List::Checked => &mut self.checked,
        }
    }

    fn lists(&self, timing: &Timing) -> [(&BTreeSet<(i64, HalfId)>, i64); 3] {
        [(&self.fresh, timing.first_ms), (&self.immune, 0), (&self.checked, timing.interval_ms)]
    }
}

/// Texts shared by those that carry them, with how many do.
#[derive(Debug, Default)]
struct Names(HashMap<Arc<str>, usize>);

impl Names {
    fn take(&mut self, name: &str) -> Arc<str> {
        if let Some((known, _)) = self.0.get_key_value(name) {
            let known = known.clone();
            self.0.entry(known.clone()).and_modify(|count| *count = count.saturating_add(1));
            return known;
        }
        let name: Arc<str> = name.into();
        self.0.insert(name.clone(), 1);
        name
    }

    fn give_back(&mut self, name: &str) {
        if let Some(count) = self.0.get_mut(name) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.0.remove(name);
            }
        }
    }
}

/// Every open transaction of the broker.
#[derive(Debug, Default)]
pub(crate) struct Transactions {
    /// By where the half message lies now.
    open: BTreeMap<LogOffset, Open>,
    moved: HashMap<HalfId, LogOffset>,
    due: Due,
    groups: Names,
    topics: Names,
}

/// What the record of a half message says.
struct Half<'a> {
    topic: Option<&'a str>,
    group: &'a str,
    immunity_ms: Option<i64>,
    source: Option<HalfSource>,
}

impl<'a> Half<'a> {
    fn of(properties: PropertiesRef<'a>) -> Half<'a> {
        let mut half = Half { topic: None, group: "", immunity_ms: None, source: None };
        for (name, value) in properties {
            match name {
                names::REAL_TOPIC => half.topic = Some(value),
                names::PGROUP => half.group = value,
                names::CHECK_IMMUNITY_TIME_IN_SECONDS => half.immunity_ms = immunity_ms(value),
                SOURCE_PROPERTY => half.source = HalfSource::parse(value),
                _ => {}
            }
        }
        half
    }
}

/// The immunity that a producer gives, in ms; none when it is no number or -1, as upstream.
fn immunity_ms(seconds: &str) -> Option<i64> {
    let seconds = seconds.parse::<i64>().ok().filter(|seconds| *seconds != -1)?;
    Some(seconds.saturating_mul(1_000))
}

impl Open {
    fn list(&self) -> (List, i64) {
        match (self.checks, self.immunity_ms) {
            (0, None) => (List::Fresh, self.stored.0),
            (0, Some(immunity)) => (List::Immune, self.stored.0.saturating_add(immunity)),
            _ => (List::Checked, self.checked.0),
        }
    }

    /// What a record that takes the half message's place says of it.
    pub(crate) fn source(&self) -> HalfSource {
        HalfSource {
            id: self.id,
            queue_offset: self.queue_offset,
            stored: self.stored,
            checks: self.checks,
            checked: self.checked,
        }
    }
}

impl Transactions {
    /// A half message, or a copy of one, is in the log at `at`. False when it names no topic.
    pub(crate) fn begin(&mut self, record: &RecordRef<'_>, at: LogOffset) -> bool {
        let half = Half::of(record.properties());
        let Some(topic) = half.topic else { return false };
        let source = half.source.unwrap_or(HalfSource {
            id: HalfId(at.0),
            queue_offset: record.queue_offset(),
            stored: record.store_timestamp(),
            checks: 0,
            checked: EpochMillis(0),
        });
        if let Some(place) = self.place_of(source.id) {
            if half.source.is_some() {
                self.move_to(source.id, place, at);
            }
            return true;
        }
        let open = Open {
            id: source.id,
            queue_offset: source.queue_offset,
            stored: source.stored,
            checks: source.checks,
            checked: source.checked,
            immunity_ms: half.immunity_ms,
            group: self.groups.take(half.group),
            topic: self.topics.take(topic),
            claimed: false,
        };
        self.insert(at, open);
        true
    }

    fn insert(&mut self, place: LogOffset, open: Open) {
        if place.0 != open.id.0 {
            self.moved.insert(open.id, place);
        }
        let (list, base) = open.list();
        self.due.list(list).insert((base, open.id));
        self.open.insert(place, open);
    }

    fn move_to(&mut self, id: HalfId, from: LogOffset, to: LogOffset) {
        // A copy that a snapshot ahead of its offset already knows, or has seen copied again.
        if to < from {
            return;
        }
        if let Some(mut open) = self.open.remove(&from) {
            open.claimed = false;
            self.moved.insert(id, to);
            self.open.insert(to, open);
        }
    }

    /// Where the half message lies now; none when its transaction is not open.
    pub(crate) fn place_of(&self, id: HalfId) -> Option<LogOffset> {
        let place = self.moved.get(&id).copied().unwrap_or(LogOffset(id.0));
        self.open.get(&place).filter(|open| open.id == id).map(|_| place)
    }

    /// An open transaction with the place of its half message.
    pub(crate) fn find(&self, id: HalfId) -> Option<(LogOffset, &Open)> {
        let place = self.place_of(id)?;
        self.open.get(&place).map(|open| (place, open))
    }

    /// Reserves the transaction for whoever appends its end or a copy. False when it is not open or is reserved.
    fn claim(&mut self, id: HalfId) -> bool {
        let place = self.place_of(id);
        let open = place.and_then(|place| self.open.get_mut(&place));
        open.is_some_and(|open| !std::mem::replace(&mut open.claimed, true))
    }

    fn release(&mut self, id: HalfId) {
        if let Some(open) = self.place_of(id).and_then(|place| self.open.get_mut(&place)) {
            open.claimed = false;
        }
    }

    /// The transaction is decided or given up. True when it was open.
    pub(crate) fn end(&mut self, id: HalfId) -> bool {
        let Some(open) = self.place_of(id).and_then(|place| self.open.remove(&place)) else { return false };
        self.moved.remove(&id);
        let (list, base) = open.list();
        self.due.list(list).remove(&(base, id));
        self.groups.give_back(&open.group);
        self.topics.give_back(&open.topic);
        true
    }

    /// A producer is being asked for the `checks`th time, at `at`.
    pub(crate) fn checked(&mut self, id: HalfId, checks: u32, at: EpochMillis) {
        let Some(open) = self.place_of(id).and_then(|place| self.open.get_mut(&place)) else { return };
        let (list, base) = open.list();
        (open.checks, open.checked) = (checks, at);
        let (new_list, new_base) = open.list();
        self.due.list(list).remove(&(base, id));
        self.due.list(new_list).insert((new_base, id));
    }

    /// Transactions whose check is due and that nobody has claimed, with their places; `most` at most.
    pub(crate) fn due(&self, now: EpochMillis, timing: &Timing, most: usize) -> Vec<(LogOffset, Open)> {
        let mut found = Vec::new();
        for (list, delay) in self.due.lists(timing) {
            let ripe = list.iter().take_while(|(base, _)| base.saturating_add(delay) <= now.0);
            let open = ripe.filter_map(|(_, id)| self.find(*id)).filter(|(_, open)| !open.claimed);
            found.extend(
                open.map(|(place, open)| (place, open.clone())).take(most.saturating_sub(found.len())),
            );
        }
        found
    }

    /// When the next check is due.
    pub(crate) fn next_due(&self, timing: &Timing) -> Option<EpochMillis> {
        let lists = self.due.lists(timing).into_iter();
        let first = lists.filter_map(|(list, delay)| Some(list.first()?.0.saturating_add(delay)));
        first.min().map(EpochMillis)
    }

    /// Transactions whose half message lies below `below` and that nobody has claimed; `most` at most.
    pub(crate) fn below(&self, below: LogOffset, most: usize) -> Vec<(LogOffset, Open)> {
        let found = self.open.range(..below).filter(|(_, open)| !open.claimed);
        found.take(most).map(|(place, open)| (*place, open.clone())).collect()
    }

    /// Lowest place of a half message.
    pub(crate) fn oldest(&self) -> Option<LogOffset> {
        self.open.first_key_value().map(|(place, _)| *place)
    }

    /// Number of open transactions.
    pub(crate) fn len(&self) -> usize {
        self.open.len()
    }

    /// Number of open transactions by topic.
    pub(crate) fn by_topic(&self) -> Vec<(Arc<str>, usize)> {
        self.topics.0.iter().map(|(topic, count)| (topic.clone(), *count)).collect()
    }
}

#[cfg(test)]
mod tests;
