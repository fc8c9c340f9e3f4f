//! Requests of ours that wait for the peer's answer, by opaque.
//!
//! Invariant: an entry lives until its answer, its caller's timeout, or the connection's end, whichever is first.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use bolide_wire::frame::{Command, FrameError};
use parking_lot::Mutex;
use thiserror::Error;
use tokio::sync::oneshot;

/// Why a request of ours has no answer.
#[derive(Debug, Error)]
pub enum CallError {
    /// The name did not resolve, or no address of it accepted the connection.
    #[error("cannot connect to {addr}")]
    Connect {
        /// As given by the caller.
        addr: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// No connection within the connect timeout.
    #[error("connecting to {addr} took longer than {timeout:?}")]
    ConnectTimeout {
        /// As given by the caller.
        addr: String,
        /// The limit.
        timeout: Duration,
    },
    /// The connection ended before the answer came; the request may or may not have been carried out.
    #[error("connection to {peer} closed before the answer came")]
    Closed {
        /// The other end.
        peer: SocketAddr,
    },
    /// No answer in time; the request may or may not have been carried out.
    #[error("no answer from {peer} within {timeout:?}")]
    Timeout {
        /// The other end.
        peer: SocketAddr,
        /// The limit.
        timeout: Duration,
    },
    /// Too many requests wait for answers on this connection; nothing was sent.
    #[error("{waiting} requests to {peer} wait for answers already")]
    TooManyCalls {
        /// The other end.
        peer: SocketAddr,
        /// How many.
        waiting: usize,
    },
    /// The request cannot be written as a frame; nothing was sent.
    #[error("the request cannot be sent")]
    Encode {
        /// What does not fit.
        source: FrameError,
    },
    /// The client has been closed.
    #[error("this client is closed")]
    Shutdown,
}

#[derive(Debug, Default)]
pub(crate) struct Pending {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    closed: bool,
    next_opaque: i32,
    waiting: HashMap<i32, oneshot::Sender<Command>>,
}

/// Why a call could not be entered.
pub(crate) enum Refused {
    Closed,
    Full(usize),
}

/// An entered call; dropping it forgets the call.
pub(crate) struct Call<'a> {
    pending: &'a Pending,
    pub(crate) opaque: i32,
    pub(crate) answer: oneshot::Receiver<Command>,
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.pending.state.lock().waiting.remove(&self.opaque);
    }
}

impl Pending {
    /// Chooses an opaque that no waiting call uses.
    pub(crate) fn begin(&self, limit: usize) -> Result<Call<'_>, Refused> {
        let mut state = self.state.lock();
        if state.closed {
            return Err(Refused::Closed);
        }
        if state.waiting.len() >= limit {
            return Err(Refused::Full(state.waiting.len()));
        }
        let mut opaque = state.next_opaque;
        while state.waiting.contains_key(&opaque) {
            opaque = opaque.wrapping_add(1);
        }
        state.next_opaque = opaque.wrapping_add(1);
        let (sender, answer) = oneshot::channel();
        state.waiting.insert(opaque, sender);
        Ok(Call { pending: self, opaque, answer })
    }

    /// The opaque of a one-way request.
    pub(crate) fn next_opaque(&self) -> i32 {
        let mut state = self.state.lock();
        let opaque = state.next_opaque;
        state.next_opaque = opaque.wrapping_add(1);
        opaque
    }

    /// Hands an answer to its caller; false if nobody waits for it.
    pub(crate) fn complete(&self, answer: Command) -> bool {
        let waiter = self.state.lock().waiting.remove(&answer.opaque);
        waiter.is_some_and(|waiter| waiter.send(answer).is_ok())
    }

    /// Ends all calls; later ones are refused.
    pub(crate) fn close(&self) {
        let waiting = {
            let mut state = self.state.lock();
            state.closed = true;
            std::mem::take(&mut state.waiting)
        };
        drop(waiting);
    }
}
