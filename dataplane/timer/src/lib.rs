//! The index of pending timers: which record of the log is due when. Synchronous, in files, any number of timers.
//!
//! # What it is
//!
//! A projection of the commit log, fed by [`TimerIndex::add`], [`TimerIndex::delivered`] and [`TimerIndex::rolled`] in the
//! order of the log. It holds no messages, only 24 bytes for each: when it is due, where its record lies, and a hash by which
//! a recall finds it. The youngest entries are in memory, at most [`MEMORY_ENTRIES`] of them; the others lie sorted in files
//! that are never changed. Whoever delivers reads all of them as one sorted stream ([`TimerIndex::due`]).
//!
//! # Invariants
//!
//! - An entry is pending until a delivery in the log says that it is not ([`Progress`]); what a delivery says is absolute, so
//!   that applying a record twice, or in a replay, changes nothing.
//! - The files say nothing that is not in the log: a manifest is written only after the log is on disk up to its watermark.
//! - Everything below the watermark is in the files that the manifest names; recovery replays from there. Without a manifest
//!   the index is rebuilt from the log alone.

#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::cast_possible_truncation)
)]

mod checkpoint;
mod entry;
mod index;
mod manifest;
mod merge;
mod progress;
mod reading;
mod run;

pub use checkpoint::Checkpoint;
pub use entry::{Entry, Key, Kind, identity};
pub use index::{IndexError, MEMORY_ENTRIES, Opened, TimerIndex};
pub use progress::Progress;
pub use reading::{Due, UnderWay};
