//! The nameserver: brokers register with it, clients ask it where topics are.
//!
//! Nameservers share nothing; every broker registers with all of them. State is the routing table in memory (`routes`, pure) and
//! the key-value table on disk (`kv`). `handler` turns requests into calls of these two.

#![forbid(unsafe_code)]

mod config;
mod handler;
mod kv;
mod metrics;
mod routes;
mod run;

pub use config::{ConfigError, NameserverConfig};
pub use handler::served;
pub use kv::KvError;
pub use metrics::NameserverMetrics;
pub use run::{Nameserver, RunError, run};
