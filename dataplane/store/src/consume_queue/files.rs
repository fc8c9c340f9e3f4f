//! The files of consume queues: `consumequeue/<topic>/<queue id>/<first byte, 20 digits>`, sparse, of a fixed size.
//!
//! A small cache of open files serves all queues; it is the only place that holds handles.

use std::{
    collections::BTreeSet,
    io::{self, IoSlice},
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::Mutex;

use super::{Queue, RawUnit, UNIT_BYTES, Unit, filler};
use crate::disk::{Disk, DiskFile};

/// Open files at most.
const OPEN_FILES: usize = 64;
/// More touched files than this are forced to disk by one call for the whole file system.
const SYNC_EACH: usize = 32;

pub(crate) struct QueueFiles {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    /// Units of a file.
    units: i64,
    open: Mutex<OpenFiles>,
}

#[derive(Default)]
struct OpenFiles {
    files: Vec<OpenFile>,
    clock: u64,
}

struct OpenFile {
    queue: u64,
    number: i64,
    used: u64,
    file: Arc<dyn DiskFile>,
    /// Its name is on disk.
    named: bool,
}

/// Files written since they were last forced to disk.
#[derive(Default)]
pub(crate) struct Touched {
    files: Vec<Arc<dyn DiskFile>>,
    /// Folders whose names may be new: also those of files that were found, since whoever made them may have ended before
    /// the name was on disk.
    dirs: BTreeSet<PathBuf>,
    /// The files whose names those folders hold: queue and number.
    unnamed: Vec<(u64, i64)>,
}

/// True when a topic may be a folder's name: a record's topic comes from disk and must not lead out of the store.
pub(super) fn is_folder_name(topic: &str) -> bool {
    !(topic.is_empty() || topic == "." || topic == ".." || topic.len() > 255 || topic.contains(['/', '\0']))
}

impl QueueFiles {
    pub(crate) fn new(disk: Arc<dyn Disk>, dir: PathBuf, units: u32) -> Self {
        Self { disk, dir, units: i64::from(units.max(1)), open: Mutex::default() }
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    fn queue_dir(&self, queue: &Queue) -> PathBuf {
        self.dir.join(queue.topic().as_str()).join(queue.id().to_string())
    }

    fn path(&self, queue: &Queue, number: i64) -> PathBuf {
        let first = number.saturating_mul(self.units).saturating_mul(UNIT_BYTES as i64);
        self.queue_dir(queue).join(format!("{first:020}"))
    }

    fn cached(&self, serial: u64, number: i64) -> Option<Arc<dyn DiskFile>> {
        let mut open = self.open.lock();
        open.clock = open.clock.wrapping_add(1);
        let now = open.clock;
        let found = open.files.iter_mut().find(|file| file.queue == serial && file.number == number)?;
        found.used = now;
        Some(Arc::clone(&found.file))
    }

    fn cache(&self, serial: u64, number: i64, file: &Arc<dyn DiskFile>) {
        let mut open = self.open.lock();
        if open.files.len() >= OPEN_FILES
            && let Some(oldest) =
                open.files.iter().enumerate().min_by_key(|(_, file)| file.used).map(|(index, _)| index)
        {
            open.files.swap_remove(oldest);
        }
        let used = open.clock;
        let file = Arc::clone(file);
        open.files.push(OpenFile { queue: serial, number, used, file, named: false });
    }

    /// True when this process knows the file's name to be on disk.
    fn is_named(&self, serial: u64, number: i64) -> bool {
        let open = self.open.lock();
        open.files.iter().any(|file| file.queue == serial && file.number == number && file.named)
    }

    fn forget(&self, queue: &Queue, below: i64) {
        let serial = queue.serial();
        self.open.lock().files.retain(|file| file.queue != serial || file.number >= below);
    }

    fn open(&self, queue: &Queue, number: i64) -> io::Result<Arc<dyn DiskFile>> {
        // Before the file is opened: if the queue starts anew meanwhile, the file is not taken for one of the new ones.
        let serial = queue.serial();
        if let Some(file) = self.cached(serial, number) {
            return Ok(file);
        }
        let file = self.disk.open(&self.path(queue, number))?;
        self.cache(serial, number, &file);
        Ok(file)
    }

    fn open_or_create(
        &self,
        queue: &Queue,
        number: i64,
        first_unit: i64,
        touched: &mut Touched,
    ) -> io::Result<Arc<dyn DiskFile>> {
        let (dir, serial) = (self.queue_dir(queue), queue.serial());
        if !self.is_named(serial, number) {
            touched.dirs.extend(dir.ancestors().take(3).map(Path::to_owned));
            touched.unnamed.push((serial, number));
        }
        match self.open(queue, number) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            found => return found,
        }
        self.disk.create_dir(&dir)?;
        let file = self.disk.create(&self.path(queue, number))?;
        let bytes = self.units.saturating_mul(UNIT_BYTES as i64).unsigned_abs();
        file.set_len(bytes)?;
        let blank = usize::try_from(first_unit).unwrap_or(0);
        if blank > 0 {
            file.write_at(&mut [IoSlice::new(&filler().repeat(blank))], 0)?;
        }
        self.cache(serial, number, &file);
        Ok(file)
    }

    /// Writes units from queue offset `from` on.
    pub(super) fn write(
        &self,
        queue: &Queue,
        from: i64,
        bytes: &[u8],
        touched: &mut Touched,
    ) -> io::Result<()> {
        let mut rest = bytes;
        let mut at = from;
        while !rest.is_empty() {
            let (number, within) = (at.div_euclid(self.units), at.rem_euclid(self.units));
            let room = usize::try_from(self.units.saturating_sub(within)).unwrap_or(usize::MAX);
            let (now, later) = rest.split_at_checked(room.saturating_mul(UNIT_BYTES)).unwrap_or((rest, &[]));
            let file = self.open_or_create(queue, number, within, touched)?;
            let pos = within.unsigned_abs().saturating_mul(UNIT_BYTES as u64);
            file.write_at(&mut [IoSlice::new(now)], pos)?;
            if !touched.files.iter().any(|known| Arc::ptr_eq(known, &file)) {
                touched.files.push(file);
            }
            at = at.saturating_add_unsigned((now.len() / UNIT_BYTES) as u64);
            rest = later;
        }
        Ok(())
    }

    /// Forces the touched files to disk.
    pub(crate) fn sync(&self, touched: Touched) -> io::Result<()> {
        if touched.files.len() > SYNC_EACH {
            self.disk.sync_all(&self.dir)?;
        } else {
            touched.files.iter().try_for_each(|file| file.sync_data())?;
            touched.dirs.iter().try_for_each(|dir| self.disk.sync_dir(dir))?;
        }
        // Only now: a checkpoint that failed half way has made files whose names the next one has to force to disk.
        let mut open = self.open.lock();
        for file in &mut open.files {
            file.named = file.named || touched.unnamed.contains(&(file.queue, file.number));
        }
        Ok(())
    }

    /// Units from `from` on, below `end` and not beyond the file that holds `from`.
    pub(super) fn read(&self, queue: &Queue, from: i64, end: i64, out: &mut Vec<Unit>) -> io::Result<()> {
        let (number, within) = (from.div_euclid(self.units), from.rem_euclid(self.units));
        let count = end.saturating_sub(from).min(self.units.saturating_sub(within));
        let Ok(count) = usize::try_from(count) else { return Ok(()) };
        let file = self.open(queue, number)?;
        let mut bytes = vec![0; count.saturating_mul(UNIT_BYTES)];
        file.read_at(&mut bytes, within.unsigned_abs().saturating_mul(UNIT_BYTES as u64))?;
        let (raw, _) = bytes.as_chunks::<UNIT_BYTES>();
        out.extend(raw.iter().zip(from..).filter_map(|(raw, offset)| Unit::decode(raw, offset)));
        Ok(())
    }

    /// The offset after the file that holds `offset`.
    pub(super) fn file_end(&self, offset: i64) -> i64 {
        offset.div_euclid(self.units).saturating_add(1).saturating_mul(self.units)
    }

    /// Removes the files that hold only units below `min`, except the one that holds `keep`.
    pub(super) fn remove_below(&self, queue: &Queue, min: i64, keep: i64) -> io::Result<()> {
        let first = min.min(keep).div_euclid(self.units);
        self.forget(queue, first);
        let dir = self.queue_dir(queue);
        let limit = first.saturating_mul(self.units).saturating_mul(UNIT_BYTES as i64);
        for entry in self.disk.list(&dir)? {
            if entry.name.len() == 20 && entry.name.parse::<i64>().is_ok_and(|start| start < limit) {
                self.disk.remove(&dir.join(&entry.name))?;
            }
        }
        Ok(())
    }

    /// Removes all files of one queue.
    pub(crate) fn remove_queue(&self, queue: &Queue) -> io::Result<()> {
        self.forget(queue, i64::MAX);
        self.disk.remove_dir(&self.queue_dir(queue))
    }

    /// Removes all files of a topic, durable.
    pub(super) fn remove_topic(&self, topic: &str) -> io::Result<()> {
        self.disk.remove_dir(&self.dir.join(topic))?;
        self.disk.sync_dir(&self.dir)
    }

    /// What files say of a queue nothing else is known of: the offset after its last unit. For stores of the original.
    pub(super) fn end_in_files(&self, topic: &str, id: &str) -> io::Result<i64> {
        let dir = self.dir.join(topic).join(id);
        let mut files: Vec<(i64, String)> = self
            .disk
            .list(&dir)?
            .into_iter()
            .filter_map(|entry| entry.name.parse().ok().map(|start| (start, entry.name)))
            .filter(|(start, _)| *start >= 0)
            .collect();
        files.sort();
        while let Some((start, name)) = files.pop() {
            let file = self.disk.open(&dir.join(name))?;
            let len = usize::try_from(file.len()?).unwrap_or(0).min(1 << 26);
            let mut bytes = vec![0; len];
            file.read_at(&mut bytes, 0)?;
            let (raw, _) = bytes.as_chunks::<UNIT_BYTES>();
            let empty: &RawUnit = &[0; UNIT_BYTES];
            let used = raw.iter().rposition(|unit| unit != empty && Unit::decode(unit, 0).is_some());
            if let Some(last) = used {
                let first = start.div_euclid(UNIT_BYTES as i64);
                return Ok(first.saturating_add_unsigned(last as u64).saturating_add(1));
            }
        }
        Ok(0)
    }

    pub(super) fn disk(&self) -> &dyn Disk {
        self.disk.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        consume_queue::Queues,
        disk::{Crash, FaultyDisk},
    };
    use bolide_wire::{QueueId, TopicName};

    #[test]
    fn a_file_made_by_a_checkpoint_that_failed_has_a_durable_name_after_the_next_one() {
        for seed in 0..20 {
            let disk = FaultyDisk::new(seed);
            let files = QueueFiles::new(Arc::new(disk.clone()), PathBuf::from("/store/consumequeue"), 4);
            let queue = Queues::unlisted(TopicName::internal("alpha").expect("a name"), QueueId(0));
            let unit = [1; UNIT_BYTES];
            files.write(&queue, 0, &unit, &mut Touched::default()).expect("room");
            let mut touched = Touched::default();
            files.write(&queue, 0, &unit, &mut touched).expect("room");
            files.sync(touched).expect("synced");
            let disk = disk.restart(Crash::Machine);
            assert!(
                disk.contents(&files.path(&queue, 0)).is_some_and(|bytes| bytes.starts_with(&unit)),
                "seed {seed}"
            );
        }
    }
}
