//! The store with its own threads on a real folder.

use std::sync::{Arc, atomic::AtomicU64, atomic::Ordering, mpsc};

use bolide_store::{
    Ack, AppendBatch, Flush, Observer, OpenError, ReadLimits, RealDisk, Store, StoreConfig, StoreMetrics,
    SystemClock,
};
use bolide_wire::{QueueId, QueueOffset, message::records};

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
