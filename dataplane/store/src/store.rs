//! The store as its users see it: a handle that is cheap to clone.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use bolide_wire::{EpochMillis, LogOffset, QueueId, QueueOffset, TopicName};
use bytes::Bytes;
use parking_lot::Mutex;

use crate::{
    Ack, Acknowledging, AppendBatch, AppendError, Boundary, Clock, Disk, DiskUsage, Done, Observer,
    OpenError, Queue, ReadLimits, ReadResult, RecordFilter, Recovery, Refusal, Refused, StoreConfig,
    StoreMetrics, Unit, Watermarks,
    acknowledging::Gate,
    checkpoint::{self, ABORT_FILE, CHECKPOINT_FILE, Checkpoint, FLUSHED_FILE},
    commit_log::{
        CommitLog,
        append::{self, Append},
        dispatch::Dispatcher,
        load::load_segments,
        recover::LastRun,
    },
    consume_queue::{QueueFiles, Queues},
    disk::{read_small, replace_small},
    epochs::EpochTable,
    inbox::{Inbox, NotTaken},
    index::{Index, IndexFiles, file::Shape},
    read::ByUnit,
    segment::Segments,
    shared::{Bells, Shared},
    steps::Steps,
    threads::Threads,
};

/// Largest commit log file: positions within one fit 32 bits, as the length of the filler does.
const MAX_SEGMENT_BYTES: u64 = 1 << 31;
/// Smallest commit log file.
const MIN_SEGMENT_BYTES: u64 = 4096;

/// A handle on an open store. Clones share it; the threads end with `close` or with the last clone.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    recovery: Recovery,
    threads: Mutex<Option<Threads>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shared.inbox.close();
        self.shared.bells.close();
        if let Some(threads) = self.threads.lock().take() {
            threads.join();
        }
        self.shared.fail_waiting(AppendError::Closed);
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("watermarks", &self.watermarks()).finish_non_exhaustive()
    }
}

impl Store {
    /// Opens or makes the store in `config.root`, recovers it, and starts its threads.
    pub fn open(
        config: StoreConfig,
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        metrics: StoreMetrics,
        observer: Arc<dyn Observer>,
    ) -> Result<Self, OpenError> {
        let root = config.root.clone();
        let (store, steps) = Self::open_stepped(config, disk, clock, metrics, observer)?;
        let threads = Threads::start(&store.inner.shared, steps)
            .map_err(OpenError::io("starting the threads of the store", &root))?;
        *store.inner.threads.lock() = Some(threads);
        Ok(store)
    }

    /// Like `open`, without threads: the caller makes the steps.
    pub fn open_stepped(
        config: StoreConfig,
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        metrics: StoreMetrics,
        observer: Arc<dyn Observer>,
    ) -> Result<(Self, Steps), OpenError> {
        check(&config)?;
        let root = config.root.clone();
        let failed = || OpenError::io("opening the store", &root);
        let (log_dir, queue_dir) = (root.join("commitlog"), root.join("consumequeue"));
        for dir in [&log_dir, &queue_dir] {
            disk.create_dir(dir).map_err(failed())?;
        }
        let lock_file = lock_file(&root);
        let lock = disk.lock(&lock_file).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => OpenError::Locked { path: lock_file.clone() },
            _ => failed()(error),
        })?;
        let last = last_run(disk.as_ref(), &config).map_err(failed())?;
        let found = load_segments(disk.as_ref(), &log_dir, config.segment_bytes)?;
        let segments = Segments::new(Arc::clone(&disk), log_dir, config.segment_bytes, found);
        let queue_files = QueueFiles::new(Arc::clone(&disk), queue_dir, config.queue_file_units);
        let shape = Shape { slots: config.index_slots, entries: config.index_entries };
        let index = IndexFiles::open(Arc::clone(&disk), root.join("index"), shape).map_err(failed())?;
        let replicated = config.replicated;
        let gate = Gate::new(if replicated { Acknowledging::No } else { Acknowledging::Yes });
        let shared = Arc::new(Shared {
            log: CommitLog::new(segments, config.flush, replicated),
            queues: Queues::new(queue_files),
            index: Index::new(index),
            inbox: Inbox::default(),
            dispatcher: Mutex::new(Dispatcher::new(if replicated { u64::MAX } else { 0 })),
            leading: AtomicBool::new(!replicated),
            gate,
            epochs: Mutex::new(EpochTable::default()),
            observer_from: AtomicU64::new(0),
            flushing: Mutex::default(),
            checkpointing: Mutex::default(),
            checkpointed: AtomicU64::new(0),
            disk_full: AtomicBool::new(false),
            poisoned: AtomicBool::new(false),
            bells: Bells::default(),
            config,
            disk,
            clock,
            metrics,
            observer,
            _lock: lock,
        });
        let recovery = shared.recover(last)?;
        mark_open(&shared).map_err(failed())?;
        let steps = Steps::new(&shared, recovery.end).map_err(failed())?;
        shared.check_disk();
        tracing::info!(
            from = recovery.from,
            end = recovery.end,
            records = recovery.records,
            bytes = recovery.bytes,
            cut = recovery.cut,
            visible = recovery.visible,
            "store recovered"
        );
        let inner = Inner { shared, recovery, threads: Mutex::new(None) };
        Ok((Self { inner: Arc::new(inner) }, steps))
    }

    /// Hands a batch to the writer. `done` is called exactly once, from a thread of the store, unless the batch is
    /// refused here.
    pub fn append(&self, batch: AppendBatch, ack: Ack, done: Done) -> Result<(), Refused> {
        let shared = &self.inner.shared;
        let refuse = |reason: Refusal, batch: AppendBatch, done: Done| {
            shared.metrics.count_refused(reason);
            Err(Refused { reason, batch, done })
        };
        if shared.poisoned() {
            return refuse(Refusal::Poisoned, batch, done);
        }
        if shared.disk_full.load(Ordering::Acquire)
            && !batch.entries.iter().all(|entry| entry.state && !entry.client)
        {
            return refuse(Refusal::DiskFull, batch, done);
        }
        if !shared.leads() {
            return refuse(Refusal::NotMaster, batch, done);
        }
        if shared.queues.unwritten_bytes() >= shared.config.max_unwritten_queue_bytes
            || shared.gate.held() >= shared.config.max_pending_batches
        {
            return refuse(Refusal::Busy, batch, done);
        }
        if !append::is_valid(&batch, shared.config.segment_bytes) {
            return refuse(Refusal::Invalid, batch, done);
        }
        if batch.entries.is_empty() {
            done(Ok(Vec::new()));
            return Ok(());
        }
        let (batches, limit) = (shared.config.max_pending_batches, shared.config.max_pending_bytes);
        let bytes = batch.buf.len();
        shared.inbox.push(Append { batch, ack, done }, bytes, batches, limit).or_else(|(why, append)| {
            let reason = match why {
                NotTaken::Full => Refusal::Busy,
                NotTaken::Closed => Refusal::Closed,
            };
            refuse(reason, append.batch, append.done)
        })
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.inner.shared
    }

    /// A queue, if anything was ever asked of it or is in it.
    #[must_use]
    pub fn queue(&self, topic: &str, id: QueueId) -> Option<Arc<Queue>> {
        self.inner.shared.queues.find(topic, id)
    }

    /// A queue, empty if it is new.
    #[must_use]
    pub fn queue_or_create(&self, topic: &TopicName, id: QueueId) -> Arc<Queue> {
        self.inner.shared.queues.find_or_create(topic, id)
    }

    /// All queues of a topic, by number.
    #[must_use]
    pub fn queues_of(&self, topic: &str) -> Vec<Arc<Queue>> {
        self.inner.shared.queues.of_topic(topic)
    }

    /// All topics that have a queue, in no order.
    #[must_use]
    pub fn topics(&self) -> Vec<TopicName> {
        self.inner.shared.queues.topics()
    }

    /// Reads records of a queue from an offset on, those whose unit `accept` lets through.
    pub fn read(
        &self,
        queue: &Queue,
        from: QueueOffset,
        limits: &ReadLimits,
        accept: &mut dyn FnMut(&Unit) -> bool,
    ) -> io::Result<ReadResult> {
        self.inner.shared.read(queue, from, limits, &mut ByUnit(accept))
    }

    /// Reads records of a queue from an offset on, those that `filter` lets through. What it refuses is neither copied nor
    /// returned.
    pub fn read_filtered(
        &self,
        queue: &Queue,
        from: QueueOffset,
        limits: &ReadLimits,
        filter: &mut dyn RecordFilter,
    ) -> io::Result<ReadResult> {
        self.inner.shared.read(queue, from, limits, filter)
    }

    /// True when a record at this offset is probably not in memory, so that reading it may block.
    #[must_use]
    pub fn is_cold(&self, offset: LogOffset) -> bool {
        self.inner.shared.is_cold(offset.0)
    }

    /// The confirmed record that starts at this log offset. Any number may be asked for.
    pub fn record_at(&self, offset: LogOffset) -> io::Result<Option<Bytes>> {
        self.inner.shared.record_at(offset)
    }

    /// Offset of the record at a time, between the queue's `min` and `max`.
    pub fn offset_by_time(
        &self,
        queue: &Queue,
        time: EpochMillis,
        boundary: Boundary,
    ) -> io::Result<QueueOffset> {
        self.inner.shared.offset_by_time(queue, time, boundary)
    }

    /// Store time of the record at an offset; `None` when there is none.
    pub fn store_time(&self, queue: &Queue, offset: QueueOffset) -> io::Result<Option<EpochMillis>> {
        self.inner.shared.store_time(queue, offset)
    }

    /// Visible records of a topic that carry a key, stored in `begin..=end`, newest first, `max` at most.
    pub fn query(
        &self,
        topic: &str,
        key: &str,
        max: usize,
        begin: EpochMillis,
        end: EpochMillis,
    ) -> io::Result<Vec<Bytes>> {
        self.inner.shared.query(topic, key, max, begin, end)
    }

    /// Offset and store time (ms) of the newest indexed record.
    #[must_use]
    pub fn index_position(&self) -> (LogOffset, EpochMillis) {
        let index = &self.inner.shared.index;
        (LogOffset(index.applied()), EpochMillis(index.newest_time()))
    }

    /// Removes the queues of a topic; false when it has none. Durable when it returns; the records stay in the log until
    /// they expire. Blocks for a checkpoint.
    pub fn delete_topic(&self, topic: &str) -> io::Result<bool> {
        self.inner.shared.delete_topic(topic)
    }

    /// Like `delete_topic`, when records of a topic made anew may be visible already: removes the queues that have none at or after
    /// the log offset that `kept_from` says. That is asked while nothing becomes visible, and must not call the store.
    pub fn delete_topic_before(
        &self,
        topic: &str,
        kept_from: impl FnOnce() -> LogOffset,
    ) -> io::Result<bool> {
        self.inner.shared.delete_topic_before(topic, kept_from)
    }

    /// How far the store has come.
    #[must_use]
    pub fn watermarks(&self) -> Watermarks {
        let shared = &self.inner.shared;
        Watermarks {
            min: LogOffset(shared.log.min()),
            appended: LogOffset(shared.log.appended()),
            flushed: LogOffset(shared.log.flushed()),
            confirmed: LogOffset(shared.log.confirmed()),
            dispatched: LogOffset(shared.log.dispatched()),
            checkpoint: LogOffset(shared.checkpoint_offset()),
            indexed: LogOffset(shared.index.applied()),
        }
    }

    /// Forces everything appended so far to disk; false when the store is poisoned. Blocks.
    #[must_use]
    pub fn flush_now(&self) -> bool {
        self.inner.shared.flush();
        !self.inner.shared.poisoned()
    }

    /// Disk use, and whether appends are refused because of it.
    pub fn disk_usage(&self) -> io::Result<DiskUsage> {
        self.inner.shared.disk_usage()
    }

    /// Deletes what may be deleted now, rather than at the next round.
    pub fn clean_now(&self) {
        self.inner.shared.bells.retention.ring();
    }

    /// True after a failed write or fsync: nothing is acknowledged any more, the process should end and recover.
    #[must_use]
    pub fn poisoned(&self) -> bool {
        self.inner.shared.poisoned()
    }

    /// What opening the store had to do.
    #[must_use]
    pub fn recovery(&self) -> Recovery {
        self.inner.recovery
    }

    /// Takes no more appends, finishes those it has taken, forces all to disk and marks the store as closed. Reading goes
    /// on. Must not be called from a callback of the store.
    pub fn close(&self) {
        let shared = &self.inner.shared;
        shared.inbox.close();
        shared.bells.close();
        if let Some(threads) = self.inner.threads.lock().take() {
            threads.join();
        }
        shared.finish();
    }
}

impl Shared {
    fn delete_topic(&self, topic: &str) -> io::Result<bool> {
        let _no_checkpoint = self.checkpointing.lock();
        let (old, dispatched) = {
            let _dispatcher = self.dispatcher.lock();
            (self.queues.forget_topic(topic), self.log.dispatched())
        };
        if old.is_empty() {
            return Ok(false);
        }
        self.announce_deleted(&old);
        self.forgotten_at(dispatched)?;
        self.queues.remove_files(topic)?;
        Ok(true)
    }

    /// Makes it durable that queues were forgotten when this was dispatched. Their files may go then: units of queues that
    /// have come in their place since are not among what the checkpoint has written into the same folders.
    fn forgotten_at(&self, dispatched: u64) -> io::Result<()> {
        if self.checkpoint_at(dispatched, false) {
            Ok(())
        } else {
            Err(io::Error::other("the deletion could not be made durable"))
        }
    }

    fn delete_topic_before(&self, topic: &str, kept_from: impl FnOnce() -> LogOffset) -> io::Result<bool> {
        let _no_checkpoint = self.checkpointing.lock();
        let (old, dispatched) = {
            let _dispatcher = self.dispatcher.lock();
            (self.queues.forget_before(topic, kept_from().0)?, self.log.dispatched())
        };
        if old.is_empty() {
            return Ok(false);
        }
        self.announce_deleted(&old);
        self.forgotten_at(dispatched)?;
        self.queues.remove_files_of(&old)?;
        Ok(true)
    }

    /// Tells those who wait for records of queues that there will be none.
    fn announce_deleted(&self, queues: &[Arc<Queue>]) {
        queues.iter().filter(|queue| queue.watched()).for_each(|queue| self.observer.arrived(queue));
    }

    /// The end of a clean close: everything on disk, the mark of an open store removed.
    fn finish(&self) {
        self.flush();
        self.fail_waiting(AppendError::Closed);
        while self.index_step() {}
        let done = self.index_sync(true) && self.checkpoint(true);
        let (covered, end) = (self.checkpoint_offset(), self.log.appended());
        // With replicas the rest may still wait for the confirm offset; it is on disk.
        let complete = covered == end || self.config.replicated && self.log.flushed() == end;
        if !done || self.poisoned() || !complete {
            tracing::error!("the store could not be closed cleanly; the next start recovers it");
            return;
        }
        let abort = self.config.root.join(ABORT_FILE);
        let removed = self
            .log
            .segments
            .remove_spare()
            .and_then(|()| match self.disk.remove(&abort) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                removed => removed,
            })
            .and_then(|()| self.disk.sync_dir(&self.config.root));
        if let Err(error) = removed {
            tracing::error!(%error, "the mark of an open store could not be removed");
        }
    }
}

pub(crate) fn lock_file(root: &Path) -> PathBuf {
    root.join("lock")
}

/// True when another process has the store below `root`. What else may be wrong with it, [`Store::open`] tells.
#[must_use]
pub fn is_in_use(disk: &dyn Disk, root: &Path) -> bool {
    disk.lock(&lock_file(root)).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}

pub(crate) fn check(config: &StoreConfig) -> Result<(), OpenError> {
    let wrong = |key, reason| Err(OpenError::Config { key, reason });
    if !(MIN_SEGMENT_BYTES..=MAX_SEGMENT_BYTES).contains(&config.segment_bytes) {
        return wrong("segment_bytes", "must be from 4096 bytes to 2 GiB");
    }
    if config.queue_file_units == 0 {
        return wrong("queue_file_units", "must be at least 1");
    }
    if config.index_slots == 0 || config.index_entries < 2 {
        return wrong("index_slots, index_entries", "must be at least 1 and 2");
    }
    Ok(())
}

fn last_run(disk: &dyn Disk, config: &StoreConfig) -> io::Result<LastRun> {
    let root = &config.root;
    let abort = read_small(disk, &root.join(ABORT_FILE), 4096)?;
    let small = |name: &str, limit: u64| match read_small(disk, &root.join(name), limit) {
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(None),
        found => found,
    };
    let same_boot = abort.as_ref().is_some_and(|text| {
        let boot = text.split(|byte| *byte == b'\n').nth(1).unwrap_or_default();
        !boot.is_empty() && boot == disk.boot_id().as_bytes()
    });
    Ok(LastRun {
        checkpoint: small(CHECKPOINT_FILE, checkpoint::MAX_BYTES)?
            .and_then(|bytes| Checkpoint::decode(&bytes)),
        flushed: small(FLUSHED_FILE, 4096)?.and_then(|bytes| checkpoint::decode_flushed(&bytes)),
        clean: abort.is_none(),
        same_boot,
    })
}

/// Writes the mark of an open store: the process id, as the original does, and the machine's start. Notes before how far
/// the log is known to be on disk, so that the next recovery knows of every byte after it that it may be lost.
fn mark_open(shared: &Shared) -> io::Result<()> {
    let flushed = checkpoint::encode_flushed(shared.log.flushed());
    replace_small(shared.disk.as_ref(), &shared.config.root.join(FLUSHED_FILE), &flushed)?;
    let text = format!("{}\n{}\n", std::process::id(), shared.disk.boot_id());
    replace_small(shared.disk.as_ref(), &shared.config.root.join(ABORT_FILE), text.as_bytes())
}
