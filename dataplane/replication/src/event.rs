//! What a replica is told, and what it wants done. The shell (sockets and threads in production, a simulator in tests)
//! turns one into the other.

use std::time::Duration;

use bolide_wire::LogOffset;

use crate::{
    history::LogView,
    message::{Message, Session},
    state::{Epoch, GroupState, ReplicaName, Seen, Versioned},
};

/// A connection, numbered by the shell; a number is never used twice in a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// Something has happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// Time has passed; due at `Replica::wake_at`, harmless at any time.
    Tick,

    /// The log has grown or was flushed. Must be read from the store at the moment it is handed over: a value from before a
    /// truncation is a lie after it.
    Progress {
        /// Given to the kernel up to here.
        appended: LogOffset,
        /// Forced to disk up to here.
        flushed: LogOffset,
    },
    /// `Effect::Follow` is done.
    Following(LogView),
    /// `Effect::Lead` is done: the epoch record is on disk, and appends are taken. `None`: it failed.
    Leading {
        /// Of the effect.
        epoch: Epoch,
        /// The log with the epoch record.
        log: Option<LogView>,
    },
    /// One `Effect::AppendRaw` is done; in the order of the effects.
    RawAppended(Result<LogView, RawFailure>),
    /// `Effect::Truncate` is done.
    Truncated(Result<LogView, TruncateFailure>),
    /// `Effect::SendLog` is done: handed to the link up to this offset, or why not.
    LogSent {
        /// Of the effect.
        link: LinkId,
        /// Of the effect.
        session: Session,
        /// The end of what was sent. At least `from`; equal when there was nothing.
        result: Result<LogOffset, SendFailure>,
    },
    /// The store takes no more writes (a failed write or fsync). Nothing but the end of the process mends it.
    StoreFailed,

    /// `Effect::Dial` has led to a connection.
    Dialed {
        /// The peer that was dialed.
        peer: ReplicaName,
        /// The connection.
        link: LinkId,
    },
    /// `Effect::Dial` has failed.
    DialFailed {
        /// The peer that was dialed.
        peer: ReplicaName,
        /// True when its own address refused the connection: there is no such process.
        refused: bool,
    },
    /// Another replica has connected.
    Accepted {
        /// The connection.
        link: LinkId,
    },
    /// A connection has ended, by the other side or by `Effect::Close`.
    LinkDown {
        /// The connection.
        link: LinkId,
    },
    /// A message has come.
    Received {
        /// The connection.
        link: LinkId,
        /// The message.
        message: Message,
    },

    /// `Effect::LoadState` is done: `None` when there is no group state.
    StateLoaded(Result<Option<Versioned>, Unavailable>),
    /// `Effect::CompareAndSet` is done.
    CasDone(CasOutcome),

    /// Hand the role over, to this replica or to the one that is furthest.
    Switchover {
        /// The successor that is wanted.
        to: Option<ReplicaName>,
    },
    /// The process is about to end: it may hand its role over, and takes none any more.
    Retire,
    /// `Effect::HoldSends` is done: all appends that were let through are in the log, and no other will be made.
    SendsHeld,
}

/// The group state could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unavailable;

/// What became of a compare-and-set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CasOutcome {
    /// The new state is set, with this version.
    Set {
        /// The version to name next time.
        version: String,
    },
    /// The version named is not that of the state any more; nothing was set.
    Conflict,
    /// Nothing is known: it may be set, or be set later.
    Unknown,
}

/// Why raw bytes were not appended; nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RawFailure {
    /// They do not begin where the log ends.
    Gap,
    /// They are not whole, unharmed records of these positions.
    Malformed,
    /// There is no room.
    DiskFull,
    /// The store does not follow, or is closed or poisoned.
    Refused,
}

/// Why a log was not cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TruncateFailure {
    /// Below what was already shown to readers.
    Shown,
    /// The store does not follow, or is closed or poisoned.
    Refused,
}

/// Why a part of the log was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendFailure {
    /// The log does not begin there any more.
    Gone,
    /// It could not be read, or the link is gone.
    Failed,
}

/// Something to do. Effects are to be begun in the order in which they are given.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Note, durably, before any later effect is begun.
    PersistSeen(Seen),
    /// Read the group state, not from a cache. One at a time.
    LoadState,
    /// Set the group state if its version is still this. One at a time, and none while a load is under way.
    CompareAndSet {
        /// The version that must still be there.
        version: String,
        /// What to set.
        new: GroupState,
    },

    /// Refuse appends from now on; `Event::Following` when those before are done.
    Follow,
    /// Append the record of this epoch and take appends from now on; `Event::Leading`.
    Lead {
        /// The epoch.
        epoch: Epoch,
    },
    /// Cut the log; `Event::Truncated`.
    Truncate {
        /// First byte to go.
        to: LogOffset,
    },
    /// Append a master's bytes; `Event::RawAppended`.
    AppendRaw {
        /// Where they begin: the log's end once all before are done.
        at: LogOffset,
        /// Whole records and fillers.
        bytes: bytes::Bytes,
    },
    /// Every in-sync replica holds the log up to here. Never lower than before.
    SetConfirmed(LogOffset),
    /// Whether acknowledgements may go to clients.
    SetAcknowledging(Acknowledging),

    /// Connect to a peer; `Event::Dialed` or `Event::DialFailed`. One at a time for each peer.
    Dial {
        /// The peer.
        peer: ReplicaName,
    },
    /// Send a message.
    Send {
        /// The connection.
        link: LinkId,
        /// The message.
        message: Message,
    },
    /// Read a part of the log and send it as a `Batch`; `Event::LogSent`. One at a time for each link.
    SendLog {
        /// The connection.
        link: LinkId,
        /// For the batch.
        epoch: Epoch,
        /// For the batch.
        session: Session,
        /// Where the part begins.
        from: LogOffset,
        /// Its largest size.
        max_bytes: u32,
        /// For the batch.
        confirm: LogOffset,
    },
    /// End a connection; `Event::LinkDown` follows.
    Close {
        /// The connection.
        link: LinkId,
    },

    /// The role has changed.
    Role(Role),
    /// The log cannot be continued from the master's: get a snapshot from it, and start anew with it.
    NeedSnapshot {
        /// The connection to the master.
        link: LinkId,
        /// The master.
        master: ReplicaName,
        /// Oldest byte that the master has.
        min: LogOffset,
    },
    /// Let no new append through, of clients or of our own; `Event::SendsHeld` when those before are in the log.
    HoldSends,
    /// Let appends through again: the switchover has failed.
    ReleaseSends,
    /// The switchover is done: what clients still send here is to be sent on to this replica.
    ForwardTo {
        /// The new master.
        master: ReplicaName,
    },
}

/// Whether acknowledgements may go to clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acknowledging {
    /// Nobody else can become master.
    Yes,
    /// Up to this time of the monotonic clock; to be looked at just before each acknowledgement.
    Until(Duration),
    /// Not now.
    No,
}

/// What a replica is to its clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// Neither leads nor follows.
    Waiting,
    /// Follows a master.
    Slave {
        /// The master.
        master: ReplicaName,
        /// Its epoch.
        epoch: Epoch,
    },
    /// Leads.
    Master {
        /// The epoch.
        epoch: Epoch,
        /// The epoch record is confirmed: clients are served, and duties run.
        serving: bool,
        /// False once a member was silent for too long: connections of clients are to be closed.
        acknowledging: bool,
    },
}
