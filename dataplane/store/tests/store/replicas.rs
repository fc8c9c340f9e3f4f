//! Stores as replicas of one another.

mod acknowledging;
mod epochs;
mod following;
mod node;
mod truncation;
