//! The store with its own threads on a real folder.

use std::sync::{Arc, Mutex, OnceLock, Weak, atomic::AtomicU64, atomic::Ordering, mpsc};

use bolide_store::{
    Ack, AppendBatch, Flush, Observer, OpenError, Queue, ReadLimits, ReadStatus, RealDisk, RecordFilter,
    Store, StoreConfig, StoreMetrics, SystemClock, Unit,
};
use bolide_wire::{
    LogOffset, QueueId, QueueOffset,
    message::{RecordRef, records},
};

use crate::support::{Recorder, add, id_of, topic};

fn open(config: &StoreConfig) -> Result<Store, OpenError> {
    let recorder = Arc::new(Recorder::default());
    recorder.replay_from.store(u64::MAX, Ordering::SeqCst);
    Store::open(
        config.clone(),
        Arc::new(RealDisk::new()),
        Arc::new(SystemClock::new()),
        StoreMetrics::new(),
        recorder as Arc<dyn Observer>,
    )
}

fn config(dir: &tempfile::TempDir, flush: Flush) -> StoreConfig {
    let mut config = StoreConfig::new(dir.path());
    config.segment_bytes = 1 << 20;
    config.queue_file_units = 1000;
    config.index_slots = 1000;
    config.index_entries = 2000;
    config.flush = flush;
    config.retention.refuse_ratio = 1.1;
    config.retention.refuse_free_bytes = 0;
    config
}

fn several_producers(flush: Flush, clean: bool) {
    let dir = tempfile::tempdir().expect("a folder");
    let config = config(&dir, flush);
    let store = open(&config).expect("opens");
    let ids = AtomicU64::new(1);
    std::thread::scope(|scope| {
        for queue in 0..4 {
            let (store, ids) = (&store, &ids);
            scope.spawn(move || {
                let queue = store.queue_or_create(&topic("alpha"), QueueId(queue));
                let (tell, told) = mpsc::channel();
                for _ in 0..100 {
                    let mut batch = AppendBatch::default();
                    for _ in 0..10 {
                        add(&mut batch, &queue, ids.fetch_add(1, Ordering::Relaxed), 500);
                    }
                    let tell = tell.clone();
                    let ack = if flush == Flush::Sync { Ack::Flushed } else { Ack::Appended };
                    let done = Box::new(move |result: Result<Vec<_>, _>| {
                        tell.send(result.map(|placed| placed.len())).expect("listening");
                    });
                    store.append(batch, ack, done).expect("accepted");
                }
                for _ in 0..100 {
                    assert_eq!(told.recv().expect("answered"), Ok(10));
                }
            });
        }
    });
    if clean {
        store.close();
    }
    drop(store);
    let store = open(&config).expect("opens again");
    assert_eq!(store.recovery().records == 0, clean);
    let mut seen = std::collections::BTreeSet::new();
    for queue in store.queues_of("alpha") {
        assert_eq!(queue.max().0, 1000);
        let mut next = QueueOffset(0);
        while next < queue.max() {
            let read = store.read(&queue, next, &ReadLimits::default(), &mut |_| true).expect("readable");
            for record in read.slices.iter().flat_map(|slice| records(slice)) {
                let record = record.expect("whole");
                record.verify_crc().expect("unharmed");
                assert!(seen.insert(id_of(&record)));
            }
            next = read.next;
        }
    }
    assert_eq!(seen.len(), 4000);
}

#[test]
fn several_producers_and_a_clean_close() {
    several_producers(Flush::Async, true);
    several_producers(Flush::Sync, true);
}

#[test]
fn several_producers_and_no_close() {
    several_producers(Flush::Async, false);
    several_producers(Flush::Sync, false);
}

#[test]
fn one_folder_takes_one_store_and_is_free_after_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let config = config(&dir, Flush::Async);
    let store = open(&config).expect("opens");
    assert!(matches!(open(&config), Err(OpenError::Locked { .. })));
    drop(store);
    open(&config).expect("free again").close();
}

#[test]
fn slices_outlive_the_store_and_its_files() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(&config(&dir, Flush::Async)).expect("opens");
    let queue = store.queue_or_create(&topic("alpha"), QueueId(0));
    let mut batch = AppendBatch::default();
    add(&mut batch, &queue, 7, 100);
    let (tell, told) = mpsc::channel();
    store
        .append(batch, Ack::Appended, Box::new(move |_| tell.send(()).expect("listening")))
        .expect("accepted");
    told.recv().expect("answered");
    let read = store.read(&queue, QueueOffset(0), &ReadLimits::default(), &mut |_| true).expect("readable");
    drop(store);
    drop(dir);
    let record = records(&read.slices[0]).next().expect("one record").expect("whole");
    assert_eq!(id_of(&record), 7);
}

/// Looks for each record the moment it is told of it, as a projection's owner on another thread may.
#[derive(Default)]
struct Hasty {
    store: OnceLock<Weak<Store>>,
    found: Mutex<Vec<(bool, ReadStatus, QueueOffset)>>,
}

struct ByRecord;

impl RecordFilter for ByRecord {
    fn wants_unit(&mut self, _unit: &Unit) -> bool {
        true
    }

    fn reads_records(&self) -> bool {
        true
    }
}

impl Observer for Hasty {
    fn replay_from(&self) -> LogOffset {
        LogOffset(u64::MAX)
    }

    fn apply(&self, record: &RecordRef<'_>, at: LogOffset) {
        let store = self.store.get().and_then(Weak::upgrade).expect("it is open");
        let there = store.record_at(at).expect("readable").is_some();
        let queue = store.queue(record.topic(), record.queue_id()).expect("it has records");
        let limits = ReadLimits::default();
        let read = store.read_filtered(&queue, record.queue_offset(), &limits, &mut ByRecord);
        let read = read.expect("readable");
        self.found.lock().expect("no panic").push((there, read.status, read.next));
    }

    fn arrived(&self, _queue: &Arc<Queue>) {}

    fn snapshot_covers(&self) -> LogOffset {
        LogOffset(0)
    }
}

/// A batch becomes visible record by record: whoever sees a part of it must not take the rest of the log for deleted.
#[test]
fn a_record_can_be_read_as_soon_as_anything_tells_of_it() {
    for flush in [Flush::Async, Flush::Sync] {
        let dir = tempfile::tempdir().expect("a folder");
        let hasty = Arc::new(Hasty::default());
        let store = Store::open(
            config(&dir, flush),
            Arc::new(RealDisk::new()),
            Arc::new(SystemClock::new()),
            StoreMetrics::new(),
            Arc::clone(&hasty) as Arc<dyn Observer>,
        );
        let store = Arc::new(store.expect("opens"));
        hasty.store.set(Arc::downgrade(&store)).expect("once");
        let queue = store.queue_or_create(&topic("alpha"), QueueId(0));
        let mut batch = AppendBatch::default();
        for id in 1..=3 {
            add(&mut batch, &queue, id, 500);
        }
        batch.entries.iter_mut().for_each(|entry| entry.state = true);
        let (tell, told) = mpsc::channel();
        let done = Box::new(move |result: Result<Vec<_>, _>| {
            tell.send(result.map(|placed| placed.len())).expect("listening");
        });
        store.append(batch, Ack::Confirmed, done).expect("accepted");
        assert_eq!(told.recv().expect("answered"), Ok(3));
        let found = std::mem::take(&mut *hasty.found.lock().expect("no panic"));
        let expected = [1, 2, 3].map(|next| (true, ReadStatus::Found, QueueOffset(next)));
        assert_eq!(found, expected, "{flush:?}");
    }
}
