//! What clients were told and have seen, and what must hold because of it.

use std::collections::BTreeMap;

use bolide_wire::{LogOffset, QueueOffset};

/// A message that was acknowledged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Acked {
    pub(crate) queue: u32,
    pub(crate) offset: QueueOffset,
    pub(crate) at: LogOffset,
}

/// A message that was handed over.
#[derive(Clone, Copy, Debug)]
struct Sent {
    producer: usize,
    queue: u32,
    /// Newest offset of this producer that was acknowledged before.
    after: i64,
}

#[derive(Debug, Default)]
pub(crate) struct History {
    /// Every message ever handed over.
    sent: BTreeMap<u64, Sent>,
    pub(crate) acked: BTreeMap<u64, Acked>,
    /// What a queue holds at an offset, as somebody was shown or told. It never changes.
    pub(crate) places: BTreeMap<(u32, i64), (u64, LogOffset)>,
    /// Newest acknowledged offset of each producer.
    newest: BTreeMap<usize, i64>,
    /// How far each consumer has read each queue, without a gap.
    pub(crate) read: BTreeMap<(u32, u32), i64>,
    /// Highest offset that each consumer ever handed over for committing.
    pub(crate) committed: BTreeMap<(u32, u32), i64>,
    failure: Option<String>,
    /// Changes with everything that happens, so that two runs can be compared.
    pub(crate) digest: u64,
    pub(crate) epochs: u64,
    pub(crate) reads: u64,
}

impl History {
    pub(crate) fn fail(&mut self, what: String) {
        self.failure.get_or_insert(what);
    }

    pub(crate) fn failure(&self) -> Option<&String> {
        self.failure.as_ref()
    }

    pub(crate) fn note(&mut self, value: u64) {
        self.digest = (self.digest ^ value).wrapping_mul(0x0000_0100_0000_01B3).rotate_left(17);
    }

    /// A queue holds this message at this offset, and always will.
    pub(crate) fn place(&mut self, queue: u32, offset: i64, id: u64, at: LogOffset, how: &str) {
        match self.sent.get(&id) {
            None => self.fail(format!("phantom: message {id} was {how} and never sent")),
            Some(sent) if sent.queue != queue => {
                self.fail(format!("message {id} for queue {} was {how} in queue {queue}", sent.queue));
            }
            Some(_) => {}
        }
        let before = *self.places.entry((queue, offset)).or_insert((id, at));
        if before != (id, at) {
            self.fail(format!(
                "queue {queue} offset {offset} held message {} (log {}), and message {id} (log {at}) is {how} there",
                before.0, before.1
            ));
        }
    }

    /// `ordered`: nothing acknowledged before can have been lost.
    pub(crate) fn ack(&mut self, id: u64, acked: Acked, ordered: bool) {
        self.note(id ^ acked.at.0);
        let Some(sent) = self.sent.get(&id).copied() else { return };
        if self.acked.insert(id, acked).is_some() {
            self.fail(format!("message {id} is acknowledged twice"));
        }
        if ordered && acked.offset.0 <= sent.after {
            self.fail(format!(
                "order: message {id}, sent after one at {} was acknowledged, is at {}",
                sent.after, acked.offset
            ));
        }
        let newest = self.newest.entry(sent.producer).or_insert(-1);
        *newest = (*newest).max(acked.offset.0);
    }

    /// A producer hands a message over.
    pub(crate) fn send(&mut self, id: u64, producer: usize, queue: u32) {
        let after = self.newest.get(&producer).copied().unwrap_or(-1);
        self.sent.insert(id, Sent { producer, queue, after });
    }
}
