//! What replicas say to each other. `codec` has the bytes.
//!
//! The dialer of a link follows, the acceptor leads: hello, truncation, batches and acknowledgements go that way. Heartbeats go both ways.

use bolide_wire::LogOffset;
use bytes::Bytes;

use crate::{
    history::EpochStart,
    state::{Epoch, Member, Seen},
};

/// The protocol's version that this program speaks, and the oldest that it understands.
pub const PROTOCOL: u16 = 1;

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// First on a link, by the dialer, and again for each new epoch: what its log holds.
    Hello(Hello),
    /// Answer to the first hello, and again when the acceptor becomes master.
    Welcome(Welcome),
    /// The logs part here: cut, then acknowledge.
    TruncateTo(TruncateTo),
    /// The follower's log cannot be continued from this master's: it needs a snapshot.
    NeedSnapshot {
        /// The master's epoch.
        epoch: Epoch,
        /// Oldest byte that the master has.
        min: LogOffset,
    },
    /// A part of the log.
    Batch(Batch),
    /// Sign of life, both ways.
    Heartbeat(Heartbeat),
    /// What a follower holds, of this epoch's log, after its truncation.
    Ack(Ack),
    /// The master hands over: whoever is named by `to` may claim when its log ends exactly here.
    Lead {
        /// The master's epoch.
        epoch: Epoch,
        /// End of its log, to which nothing is added any more.
        end: LogOffset,
    },
    /// The master gives up without a successor chosen (its disk failed): whoever is in sync may claim.
    Resign {
        /// Its epoch.
        epoch: Epoch,
    },
    /// The sender knows a higher epoch than that of the message it got.
    Refuse {
        /// The highest epoch that it knows.
        epoch: Epoch,
    },
    /// For the shell of the other side; opaque to the state machine (snapshots go this way).
    Shell(Bytes),
}

/// Which run of following a hello, a truncation, a batch or an acknowledgement belongs to: chosen by the follower, growing
/// with each hello of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Session(pub u64);

/// What one replica says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Who it is.
    pub member: Member,
    /// The highest group state that it has seen; none when it never was part of a group.
    pub seen: Option<Seen>,
    /// The epoch in which it leads, if it does.
    pub leads: Option<Epoch>,
    /// The epoch that wrote the end of its log.
    pub last_epoch: Epoch,
    /// End of its log.
    pub end: LogOffset,
}

/// See [`Message::Hello`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The newest version of the protocol that the sender speaks.
    pub protocol: u16,
    /// Name of the message cluster.
    pub cluster: String,
    /// Name of the group.
    pub group: String,
    /// Bytes of a commit log file.
    pub segment_bytes: u64,
    /// The sender.
    pub standing: Standing,
    /// This run of following.
    pub session: Session,
    /// Appends of masters of lower epochs have ended; a master of exactly this epoch may answer with a truncation.
    pub follows: Epoch,
    /// Newest entries of the epoch table, oldest first.
    pub epochs: Vec<EpochStart>,
    /// Oldest byte of the log.
    pub min: LogOffset,
}

/// See [`Message::Welcome`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// The newest version of the protocol that the sender speaks.
    pub protocol: u16,
    /// The sender; `leads` says whether it is master.
    pub standing: Standing,
}

/// See [`Message::TruncateTo`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TruncateTo {
    /// The master's epoch.
    pub epoch: Epoch,
    /// That of the hello.
    pub session: Session,
    /// Where the logs part.
    pub offset: LogOffset,
}

/// See [`Message::Batch`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The master's epoch.
    pub epoch: Epoch,
    /// That of the truncation.
    pub session: Session,
    /// Offset of the first byte.
    pub offset: LogOffset,
    /// The master's confirm offset.
    pub confirm: LogOffset,
    /// Whole records and fillers, within one segment. The codec adds and checks a CRC32C.
    pub bytes: Bytes,
}

/// See [`Message::Heartbeat`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// The sender.
    pub standing: Standing,
    /// The sender's confirm offset; of use when it leads.
    pub confirm: LogOffset,
    /// The sender's monotonic clock, in nanoseconds; comes back as `echo`.
    pub stamp: u64,
    /// The newest stamp received on this link; 0 for none.
    pub echo: u64,
}

/// See [`Message::Ack`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    /// The epoch of the batches.
    pub epoch: Epoch,
    /// That of the truncation.
    pub session: Session,
    /// Given to the kernel up to here.
    pub written: LogOffset,
    /// Forced to disk up to here.
    pub flushed: LogOffset,
    /// The newest stamp received on this link; 0 for none.
    pub echo: u64,
}
