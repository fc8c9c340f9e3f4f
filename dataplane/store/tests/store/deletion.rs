//! Topics that are deleted and made anew while the store is at work on their queues.

use std::{
    io,
    path::Path,
    sync::{Arc, Mutex, mpsc},
    time::Duration,
};

use bolide_store::{
    Ack, AppendBatch, Clock, Flush, Observer, ReadLimits, ReadStatus, Steps, Store, StoreConfig,
    StoreMetrics,
    disk::{Crash, DirEntry, Disk, DiskFile, DiskLock, FaultyDisk, Space},
};
use bolide_wire::{EpochMillis, LogOffset, QueueId, QueueOffset, message::records};

use crate::support::{ManualClock, Recorder, add, config, id_of, open, topic};

type Work = Box<dyn FnOnce() + Send>;

/// Work done once, when the store comes to a certain place.
#[derive(Clone, Default)]
struct Hook(Arc<Mutex<Option<Work>>>);

impl Hook {
    fn set(&self, run: impl FnOnce() + Send + 'static) {
        *self.0.lock().expect("no panic") = Some(Box::new(run));
    }

    fn reached(&self) {
        let run = self.0.lock().expect("no panic").take();
        if let Some(run) = run {
            run();
        }
    }

    fn is_done(&self) -> bool {
        self.0.lock().expect("no panic").is_none()
    }
}

/// The hook is reached when anybody asks how late it is.
struct HookedClock(Arc<ManualClock>, Hook);

impl Clock for HookedClock {
    fn now(&self) -> EpochMillis {
        self.0.now()
    }

    fn monotonic(&self) -> Duration {
        self.1.reached();
        self.0.monotonic()
    }
}

/// The hook is reached when the names in a folder of a consume queue are forced to disk.
struct HookedDisk(FaultyDisk, Hook);

impl Disk for HookedDisk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.0.create_dir(path)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.0.create(path)
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.0.open(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        self.0.list(dir)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.remove(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.0.remove_dir(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.rename(from, to)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        if path.ends_with("consumequeue/alpha/0") {
            self.1.reached();
        }
        self.0.sync_dir(path)
    }

    fn sync_all(&self, path: &Path) -> io::Result<()> {
        self.0.sync_all(path)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        self.0.lock(path)
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        self.0.space(path)
    }

    fn boot_id(&self) -> String {
        self.0.boot_id()
    }
}

/// A store that comes to hooks, with its steps where a hook can make them.
struct Hooked {
    disk: FaultyDisk,
    config: StoreConfig,
    clock: Arc<ManualClock>,
    recorder: Arc<Recorder>,
    asked: Hook,
    syncing: Hook,
    store: Store,
    steps: Arc<Mutex<Steps>>,
}

impl Hooked {
    fn new(replicated: bool) -> Self {
        let disk = FaultyDisk::new(1);
        let mut config = config(Flush::Async);
        config.replicated = replicated;
        let clock = Arc::new(ManualClock(1_700_000_000_000.into()));
        let recorder = Arc::new(Recorder::default());
        let (asked, syncing) = (Hook::default(), Hook::default());
        let (store, steps) = Store::open_stepped(
            config.clone(),
            Arc::new(HookedDisk(disk.clone(), syncing.clone())),
            Arc::new(HookedClock(Arc::clone(&clock), asked.clone())),
            StoreMetrics::new(),
            Arc::clone(&recorder) as Arc<dyn Observer>,
        )
        .expect("an empty disk opens");
        let steps = Arc::new(Mutex::new(steps));
        Self { disk, config, clock, recorder, asked, syncing, store, steps }
    }

    fn steps(&self) -> std::sync::MutexGuard<'_, Steps> {
        self.steps.lock().expect("no panic")
    }

    fn append(&self, ids: std::ops::Range<u64>) {
        append(&self.store, ids);
        self.steps().write();
    }

    /// What is in the queue after the process has ended and begun again, and its log is confirmed.
    fn ids_after_restart(self) -> Vec<u64> {
        let Self { disk, config, clock, recorder, store, steps, .. } = self;
        let disk = disk.restart(Crash::Process);
        drop((steps, store));
        let (store, mut steps) = open(&disk, &config, &clock, &recorder).expect("opens");
        store.set_confirmed(LogOffset(u64::MAX));
        while steps.dispatch() {}
        ids(&store)
    }
}

/// Hands over records for the queue that all this is about.
fn append(store: &Store, ids: std::ops::Range<u64>) {
    let queue = store.queue_or_create(&topic("alpha"), QueueId(0));
    let mut batch = AppendBatch::default();
    ids.for_each(|id| add(&mut batch, &queue, id, 10));
    store.append(batch, Ack::Appended, Box::new(|_| {})).expect("room");
}

/// Records of the queue, all that it says it has.
fn ids(store: &Store) -> Vec<u64> {
    let Some(queue) = store.queue("alpha", QueueId(0)) else { return Vec::new() };
    let (mut found, mut next) = (Vec::new(), queue.min());
    while next < queue.max() {
        let read = store.read(&queue, next, &ReadLimits::default(), &mut |_| true).expect("readable");
        assert_eq!(read.status, ReadStatus::Found, "at {next}");
        for record in read.slices.iter().flat_map(|slice| records(slice)) {
            let record = record.expect("whole records");
            assert_eq!(record.queue_offset(), next);
            next = QueueOffset(next.0 + 1);
            found.push(id_of(&record));
        }
    }
    found
}

/// The topic is made anew, and its first records are visible, as soon as its deletion lets them.
fn made_anew_during_its_deletion(delete: impl FnOnce(&Store) -> io::Result<bool>) {
    let hooked = Hooked::new(false);
    hooked.append(1..6);
    assert!(hooked.steps().checkpoint());
    let (store, steps) = (hooked.store.clone(), Arc::clone(&hooked.steps));
    hooked.asked.set(move || {
        append(&store, 6..9);
        steps.lock().expect("no panic").write();
    });
    assert!(delete(&hooked.store).expect("deletes"));
    assert!(hooked.asked.is_done());
    assert_eq!(ids(&hooked.store), [6, 7, 8]);
    hooked.append(9..11);
    hooked.steps().checkpoint();
    assert_eq!(hooked.ids_after_restart(), [6, 7, 8, 9, 10]);
}

#[test]
fn a_topic_made_anew_while_it_is_deleted_keeps_its_files() {
    made_anew_during_its_deletion(|store| store.delete_topic("alpha"));
}

#[test]
fn a_topic_made_anew_while_a_deletion_replayed_is_made_good_keeps_its_files() {
    made_anew_during_its_deletion(|store| {
        let deleted = store.watermarks().dispatched;
        store.delete_topic_before("alpha", || deleted)
    });
}

/// Two lives of a topic, each as bytes of a master's log.
fn two_lives(first: &[std::ops::Range<u64>], second: std::ops::Range<u64>) -> Vec<bytes::Bytes> {
    let master = Hooked::new(true);
    let (done, told) = mpsc::channel();
    master.store.lead(1, "a", Box::new(move |led| done.send(led).expect("listening")));
    master.steps().write();
    told.try_recv().expect("answered").expect("an empty log");
    let mut parts = Vec::new();
    let mut part = || {
        let from = parts.iter().map(bytes::Bytes::len).sum::<usize>() as u64;
        parts.push(master.store.log_slice(LogOffset(from), 1 << 20).expect("readable"));
    };
    for ids in first {
        master.append(ids.clone());
        part();
    }
    master.store.set_confirmed(LogOffset(u64::MAX));
    while master.steps().dispatch() {}
    assert!(master.store.delete_topic("alpha").expect("deletes"));
    master.append(second);
    part();
    parts
}

#[test]
fn a_queue_that_starts_anew_while_a_checkpoint_writes_it_is_whole_and_bounds_hold() {
    let parts = two_lives(&[1..11, 11..21], 21..24);
    let hooked = Hooked::new(true);
    let give = |part: &bytes::Bytes| {
        let end = hooked.store.watermarks().appended;
        hooked.store.append_raw(end, part.clone(), Box::new(|taken| assert!(taken.is_ok())));
        hooked.steps().write();
    };
    let confirm = |store: &Store, steps: &mut Steps| {
        store.set_confirmed(LogOffset(u64::MAX));
        while steps.dispatch() {}
    };
    give(&parts[0]);
    confirm(&hooked.store, &mut hooked.steps());
    assert!(hooked.steps().checkpoint());
    // The units of these go into a second file, whose name the next checkpoint forces to disk.
    give(&parts[1]);
    confirm(&hooked.store, &mut hooked.steps());
    assert_eq!(ids(&hooked.store).len(), 20);
    give(&parts[2]);
    let (store, steps) = (hooked.store.clone(), Arc::clone(&hooked.steps));
    hooked.syncing.set(move || confirm(&store, &mut steps.lock().expect("no panic")));
    assert_eq!(hooked.store.queue_or_create(&topic("beta"), QueueId(0)).max().0, 0);
    assert!(hooked.store.delete_topic("beta").expect("deletes, with a checkpoint"));
    assert!(hooked.syncing.is_done());
    // Nothing has brought the count of what is in memory out of order: dispatch goes on.
    confirm(&hooked.store, &mut hooked.steps());
    assert_eq!(hooked.store.watermarks().dispatched, hooked.store.watermarks().appended);
    assert_eq!(ids(&hooked.store), [21, 22, 23]);
    assert!(hooked.steps().checkpoint());
    assert!(!hooked.store.poisoned());
    assert_eq!(hooked.ids_after_restart(), [21, 22, 23]);
}
