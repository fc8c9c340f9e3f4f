//! The broker: takes messages in, gives them out, and keeps what it knows as projections of its log.
//!
//! The map: `handler` has one function per request code, `reply` turns their failures into codes, `state` holds topics,
//! groups, offsets and delay progress, `clients`, `locks` and `hold` are pure tables, `duties` is what a master does unasked,
//! `delay`, `timers` and `transaction` among it, `registration`,
//! `housekeeping` and `handler::pull::wake` are the tasks, and `run` starts and stops it all.

#![forbid(unsafe_code)]

mod arrivals;
mod assignments;
mod broker;
mod clients;
pub mod config;
mod delay;
mod duties;
mod error;
mod front;
mod handler;
#[cfg(test)]
mod harness;
mod hold;
mod housekeeping;
mod locks;
mod metrics;
mod pop;
mod registration;
mod replicas;
mod reply;
mod rewrite;
mod role;
mod run;
mod serving;
mod state;
mod stats;
mod timers;
mod transaction;

pub use config::{BrokerConfig, ConfigError, FlushDiskType};
pub use delay::{DelayLevels, LevelsError};
pub use front::FrontError;
pub use handler::served;
pub use metrics::BrokerMetrics;
pub use replicas::{Environment, FileGroupState, GroupStateError, GroupStateStore, ReplicaError};
pub use role::Serving;
pub use run::{RunError, run};
pub use state::snapshot::SnapshotError;
