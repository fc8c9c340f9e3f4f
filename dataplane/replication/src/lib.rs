//! Replication and failover of one broker group, as a state machine: events and a clock in, effects out. No sockets, files,
//! threads or clock in here; the same code runs in the broker and in the simulator.
//!
//! # Use
//!
//! ```text
//! let file = ReplicaFile::start(found, boot_id, random);            // written durably
//! let mut replica = Replica::new(config, file.identity(name)?, log, now);
//! loop {
//!     replica.handle(now, event, &mut effects);                     // one owner, one event at a time
//!     for effect in effects.drain(..) { /* begin it; its answer is a later event */ }
//!     // sleep until replica.wake_at() or the next event
//! }
//! ```
//!
//! `docs/decisions/0013-the-replication-protocol.md` says how the protocol works and why.

#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::cast_possible_truncation)
)]

pub mod codec;
mod config;
mod event;
mod history;
mod identity;
mod message;
mod mutation;
mod pointer;
mod replica;
mod state;
mod status;

pub use config::{Config, Holds, Timing};
pub use event::{
    Acknowledging, CasOutcome, Effect, Event, LinkId, RawFailure, Role, SendFailure, TruncateFailure,
    Unavailable,
};
pub use history::{EpochStart, Fork, LogView, MAX_HELLO_EPOCHS, fork};
pub use identity::{Identity, REPLICA_FILE, ReplicaFile};
pub use message::{Ack, Batch, Heartbeat, Hello, Message, PROTOCOL, Session, Standing, TruncateTo, Welcome};
pub use mutation::Mutation;
#[cfg(feature = "mutations")]
pub use mutation::set_mutation;
pub use pointer::{Pointing, point};
pub use replica::Replica;
pub use state::{
    Epoch, GroupState, Incarnation, MAX_NAME_BYTES, MAX_REPLICAS, MAX_STATE_BYTES, Member, ReplicaName, Seen,
    StateError, Versioned,
};
pub use status::{PeerStatus, RoleName, Status};
