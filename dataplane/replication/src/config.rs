//! What the owner of a replica chooses.

use std::time::Duration;

use crate::state::ReplicaName;

/// What a member must have done with bytes to hold them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// Given them to the kernel (asynchronous flush).
    Written,
    /// Forced them to disk (synchronous flush).
    Flushed,
}

/// Settings of one replica. Those of all replicas of a group must agree, but for the limits.
#[derive(Clone, Debug)]
pub struct Config {
    /// Name of the message cluster; a peer of another one is refused.
    pub cluster: String,
    /// Name of the broker group; a peer of another one is refused.
    pub group: String,
    /// The other replicas of the group.
    pub peers: Vec<ReplicaName>,
    /// What counts as held.
    pub holds: Holds,
    /// Members of `in_sync`, the master among them, without which nothing is acknowledged. At least 1.
    pub min_in_sync: usize,
    /// Bytes of a commit log file.
    pub segment_bytes: u64,
    /// Largest part of the log in one batch, in bytes.
    pub batch_bytes: u32,
    /// Bytes that may be on their way to one follower, not yet written there.
    pub window_bytes: u64,
    /// Bytes per second for a follower that is not in sync; `None` for no limit.
    pub catch_up_bytes_per_second: Option<u64>,
    /// Times of the protocol.
    pub timing: Timing,
}

impl Config {
    /// The defaults for a group of this replica and its peers.
    #[must_use]
    pub fn new(cluster: &str, group: &str, peers: Vec<ReplicaName>) -> Self {
        Self {
            cluster: cluster.to_owned(),
            group: group.to_owned(),
            peers,
            holds: Holds::Written,
            min_in_sync: 1,
            segment_bytes: 1 << 30,
            batch_bytes: 1 << 20,
            window_bytes: 32 << 20,
            catch_up_bytes_per_second: None,
            timing: Timing::default(),
        }
    }
}

/// Times of the protocol. Safety does not depend on them.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// Between two heartbeats. Default 500 ms.
    pub heartbeat: Duration,
    /// Silence after which a master is taken for dead, and after which a master that hears nothing stops acknowledging.
    /// Default 2 s.
    pub suspect: Duration,
    /// Age of the oldest byte that a member does not hold, at which the master removes it. Default 1 s.
    pub shrink: Duration,
    /// Between two attempts to dial a peer, at least; grows to ten times that. Default 100 ms.
    pub redial: Duration,
    /// Between two looks at the group state while there is no master. Default 500 ms.
    pub reload: Duration,
    /// How much later a candidate tries for each one that is ahead of it. Default 200 ms.
    pub rank: Duration,
    /// First pause before a removed member is added again; doubles up to 30 times that. Default 1 s.
    pub readd: Duration,
    /// Longest hold of a planned switchover. Default 2 s.
    pub switchover: Duration,
    /// How soon a follower is told of a confirm offset that no batch carries. Default 10 ms.
    pub confirm: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        let ms = Duration::from_millis;
        Self {
            heartbeat: ms(500),
            suspect: ms(2000),
            shrink: ms(1000),
            redial: ms(100),
            reload: ms(500),
            rank: ms(200),
            readd: ms(1000),
            switchover: ms(2000),
            confirm: ms(10),
        }
    }
}
