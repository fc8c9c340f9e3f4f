//! Which messages a subscription wants: by tag hash, or by an SQL92 expression over the message's properties.
//!
//! Pure: no I/O, nothing of the other crates. Both filters are compiled once per subscription and evaluated without
//! allocation.

#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::cast_possible_truncation)
)]

pub mod sql;
pub mod tags;

pub use sql::{Selector, SyntaxError};
pub use tags::TagFilter;
