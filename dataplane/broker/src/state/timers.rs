//! Owns the pending timers: a projection of the timer topic and of what was delivered from it, kept in the files of
//! [`bolide_timer::TimerIndex`].
//!
//! A delivered message, and a record that was put into the log again, name their source in the property `DELAY_SRC`, so what
//! is pending is exactly what the log says. The files are only a shortcut: without them the log is replayed.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use bolide_store::Disk;
use bolide_timer::{IndexError, Key, TimerIndex, identity};
use bolide_wire::ids::{EpochMillis, LogOffset};
use bolide_wire::message::RecordRef;
use bolide_wire::properties::{PropertiesRef, names};
use tokio::sync::{Notify, RwLock};

use super::delays::SOURCE_PROPERTY;

/// Folder of the index in the store's.
const FOLDER: &str = "timers";
/// Between topic and unique key in what a recall says, as upstream.
const RECALL_SEPARATOR: &str = "+";

/// What the record of a delivery, or of a timer put into the log again, says of its source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TimerSource {
    /// Of what was known below `seen`, everything up to `upto` is done.
    Delivered {
        /// Log offset.
        seen: LogOffset,
        /// The timer itself.
        upto: Key,
    },
    /// Stands in the place of the record at this log offset.
    Rolled(LogOffset),
}

impl TimerSource {
    /// Reads the property's text.
    pub(crate) fn parse(text: &str) -> Option<TimerSource> {
        let (kind, rest) = text.split_once(':')?;
        match kind {
            "t" => {
                let mut parts = rest.split(':');
                let due = parts.next()?.parse().ok()?;
                let place = parts.next()?.parse().ok()?;
                let seen = LogOffset(parts.next()?.parse().ok()?);
                parts
                    .next()
                    .is_none()
                    .then_some(TimerSource::Delivered { seen, upto: Key::from_parts(due, place) })
            }
            "r" => rest.parse().ok().map(|at| TimerSource::Rolled(LogOffset(at))),
            _ => None,
        }
    }
}

impl std::fmt::Display for TimerSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            TimerSource::Delivered { seen, upto } => {
                let (due, place) = upto.parts();
                write!(f, "t:{due}:{place}:{}", seen.0)
            }
            TimerSource::Rolled(at) => write!(f, "r:{}", at.0),
        }
    }
}

/// What a recall says of the message that it takes back.
pub(crate) fn recall_key(topic: &str, unique_key: &str) -> String {
    format!("{topic}{RECALL_SEPARATOR}{unique_key}")
}

/// Whether a recall with this text means the message with these properties.
pub(crate) fn is_recalled_by(properties: &PropertiesRef<'_>, recall: &str) -> bool {
    let topic = properties.get(names::REAL_TOPIC).unwrap_or_default();
    let unique = properties.get(names::UNIQ_KEY).unwrap_or_default();
    let rest = recall.strip_prefix(topic).and_then(|rest| rest.strip_prefix(RECALL_SEPARATOR));
    rest == Some(unique)
}

/// Key and identity of a record of the timer topic; `None` for one that no broker can have written.
fn entry(record: &RecordRef<'_>, at: LogOffset) -> Option<(Key, u64)> {
    let properties = record.properties();
    let due = EpochMillis(properties.get(names::TIMER_OUT_MS)?.parse().ok()?);
    if let Some(recalled) = properties.get(names::TIMER_DEL_UNIQKEY) {
        return Some((Key::recall(due, at), identity(&[recalled])));
    }
    let topic = properties.get(names::REAL_TOPIC)?;
    let unique = properties.get(names::UNIQ_KEY).unwrap_or_default();
    Some((Key::message(due, at), identity(&[topic, RECALL_SEPARATOR, unique])))
}

/// How far Apache RocketMQ had come with its timers in a store that it wrote: the first number of its checkpoint, a time in
/// milliseconds.
fn delivered_by_apache(disk: &dyn Disk, root: &Path) -> Option<EpochMillis> {
    let file = disk.open(&root.join("config").join("timercheck")).ok()?;
    let mut time = [0; 8];
    file.read_at(&mut time, 0).ok()?;
    Some(EpochMillis(i64::from_be_bytes(time))).filter(|time| time.0 > 0)
}

/// The pending timers, and what wakes those who work on them.
pub(crate) struct Timers {
    /// Which record is due when.
    pub(crate) index: TimerIndex,
    replay_from: LogOffset,
    /// While the log of an adopted store is replayed: what was due before this was delivered by Apache RocketMQ, whose
    /// deliveries do not say where from.
    passed: AtomicI64,
    /// When whoever delivers will look again; a timer that is due earlier wakes it.
    looks_at: AtomicI64,
    /// There is something to do before `looks_at`.
    pub(crate) earlier: Notify,
    /// Held for writing while timers are delivered, for reading while one is recalled: so a recall knows for certain that it
    /// is not too late.
    pub(crate) turn: RwLock<()>,
    /// Retention wants to delete the log below, and pending timers lie there.
    roll_below: AtomicU64,
    /// Timers and recalls taken in by this process.
    pub(crate) taken: AtomicU64,
    /// Timers delivered by this process.
    pub(crate) delivered: AtomicU64,
}

impl Timers {
    /// Opens the index below `root`; without one, the whole log is replayed for the timers.
    pub(crate) fn open(disk: Arc<dyn Disk>, root: &Path) -> Result<Timers, IndexError> {
        let (index, opened) = TimerIndex::open(disk.clone(), &root.join(FOLDER))?;
        let passed = if opened.rebuilt { delivered_by_apache(disk.as_ref(), root) } else { None };
        Ok(Timers {
            index,
            replay_from: opened.replay_from,
            passed: AtomicI64::new(passed.map_or(i64::MIN, |passed| passed.0)),
            looks_at: AtomicI64::new(i64::MAX),
            earlier: Notify::new(),
            turn: RwLock::new(()),
            roll_below: AtomicU64::new(0),
            taken: AtomicU64::new(0),
            delivered: AtomicU64::new(0),
        })
    }

    /// No timers, on a disk in memory.
    #[cfg(test)]
    pub(crate) fn none() -> Timers {
        let disk = Arc::new(bolide_store::disk::FaultyDisk::new(1));
        Timers::open(disk, Path::new("/store")).unwrap()
    }

    /// Where the log has to be replayed from.
    pub(crate) fn replay_from(&self) -> LogOffset {
        self.replay_from
    }

    /// From now on records are this broker's own.
    pub(crate) fn recovered(&self) {
        self.passed.store(i64::MIN, Ordering::Release);
    }

    /// Applies a record of the timer topic; false when it cannot be read.
    pub(crate) fn take(&self, record: &RecordRef<'_>, at: LogOffset) -> bool {
        let Some((key, identity)) = entry(record, at) else { return false };
        if key.due().0 < self.passed.load(Ordering::Acquire) {
            return true;
        }
        let pending = self.index.add(key, identity);
        if let Some(source) = record.properties().get(SOURCE_PROPERTY).and_then(TimerSource::parse) {
            self.apply(source);
        }
        self.taken.fetch_add(1, Ordering::Relaxed);
        if pending && key.due().0 < self.looks_at.load(Ordering::SeqCst) {
            self.earlier.notify_one();
        }
        true
    }

    /// Applies what a record says of its source.
    pub(crate) fn apply(&self, source: TimerSource) {
        match source {
            TimerSource::Delivered { seen, upto } => self.index.delivered(seen, upto),
            TimerSource::Rolled(at) => self.index.rolled(at),
        }
    }

    /// Whoever delivers says when it looks again, before it looks for the last time: from then on earlier timers wake it.
    pub(crate) fn looks_at(&self, time: EpochMillis) {
        self.looks_at.store(time.0, Ordering::SeqCst);
    }

    /// Whether nothing pending lies in the log below; if something does, it is to be put into the log again.
    pub(crate) fn release(&self, below: LogOffset) -> bool {
        match self.index.before(below, 1) {
            Ok(found) if found.is_empty() => true,
            Ok(_) => {
                self.roll_below.fetch_max(below.0, Ordering::AcqRel);
                self.earlier.notify_one();
                false
            }
            Err(error) => {
                tracing::error!(%error, "the log is kept: the index of timers cannot be read");
                false
            }
        }
    }

    /// Pending timers below this log offset are to be put into the log again.
    pub(crate) fn roll_below(&self) -> LogOffset {
        LogOffset(self.roll_below.load(Ordering::Acquire))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_source_reads_back() {
        let upto = Key::message(EpochMillis(1_700_000_000_123), LogOffset(42));
        for source in [
            TimerSource::Delivered { seen: LogOffset(77), upto },
            TimerSource::Delivered { seen: LogOffset(0), upto: Key::after(EpochMillis(-3)) },
            TimerSource::Rolled(LogOffset(9)),
        ] {
            assert_eq!(TimerSource::parse(&source.to_string()), Some(source));
        }
        for bad in ["", "t", "t:1:2", "t:1:2:3:4", "t:x:2:3", "r:", "r:-1", "3:42"] {
            assert_eq!(TimerSource::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn in_an_adopted_store_only_what_apache_rocketmq_did_not_deliver_is_pending() {
        use bolide_wire::message::{NewRecord, encode_record};

        use crate::state::topics::TIMER_TOPIC;

        let disk = Arc::new(bolide_store::disk::FaultyDisk::new(1));
        let root = Path::new("/store");
        disk.create_dir(&root.join("config")).unwrap();
        let check = disk.create(&root.join("config").join("timercheck")).unwrap();
        check.write_at(&mut [std::io::IoSlice::new(&5_000_i64.to_be_bytes())], 0).unwrap();
        let timers = Timers::open(disk, root).unwrap();
        let host = "127.0.0.1:1".parse().unwrap();
        let take = |due: i64, at: u64| {
            let mut bytes = Vec::new();
            let new = NewRecord {
                topic: TIMER_TOPIC,
                queue_id: bolide_wire::ids::QueueId(0),
                flag: 0,
                sys_flag: 0,
                born_timestamp: EpochMillis(1),
                born_host: host,
                store_host: host,
                reconsume_times: 0,
                prepared_transaction_offset: 0,
                body: b"x",
                properties: &format!("TIMER_OUT_MS\u{1}{due}\u{2}REAL_TOPIC\u{1}t\u{2}UNIQ_KEY\u{1}u\u{2}"),
            };
            encode_record(&new, &mut bytes).unwrap();
            assert!(timers.take(&RecordRef::parse(&bytes).unwrap(), LogOffset(at)));
        };
        take(4_999, 0);
        take(5_000, 100);
        assert_eq!(timers.index.len(), 1);
        timers.recovered();
        take(4_999, 200);
        assert_eq!(timers.index.len(), 2);
    }

    #[test]
    fn a_recall_means_one_message_of_one_topic() {
        let text = "REAL_TOPIC\u{1}a+b\u{2}UNIQ_KEY\u{1}U\u{2}";
        let properties = PropertiesRef::new(text);
        assert!(is_recalled_by(&properties, &recall_key("a+b", "U")));
        assert!(!is_recalled_by(&properties, &recall_key("a", "b+U2")));
        assert!(!is_recalled_by(&properties, &recall_key("c", "U")));
    }
}
