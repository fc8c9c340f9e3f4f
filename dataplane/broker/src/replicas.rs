//! Owns a broker that is one of several replicas: the state machine of `bolide-replication` with sockets, files and a store.
//!
//! `owner` gives the state machine its events and begins what it wants, `link` has the connections between replicas,
//! `group_state` the ways to the group state, `identity` what a replica remembers of itself, `roles` what a change of role
//! means to clients, `upkeep` what a slave does beside following, `snapshot` the copy for one that is too far
//! behind.

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bolide_replication::{Config, Holds, Replica, ReplicaName, StateError};
use bolide_store::{RealDisk, SystemClock};
use bolide_telemetry::{Readiness, register_build_info};
use bolide_transport::TransportMetrics;
use prometheus::Registry;
use thiserror::Error;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::broker::Broker;
use crate::config::{BrokerConfig, FlushDiskType};
use crate::front::{FrontError, Listeners};
use crate::role::Serving;
use crate::run::{Admin, RunError, start, stop, store_config, wait_for_folder};
use crate::serving::begin_tasks;

mod group_state;
#[cfg(test)]
mod harness;
mod identity;
mod link;
mod owner;
mod roles;
mod snapshot;
pub(crate) mod status;
mod upkeep;

pub use group_state::{FileGroupState, GroupStateError, GroupStateStore};
use identity::{IdentityError, Remembered};
use link::Links;
pub(crate) use owner::Shared;
use owner::{Owner, Parts};
use roles::Roles;
pub(crate) use roles::Switched;

/// Inputs that may wait for the owner.
const INPUTS: usize = 4_096;
/// How long a stopping master waits for another to take over.
const HAND_OVER_WITHIN: Duration = Duration::from_millis(2_500);
/// How long a stopping master hands requests on at most.
const HAND_ON_WITHIN: Duration = Duration::from_secs(10);
/// How long all that clients see may take to end.
const END_WITHIN: Duration = Duration::from_secs(30);
/// How long a replica whose store has failed tells the others before it ends.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// How often it is looked whether the store still works.
const STORE_CHECK: Duration = Duration::from_millis(100);
/// It is looked whether the disk is full after so many looks at the store.
const DISK_CHECK: u32 = 5;

/// A replica cannot work.
#[derive(Debug, Error)]
pub enum ReplicaError {
    /// What the replica remembers of itself cannot be read or written.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// A name cannot be used.
    #[error(transparent)]
    Name(#[from] StateError),
    /// The store cannot be filled with a snapshot.
    #[error("the store cannot begin anew: {0}")]
    Install(#[source] std::io::Error),
    /// Nothing says where the group state is.
    #[error("replicas need a group state: set groupStateFile")]
    NoGroupState,
}

/// What a broker process was started with, beside its configuration.
#[derive(Default)]
pub struct Environment {
    /// Listening sockets that all replicas on this machine share, in order: that of the master's port, that of its second port
    /// if it has one, then one for each slave by id. Empty for a replica that binds its ports itself.
    pub listeners: Vec<TcpListener>,
    /// Where the group state is kept; `groupStateFile` when none.
    pub group_state: Option<Arc<dyn GroupStateStore>>,
    /// Told whom a replica serves clients as, so that the addresses of its group can follow.
    pub serving: watch::Sender<Serving>,
}

/// What others see of a replica's role.
pub(crate) struct Shown {
    pub(crate) ready: Arc<ArcSwap<Readiness>>,
    pub(crate) serving: watch::Sender<Serving>,
}

/// Why a replica ended, when nothing failed.
enum Ended {
    /// It was told to.
    Asked,
    /// Its store begins anew with a snapshot.
    Rebuild,
}

/// Runs a replica until `shutdown` is cancelled or it fails.
pub(crate) async fn run(
    config: BrokerConfig,
    environment: Environment,
    shutdown: CancellationToken,
) -> Result<(), RunError> {
    let group_state = match (environment.group_state, &config.group_state_file) {
        (Some(group_state), _) => group_state,
        (None, Some(path)) => Arc::new(FileGroupState::new(path.clone())) as Arc<dyn GroupStateStore>,
        (None, None) => return Err(ReplicaError::NoGroupState.into()),
    };
    loop {
        let registry = Registry::new();
        let admin = Admin::begin(&config, &registry).await?;
        if !wait_for_folder(&config, &shutdown).await {
            admin.end().await;
            return Ok(());
        }
        let mut listeners = Vec::with_capacity(environment.listeners.len());
        for (index, listener) in environment.listeners.iter().enumerate() {
            let cloned = listener.try_clone().map_err(|source| FrontError::Inherited { index, source })?;
            listeners.push(cloned);
        }
        let shown = Shown { ready: admin.ready.clone(), serving: environment.serving.clone() };
        let running =
            Running::start(config.clone(), listeners, group_state.clone(), shown, &registry).await?;
        let ended = running.serve(&shutdown).await;
        admin.end().await;
        match ended? {
            Ended::Asked => return Ok(()),
            Ended::Rebuild => tracing::info!("the replica begins anew with a snapshot"),
        }
    }
}

/// A replica at work.
pub(crate) struct Running {
    pub(crate) broker: Arc<Broker>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) switched: watch::Receiver<Switched>,
    links: Links,
    owner: JoinHandle<Remembered>,
    roles: JoinHandle<Result<(), FrontError>>,
    stop_owner: CancellationToken,
    stop_roles: CancellationToken,
    /// Old connections are not handed on any longer.
    hurry: CancellationToken,
    rebuild: CancellationToken,
    fatal: CancellationToken,
}

impl Running {
    pub(crate) async fn start(
        config: BrokerConfig,
        listeners: Vec<TcpListener>,
        group_state: Arc<dyn GroupStateStore>,
        shown: Shown,
        registry: &Registry,
    ) -> Result<Running, RunError> {
        let (disk, clock) = (Arc::new(RealDisk::new()), Arc::new(SystemClock::new()));
        let store = store_config(&config);
        let opened = {
            let disk = disk.clone();
            tokio::task::spawn_blocking(move || -> Result<Remembered, ReplicaError> {
                snapshot::install(disk.as_ref(), &store).map_err(ReplicaError::Install)?;
                Ok(Remembered::open(disk.as_ref(), &store.root)?)
            })
        };
        let remembered = opened.await.map_err(|_| RunError::Worker)??;
        let identity = remembered.identity(&config.replica_name).map_err(ReplicaError::from)?;
        let broker = start(config.clone(), disk, clock, registry).await?;
        register_build_info(registry, "broker")?;
        let listeners = Listeners::new(listeners, TransportMetrics::register(registry, "broker")?);
        shown.ready.store(Arc::new(Readiness::NotReady("not in its role yet".into())));

        let mut peers = HashMap::new();
        let mut hosts = HashMap::new();
        for peer in config.replicas.iter().filter(|peer| peer.name != config.replica_name) {
            let name = ReplicaName::new(&peer.name).map_err(ReplicaError::from)?;
            let host = peer.address.rsplit_once(':').map_or("", |(host, _)| host);
            hosts.insert(name.clone(), host.to_owned());
            peers.insert(name, peer.address.clone());
        }
        let replica = Replica::new(
            settings(&config, peers.keys().cloned().collect()),
            identity,
            Owner::first_view(&broker),
            broker.clock.monotonic(),
        );
        let (inputs, waiting) = mpsc::channel(INPUTS);
        let (commands, waiting_commands) = mpsc::unbounded_channel();
        let (rebuild, fatal) = (CancellationToken::new(), CancellationToken::new());
        let (stop_owner, stop_roles) = (CancellationToken::new(), CancellationToken::new());
        let shared = Arc::new(Shared::new(replica.status(), inputs.clone()));
        let links = Links::new(broker.clone(), inputs, stop_owner.clone());
        if let Some(port) =
            config.replicas.iter().find(|own| own.name == config.replica_name).and_then(|own| own.port())
        {
            let (links, address) = (links.clone(), SocketAddr::new(config.bind_address, port));
            links.clone().spawn(async move {
                if let Some(listener) = link::listen(address, &links.stop).await {
                    links.accept(listener);
                }
            });
        }
        let owner = Owner::new(Parts {
            replica,
            broker: broker.clone(),
            group_state,
            remembered,
            peers,
            links: links.clone(),
            shared: shared.clone(),
            roles: commands,
            rebuild: rebuild.clone(),
            fatal: fatal.clone(),
        });
        let (switching, switched) = watch::channel(Switched::Never);
        let hurry = CancellationToken::new();
        broker.replication.set(status::Replication::new(shared.clone(), switched.clone())).ok();
        begin_tasks(&broker);
        let roles =
            Roles::new(broker.clone(), listeners, shared.clone(), shown, hosts, switching, hurry.clone());
        let roles = tokio::spawn(roles.serve(waiting_commands, stop_roles.clone()));
        let owner = tokio::spawn(owner.serve(waiting, stop_owner.clone()));
        Ok(Running {
            broker,
            shared,
            switched,
            links,
            owner,
            roles,
            stop_owner,
            stop_roles,
            hurry,
            rebuild,
            fatal,
        })
    }

    /// Works until told to end, or until it cannot go on.
    async fn serve(mut self, shutdown: &CancellationToken) -> Result<Ended, RunError> {
        let outcome = self.work(shutdown).await;
        if matches!(outcome, Ok(Ended::Asked)) {
            self.hand_over().await;
        }
        let ended = self.end().await;
        let outcome = outcome?;
        ended?;
        Ok(outcome)
    }

    async fn work(&mut self, shutdown: &CancellationToken) -> Result<Ended, RunError> {
        let mut full = true;
        let mut looks = 0_u32;
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return Ok(Ended::Asked),
                () = self.rebuild.cancelled() => return Ok(Ended::Rebuild),
                () = self.fatal.cancelled() => return Err(RunError::Worker),
                _ = &mut self.owner => return Err(RunError::Worker),
                ended = &mut self.roles => {
                    return match ended {
                        Ok(Err(error)) => Err(error.into()),
                        _ => Err(RunError::Worker),
                    };
                }
                () = tokio::time::sleep(STORE_CHECK) => {}
            }
            if self.broker.store.poisoned() {
                tracing::error!("the store failed; the broker stops");
                tokio::time::sleep(LAST_WORDS).await;
                return Err(RunError::Poisoned);
            }
            looks = looks.wrapping_add(1);
            if looks.is_multiple_of(DISK_CHECK) {
                let was_full = std::mem::replace(&mut full, self.disk_full().await);
                if full && !was_full && self.broker.leads() {
                    tracing::warn!("the disk is full: another replica shall lead");
                    self.shared.switch_over(None).await;
                }
            }
        }
    }

    /// Whether sends are refused for want of disk space.
    async fn disk_full(&self) -> bool {
        let store = self.broker.store.clone();
        let usage = tokio::task::spawn_blocking(move || store.disk_usage()).await;
        usage.is_ok_and(|usage| usage.is_ok_and(|usage| usage.full))
    }

    /// Lets another replica lead before this one ends, if there is one that can.
    async fn hand_over(&self) {
        self.shared.retire().await;
        if !self.broker.leads() {
            return;
        }
        tracing::info!("handing over before the end");
        let switched = self.shared.switch_over_and_see(None, self.switched.clone());
        match tokio::time::timeout(HAND_OVER_WITHIN, switched).await {
            Ok(outcome) => tracing::info!(?outcome, "hand-over"),
            Err(_) => tracing::warn!("no other replica took over"),
        }
    }

    /// Ends without a word to anybody, leaving the store as it is.
    #[cfg(test)]
    async fn crash(self) {
        self.stop_owner.cancel();
        self.links.tasks.close();
        self.links.tasks.wait().await;
        drop(self.owner.await);
        self.hurry.cancel();
        self.stop_roles.cancel();
        drop(self.roles.await);
    }

    /// Ends everything; a store that is closed with everything on disk is noted as such.
    async fn end(mut self) -> Result<(), RunError> {
        let hurry = self.hurry.clone();
        let limit = tokio::spawn(async move {
            tokio::time::sleep(HAND_ON_WITHIN).await;
            hurry.cancel();
        });
        self.stop_roles.cancel();
        let mut roles = Ok(());
        if !self.roles.is_finished() {
            match tokio::time::timeout(END_WITHIN, &mut self.roles).await {
                Ok(ended) => roles = ended.unwrap_or(Ok(())),
                Err(_) => {
                    tracing::warn!("what clients see does not end; the store is closed under it");
                    self.roles.abort();
                }
            }
        }
        limit.abort();
        self.stop_owner.cancel();
        self.links.tasks.close();
        self.links.tasks.wait().await;
        let remembered = if self.owner.is_finished() { None } else { self.owner.await.ok() };
        let clean = stop(&self.broker).await?;
        if let Some(remembered) = remembered.filter(|_| clean) {
            let disk = self.broker.disk.clone();
            let noted = tokio::task::spawn_blocking(move || remembered.closed(disk.as_ref())).await;
            noted.map_err(|_| RunError::Worker)?.map_err(ReplicaError::from)?;
        }
        Ok(roles?)
    }
}

fn settings(config: &BrokerConfig, peers: Vec<ReplicaName>) -> Config {
    Config {
        holds: match config.flush_disk_type {
            FlushDiskType::SyncFlush => Holds::Flushed,
            FlushDiskType::AsyncFlush => Holds::Written,
        },
        min_in_sync: usize::try_from(config.min_in_sync).unwrap_or(usize::MAX),
        segment_bytes: config.mapped_file_size_commit_log,
        catch_up_bytes_per_second: Some(config.max_ha_transfer_byte_in_second),
        ..Config::new(&config.broker_cluster_name, &config.broker_name, peers)
    }
}
