//! All queues of a store, and their common work: reading units, writing tails, moving the minimum, deleting topics.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use bolide_wire::{QueueId, TopicName};
use parking_lot::{Mutex, RwLock};

use super::{
    Queue, QueueFiles, RawUnit, UNIT_BYTES, Unit,
    files::{Touched, is_folder_name},
};

/// Recently written units are kept in memory only while no more than this many queues are written to.
const KEEP_RECENT_QUEUES: usize = 256;

pub(crate) struct Queues {
    files: QueueFiles,
    /// Held by whoever writes or removes files: so nothing is written, or counted as written, of a queue that starts anew
    /// meanwhile, and files of the new queue are not taken for those of the old.
    changing_files: Mutex<()>,
    map: RwLock<HashMap<TopicName, BTreeMap<QueueId, Arc<Queue>>>>,
    serials: AtomicU64,
    /// Bytes of units that are in memory only.
    unwritten: AtomicUsize,
    /// Queues with unwritten units.
    listed: Mutex<Vec<Arc<Queue>>>,
    /// Queues written by the last checkpoint; they drop their recent units when the next one finds nothing new.
    recent: Mutex<Vec<Arc<Queue>>>,
}

/// A queue's place in a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct QueueState {
    pub(crate) topic: TopicName,
    pub(crate) id: QueueId,
    pub(crate) min: i64,
    pub(crate) written: i64,
}

/// What became of a record read from the log.
pub(crate) enum Replayed {
    /// It is visible.
    Quietly,
    /// It is visible, and its arrival is to be announced.
    Announce(Arc<Queue>),
    /// Its topic or offset cannot be.
    LeftOut,
    /// Not yet: its queue starts anew with it, which waits for whoever changes files of queues just now.
    Later,
}

/// Units of one queue that a checkpoint has put into the files.
struct Written {
    from: i64,
    count: usize,
}

impl Queues {
    pub(crate) fn new(files: QueueFiles) -> Self {
        Self {
            files,
            changing_files: Mutex::default(),
            map: RwLock::default(),
            serials: AtomicU64::new(0),
            unwritten: AtomicUsize::new(0),
            listed: Mutex::default(),
            recent: Mutex::default(),
        }
    }

    pub(crate) fn files(&self) -> &QueueFiles {
        &self.files
    }

    pub(crate) fn find(&self, topic: &str, id: QueueId) -> Option<Arc<Queue>> {
        self.map.read().get(topic)?.get(&id).cloned()
    }

    pub(crate) fn find_or_create(&self, topic: &TopicName, id: QueueId) -> Arc<Queue> {
        self.find(topic, id).unwrap_or_else(|| self.insert(topic, id, 0, 0))
    }

    /// Recovery: a queue as the checkpoint knows it. Also made by `find_or_create`, with nothing in it.
    pub(crate) fn insert(&self, topic: &TopicName, id: QueueId, min: i64, next: i64) -> Arc<Queue> {
        let mut map = self.map.write();
        let queues = map.entry(topic.clone()).or_default();
        let serial = self.serials.fetch_add(1, Ordering::Relaxed);
        let new = || Arc::new(Queue::new(topic.clone(), id, serial, min, next));
        Arc::clone(queues.entry(id).or_insert_with(new))
    }

    /// A queue that no list knows: for records of the store itself, which are in no queue.
    pub(crate) fn unlisted(topic: TopicName, id: QueueId) -> Arc<Queue> {
        Arc::new(Queue::new(topic, id, u64::MAX, 0, 0))
    }

    pub(crate) fn all(&self) -> Vec<Arc<Queue>> {
        self.map.read().values().flat_map(BTreeMap::values).cloned().collect()
    }

    pub(crate) fn of_topic(&self, topic: &str) -> Vec<Arc<Queue>> {
        self.map.read().get(topic).into_iter().flat_map(BTreeMap::values).cloned().collect()
    }

    pub(crate) fn topics(&self) -> Vec<TopicName> {
        self.map.read().keys().cloned().collect()
    }

    /// Bytes of units that a checkpoint would write.
    pub(crate) fn unwritten_bytes(&self) -> usize {
        self.unwritten.load(Ordering::Relaxed)
    }

    /// Makes a unit visible; true when the arrival is to be announced.
    pub(crate) fn push(&self, queue: &Arc<Queue>, raw: RawUnit) -> bool {
        let pushed = queue.push(raw);
        self.unwritten.fetch_add(UNIT_BYTES, Ordering::Relaxed);
        if pushed.list {
            self.listed.lock().push(Arc::clone(queue));
        }
        pushed.announce
    }

    /// The queue of a record in the log, whose offset in it is `offset`; `None` for a topic that cannot be a folder.
    fn of_record(&self, topic: &str, id: QueueId, offset: i64) -> Option<Arc<Queue>> {
        self.find(topic, id).or_else(|| match TopicName::internal(topic) {
            Ok(topic) if is_folder_name(&topic) && offset >= 0 => {
                Some(self.insert(&topic, id, offset, offset))
            }
            _ => None,
        })
    }

    /// The offset to assign next is that of the next visible record, in every queue. The writer's alone.
    pub(crate) fn assign_from_visible(&self) {
        self.all().iter().for_each(|queue| queue.assign_from(queue.max().0));
    }

    /// The record with this offset is in the log already. The writer's alone.
    pub(crate) fn assign_after(&self, topic: &str, id: QueueId, offset: i64) {
        if let Some(queue) = self.of_record(topic, id, offset) {
            queue.assign_from(offset.saturating_add(1));
        }
    }

    /// From the log: the record at `offset` is the next. A queue whose offsets do not join on starts anew there.
    pub(crate) fn replay(&self, topic: &str, id: QueueId, offset: i64, raw: RawUnit) -> io::Result<Replayed> {
        let Some(queue) = self.of_record(topic, id, offset) else { return Ok(Replayed::LeftOut) };
        let expected = queue.max().0;
        if offset != expected {
            // The caller must not wait here for the disk: nothing becomes visible meanwhile.
            let Some(_changing) = self.changing_files.try_lock() else { return Ok(Replayed::Later) };
            tracing::warn!(topic, queue = id.0, offset, expected, "queue starts anew at this offset");
            self.files.remove_queue(&queue)?;
            queue.set_serial(self.serials.fetch_add(1, Ordering::Relaxed));
            let dropped = queue.start_anew(offset);
            self.unwritten.fetch_sub(dropped.saturating_mul(UNIT_BYTES), Ordering::Relaxed);
        }
        Ok(if self.push(&queue, raw) { Replayed::Announce(queue) } else { Replayed::Quietly })
    }

    /// Up to `count` units from `from` on; fewer at the end of a file, of the memory part, or where units are missing.
    pub(crate) fn units(
        &self,
        queue: &Queue,
        from: i64,
        count: usize,
        out: &mut Vec<Unit>,
    ) -> io::Result<()> {
        out.clear();
        if queue.units_in_memory(from, count, out) {
            return Ok(());
        }
        let end = queue.written().min(from.saturating_add_unsigned(count as u64));
        self.files.read(queue, from, end, out)
    }

    pub(crate) fn unit(&self, queue: &Queue, offset: i64) -> io::Result<Option<Unit>> {
        let mut units = Vec::with_capacity(1);
        self.units(queue, offset, 1, &mut units)?;
        Ok(units.pop())
    }

    /// Like `unit`; `None` also when the file is missing.
    fn unit_if_there(&self, queue: &Queue, offset: i64) -> io::Result<Option<Unit>> {
        match self.unit(queue, offset) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            unit => unit,
        }
    }

    /// The offset after the file that holds `offset`: where reading goes on when the file is missing.
    pub(crate) fn file_end(&self, offset: i64) -> i64 {
        self.files.file_end(offset)
    }

    /// Writes the units of all records below `log_end` into the files and forces them to disk. After an error nothing
    /// counts as written.
    pub(crate) fn write_tails(&self, log_end: u64) -> io::Result<()> {
        let _changing = self.changing_files.lock();
        let listed = std::mem::take(&mut *self.listed.lock());
        let written = self.write_listed(&listed, log_end);
        let written = match written {
            Ok(written) => written,
            Err(error) => {
                self.listed.lock().extend(listed);
                return Err(error);
            }
        };
        let keep_recent = listed.len() <= KEEP_RECENT_QUEUES;
        for (queue, units) in listed.iter().zip(written) {
            self.unwritten.fetch_sub(units.count.saturating_mul(UNIT_BYTES), Ordering::Relaxed);
            if queue.wrote(units.from.saturating_add_unsigned(units.count as u64), keep_recent) {
                self.listed.lock().push(Arc::clone(queue));
            }
        }
        let before = std::mem::replace(&mut *self.recent.lock(), listed);
        before.iter().for_each(|queue| queue.forget_recent());
        Ok(())
    }

    fn write_listed(&self, listed: &[Arc<Queue>], log_end: u64) -> io::Result<Vec<Written>> {
        let mut touched = Touched::default();
        let mut written = Vec::with_capacity(listed.len());
        for queue in listed {
            let units = queue.unwritten(log_end);
            if !queue.deleted() {
                self.files.write(queue, units.from, &units.bytes, &mut touched)?;
            }
            written.push(Written { from: units.from, count: units.bytes.len() / UNIT_BYTES });
        }
        self.files.sync(touched)?;
        Ok(written)
    }

    /// Every queue as the files have it now. Call after `write_tails`.
    pub(crate) fn states(&self) -> Vec<QueueState> {
        let of = |queue: &Arc<Queue>| QueueState {
            topic: queue.topic().clone(),
            id: queue.id(),
            min: queue.min().0,
            written: queue.written(),
        };
        self.map.read().values().flat_map(BTreeMap::values).map(of).collect()
    }

    /// Every queue as it is when the log begins at `base`, which is visible: empty, at the offset of its first record from
    /// there on.
    pub(crate) fn states_at(&self, base: u64) -> io::Result<Vec<QueueState>> {
        let of = |queue: &Arc<Queue>| {
            let next = self.first_at_or_after(queue, queue.min().0, queue.max().0, base)?;
            Ok(QueueState { topic: queue.topic().clone(), id: queue.id(), min: next, written: next })
        };
        self.all().iter().filter(|queue| queue.max().0 > 0).map(of).collect()
    }

    /// Moves the minimum of every queue past the records below `log_min`, and removes files that are not needed any more.
    pub(crate) fn advance_min(&self, log_min: u64) -> io::Result<()> {
        for queue in self.all() {
            let _changing = self.changing_files.lock();
            if queue.deleted() {
                continue;
            }
            let (min, max) = (queue.min().0, queue.max().0);
            let first = self.first_at_or_after(&queue, min, max, log_min)?;
            if first > min {
                queue.set_min(first);
                self.files.remove_below(&queue, first, queue.written().saturating_sub(1).max(0))?;
            }
        }
        Ok(())
    }

    /// First offset in `low..high` whose record lies at or after `log_min`; missing units count as before it.
    fn first_at_or_after(&self, queue: &Queue, low: i64, high: i64, log_min: u64) -> io::Result<i64> {
        let (mut low, mut high) = (low, high);
        let mut probe = low;
        while low < high {
            let unit = self.unit_if_there(queue, probe)?;
            if unit.is_some_and(|unit| unit.log_offset.0 >= log_min) {
                high = probe;
            } else {
                low = probe.saturating_add(1);
            }
            probe = low.midpoint(high);
        }
        Ok(low)
    }

    /// Forgets a topic; returns its queues. Its records stay in the log until they expire. Its files are removed by
    /// `remove_files`, once a checkpoint does not know it any more: one at the log offset that is dispatched now, so that none of
    /// what comes after, which may be the topic's anew, is in the files then. Nothing must become visible meanwhile.
    pub(crate) fn forget_topic(&self, topic: &str) -> Vec<Arc<Queue>> {
        let old: Vec<_> =
            self.map.write().remove(topic).into_iter().flat_map(BTreeMap::into_values).collect();
        old.iter().for_each(|queue| queue.mark_deleted());
        old
    }

    /// Forgets the queues of a topic in which no record at or after `at` is visible; returns them. Nothing must become visible
    /// meanwhile.
    pub(crate) fn forget_before(&self, topic: &str, at: u64) -> io::Result<Vec<Arc<Queue>>> {
        let mut old = Vec::new();
        for queue in self.of_topic(topic) {
            let newest = match queue.max().0.checked_sub(1).filter(|newest| *newest >= queue.min().0) {
                Some(newest) => self.unit_if_there(&queue, newest)?,
                None => None,
            };
            if newest.is_none_or(|unit| unit.log_offset.0 < at) {
                old.push(queue);
            }
        }
        let mut map = self.map.write();
        if let Some(queues) = map.get_mut(topic) {
            queues.retain(|_, queue| !old.iter().any(|old| Arc::ptr_eq(old, queue)));
            if queues.is_empty() {
                map.remove(topic);
            }
        }
        old.iter().for_each(|queue| queue.mark_deleted());
        Ok(old)
    }

    pub(crate) fn remove_files(&self, topic: &str) -> io::Result<()> {
        let _changing = self.changing_files.lock();
        if is_folder_name(topic) { self.files.remove_topic(topic) } else { Ok(()) }
    }

    /// Like `remove_files`, for what `forget_before` returned.
    pub(crate) fn remove_files_of(&self, queues: &[Arc<Queue>]) -> io::Result<()> {
        let _changing = self.changing_files.lock();
        queues.iter().try_for_each(|queue| self.files.remove_queue(queue))
    }

    /// Removes folders of topics that the checkpoint and the log do not know: a deletion was interrupted.
    pub(crate) fn remove_orphans(&self) -> io::Result<()> {
        for topic in self.files.disk().list(self.files.dir())?.into_iter().filter(|entry| entry.is_dir) {
            if !self.map.read().contains_key(topic.name.as_str()) {
                self.files.remove_topic(&topic.name)?;
            }
        }
        Ok(())
    }

    /// Queues that only files know of (no record of theirs is in the log any more): they keep their offsets.
    pub(crate) fn adopt_from_files(&self) -> io::Result<()> {
        let disk = self.files.disk();
        for topic in disk.list(self.files.dir())?.into_iter().filter(|entry| entry.is_dir) {
            let Ok(name) = TopicName::internal(&topic.name) else { continue };
            for queue in
                disk.list(&self.files.dir().join(&topic.name))?.into_iter().filter(|entry| entry.is_dir)
            {
                let Ok(id) = queue.name.parse::<u32>() else { continue };
                let end = self.files.end_in_files(&topic.name, &queue.name)?;
                self.insert(&name, QueueId(id), end, end);
            }
        }
        Ok(())
    }
}
