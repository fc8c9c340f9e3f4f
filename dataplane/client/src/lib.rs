//! A client of the cluster: typed admin operations, and a minimal producer and consumer. Used by the commands, by `bolide up`, by
//! the operator, by tests and by benchmarks; programs use the official RocketMQ clients.
//!
//! - [`Admin`]: one function for each operation on nameservers and brokers.
//! - [`Producer`]: sends, many at once if wanted, with retries on other queues.
//! - [`Puller`], [`Reader`]: read queues without a group. [`GroupConsumer`]: a member of a consumer group.
//! - [`desired`]: the pure difference between wanted and found topics and groups.
//!
//! Invariants: every request has a time limit; every channel is bounded; nothing is connected before it is needed.

#![forbid(unsafe_code)]

mod admin;
mod allocate;
pub mod desired;
mod error;
mod group_consumer;
mod message;
mod producer;
mod pull;
mod reader;
mod remote;
mod route;

pub use admin::{Admin, ConsumedQueue, Master, QueueStats, ResetTo, masters_of};
pub use error::ClientError;
pub use group_consumer::{GroupConsumer, GroupConsumerConfig};
pub use message::{Message, Received};
pub use producer::{Producer, ProducerConfig, SendStatus, Sent};
pub use pull::{PullStatus, Pulled, Puller, StartAt};
pub use reader::Reader;
pub use remote::Remote;
pub use route::Queue;
