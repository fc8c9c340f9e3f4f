//! Owns the broker's state as projections of the log: topics, groups, consumer offsets, delay progress,
//! open transactions, pending timers, pop consumption.
//!
//! Changes are records in a system topic; whoever wants one appended waits until it is applied here. So memory, log and
//! snapshot can only disagree in what is still on its way. Offsets are the one exception and say so themselves.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use bolide_store::{Observer, Queue};
use bolide_wire::ids::{EpochMillis, LogOffset};
use bolide_wire::message::{RecordRef, sys_flag};
use bolide_wire::properties::names;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Notify, watch};

use crate::arrivals::Arrivals;
use crate::delay::DelayLevels;

pub(crate) mod delays;
pub(crate) mod deleted;
pub(crate) mod grants;
pub(crate) mod groups;
pub(crate) mod modes;
pub(crate) mod offsets;
pub(crate) mod pops;
pub(crate) mod record;
pub(crate) mod snapshot;
pub(crate) mod timers;
pub(crate) mod topics;
pub(crate) mod transactions;

use delays::{DelaySource, Delays, SOURCE_PROPERTY};
use deleted::DeletedTopics;
use grants::Grants;
use groups::Groups;
use modes::RequestModes;
use offsets::{Follow, Offsets};
use pops::Pops;
use pops::source::Source;
use record::{STATE_TOPIC, StateRecord};
use snapshot::Snapshot;
use timers::{TimerSource, Timers};
use topics::{SCHEDULE_TOPIC, TIMER_TOPIC, Topics};
use transactions::{DISCARD_TOPIC, HALF_TOPIC, HalfId, HalfSource, Transactions};

/// All projections, and the observer that feeds them.
pub(crate) struct State {
    /// Topics.
    pub(crate) topics: Topics,
    /// Groups.
    pub(crate) groups: Groups,
    /// Consumer offsets.
    pub(crate) offsets: Mutex<Offsets>,
    /// Progress of the delay levels.
    pub(crate) delays: Mutex<Delays>,
    /// Open transactions.
    pub(crate) transactions: Mutex<Transactions>,
    /// A transaction was opened, ended or given back by whoever had claimed it.
    pub(crate) transactions_changed: Notify,
    /// Number of open transactions, for the send path.
    open_transactions: AtomicUsize,
    /// Messages for a later time.
    pub(crate) timers: Timers,
    /// Pop consumption. Taken before `offsets` where both are.
    pub(crate) pops: Mutex<Pops>,
    /// How groups get the messages of topics.
    pub(crate) modes: Mutex<RequestModes>,
    /// Owners of queues that are consumed in order.
    pub(crate) grants: Mutex<Grants>,
    /// Queues in which something arrived.
    pub(crate) arrivals: Arc<Arrivals>,
    levels: DelayLevels,
    /// Records come from elsewhere: from before the start, or from a master.
    following: AtomicBool,
    /// The log has grown, or more of it is on disk; for replication.
    pub(crate) progress: Notify,
    /// Topics that were deleted and whose queues may still be there.
    pub(crate) deleted: Mutex<DeletedTopics>,
    changes: AtomicU64,
    unreadable: AtomicU64,
    replay_from: LogOffset,
    /// Records below are in the snapshot.
    applies_from: AtomicU64,
    covers: AtomicU64,
    /// Log below this is about to be deleted.
    leaving: watch::Sender<LogOffset>,
}

impl State {
    /// The state of a snapshot, ready to recover what came after it.
    pub(crate) fn new(
        snapshot: Snapshot,
        timers: Timers,
        levels: DelayLevels,
        arrivals: Arc<Arrivals>,
    ) -> State {
        let topics = Topics::default();
        topics.apply(&snapshot.topics_version, &snapshot.topics, &[]);
        let groups = Groups::default();
        groups.apply(&snapshot.groups_version, &snapshot.groups, &[]);
        groups.set_forbidden(snapshot.forbidden.clone());
        let mut offsets = Offsets::default();
        offsets.apply(&snapshot.offsets, Follow::Log);
        let mut delays = Delays::default();
        for (level, next) in &snapshot.delays {
            delays.advance(*level, *next);
        }
        let transactions = snapshot.transactions.restore();
        let mut pops = Pops::default();
        for change in &snapshot.pops {
            pops.apply(change, &mut offsets);
        }
        let mut modes = RequestModes::default();
        modes.put(&snapshot.modes);
        let mut grants = Grants::default();
        snapshot.grants.iter().for_each(|grant| grants.take(grant));
        State {
            topics,
            groups,
            offsets: Mutex::new(offsets),
            delays: Mutex::new(delays),
            open_transactions: AtomicUsize::new(transactions.len()),
            transactions: Mutex::new(transactions),
            transactions_changed: Notify::new(),
            timers,
            pops: Mutex::new(pops),
            modes: Mutex::new(modes),
            grants: Mutex::new(grants),
            arrivals,
            levels,
            following: AtomicBool::new(true),
            progress: Notify::new(),
            deleted: Mutex::new(DeletedTopics::default()),
            changes: AtomicU64::new(0),
            unreadable: AtomicU64::new(0),
            replay_from: snapshot.covers,
            applies_from: AtomicU64::new(snapshot.covers.0),
            covers: AtomicU64::new(snapshot.covers_for_retention().0),
            leaving: watch::Sender::new(LogOffset(0)),
        }
    }

    /// The log offset below which the log is about to be deleted. A duty whose projection needs records below it appends them
    /// anew; the log is kept until [`State::oldest_needed`] has passed it.
    pub(crate) fn leaving(&self) -> watch::Receiver<LogOffset> {
        self.leaving.subscribe()
    }

    /// The lowest log offset of a record that a projection still needs: the minimum of what each of them says.
    fn oldest_needed(&self) -> LogOffset {
        let transactions = self.transactions.lock().oldest();
        let pops = self.pops.lock().oldest().map(LogOffset);
        transactions.into_iter().chain(pops).min().unwrap_or(LogOffset(u64::MAX))
    }

    /// Number of open transactions.
    pub(crate) fn open_transactions(&self) -> usize {
        self.open_transactions.load(Ordering::Relaxed)
    }

    /// Recovery is over. A snapshot of Apache RocketMQ held all of the log; what comes now is in none.
    pub(crate) fn opened(&self) {
        let all = LogOffset(u64::MAX);
        // An error means that the snapshot names an offset.
        let _ = self.applies_from.compare_exchange(all.0, 0, Ordering::AcqRel, Ordering::Acquire);
    }

    /// From now on records are this broker's own.
    pub(crate) fn lead(&self) {
        self.following.store(false, Ordering::Release);
        self.offsets.lock().lead();
        self.timers.recovered();
    }

    /// From now on records are another broker's.
    pub(crate) fn follow(&self) {
        if !self.following.swap(true, Ordering::AcqRel) {
            self.offsets.lock().follow();
        }
    }

    /// Where the replay of the last start began.
    pub(crate) fn replayed_from(&self) -> LogOffset {
        self.replay_from
    }

    /// Number of records applied; a snapshot is due when it changed.
    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// State records that could not be read.
    pub(crate) fn unreadable(&self) -> u64 {
        self.unreadable.load(Ordering::Relaxed)
    }

    /// A durable snapshot covers the log below `offset`.
    pub(crate) fn covered(&self, offset: LogOffset) {
        self.covers.fetch_max(offset.0, Ordering::AcqRel);
    }

    /// What a record says of transactions, if anything.
    fn apply_transaction(&self, record: &RecordRef<'_>, at: LogOffset) {
        let topic = record.topic();
        let committed = sys_flag::transaction(record.sys_flag()) == sys_flag::TRANSACTION_COMMIT;
        if !committed && topic != HALF_TOPIC && topic != DISCARD_TOPIC {
            return;
        }
        let mut transactions = self.transactions.lock();
        if committed {
            if let Some(half) = LogOffset::from_wire(record.prepared_transaction_offset()) {
                transactions.end(HalfId(half.0));
            }
        } else if topic == HALF_TOPIC {
            if !transactions.begin(record, at) {
                self.unreadable.fetch_add(1, Ordering::Relaxed);
                tracing::error!(offset = at.0, "a half message names no topic; it is passed over");
            }
        } else if let Some(source) =
            record.properties().get(transactions::SOURCE_PROPERTY).and_then(HalfSource::parse)
        {
            transactions.end(source.id);
        }
        self.transactions_applied(transactions);
    }

    fn transactions_applied(&self, transactions: MutexGuard<'_, Transactions>) {
        self.open_transactions.store(transactions.len(), Ordering::Relaxed);
        drop(transactions);
        self.changes.fetch_add(1, Ordering::AcqRel);
        self.transactions_changed.notify_waiters();
    }

    /// What was on its way into the log when its topic or group was deleted says nothing of the next one of that name.
    fn leave_out_deleted(&self, change: &mut StateRecord) {
        let known = |topic: &str| self.topics.find(topic).is_some();
        match change {
            StateRecord::Offsets { offsets } => {
                offsets.retain(|key, _| key.split_once('@').is_some_and(|(topic, _)| known(topic)));
            }
            StateRecord::Pops { queues } => {
                queues.retain(|change| known(&change.topic) && self.groups.find(&change.group).is_some());
            }
            _ => {}
        }
    }

    /// Remembers topics whose queues have to go, and those made anew.
    fn note_deleted(&self, change: &StateRecord, at: LogOffset) {
        if let StateRecord::Topics { put, remove, .. } = change {
            let mut deleted = self.deleted.lock();
            remove.iter().for_each(|topic| deleted.deleted(topic, at));
            put.iter().for_each(|config| deleted.put(&config.topic_name, at));
        }
    }

    fn apply_change(&self, change: &StateRecord, stored: EpochMillis, at: LogOffset) {
        match change {
            StateRecord::Topics { data_version, put, remove } => {
                self.note_deleted(change, at);
                self.topics.apply(data_version, put, remove);
                let mut pops = self.pops.lock();
                let mut offsets = self.offsets.lock();
                for topic in remove {
                    pops.forget(|key| key.topic == *topic);
                    offsets.remove(None, Some(topic));
                    self.modes.lock().forget(|of, _| of == topic.as_str());
                    self.grants.lock().forget_topic(topic);
                }
            }
            StateRecord::Groups { data_version, put, remove, clean_offsets } => {
                self.groups.apply(data_version, put, remove);
                let mut pops = self.pops.lock();
                let mut offsets = self.offsets.lock();
                for group in remove {
                    pops.forget(|key| key.group == *group);
                    if *clean_offsets {
                        offsets.remove(Some(group), None);
                    } else {
                        offsets.pops_forgotten(group);
                    }
                    self.modes.lock().forget(|_, of| of == group.as_str());
                    self.grants.lock().forget_group(group);
                }
            }
            StateRecord::Timers { passed } => {
                if let Some(source) = TimerSource::parse(passed) {
                    self.timers.apply(source);
                }
            }
            StateRecord::Forbidden { data_version, group, topic, bits } => {
                self.groups.forbid(data_version, group, topic, *bits);
            }
            StateRecord::Offsets { offsets } => {
                let follow = if self.following.load(Ordering::Acquire) { Follow::Log } else { Follow::Own };
                self.offsets.lock().apply(offsets, follow);
            }
            StateRecord::Transactions { checked, rolled_back } => {
                let mut transactions = self.transactions.lock();
                for (id, checks) in checked {
                    transactions.checked(*id, *checks, stored);
                }
                for id in rolled_back {
                    transactions.end(*id);
                }
                self.transactions_applied(transactions);
            }
            StateRecord::Pops { queues } => {
                let mut pops = self.pops.lock();
                let mut offsets = self.offsets.lock();
                for change in queues {
                    pops.apply(change, &mut offsets);
                }
            }
            StateRecord::RequestModes { put } => self.modes.lock().put(put),
            StateRecord::Locks { take, give } => {
                let mut grants = self.grants.lock();
                give.iter().for_each(|grant| grants.give(grant));
                take.iter().for_each(|grant| grants.take(grant));
            }
        }
    }
}

impl Observer for State {
    fn replay_from(&self) -> LogOffset {
        self.replay_from.min(self.timers.replay_from())
    }

    fn apply(&self, record: &RecordRef<'_>, at: LogOffset) {
        let news = at.0 >= self.applies_from.load(Ordering::Acquire);
        if news {
            self.apply_transaction(record, at);
        }
        if record.topic() == STATE_TOPIC {
            match serde_json::from_slice::<StateRecord>(record.body()) {
                // Older than the snapshot: only the timers, which have one of their own, are behind.
                // And the queues, which are as old as the checkpoint.
                Ok(change) if !news && !matches!(change, StateRecord::Timers { .. }) => {
                    self.note_deleted(&change, at);
                }
                Ok(mut change) => {
                    self.leave_out_deleted(&mut change);
                    self.apply_change(&change, record.store_timestamp(), at);
                }
                Err(error) => {
                    self.unreadable.fetch_add(1, Ordering::Relaxed);
                    tracing::error!(offset = at.0, %error, "a state record cannot be read; it is passed over");
                }
            }
            self.changes.fetch_add(1, Ordering::AcqRel);
        } else if record.topic() == TIMER_TOPIC {
            if !self.timers.take(record, at) {
                self.unreadable.fetch_add(1, Ordering::Relaxed);
                tracing::error!(offset = at.0, "a timer says no time or topic; it is passed over");
            }
            self.changes.fetch_add(1, Ordering::AcqRel);
        } else if record.properties().as_str().contains(SOURCE_PROPERTY)
            && let Some(source) = record.properties().get(SOURCE_PROPERTY)
        {
            if let Some(source) = DelaySource::parse(source) {
                self.delays.lock().delivered(source);
            } else if let Some(source) = TimerSource::parse(source) {
                self.timers.delivered.fetch_add(1, Ordering::Relaxed);
                self.timers.apply(source);
            }
            self.changes.fetch_add(1, Ordering::AcqRel);
        } else if record.properties().as_str().contains(names::POP_SRC)
            && let Some(source) = record.properties().get(names::POP_SRC).and_then(Source::parse)
        {
            let mut pops = self.pops.lock();
            pops.came_again(&source, &mut self.offsets.lock());
            self.changes.fetch_add(1, Ordering::AcqRel);
        }
    }

    fn tags_code(&self, record: &RecordRef<'_>) -> i64 {
        if record.topic() == SCHEDULE_TOPIC {
            let delay = self.levels.delay_ms(record.queue_id().0.saturating_add(1));
            return record.store_timestamp().0.saturating_add(delay);
        }
        record.properties().tags_code()
    }

    fn progressed(&self, _appended: LogOffset, _flushed: LogOffset) {
        self.progress.notify_one();
    }

    fn arrived(&self, queue: &Arc<Queue>) {
        self.arrivals.push(queue);
    }

    fn snapshot_covers(&self) -> LogOffset {
        LogOffset(self.covers.load(Ordering::Acquire)).min(self.timers.index.covers())
    }

    fn release(&self, below: LogOffset) -> bool {
        let released = self.oldest_needed() >= below;
        if !released {
            self.leaving.send_if_modified(|known| {
                let later = below > *known;
                *known = below.max(*known);
                later
            });
        }
        // Both are asked, so that both move on what is theirs.
        self.timers.release(below) && released
    }
}
