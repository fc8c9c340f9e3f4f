//! Connections between replicas: delays, partitions in one direction or both, and ends that one side learns of late or never.
//!
//! A connection keeps its order, but for a seed that wants disorder. What is said into a partition comes late, when it heals,
//! or never, when the connection does not survive.

use std::time::Duration;

use bolide_replication::{LinkId, Message};

#[derive(Debug)]
pub(crate) struct Connection {
    /// Who dialed, and who was dialed.
    pub(crate) ends: [usize; 2],
    /// Each end, and the life of the process that holds it.
    pub(crate) lives: [u64; 2],
    /// Each end still believes in it.
    pub(crate) open: [bool; 2],
    /// Towards each end: nothing comes before this time.
    pub(crate) not_before: [Duration; 2],
    /// Towards each end: said into a partition.
    pub(crate) held: [Vec<Message>; 2],
}

#[derive(Debug, Default)]
pub(crate) struct Network {
    pub(crate) connections: Vec<Connection>,
    /// From, to: nothing passes.
    cuts: Vec<(usize, usize)>,
}

impl Network {
    pub(crate) fn is_cut(&self, from: usize, to: usize) -> bool {
        self.cuts.contains(&(from, to))
    }

    pub(crate) fn cut(&mut self, from: usize, to: usize) {
        if !self.is_cut(from, to) {
            self.cuts.push((from, to));
        }
    }

    pub(crate) fn heal(&mut self) -> Vec<(usize, usize)> {
        std::mem::take(&mut self.cuts)
    }

    pub(crate) fn connect(&mut self, from: (usize, u64), to: (usize, u64)) -> usize {
        self.connections.push(Connection {
            ends: [from.0, to.0],
            lives: [from.1, to.1],
            open: [true; 2],
            not_before: [Duration::ZERO; 2],
            held: [Vec::new(), Vec::new()],
        });
        self.connections.len() - 1
    }
}

/// What an end of a connection is called by its replica.
pub(crate) fn link(connection: usize, end: usize) -> LinkId {
    LinkId((connection * 2 + end) as u64)
}

/// The connection and the end that a replica calls so.
pub(crate) fn end_of(link: LinkId) -> (usize, usize) {
    let number = usize::try_from(link.0).unwrap_or(usize::MAX);
    (number / 2, number % 2)
}
