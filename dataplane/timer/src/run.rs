//! Owns the sorted files: written once, then only read, removed when nothing in them is pending.
//!
//! A file is a head of one block and blocks of [`BLOCK_ENTRIES`] entries, each with a checksum. Files come and go with the
//! manifest; one that it does not name means nothing.

use std::{
    io::{self, IoSlice},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use bolide_store::{Disk, DiskFile};
use parking_lot::Mutex;

use crate::{
    entry::{ENTRY_BYTES, Entry, Key},
    progress::Progress,
};

const BLOCK_BYTES: usize = 4096;
/// Entries of a block.
const BLOCK_ENTRIES: usize = 170;
const CRC_AT: usize = BLOCK_ENTRIES * ENTRY_BYTES;
const MAGIC: &[u8; 8] = b"BLDTIMR1";
/// Blocks gathered before a write.
const BLOCKS_PER_WRITE: usize = 64;

/// Number of a file, and its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub(crate) struct RunId(pub(crate) u64);

impl RunId {
    pub(crate) fn path(self, folder: &Path) -> PathBuf {
        folder.join(format!("{:020}.timers", self.0))
    }

    /// The number in a file's name.
    pub(crate) fn of_name(name: &str) -> Option<RunId> {
        name.strip_suffix(".timers")?.parse().ok().map(RunId)
    }
}

struct Block {
    number: u64,
    entries: Arc<[Entry]>,
}

/// One sorted file.
pub(crate) struct Run {
    pub(crate) id: RunId,
    file: Arc<dyn DiskFile>,
    /// Number of entries.
    pub(crate) count: u64,
    /// Lowest and highest log offset in it.
    pub(crate) min_at: u64,
    pub(crate) max_at: u64,
    /// Every entry before this one is done.
    done: AtomicU64,
    /// The first search for where the work begins was made.
    sought: AtomicBool,
    /// The block read last.
    block: Mutex<Option<Block>>,
}

impl std::fmt::Debug for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Run").field("id", &self.id).field("count", &self.count).finish_non_exhaustive()
    }
}

fn damaged(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn checksummed(block: &mut [u8; BLOCK_BYTES]) {
    let (body, rest) = block.split_at_mut(CRC_AT);
    if let Some(place) = rest.first_chunk_mut() {
        *place = crc32fast::hash(body).to_be_bytes();
    }
}

fn checked(block: &[u8; BLOCK_BYTES]) -> io::Result<&[u8]> {
    let (body, rest) = block.split_at(CRC_AT);
    match rest.first_chunk() {
        Some(crc) if u32::from_be_bytes(*crc) == crc32fast::hash(body) => Ok(body),
        _ => Err(damaged("the checksum of a block of timers is wrong")),
    }
}

/// Writes a file from entries in order.
pub(crate) struct RunWriter {
    id: RunId,
    file: Arc<dyn DiskFile>,
    /// Whole blocks not yet written.
    waiting: Vec<u8>,
    block: Vec<u8>,
    written: u64,
    count: u64,
    min_at: u64,
    max_at: u64,
}

impl RunWriter {
    pub(crate) fn new(disk: &dyn Disk, folder: &Path, id: RunId) -> io::Result<RunWriter> {
        let file = disk.create(&id.path(folder))?;
        Ok(RunWriter {
            id,
            file,
            waiting: Vec::new(),
            block: Vec::with_capacity(BLOCK_BYTES),
            written: BLOCK_BYTES as u64,
            count: 0,
            min_at: u64::MAX,
            max_at: 0,
        })
    }

    pub(crate) fn push(&mut self, entry: &Entry) -> io::Result<()> {
        self.block.extend_from_slice(&entry.encode());
        self.count = self.count.saturating_add(1);
        self.min_at = self.min_at.min(entry.key.at().0);
        self.max_at = self.max_at.max(entry.key.at().0);
        if self.block.len() >= CRC_AT {
            self.end_block();
            if self.waiting.len() >= BLOCKS_PER_WRITE.saturating_mul(BLOCK_BYTES) {
                self.write()?;
            }
        }
        Ok(())
    }

    fn end_block(&mut self) {
        let mut block = [0; BLOCK_BYTES];
        for (place, byte) in block.iter_mut().zip(self.block.drain(..)) {
            *place = byte;
        }
        checksummed(&mut block);
        self.waiting.extend_from_slice(&block);
    }

    fn write(&mut self) -> io::Result<()> {
        self.file.write_at(&mut [IoSlice::new(&self.waiting)], self.written)?;
        self.written = self.written.saturating_add(self.waiting.len() as u64);
        self.waiting.clear();
        Ok(())
    }

    /// The finished file; not yet forced to disk.
    pub(crate) fn finish(mut self) -> io::Result<Run> {
        if !self.block.is_empty() {
            self.end_block();
        }
        self.write()?;
        let mut head = [0; BLOCK_BYTES];
        let numbers = [self.count.to_be_bytes(), self.min_at.to_be_bytes(), self.max_at.to_be_bytes()];
        let fields = std::iter::once(*MAGIC).chain(numbers);
        for (place, field) in head.chunks_exact_mut(8).zip(fields) {
            place.copy_from_slice(&field);
        }
        checksummed(&mut head);
        self.file.write_at(&mut [IoSlice::new(&head)], 0)?;
        Ok(Run::new(self.id, self.file, self.count, self.min_at, self.max_at))
    }
}

impl Run {
    fn new(id: RunId, file: Arc<dyn DiskFile>, count: u64, min_at: u64, max_at: u64) -> Run {
        Run {
            id,
            file,
            count,
            min_at,
            max_at,
            done: AtomicU64::new(0),
            sought: AtomicBool::new(false),
            block: Mutex::new(None),
        }
    }

    /// Opens a file and looks at its head.
    pub(crate) fn open(disk: &dyn Disk, folder: &Path, id: RunId) -> io::Result<Run> {
        let file = disk.open(&id.path(folder))?;
        let mut head = [0; BLOCK_BYTES];
        file.read_at(&mut head, 0)?;
        let mut fields = checked(&head)?.chunks_exact(8);
        if fields.next() != Some(MAGIC.as_slice()) {
            return Err(damaged("a file of timers is of another kind"));
        }
        let mut next = || fields.next().and_then(|field| field.try_into().ok()).map_or(0, u64::from_be_bytes);
        let (count, min_at, max_at) = (next(), next(), next());
        let blocks = count.div_ceil(BLOCK_ENTRIES as u64).saturating_add(1);
        if file.len()? < blocks.saturating_mul(BLOCK_BYTES as u64) {
            return Err(damaged("a file of timers is too short"));
        }
        Ok(Run::new(id, file, count, min_at, max_at))
    }

    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn block(&self, number: u64) -> io::Result<Arc<[Entry]>> {
        if let Some(block) = self.block.lock().as_ref().filter(|block| block.number == number) {
            return Ok(Arc::clone(&block.entries));
        }
        let mut bytes = [0; BLOCK_BYTES];
        let at = number.saturating_add(1).saturating_mul(BLOCK_BYTES as u64);
        self.file.read_at(&mut bytes, at)?;
        let first = number.saturating_mul(BLOCK_ENTRIES as u64);
        let here = usize::try_from(self.count.saturating_sub(first)).unwrap_or(usize::MAX).min(BLOCK_ENTRIES);
        let (entries, _) = checked(&bytes)?.as_chunks::<ENTRY_BYTES>();
        let entries: Arc<[Entry]> = entries.iter().take(here).map(Entry::decode).collect();
        *self.block.lock() = Some(Block { number, entries: Arc::clone(&entries) });
        Ok(entries)
    }

    /// The entry at a position.
    pub(crate) fn entry(&self, position: u64) -> io::Result<Option<Entry>> {
        if position >= self.count {
            return Ok(None);
        }
        let number = position.checked_div(BLOCK_ENTRIES as u64).unwrap_or(0);
        let within = position.checked_rem(BLOCK_ENTRIES as u64).unwrap_or(0);
        let block = self.block(number)?;
        Ok(usize::try_from(within).ok().and_then(|within| block.get(within)).copied())
    }

    /// Entries before this position are done.
    pub(crate) fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Passes over what is done at the beginning; returns the position of the first entry that is not.
    pub(crate) fn advance(&self, progress: &Progress) -> io::Result<u64> {
        let mut position = self.done();
        if !self.sought.swap(true, Ordering::Relaxed) {
            position = self.first_from(progress.start(self.max_at.saturating_add(1)))?;
        }
        while let Some(entry) = self.entry(position)? {
            if !progress.is_done(entry.key) {
                break;
            }
            position = position.saturating_add(1);
        }
        self.done.fetch_max(position, Ordering::Relaxed);
        Ok(position)
    }

    /// Position of the first entry at or after a key.
    fn first_from(&self, key: Key) -> io::Result<u64> {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = low.midpoint(high);
            if self.entry(middle)?.is_some_and(|entry| entry.key < key) {
                low = middle.saturating_add(1);
            } else {
                high = middle;
            }
        }
        Ok(low)
    }
}

#[cfg(test)]
mod tests {
    use bolide_store::{RealDisk, disk::FaultyDisk};
    use bolide_wire::{EpochMillis, LogOffset};

    use super::*;

    fn entry(due: i64, at: u64) -> Entry {
        Entry { key: Key::message(EpochMillis(due), LogOffset(at)), identity: at }
    }

    fn write(disk: &dyn Disk, folder: &Path, entries: &[Entry]) -> Run {
        let mut writer = RunWriter::new(disk, folder, RunId(3)).unwrap();
        for entry in entries {
            writer.push(entry).unwrap();
        }
        writer.finish().unwrap()
    }

    #[test]
    fn a_file_reads_back_and_finds_where_the_work_begins() {
        let folder = tempfile::tempdir().unwrap();
        let disk = RealDisk::new();
        let entries: Vec<Entry> = (0..20_000).map(|n| entry(n / 3, 100_000 - n as u64)).collect();
        let mut sorted = entries.clone();
        sorted.sort();
        let made = write(&disk, folder.path(), &sorted);
        let opened = Run::open(&disk, folder.path(), RunId(3)).unwrap();
        for run in [made, opened] {
            assert_eq!((run.count, run.min_at, run.max_at), (20_000, 80_001, 100_000));
            for at in [0, 169, 170, 171, 19_999] {
                assert_eq!(run.entry(at).unwrap(), Some(sorted[at as usize]));
            }
            assert_eq!(run.entry(20_000).unwrap(), None);
            let mut progress = Progress::default();
            progress.delivered(LogOffset(100_001), sorted[12_345].key);
            assert_eq!(run.advance(&progress).unwrap(), 12_346);
            assert_eq!(run.done(), 12_346);
        }
        assert_eq!(RunId::of_name("00000000000000000003.timers"), Some(RunId(3)));
        assert_eq!(RunId::of_name("manifest.json"), None);
    }

    #[test]
    fn a_flipped_bit_is_an_error_and_not_a_timer() {
        let disk = FaultyDisk::new(1);
        let folder = Path::new("/timers");
        disk.create_dir(folder).unwrap();
        write(&disk, folder, &[entry(1, 2)]);
        let path = RunId(3).path(folder);
        let mut bytes = disk.contents(&path).unwrap();
        bytes[BLOCK_BYTES + 3] ^= 1;
        disk.overwrite(&path, &bytes);
        let run = Run::open(&disk, folder, RunId(3)).unwrap();
        assert_eq!(run.entry(0).unwrap_err().kind(), io::ErrorKind::InvalidData);
        bytes[20] ^= 1;
        disk.overwrite(&path, &bytes);
        assert!(Run::open(&disk, folder, RunId(3)).is_err());
    }
}
