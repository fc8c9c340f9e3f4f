//! What a user of the transport implements and hands back.

use bolide_wire::frame::Command;
use bytes::Bytes;

use crate::Conn;

/// Receives the requests of a connection.
pub trait Handler: Send + Sync + 'static {
    /// All requests decoded from one read, in the order received. Called on the connection's task: it must not block; work that
    /// waits goes to [`Conn::spawn`]. Answers given before it returns leave in one write.
    fn handle(&self, conn: &Conn, requests: Vec<Command>);

    /// A connection is open; called before its first request.
    fn opened(&self, conn: &Conn) {
        let _ = conn;
    }

    /// A connection has ended; called once, after its last request.
    fn closed(&self, conn: &Conn) {
        let _ = conn;
    }
}

/// The body of an outgoing frame.
#[derive(Debug)]
pub enum Body {
    /// The body inside the command.
    Inline,
    /// These slices in order, written as they are; the body inside the command is not sent.
    Slices(Vec<Bytes>),
}

/// A frame to send.
#[derive(Debug)]
pub struct Outgoing {
    /// Header, and body where `body` is [`Body::Inline`].
    pub command: Command,
    /// Where the body comes from.
    pub body: Body,
}

impl From<Command> for Outgoing {
    fn from(command: Command) -> Self {
        Self { command, body: Body::Inline }
    }
}

impl Outgoing {
    /// A frame whose body is sent from `slices` without copying them.
    pub fn with_slices(command: Command, slices: Vec<Bytes>) -> Self {
        Self { command, body: Body::Slices(slices) }
    }
}
