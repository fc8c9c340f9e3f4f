//! The bounded way to the writer: requests wait here until it takes all of them at once.
//!
//! Bytes count until the batch is dispatched, so that the bound also holds for what waits for an fsync.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use parking_lot::{Condvar, Mutex};

use crate::commit_log::append::Request;

#[derive(Default)]
pub(crate) struct Inbox {
    waiting: Mutex<Waiting>,
    arrival: Condvar,
    bytes: AtomicUsize,
}

#[derive(Default)]
struct Waiting {
    requests: Vec<Request>,
    closed: bool,
    /// The writer sleeps; whoever adds a request wakes it.
    idle: bool,
}

/// Why a request was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotTaken {
    Full,
    Closed,
}

impl Inbox {
    /// Adds a request of so many bytes if there is room. One larger than all the room is taken when nothing else waits.
    pub(crate) fn push<T: Into<Request>>(
        &self,
        request: T,
        bytes: usize,
        max_batches: usize,
        max_bytes: usize,
    ) -> Result<(), (NotTaken, T)> {
        let mut waiting = self.waiting.lock();
        if waiting.closed {
            return Err((NotTaken::Closed, request));
        }
        let present = self.bytes.load(Ordering::Relaxed);
        if waiting.requests.len() >= max_batches || (present > 0 && present.saturating_add(bytes) > max_bytes)
        {
            return Err((NotTaken::Full, request));
        }
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        waiting.requests.push(request.into());
        let wake = std::mem::take(&mut waiting.idle);
        drop(waiting);
        if wake {
            self.arrival.notify_one();
        }
        Ok(())
    }

    /// Adds a request of the store's owner, for which there is always room: it has few under way at a time. `None` once
    /// taken.
    pub(crate) fn push_control(&self, request: Request) -> Option<Request> {
        let mut waiting = self.waiting.lock();
        if waiting.closed {
            return Some(request);
        }
        waiting.requests.push(request);
        let wake = std::mem::take(&mut waiting.idle);
        drop(waiting);
        if wake {
            self.arrival.notify_one();
        }
        None
    }

    /// A batch that did not come this way will be dispatched.
    pub(crate) fn count(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// A batch of this many bytes is dispatched or has failed.
    pub(crate) fn release(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Swaps what waits into `out`, which must be empty. Does not wait.
    pub(crate) fn take(&self, out: &mut Vec<Request>) {
        std::mem::swap(&mut self.waiting.lock().requests, out);
    }

    /// Like `take`, but waits for a request; false once closed and empty.
    pub(crate) fn wait(&self, out: &mut Vec<Request>) -> bool {
        let mut waiting = self.waiting.lock();
        while waiting.requests.is_empty() {
            if waiting.closed {
                return false;
            }
            waiting.idle = true;
            self.arrival.wait(&mut waiting);
        }
        waiting.idle = false;
        std::mem::swap(&mut waiting.requests, out);
        true
    }

    /// Takes no more requests; those that wait are still handed to the writer.
    pub(crate) fn close(&self) {
        self.waiting.lock().closed = true;
        self.arrival.notify_all();
    }
}

/// Wakes a worker before its interval is over.
#[derive(Default)]
pub(crate) struct Bell {
    state: Mutex<Rung>,
    ring: Condvar,
}

#[derive(Default)]
struct Rung {
    rung: bool,
    closed: bool,
}

impl Bell {
    pub(crate) fn ring(&self) {
        let mut state = self.state.lock();
        if !std::mem::replace(&mut state.rung, true) {
            drop(state);
            self.ring.notify_one();
        }
    }

    /// Waits for a ring or for the time; false once closed.
    pub(crate) fn wait(&self, time: Duration) -> bool {
        let mut state = self.state.lock();
        if !state.rung && !state.closed {
            self.ring.wait_for(&mut state, time);
        }
        state.rung = false;
        !state.closed
    }

    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
        self.ring.notify_all();
    }
}
