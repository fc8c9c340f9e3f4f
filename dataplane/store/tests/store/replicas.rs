//! Stores as replicas of one another.

mod acknowledging;
mod bootstrap;
mod crash;
mod epochs;
mod following;
#[cfg(feature = "mutations")]
mod mutations;
mod node;
mod threads;
mod truncation;
