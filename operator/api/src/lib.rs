//! The three kinds a person writes (`BrokerSet`, `Topic`, `ConsumerGroup`; group `bolide.dev`, version `v1alpha1`),
//! their status, and everything that follows from an object alone: defaults, names, checks, broker settings.
//!
//! No client and no I/O: the operator and `bolide up` read the same objects by the same rules.
//! Invariant: a rule that needs no cluster stands in the schema (CEL) *and* in [`check`], with the same sentence.

#![forbid(unsafe_code)]
#![expect(unreachable_pub, reason = "the derive of the schema repeats each pub type inside a function")]

pub mod broker_set;
pub mod broker_settings;
pub mod check;
pub mod common;
pub mod consumer_group;
pub mod crd;
pub mod manifest;
mod schema;
pub mod status;
pub mod topic;
pub mod yaml;

pub use broker_set::{BrokerSet, BrokerSetSpec, BrokerSetStatus};
pub use consumer_group::{ConsumerGroup, ConsumerGroupSpec, ConsumerGroupStatus};
pub use topic::{Topic, TopicSpec, TopicStatus};

/// The API group of all kinds.
pub const API_GROUP: &str = "bolide.dev";
/// The API version of all kinds.
pub const API_VERSION: &str = "v1alpha1";
