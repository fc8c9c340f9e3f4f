//! The storage engine: one commit log per broker, and what is derived from it (consume queues, key index), in the byte
//! formats of Apache RocketMQ. Synchronous: threads, no async runtime.
//!
//! # Use
//!
//! ```text
//! let store = Store::open(StoreConfig::new("/data/store"), Arc::new(RealDisk::new()), Arc::new(SystemClock::new()),
//!                         StoreMetrics::new(), observer)?;
//! let queue = store.queue_or_create(&topic, QueueId(0));
//! let mut batch = AppendBatch::default();
//! let start = batch.buf.len();
//! encode_record(&record, &mut batch.buf);                   // any number of records, on the caller's thread
//! let mut entry = Entry::new(u32 length, queue.clone());    // then: entry.tags, entry.keys.push(index_hash(topic, key)),
//! batch.entries.push(entry);                                //       entry.state, entry.consumable, entry.group_len
//! store.append(batch, Ack::Appended, Box::new(|placed| ...))?;   // Err(Refused) hands batch and callback back
//! let found = store.read(&queue, QueueOffset(0), &ReadLimits::default(), &mut |unit| true);
//! store.close();
//! ```
//!
//! # Promises
//!
//! - `Ack::Appended`: the record is in the kernel; it survives the end of the process. `Ack::Flushed`: it is on disk.
//! - Order: log offsets grow in the order of `append`; queue offsets of a queue are dense and grow with the log offset.
//! - A record becomes visible (to `read`, `query`, the observer) when it is *confirmed*: appended with `Flush::Async`,
//!   flushed with `Flush::Sync`. Nothing that could still be lost by the promise of the flush mode is ever shown.
//! - With replicas ([`StoreConfig::replicated`]) a record is confirmed when, in addition, [`Store::set_confirmed`] says so.
//!   `Ack::Confirmed`: it is. What is not confirmed is in the log only: it may be cut off ([`Store::truncate`]) by a replica
//!   that follows, and is dispatched from the log once it is confirmed, also after a restart. No acknowledgement is given
//!   while [`Store::set_acknowledging`] forbids it, nor after [`Store::follow`].
//! - A failed write or fsync poisons the store: no further acknowledgement, [`Store::poisoned`] is true.
//! - Everything but the commit log is a projection of it and may be deleted; it is rebuilt at open. The exception is a log
//!   that does not have its beginning any more: offsets of queues without a record in it are in the files only.
//!
//! # Steps and threads
//!
//! The work is done by step functions without threads or clock reads ([`Steps`]); [`Store::open`] runs them on named
//! threads, [`Store::open_stepped`] hands them to the caller (the simulator, the tests).

#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::cast_possible_truncation)
)]

mod acknowledging;
mod batch;
mod bootstrap;
mod checkpoint;
mod clock;
mod commit_log;
mod config;
mod consume_queue;
pub mod disk;
mod epochs;
mod flush;
mod inbox;
mod index;
mod mapped;
mod metrics;
pub mod mutations;
mod observer;
mod read;
mod replica;
mod retention;
mod segment;
mod shared;
mod steps;
mod store;
mod threads;

pub use acknowledging::Acknowledging;
pub use batch::{
    Ack, AppendBatch, AppendError, Done, Entry, Keys, Placed, Refusal, Refused, Tags, index_hash,
};
pub use bootstrap::{Seed, bootstrap};
pub use clock::{Clock, SystemClock};
pub use commit_log::{Watermarks, load::OpenError, recover::Recovery};
pub use config::{Flush, RetentionConfig, StoreConfig, memory_bytes};
pub use consume_queue::{Queue, Unit};
pub use disk::{Disk, DiskFile, RealDisk};
pub use epochs::{EPOCH_TOPIC, EpochStart};
pub use metrics::StoreMetrics;
pub use observer::Observer;
pub use read::{Boundary, ReadLimits, ReadResult, ReadStatus, RecordFilter};
pub use replica::{RawDone, RawError, RoleDone, RoleError};
pub use retention::DiskUsage;
pub use steps::Steps;
pub use store::{Store, is_in_use};
