//! The remoting protocol as types: frames, typed headers, JSON bodies, and the message record that is the same on the
//! wire and on disk. No I/O and no async.
//!
//! Invariant of the whole crate: bytes that come from outside never panic a decoder, and never make it allocate more
//! than a small multiple of the bytes it was given.

#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::cast_possible_truncation)
)]

pub mod body;
pub mod code;
pub mod ext;
pub mod frame;
pub mod header;
pub mod ids;
pub mod json;
pub mod language;
pub mod message;
pub mod pop;
pub mod properties;

mod reader;

pub use code::{RequestCode, ResponseCode};
pub use ext::Ext;
pub use frame::{Command, FrameError, SerializeType, decode, encode, encode_head};
pub use ids::{BrokerName, ClusterName, EpochMillis, GroupName, LogOffset, QueueId, QueueOffset, TopicName};
pub use language::Language;
