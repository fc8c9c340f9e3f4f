//! The store as one of several replicas: what replication asks of it.
//!
//! A replica either *leads*, and takes appends, or *follows*, and takes the bytes of the one that leads. All of this goes
//! through the writer, in one order with the appends. What is not confirmed is in the log only: it is in no queue, no index
//! and no projection, so that a truncation has nothing to take back.

use std::{io, sync::atomic::Ordering};

use bolide_wire::LogOffset;
use bytes::Bytes;
use thiserror::Error;

use crate::{
    AppendError, Store,
    acknowledging::Acknowledging,
    commit_log::{append::Request, raw::Raw},
    epochs::EpochStart,
    inbox::NotTaken,
};

/// Called once, from a thread of the store (from the caller's when the store is closed), with where the log ends then; for
/// [`Store::lead`] with where the epoch begins. Must not block.
pub type RoleDone = Box<dyn FnOnce(Result<LogOffset, RoleError>) + Send>;

/// Called once, like [`RoleDone`], with where the log ends then.
pub type RawDone = Box<dyn FnOnce(Result<LogOffset, RawError>) + Send>;

/// Why a change of role or a truncation failed. Nothing was changed, unless the store is poisoned.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum RoleError {
    /// The store was opened without `StoreConfig::replicated`.
    #[error("the store is not one of several replicas")]
    NotReplicated,
    /// It leads already.
    #[error("this replica leads")]
    Leading,
    /// The log has an epoch at least as new.
    #[error("the log is in epoch {newest} already")]
    StaleEpoch {
        /// The newest epoch in the log.
        newest: u64,
    },
    /// The name of the master is longer than a record can hold.
    #[error("the name of the master is too long")]
    Name,
    /// The log ends before the offset.
    #[error("the log ends at {end}")]
    BeyondEnd {
        /// Where it ends.
        end: LogOffset,
    },
    /// Records after the offset were confirmed, and shown.
    #[error("the log is confirmed up to {confirmed}")]
    Confirmed {
        /// Up to where.
        confirmed: LogOffset,
    },
    /// No record ends at the offset.
    #[error("no record ends there; the one before it ends at {before}")]
    NoBoundary {
        /// Where a record ends.
        before: LogOffset,
    },
    /// No room for another commit log file.
    #[error("no disk space for another commit log file")]
    DiskFull,
    /// Another commit log file could not be made for another reason than space.
    #[error("the next commit log file could not be made")]
    NoSegment,
    /// The log could not be read, written or forced to disk.
    #[error("the store is poisoned")]
    Poisoned,
    /// The store is closed.
    #[error("the store is closed")]
    Closed,
}

/// Why bytes of the master's log were not taken. Nothing of them is in the log, unless the store is poisoned.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum RawError {
    /// This replica does not follow.
    #[error("this replica does not follow")]
    Leading,
    /// They do not join on to the log's end.
    #[error("the log ends at {end}")]
    Gap {
        /// Where the log ends.
        end: LogOffset,
    },
    /// They are not whole, good records that lie where they say.
    #[error("no good record at {offset}")]
    Malformed {
        /// Where the first bad one would lie.
        offset: LogOffset,
    },
    /// More bytes wait for the writer than may.
    #[error("too much waits for the writer")]
    Busy,
    /// No room for another commit log file.
    #[error("no disk space for another commit log file")]
    DiskFull,
    /// Another commit log file could not be made for another reason than space.
    #[error("the next commit log file could not be made")]
    NoSegment,
    /// A write or fsync failed.
    #[error("the store is poisoned by a failed write or fsync")]
    Poisoned,
    /// The store is closed.
    #[error("the store is closed")]
    Closed,
}

impl From<AppendError> for RoleError {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::DiskFull => Self::DiskFull,
            AppendError::NoSegment => Self::NoSegment,
            AppendError::Poisoned => Self::Poisoned,
            AppendError::Closed | AppendError::NotMaster => Self::Closed,
        }
    }
}

impl From<AppendError> for RawError {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::DiskFull => Self::DiskFull,
            AppendError::NoSegment => Self::NoSegment,
            AppendError::Poisoned => Self::Poisoned,
            AppendError::Closed | AppendError::NotMaster => Self::Closed,
        }
    }
}

impl Store {
    /// Begins an epoch in which this replica is the master: appends and flushes the record that says so, and takes appends
    /// from then on. `epoch` must be newer than every one in the log. `master` is the replica's name, for people.
    pub fn lead(&self, epoch: u64, master: &str, done: RoleDone) {
        self.ask(Request::Lead { epoch, master: master.to_owned(), done });
    }

    /// Takes no more appends from now on; those that wait for an acknowledgement fail with [`AppendError::NotMaster`].
    /// No error when it follows already.
    pub fn follow(&self, done: RoleDone) {
        if self.shared().config.replicated {
            self.shared().leading.store(false, Ordering::SeqCst);
        }
        self.ask(Request::Follow { done });
    }

    /// While following: appends whole records of the master's log, fillers included, that lie at `at`. All are checked
    /// before any is written.
    pub fn append_raw(&self, at: LogOffset, bytes: Bytes, done: RawDone) {
        let shared = self.shared();
        let (batches, limit) = (shared.config.max_pending_batches, shared.config.max_pending_bytes);
        let len = bytes.len();
        if let Err((why, raw)) = shared.inbox.push(Raw { at: at.0, bytes, done }, len, batches, limit) {
            (raw.done)(Err(match why {
                NotTaken::Full => RawError::Busy,
                NotTaken::Closed => RawError::Closed,
            }));
        }
    }

    /// While following: cuts the log off at `to`, durable when done. Never below what was shown ([`RoleError::Confirmed`]).
    pub fn truncate(&self, to: LogOffset, done: RoleDone) {
        self.ask(Request::Truncate { to: to.0, done });
    }

    fn ask(&self, request: Request) {
        if let Some(request) = self.shared().inbox.push_control(request) {
            request.fail(AppendError::Closed);
        }
    }

    /// Every replica in sync has the log below `offset`: it may be shown, as far as the flush mode allows it here. Never
    /// goes back, and means nothing without `StoreConfig::replicated`. Calls the callbacks of appends that waited for it.
    pub fn set_confirmed(&self, offset: LogOffset) {
        let shared = self.shared();
        if shared.config.replicated && shared.log.set_replicated(offset.0) {
            shared.advance();
        }
    }

    /// Whether, and until when, appends are acknowledged. Meant to be called often: as a rule no more than one store to
    /// memory. Calls the callbacks of acknowledgements that were held. At first, `No` with `StoreConfig::replicated`.
    pub fn set_acknowledging(&self, to: Acknowledging) {
        if self.shared().gate.set(to) {
            self.shared().release_held();
        }
    }

    /// True while appends are taken.
    #[must_use]
    pub fn leads(&self) -> bool {
        self.shared().leads()
    }

    /// The epochs of the appended log, oldest first, also of what is not confirmed. What lies before the first of them was
    /// appended without replicas, or is deleted.
    #[must_use]
    pub fn epochs(&self) -> Vec<EpochStart> {
        self.shared().epochs.lock().entries().to_vec()
    }

    /// Bytes of the log from `from`, which must be where a record begins: whole records and fillers of one commit log
    /// file, at least one and no more than `max_bytes` unless the first is larger; empty at the log's end. May block for
    /// the disk. `Interrupted` when a truncation came in between, `NotFound` when the log begins later.
    pub fn log_slice(&self, from: LogOffset, max_bytes: usize) -> io::Result<Bytes> {
        self.shared().log_slice(from.0, max_bytes)
    }
}
