//! Accepts connections.
//!
//! Invariant: after the shutdown token is cancelled no connection is accepted, and every task of the server ends within the drain
//! time: a connection ends when all its requests are answered and written, or at the end of that time.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::conn::{Common, Conn};
use crate::connections::Connections;
use crate::driver::Driver;
use crate::handler::Handler;
use crate::limits::Limits;
use crate::metrics::{CloseReason, TransportMetrics};

const LISTEN_BACKLOG: i32 = 1024;

/// Pause after a failed accept, such as when file descriptors have run out.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Settings of a [`Server`].
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Bounds of each connection.
    pub limits: Limits,
    /// Further connections are closed at once.
    pub max_connections: usize,
    /// Bytes that frames over 64 KiB may take on all connections together, until they are answered.
    pub large_frame_budget_bytes: usize,
    /// How long a shutdown waits for answers.
    pub drain_timeout: Duration,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            max_connections: 20_000,
            large_frame_budget_bytes: 256 * 1024 * 1024,
            drain_timeout: Duration::from_secs(2),
        }
    }
}

/// The address cannot be listened on.
#[derive(Debug, Error)]
#[error("cannot listen on {addr}")]
pub struct BindError {
    /// As asked for.
    pub addr: SocketAddr,
    /// What the system said.
    pub source: std::io::Error,
}

/// A listening server. It ends with its shutdown token, not when this is dropped.
#[derive(Debug)]
pub struct Server {
    local_addr: SocketAddr,
    common: Arc<Common>,
    connections: Arc<Connections>,
    deaf: CancellationToken,
}

impl Server {
    /// Listens on `addr` (port 0 chooses one) and serves until `shutdown` is cancelled.
    ///
    /// # Errors
    /// [`BindError`] if the address is taken or not ours.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn bind(
        addr: SocketAddr,
        config: ServerConfig,
        handler: Arc<dyn Handler>,
        metrics: TransportMetrics,
        shutdown: CancellationToken,
    ) -> Result<Self, BindError> {
        let listener = listen(addr).map_err(|source| BindError { addr, source })?;
        Self::start(listener, addr, config, handler, metrics, shutdown)
    }

    /// Serves what connects to `listener`, a listening socket that others may hold too: connections are taken only as long as this
    /// server accepts, and wait in the socket's backlog otherwise.
    ///
    /// # Errors
    /// [`BindError`] if it is no listening socket.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn on(
        listener: std::net::TcpListener,
        config: ServerConfig,
        handler: Arc<dyn Handler>,
        metrics: TransportMetrics,
        shutdown: CancellationToken,
    ) -> Result<Self, BindError> {
        let addr = listener.local_addr().unwrap_or(SocketAddr::from(([0, 0, 0, 0], 0)));
        let listener = listener
            .set_nonblocking(true)
            .and_then(|()| TcpListener::from_std(listener))
            .map_err(|source| BindError { addr, source })?;
        Self::start(listener, addr, config, handler, metrics, shutdown)
    }

    fn start(
        listener: TcpListener,
        addr: SocketAddr,
        config: ServerConfig,
        handler: Arc<dyn Handler>,
        metrics: TransportMetrics,
        shutdown: CancellationToken,
    ) -> Result<Self, BindError> {
        let local_addr = listener.local_addr().map_err(|source| BindError { addr, source })?;
        let common = Arc::new(Common::new(
            config.limits.clone(),
            metrics,
            config.large_frame_budget_bytes.max(config.limits.max_frame_bytes),
            shutdown,
        ));
        let connections = Arc::new(Connections::default());
        common.tracker.spawn(connections.clone().sweep(common.clone()));
        let deaf = CancellationToken::new();
        let accepting = Accepting { listener, deaf: deaf.clone(), handler, connections: connections.clone() };
        common.tracker.spawn(serve(accepting, config, common.clone()));
        Ok(Self { local_addr, common, connections, deaf })
    }

    /// The address listened on.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Takes no more connections; those that are open go on. The address may be listened on again as soon as the server's task
    /// has seen this.
    pub fn stop_accepting(&self) {
        self.deaf.cancel();
    }

    /// The open connections, in no order.
    pub fn connections(&self) -> Vec<Conn> {
        self.connections.all()
    }

    /// Completes when the shutdown token is cancelled and every task of this server has ended.
    pub async fn stopped(&self) {
        self.common.tracker.wait().await;
    }
}

fn listen(addr: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    socket.listen(LISTEN_BACKLOG)?;
    TcpListener::from_std(socket.into())
}

struct Accepting {
    listener: TcpListener,
    deaf: CancellationToken,
    handler: Arc<dyn Handler>,
    connections: Arc<Connections>,
}

async fn serve(accepting: Accepting, config: ServerConfig, common: Arc<Common>) {
    let connections = accepting.connections.clone();
    accept(accepting, &config, &common).await;
    common.stop.cancelled().await;
    drain(&connections, config.drain_timeout).await;
    common.tracker.close();
}

/// Accepts connections until the server stops or is told to accept no more.
async fn accept(accepting: Accepting, config: &ServerConfig, common: &Arc<Common>) {
    let Accepting { listener, deaf, handler, connections } = accepting;
    let mut refusing = false;
    loop {
        let accepted = tokio::select! {
            biased;
            () = common.stop.cancelled() => return,
            () = deaf.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_RETRY).await;
                continue;
            }
        };
        if connections.len() >= config.max_connections {
            common.metrics.on_refuse();
            if !std::mem::replace(&mut refusing, true) {
                warn!(limit = config.max_connections, "too many connections, closing new ones");
            }
            continue;
        }
        refusing = false;
        if let Some(driver) = drive(stream, peer, &handler, common, &connections) {
            common.tracker.spawn(driver);
        }
    }
}

/// Makes the task of a fresh stream; none if it is gone already.
pub(crate) fn drive(
    stream: TcpStream,
    peer: SocketAddr,
    handler: &Arc<dyn Handler>,
    common: &Arc<Common>,
    connections: &Arc<Connections>,
) -> Option<Driver> {
    let local = match stream.set_nodelay(true).and_then(|()| stream.local_addr()) {
        Ok(local) => local,
        Err(error) => {
            debug!(%peer, %error, "connection ended before it was set up");
            return None;
        }
    };
    let conn = Conn::new(common, peer, local);
    Some(Driver::new(stream, conn, handler.clone(), connections.clone()))
}

/// Lets connections answer what they have been asked, then ends them.
pub(crate) async fn drain(connections: &Connections, timeout: Duration) {
    for conn in connections.all() {
        conn.drain();
    }
    let all_ended = async {
        for conn in connections.all() {
            conn.closed().await;
        }
    };
    if tokio::time::timeout(timeout, all_ended).await.is_err() {
        for conn in connections.all() {
            conn.close_for(CloseReason::Shutdown);
        }
    }
}
