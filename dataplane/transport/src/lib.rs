//! The remoting transport: TCP connections that carry requests in both directions.
//!
//! A [`Server`] accepts connections and gives a [`Handler`] every request decoded from one read at once; a [`Client`] keeps one
//! connection per address. Both drive a connection by one task (`driver`) that reads, decodes, hands over, and writes everything
//! queued meanwhile in one vectored write.
//!
//! Invariants, each kept by one module:
//! - memory of a connection is bounded by [`Limits`]: read buffers grow with the bytes received, never with a length announced
//!   (`driver`); frames over 64 KiB draw on one budget shared by all connections (`budget`); reading stops while too much is
//!   unanswered, unfinished or unwritten (`inflight`, `unfinished`, `outbox`), and a peer that reads nothing is closed;
//! - a one-way request is never answered, and no request twice (`inflight`);
//! - an idle connection holds no buffer (`driver`, `connections`);
//! - every task belongs to a tracker and ends at shutdown (`server`, `client`).

mod budget;
mod client;
mod conn;
mod connections;
mod driver;
mod handler;
mod inflight;
mod latency;
mod limits;
mod metrics;
mod outbox;
mod pending;
mod server;
mod unfinished;

pub use client::{Client, ClientConfig};
pub use conn::{Conn, ConnId};
pub use handler::{Body, Handler, Outgoing};
pub use limits::Limits;
pub use metrics::{CloseReason, TransportMetrics};
pub use pending::CallError;
pub use server::{BindError, Server, ServerConfig};
pub use unfinished::Unfinished;
