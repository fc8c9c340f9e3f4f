//! A new replica's beginning: a log that starts in the middle.
//!
//! A master's oldest commit log files may be gone, and a new replica need not have all that are left. It begins with a
//! *seed*: where its log starts, and what the log before told, which are the next offset of each queue and the epochs. A seed
//! has the form of a checkpoint, and becomes the checkpoint of the new store.

use std::io;

use bolide_wire::LogOffset;
use bytes::Bytes;

use crate::{
    Disk, OpenError, Store, StoreConfig,
    checkpoint::{ABORT_FILE, CHECKPOINT_FILE, Checkpoint, FLUSHED_FILE, JAVA_CHECKPOINT_FILE},
    disk::replace_small,
    segment::Segment,
    shared::Shared,
    store::{check, lock_file},
};

/// What a new replica's store is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seed {
    /// First byte of its log: the start of a commit log file.
    pub base: LogOffset,
    bytes: Bytes,
}

impl Seed {
    /// The seed as it goes to the other replica.
    #[must_use]
    pub fn as_bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// A seed made by [`Store::seed`]; `None` for any other bytes.
    #[must_use]
    pub fn decode(bytes: Bytes) -> Option<Self> {
        let found = Checkpoint::decode(&bytes)?;
        let at_base = found.log_min == found.log_offset && found.indexed == found.log_offset;
        at_base.then(|| Self { base: LogOffset(found.log_offset), bytes })
    }
}

impl Store {
    /// A seed for a log that begins with the commit log file which holds `at`. `InvalidInput` when that is not visible yet,
    /// `NotFound` when it is deleted. May block for the disk.
    pub fn seed(&self, at: LogOffset) -> io::Result<Seed> {
        self.shared().seed(at.0)
    }
}

impl Shared {
    fn seed(&self, at: u64) -> io::Result<Seed> {
        if at > self.log.dispatched() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let Some(segment) = self.log.segments.find(at) else { return Err(io::ErrorKind::NotFound.into()) };
        let base = segment.base;
        let checkpoint = Checkpoint {
            log_offset: base,
            indexed: base,
            index_time: 0,
            store_timestamp: 0,
            log_min: base,
            clean: true,
            queues: self.queues.states_at(base)?,
            epochs: self.epochs.lock().below(base),
        };
        // Retention may have gone past it meanwhile: then the offsets are those of a later log.
        if self.log.min() > base {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(Seed { base: LogOffset(base), bytes: checkpoint.encode().into() })
    }
}

/// Makes an empty store that begins as the seed says, in place of whatever is in `config.root` of a store. What other parts
/// keep there stays. A crash in between leaves a store that opens, with a part of the old log or with none.
pub fn bootstrap(disk: &dyn Disk, config: &StoreConfig, seed: &Seed) -> Result<(), OpenError> {
    check(config)?;
    if seed.base.0.checked_rem(config.segment_bytes) != Some(0) {
        return Err(OpenError::Config {
            key: "segment_bytes",
            reason: "must be what the master's store was made with",
        });
    }
    let failed = || OpenError::io("making a new store", &config.root);
    disk.create_dir(&config.root.join("commitlog")).map_err(failed())?;
    let lock_file = lock_file(&config.root);
    let _lock = disk.lock(&lock_file).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => OpenError::Locked { path: lock_file.clone() },
        _ => failed()(error),
    })?;
    clear(disk, config).and_then(|()| begin(disk, config, seed)).map_err(failed())
}

/// Removes what there is: first what says how much of the log is good, then the log from its end.
fn clear(disk: &dyn Disk, config: &StoreConfig) -> io::Result<()> {
    let root = &config.root;
    for name in [CHECKPOINT_FILE, FLUSHED_FILE, JAVA_CHECKPOINT_FILE] {
        remove(disk.remove(&root.join(name)))?;
    }
    disk.sync_dir(root)?;
    let log_dir = root.join("commitlog");
    for file in disk.list(&log_dir)?.iter().rev().filter(|entry| !entry.is_dir) {
        disk.remove(&log_dir.join(&file.name))?;
        disk.sync_dir(&log_dir)?;
    }
    for name in ["consumequeue", "index"] {
        disk.remove_dir(&root.join(name))?;
    }
    disk.sync_dir(root)
}

/// The checkpoint first: without it a log that begins in the middle would not know its queues.
fn begin(disk: &dyn Disk, config: &StoreConfig, seed: &Seed) -> io::Result<()> {
    replace_small(disk, &config.root.join(CHECKPOINT_FILE), &seed.bytes)?;
    Segment::create(disk, &config.root.join("commitlog"), seed.base.0, config.segment_bytes)?;
    remove(disk.remove(&config.root.join(ABORT_FILE)))?;
    disk.sync_dir(&config.root)
}

fn remove(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}
