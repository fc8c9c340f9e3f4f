//! From a BrokerSet to the Kubernetes objects it consists of: pure functions, no client, no clock.
//!
//! Invariants: the same input gives the same object, byte for byte, so that applying it again changes nothing; no object
//! carries a field that somebody else decides (the selector of a role Service belongs to the broker that leads).

#![forbid(unsafe_code)]

pub mod broker;
pub mod cluster;
pub mod hash;
pub mod labels;
pub mod names;
pub mod nameserver;
pub mod pod;

pub use broker::Group;
pub use cluster::Cluster;
