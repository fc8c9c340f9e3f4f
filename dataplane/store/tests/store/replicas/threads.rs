//! Two replicas with their own threads, in real folders.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use bolide_store::{
    Ack, Acknowledging, AppendBatch, AppendError, Flush, Observer, Queue, RealDisk, Refusal, Store,
    StoreConfig, StoreMetrics, SystemClock,
};
use bolide_wire::{LogOffset, QueueId, message::RecordRef};

use super::node::told;
use crate::support::{add, topic};

/// Counts, and knows how far the log has come without asking.
#[derive(Default)]
struct Counter {
    applied: AtomicU64,
    appended: AtomicU64,
    flushed: AtomicU64,
}

impl Observer for Counter {
    fn replay_from(&self) -> LogOffset {
        LogOffset(0)
    }

    fn apply(&self, _record: &RecordRef<'_>, _at: LogOffset) {
        self.applied.fetch_add(1, Ordering::SeqCst);
    }

    fn progressed(&self, appended: LogOffset, flushed: LogOffset) {
        self.appended.fetch_max(appended.0, Ordering::SeqCst);
        self.flushed.fetch_max(flushed.0, Ordering::SeqCst);
    }

    fn arrived(&self, _queue: &Arc<Queue>) {}

    fn snapshot_covers(&self) -> LogOffset {
        LogOffset(0)
    }
}

fn open(dir: &tempfile::TempDir, flush: Flush) -> (Store, Arc<Counter>) {
    let mut config = StoreConfig::new(dir.path());
    config.segment_bytes = 1 << 20;
    config.queue_file_units = 1000;
    (config.index_slots, config.index_entries) = (1000, 2000);
    (config.flush, config.replicated) = (flush, true);
    config.retention.refuse_ratio = 1.1;
    config.retention.refuse_free_bytes = 0;
    let counter = Arc::new(Counter::default());
    let (disk, clock) = (Arc::new(RealDisk::new()), Arc::new(SystemClock::new()));
    let observer = Arc::clone(&counter) as Arc<dyn Observer>;
    (Store::open(config, disk, clock, StoreMetrics::new(), observer).expect("opens"), counter)
}

fn until(what: &str, is: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !is() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn lead(store: &Store, epoch: u64) {
    let (done, told) = told();
    store.lead(epoch, "a", done);
    told.recv().expect("answered").expect("leads");
    store.set_acknowledging(Acknowledging::Yes);
}

/// Copies the master's log, and confirms what both have, until told to stop.
fn replicate(
    master: &Store,
    follower: &Store,
    progress: &[Arc<Counter>; 2],
    flush: Flush,
    stop: &AtomicBool,
) {
    let has = |counter: &Counter| match flush {
        Flush::Async => counter.appended.load(Ordering::SeqCst),
        Flush::Sync => counter.flushed.load(Ordering::SeqCst),
    };
    while !stop.load(Ordering::SeqCst) {
        let at = follower.watermarks().appended;
        let bytes = master.log_slice(at, 64 << 10).expect("readable");
        if !bytes.is_empty() {
            let (done, told) = told();
            follower.append_raw(at, bytes, done);
            told.recv().expect("answered").expect("joins on");
        }
        let both = LogOffset(has(&progress[0]).min(has(&progress[1])));
        master.set_confirmed(both);
        follower.set_confirmed(both);
    }
}

fn a_master_and_a_follower(flush: Flush) {
    let (dirs, records) =
        ([tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder")], 4 * 150);
    let [(master, a), (follower, b)] = dirs.each_ref().map(|dir| open(dir, flush));
    lead(&master, 1);
    let progress = [a, b];
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| replicate(&master, &follower, &progress, flush, &stop));
        let producers: Vec<_> = (0..4)
            .map(|queue| {
                let master = &master;
                scope.spawn(move || {
                    let queue = master.queue_or_create(&topic("alpha"), QueueId(queue));
                    let (tell, told) = mpsc::channel();
                    for id in 0..150 {
                        let mut batch = AppendBatch::default();
                        add(&mut batch, &queue, id, 3000);
                        let tell = tell.clone();
                        let done = Box::new(move |placed: Result<Vec<_>, AppendError>| {
                            let _ = tell.send(placed.map(|placed| placed.len()));
                        });
                        master.append(batch, Ack::Confirmed, done).expect("leads and is not busy");
                    }
                    drop(tell);
                    assert_eq!(told.iter().filter(|done| *done == Ok(1)).count(), 150);
                })
            })
            .collect();
        let done: Vec<_> = producers.into_iter().map(|producer| producer.join().is_ok()).collect();
        stop.store(true, Ordering::SeqCst);
        assert_eq!(done, [true; 4]);
    });
    // Acknowledged as confirmed: visible here, and appended there.
    let count = |store: &Store| store.queues_of("alpha").iter().map(|queue| queue.max().0).sum::<i64>();
    assert_eq!(count(&master), records);
    follower.set_confirmed(LogOffset(u64::MAX));
    assert!(follower.flush_now());
    until("the follower shows everything", || count(&follower) == records);
    until("and has applied it", || progress[1].applied.load(Ordering::SeqCst) == records.unsigned_abs() + 1);
    assert_eq!(follower.epochs(), master.epochs());

    // The roles change; the old master refuses.
    let (done, answer) = told();
    master.follow(done);
    answer.recv().expect("answered").expect("steps down");
    let mut batch = AppendBatch::default();
    add(&mut batch, &master.queue_or_create(&topic("alpha"), QueueId(0)), 1, 10);
    let refused = master.append(batch, Ack::Appended, Box::new(|_| {})).expect_err("follows");
    assert_eq!(refused.reason, Refusal::NotMaster);
    lead(&follower, 2);
    master.close();
    follower.close();
    drop((master, follower));
    // Closed cleanly: nothing is cut, everything is still there.
    for dir in &dirs {
        let (store, _) = open(dir, flush);
        assert!(!store.leads());
        store.set_confirmed(LogOffset(u64::MAX));
        until("all is visible again", || count(&store) == records);
    }
}

#[test]
fn a_master_and_a_follower_with_async_flush() {
    a_master_and_a_follower(Flush::Async);
}

#[test]
fn a_master_and_a_follower_with_sync_flush() {
    a_master_and_a_follower(Flush::Sync);
}
