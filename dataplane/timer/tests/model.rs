//! The index against a plain set of pending timers, fed by the same log: order, late timers, recalls, rolling, clock jumps,
//! batches made while the one before is under way, and a crash of process or machine at every step of the disk.

use std::{collections::BTreeSet, path::Path, sync::Arc};

use bolide_store::disk::{Crash, Fault, FaultyDisk};
use bolide_timer::{Entry, Key, Kind, TimerIndex, UnderWay};
use bolide_wire::{EpochMillis, LogOffset};
use proptest::prelude::*;

const MEMORY_ENTRIES: usize = 16;
const RECORD_BYTES: u64 = 10;

#[derive(Clone, Copy, Debug)]
enum Record {
    Add(Key),
    Delivered { seen: LogOffset, upto: Key },
    Rolled { old: Key, new: Key },
}

/// What the log says, without any cleverness.
#[derive(Default)]
struct Reference {
    messages: BTreeSet<Key>,
    recalls: BTreeSet<Key>,
}

impl Reference {
    fn apply(&mut self, record: &Record) {
        match record {
            Record::Add(key) if key.kind() == Kind::Message => drop(self.messages.insert(*key)),
            Record::Add(key) => drop(self.recalls.insert(*key)),
            Record::Delivered { upto, .. } => drop(self.messages.remove(upto)),
            Record::Rolled { old, new } => {
                if self.messages.remove(old) {
                    self.messages.insert(*new);
                }
                if self.recalls.remove(old) {
                    self.recalls.insert(*new);
                }
            }
        }
    }

    fn due(&self, now: i64, max: usize) -> Vec<Key> {
        self.due_after(&[], now, max)
    }

    /// What is due once `under_way` is delivered.
    fn due_after(&self, under_way: &[Key], now: i64, max: usize) -> Vec<Key> {
        let due = self.messages.iter().take_while(|key| key.due().0 <= now);
        due.filter(|key| !under_way.contains(key)).take(max).copied().collect()
    }
}

/// Timers that are to be delivered together.
#[derive(Default)]
struct Batch {
    seen: LogOffset,
    keys: Vec<Key>,
}

impl Batch {
    fn under_way(&self) -> Option<UnderWay> {
        self.keys.last().map(|upto| UnderWay { seen: self.seen, upto: *upto })
    }
}

/// What becomes of a batch after which another one was made already.
#[derive(Clone, Copy, Debug)]
enum First {
    /// It comes into the log, and so does the other one.
    Stays,
    /// It does not, so the other one must not either.
    Fails,
    /// The process, or the machine, goes down after it.
    IsTheLast(Crash),
}

fn apply(index: &TimerIndex, record: &Record) {
    match record {
        Record::Add(key) => drop(index.add(*key, key.at().0)),
        Record::Delivered { seen, upto } => index.delivered(*seen, *upto),
        Record::Rolled { old, new } => {
            index.add(*new, old.at().0);
            index.rolled(old.at());
        }
    }
}

struct Lab {
    disk: FaultyDisk,
    index: Option<TimerIndex>,
    log: Vec<Record>,
    /// Records that a crash of the machine does not take.
    flushed: usize,
    reference: Reference,
    now: i64,
}

fn open(disk: &FaultyDisk) -> (TimerIndex, LogOffset) {
    let (index, opened) =
        TimerIndex::open_with(Arc::new(disk.clone()), Path::new("/timers"), MEMORY_ENTRIES).expect("opens");
    (index, opened.replay_from)
}

impl Lab {
    fn new(seed: u64) -> Lab {
        let disk = FaultyDisk::new(seed);
        let (index, _) = open(&disk);
        Lab {
            disk,
            index: Some(index),
            log: Vec::new(),
            flushed: 0,
            reference: Reference::default(),
            now: 1_000,
        }
    }

    fn index(&self) -> &TimerIndex {
        self.index.as_ref().expect("open")
    }

    fn end(&self) -> LogOffset {
        LogOffset(self.log.len() as u64 * RECORD_BYTES)
    }

    fn append(&mut self, record: Record) {
        self.reference.apply(&record);
        apply(self.index(), &record);
        self.log.push(record);
    }

    fn add(&mut self, delay: i64) {
        self.append(Record::Add(Key::message(EpochMillis(self.now + delay), self.end())));
    }

    /// As a broker does it: nothing that may be on its way to its consumer is recalled.
    fn recall(&mut self, delay: i64) {
        let due = EpochMillis(self.now + delay);
        if self.index().latest_delivered().is_none_or(|latest| due > latest) {
            self.append(Record::Add(Key::recall(due, self.end())));
        }
    }

    /// Delivers what is due; `late` timers come into the log between the question and its outcome.
    fn deliver(&mut self, max: usize, late: &[i64]) {
        let Some(batch) = self.gather(&Batch::default(), max) else { return };
        late.iter().for_each(|delay| self.add(*delay));
        self.hand_out(&batch);
    }

    /// Asks for a second batch before the first is in the log; `late` timers come before and after the second question.
    fn overlap(&mut self, max: usize, late: &[i64], first_one: First) {
        let Some(first) = self.gather(&Batch::default(), max) else { return };
        let (before, after) = late.split_at(late.len() / 2);
        before.iter().for_each(|delay| self.add(*delay));
        let Some(second) = self.gather(&first, max) else { return };
        after.iter().for_each(|delay| self.add(*delay));
        match first_one {
            First::Stays => {
                self.hand_out(&first);
                self.hand_out(&second);
            }
            First::Fails => {}
            First::IsTheLast(crash) => {
                self.hand_out(&first);
                self.restart(crash);
            }
        }
    }

    fn hand_out(&mut self, batch: &Batch) {
        for upto in &batch.keys {
            self.append(Record::Delivered { seen: batch.seen, upto: *upto });
        }
    }

    /// What is due, but for what is under way; `None` when the disk does not say.
    fn gather(&self, under_way: &Batch, max: usize) -> Option<Batch> {
        let due = self.index().due_after(under_way.under_way(), EpochMillis(self.now), max).ok()?;
        let (messages, recalls): (Vec<Entry>, Vec<Entry>) =
            due.entries.iter().partition(|entry| entry.key.kind() == Kind::Message);
        let keys: Vec<Key> = messages.iter().map(|entry| entry.key).collect();
        assert_eq!(keys, self.reference.due_after(&under_way.keys, self.now, max), "at {}", self.now);
        assert!(due.entries.is_sorted());
        for recall in &self.reference.recalls {
            let wanted = keys.iter().any(|key| key.due() == recall.due() && key.at() < recall.at());
            assert!(!wanted || recalls.iter().any(|entry| entry.key == *recall), "{recall:?} is forgotten");
        }
        let mut left = self.reference.messages.iter().filter(|key| !under_way.keys.contains(key));
        if let Some(next) = left.find(|key| keys.last().is_none_or(|last| *key > last)) {
            assert!(due.next.is_some_and(|at| at <= next.due()), "{due:?} {next:?}");
        }
        Some(Batch { seen: due.seen, keys })
    }

    /// Puts what lies in the older half of the log into it again.
    fn roll(&mut self, max: usize) {
        let below = LogOffset(self.end().0 / 2);
        let Ok(found) = self.index().before(below, max) else { return };
        let mut wanted: Vec<Key> =
            self.reference.messages.iter().filter(|key| key.at() < below).copied().collect();
        wanted.sort_by_key(|key| key.at());
        let got: Vec<Key> =
            found.iter().map(|entry| entry.key).filter(|key| key.kind() == Kind::Message).collect();
        assert!(got.is_sorted_by_key(|key| key.at()));
        if found.len() < max {
            assert_eq!(got, wanted);
        } else {
            assert!(wanted.starts_with(&got));
        }
        for entry in found {
            let (old, at) = (entry.key, self.end());
            let new = match old.kind() {
                Kind::Message => Key::message(old.due(), at),
                Kind::Recall => Key::recall(old.due(), at),
            };
            self.append(Record::Rolled { old, new });
        }
    }

    fn checkpoint(&mut self) {
        let watermark = self.end();
        let index = self.index.as_ref().expect("open");
        let _ = index.tidy();
        let checkpoint = index.begin_checkpoint(watermark);
        self.flushed = self.log.len();
        let _ = index.finish_checkpoint(checkpoint);
    }

    fn restart(&mut self, crash: Crash) {
        self.index = None;
        self.disk = self.disk.restart(crash);
        if crash == Crash::Machine {
            self.log.truncate(self.flushed + (self.log.len() - self.flushed) / 2);
        }
        let (index, from) = open(&self.disk);
        assert!(from <= self.end(), "the index knows of records that the log lost");
        self.reference = Reference::default();
        for (number, record) in self.log.iter().enumerate() {
            self.reference.apply(record);
            if LogOffset(number as u64 * RECORD_BYTES) >= from {
                apply(&index, record);
            }
        }
        self.index = Some(index);
        self.flushed = self.log.len();
        // Everything that is pending is there, whatever it is due at.
        let all = self.index().due(EpochMillis(i64::MAX - 1), usize::MAX).expect("readable");
        let keys: Vec<Key> =
            all.entries.iter().map(|entry| entry.key).filter(|key| key.kind() == Kind::Message).collect();
        assert_eq!(keys, self.reference.messages.iter().copied().collect::<Vec<_>>());
    }
}

#[derive(Clone, Debug)]
enum Step {
    Add(i64),
    Recall(i64),
    Deliver(usize, Vec<i64>),
    Overlap(usize, Vec<i64>, First),
    Roll(usize),
    Clock(i64),
    Checkpoint,
    Restart(bool),
}

fn take(lab: &mut Lab, step: &Step) {
    match step {
        Step::Add(delay) => lab.add(*delay),
        Step::Recall(delay) => lab.recall(*delay),
        Step::Deliver(max, late) => lab.deliver(*max, late),
        Step::Overlap(max, late, first) => lab.overlap(*max, late, *first),
        Step::Roll(max) => lab.roll(*max),
        Step::Clock(by) => lab.now += by,
        Step::Checkpoint => lab.checkpoint(),
        Step::Restart(machine) => lab.restart(if *machine { Crash::Machine } else { Crash::Process }),
    }
}

fn any_step() -> impl Strategy<Value = Step> {
    let delay = -20_i64..200;
    let first = prop_oneof![
        6 => Just(First::Stays),
        2 => Just(First::Fails),
        1 => Just(First::IsTheLast(Crash::Process)),
        1 => Just(First::IsTheLast(Crash::Machine)),
    ];
    let overlap = (1_usize..6, prop::collection::vec(delay.clone(), 0..5), first);
    prop_oneof![
        12 => delay.clone().prop_map(Step::Add),
        2 => (1_i64..200).prop_map(Step::Recall),
        6 => overlap.prop_map(|(max, late, first)| Step::Overlap(max, late, first)),
        3 => (1_usize..6, prop::collection::vec(delay, 0..3)).prop_map(|(max, late)| Step::Deliver(max, late)),
        2 => (1_usize..8).prop_map(Step::Roll),
        4 => (0_i64..60).prop_map(Step::Clock),
        1 => (-500_i64..500).prop_map(Step::Clock),
        2 => Just(Step::Checkpoint),
        1 => any::<bool>().prop_map(Step::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn the_index_gives_timers_as_a_heap_does(
        seed in any::<u64>(),
        steps in prop::collection::vec(any_step(), 1..300),
    ) {
        let mut lab = Lab::new(seed);
        for step in &steps {
            take(&mut lab, step);
        }
        lab.restart(Crash::Process);
        lab.now = i64::MAX - 1_000;
        while !lab.reference.messages.is_empty() {
            lab.deliver(5, &[]);
        }
    }
}

/// A fixed course of events that reaches every kind of step.
fn course() -> Vec<Step> {
    let mut random = 0x1234_5678_u64;
    let mut below = move |limit: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random % limit) as i64
    };
    (0..160)
        .map(|number| match number % 16 {
            3 => Step::Deliver(4, vec![below(50) - 10]),
            11 => Step::Overlap(3, vec![below(50) - 10, below(50) - 10], First::Stays),
            15 => Step::Overlap(3, vec![below(50) - 10], First::Fails),
            5 => Step::Recall(below(100) + 1),
            7 => Step::Clock(below(80)),
            9 => Step::Checkpoint,
            13 => Step::Roll(6),
            _ => Step::Add(below(200)),
        })
        .collect()
}

fn crash_at_every_step(crash: Crash) {
    let steps = course();
    let total = {
        let mut lab = Lab::new(7);
        let before = lab.disk.steps();
        steps.iter().for_each(|step| take(&mut lab, step));
        lab.disk.steps() - before
    };
    assert!(total > 60, "the course reaches the disk: {total}");
    for at in 1..=total {
        let mut lab = Lab::new(at);
        lab.disk.fault_after(Some((at, Fault::Crash)));
        for step in &steps {
            if lab.disk.is_down() {
                break;
            }
            take(&mut lab, step);
        }
        lab.restart(crash);
        // Go on, and go down once more.
        steps.iter().take(60).for_each(|step| take(&mut lab, step));
        lab.restart(crash);
    }
}

#[test]
fn killed_at_every_step_no_timer_is_lost_or_comes_twice() {
    crash_at_every_step(Crash::Process);
}

#[test]
fn machine_lost_at_every_step_no_timer_is_lost_or_comes_twice() {
    crash_at_every_step(Crash::Machine);
}

#[test]
fn a_disk_that_fails_once_costs_nothing_but_memory() {
    let steps = course();
    for at in 1..=80 {
        let mut lab = Lab::new(at);
        lab.disk.fault_after(Some((at, Fault::Fail)));
        steps.iter().for_each(|step| take(&mut lab, step));
        lab.disk.fault_after(None);
        lab.restart(Crash::Process);
    }
}

#[test]
fn a_damaged_file_makes_the_index_anew() {
    let mut lab = Lab::new(3);
    for number in 0..100 {
        lab.add(number % 7);
    }
    lab.checkpoint();
    for path in lab.disk.files() {
        let mut bytes = lab.disk.contents(&path).unwrap();
        if let Some(byte) =
            bytes.get_mut(4_100).filter(|_| path.extension().is_some_and(|kind| kind == "timers"))
        {
            *byte ^= 0x40;
            lab.disk.overwrite(&path, &bytes);
        }
    }
    lab.index = None;
    lab.disk = lab.disk.restart(Crash::Process);
    let (index, from) = open(&lab.disk);
    // Either the tail shows it at once, or the first reader finds it and the start after that begins anew.
    if from > LogOffset(0) {
        assert!(index.due(EpochMillis(i64::MAX - 1), 1_000).is_err());
    }
    drop(index);
    lab.restart(Crash::Process);
    assert_eq!(lab.reference.messages.len(), 100);
}

#[test]
fn many_files_become_few_and_the_memory_stays_small() {
    let mut lab = Lab::new(5);
    for number in 0..3_000_i64 {
        lab.add((number * 7_919) % 10_000);
        if number % 100 == 0 {
            lab.checkpoint();
        }
    }
    let files = |lab: &Lab| {
        lab.disk.files().iter().filter(|path| path.extension().is_some_and(|kind| kind == "timers")).count()
    };
    lab.checkpoint();
    assert!(files(&lab) <= 32, "{} files", files(&lab));
    assert_eq!(lab.index().len(), 3_000);
    lab.now += 5_000;
    while !lab.reference.due(lab.now, 1).is_empty() {
        lab.deliver(64, &[]);
    }
    lab.now += 5_000;
    while !lab.reference.due(lab.now, 1).is_empty() {
        lab.deliver(64, &[]);
    }
    lab.checkpoint();
    assert_eq!((files(&lab), lab.index().len()), (0, 0));
}
