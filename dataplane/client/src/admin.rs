//! Operations on a cluster, one function each: used by the commands, by `bolide up` and by the operator.
//!
//! Operations on nameservers ask one that answers; operations on a broker take its address, from [`Admin::masters`] or a route.

mod broker;
mod group;
mod nameserver;
mod offset;
mod replica;
mod topic;

pub use group::ConsumedQueue;
pub use nameserver::{Master, masters_of};
pub use offset::ResetTo;
pub use topic::QueueStats;

use std::time::Duration;

use bolide_transport::Client;
use bolide_wire::Command;
use serde::de::DeserializeOwned;

use crate::ClientError;
use crate::remote::{Remote, patient};

/// Admin operations; cheap to clone, all clones share their connections.
#[derive(Clone, Debug)]
pub struct Admin {
    remote: Remote,
}

impl Admin {
    /// `namesrv` is `host:port`, several separated by `;`; `timeout` is the limit of each request, and of each connect. Nothing is connected yet.
    ///
    /// # Errors
    /// [`ClientError::Address`].
    pub fn new(namesrv: &str, timeout: Duration) -> Result<Self, ClientError> {
        Self::with_client(Client::new(patient(timeout)), namesrv, timeout)
    }

    /// As [`Admin::new`], over connections that exist.
    ///
    /// # Errors
    /// [`ClientError::Address`].
    pub fn with_client(client: Client, namesrv: &str, timeout: Duration) -> Result<Self, ClientError> {
        Ok(Self { remote: Remote::new(client, namesrv, timeout)? })
    }

    /// The nameservers and the transport below.
    pub fn remote(&self) -> &Remote {
        &self.remote
    }
}

impl From<Remote> for Admin {
    fn from(remote: Remote) -> Self {
        Self { remote }
    }
}

/// Reads the JSON body of an answer; an absent body reads as the default.
pub(crate) fn body<T: DeserializeOwned + Default>(addr: &str, answer: &Command) -> Result<T, ClientError> {
    if answer.body.is_empty() {
        return Ok(T::default());
    }
    bolide_wire::json::from_slice(&answer.body)
        .map_err(|error| ClientError::Body { addr: addr.to_owned(), reason: error.to_string() })
}

/// Reads a number from the header of an answer.
pub(crate) fn number(addr: &str, answer: &Command, field: &'static str) -> Result<i64, ClientError> {
    use bolide_wire::header::HeaderError;
    let source = match answer.ext.get(field) {
        None => HeaderError::Missing { field },
        Some(text) => match text.parse() {
            Ok(number) => return Ok(number),
            Err(_) => HeaderError::Invalid { field, value: text.chars().take(64).collect() },
        },
    };
    Err(ClientError::Header { addr: addr.to_owned(), source })
}
