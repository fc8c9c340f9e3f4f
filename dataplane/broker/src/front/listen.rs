//! Owns where a role listens: on ports that it binds when it begins, or on sockets that the process was started with.
//!
//! Replicas on one machine take turns at the same ports. Where their supervisor keeps the listening sockets open and every
//! replica has them, only the holder of the role accepts: connections that come in between wait in the backlog. A replica
//! that binds for itself tries until the former holder is gone.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use bolide_transport::{BindError, Handler, Limits, Server, ServerConfig, TransportMetrics};
use thiserror::Error;
use tokio_util::sync::CancellationToken;

use crate::broker::Broker;
use crate::config::BrokerConfig;
use crate::role::Role;

/// How long a shutdown waits for requests that are being worked on.
const DRAIN: Duration = Duration::from_secs(2);
/// How often a taken port is tried again.
const BIND_RETRY: Duration = Duration::from_millis(20);
/// Tries after which a taken port is worth a line in the log.
const BIND_PATIENCE: u32 = 50;

/// The listeners of a role cannot be had.
#[derive(Debug, Error)]
pub enum FrontError {
    /// A port cannot be listened on.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The process was started with fewer listening sockets than its configuration has ports.
    #[error("listening socket number {0} was not handed to this process")]
    NotInherited(usize),
    /// A listening socket that the process was started with cannot be used.
    #[error("listening socket number {index} cannot be used")]
    Inherited {
        /// Its number.
        index: usize,
        /// What the system said.
        source: std::io::Error,
    },
}

/// A port of a role.
pub(crate) struct Port {
    number: u16,
    /// Which of the inherited sockets it is.
    index: usize,
    /// Whether pulls are served on it.
    pub(crate) pulls: bool,
}

/// How this process comes to its listeners.
pub(crate) struct Listeners {
    inherited: Vec<TcpListener>,
    metrics: TransportMetrics,
}

impl Listeners {
    /// `inherited`: the master's port, its second port if there is one, then the port of each slave by id; empty to bind.
    pub(crate) fn new(inherited: Vec<TcpListener>, metrics: TransportMetrics) -> Listeners {
        Listeners { inherited, metrics }
    }

    /// The ports of a role.
    pub(crate) fn ports(&self, config: &BrokerConfig, role: Role) -> Vec<Port> {
        let fast = config.fast_port();
        match role {
            Role::Master => {
                let mut ports = vec![Port { number: config.listen_port, index: 0, pulls: true }];
                ports.extend(fast.map(|number| Port { number, index: 1, pulls: false }));
                ports
            }
            Role::Slave(id) => {
                let before = 1 + usize::from(fast.is_some());
                let index = before.saturating_add(id).saturating_sub(1);
                vec![Port { number: config.slave_port(id), index, pulls: true }]
            }
            Role::Waiting => Vec::new(),
        }
    }

    /// Whether the listening sockets are shared with the other replicas.
    pub(crate) fn inherited(&self) -> bool {
        !self.inherited.is_empty()
    }

    /// Whether the next master listens at the very address that this process leaves, on this machine.
    pub(crate) fn shared(&self, config: &BrokerConfig) -> bool {
        !self.inherited.is_empty() || !config.slave_listen_ports.is_empty()
    }

    /// Begins to serve a port. A replica waits until a taken port is free; a broker without replicas does not.
    pub(crate) async fn serve(
        &self,
        broker: &Arc<Broker>,
        port: &Port,
        handler: Arc<dyn Handler>,
        stop: CancellationToken,
    ) -> Result<Server, FrontError> {
        let config = broker.live().config.clone();
        let server_config = ServerConfig {
            limits: Limits {
                max_frame_bytes: usize::try_from(config.frame_max_length).unwrap_or(usize::MAX),
                ..Limits::default()
            },
            drain_timeout: DRAIN,
            ..ServerConfig::default()
        };
        if !self.inherited.is_empty() {
            let listener = self.inherited.get(port.index).ok_or(FrontError::NotInherited(port.index))?;
            let listener =
                listener.try_clone().map_err(|source| FrontError::Inherited { index: port.index, source })?;
            return Ok(Server::on(listener, server_config, handler, self.metrics.clone(), stop)?);
        }
        let address = SocketAddr::new(config.bind_address, port.number);
        let mut tries = 0_u32;
        loop {
            let bound = Server::bind(
                address,
                server_config.clone(),
                handler.clone(),
                self.metrics.clone(),
                stop.clone(),
            );
            match bound {
                Err(error) if config.replicated() && error.source.kind() == std::io::ErrorKind::AddrInUse => {
                    tries = tries.saturating_add(1);
                    if tries == BIND_PATIENCE {
                        tracing::warn!(%address, "the port is still taken; it is tried until it is free");
                    }
                    tokio::time::sleep(BIND_RETRY).await;
                }
                bound => return Ok(bound?),
            }
        }
    }
}
