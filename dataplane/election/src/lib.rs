//! The role of a broker, where Kubernetes keeps it: the only part of the data plane that talks to an API server.
//!
//! - [`GroupLease`]: the group state, which decides who leads.
//! - [`RoleService`]: the Service whose address clients know as the master's. The broker that holds the role points it at its
//!   own pod; the operator makes the Service and never touches its selector.
//!
//! Invariants: selector and epoch are written together, only over a lower epoch, only on the version that was read (the API
//! server refuses the write otherwise); the epoch grows with each claim, so a process that was replaced sees a higher one and
//! stops writing. Messages never wait for any of this.

#![forbid(unsafe_code)]

mod group_lease;
mod role_service;

pub use group_lease::{GROUP_STATE, GroupLease};
pub use role_service::{ElectionError, RoleService};
