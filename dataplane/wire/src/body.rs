//! JSON bodies, one module per family. Members are declared in the order of their names, as the original writes them;
//! absent members are left out when writing and take their default when reading.

macro_rules! body {
    ($(#[$doc:meta])* pub struct $name:ident { $($fields:tt)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        pub struct $name { $($fields)* }
    };
}

mod java_enum;

pub mod assignment;
pub mod connection;
pub mod group;
pub mod heartbeat;
pub mod lock;
pub mod offset;
pub mod pop;
pub mod queue;
pub mod register;
pub mod replica;
pub mod route;
pub mod stats;
pub mod topic;

pub use queue::{MessageQueue, QueueMap};

#[cfg(test)]
mod tests;
