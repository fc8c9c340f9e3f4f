//! Owns the start and the end of a broker process.
//!
//! Start: settings checked, ports probed, state read, log recovered, predefined topics made, tasks, ports. End: goodbye to
//! the nameservers, no new requests, held pulls answered, tasks ended, offsets logged, state saved, store closed.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use bolide_store::{
    Clock, Disk, Flush, OpenError, RealDisk, RetentionConfig, Store, StoreConfig, StoreMetrics, SystemClock,
    memory_bytes,
};
use bolide_telemetry::{AdminError, AdminServer, Readiness};
use bolide_wire::body::topic::TopicConfig;
use bolide_wire::ids::{BrokerName, ClusterName, NameError, QueueId, TopicName};
use parking_lot::{Mutex, RwLock};
use prometheus::Registry;
use thiserror::Error;
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::arrivals::Arrivals;
use crate::assignments::Assignments;
use crate::broker::{Broker, Live, Names, Versions};
use crate::clients::Clients;
use crate::clients::selectors::Selectors;
use crate::config::{BrokerConfig, ConfigError, FlushDiskType};
use crate::delay::{DelayLevels, LevelsError};
use crate::front::FrontError;
use crate::handler::send::unique_id::UniqueIds;
use crate::hold::HoldTable;
use crate::locks::RebalanceLocks;
use crate::metrics::{BrokerCollector, BrokerMetrics};
use crate::pop::Popping;
use crate::registration::Signal;
use crate::replicas::{self, Environment, ReplicaError};
use crate::role::Standing;
use crate::serving::Serving;
use crate::state::State;
use crate::state::record::STATE_TOPIC;
use crate::state::snapshot::{Snapshot, SnapshotError};
use crate::state::timers::Timers;
use crate::state::topics::{SCHEDULE_TOPIC, TIMER_TOPIC, Topic};
use crate::state::transactions::HALF_TOPIC;

/// How often it is looked whether the store still works.
const STORE_CHECK: Duration = Duration::from_millis(200);
/// How long another process may keep the folder; more than a broker that was told to stop takes.
const FOLDER_FREE_WITHIN: Duration = Duration::from_secs(60);
/// Time between two looks at it.
const FOLDER_LOOK: Duration = Duration::from_millis(50);

/// The broker could not start, or had to stop.
#[derive(Debug, Error)]
pub enum RunError {
    /// A setting cannot be used.
    #[error("configuration: {0}")]
    Config(#[from] ConfigError),
    /// A name in the settings cannot be used.
    #[error("configuration: {0}")]
    Name(#[from] NameError),
    /// The delay levels cannot be used.
    #[error("configuration: messageDelayLevel: {0}")]
    Levels(#[from] LevelsError),
    /// A port is taken.
    #[error("cannot listen on {0}: is another broker running there? Change listenPort or end it")]
    Port(SocketAddr, #[source] std::io::Error),
    /// A listener cannot be made.
    #[error(transparent)]
    Front(#[from] FrontError),
    /// The admin listener cannot be made.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// The saved state cannot be read or written.
    #[error("state: {0}")]
    Snapshot(#[from] SnapshotError),
    /// The index of timers cannot be opened.
    #[error(transparent)]
    Timers(#[from] bolide_timer::IndexError),
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// The predefined topics cannot be made.
    #[error("the predefined topics cannot be made: {0}")]
    Predefined(String),
    /// A metric is registered twice.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    /// The broker is one of several replicas, and cannot work as such.
    #[error(transparent)]
    Replica(#[from] ReplicaError),
    /// A write or fsync failed: what was acknowledged is on disk, and the next start recovers it.
    #[error("the store failed and takes no more messages; restart the broker to recover from disk")]
    Poisoned,
    /// A thread ended unexpectedly.
    #[error("a worker of the broker ended unexpectedly")]
    Worker,
}

/// Runs a broker until `shutdown` is cancelled or the store fails.
///
/// # Errors
/// [`RunError`] when it cannot start or had to stop.
pub async fn run(
    config: BrokerConfig,
    environment: Environment,
    shutdown: CancellationToken,
) -> Result<(), RunError> {
    config.check()?;
    if config.replicated() {
        return replicas::run(config, environment, shutdown).await;
    }
    let registry = Registry::new();
    for port in [Some(config.listen_port), config.fast_port()].into_iter().flatten() {
        let address = SocketAddr::new(config.bind_address, port);
        probe(address).map_err(|source| RunError::Port(address, source))?;
    }
    let admin = Admin::begin(&config, &registry).await?;
    let ready = admin.ready.clone();
    if !wait_for_folder(&config, &shutdown).await {
        admin.end().await;
        return Ok(());
    }
    let disk = Arc::new(RealDisk::new());
    let clock = Arc::new(SystemClock::new());
    let broker = start(config, disk, clock, &registry).await?;
    let outcome = match Serving::begin(&broker, &registry).await {
        Ok(serving) => {
            ready.store(Arc::new(Readiness::Ready));
            tracing::info!(address = %broker.store_host, "broker is serving");
            let outcome = serve(&broker, &shutdown).await;
            ready.store(Arc::new(Readiness::NotReady("stopping".into())));
            serving.end(&broker).await;
            outcome
        }
        Err(error) => Err(error),
    };
    let stopped = stop(&broker).await.map(drop);
    admin.end().await;
    outcome.and(stopped)
}

/// Waits until no other process has the store: a pod that replaces another starts while that one may still be ending. When it
/// takes too long, opening the store says so. False when `shutdown` came first.
pub(crate) async fn wait_for_folder(config: &BrokerConfig, shutdown: &CancellationToken) -> bool {
    let root = store_config(config).root;
    let disk = RealDisk::new();
    let give_up = tokio::time::Instant::now() + FOLDER_FREE_WITHIN;
    let mut said = false;
    while bolide_store::is_in_use(&disk, &root) && tokio::time::Instant::now() < give_up {
        if !std::mem::replace(&mut said, true) {
            tracing::warn!(folder = %root.display(), "another broker is using the folder; waiting for it to end");
        }
        tokio::select! {
            () = tokio::time::sleep(FOLDER_LOOK) => {}
            () = shutdown.cancelled() => return false,
        }
    }
    true
}

/// Readiness, and the listener that tells it with the metrics where one is wanted.
pub(crate) struct Admin {
    pub(crate) ready: Arc<ArcSwap<Readiness>>,
    server: Option<AdminServer>,
    stop: CancellationToken,
}

impl Admin {
    /// Not ready until told otherwise: recovery comes first.
    pub(crate) async fn begin(config: &BrokerConfig, registry: &Registry) -> Result<Admin, AdminError> {
        let ready = Arc::new(ArcSwap::from_pointee(Readiness::NotReady("recovering".into())));
        let stop = CancellationToken::new();
        let server = match config.admin_port {
            Some(port) => {
                let address = SocketAddr::new(config.admin_address, port);
                let shown = ready.clone();
                let check = Arc::new(move || shown.load().as_ref().clone());
                Some(AdminServer::bind(address, registry.clone(), check, stop.clone()).await?)
            }
            None => None,
        };
        Ok(Admin { ready, server, stop })
    }

    pub(crate) async fn end(self) {
        self.stop.cancel();
        if let Some(server) = self.server {
            server.stopped().await;
        }
    }
}

async fn serve(broker: &Broker, shutdown: &CancellationToken) -> Result<(), RunError> {
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            () = tokio::time::sleep(STORE_CHECK) => {}
        }
        if broker.store.poisoned() {
            tracing::error!("the store failed; the broker stops");
            return Err(RunError::Poisoned);
        }
    }
}

fn probe(address: SocketAddr) -> std::io::Result<()> {
    if address.port() == 0 {
        return Ok(());
    }
    TcpListener::bind(address).map(drop)
}

/// The address that clients reach the broker at: as configured, or the one that packets to the nameserver would leave from.
fn own_address(config: &BrokerConfig) -> IpAddr {
    if let Some(address) = config.broker_ip1 {
        return address;
    }
    if !config.bind_address.is_unspecified() {
        return config.bind_address;
    }
    let first = config.namesrv_addr.split([';', ',']).next().unwrap_or_default().trim();
    let found = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).and_then(|socket| {
        socket.connect(first)?;
        socket.local_addr()
    });
    found.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |address| address.ip())
}

pub(crate) fn store_config(config: &BrokerConfig) -> StoreConfig {
    let ratio = f64::from(config.disk_max_used_space_ratio) / 100.0;
    StoreConfig {
        replicated: config.replicated(),
        segment_bytes: config.mapped_file_size_commit_log,
        flush: match config.flush_disk_type {
            FlushDiskType::AsyncFlush => Flush::Async,
            FlushDiskType::SyncFlush => Flush::Sync,
        },
        retention: RetentionConfig {
            reserved: Duration::from_secs(config.file_reserved_time.saturating_mul(3_600)),
            clean_forcibly_ratio: ratio.max(RetentionConfig::default().clean_forcibly_ratio),
            ..RetentionConfig::default()
        },
        hot_bytes: memory_bytes() / 100 * u64::from(config.access_message_in_memory_max_ratio),
        ..StoreConfig::new(&config.store_path_root_dir)
    }
}

/// Recovers the state and the store, and makes what every broker has.
pub(crate) async fn start(
    config: BrokerConfig,
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    registry: &Registry,
) -> Result<Arc<Broker>, RunError> {
    let levels = DelayLevels::parse(&config.message_delay_level)?;
    let names = Names {
        cluster: ClusterName::new(&config.broker_cluster_name)?,
        broker: BrokerName::new(&config.broker_name)?,
    };
    let store_host = SocketAddr::new(own_address(&config), config.listen_port);
    let metrics = BrokerMetrics::register(registry)?;
    let store_metrics = StoreMetrics::new();
    store_metrics.register(registry)?;
    let (store, state) = {
        let (config, disk, clock) = (config.clone(), disk.clone(), clock.clone());
        let levels = levels.clone();
        let open = move || -> Result<(Store, Arc<State>), RunError> {
            let snapshot = Snapshot::load(disk.as_ref(), &config.store_path_root_dir)?;
            let timers = Timers::open(disk.clone(), &config.store_path_root_dir)?;
            let state = Arc::new(State::new(snapshot, timers, levels, Arc::new(Arrivals::default())));
            let store = Store::open(store_config(&config), disk, clock, store_metrics, state.clone())?;
            state.opened();
            if !config.replicated() {
                state.lead();
            }
            Ok((store, state))
        };
        tokio::task::spawn_blocking(open).await.map_err(|_| RunError::Worker)??
    };
    let versions = Versions { topics: state.topics.version(), groups: state.groups.version() };
    let level_count = levels.count();
    let schedule_config = TopicConfig::new(SCHEDULE_TOPIC, i32::try_from(level_count).unwrap_or(i32::MAX));
    let state_queue = store.queue_or_create(&TopicName::internal(STATE_TOPIC)?, QueueId(0));
    let half_queue = store.queue_or_create(&TopicName::internal(HALF_TOPIC)?, QueueId(0));
    let timer_queue = store.queue_or_create(&TopicName::internal(TIMER_TOPIC)?, QueueId(0));
    let now = clock.now();
    let salt = u32::try_from(now.0 & i64::from(u32::MAX)).unwrap_or(0);
    let standing = if config.replicated() { Standing::WAITING } else { Standing::ALONE };
    let cold_reads = usize::try_from(config.cold_read_threads).unwrap_or(1);
    let broker = Arc::new(Broker {
        names,
        store,
        disk,
        state,
        clients: RwLock::new(Clients::new()),
        selectors: Selectors::default(),
        locks: Mutex::new(RebalanceLocks::new()),
        hold: Mutex::new(HoldTable::new()),
        hold_changed: Notify::new(),
        popping: Popping::new(),
        assignments: Assignments::new(&config.namesrv_addr),
        levels,
        schedule: Topic::new(TopicName::internal(SCHEDULE_TOPIC)?, schedule_config, Arc::default()),
        level_arrived: (0..level_count).map(|_| Notify::new()).collect(),
        unique_ids: UniqueIds::new(store_host.ip(), std::process::id(), salt),
        store_host,
        metrics,
        registration: Signal::new(),
        cold_reads: Arc::new(Semaphore::new(cold_reads)),
        started: now,
        versions: Mutex::new(versions),
        saving: Mutex::default(),
        making: tokio::sync::Mutex::new(()),
        state_queue,
        half_queue,
        check_turn: AtomicUsize::new(0),
        replication: OnceLock::new(),
        standing: ArcSwap::from_pointee(standing),
        timer_queue,
        tasks: TaskTracker::new(),
        shutdown: CancellationToken::new(),
        live: ArcSwap::from_pointee(Live::new(config)),
        clock,
    });
    registry.register(Box::new(BrokerCollector::new(Arc::downgrade(&broker))?))?;
    if broker.leads() {
        broker.make_predefined().await.map_err(|failure| RunError::Predefined(failure.to_string()))?;
    }
    broker.delete_queues().await;
    Ok(broker)
}

/// Makes everything durable and closes the store; true when all of the log is on disk.
pub(crate) async fn stop(broker: &Arc<Broker>) -> Result<bool, RunError> {
    let broker = broker.clone();
    let closing = move || -> Result<bool, RunError> {
        if broker.store.poisoned() {
            broker.store.close();
            return Ok(false);
        }
        if broker.leads()
            && let Err(error) = broker.log_dirty_offsets()
        {
            tracing::warn!(%error, "the newest offsets are not logged");
        }
        broker.save_snapshot()?;
        broker.store.close();
        let marks = broker.store.watermarks();
        Ok(!broker.store.poisoned() && marks.flushed == marks.appended)
    };
    tokio::task::spawn_blocking(closing).await.map_err(|_| RunError::Worker)?
}
