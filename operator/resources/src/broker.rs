//! The objects of one broker group.

pub mod access;
pub mod config_map;
pub mod lease;
pub mod network_policy;
pub mod pdb;
pub mod service;
pub mod stateful_set;

use bolide_api::common::Quantity;

use crate::cluster::Cluster;
use crate::labels::{self, Labels};

/// A broker group, and what was found in Kubernetes that its objects depend on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Number of the group, from 0.
    pub number: u32,
    /// Size in the claim template of its StatefulSet, which can never change; the wanted size for a new one.
    pub claim_size: Quantity,
    /// Pods that it has: as many as the spec asks for, and still those that cannot go yet.
    pub replicas: u32,
    /// Who leads it is decided by the group state on its Lease. So it is for every group of several replicas, and for one that had
    /// several: its volumes remember.
    pub replicated: bool,
    /// Address of the Service of its master: what the broker registers, and what stands in message ids.
    pub address: Option<String>,
    /// Addresses of the Services of its slaves, by broker id from 1; those that are known.
    pub slave_addresses: Vec<String>,
    /// No new messages are taken: the group is on its way out.
    pub draining: bool,
}

impl Group {
    pub(crate) fn labels(&self, cluster: &Cluster) -> Labels {
        let mut labels = cluster.broker_labels();
        labels.insert(labels::GROUP.to_owned(), self.number.to_string());
        labels
    }

    /// The labels that select the pods of the group; they never change.
    pub fn selector(&self, cluster: &str) -> Labels {
        let mut labels = labels::selector(cluster, labels::BROKER);
        labels.insert(labels::GROUP.to_owned(), self.number.to_string());
        labels
    }
}

#[cfg(test)]
mod tests;
