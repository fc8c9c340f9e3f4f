//! What an owner of a store chooses. Sizes default to those of the original, so that stores are interchangeable.

use std::{path::PathBuf, time::Duration};

/// When appended bytes are forced to disk, and with it when a record becomes visible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flush {
    /// A record is visible once fsync has returned; fsync runs all the time, one for all that wait.
    Sync,
    /// A record is visible once it is written; fsync runs every `flush_interval`.
    Async,
}

/// Settings of one store.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// Folder of the store; `commitlog`, `consumequeue`, `index` and the small files lie in it.
    pub root: PathBuf,
    /// Bytes of a commit log file. Fixed for the life of a store. Default 1 GiB.
    pub segment_bytes: u64,
    /// Units (20 bytes each) of a consume queue file. Fixed for the life of a store. Default 300,000.
    pub queue_file_units: u32,
    /// Hash slots of an index file. Default 5,000,000.
    pub index_slots: u32,
    /// Entries of an index file. Default 20,000,000.
    pub index_entries: u32,
    /// Flush mode. Default `Async`.
    pub flush: Flush,
    /// Longest time between two fsyncs with `Flush::Async`. Default 500 ms.
    pub flush_interval: Duration,
    /// Bytes that may wait for the writer or, with `Flush::Sync`, for the fsync; beyond it `append` says busy.
    /// Default 64 MiB.
    pub max_pending_bytes: usize,
    /// Batches that may wait for the writer. Default 16,384.
    pub max_pending_batches: usize,
    /// Longest time between two checkpoints while records arrive. Default 1 s.
    pub checkpoint_interval: Duration,
    /// Log bytes after which a checkpoint is made at once; bounds what recovery has to read. Default 64 MiB.
    pub checkpoint_bytes: u64,
    /// Consume queue bytes not yet in files, beyond which `append` says busy. Default 64 MiB (3.3 million records).
    pub max_unwritten_queue_bytes: usize,
    /// Records within this distance of the log's end count as being in memory. Default: 40 % of the machine's or the
    /// container's memory.
    pub hot_bytes: u64,
    /// True: the store is one of several replicas. It opens following, shows only what [`crate::Store::set_confirmed`]
    /// allows, and takes appends between [`crate::Store::lead`] and [`crate::Store::follow`]. Default false.
    pub replicated: bool,
    /// What is deleted when, and when appends are refused.
    pub retention: RetentionConfig,
}

/// Deletion of old commit log files. All ratios are of the file system's size, 0.0 to 1.0.
#[derive(Clone, Debug)]
pub struct RetentionConfig {
    /// Age (by store time of its newest record) at which a commit log file may go. Default 72 h.
    pub reserved: Duration,
    /// Use above which the oldest files go even if younger than `reserved`. Default 0.85.
    pub clean_forcibly_ratio: f64,
    /// False: never delete before `reserved`. Default true.
    pub clean_forcibly: bool,
    /// Use above which appends are refused; they resume at or below `clean_forcibly_ratio`. Default 0.90.
    pub refuse_ratio: f64,
    /// Free bytes below which appends are refused whatever the ratio; they resume at twice this. Default 256 MiB.
    pub refuse_free_bytes: u64,
    /// Files deleted per round. Default 10.
    pub batch: usize,
    /// Time between rounds. Default 10 s.
    pub interval: Duration,
}

impl StoreConfig {
    /// The defaults of the original, in folder `root`.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            segment_bytes: 1 << 30,
            queue_file_units: 300_000,
            index_slots: 5_000_000,
            index_entries: 20_000_000,
            flush: Flush::Async,
            flush_interval: Duration::from_millis(500),
            max_pending_bytes: 64 << 20,
            max_pending_batches: 16_384,
            checkpoint_interval: Duration::from_secs(1),
            checkpoint_bytes: 64 << 20,
            max_unwritten_queue_bytes: 64 << 20,
            hot_bytes: memory_bytes().saturating_mul(2) / 5,
            replicated: false,
            retention: RetentionConfig::default(),
        }
    }
}

impl Default for RetentionConfig {
    fn default() -> Self {
        Self {
            reserved: Duration::from_secs(72 * 3600),
            clean_forcibly_ratio: 0.85,
            clean_forcibly: true,
            refuse_ratio: 0.90,
            refuse_free_bytes: 256 << 20,
            batch: 10,
            interval: Duration::from_secs(10),
        }
    }
}

/// Memory of the machine, or of the container when that is less; 1 GiB when neither can be read.
#[must_use]
pub fn memory_bytes() -> u64 {
    let machine = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("MemTotal:"))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok()?.checked_mul(1024)
    });
    let container = std::fs::read_to_string("/sys/fs/cgroup/memory.max")
        .ok()
        .and_then(|text| text.trim().parse::<u64>().ok());
    match (machine, container) {
        (Some(machine), Some(container)) => machine.min(container),
        (Some(bytes), None) | (None, Some(bytes)) => bytes,
        (None, None) => 1 << 30,
    }
}
