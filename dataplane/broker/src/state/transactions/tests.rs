use std::sync::Arc;

use bolide_store::Observer;
use bolide_wire::ids::QueueId;
use bolide_wire::message::{NewRecord, encode_record, stamp, sys_flag};
use proptest::prelude::*;

use super::*;
use crate::arrivals::Arrivals;
use crate::delay::DelayLevels;
use crate::state::State;
use crate::state::record::{STATE_TOPIC, StateRecord};
use crate::state::snapshot::Snapshot;
use crate::state::timers::Timers;

const TIMING: Timing = Timing { first_ms: 6_000, interval_ms: 30_000 };

const IMMUNE: &str = "CHECK_IMMUNITY_TIME_IN_SECONDS\u{1}5\u{2}";

/// A log of records as the broker writes them.
#[derive(Default)]
struct Log {
    records: Vec<(u64, Vec<u8>)>,
    end: u64,
    half_offset: i64,
}

impl Log {
    fn append(&mut self, topic: &str, flags: i32, prepared: u64, body: &[u8], properties: &str) -> u64 {
        let new = NewRecord {
            topic,
            queue_id: QueueId(0),
            flag: 0,
            sys_flag: flags,
            born_timestamp: EpochMillis(1),
            born_host: ([127, 0, 0, 1], 5_000).into(),
            store_host: ([127, 0, 0, 1], 10_911).into(),
            reconsume_times: 0,
            prepared_transaction_offset: i64::try_from(prepared).unwrap(),
            body,
            properties,
        };
        let mut record = Vec::new();
        encode_record(&new, &mut record).unwrap();
        let (at, time) = (self.end, EpochMillis(i64::try_from(self.records.len()).unwrap() * 1_000));
        stamp(&mut record, QueueOffset(self.half_offset), LogOffset(at), time).unwrap();
        self.end += u64::try_from(record.len()).unwrap();
        self.records.push((at, record));
        at
    }

    fn half(&mut self, extra: &str) -> HalfId {
        let properties = format!("REAL_TOPIC\u{1}orders\u{2}REAL_QID\u{1}1\u{2}PGROUP\u{1}pg\u{2}{extra}");
        let at = self.append(HALF_TOPIC, 0, 0, b"x", &properties);
        self.half_offset += 1;
        HalfId(at)
    }

    fn state(&mut self, checked: Vec<(HalfId, u32)>, rolled_back: Vec<HalfId>) {
        let body = serde_json::to_vec(&StateRecord::Transactions { checked, rolled_back }).unwrap();
        self.append(STATE_TOPIC, 0, 0, &body, "");
    }

    fn replay(&self, state: &State, from: u64, to: u64) {
        for (at, bytes) in self.records.iter().filter(|(at, _)| (from..to).contains(at)) {
            state.apply(&RecordRef::parse(bytes).unwrap(), LogOffset(*at));
        }
    }
}

fn state(snapshot: Snapshot) -> State {
    State::new(snapshot, Timers::none(), DelayLevels::parse("1s").unwrap(), Arc::new(Arrivals::default()))
}

fn fresh(log: &Log) -> State {
    let state = state(Snapshot::default());
    log.replay(&state, 0, u64::MAX);
    state
}

#[test]
fn a_half_message_opens_and_a_commit_a_rollback_and_a_discard_end_a_transaction() {
    let mut log = Log::default();
    let ids: Vec<HalfId> = (0..4).map(|_| log.half("")).collect();
    log.append("orders", sys_flag::TRANSACTION_COMMIT, ids[0].0, b"x", "TRAN_MSG\u{1}true\u{2}");
    log.state(Vec::new(), vec![ids[1]]);
    let open = fresh(&log).transactions.lock().find(ids[2]).unwrap().1.clone();
    let source = format!("TRAN_SRC\u{1}{}\u{2}", open.source());
    log.append(DISCARD_TOPIC, 0, 0, b"x", &source);
    let state = fresh(&log);
    let transactions = state.transactions.lock();
    let left: Vec<bool> = ids.iter().map(|id| transactions.find(*id).is_some()).collect();
    assert_eq!(left, [false, false, false, true]);
    assert_eq!((state.open_transactions(), transactions.oldest()), (1, Some(LogOffset(ids[3].0))));
    assert_eq!(transactions.by_topic(), [("orders".into(), 1)]);
    let (place, open) = transactions.find(ids[3]).unwrap();
    assert_eq!((place.0, open.queue_offset, &*open.group), (ids[3].0, QueueOffset(3), "pg"));
}

#[test]
fn a_delayed_commit_and_its_delivery_end_the_transaction_once() {
    let mut log = Log::default();
    let (first, second) = (log.half(""), log.half(""));
    for topic in ["SCHEDULE_TOPIC_XXXX", "orders"] {
        log.append(topic, sys_flag::TRANSACTION_COMMIT, first.0, b"x", "DELAY_SRC\u{1}1:0\u{2}");
    }
    let state = fresh(&log);
    assert_eq!(state.transactions.lock().len(), 1);
    assert!(state.transactions.lock().find(second).is_some());
    assert_eq!(state.delays.lock().next(1), QueueOffset(1));
}

#[test]
fn a_copy_takes_the_place_and_keeps_the_name() {
    let mut log = Log::default();
    let id = log.half("CHECK_IMMUNITY_TIME_IN_SECONDS\u{1}7\u{2}");
    log.state(vec![(id, 3)], Vec::new());
    let open = fresh(&log).transactions.lock().find(id).unwrap().1.clone();
    let copy = log.half(&format!("TRAN_SRC\u{1}{}\u{2}", open.source()));
    let whole = fresh(&log);
    let alone = state(Snapshot::default());
    log.replay(&alone, copy.0, u64::MAX);
    for state in [whole, alone] {
        let transactions = state.transactions.lock();
        let (place, moved) = transactions.find(id).unwrap();
        assert_eq!((place.0, transactions.oldest(), transactions.len()), (copy.0, Some(place), 1));
        assert!(transactions.find(copy).is_none(), "the copy is no transaction of its own");
        assert_eq!((moved.source(), moved.checks), (open.source(), 3));
        assert_eq!(transactions.below(place, 10).len(), 0);
    }
    log.append("orders", sys_flag::TRANSACTION_COMMIT, id.0, b"x", "");
    assert_eq!(fresh(&log).transactions.lock().len(), 0);
}

#[test]
fn checks_are_due_after_the_timeout_the_own_immunity_or_the_interval() {
    let mut log = Log::default();
    let fresh_one = log.half("");
    let immune = log.half("CHECK_IMMUNITY_TIME_IN_SECONDS\u{1}20\u{2}");
    let minus_one = log.half("CHECK_IMMUNITY_TIME_IN_SECONDS\u{1}-1\u{2}");
    let checked = log.half("");
    log.state(vec![(checked, 1)], Vec::new());
    let state = fresh(&log);
    let transactions = state.transactions.lock();
    let due = |ms: i64| -> Vec<HalfId> {
        let mut ids: Vec<HalfId> =
            transactions.due(EpochMillis(ms), &TIMING, 10).iter().map(|(_, open)| open.id).collect();
        ids.sort();
        ids
    };
    // Stored at 0, 1, 2 and 3 s, the check noted at 4 s.
    assert_eq!(transactions.next_due(&TIMING), Some(EpochMillis(6_000)));
    assert_eq!(due(5_999), []);
    assert_eq!(due(6_000), [fresh_one]);
    assert_eq!(due(8_000), [fresh_one, minus_one]);
    assert_eq!(due(21_000), [fresh_one, immune, minus_one]);
    assert_eq!(due(34_000), [fresh_one, immune, minus_one, checked]);
    assert_eq!(transactions.due(EpochMillis(34_000), &TIMING, 2).len(), 2);
}

#[test]
fn a_claim_is_exclusive_and_comes_back_unless_the_record_is_in_the_log() {
    let mut log = Log::default();
    let (first, second) = (log.half(""), log.half(""));
    let state = Arc::new(fresh(&log));
    let mut claims = Claims::new(state.clone());
    assert!(claims.add(first) && claims.add(second));
    assert!(!Claims::new(state.clone()).add(first));
    assert_eq!(state.transactions.lock().due(EpochMillis(100_000), &TIMING, 10), []);
    assert_eq!(state.transactions.lock().below(LogOffset(u64::MAX), 10), []);
    claims.give_back(second);
    assert_eq!(state.transactions.lock().due(EpochMillis(100_000), &TIMING, 10).len(), 1);
    drop(claims);
    assert_eq!(state.transactions.lock().due(EpochMillis(100_000), &TIMING, 10).len(), 2);
    let mut claims = Claims::new(state.clone());
    assert!(claims.add(first) && !claims.add(HalfId(999_999)));
    claims.applied();
    assert!(!Claims::new(state).add(first), "until it is applied");
}

#[test]
fn a_half_message_that_names_no_topic_is_passed_over_and_counted() {
    let mut log = Log::default();
    log.append(HALF_TOPIC, 0, 0, b"x", "PGROUP\u{1}pg\u{2}");
    let state = fresh(&log);
    assert_eq!((state.transactions.lock().len(), state.unreadable()), (0, 1));
}

#[test]
fn the_log_is_released_when_no_half_message_lies_in_it() {
    let mut log = Log::default();
    let id = log.half("");
    let state = fresh(&log);
    let leaving = state.leaving();
    assert!(state.release(LogOffset(id.0)));
    assert!(!leaving.has_changed().unwrap());
    assert!(!state.release(LogOffset(id.0 + 1)));
    assert_eq!(*leaving.borrow(), LogOffset(id.0 + 1));
    let open = state.transactions.lock().find(id).unwrap().1.clone();
    let copy = log.half(&format!("TRAN_SRC\u{1}{}\u{2}", open.source()));
    log.replay(&state, copy.0, u64::MAX);
    assert!(state.release(LogOffset(copy.0)));
}

/// What a broker may do next with the `n`th of the open transactions.
#[derive(Debug, Clone)]
enum Step {
    Begin { immune: bool },
    Commit(usize),
    RollBack(usize),
    Check(usize),
    Move(usize),
    Discard(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => any::<bool>().prop_map(|immune| Step::Begin { immune }),
        1 => any::<usize>().prop_map(Step::Commit),
        1 => any::<usize>().prop_map(Step::RollBack),
        2 => any::<usize>().prop_map(Step::Check),
        2 => any::<usize>().prop_map(Step::Move),
        1 => any::<usize>().prop_map(Step::Discard),
    ]
}

/// The model: name and checks of each open transaction.
type Model = BTreeMap<HalfId, u32>;

/// Writes what the step appends, by what the state says, and changes the model.
fn take(step: &Step, log: &mut Log, state: &State, model: &mut Model) {
    let chosen = |n: &usize| model.keys().nth(n % model.len().max(1)).copied();
    let source = |id: HalfId| {
        let source = state.transactions.lock().find(id).unwrap().1.source();
        format!("TRAN_SRC\u{1}{source}\u{2}")
    };
    let from = log.end;
    match step {
        Step::Begin { immune } => {
            let id = log.half(if *immune { IMMUNE } else { "" });
            model.insert(id, 0);
        }
        Step::Commit(n) => {
            let Some(id) = chosen(n) else { return };
            log.append("orders", sys_flag::TRANSACTION_COMMIT, id.0, b"x", "");
            model.remove(&id);
        }
        Step::RollBack(n) => {
            let Some(id) = chosen(n) else { return };
            log.state(Vec::new(), vec![id]);
            model.remove(&id);
        }
        Step::Check(n) => {
            let Some(id) = chosen(n) else { return };
            let checks = model[&id] + 1;
            log.state(vec![(id, checks)], Vec::new());
            model.insert(id, checks);
        }
        Step::Move(n) => {
            let Some(id) = chosen(n) else { return };
            let immune = state.transactions.lock().find(id).unwrap().1.immunity_ms.is_some();
            log.half(&format!("{}{}", if immune { IMMUNE } else { "" }, source(id)));
        }
        Step::Discard(n) => {
            let Some(id) = chosen(n) else { return };
            let source = source(id);
            log.append(DISCARD_TOPIC, 0, 0, b"x", &source);
            model.remove(&id);
        }
    }
    log.replay(state, from, u64::MAX);
}

fn table(state: &State) -> OpenTable {
    OpenTable::of(&state.transactions.lock())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// The state follows the model; and a broker that goes down after any step and comes up from a snapshot that is up to
    /// date with the log or ahead of the offset it claims, or from a log whose start was released, knows the same.
    #[test]
    fn whatever_happens_and_wherever_a_broker_goes_down_the_projection_is_that_of_the_model(
        steps in prop::collection::vec(step(), 1..40),
        behind in prop::collection::vec(0..6_usize, 40),
    ) {
        let (mut log, mut model) = (Log::default(), Model::new());
        let live = state(Snapshot::default());
        for (step, behind) in steps.iter().zip(behind) {
            take(step, &mut log, &live, &mut model);
            let known: Model =
                live.transactions.lock().open.values().map(|open| (open.id, open.checks)).collect();
            prop_assert_eq!(&known, &model);
            let expected = table(&live);
            // The snapshot says less than it holds.
            let claims = log.records.iter().rev().nth(behind).map_or(0, |(at, _)| *at);
            let saved = Snapshot::of(&live, LogOffset(claims));
            let text = serde_json::to_vec(&saved.transactions).unwrap();
            let saved = Snapshot { transactions: serde_json::from_slice(&text).unwrap(), ..saved };
            let up = state(saved);
            log.replay(&up, claims, u64::MAX);
            prop_assert_eq!(&table(&up), &expected, "from a snapshot");
            // No snapshot, and a log from the oldest record that is still needed.
            let oldest = live.oldest_needed().0.min(log.end);
            let up = state(Snapshot::default());
            log.replay(&up, oldest, u64::MAX);
            prop_assert_eq!(&table(&up), &expected, "from what is left of the log");
            let lists = live.transactions.lock();
            prop_assert_eq!(lists.due.fresh.len() + lists.due.immune.len() + lists.due.checked.len(), model.len());
        }
    }
}
