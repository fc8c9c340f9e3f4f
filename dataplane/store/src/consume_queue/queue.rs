//! One queue: its offsets and the units that are not yet in its files.

use std::{
    collections::VecDeque,
    sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
};

use bolide_wire::{QueueId, QueueOffset, TopicName};
use parking_lot::Mutex;

use super::{RawUnit, UNIT_BYTES, Unit, files::is_folder_name};
use crate::epochs::EPOCH_TOPIC;

/// Units kept in memory after they were written, for consumers that keep up.
const RECENT_UNITS: usize = 2048;

/// One queue of a topic. Cheap to keep: no file handle, and no memory for units while nothing arrives.
#[derive(Debug)]
pub struct Queue {
    topic: TopicName,
    id: QueueId,
    /// The topic may be a folder's name, and others than the store may append to it.
    storable: bool,
    /// Tells queues of one name apart in the file handle cache, and the files of one queue from those it had before it started
    /// anew.
    serial: AtomicU64,
    /// Next offset to assign; changed by the writer (and by recovery) only. Means nothing while the store follows.
    next: AtomicI64,
    min: AtomicI64,
    max: AtomicI64,
    watched: AtomicBool,
    announced: AtomicBool,
    deleted: AtomicBool,
    tail: Mutex<Tail>,
}

#[derive(Debug, Default)]
struct Tail {
    /// Queue offset of the first unit in memory.
    first: i64,
    units: VecDeque<RawUnit>,
    /// Units below this offset are in the files.
    written: i64,
    /// The queue is in the list of those the next checkpoint writes.
    listed: bool,
}

/// What a push asks its caller to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pushed {
    /// Put the queue on the list of the next checkpoint.
    pub(crate) list: bool,
    /// Tell the observer, unless that is already on its way.
    pub(crate) announce: bool,
}

/// Units in memory that belong into the files.
pub(crate) struct Unwritten {
    pub(crate) from: i64,
    pub(crate) bytes: Vec<u8>,
}

impl Queue {
    pub(super) fn new(topic: TopicName, id: QueueId, serial: u64, min: i64, next: i64) -> Self {
        Self {
            storable: is_folder_name(&topic) && topic.as_str() != EPOCH_TOPIC,
            topic,
            id,
            serial: AtomicU64::new(serial),
            next: AtomicI64::new(next),
            min: AtomicI64::new(min),
            max: AtomicI64::new(next),
            watched: AtomicBool::new(false),
            announced: AtomicBool::new(false),
            deleted: AtomicBool::new(false),
            tail: Mutex::new(Tail { first: next, written: next, ..Tail::default() }),
        }
    }

    /// The topic.
    #[must_use]
    pub fn topic(&self) -> &TopicName {
        &self.topic
    }

    /// The number within the topic.
    #[must_use]
    pub fn id(&self) -> QueueId {
        self.id
    }

    /// Offset of the oldest record that can be read; equal to `max` when there is none.
    #[must_use]
    pub fn min(&self) -> QueueOffset {
        QueueOffset(self.min.load(Ordering::Acquire))
    }

    /// One more than the offset of the newest visible record.
    #[must_use]
    pub fn max(&self) -> QueueOffset {
        QueueOffset(self.max.load(Ordering::Acquire))
    }

    /// Asks for `Observer::arrived` when records become visible or the topic is deleted. To miss nothing: watch, then read `max`
    /// and `deleted`.
    pub fn watch(&self, on: bool) {
        self.watched.store(on, Ordering::SeqCst);
    }

    /// Whether arrivals are announced.
    #[must_use]
    pub fn watched(&self) -> bool {
        self.watched.load(Ordering::SeqCst)
    }

    /// True once the topic was deleted: this queue receives nothing more.
    #[must_use]
    pub fn deleted(&self) -> bool {
        self.deleted.load(Ordering::SeqCst)
    }

    /// False for a topic that cannot be a folder of the store, and for the store's own; nothing is appended to it.
    pub(crate) fn storable(&self) -> bool {
        self.storable
    }

    pub(super) fn serial(&self) -> u64 {
        self.serial.load(Ordering::Acquire)
    }

    /// Its files of before are gone.
    pub(super) fn set_serial(&self, serial: u64) {
        self.serial.store(serial, Ordering::Release);
    }

    pub(super) fn mark_deleted(&self) {
        self.deleted.store(true, Ordering::SeqCst);
    }

    /// Takes the next offset; the writer's alone.
    pub(crate) fn assign(&self) -> i64 {
        let offset = self.next.load(Ordering::Relaxed);
        self.next.store(offset.wrapping_add(1), Ordering::Relaxed);
        offset
    }

    /// The next offset to assign is `next`; the writer's alone.
    pub(super) fn assign_from(&self, next: i64) {
        self.next.store(next, Ordering::Relaxed);
    }

    /// Takes back the offset assigned last; the writer's alone.
    pub(crate) fn unassign(&self) {
        self.next.store(self.next.load(Ordering::Relaxed).wrapping_sub(1), Ordering::Relaxed);
    }

    /// Makes the unit at `max` visible.
    pub(crate) fn push(&self, raw: RawUnit) -> Pushed {
        let mut tail = self.tail.lock();
        tail.units.push_back(raw);
        let list = !std::mem::replace(&mut tail.listed, true);
        self.max.store(self.max.load(Ordering::Relaxed).wrapping_add(1), Ordering::SeqCst);
        drop(tail);
        let announce = self.watched.load(Ordering::SeqCst) && !self.announced.swap(true, Ordering::AcqRel);
        Pushed { list, announce }
    }

    /// The announcement asked for by `push` is being made.
    pub(crate) fn announced(&self) {
        self.announced.store(false, Ordering::Release);
    }

    /// The next record has this offset, whatever was here before. Returns the number of unwritten units that are dropped. Not
    /// while units of this queue are being written.
    pub(super) fn start_anew(&self, offset: i64) -> usize {
        let mut tail = self.tail.lock();
        let written = usize::try_from(tail.written.saturating_sub(tail.first)).unwrap_or(0);
        let dropped = tail.units.len().saturating_sub(written);
        tail.units.clear();
        tail.first = offset;
        tail.written = offset;
        self.min.store(offset, Ordering::Release);
        self.max.store(offset, Ordering::Release);
        dropped
    }

    /// Copies units from `from` on into `out` as long as they are in memory; false when `from` is not.
    pub(super) fn units_in_memory(&self, from: i64, count: usize, out: &mut Vec<Unit>) -> bool {
        let tail = self.tail.lock();
        let Some(skip) = from.checked_sub(tail.first).and_then(|skip| usize::try_from(skip).ok()) else {
            return false;
        };
        let range = skip.min(tail.units.len())..skip.saturating_add(count).min(tail.units.len());
        let offsets = from..;
        out.extend(
            tail.units.range(range).zip(offsets).filter_map(|(raw, offset)| Unit::decode(raw, offset)),
        );
        true
    }

    /// First offset that is not in the files.
    pub(super) fn written(&self) -> i64 {
        self.tail.lock().written
    }

    /// Unwritten units of records below `log_end`, oldest first.
    pub(super) fn unwritten(&self, log_end: u64) -> Unwritten {
        let tail = self.tail.lock();
        let from = tail.written;
        let skip = usize::try_from(from.saturating_sub(tail.first)).unwrap_or(0);
        let below = |raw: &&RawUnit| Unit::decode(raw, 0).is_some_and(|unit| unit.log_offset.0 < log_end);
        let units = tail.units.range(skip.min(tail.units.len())..).take_while(below);
        let mut bytes = Vec::with_capacity(tail.units.len().saturating_sub(skip).saturating_mul(UNIT_BYTES));
        units.for_each(|raw| bytes.extend_from_slice(raw));
        Unwritten { from, bytes }
    }

    /// The units up to `to` are in the files. Keeps recent ones in memory if `keep_recent`. True: more units wait, the
    /// queue stays listed.
    pub(super) fn wrote(&self, to: i64, keep_recent: bool) -> bool {
        let mut tail = self.tail.lock();
        let idle = to == tail.written && tail.units.len() <= 1;
        tail.written = tail.written.max(to);
        let keep = if keep_recent && !idle { RECENT_UNITS } else { 0 };
        let waiting =
            usize::try_from(self.max.load(Ordering::Relaxed).saturating_sub(tail.written)).unwrap_or(0);
        let gone = tail.units.len().saturating_sub(keep.max(waiting));
        tail.units.drain(..gone);
        tail.first = tail.first.saturating_add_unsigned(gone as u64);
        let room = tail.units.len().saturating_mul(2).max(64);
        if tail.units.capacity() > room.saturating_mul(2) {
            tail.units.shrink_to(room);
        }
        tail.listed = waiting > 0;
        tail.listed
    }

    /// Drops written units from memory; for a queue that receives nothing any more.
    pub(super) fn forget_recent(&self) {
        let mut tail = self.tail.lock();
        if !tail.listed {
            tail.first = tail.written;
            tail.units = VecDeque::new();
        }
    }

    pub(super) fn set_min(&self, min: i64) {
        self.min.fetch_max(min, Ordering::AcqRel);
    }
}
