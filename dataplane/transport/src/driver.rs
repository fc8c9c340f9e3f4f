//! The task of one connection: reads, decodes, hands requests over, writes what is queued.
//!
//! A buffer is made when the socket has something to read, as large as the last reads were (4 to 256 KiB), and is handed over with
//! the requests in it. So an idle connection holds nothing, and a held request pins at most twice what it came with.
//! Invariant: before the task sleeps it has seen, under the outbox lock, that there is nothing it could do.

use std::future::Future;
use std::io::IoSlice;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use bolide_wire::frame::{self, Command};
use bytes::BytesMut;
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_util::io::poll_read_buf;
use tracing::debug;

use crate::conn::{Conn, Shared};
use crate::connections::Connections;
use crate::handler::Handler;
use crate::metrics::CloseReason;
use crate::outbox::{Chain, MAX_IO_SLICES};

const MIN_READ_BYTES: usize = 4 * 1024;
const MAX_READ_BYTES: usize = 256 * 1024;

/// A frame longer than this reserves its length from the budget once this much of it is here.
const LARGE_FRAME_BYTES: usize = 64 * 1024;

const LENGTH_BYTES: usize = 4;

/// First byte of a TLS handshake; as the first byte of a frame it would mean more than 352 MiB.
const TLS_HANDSHAKE: u8 = 0x16;

pub(crate) struct Driver {
    stream: TcpStream,
    conn: Conn,
    handler: Arc<dyn Handler>,
    connections: Arc<Connections>,
    /// Received bytes that are not a whole frame yet.
    reading: BytesMut,
    /// Room for the next read, and for the requests in it.
    read_bytes: usize,
    read_requests: usize,
    writing: Chain,
    /// Written bytes (heap, slices) the outbox has not been told of.
    written: (usize, usize),
    received_any: bool,
    paused: bool,
    /// Budget to reserve before reading on, and what is reserved for the incomplete frame.
    wanted: Option<usize>,
    reserved: usize,
    /// The last request code and its label: batches are mostly of one kind.
    label: (i32, u16),
    reason: CloseReason,
}

impl Driver {
    pub(crate) fn new(
        stream: TcpStream,
        conn: Conn,
        handler: Arc<dyn Handler>,
        connections: Arc<Connections>,
    ) -> Self {
        let label = (0, conn.shared.common.metrics.latency().label(0));
        conn.shared.common.metrics.on_open();
        connections.insert(conn.clone());
        handler.opened(&conn);
        Self {
            stream,
            conn,
            handler,
            connections,
            reading: BytesMut::new(),
            read_bytes: MIN_READ_BYTES,
            read_requests: 0,
            writing: Chain::default(),
            written: (0, 0),
            received_any: false,
            paused: false,
            wanted: None,
            reserved: 0,
            label,
            reason: CloseReason::Error,
        }
    }

    /// Writes until nothing is queued (true) or the socket is full (false).
    fn write(&mut self, cx: &mut Context<'_>) -> Result<bool, CloseReason> {
        loop {
            if self.writing.is_sent() {
                let mut outbox = self.conn.shared.outbox.lock();
                outbox.written(std::mem::take(&mut self.written));
                if !outbox.swap(&mut self.writing) {
                    return Ok(true);
                }
            }
            let mut pieces = [IoSlice::new(&[]); MAX_IO_SLICES];
            let count = self.writing.io_slices(&mut pieces);
            let pieces = pieces.get(..count).unwrap_or_default();
            match Pin::new(&mut self.stream).poll_write_vectored(cx, pieces) {
                Poll::Ready(Ok(0)) => return Err(CloseReason::Error),
                Poll::Ready(Ok(count)) => {
                    let (heap, slices) = self.writing.advance(count);
                    self.written.0 += heap;
                    self.written.1 += slices;
                    let shared = &self.conn.shared;
                    shared.last_write_ms.store(shared.common.now_ms(), Ordering::Relaxed);
                    shared.common.metrics.on_write(count);
                }
                Poll::Ready(Err(error)) => {
                    debug!(peer = %self.conn.peer(), %error, "write failed");
                    return Err(CloseReason::Error);
                }
                Poll::Pending => return Ok(false),
            }
        }
    }

    /// Takes in what one read gives and hands over the requests in it.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CloseReason>> {
        if let Err(error) = ready!(self.stream.poll_read_ready(cx)) {
            debug!(peer = %self.conn.peer(), %error, "read failed");
            return Poll::Ready(Err(CloseReason::Error));
        }
        self.reading.reserve(self.read_bytes);
        let room = self.reading.capacity() - self.reading.len();
        let count = match poll_read_buf(Pin::new(&mut self.stream), cx, &mut self.reading) {
            Poll::Ready(Ok(0)) => return Poll::Ready(Err(CloseReason::Peer)),
            Poll::Ready(Ok(count)) => count,
            Poll::Ready(Err(error)) => {
                debug!(peer = %self.conn.peer(), %error, "read failed");
                return Poll::Ready(Err(CloseReason::Error));
            }
            Poll::Pending => {
                self.drop_if_empty();
                return Poll::Pending;
            }
        };
        // Grows at once and shrinks slowly, as batches vary.
        let wanted = if count == room { count * 2 } else { count + count / 4 };
        self.read_bytes =
            wanted.max(self.read_bytes - self.read_bytes / 8).clamp(MIN_READ_BYTES, MAX_READ_BYTES);
        if count < room / 2 && self.reading.len() == count {
            self.reading = BytesMut::from(self.reading.as_ref());
        }
        if !self.received_any && self.reading.first() == Some(&TLS_HANDSHAKE) {
            return Poll::Ready(Err(CloseReason::Tls));
        }
        self.received_any = true;
        Poll::Ready(self.decode(count))
    }

    fn decode(&mut self, received: usize) -> Result<(), CloseReason> {
        let shared = self.conn.shared.clone();
        let max_frame = shared.common.limits.max_frame_bytes;
        let mut batch = Batch {
            requests: Vec::with_capacity(self.read_requests),
            sizes: Vec::with_capacity(self.read_requests),
            ..Batch::default()
        };
        let outcome = loop {
            let Some(announced) = announced_length(&self.reading) else { break Ok(()) };
            let whole = announced.saturating_add(LENGTH_BYTES);
            if whole > max_frame {
                break Err(CloseReason::FrameTooLarge);
            }
            if self.reading.len() < whole {
                if whole > LARGE_FRAME_BYTES && self.reading.len() >= LARGE_FRAME_BYTES && self.reserved == 0
                {
                    self.wanted = Some(whole);
                }
                break Ok(());
            }
            match frame::decode(&mut self.reading, max_frame) {
                Ok(Some(command)) => {
                    batch.frames += 1;
                    if command.is_response() {
                        batch.answers.push(command);
                    } else {
                        batch.sizes.push(whole);
                        batch.requests.push(command);
                    }
                    batch.reserved += std::mem::take(&mut self.reserved);
                }
                Ok(None) => break Ok(()),
                Err(error) => {
                    debug!(peer = %self.conn.peer(), %error, "not a frame");
                    break Err(CloseReason::BadFrame);
                }
            }
        };
        self.read_requests = batch.requests.len();
        let now_ms = shared.common.now_ms();
        shared.last_read_ms.store(now_ms, Ordering::Relaxed);
        self.drop_if_empty();
        if self.reading.is_empty() {
            shared.partial_since_ms.store(0, Ordering::Relaxed);
        } else if batch.frames > 0 || shared.partial_since_ms.load(Ordering::Relaxed) == 0 {
            shared.partial_since_ms.store(now_ms + 1, Ordering::Relaxed);
        }
        shared.common.metrics.on_read(received, batch.frames);
        self.hand_over(batch);
        outcome
    }

    fn drop_if_empty(&mut self) {
        if self.reading.is_empty() {
            self.reading = BytesMut::new();
        }
    }

    fn hand_over(&mut self, batch: Batch) {
        let shared = &self.conn.shared;
        let metrics = &shared.common.metrics;
        for answer in batch.answers {
            if !shared.pending.complete(answer) {
                metrics.on_drop_reply();
            }
        }
        let now = Instant::now();
        let mut to_answer = false;
        if !batch.requests.is_empty() {
            let mut outbox = shared.outbox.lock();
            for (request, frame_bytes) in batch.requests.iter().zip(&batch.sizes) {
                if request.is_oneway() {
                    continue;
                }
                to_answer = true;
                if self.label.0 != request.code {
                    self.label = (request.code, metrics.latency().label(request.code));
                }
                outbox.inflight.push(request.opaque, self.label.1, *frame_bytes, now);
            }
            if to_answer {
                outbox.charged += batch.reserved;
            }
        }
        if !batch.requests.is_empty() {
            self.handler.handle(&self.conn, batch.requests);
        }
        if !to_answer {
            shared.common.budget.release(batch.reserved);
        }
    }

    /// Looks at the state shared with callers; returns why to end, if so.
    fn check(&mut self, all_written: bool) -> Option<CloseReason> {
        let shared = &self.conn.shared;
        let mut outbox = shared.outbox.lock();
        outbox.written(std::mem::take(&mut self.written));
        if outbox.closing.is_some() {
            return outbox.closing;
        }
        if outbox.draining && all_written && outbox.inflight.is_empty() {
            return Some(CloseReason::Shutdown);
        }
        if std::mem::take(&mut outbox.trim_wanted) {
            outbox.trim();
            if self.writing.is_sent() {
                self.writing = Chain::default();
            }
        }
        self.paused = outbox.paused(&shared.common.limits);
        None
    }

    /// Goes to sleep unless something came in between; then false.
    fn park(&mut self, cx: &mut Context<'_>, all_written: bool) -> bool {
        let shared = &self.conn.shared;
        let mut outbox = shared.outbox.lock();
        let has_work = outbox.closing.is_some()
            || outbox.trim_wanted
            || (all_written && outbox.has_output())
            || (all_written && outbox.draining && outbox.inflight.is_empty())
            || (self.paused && !outbox.paused(&shared.common.limits));
        if has_work {
            return false;
        }
        if !outbox.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            outbox.waker = Some(cx.waker().clone());
        }
        let held = self.reading.capacity() + self.writing.capacity() + outbox.capacity();
        shared.account(held);
        if self.paused || self.wanted.is_some() {
            shared.partial_since_ms.store(0, Ordering::Relaxed);
        }
        true
    }

    fn run(&mut self, cx: &mut Context<'_>) -> Poll<CloseReason> {
        loop {
            let all_written = match self.write(cx) {
                Ok(all_written) => all_written,
                Err(reason) => return Poll::Ready(reason),
            };
            if let Some(reason) = self.check(all_written) {
                return Poll::Ready(reason);
            }
            if let Some(wanted) = self.wanted
                && let Some(reserved) = self.conn.shared.common.budget.reserve(wanted, cx.waker())
            {
                self.reserved = reserved;
                self.wanted = None;
                let shared = &self.conn.shared;
                shared.partial_since_ms.store(shared.common.now_ms() + 1, Ordering::Relaxed);
            }
            if !self.paused && self.wanted.is_none() {
                match self.poll_read(cx) {
                    Poll::Ready(Ok(())) => continue,
                    Poll::Ready(Err(reason)) => return Poll::Ready(reason),
                    Poll::Pending => {}
                }
            }
            if self.park(cx, all_written) {
                return Poll::Pending;
            }
        }
    }
}

impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.reason = ready!(self.run(cx));
        Poll::Ready(())
    }
}

/// Also runs when the task is dropped or a handler panics, so that nothing is left behind.
impl Drop for Driver {
    fn drop(&mut self) {
        let shared = &self.conn.shared;
        let released = {
            let mut outbox = shared.outbox.lock();
            outbox.closing.get_or_insert(self.reason);
            outbox.discard();
            std::mem::take(&mut outbox.charged)
        };
        shared.common.budget.release(released + self.reserved);
        shared.account(0);
        shared.pending.close();
        shared.closed.cancel();
        shared.common.metrics.on_close(self.reason);
        debug!(peer = %self.conn.peer(), reason = self.reason.name(), "connection ended");
        self.connections.remove(self.conn.id());
        self.handler.closed(&self.conn);
    }
}

impl Shared {
    /// Tells the metrics how much buffer memory this connection holds now.
    fn account(&self, held: usize) {
        let held = i64::try_from(held).unwrap_or(i64::MAX);
        let before = self.accounted_bytes.swap(held, Ordering::Relaxed);
        self.common.metrics.add_buffered(held - before);
    }
}

/// The frames of one read.
#[derive(Default)]
struct Batch {
    requests: Vec<Command>,
    /// Whole length of each request's frame.
    sizes: Vec<usize>,
    answers: Vec<Command>,
    frames: usize,
    reserved: usize,
}

/// Bytes after the length field, once that is here. A negative length comes out larger than any limit.
fn announced_length(buf: &[u8]) -> Option<usize> {
    let field = buf.first_chunk::<LENGTH_BYTES>()?;
    Some(usize::try_from(u32::from_be_bytes(*field)).unwrap_or(usize::MAX))
}
