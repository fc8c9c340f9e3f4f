//! One-way requests that go on after their handler has returned. Nothing else tells when they are done with, since nobody answers
//! them; they count against the same bounds as requests that are unanswered.

use bolide_wire::frame::Command;

use crate::Conn;

/// What a request costs beside its header and body.
const OVERHEAD_BYTES: usize = 256;

/// A one-way request that is kept or worked on, until this is dropped.
#[derive(Debug)]
pub struct Unfinished {
    conn: Conn,
    bytes: usize,
}

impl Conn {
    /// States that this request is not done with when its handler returns. While there are too many of them nothing is read.
    /// `None` for a request that is answered: that one counts until its answer.
    #[must_use]
    pub fn unfinished(&self, command: &Command) -> Option<Unfinished> {
        if !command.is_oneway() {
            return None;
        }
        let ext: usize = command.ext.iter().map(|(key, value)| key.len().saturating_add(value.len())).sum();
        let bytes = command.body.len().saturating_add(ext).saturating_add(OVERHEAD_BYTES);
        self.shared.outbox.lock().unfinished.add(bytes);
        Some(Unfinished { conn: self.clone(), bytes })
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        let waker = {
            let mut outbox = self.conn.shared.outbox.lock();
            outbox.unfinished.remove(self.bytes);
            outbox.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// How many there are on a connection.
#[derive(Debug, Default)]
pub(crate) struct Count {
    pub(crate) requests: usize,
    pub(crate) bytes: usize,
}

impl Count {
    fn add(&mut self, bytes: usize) {
        self.requests = self.requests.saturating_add(1);
        self.bytes = self.bytes.saturating_add(bytes);
    }

    fn remove(&mut self, bytes: usize) {
        self.requests = self.requests.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}
