//! Owns the broker's state as projections of the log: topics, groups, consumer offsets, delay progress.
//!
//! Changes are records in a system topic; whoever wants one appended waits until it is applied here. So memory, log and
//! snapshot can only disagree in what is still on its way. Offsets are the one exception and say so themselves.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bolide_store::{Observer, Queue};
use bolide_wire::ids::{LogOffset, TopicName};
use bolide_wire::message::RecordRef;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::arrivals::Arrivals;
use crate::delay::DelayLevels;

pub(crate) mod delays;
pub(crate) mod groups;
pub(crate) mod offsets;
pub(crate) mod record;
pub(crate) mod snapshot;
pub(crate) mod topics;

use delays::{DelaySource, Delays, SOURCE_PROPERTY};
use groups::Groups;
use offsets::{Follow, Offsets};
use record::{STATE_TOPIC, StateRecord};
use snapshot::Snapshot;
use topics::{SCHEDULE_TOPIC, Topics};

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
    /// Queues in which something arrived.
    pub(crate) arrivals: Arc<Arrivals>,
    levels: DelayLevels,
    recovering: AtomicBool,
    /// Topics whose deletion was replayed.
    deleted: Mutex<BTreeSet<TopicName>>,
    /// One past the log offset of the newest record applied.
    applied: watch::Sender<u64>,
    changes: AtomicU64,
    unreadable: AtomicU64,
    replay_from: LogOffset,
    covers: AtomicU64,
}

impl State {
    /// The state of a snapshot, ready to recover what came after it.
    pub(crate) fn new(snapshot: Snapshot, levels: DelayLevels, arrivals: Arc<Arrivals>) -> State {
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
        State {
            topics,
            groups,
            offsets: Mutex::new(offsets),
            delays: Mutex::new(delays),
            arrivals,
            levels,
            recovering: AtomicBool::new(true),
            deleted: Mutex::new(BTreeSet::new()),
            applied: watch::Sender::new(0),
            changes: AtomicU64::new(0),
            unreadable: AtomicU64::new(0),
            replay_from: snapshot.covers,
            covers: AtomicU64::new(snapshot.covers_for_retention().0),
        }
    }

    /// From now on records are this broker's own.
    pub(crate) fn recovered(&self) {
        self.recovering.store(false, Ordering::Release);
    }

    /// Waits until the record at `offset` is applied.
    pub(crate) async fn wait_applied(&self, offset: LogOffset) {
        let mut applied = self.applied.subscribe();
        // The sender lives as long as `self`, so waiting cannot fail.
        let _ = applied.wait_for(|applied| *applied > offset.0).await;
    }

    /// Topics whose deletion was replayed at the start: their queues may have come back with the log.
    pub(crate) fn take_deleted(&self) -> BTreeSet<TopicName> {
        std::mem::take(&mut *self.deleted.lock())
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

    fn apply_change(&self, change: &StateRecord) {
        match change {
            StateRecord::Topics { data_version, put, remove } => {
                self.topics.apply(data_version, put, remove);
                if self.recovering.load(Ordering::Acquire) {
                    let mut deleted = self.deleted.lock();
                    deleted.extend(remove.iter().cloned());
                    deleted.retain(|topic| self.topics.find(topic).is_none());
                }
                let mut offsets = self.offsets.lock();
                for topic in remove {
                    offsets.remove(None, Some(topic));
                }
            }
            StateRecord::Groups { data_version, put, remove, clean_offsets } => {
                self.groups.apply(data_version, put, remove);
                if *clean_offsets {
                    let mut offsets = self.offsets.lock();
                    for group in remove {
                        offsets.remove(Some(group), None);
                    }
                }
            }
            StateRecord::Offsets { offsets } => {
                let follow = if self.recovering.load(Ordering::Acquire) { Follow::Log } else { Follow::Own };
                self.offsets.lock().apply(offsets, follow);
            }
        }
    }
}

impl Observer for State {
    fn replay_from(&self) -> LogOffset {
        self.replay_from
    }

    fn apply(&self, record: &RecordRef<'_>, at: LogOffset) {
        if record.topic() == STATE_TOPIC {
            match serde_json::from_slice::<StateRecord>(record.body()) {
                Ok(change) => self.apply_change(&change),
                Err(error) => {
                    self.unreadable.fetch_add(1, Ordering::Relaxed);
                    tracing::error!(offset = at.0, %error, "a state record cannot be read; it is passed over");
                }
            }
            self.changes.fetch_add(1, Ordering::AcqRel);
            self.applied.send_if_modified(|applied| {
                *applied = at.0.saturating_add(1);
                true
            });
        } else if record.properties().as_str().contains(SOURCE_PROPERTY)
            && let Some(source) = record.properties().get(SOURCE_PROPERTY).and_then(DelaySource::parse)
        {
            self.delays.lock().delivered(source);
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

    fn arrived(&self, queue: &Arc<Queue>) {
        self.arrivals.push(queue);
    }

    fn snapshot_covers(&self) -> LogOffset {
        LogOffset(self.covers.load(Ordering::Acquire))
    }
}
