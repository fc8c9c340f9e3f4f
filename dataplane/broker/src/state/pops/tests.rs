//! Pop consumption against a model: what the log says, message by message.

use std::collections::{BTreeMap, BTreeSet};

use bolide_wire::ids::{GroupName, TopicName};
use proptest::prelude::*;

use super::*;
use crate::state::offsets::Follow;
use crate::state::record::OffsetTable;

const INVISIBLE: i64 = 10;

#[derive(Debug, Clone)]
enum Step {
    /// Messages arrive.
    Arrive(i64),
    /// A pop of so many messages, of which every `n`th is wanted.
    Pop { most: i64, every: i64 },
    /// An acknowledgement of one of the messages that clients have.
    Ack(usize),
    /// Another invisible time for one of them.
    Delay(usize, i64),
    /// The journal's oldest batch goes into the log, or the log refuses it.
    Log { refused: bool },
    /// A client commits an offset.
    Commit(i64),
    /// Committed offsets go into the log.
    LogOffsets,
    /// Time passes.
    Pass(i64),
    /// What is due comes again, so many messages at most.
    Return(usize),
    /// The state is saved, as of so many records ago.
    Save(usize),
    /// The broker ends without saving, and starts again.
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (1..40_i64).prop_map(Step::Arrive),
        6 => (1..40_i64, 1..4_i64).prop_map(|(most, every)| Step::Pop { most, every }),
        8 => any::<usize>().prop_map(Step::Ack),
        2 => (any::<usize>(), 0..30_i64).prop_map(|(which, time)| Step::Delay(which, time)),
        8 => prop::bool::weighted(0.1).prop_map(|refused| Step::Log { refused }),
        1 => (0..100_i64).prop_map(Step::Commit),
        1 => Just(Step::LogOffsets),
        3 => (1..20_i64).prop_map(Step::Pass),
        3 => (1..40_usize).prop_map(Step::Return),
        1 => (0..4_usize).prop_map(Step::Save),
        1 => Just(Step::Crash),
    ]
}

/// A record of the log.
#[derive(Debug, Clone)]
enum Record {
    Pops(String),
    Again(String),
    Offsets(OffsetTable),
}

/// Where a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Out(CheckpointId),
    Done,
}

/// What the log says, message by message.
#[derive(Debug, Default, Clone)]
struct Model {
    next: i64,
    places: BTreeMap<i64, Place>,
}

impl Model {
    fn apply(&mut self, change: &QueueChange) {
        if change.taken {
            self.places.clear();
            self.next = change.next.unwrap();
            // A beginning takes everything before it as done with.
            self.places.extend((0..self.next).map(|offset| (offset, Place::Done)));
            for given in &change.given {
                self.places.retain(|offset, _| *offset < given.0.start());
            }
        }
        for (id, bits) in &change.acks {
            bits.offsets(id.start()).for_each(|offset| self.done(*id, offset));
        }
        for Moved(from, offset, made, _) in &change.moved {
            if self.places.get(offset) == Some(&Place::Out(*from)) {
                self.places.insert(*offset, Place::Out(CheckpointId(*offset, *made)));
            }
        }
        for Given(id, _, bits, _) in &change.given {
            for offset in bits.offsets(id.start()) {
                self.places.insert(offset, Place::Out(*id));
            }
        }
        if let Some(next) = change.next {
            for offset in self.next.min(next)..next {
                self.places.entry(offset).or_insert(Place::Done);
            }
            self.next = next;
        }
    }

    fn done(&mut self, id: CheckpointId, offset: i64) {
        if self.places.get(&offset) == Some(&Place::Out(id)) {
            self.places.insert(offset, Place::Done);
        }
    }

    fn out(&self) -> Vec<i64> {
        let out = self.places.iter().filter(|(_, place)| matches!(place, Place::Out(_)));
        out.map(|(offset, _)| *offset).collect()
    }
}

/// A saved state: pops, offsets, and the record it claims to stand for.
type Saved = (Vec<QueueChange>, OffsetTable, usize);

struct Lab {
    key: PopKey,
    pops: Pops,
    offsets: Offsets,
    max: i64,
    now: i64,
    log: Vec<Record>,
    saved: Saved,
    model: Model,
    /// Handles that clients got.
    handles: Vec<(CheckpointId, i64)>,
    /// Handles of batches that are not in the log yet, by batch.
    promised: BTreeMap<u64, Vec<(CheckpointId, i64)>>,
}

impl Lab {
    fn new() -> Lab {
        let key = PopKey {
            group: GroupName::new("g").unwrap(),
            topic: TopicName::new("t").unwrap(),
            queue: QueueId(0),
        };
        Lab {
            key,
            pops: begun(Pops::default()),
            offsets: Offsets::default(),
            max: 0,
            now: 1_000,
            log: Vec::new(),
            saved: (Vec::new(), OffsetTable::new(), 0),
            model: Model::default(),
            handles: Vec::new(),
            promised: BTreeMap::new(),
        }
    }

    fn pop(&mut self, most: i64, every: i64) {
        let standing = self.pops.standing(&self.key, Mode::Free, &self.offsets, || 0);
        let from = standing.from.min(self.max);
        let next = (from + most).min(self.max);
        if next == standing.from && !standing.taken {
            return;
        }
        let wanted: Vec<i64> = (from..next).filter(|offset| offset % every == 0).collect();
        let mut change =
            QueueChange { taken: standing.taken, next: Some(next), ..QueueChange::of(&self.key) };
        // Time does not stand still between two pops of the same messages.
        self.now += 1;
        let number = self.pops.journal.number();
        if let Some(first) = wanted.first() {
            let id = CheckpointId(*first, self.now);
            let bits = Bits::of(*first, wanted.iter().copied());
            change.given.push(Given(id, self.now + INVISIBLE, bits, 0));
            let handles = wanted.iter().map(|offset| (id, *offset));
            self.promised.entry(number).or_default().extend(handles);
        }
        self.pops.reserve(&self.key.clone(), change);
    }

    fn append(&mut self, record: Record) {
        apply(&record, &mut self.pops, &mut self.offsets, Follow::Own);
        match &record {
            Record::Pops(text) => {
                serde_json::from_str::<Vec<QueueChange>>(text)
                    .unwrap()
                    .iter()
                    .for_each(|it| self.model.apply(it));
            }
            Record::Again(text) => {
                let source = Source::parse(text).unwrap();
                self.model.done(source.id, source.offset);
            }
            Record::Offsets(_) => {}
        }
        self.log.push(record);
    }

    fn log_batch(&mut self, refused: bool) {
        let Some(batch) = self.pops.journal.take() else { return };
        let keys: Vec<_> = batch.changes.keys().cloned().collect();
        if refused {
            self.pops.refused(keys.into_iter());
            while let Some(later) = self.pops.journal.take() {
                self.pops.refused(later.changes.into_keys());
            }
            self.promised.clear();
            return;
        }
        let changes: Vec<QueueChange> = batch.changes.into_values().collect();
        self.append(Record::Pops(serde_json::to_string(&changes).unwrap()));
        self.pops.settled(batch.number, keys.into_iter());
        self.handles.extend(self.promised.remove(&batch.number).unwrap_or_default());
    }

    fn come_again(&mut self, most: usize) {
        for due in self.pops.due(self.now, most) {
            for offset in due.out.offsets(due.id.start()) {
                let source = Source { key: self.key.clone(), id: due.id, offset };
                self.append(Record::Again(source.to_string()));
            }
        }
    }

    fn save(&mut self, behind: usize) {
        let covers = self.log.len().saturating_sub(behind).max(self.saved.2);
        self.saved = (self.pops.table(&self.offsets), self.offsets.logged(), covers);
    }

    fn recovered(&self) -> (Pops, Offsets) {
        let (mut pops, mut offsets) = (Pops::default(), Offsets::default());
        offsets.apply(&self.saved.1, Follow::Log);
        let text = serde_json::to_string(&self.saved.0).unwrap();
        for change in serde_json::from_str::<Vec<QueueChange>>(&text).unwrap() {
            pops.apply(&change, &mut offsets);
        }
        for record in &self.log[self.saved.2..] {
            apply(record, &mut pops, &mut offsets, Follow::Log);
        }
        (begun(pops), offsets)
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Arrive(count) => self.max += count,
            Step::Pop { most, every } => self.pop(*most, *every),
            Step::Ack(which) => {
                if let Some((id, offset)) = pick(&self.handles, *which) {
                    self.pops.ack(&self.key.clone(), id, &Bits::of(id.start(), [offset]));
                }
            }
            Step::Delay(which, time) => {
                if let Some((id, offset)) = pick(&self.handles, *which) {
                    self.now += 1;
                    let moved = Moved(id, offset, self.now, self.now + time);
                    let number = self.pops.journal.number();
                    if self.pops.delay(&self.key.clone(), moved) == Acked::Journaled {
                        let handle = (CheckpointId(offset, self.now), offset);
                        self.promised.entry(number).or_default().push(handle);
                    }
                }
            }
            Step::Log { refused } => self.log_batch(*refused),
            Step::Commit(offset) => {
                let PopKey { group, topic, queue } = self.key.clone();
                self.offsets.commit(&group, &topic, queue, QueueOffset((*offset).min(self.max)));
            }
            Step::LogOffsets => {
                let table = self.offsets.take_dirty(10);
                if !table.is_empty() {
                    self.append(Record::Offsets(table));
                }
            }
            Step::Pass(time) => self.now += time,
            Step::Return(most) => self.come_again(*most),
            Step::Save(behind) => self.save(*behind),
            Step::Crash => {
                let (pops, offsets) = self.recovered();
                assert_eq!(pops.table(&offsets), self.pops.table(&self.offsets), "the log says it all");
                assert_eq!(offsets.logged(), self.offsets.logged());
                (self.pops, self.offsets) = (pops, offsets);
                self.promised.clear();
            }
        }
        self.check();
    }

    fn check(&self) {
        assert_eq!(self.pops.out(&self.key), self.model.out());
        let Some(queue) = self.pops.queues.get(&self.key).filter(|queue| queue.next.is_some()) else {
            return;
        };
        assert_eq!(queue.next, Some(self.model.next));
        let least = self.model.out().first().copied().unwrap_or(self.model.next).min(self.model.next);
        assert_eq!(queue.committed(), Some(least));
        let due: BTreeSet<_> = self.pops.due.iter().map(|due| due.id).collect();
        assert!(queue.checkpoints.keys().eq(&due), "each has its time, and nothing else has");
        assert_eq!(self.pops.checkpoints(), queue.checkpoints.len());
    }
}

fn begun(mut pops: Pops) -> Pops {
    pops.begin_term();
    pops
}

fn pick(handles: &[(CheckpointId, i64)], which: usize) -> Option<(CheckpointId, i64)> {
    handles.get(which.checked_rem(handles.len())?).copied()
}

fn apply(record: &Record, pops: &mut Pops, offsets: &mut Offsets, follow: Follow) {
    match record {
        Record::Pops(text) => {
            for change in serde_json::from_str::<Vec<QueueChange>>(text).unwrap() {
                pops.apply(&change, offsets);
            }
        }
        Record::Again(text) => pops.came_again(&Source::parse(text).unwrap(), offsets),
        Record::Offsets(table) => offsets.apply(table, follow),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn every_message_is_out_once_or_done_whatever_happens(steps in prop::collection::vec(step(), 1..120)) {
        let mut lab = Lab::new();
        for step in &steps {
            lab.step(step);
        }
        // In the end everything comes: nothing is stuck.
        while lab.pops.journal.check().is_ok() && !lab.pops.journal.is_empty() {
            lab.log_batch(false);
        }
        lab.now += 1_000;
        while !lab.pops.due(lab.now, 1).is_empty() {
            lab.come_again(7);
        }
        lab.check();
        prop_assert!(lab.model.out().is_empty());
        prop_assert_eq!((lab.pops.next_due(), lab.pops.checkpoints()), (None, 0));
    }
}

fn ordered(lab: &mut Lab, attempt: Option<&str>, most: i64) -> Option<Vec<i64>> {
    let standing = lab.pops.standing(&lab.key, Mode::Ordered(attempt, lab.now), &lab.offsets, || 0);
    if standing.held_up {
        return None;
    }
    let again = |offset: &i64| {
        standing.ordered.as_ref().is_none_or(|batch| {
            let of = distance(batch.start, *offset);
            !batch.given.has(of) || batch.out.has(of)
        })
    };
    let most = usize::try_from(most).unwrap();
    let offsets: Vec<i64> = (standing.from..lab.max).filter(again).take(most).collect();
    let first = *offsets.first()?;
    let bits = Bits::of(first, offsets.iter().copied());
    let batch = OrderedBatch {
        start: first,
        pop_time: lab.now,
        ends_at: lab.now + INVISIBLE,
        attempt: attempt.map(str::to_owned),
        given: bits.clone(),
        out: bits,
        ..OrderedBatch::default()
    };
    let (taken, next) = (standing.taken, Some(first));
    let change = QueueChange { taken, next, ordered: Some(batch), ..QueueChange::of(&lab.key) };
    lab.pops.reserve(&lab.key.clone(), change);
    log_ordered(lab);
    Some(offsets)
}

fn log_ordered(lab: &mut Lab) {
    let Some(batch) = lab.pops.journal.take() else { return };
    let keys: Vec<_> = batch.changes.keys().cloned().collect();
    for change in batch.changes.values() {
        lab.pops.apply(change, &mut lab.offsets);
    }
    lab.pops.settled(batch.number, keys.into_iter());
}

fn settle(lab: &mut Lab, pop_time: i64, offset: i64, visible_at: Option<i64>) -> Acked {
    let acked = lab.pops.settle_ordered(&lab.key.clone(), pop_time, offset, visible_at);
    log_ordered(lab);
    acked
}

#[test]
fn an_ordered_queue_gives_one_batch_at_a_time() {
    let mut lab = Lab::new();
    lab.max = 10;
    let popped = lab.now;
    assert_eq!(ordered(&mut lab, Some("a"), 3), Some(vec![0, 1, 2]));
    lab.now += 1;
    assert_eq!(ordered(&mut lab, Some("b"), 3), None, "held up");
    assert_eq!(settle(&mut lab, popped, 9, None), Acked::Illegal);
    assert_eq!(settle(&mut lab, popped + 5, 0, None), Acked::NotOut, "of another pop");
    assert_eq!(settle(&mut lab, popped, 0, None), Acked::Journaled);
    assert_eq!(settle(&mut lab, popped, 0, None), Acked::NotOut);
    assert_eq!(lab.offsets.committed("g", "t", QueueId(0)), Some(QueueOffset(1)));
    assert_eq!(ordered(&mut lab, Some("b"), 3), None, "two are out");
    settle(&mut lab, popped, 2, None);
    assert_eq!(lab.offsets.committed("g", "t", QueueId(0)), Some(QueueOffset(1)));
    settle(&mut lab, popped, 1, None);
    assert_eq!(lab.offsets.committed("g", "t", QueueId(0)), Some(QueueOffset(3)));
    assert_eq!(ordered(&mut lab, Some("b"), 3), Some(vec![3, 4, 5]));
}

#[test]
fn an_ordered_batch_comes_again_without_what_was_acknowledged() {
    let mut lab = Lab::new();
    lab.max = 4;
    let popped = lab.now;
    assert_eq!(ordered(&mut lab, Some("a"), 3), Some(vec![0, 1, 2]));
    assert_eq!(ordered(&mut lab, Some("a"), 3), Some(vec![0, 1, 2]), "the same attempt asks again");
    settle(&mut lab, popped, 1, None);
    assert_eq!(lab.pops.next_due(), Some(popped + INVISIBLE));
    settle(&mut lab, popped, 0, Some(popped + 50));
    lab.now += INVISIBLE;
    assert_eq!(ordered(&mut lab, Some("b"), 3), None, "one of them waits longer");
    lab.now = popped + 50;
    let key = lab.key.clone();
    assert_eq!(lab.pops.unlocked(lab.now).iter().map(|key| (**key).clone()).collect::<Vec<_>>(), [key]);
    assert_eq!(ordered(&mut lab, Some("b"), 3), Some(vec![0, 2, 3]));
    let last = lab.now;
    settle(&mut lab, last, 0, None);
    assert_eq!(lab.offsets.committed("g", "t", QueueId(0)), Some(QueueOffset(2)));
}

#[test]
fn messages_of_a_file_that_goes_come_at_once() {
    let mut lab = Lab::new();
    let given = |start, log| Given(CheckpointId(start, 1), 5_000, Bits::one(), log);
    let given = vec![given(0, 100), given(1, 900)];
    let change = QueueChange { taken: true, given, next: Some(2), ..QueueChange::of(&lab.key) };
    lab.pops.apply(&change, &mut lab.offsets);
    assert_eq!(lab.pops.oldest(), Some(100));
    assert!(lab.pops.due(lab.now, 10).is_empty());
    lab.pops.hurry(500);
    let due = lab.pops.due(lab.now, 10);
    assert_eq!(due.iter().map(|due| due.id.start()).collect::<Vec<_>>(), [0]);
    lab.come_again(10);
    assert_eq!((lab.pops.oldest(), lab.pops.checkpoints()), (Some(900), 1));
    assert!(lab.pops.due(lab.now, 10).is_empty());
}

#[test]
fn a_checkpoint_that_is_put_off_holds_up_no_other() {
    let mut lab = Lab::new();
    let given = |start| Given(CheckpointId(start, 1), 5, Bits::one(), 0);
    let given = vec![given(0), given(1)];
    let change = QueueChange { taken: true, given, next: Some(2), ..QueueChange::of(&lab.key) };
    lab.pops.apply(&change, &mut lab.offsets);
    let first = lab.pops.due(10, 1).remove(0);
    lab.pops.postpone(&first, 100);
    assert_eq!(lab.pops.due(10, 9).iter().map(|due| due.id.start()).collect::<Vec<_>>(), [1]);
    assert_eq!(lab.pops.due(100, 9).len(), 2);
    lab.pops.postpone(&first, 200);
    assert_eq!(lab.pops.due(100, 9).len(), 1, "it can be put off again");
    lab.pops.forget(|key| &*key.topic == "t");
    assert_eq!((lab.pops.checkpoints(), lab.pops.due(100, 9).len()), (0, 0));
}
