//! Calls to addresses: one connection each, made when first needed and made again after it ended.
//!
//! Invariant: at most one connection and one attempt to connect per address; an ended connection leaves no entry behind.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bolide_wire::ResponseCode;
use bolide_wire::frame::Command;
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::conn::{Common, Conn};
use crate::connections::Connections;
use crate::handler::Handler;
use crate::limits::Limits;
use crate::metrics::TransportMetrics;
use crate::pending::CallError;
use crate::server;

/// Settings of a [`Client`].
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// Bounds of each connection.
    pub limits: Limits,
    /// Limit for resolving the name and connecting.
    pub connect_timeout: Duration,
    /// Bytes that frames over 64 KiB may take on all connections together.
    pub large_frame_budget_bytes: usize,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            connect_timeout: Duration::from_secs(3),
            large_frame_budget_bytes: 128 * 1024 * 1024,
        }
    }
}

/// Calls servers; cheap to clone. Its connections end with [`Client::close`] or with the last clone.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    config: ClientConfig,
    handler: Arc<dyn Handler>,
    common: Arc<Common>,
    connections: Arc<Connections>,
    slots: Mutex<HashMap<String, Arc<Slot>>>,
    sweeping: Mutex<bool>,
}

/// The connection to one address; the lock is held while connecting.
#[derive(Default)]
struct Slot {
    conn: tokio::sync::Mutex<Option<Conn>>,
}

/// Answers nothing; servers' requests to a client without a handler are ignored, as are one-way ones.
struct Deaf;

impl Handler for Deaf {
    fn handle(&self, conn: &Conn, requests: Vec<Command>) {
        for request in requests {
            conn.no_reply(request.opaque);
        }
    }
}

impl Client {
    /// A client that ignores requests of servers.
    pub fn new(config: ClientConfig) -> Self {
        Self::with_handler(config, Arc::new(Deaf), TransportMetrics::unregistered())
    }

    /// A client whose `handler` receives the requests of servers.
    pub fn with_handler(config: ClientConfig, handler: Arc<dyn Handler>, metrics: TransportMetrics) -> Self {
        let budget_bytes = config.large_frame_budget_bytes.max(config.limits.max_frame_bytes);
        let common =
            Arc::new(Common::new(config.limits.clone(), metrics, budget_bytes, CancellationToken::new()));
        let inner = Inner {
            config,
            handler,
            common,
            connections: Arc::new(Connections::default()),
            slots: Mutex::new(HashMap::new()),
            sweeping: Mutex::new(false),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Sends a request to `addr` (`host:port`) and waits for its answer. `timeout` covers connecting too. A server that is about to
    /// leave the address answers GO_AWAY: then the request goes to whoever is there on a new connection, once.
    ///
    /// # Errors
    /// [`CallError`]; nothing else is retried here.
    pub async fn call(&self, addr: &str, command: Command, timeout: Duration) -> Result<Command, CallError> {
        let started = tokio::time::Instant::now();
        let left = || timeout.saturating_sub(started.elapsed());
        let conn = self.connect(addr, timeout).await?;
        let answer = conn.request(command.clone(), left()).await?;
        if answer.response_code() != ResponseCode::GO_AWAY {
            return Ok(answer);
        }
        self.leave(addr, &conn).await;
        let conn = self.connect(addr, left()).await?;
        conn.request(command, left()).await
    }

    /// Uses this connection for no further request to `addr`; those under way are answered on it.
    async fn leave(&self, addr: &str, conn: &Conn) {
        let slot = self.inner.slots.lock().entry(addr.to_owned()).or_default().clone();
        let mut known = slot.conn.lock().await;
        if known.as_ref().is_some_and(|known| known.id() == conn.id()) {
            *known = None;
        }
    }

    /// Sends a request to `addr` that is not answered.
    ///
    /// # Errors
    /// [`CallError`] if there is no connection.
    pub async fn oneway(&self, addr: &str, command: Command) -> Result<(), CallError> {
        self.connect(addr, self.inner.config.connect_timeout).await?.oneway(command)
    }

    /// The open connection to `addr`, or a new one.
    ///
    /// # Errors
    /// [`CallError::Connect`], [`CallError::ConnectTimeout`], [`CallError::Shutdown`].
    pub async fn connect(&self, addr: &str, timeout: Duration) -> Result<Conn, CallError> {
        let timeout = timeout.min(self.inner.config.connect_timeout);
        let connecting = async {
            let slot = self.inner.slots.lock().entry(addr.to_owned()).or_default().clone();
            let mut conn = slot.conn.lock().await;
            if let Some(open) = conn.as_ref().filter(|conn| !conn.is_closed()) {
                return Ok(open.clone());
            }
            let fresh = self.open(addr).await?;
            *conn = Some(fresh.clone());
            Ok(fresh)
        };
        let outcome = match tokio::time::timeout(timeout, connecting).await {
            Ok(outcome) => outcome,
            Err(_) => Err(CallError::ConnectTimeout { addr: addr.to_owned(), timeout }),
        };
        if outcome.is_err() {
            self.inner.forget(addr);
        }
        outcome
    }

    async fn open(&self, addr: &str) -> Result<Conn, CallError> {
        let inner = &self.inner;
        let failed = |source| CallError::Connect { addr: addr.to_owned(), source };
        if inner.common.stop.is_cancelled() {
            return Err(CallError::Shutdown);
        }
        let stream = TcpStream::connect(addr).await.map_err(failed)?;
        let peer = stream.peer_addr().map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        let local = stream.local_addr().map_err(failed)?;
        let conn = Conn::new(&inner.common, peer, local);
        let driver = crate::driver::Driver::new(
            stream,
            conn.clone(),
            inner.handler.clone(),
            inner.connections.clone(),
        );
        if !std::mem::replace(&mut *inner.sweeping.lock(), true) {
            inner.common.tracker.spawn(inner.connections.clone().sweep(inner.common.clone()));
        }
        let weak = Arc::downgrade(inner);
        let addr = addr.to_owned();
        inner.common.tracker.spawn(async move {
            driver.await;
            if let Some(inner) = weak.upgrade() {
                inner.forget(&addr);
            }
        });
        Ok(conn)
    }

    /// Ends all connections, after what was sent is answered or `drain_timeout` is over.
    pub async fn close(&self, drain_timeout: Duration) {
        self.inner.common.stop.cancel();
        server::drain(&self.inner.connections, drain_timeout).await;
        self.inner.common.tracker.close();
        self.inner.common.tracker.wait().await;
    }
}

impl Inner {
    /// Drops the entry of an address that has no connection, unless somebody is connecting.
    fn forget(&self, addr: &str) {
        let mut slots = self.slots.lock();
        let unused = slots.get(addr).is_some_and(|slot| {
            Arc::strong_count(slot) == 1
                && slot.conn.try_lock().is_ok_and(|conn| conn.as_ref().is_none_or(Conn::is_closed))
        });
        if unused {
            slots.remove(addr);
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.common.stop.cancel();
        for conn in self.connections.all() {
            conn.close();
        }
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("connections", &self.inner.connections.len()).finish_non_exhaustive()
    }
}
