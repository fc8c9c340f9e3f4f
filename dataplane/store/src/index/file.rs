//! One index file: header, hash slots, entries, in the layout of the original. Big-endian.
//!
//! The newest file is *active*: its slot table lives in memory and is derived from its entries, so that a crash between
//! writes cannot break a chain. Entries are written in big pieces; the header, which says how many count, after them.

use std::{
    io::{self, IoSlice},
    sync::Arc,
};

use super::Key;
use crate::disk::DiskFile;

pub(crate) const HEADER_BYTES: usize = 40;
pub(crate) const SLOT_BYTES: u64 = 4;
pub(crate) const ENTRY_BYTES: usize = 20;
/// Entries wait in memory until they are this many bytes.
const PENDING_BYTES: usize = 256 << 10;
/// Steps along one chain at most.
const CHAIN_STEPS: usize = 65_536;
/// Slots written at once.
const SLOTS_AT_ONCE: usize = 16_384;

/// The first 40 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) begin_timestamp: i64,
    pub(crate) end_timestamp: i64,
    pub(crate) begin_offset: u64,
    pub(crate) end_offset: u64,
    pub(crate) used_slots: u32,
    /// Number of the next entry; entry 0 is never used.
    pub(crate) next_entry: u32,
}

impl Header {
    pub(crate) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut out = [0; HEADER_BYTES];
        let fields = self
            .begin_timestamp
            .to_be_bytes()
            .into_iter()
            .chain(self.end_timestamp.to_be_bytes())
            .chain(self.begin_offset.to_be_bytes())
            .chain(self.end_offset.to_be_bytes())
            .chain(self.used_slots.to_be_bytes())
            .chain(self.next_entry.to_be_bytes());
        out.iter_mut().zip(fields).for_each(|(to, from)| *to = from);
        out
    }

    pub(crate) fn decode(bytes: &[u8; HEADER_BYTES]) -> Self {
        let long =
            |at: usize| bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()).copied().unwrap_or_default();
        let int =
            |at: usize| bytes.get(at..).and_then(|rest| rest.first_chunk::<4>()).copied().unwrap_or_default();
        Self {
            begin_timestamp: i64::from_be_bytes(long(0)),
            end_timestamp: i64::from_be_bytes(long(8)),
            begin_offset: u64::from_be_bytes(long(16)),
            end_offset: u64::from_be_bytes(long(24)),
            used_slots: u32::from_be_bytes(int(32)),
            next_entry: u32::from_be_bytes(int(36)).max(1),
        }
    }
}

/// One entry: where a record with this hash lies, and the entry before it in its chain (0: none).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IndexEntry {
    pub(crate) hash: i32,
    pub(crate) log_offset: u64,
    /// Seconds since the file's begin timestamp.
    pub(crate) seconds: i32,
    pub(crate) previous: u32,
}

impl IndexEntry {
    pub(crate) fn encode(&self) -> [u8; ENTRY_BYTES] {
        let mut out = [0; ENTRY_BYTES];
        let fields = self
            .hash
            .to_be_bytes()
            .into_iter()
            .chain(self.log_offset.to_be_bytes())
            .chain(self.seconds.to_be_bytes())
            .chain(self.previous.to_be_bytes());
        out.iter_mut().zip(fields).for_each(|(to, from)| *to = from);
        out
    }

    pub(crate) fn decode(bytes: &[u8; ENTRY_BYTES]) -> Self {
        let int =
            |at: usize| bytes.get(at..).and_then(|rest| rest.first_chunk::<4>()).copied().unwrap_or_default();
        let offset = bytes.get(4..).and_then(|rest| rest.first_chunk::<8>()).copied().unwrap_or_default();
        Self {
            hash: i32::from_be_bytes(int(0)),
            log_offset: u64::from_be_bytes(offset),
            seconds: i32::from_be_bytes(int(12)),
            previous: u32::from_be_bytes(int(16)),
        }
    }
}

/// Slots and entries of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) slots: u32,
    pub(crate) entries: u32,
}

impl Shape {
    fn entry_position(self, number: u32) -> u64 {
        (HEADER_BYTES as u64)
            .saturating_add(u64::from(self.slots).saturating_mul(SLOT_BYTES))
            .saturating_add(u64::from(number).saturating_mul(ENTRY_BYTES as u64))
    }

    fn slot_position(slot: u32) -> u64 {
        (HEADER_BYTES as u64).saturating_add(u64::from(slot).saturating_mul(SLOT_BYTES))
    }

    /// Bytes of the file.
    pub(crate) fn file_bytes(self) -> u64 {
        self.entry_position(self.entries)
    }

    fn slot_of(self, hash: i32) -> u32 {
        hash.unsigned_abs().checked_rem(self.slots).unwrap_or(0)
    }
}

pub(crate) struct IndexFile {
    pub(crate) name: String,
    pub(crate) header: Header,
    shape: Shape,
    file: Arc<dyn DiskFile>,
    /// Entries from number `written` on.
    pending: Vec<u8>,
    written: u32,
    /// Newest entry of every chain; empty until first needed, and for files that are not active.
    slots: Vec<u32>,
    sealed: bool,
}

impl IndexFile {
    /// A new file of which nothing is on disk but its length.
    pub(crate) fn new(name: String, file: Arc<dyn DiskFile>, shape: Shape) -> Self {
        let header = Header {
            begin_timestamp: 0,
            end_timestamp: 0,
            begin_offset: 0,
            end_offset: 0,
            used_slots: 0,
            next_entry: 1,
        };
        Self { name, header, shape, file, pending: Vec::new(), written: 1, slots: Vec::new(), sealed: false }
    }

    /// A file found on disk. `sealed`: its slot table on disk is complete.
    pub(crate) fn open(
        name: String,
        file: Arc<dyn DiskFile>,
        shape: Shape,
        sealed: bool,
    ) -> io::Result<Self> {
        let mut bytes = [0; HEADER_BYTES];
        file.read_at(&mut bytes, 0)?;
        let mut header = Header::decode(&bytes);
        header.next_entry = header.next_entry.min(shape.entries);
        let written = header.next_entry;
        Ok(Self { name, header, shape, file, pending: Vec::new(), written, slots: Vec::new(), sealed })
    }

    pub(crate) fn is_full(&self) -> bool {
        self.header.next_entry >= self.shape.entries
    }

    fn make_slots(&mut self) -> io::Result<()> {
        if self.slots.is_empty() {
            let mut slots = vec![0; self.shape.slots as usize];
            let shape = self.shape;
            self.each_entry(|number, entry| {
                if let Some(slot) = slots.get_mut(shape.slot_of(entry.hash) as usize) {
                    *slot = number;
                }
            })?;
            self.slots = slots;
        }
        Ok(())
    }

    /// All entries in the file, in order.
    fn each_entry(&self, mut visit: impl FnMut(u32, IndexEntry)) -> io::Result<()> {
        let mut buf = vec![0; SLOTS_AT_ONCE.saturating_mul(ENTRY_BYTES)];
        let mut number = 1_u32;
        while number < self.written {
            let count = (self.written.saturating_sub(number) as usize).min(SLOTS_AT_ONCE);
            let part = buf.get_mut(..count.saturating_mul(ENTRY_BYTES)).unwrap_or_default();
            self.file.read_at(part, self.shape.entry_position(number))?;
            let (entries, _) = part.as_chunks::<ENTRY_BYTES>();
            for entry in entries {
                visit(number, IndexEntry::decode(entry));
                number = number.saturating_add(1);
            }
        }
        Ok(())
    }

    /// Adds an entry; the file must not be full.
    pub(crate) fn put(&mut self, key: &Key) -> io::Result<()> {
        self.make_slots()?;
        let header = &mut self.header;
        if header.next_entry <= 1 {
            header.begin_timestamp = key.store_timestamp;
            header.begin_offset = key.log_offset;
        }
        let millis = key.store_timestamp.saturating_sub(header.begin_timestamp).max(0);
        let Some(slot) = self.slots.get_mut(self.shape.slot_of(key.hash) as usize) else { return Ok(()) };
        let entry = IndexEntry {
            hash: key.hash,
            log_offset: key.log_offset,
            seconds: i32::try_from(millis / 1000).unwrap_or(i32::MAX),
            previous: *slot,
        };
        if *slot == 0 {
            header.used_slots = header.used_slots.saturating_add(1);
        }
        *slot = header.next_entry;
        header.next_entry = header.next_entry.saturating_add(1);
        header.end_timestamp = key.store_timestamp;
        header.end_offset = key.log_offset;
        self.pending.extend_from_slice(&entry.encode());
        if self.pending.len() >= PENDING_BYTES {
            self.write_pending()?;
        }
        Ok(())
    }

    fn write_pending(&mut self) -> io::Result<()> {
        if !self.pending.is_empty() {
            let position = self.shape.entry_position(self.written);
            self.file.write_at(&mut [IoSlice::new(&self.pending)], position)?;
            self.written = self.header.next_entry;
            self.pending.clear();
        }
        Ok(())
    }

    /// Forces entries and header to disk; with `complete` the slot table too.
    pub(crate) fn sync(&mut self, complete: bool) -> io::Result<()> {
        if self.sealed {
            return Ok(());
        }
        self.write_pending()?;
        if complete {
            self.make_slots()?;
            self.write_slots()?;
        }
        self.file.sync_data()?;
        self.file.write_at(&mut [IoSlice::new(&self.header.encode())], 0)?;
        self.file.sync_data()
    }

    fn write_slots(&self) -> io::Result<()> {
        for (chunk, slots) in self.slots.chunks(SLOTS_AT_ONCE).enumerate() {
            // Sparse: what holds nothing is not written.
            if slots.iter().any(|slot| *slot != 0) {
                let bytes: Vec<u8> = slots.iter().flat_map(|slot| slot.to_be_bytes()).collect();
                let first = u32::try_from(chunk.saturating_mul(SLOTS_AT_ONCE)).unwrap_or(u32::MAX);
                self.file.write_at(&mut [IoSlice::new(&bytes)], Shape::slot_position(first))?;
            }
        }
        Ok(())
    }

    /// Completes the file; no more entries. Gives the memory of the slot table back.
    pub(crate) fn seal(&mut self) -> io::Result<()> {
        self.sync(true)?;
        self.sealed = true;
        self.slots = Vec::new();
        self.pending = Vec::new();
        Ok(())
    }

    fn newest_of(&mut self, slot: u32) -> io::Result<u32> {
        if self.sealed {
            let mut bytes = [0; 4];
            self.file.read_at(&mut bytes, Shape::slot_position(slot))?;
            return Ok(u32::from_be_bytes(bytes));
        }
        self.make_slots()?;
        Ok(self.slots.get(slot as usize).copied().unwrap_or(0))
    }

    fn entry(&self, number: u32) -> io::Result<IndexEntry> {
        let mut bytes = [0; ENTRY_BYTES];
        match number.checked_sub(self.written) {
            Some(within) => {
                let start = (within as usize).saturating_mul(ENTRY_BYTES);
                if let Some(found) =
                    self.pending.get(start..).and_then(|rest| rest.first_chunk::<ENTRY_BYTES>())
                {
                    bytes = *found;
                }
            }
            None => self.file.read_at(&mut bytes, self.shape.entry_position(number))?,
        }
        Ok(IndexEntry::decode(&bytes))
    }

    /// Adds log offsets of entries with this hash stored in `begin..=end` (ms), newest first, until there are `max`.
    pub(crate) fn lookup(
        &mut self,
        hash: i32,
        begin: i64,
        end: i64,
        max: usize,
        out: &mut Vec<u64>,
    ) -> io::Result<()> {
        let mut number = self.newest_of(self.shape.slot_of(hash))?;
        let mut steps = 0_usize;
        while number > 0 && number < self.header.next_entry && out.len() < max && steps < CHAIN_STEPS {
            let entry = self.entry(number)?;
            // Entries know seconds only: both ends of the range are widened by one.
            let time =
                self.header.begin_timestamp.saturating_add(i64::from(entry.seconds).saturating_mul(1000));
            if time < begin.saturating_sub(1000) {
                break;
            }
            if entry.hash == hash && time <= end {
                out.push(entry.log_offset);
            }
            if entry.previous >= number {
                break;
            }
            number = entry.previous;
            steps = steps.saturating_add(1);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_and_entry_have_the_bytes_of_the_original() {
        let header = Header {
            begin_timestamp: 1,
            end_timestamp: 2,
            begin_offset: 3,
            end_offset: 4,
            used_slots: 5,
            next_entry: 6,
        };
        let mut expected = Vec::new();
        for long in [1_u64, 2, 3, 4] {
            expected.extend_from_slice(&long.to_be_bytes());
        }
        expected.extend_from_slice(&[0, 0, 0, 5, 0, 0, 0, 6]);
        assert_eq!(header.encode().as_slice(), expected);
        assert_eq!(Header::decode(&header.encode()), header);

        let entry = IndexEntry { hash: 0x0102_0304, log_offset: 5, seconds: 6, previous: 7 };
        let bytes = [1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 6, 0, 0, 0, 7];
        assert_eq!(entry.encode(), bytes);
        assert_eq!(IndexEntry::decode(&bytes), entry);
    }

    #[test]
    fn a_file_of_default_shape_has_420_000_040_bytes() {
        assert_eq!(Shape { slots: 5_000_000, entries: 20_000_000 }.file_bytes(), 420_000_040);
    }
}
