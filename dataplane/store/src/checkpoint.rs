//! Checkpoints: from where recovery has to read the log.
//!
//! A checkpoint at log offset D says: the log is on disk up to D, and the units of exactly the records below D are in the
//! consume queue files, queue by queue. It is written after both are true, into a new file that replaces the old one.
//! Java's own `checkpoint` file is kept beside it in its form.

use std::{
    io::{self, IoSlice},
    sync::{Arc, atomic::Ordering},
};

use bolide_wire::{LogOffset, QueueId, TopicName};

use crate::{
    consume_queue::QueueState,
    disk::{Disk, replace_small},
    epochs::EpochStart,
    shared::Shared,
};

/// Our checkpoint.
pub(crate) const CHECKPOINT_FILE: &str = "bolide-checkpoint";
/// How far whole segments are flushed.
pub(crate) const FLUSHED_FILE: &str = "bolide-flushed";
/// The checkpoint of the original.
pub(crate) const JAVA_CHECKPOINT_FILE: &str = "checkpoint";
/// There while a store is open: found at open, it says that the last run did not end well.
pub(crate) const ABORT_FILE: &str = "abort";

const MAGIC: [u8; 8] = *b"BOLIDECK";
const FLUSHED_MAGIC: [u8; 8] = *b"BOLIDEFL";
/// Version of both formats.
const VERSION: u32 = 1;
/// Version of a checkpoint that knows of epochs. One that does not is written in version 1.
const EPOCHS_VERSION: u32 = 2;
/// Bytes of the original's file.
const JAVA_BYTES: usize = 4096;
/// A checkpoint is never larger: some 800,000 queues with long names.
pub(crate) const MAX_BYTES: u64 = 256 << 20;

/// What recovery starts from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    /// The offset D.
    pub(crate) log_offset: u64,
    /// Records below this offset are in the index files.
    pub(crate) indexed: u64,
    /// Store time of the newest indexed record, in ms; 0 when nothing was ever indexed.
    pub(crate) index_time: i64,
    /// Store time of the newest record below D, in ms.
    pub(crate) store_timestamp: i64,
    /// First byte of the log when the queues' minimums were right.
    pub(crate) log_min: u64,
    /// The store was closed and the log ends at D.
    pub(crate) clean: bool,
    pub(crate) queues: Vec<QueueState>,
    /// Epochs that begin below D.
    pub(crate) epochs: Vec<EpochStart>,
}

impl Checkpoint {
    /// Layout: magic 8, version 4, clean 4, D 8, indexed 8, log min 8, index time 8,
    /// store time 8, queues 4; each queue: topic length 2, topic,
    /// id 4, min 8, written 8; version 2: epochs 4, each epoch 8, start 8; CRC32 of all before it 4. Big-endian.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.queues.len().saturating_mul(64).saturating_add(64));
        out.extend_from_slice(&MAGIC);
        let version = if self.epochs.is_empty() { VERSION } else { EPOCHS_VERSION };
        out.extend_from_slice(&version.to_be_bytes());
        out.extend_from_slice(&u32::from(self.clean).to_be_bytes());
        out.extend_from_slice(&self.log_offset.to_be_bytes());
        out.extend_from_slice(&self.indexed.to_be_bytes());
        out.extend_from_slice(&self.log_min.to_be_bytes());
        out.extend_from_slice(&self.index_time.to_be_bytes());
        out.extend_from_slice(&self.store_timestamp.to_be_bytes());
        out.extend_from_slice(&u32::try_from(self.queues.len()).unwrap_or(u32::MAX).to_be_bytes());
        for queue in &self.queues {
            let topic = queue.topic.as_bytes();
            out.extend_from_slice(&u16::try_from(topic.len()).unwrap_or(u16::MAX).to_be_bytes());
            out.extend_from_slice(topic);
            out.extend_from_slice(&queue.id.0.to_be_bytes());
            out.extend_from_slice(&queue.min.to_be_bytes());
            out.extend_from_slice(&queue.written.to_be_bytes());
        }
        if !self.epochs.is_empty() {
            out.extend_from_slice(&u32::try_from(self.epochs.len()).unwrap_or(u32::MAX).to_be_bytes());
        }
        for entry in &self.epochs {
            out.extend_from_slice(&entry.epoch.to_be_bytes());
            out.extend_from_slice(&entry.start.0.to_be_bytes());
        }
        let crc = crc32fast::hash(&out);
        out.extend_from_slice(&crc.to_be_bytes());
        out
    }

    /// `None` for anything that `encode` does not make; recovery then reads the whole log.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader(checked(bytes)?);
        if reader.take::<8>()? != MAGIC {
            return None;
        }
        let version = reader.u32()?;
        if version != VERSION && version != EPOCHS_VERSION {
            return None;
        }
        let mut found = Self {
            clean: reader.u32()? == 1,
            log_offset: reader.u64()?,
            indexed: reader.u64()?,
            log_min: reader.u64()?,
            index_time: reader.i64()?,
            store_timestamp: reader.i64()?,
            queues: Vec::new(),
            epochs: Vec::new(),
        };
        for _ in 0..reader.u32()? {
            let len = u16::from_be_bytes(reader.take()?);
            let topic = std::str::from_utf8(reader.slice(usize::from(len))?).ok()?;
            let (id, min, written) = (QueueId(reader.u32()?), reader.i64()?, reader.i64()?);
            if min < 0 || written < min {
                return None;
            }
            found.queues.push(QueueState { topic: TopicName::internal(topic).ok()?, id, min, written });
        }
        let epochs = if version == EPOCHS_VERSION { reader.u32()? } else { 0 };
        for _ in 0..epochs {
            let (epoch, start) = (reader.u64()?, LogOffset(reader.u64()?));
            found.epochs.push(EpochStart { epoch, start });
        }
        reader.0.is_empty().then_some(found)
    }
}

/// The bytes before a CRC32 that is right.
fn checked(bytes: &[u8]) -> Option<&[u8]> {
    let (body, crc) = bytes.split_last_chunk::<4>()?;
    (crc32fast::hash(body) == u32::from_be_bytes(*crc)).then_some(body)
}

/// Layout: magic 8, version 4, offset 8, CRC32 4.
pub(crate) fn encode_flushed(offset: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(24);
    out.extend_from_slice(&FLUSHED_MAGIC);
    out.extend_from_slice(&VERSION.to_be_bytes());
    out.extend_from_slice(&offset.to_be_bytes());
    let crc = crc32fast::hash(&out);
    out.extend_from_slice(&crc.to_be_bytes());
    out
}

pub(crate) fn decode_flushed(bytes: &[u8]) -> Option<u64> {
    let mut reader = Reader(checked(bytes)?);
    if reader.take::<8>()? != FLUSHED_MAGIC || reader.u32()? != VERSION {
        return None;
    }
    let offset = reader.u64()?;
    reader.0.is_empty().then_some(offset)
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (found, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*found)
    }

    fn slice(&mut self, len: usize) -> Option<&'a [u8]> {
        let (found, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(found)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_be_bytes)
    }

    fn i64(&mut self) -> Option<i64> {
        self.take().map(i64::from_be_bytes)
    }
}

/// The original's checkpoint: store times of the newest flushed record and of the newest record in queues and index,
/// two zero fields for replication, padded.
pub(crate) fn encode_java(physic_ms: i64, logics_ms: i64, index_ms: i64) -> Vec<u8> {
    let mut out = Vec::with_capacity(JAVA_BYTES);
    for time in [physic_ms, logics_ms, index_ms] {
        out.extend_from_slice(&time.to_be_bytes());
    }
    out.resize(JAVA_BYTES, 0);
    out
}

pub(crate) fn write_java(disk: &dyn Disk, path: &std::path::Path, bytes: &[u8]) -> io::Result<()> {
    let file = match disk.open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => disk.create(path)?,
        found => found?,
    };
    file.write_at(&mut [IoSlice::new(bytes)], 0)
}

/// Makes checkpoints in steps.
pub(crate) struct Checkpointer {
    shared: Arc<Shared>,
}

impl Checkpointer {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// One checkpoint, if anything was dispatched since the last one. A full disk is counted and left for the next step;
    /// another failure poisons the store.
    pub(crate) fn step(&mut self) -> bool {
        self.shared.checkpoint_if_needed()
    }
}

impl Shared {
    /// True when a checkpoint should not wait for its interval.
    pub(crate) fn checkpoint_is_due(&self) -> bool {
        self.log.dispatched().saturating_sub(self.checkpoint_offset()) >= self.config.checkpoint_bytes
            || self.queues.unwritten_bytes() >= self.config.max_unwritten_queue_bytes / 2
    }

    pub(crate) fn checkpoint_if_needed(&self) -> bool {
        self.log.dispatched() > self.checkpoint_offset() && self.checkpoint(false)
    }

    /// Makes a checkpoint now; true when it is on disk. `clean`: the store is being closed.
    pub(crate) fn checkpoint(&self, clean: bool) -> bool {
        let _one_at_a_time = self.checkpointing.lock();
        self.checkpoint_at(self.log.dispatched(), clean)
    }

    /// A checkpoint at `offset`: what was dispatched at some time since the caller holds `checkpointing`.
    pub(crate) fn checkpoint_at(&self, offset: u64, clean: bool) -> bool {
        let start = self.clock.monotonic();
        if self.log.flushed() < offset {
            self.flush();
        }
        if self.poisoned() || self.log.flushed() < offset {
            return false;
        }
        let written = self.write_checkpoint(offset, clean);
        // Dispatch may have waited for room in memory, or for the files.
        self.bells.dispatch.ring();
        match written {
            Ok(()) => {
                self.checkpointed.store(offset, Ordering::Release);
                let taken = self.clock.monotonic().saturating_sub(start);
                self.metrics.checkpoint_seconds.observe(taken.as_secs_f64());
                true
            }
            Err(error)
                if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) =>
            {
                self.metrics.checkpoint_failures.inc();
                tracing::error!(%error, "no room for a checkpoint");
                false
            }
            Err(error) => {
                self.poison("checkpoint", &error);
                false
            }
        }
    }

    fn write_checkpoint(&self, offset: u64, clean: bool) -> io::Result<()> {
        self.queues.write_tails(offset)?;
        let store_timestamp = self.log.newest_time();
        let checkpoint = Checkpoint {
            log_offset: offset,
            indexed: self.index.through(),
            index_time: self.index.newest_time(),
            store_timestamp,
            log_min: self.log.min(),
            clean: clean && offset == self.log.appended(),
            queues: self.queues.states(),
            epochs: self.epochs.lock().below(offset),
        };
        let root = &self.config.root;
        let disk = self.disk.as_ref();
        replace_small(disk, &root.join(CHECKPOINT_FILE), &checkpoint.encode())?;
        let java = encode_java(store_timestamp, store_timestamp, self.index.newest_time());
        write_java(disk, &root.join(JAVA_CHECKPOINT_FILE), &java)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Checkpoint {
        let topic = TopicName::internal("orders").expect("valid");
        let queues = vec![QueueState { topic, id: QueueId(3), min: 5, written: 9 }];
        Checkpoint {
            log_offset: 77,
            indexed: 66,
            log_min: 5,
            index_time: 4,
            store_timestamp: 1_700_000_000_000,
            clean: true,
            queues,
            epochs: vec![EpochStart { epoch: 3, start: LogOffset(11) }],
        }
    }

    #[test]
    fn a_checkpoint_comes_back_and_any_changed_byte_is_noticed() {
        let bytes = sample().encode();
        assert_eq!(Checkpoint::decode(&bytes), Some(sample()));
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert_eq!(Checkpoint::decode(&damaged), None, "byte {at}");
            assert_eq!(Checkpoint::decode(&bytes[..at]), None, "cut at {at}");
        }
    }

    #[test]
    fn a_checkpoint_without_epochs_has_the_form_it_had_before_there_were_any() {
        let without = Checkpoint { epochs: Vec::new(), ..sample() };
        let bytes = without.encode();
        assert_eq!(bytes[8..12], [0, 0, 0, 1]);
        assert_eq!(sample().encode()[8..12], [0, 0, 0, 2]);
        assert_eq!(sample().encode().len(), bytes.len() + 20);
        assert_eq!(Checkpoint::decode(&bytes), Some(without));
    }

    #[test]
    fn a_flush_note_comes_back_and_any_changed_byte_is_noticed() {
        let bytes = encode_flushed(1 << 30);
        assert_eq!(decode_flushed(&bytes), Some(1 << 30));
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x80;
            assert_eq!(decode_flushed(&damaged), None, "byte {at}");
        }
    }

    #[test]
    fn the_checkpoint_of_the_original_has_three_times_and_4096_bytes() {
        let bytes = encode_java(1, 2, 3);
        assert_eq!(bytes.len(), 4096);
        assert_eq!(bytes[..24], [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 3]);
        assert!(bytes[24..].iter().all(|byte| *byte == 0));
    }
}
