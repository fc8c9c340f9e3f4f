//! Starts and stops a nameserver process.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bolide_telemetry::{AdminError, AdminServer, Readiness, register_build_info};
use bolide_transport::{BindError, Limits, Server, ServerConfig, TransportMetrics};
use prometheus::Registry;
use thiserror::Error;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::config::{ConfigError, NameserverConfig};
use crate::handler::{Dispatch, Requests};
use crate::kv::{Kv, KvError};
use crate::metrics::NameserverMetrics;

/// Why a nameserver did not start.
#[derive(Debug, Error)]
pub enum RunError {
    /// A setting cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The key-value table cannot be read.
    #[error(transparent)]
    Kv(#[from] KvError),
    /// The remoting port.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The port for probes and metrics.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// Two metrics of one name.
    #[error("cannot register the metrics")]
    Metrics(#[from] prometheus::Error),
}

/// A running nameserver. It ends with its shutdown token.
#[derive(Debug)]
pub struct Nameserver {
    server: Server,
    admin: AdminServer,
    tasks: TaskTracker,
}

/// Runs a nameserver until `shutdown` is cancelled and its connections have ended.
///
/// # Errors
/// [`RunError`] if it cannot start; nothing has been changed then.
pub async fn run(config: NameserverConfig, shutdown: CancellationToken) -> Result<(), RunError> {
    Nameserver::start(config, shutdown).await?.stopped().await;
    Ok(())
}

impl Nameserver {
    /// Opens the ports and begins to serve.
    ///
    /// # Errors
    /// [`RunError`]; nothing has been changed then.
    pub async fn start(config: NameserverConfig, shutdown: CancellationToken) -> Result<Self, RunError> {
        config.check()?;
        info!(?config, "nameserver starts");
        let registry = Registry::new();
        register_build_info(&registry, "nameserver")?;
        let metrics = NameserverMetrics::register(&registry)?;
        let transport_metrics = TransportMetrics::register(&registry, "server")?;
        let kv = Kv::open(config.kv_config_path.clone())?;
        let server_config = ServerConfig {
            limits: Limits { idle_timeout: config.idle_timeout(), ..Limits::default() },
            max_connections: config.max_connections,
            ..ServerConfig::default()
        };
        let (listen_addr, admin_addr, scan_interval) =
            (config.listen_addr(), config.admin_addr(), config.scan_interval());
        let requests = Arc::new(Requests::new(config, kv, metrics));
        // A failure from here on stops what has been started.
        let stop = shutdown.child_token();
        let guard = stop.clone().drop_guard();
        let server = Server::bind(
            listen_addr,
            server_config,
            Arc::new(Dispatch(requests.clone())),
            transport_metrics,
            stop.clone(),
        )?;
        let started = Arc::new(AtomicBool::new(false));
        let readiness = {
            let (started, requests) = (started.clone(), requests.clone());
            Arc::new(move || match (started.load(Ordering::Relaxed), requests.warming_up()) {
                (true, false) => Readiness::Ready,
                (true, true) => Readiness::NotReady("waiting for brokers to register".to_owned()),
                (false, _) => Readiness::NotReady("starting".to_owned()),
            })
        };
        let admin = AdminServer::bind(admin_addr, registry, readiness, stop.clone()).await?;
        guard.disarm();
        let tasks = TaskTracker::new();
        tasks.spawn(look_for_silent(requests, scan_interval, stop));
        tasks.close();
        started.store(true, Ordering::Relaxed);
        info!(addr = %server.local_addr(), admin = %admin.local_addr(), "nameserver serves");
        Ok(Self { server, admin, tasks })
    }

    /// The remoting address.
    pub fn local_addr(&self) -> SocketAddr {
        self.server.local_addr()
    }

    /// The address for probes and metrics.
    pub fn admin_addr(&self) -> SocketAddr {
        self.admin.local_addr()
    }

    /// Completes when the shutdown token is cancelled and everything has ended.
    pub async fn stopped(self) {
        self.server.stopped().await;
        self.admin.stopped().await;
        self.tasks.wait().await;
        info!("nameserver stopped");
    }
}

async fn look_for_silent(requests: Arc<Requests>, every: Duration, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        for member in requests.expire() {
            warn!(
                broker = member.broker,
                id = member.id,
                addr = member.addr,
                "broker was silent for too long, removed"
            );
        }
    }
}
