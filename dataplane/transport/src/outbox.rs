//! Output of one connection: frames encoded back to back, with slices that are sent without copying in between.
//!
//! Two [`Chain`]s take turns: callers append to one under the lock, the connection's task writes the other. Their buffers are kept
//! while the connection is busy and dropped when it is idle.
//! Invariants: bytes leave in the order of `push`; `heap_bytes`/`slice_bytes` cover what is queued and what is being written.

use std::io::IoSlice;
use std::task::Waker;

use bolide_wire::code::ResponseCode;
use bolide_wire::frame::{self, FrameError};
use bytes::{Bytes, BytesMut};

use crate::inflight::Inflight;
use crate::limits::Limits;
use crate::metrics::CloseReason;
use crate::unfinished::Count;
use crate::{Body, Outgoing};

/// Slices of one vectored write.
pub(crate) const MAX_IO_SLICES: usize = 64;

/// Encoded bytes with places where slices go in between.
#[derive(Debug, Default)]
pub(crate) struct Chain {
    buf: BytesMut,
    /// (position in `buf` before which the slice is sent, slice); positions never decrease.
    slices: Vec<(usize, Bytes)>,
    /// Next byte of `buf`, next slice, and how much of that slice is gone.
    buf_sent: usize,
    slices_sent: usize,
    slice_sent: usize,
}

impl Chain {
    /// Appends one frame; returns (bytes copied, bytes of slices). Nothing is appended on error.
    fn push(&mut self, outgoing: Outgoing) -> Result<(usize, usize), FrameError> {
        let before = self.buf.len();
        match outgoing.body {
            Body::Inline => {
                frame::encode(&outgoing.command, &mut self.buf)?;
                Ok((self.buf.len() - before, 0))
            }
            Body::Slices(slices) => {
                let body_bytes = slices.iter().map(Bytes::len).sum();
                frame::encode_head(&outgoing.command, body_bytes, &mut self.buf)?;
                let position = self.buf.len();
                self.slices.extend(
                    slices.into_iter().filter(|slice| !slice.is_empty()).map(|slice| (position, slice)),
                );
                Ok((position - before, body_bytes))
            }
        }
    }

    pub(crate) fn is_sent(&self) -> bool {
        self.buf_sent == self.buf.len() && self.slices_sent == self.slices.len()
    }

    /// Forgets what was sent; keeps the buffer.
    fn clear(&mut self) {
        self.buf.clear();
        self.slices.clear();
        (self.buf_sent, self.slices_sent, self.slice_sent) = (0, 0, 0);
    }

    /// The unsent bytes in order, as many pieces as `out` has room for.
    pub(crate) fn io_slices<'a>(&'a self, out: &mut [IoSlice<'a>; MAX_IO_SLICES]) -> usize {
        let mut count = 0;
        let mut buf_at = self.buf_sent;
        let mut skip = self.slice_sent;
        let mut slices = self.slices.iter().skip(self.slices_sent);
        while count < MAX_IO_SLICES {
            let next = slices.next();
            let buf_end = next.map_or(self.buf.len(), |(position, _)| *position);
            if let Some(piece) = self.buf.get(buf_at..buf_end).filter(|piece| !piece.is_empty()) {
                out[count] = IoSlice::new(piece);
                count += 1;
                buf_at = buf_end;
            }
            let Some((_, slice)) = next else { break };
            if count < MAX_IO_SLICES {
                out[count] = IoSlice::new(slice.get(skip..).unwrap_or_default());
                count += 1;
                skip = 0;
            }
        }
        count
    }

    /// Records that `written` more bytes are gone; returns (bytes of the buffer, bytes of slices) among them.
    pub(crate) fn advance(&mut self, written: usize) -> (usize, usize) {
        let mut left = written;
        let mut from_slices = 0;
        while left > 0 {
            let next = self.slices.get(self.slices_sent);
            let buf_end = next.map_or(self.buf.len(), |(position, _)| *position);
            let from_buf = left.min(buf_end - self.buf_sent);
            self.buf_sent += from_buf;
            left -= from_buf;
            let Some((_, slice)) = next else { break };
            if left == 0 {
                break;
            }
            let rest = slice.len() - self.slice_sent;
            let taken = left.min(rest);
            left -= taken;
            from_slices += taken;
            if taken == rest {
                self.slices_sent += 1;
                self.slice_sent = 0;
            } else {
                self.slice_sent += taken;
            }
        }
        (written - from_slices, from_slices)
    }

    pub(crate) fn capacity(&self) -> usize {
        self.buf.capacity()
    }
}

/// What callers and the connection's task share under one lock.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    queued: Chain,
    /// Set while the task sleeps; taken by whoever gives it work.
    pub(crate) waker: Option<Waker>,
    pub(crate) closing: Option<CloseReason>,
    /// No more reading; the connection ends once everything is answered and written.
    pub(crate) draining: bool,
    pub(crate) inflight: Inflight,
    pub(crate) unfinished: Count,
    /// Set by the look-over when the connection has been quiet: give the buffers back.
    pub(crate) trim_wanted: bool,
    /// Budget held for large requests that are unanswered.
    pub(crate) charged: usize,
    /// (since when output waits, last write seen then), as the look-over saw it.
    backlog_seen: Option<(u64, u64)>,
    heap_bytes: usize,
    slice_bytes: usize,
}

impl Outbox {
    /// Queues a frame unless the connection is ending (then false). A peer that left too much unread is to be closed instead.
    pub(crate) fn push(&mut self, outgoing: Outgoing, limits: &Limits) -> Result<bool, FrameError> {
        if self.closing.is_some() {
            return Ok(false);
        }
        if self.heap_bytes > limits.max_backlog_bytes || self.slice_bytes > limits.max_backlog_slice_bytes {
            self.closing = Some(CloseReason::SlowReader);
            self.discard();
            return Ok(false);
        }
        let (heap, slices) = self.queued.push(outgoing)?;
        self.heap_bytes = self.heap_bytes.saturating_add(heap);
        self.slice_bytes = self.slice_bytes.saturating_add(slices);
        Ok(true)
    }

    /// Queues an answer; one that cannot be written as a frame becomes a system error, so that its asker does not wait in vain.
    pub(crate) fn push_reply(&mut self, reply: Outgoing, limits: &Limits) -> bool {
        let fallback = reply.command.response(ResponseCode::SYSTEM_ERROR);
        self.push(reply, limits).unwrap_or_else(|error| {
            let fallback = fallback.with_remark(format!("the answer cannot be sent: {error}"));
            self.push(fallback.into(), limits).unwrap_or(false)
        })
    }

    /// Gives what is queued to the task's `writing` chain, which must be sent; false if nothing is queued.
    pub(crate) fn swap(&mut self, writing: &mut Chain) -> bool {
        writing.clear();
        if self.queued.is_sent() {
            return false;
        }
        std::mem::swap(&mut self.queued, writing);
        true
    }

    pub(crate) fn has_output(&self) -> bool {
        !self.queued.is_sent()
    }

    pub(crate) fn written(&mut self, (heap, slices): (usize, usize)) {
        self.heap_bytes = self.heap_bytes.saturating_sub(heap);
        self.slice_bytes = self.slice_bytes.saturating_sub(slices);
    }

    /// True while nothing more may be read.
    pub(crate) fn paused(&self, limits: &Limits) -> bool {
        self.draining
            || self.inflight.bytes().saturating_add(self.unfinished.bytes) > limits.max_unanswered_bytes
            || self.inflight.len().saturating_add(self.unfinished.requests) > limits.max_unanswered
            || self.heap_bytes.saturating_add(self.slice_bytes) > limits.pause_backlog_bytes
    }

    /// Since when output has been waiting without any of it being written, at the granularity of the calls to this.
    pub(crate) fn stalled_since_ms(&mut self, now_ms: u64, last_write_ms: u64) -> Option<u64> {
        if self.heap_bytes == 0 && self.slice_bytes == 0 {
            self.backlog_seen = None;
            return None;
        }
        match self.backlog_seen {
            Some((since_ms, seen_write_ms)) if seen_write_ms == last_write_ms => Some(since_ms),
            _ => {
                self.backlog_seen = Some((now_ms, last_write_ms));
                Some(now_ms)
            }
        }
    }

    /// Takes the budget that answered requests no longer need.
    pub(crate) fn release_answered(&mut self) -> usize {
        let released = self.charged.saturating_sub(self.inflight.bytes());
        self.charged -= released;
        released
    }

    /// Memory held for output that is not being written.
    pub(crate) fn capacity(&self) -> usize {
        self.queued.capacity()
    }

    /// Drops the buffer of an idle connection.
    pub(crate) fn trim(&mut self) {
        if self.queued.is_sent() {
            self.queued = Chain::default();
        }
    }

    /// Drops what is queued, at the end of the connection.
    pub(crate) fn discard(&mut self) {
        self.queued = Chain::default();
        self.heap_bytes = 0;
        self.slice_bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(parts: &[(&str, bool)]) -> Chain {
        let mut chain = Chain::default();
        for (text, is_slice) in parts {
            if *is_slice {
                chain.slices.push((chain.buf.len(), Bytes::copy_from_slice(text.as_bytes())));
            } else {
                chain.buf.extend_from_slice(text.as_bytes());
            }
        }
        chain
    }

    fn drain(chain: &mut Chain, step: usize) -> String {
        let mut sent = Vec::new();
        while !chain.is_sent() {
            let mut pieces = [IoSlice::new(&[]); MAX_IO_SLICES];
            let count = chain.io_slices(&mut pieces);
            let joined: Vec<u8> = pieces[..count].iter().flat_map(|piece| piece.to_vec()).collect();
            assert!(!joined.is_empty(), "unsent output must offer bytes");
            let taken = joined.len().min(step);
            sent.extend_from_slice(&joined[..taken]);
            let (heap, slices) = chain.advance(taken);
            assert_eq!(heap + slices, taken);
        }
        String::from_utf8(sent).unwrap()
    }

    #[test]
    fn bytes_leave_in_order_however_little_each_write_takes() {
        let parts = [
            ("head1", false),
            ("slice-a", true),
            ("slice-b", true),
            ("head2", false),
            ("c", true),
            ("tail", false),
        ];
        let expected: String = parts.iter().map(|(text, _)| *text).collect();
        for step in 1..=expected.len() {
            assert_eq!(drain(&mut chain(&parts), step), expected, "step {step}");
        }
    }

    #[test]
    fn more_slices_than_one_write_takes_are_sent_by_several() {
        let parts: Vec<(String, bool)> = (0..200).map(|n| (format!("<{n}>"), n % 3 != 0)).collect();
        let parts: Vec<(&str, bool)> = parts.iter().map(|(text, slice)| (text.as_str(), *slice)).collect();
        let expected: String = parts.iter().map(|(text, _)| *text).collect();
        assert_eq!(drain(&mut chain(&parts), usize::MAX), expected);
        assert_eq!(drain(&mut chain(&parts), 7), expected);
    }
}
