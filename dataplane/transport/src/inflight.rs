//! The requests of a peer that are not answered yet.
//!
//! Kept in order of arrival: replies mostly come in that order, so the search starts at the front and ends there. `bytes` is the
//! sum of the entries' sizes; one-way requests are never entered, which is why they cannot be answered.

use std::collections::VecDeque;

use tokio::time::Instant;

/// Added to each frame's length: what a small request costs beside its bytes.
const OVERHEAD_BYTES: usize = 256;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Unanswered {
    pub(crate) opaque: i32,
    /// Index of the request code in the latency table.
    pub(crate) label: u16,
    frame_bytes: u32,
    pub(crate) received: Instant,
}

#[derive(Debug, Default)]
pub(crate) struct Inflight {
    entries: VecDeque<Unanswered>,
    bytes: usize,
}

impl Inflight {
    pub(crate) fn push(&mut self, opaque: i32, label: u16, frame_bytes: usize, received: Instant) {
        let frame_bytes = u32::try_from(frame_bytes.saturating_add(OVERHEAD_BYTES)).unwrap_or(u32::MAX);
        self.bytes = self.bytes.saturating_add(frame_bytes as usize);
        self.entries.push_back(Unanswered { opaque, label, frame_bytes, received });
    }

    /// Takes out the oldest request with this opaque; none means one-way, already answered, or never asked.
    pub(crate) fn answer(&mut self, opaque: i32) -> Option<Unanswered> {
        let position = self.entries.iter().position(|entry| entry.opaque == opaque)?;
        let entry = self.entries.remove(position)?;
        self.bytes = self.bytes.saturating_sub(entry.frame_bytes as usize);
        if self.entries.is_empty() && self.entries.capacity() > 256 {
            self.entries = VecDeque::new();
        }
        Some(entry)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_request_is_answered_once_in_any_order() {
        let mut inflight = Inflight::default();
        for opaque in 0..4 {
            inflight.push(opaque, 0, 100, Instant::now());
        }
        assert_eq!(inflight.bytes(), 4 * 356);
        for opaque in [2, 0, 3, 1] {
            assert_eq!(inflight.answer(opaque).map(|entry| entry.opaque), Some(opaque));
            assert!(inflight.answer(opaque).is_none());
        }
        assert_eq!((inflight.len(), inflight.bytes()), (0, 0));
    }

    #[test]
    fn a_repeated_opaque_is_answered_as_often_as_it_was_asked() {
        let mut inflight = Inflight::default();
        inflight.push(7, 0, 10, Instant::now());
        inflight.push(7, 0, 10, Instant::now());
        assert!(inflight.answer(7).is_some());
        assert!(inflight.answer(7).is_some());
        assert!(inflight.answer(7).is_none());
    }
}
