//! One replica's machine: a disk that outlives its processes, a clock that may jump, and the process that runs on it, if one does.

use std::{
    collections::VecDeque,
    io::{self, IoSlice},
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use bolide_replication::{
    Config, Epoch, EpochStart, Holds, Incarnation, LogView, Member, RawFailure, Replica, ReplicaFile,
    ReplicaName, Role, Seen, TruncateFailure,
};
use bolide_store::{
    Clock, Disk, Flush, Observer, OpenError, Placed, Steps, Store, StoreConfig, StoreMetrics,
    disk::FaultyDisk,
};
use bolide_wire::EpochMillis;

use crate::{
    clients::Request,
    plan::Plan,
    projection::{Projection, Snapshot},
};

const ROOT: &str = "/store";

/// The clocks of a machine: one that only grows, one that people set.
#[derive(Debug)]
pub(crate) struct MachineClock {
    nanos: AtomicU64,
    wall_ms: AtomicI64,
}

impl MachineClock {
    pub(crate) fn set(&self, now: Duration) {
        self.nanos.store(u64::try_from(now.as_nanos()).unwrap_or(u64::MAX), Ordering::SeqCst);
    }

    /// The wall clock jumps.
    pub(crate) fn jump(&self, to_ms: i64) {
        self.wall_ms.store(to_ms, Ordering::SeqCst);
    }
}

impl Clock for MachineClock {
    fn now(&self) -> EpochMillis {
        let elapsed = i64::try_from(self.monotonic().as_millis()).unwrap_or(0);
        EpochMillis(self.wall_ms.load(Ordering::SeqCst) + elapsed)
    }

    fn monotonic(&self) -> Duration {
        Duration::from_nanos(self.nanos.load(Ordering::SeqCst))
    }
}

/// What the store has called back.
#[derive(Debug)]
pub(crate) enum Callback {
    Led(Epoch, bool),
    Follows,
    Raw(Option<RawFailure>),
    Truncated(Option<TruncateFailure>),
    Appended(Request, Option<Placed>),
    Held,
}

/// Where callbacks wait until the simulator looks.
pub(crate) type Callbacks = Arc<Mutex<VecDeque<Callback>>>;

pub(crate) struct Process {
    pub(crate) store: Store,
    pub(crate) steps: Steps,
    pub(crate) replica: Replica,
    pub(crate) projection: Arc<Projection>,
    pub(crate) callbacks: Callbacks,
    pub(crate) file: ReplicaFile,
    pub(crate) member: Member,
    pub(crate) role: Role,
    /// Sends are held for a planned switchover.
    pub(crate) held: Option<Vec<Request>>,
    /// Where sends are sent on to.
    pub(crate) forward: Option<ReplicaName>,
    pub(crate) write_planned: bool,
    pub(crate) flush_planned: bool,
    pub(crate) wake_planned: Duration,
    pub(crate) pointing: bool,
    /// Nothing is told before this time.
    pub(crate) told_at: Duration,
}

impl Process {
    pub(crate) fn call_back(&self) -> Callbacks {
        Arc::clone(&self.callbacks)
    }

    pub(crate) fn view(&self) -> LogView {
        view_of(&self.store)
    }
}

pub(crate) fn tell(callbacks: &Callbacks, callback: Callback) {
    callbacks.lock().unwrap_or_else(PoisonError::into_inner).push_back(callback);
}

pub(crate) struct Node {
    pub(crate) name: ReplicaName,
    pub(crate) disk: FaultyDisk,
    pub(crate) clock: Arc<MachineClock>,
    pub(crate) process: Option<Process>,
    /// Counts processes, so that nothing meant for one reaches the next.
    pub(crate) life: u64,
    /// The machine is up, even if the process is not.
    pub(crate) machine_up: bool,
    pub(crate) paused: bool,
    pub(crate) slow_until: Duration,
    /// On its own durable medium, with the log.
    pub(crate) snapshot: Snapshot,
    incarnations: u64,
    seed: u64,
}

impl Node {
    pub(crate) fn new(index: usize, seed: u64) -> Self {
        let name = node_name(index);
        let wall = 1_700_000_000_000 + i64::try_from(index).unwrap_or(0) * 77_777;
        Self {
            name,
            disk: FaultyDisk::new(seed),
            clock: Arc::new(MachineClock { nanos: AtomicU64::new(0), wall_ms: AtomicI64::new(wall) }),
            process: None,
            life: 0,
            machine_up: true,
            paused: false,
            slow_until: Duration::ZERO,
            snapshot: Snapshot::default(),
            incarnations: 0,
            seed,
        }
    }

    /// The volume is replaced by an empty one.
    pub(crate) fn wipe(&mut self) {
        self.seed = self.seed.wrapping_add(0x5151);
        self.disk = FaultyDisk::new(self.seed);
        self.snapshot = Snapshot::default();
    }

    /// Starts a process; an error when its disk failed in the middle of it.
    pub(crate) fn start(
        &mut self,
        plan: &Plan,
        peers: Vec<ReplicaName>,
        now: Duration,
    ) -> Result<(), StartError> {
        self.life += 1;
        self.clock.set(now);
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        let projection = Arc::new(Projection::new(&self.snapshot));
        let observer: Arc<dyn Observer> = projection.clone();
        let clock: Arc<dyn Clock> = self.clock.clone();
        let (store, steps) =
            Store::open_stepped(store_config(plan), Arc::clone(&disk), clock, StoreMetrics::new(), observer)?;
        self.incarnations += 1;
        let fresh = Incarnation((self.seed << 16) + self.incarnations);
        let path = Path::new(ROOT).join(bolide_replication::REPLICA_FILE);
        let found = read_text(disk.as_ref(), &path)?.and_then(|text| ReplicaFile::from_json(&text).ok());
        let file = ReplicaFile::start(found, &disk.boot_id(), fresh);
        write_file(disk.as_ref(), &file)?;
        let identity = file.identity(self.name.clone()).map_err(io::Error::other)?;
        let member = identity.member.clone();
        let replica = Replica::new(replica_config(plan, peers), identity, view_of(&store), now);
        self.process = Some(Process {
            store,
            steps,
            replica,
            projection,
            callbacks: Callbacks::default(),
            file,
            member,
            role: Role::Waiting,
            held: None,
            forward: None,
            write_planned: false,
            flush_planned: false,
            wake_planned: Duration::MAX,
            pointing: false,
            told_at: Duration::ZERO,
        });
        Ok(())
    }

    /// `Effect::PersistSeen`.
    pub(crate) fn persist(&mut self, seen: Seen) -> io::Result<()> {
        let Some(process) = &mut self.process else { return Ok(()) };
        process.file = process.file.clone().with_seen(seen);
        write_file(&self.disk, &process.file)
    }

    /// After a clean close of the store.
    pub(crate) fn mark_closed(&self, file: &ReplicaFile) -> io::Result<()> {
        write_file(&self.disk, &file.clone().closed())
    }
}

fn view_of(store: &Store) -> LogView {
    let marks = store.watermarks();
    let epoch =
        |entry: bolide_store::EpochStart| EpochStart { epoch: Epoch(entry.epoch), start: entry.start };
    let epochs = store.epochs().into_iter().map(epoch).collect();
    LogView { min: marks.min, end: marks.appended, flushed: marks.flushed, epochs }
}

/// Why a process did not start.
#[derive(Debug)]
pub(crate) struct StartError {
    /// Its disk has failed, not what is on it.
    pub(crate) of_disk: bool,
    pub(crate) why: String,
}

impl From<io::Error> for StartError {
    fn from(error: io::Error) -> Self {
        Self { of_disk: true, why: error.to_string() }
    }
}

impl From<OpenError> for StartError {
    fn from(error: OpenError) -> Self {
        Self { of_disk: matches!(error, OpenError::Io { .. }), why: error.to_string() }
    }
}

pub(crate) fn node_name(index: usize) -> ReplicaName {
    ReplicaName::new(&format!("r{index}")).expect("a letter and digits")
}

fn replica_config(plan: &Plan, peers: Vec<ReplicaName>) -> Config {
    let mut config = Config::new("sim", "group", peers);
    config.holds = match plan.flush {
        Flush::Sync => Holds::Flushed,
        Flush::Async => Holds::Written,
    };
    config.min_in_sync = plan.min_in_sync;
    config.segment_bytes = plan.segment_bytes;
    config.batch_bytes = plan.batch_bytes;
    config.window_bytes = plan.window_bytes;
    config.catch_up_bytes_per_second = plan.catch_up_bytes_per_second;
    config
}

fn store_config(plan: &Plan) -> StoreConfig {
    let mut config = StoreConfig::new(ROOT);
    config.segment_bytes = plan.segment_bytes;
    config.queue_file_units = 64;
    config.index_slots = 16;
    config.index_entries = 256;
    config.flush = plan.flush;
    config.replicated = true;
    config.max_pending_bytes = 256 << 10;
    config.max_pending_batches = 256;
    config.hot_bytes = 1 << 30;
    config.retention.refuse_ratio = 1.1;
    config.retention.refuse_free_bytes = 0;
    config
}

fn read_text(disk: &dyn Disk, path: &Path) -> io::Result<Option<String>> {
    let file = match disk.open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = vec![0; usize::try_from(file.len()?).unwrap_or(0)];
    file.read_at(&mut bytes, 0)?;
    Ok(String::from_utf8(bytes).ok())
}

/// Replaces the file so that a crash leaves the old or the new one.
fn write_file(disk: &dyn Disk, content: &ReplicaFile) -> io::Result<()> {
    let root = Path::new(ROOT);
    let path = root.join(bolide_replication::REPLICA_FILE);
    let text = content.to_json().map_err(io::Error::other)?;
    let temporary = path.with_extension("tmp");
    let file = disk.create(&temporary)?;
    file.write_at(&mut [IoSlice::new(text.as_bytes())], 0)?;
    file.sync_data()?;
    disk.rename(&temporary, &path)?;
    disk.sync_dir(root)
}
