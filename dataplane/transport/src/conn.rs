//! A connection as handlers and callers see it.

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use bolide_wire::frame::Command;
use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::budget::Budget;
use crate::limits::Limits;
use crate::metrics::{CloseReason, TransportMetrics};
use crate::outbox::Outbox;
use crate::pending::{Pending, Refused};
use crate::{CallError, Outgoing};

/// How long work of [`Conn::spawn`] may go on after its connection ended.
const SPAWNED_GRACE: Duration = Duration::from_secs(5);

/// Identifies a connection for the life of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnId(pub u64);

impl fmt::Display for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One open connection; cheap to clone.
#[derive(Clone)]
pub struct Conn {
    pub(crate) shared: Arc<Shared>,
}

/// What all connections of a server or client have in common.
#[derive(Debug)]
pub(crate) struct Common {
    pub(crate) limits: Limits,
    pub(crate) metrics: TransportMetrics,
    pub(crate) budget: Budget,
    pub(crate) tracker: TaskTracker,
    pub(crate) stop: CancellationToken,
    pub(crate) started: Instant,
    pub(crate) next_id: AtomicU64,
}

impl Common {
    pub(crate) fn new(
        limits: Limits,
        metrics: TransportMetrics,
        budget_bytes: usize,
        stop: CancellationToken,
    ) -> Self {
        Self {
            limits,
            metrics,
            budget: Budget::new(budget_bytes),
            tracker: TaskTracker::new(),
            stop,
            started: Instant::now(),
            next_id: AtomicU64::new(1),
        }
    }

    /// Milliseconds since this server or client was made.
    pub(crate) fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

pub(crate) struct Shared {
    pub(crate) id: ConnId,
    pub(crate) peer: SocketAddr,
    pub(crate) local: SocketAddr,
    pub(crate) common: Arc<Common>,
    pub(crate) outbox: Mutex<Outbox>,
    pub(crate) pending: Pending,
    pub(crate) closed: CancellationToken,
    /// `Common::now_ms` of the last byte in each direction.
    pub(crate) last_read_ms: AtomicU64,
    pub(crate) last_write_ms: AtomicU64,
    /// `Common::now_ms` + 1 of the first byte of an incomplete frame; 0 if there is none or reading is paused.
    pub(crate) partial_since_ms: AtomicU64,
    /// Buffer memory that the metrics know of.
    pub(crate) accounted_bytes: AtomicI64,
}

impl Conn {
    pub(crate) fn new(common: &Arc<Common>, peer: SocketAddr, local: SocketAddr) -> Self {
        let now = common.now_ms();
        let shared = Shared {
            id: ConnId(common.next_id.fetch_add(1, Ordering::Relaxed)),
            peer,
            local,
            common: common.clone(),
            outbox: Mutex::new(Outbox::default()),
            pending: Pending::default(),
            closed: CancellationToken::new(),
            last_read_ms: AtomicU64::new(now),
            last_write_ms: AtomicU64::new(now),
            partial_since_ms: AtomicU64::new(0),
            accounted_bytes: AtomicI64::new(0),
        };
        Self { shared: Arc::new(shared) }
    }

    /// This connection's number, never used again in this process.
    pub fn id(&self) -> ConnId {
        self.shared.id
    }

    /// The other end.
    pub fn peer(&self) -> SocketAddr {
        self.shared.peer
    }

    /// This end.
    pub fn local(&self) -> SocketAddr {
        self.shared.local
    }

    /// Queues one answer. See [`Conn::reply_many`].
    pub fn reply(&self, reply: impl Into<Outgoing>) {
        self.reply_many([reply.into()]);
    }

    /// Queues answers; they leave in one write with whatever else is queued. May be called from any thread. An answer to a request
    /// that is one-way, already answered or unknown is dropped and counted; all are if the connection has ended.
    pub fn reply_many(&self, replies: impl IntoIterator<Item = Outgoing>) {
        let common = &*self.shared.common;
        let now = Instant::now();
        let mut run: Option<(u16, Instant, u64)> = None;
        let mut frames = 0;
        let (waker, released) = {
            let mut outbox = self.shared.outbox.lock();
            for reply in replies {
                let Some(asked) = outbox.inflight.answer(reply.command.opaque) else {
                    common.metrics.on_drop_reply();
                    continue;
                };
                match &mut run {
                    Some((label, received, count))
                        if (*label, *received) == (asked.label, asked.received) =>
                    {
                        *count += 1
                    }
                    _ => {
                        let ended = run.replace((asked.label, asked.received, 1));
                        observe(&common.metrics, ended, now);
                    }
                }
                frames += usize::from(outbox.push_reply(reply, &common.limits));
            }
            (outbox.waker.take(), outbox.release_answered())
        };
        observe(&common.metrics, run, now);
        common.metrics.on_queue(frames);
        common.budget.release(released);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// States that this request will never be answered, so that it no longer counts as waiting.
    pub fn no_reply(&self, opaque: i32) {
        let (waker, released) = {
            let mut outbox = self.shared.outbox.lock();
            if outbox.inflight.answer(opaque).is_none() {
                return;
            }
            (outbox.waker.take(), outbox.release_answered())
        };
        self.shared.common.budget.release(released);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Sends a request of ours and waits for its answer. The opaque is chosen here.
    ///
    /// # Errors
    /// [`CallError::Closed`], [`CallError::Timeout`], [`CallError::TooManyCalls`], [`CallError::Encode`].
    pub async fn request(&self, mut command: Command, timeout: Duration) -> Result<Command, CallError> {
        let peer = self.shared.peer;
        let mut call =
            self.shared.pending.begin(self.shared.common.limits.max_calls).map_err(
                |refused| match refused {
                    Refused::Closed => CallError::Closed { peer },
                    Refused::Full(waiting) => CallError::TooManyCalls { peer, waiting },
                },
            )?;
        command.opaque = call.opaque;
        self.send(command)?;
        match tokio::time::timeout(timeout, &mut call.answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(CallError::Closed { peer }),
            Err(_) => Err(CallError::Timeout { peer, timeout }),
        }
    }

    /// Queues a request that the peer must not answer. The opaque and the one-way flag are set here.
    ///
    /// # Errors
    /// [`CallError::Closed`], [`CallError::Encode`].
    pub fn oneway(&self, command: Command) -> Result<(), CallError> {
        let mut command = command.oneway();
        command.opaque = self.shared.pending.next_opaque();
        self.send(command)
    }

    /// Ends the connection after one attempt to write what is queued.
    pub fn close(&self) {
        self.close_for(CloseReason::Local);
    }

    /// True once the connection has ended or is about to.
    pub fn is_closed(&self) -> bool {
        self.shared.closed.is_cancelled() || self.shared.outbox.lock().closing.is_some()
    }

    /// Completes when the connection has ended.
    pub fn closed(&self) -> impl Future<Output = ()> + Send + 'static {
        self.shared.closed.clone().cancelled_owned()
    }

    /// Runs work on behalf of this connection. It is dropped 5 s after the connection has ended, or when the server has stopped;
    /// work that only waits for something to tell the peer should also watch [`Conn::closed`].
    pub fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let closed = self.shared.closed.clone();
        self.shared.common.tracker.spawn(async move {
            let ended = async {
                closed.cancelled().await;
                tokio::time::sleep(SPAWNED_GRACE).await;
            };
            tokio::select! {
                () = work => {}
                () = ended => {}
            }
        });
    }

    pub(crate) fn close_for(&self, reason: CloseReason) {
        let waker = {
            let mut outbox = self.shared.outbox.lock();
            outbox.closing.get_or_insert(reason);
            outbox.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Stops reading; the connection ends once everything is answered and written.
    pub(crate) fn drain(&self) {
        let waker = {
            let mut outbox = self.shared.outbox.lock();
            outbox.draining = true;
            outbox.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn send(&self, command: Command) -> Result<(), CallError> {
        let (queued, waker) = {
            let mut outbox = self.shared.outbox.lock();
            (outbox.push(command.into(), &self.shared.common.limits), outbox.waker.take())
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        match queued {
            Ok(true) => {
                self.shared.common.metrics.on_queue(1);
                Ok(())
            }
            Ok(false) => Err(CallError::Closed { peer: self.shared.peer }),
            Err(source) => Err(CallError::Encode { source }),
        }
    }
}

fn observe(metrics: &TransportMetrics, run: Option<(u16, Instant, u64)>, now: Instant) {
    if let Some((label, received, count)) = run {
        metrics.latency().observe_many(label, now.saturating_duration_since(received), count);
    }
}

impl fmt::Debug for Conn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Conn")
            .field("id", &self.shared.id.0)
            .field("peer", &self.shared.peer)
            .finish_non_exhaustive()
    }
}
