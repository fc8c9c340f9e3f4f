//! The key index: finds records by topic and key. A projection of the log with its own watermark, behind it by up to a
//! second and made up for by every query.
//!
//! Dispatch feeds keys into a bounded buffer. When the buffer is full, or after a restart, the index reads the log instead
//! until it has caught up; nothing ever waits for it. Keys below `through` are in files that are on disk.

pub(crate) mod file;
pub(crate) mod files;

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use bolide_wire::{
    EpochMillis,
    message::{RecordRef, sys_flag},
    properties::names,
};
use parking_lot::Mutex;

use crate::{
    batch::index_hash,
    commit_log::scan::{Check, scan},
    shared::Shared,
};
pub(crate) use files::{IndexFiles, Lookup};

/// Keys that wait for the index at most.
const FEED_KEYS: usize = 131_072;
/// Log bytes read at once when catching up.
const CATCH_UP_BYTES: u64 = 16 << 20;
/// Time between two moments at which the index is forced to disk.
const SYNC_INTERVAL: Duration = Duration::from_secs(5);

/// One key of one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) hash: i32,
    pub(crate) log_offset: u64,
    pub(crate) store_timestamp: i64,
}

pub(crate) struct Index {
    feed: Mutex<Feed>,
    files: Mutex<IndexFiles>,
    /// Applied in memory.
    applied: AtomicU64,
    /// On disk.
    through: AtomicU64,
    newest_time: AtomicI64,
}

struct Feed {
    keys: Vec<Key>,
    /// Everything dispatched so far ends here.
    end: u64,
    /// Keys are missing in `keys`: the log has to be read.
    broken: bool,
}

impl Index {
    pub(crate) fn new(files: IndexFiles) -> Self {
        let newest = files.newest_time();
        Self {
            feed: Mutex::new(Feed { keys: Vec::new(), end: 0, broken: true }),
            files: Mutex::new(files),
            applied: AtomicU64::new(0),
            through: AtomicU64::new(0),
            newest_time: AtomicI64::new(newest),
        }
    }

    /// Recovery: records below `through` are in the files, the log ends at `end`.
    pub(crate) fn start_at(&self, through: u64, end: u64) {
        self.through.store(through, Ordering::Release);
        self.applied.store(through, Ordering::Release);
        let mut feed = self.feed.lock();
        feed.end = end;
        feed.broken = through < end;
    }

    /// Where the newest index file ends, as it says itself; for a store without our checkpoint.
    pub(crate) fn end_in_files(&self) -> Option<u64> {
        self.files.lock().end_offset()
    }

    /// Recovery: the files know records that the log does not have.
    pub(crate) fn clear(&self) -> io::Result<()> {
        self.files.lock().clear()
    }

    /// Takes the keys of dispatched records, which end at `end`. True when the index should be woken.
    pub(crate) fn feed(&self, keys: &mut Vec<Key>, end: u64) -> bool {
        let mut feed = self.feed.lock();
        feed.end = end;
        if feed.broken {
            return false;
        }
        if feed.keys.len().saturating_add(keys.len()) > FEED_KEYS {
            feed.broken = true;
            feed.keys = Vec::new();
            return true;
        }
        feed.keys.append(keys);
        feed.keys.len() > FEED_KEYS / 2
    }

    /// Records below this offset are in files on disk.
    pub(crate) fn through(&self) -> u64 {
        self.through.load(Ordering::Acquire)
    }

    /// Records below this offset are found.
    pub(crate) fn applied(&self) -> u64 {
        self.applied.load(Ordering::Acquire)
    }

    /// Store time of the newest indexed record.
    pub(crate) fn newest_time(&self) -> i64 {
        self.newest_time.load(Ordering::Acquire)
    }

    pub(crate) fn remove_below(&self, log_min: u64) -> io::Result<()> {
        self.files.lock().remove_below(log_min)
    }

    /// Applies what was fed; false when the log has to be read.
    fn apply_feed(&self, files: &mut IndexFiles, now: EpochMillis) -> io::Result<bool> {
        let (keys, end) = {
            let mut feed = self.feed.lock();
            if feed.broken && self.applied() == feed.end {
                feed.broken = false;
            }
            if feed.broken {
                return Ok(false);
            }
            (std::mem::take(&mut feed.keys), feed.end)
        };
        self.put(files, &keys, now)?;
        self.applied.store(end, Ordering::Release);
        Ok(true)
    }

    fn put(&self, files: &mut IndexFiles, keys: &[Key], now: EpochMillis) -> io::Result<()> {
        for key in keys {
            files.put(key, now)?;
        }
        self.newest_time.store(files.newest_time(), Ordering::Release);
        Ok(())
    }
}

/// The keys of a record: its unique key, then each of its user keys.
pub(crate) fn keys_of(record: &RecordRef<'_>, at: u64, out: &mut Vec<Key>) {
    if sys_flag::transaction(record.sys_flag()) == sys_flag::TRANSACTION_ROLLBACK {
        return;
    }
    let properties = record.properties();
    let unique = properties.get(names::UNIQ_KEY).into_iter();
    let user = properties.get(names::KEYS).unwrap_or_default().split(' ');
    for key in unique.chain(user).filter(|key| !key.is_empty()) {
        out.push(Key {
            hash: index_hash(record.topic(), key),
            log_offset: at,
            store_timestamp: record.store_timestamp().0,
        });
    }
}

/// True when the record carries this key.
pub(crate) fn has_key(record: &RecordRef<'_>, key: &str) -> bool {
    let properties = record.properties();
    properties.get(names::UNIQ_KEY) == Some(key)
        || properties.get(names::KEYS).is_some_and(|keys| keys.split(' ').any(|one| one == key))
}

/// Builds the index in steps.
pub(crate) struct Indexer {
    shared: Arc<Shared>,
    synced: Duration,
}

impl Indexer {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let synced = shared.clock.monotonic();
        Self { shared, synced }
    }

    /// Applies waiting keys, or a stretch of log. True when more of the log waits to be read.
    pub(crate) fn step(&mut self) -> bool {
        let more = self.shared.index_step();
        let now = self.shared.clock.monotonic();
        if !more && now.saturating_sub(self.synced) >= SYNC_INTERVAL {
            self.synced = now;
            self.shared.index_sync(false);
        }
        more
    }
}

impl Shared {
    /// One step of the index; true when more of the log waits to be read.
    pub(crate) fn index_step(&self) -> bool {
        let mut files = self.index.files.lock();
        let result = match self.index.apply_feed(&mut files, self.clock.now()) {
            Ok(true) => Ok(false),
            Ok(false) => self.index_from_log(&mut files),
            Err(error) => Err(error),
        };
        result.unwrap_or_else(|error| {
            self.index_failed(&error);
            false
        })
    }

    /// The index is a convenience: its failure is counted and tried again, from the log.
    fn index_failed(&self, error: &io::Error) {
        self.metrics.index_failures.inc();
        tracing::error!(%error, "the key index could not be written");
        let mut feed = self.index.feed.lock();
        feed.keys = Vec::new();
        feed.broken = true;
    }

    fn index_from_log(&self, files: &mut IndexFiles) -> io::Result<bool> {
        let from = self.index.applied().max(self.log.min());
        let end = self.index.feed.lock().end;
        let mut keys = Vec::new();
        let to = from.saturating_add(CATCH_UP_BYTES);
        let mut stopped_at = None;
        let scanned = scan(&self.log.segments, from, end, Check::Place, &mut |record, at| {
            if at >= to {
                stopped_at = Some(at);
                return Err(io::Error::from(io::ErrorKind::Interrupted));
            }
            keys_of(record, at, &mut keys);
            Ok(())
        });
        let reached = match (scanned, stopped_at) {
            (_, Some(at)) => at,
            // A record that is not good below the confirmed end: skip what cannot be read, serve the rest.
            (Ok(scanned), None) => {
                if scanned.at < end {
                    end
                } else {
                    scanned.at
                }
            }
            (Err(error), None) => return Err(error),
        };
        self.index.put(files, &keys, self.clock.now())?;
        self.index.applied.store(reached, Ordering::Release);
        Ok(reached < end)
    }

    /// Forces the index to disk, as far as the log is. `complete`: with the slot table, so that others can read it.
    pub(crate) fn index_sync(&self, complete: bool) -> bool {
        let mut files = self.index.files.lock();
        let applied = self.index.applied();
        if applied == self.index.through() && !complete {
            return true;
        }
        if self.log.flushed() < applied {
            self.flush();
        }
        if self.log.flushed() < applied {
            return false;
        }
        match files.sync(complete) {
            Ok(()) => {
                self.index.through.store(applied, Ordering::Release);
                true
            }
            Err(error) => {
                self.index_failed(&error);
                false
            }
        }
    }

    /// Log offsets of records that may have this key, newest first; brings the index up to date before, unless it has to
    /// read the log.
    pub(crate) fn index_lookup(&self, lookup: &Lookup) -> io::Result<Vec<u64>> {
        let mut files = self.index.files.lock();
        self.index.apply_feed(&mut files, self.clock.now())?;
        files.lookup(lookup)
    }
}
