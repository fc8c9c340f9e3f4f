//! What a seed decides before anything happens.

use std::time::Duration;

use bolide_store::{Ack, Flush};

use crate::random::Random;

/// Shape of a group, its load, and how often what goes wrong.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) replicas: usize,
    pub(crate) flush: Flush,
    /// Sync replication: acknowledged when every in-sync replica holds it.
    pub(crate) sync: bool,
    pub(crate) min_in_sync: usize,
    /// Time under faults.
    pub(crate) faults_for: Duration,
    /// Mean time between two faults.
    pub(crate) fault_every: Duration,
    pub(crate) producers: usize,
    pub(crate) pace: Duration,
    /// All records as long as an epoch record, and nothing but messages: so that remains of an old tail can fit a new one.
    pub(crate) uniform: bool,
    /// Of a thousand messages between replicas, come twice or late.
    pub(crate) disorder: u64,
    /// Of a thousand reads of the group state, are old.
    pub(crate) stale: u64,
    /// Of a thousand writes of the group state, have no answer.
    pub(crate) lost_answers: u64,
    /// What the store calls back is told this much later, at most.
    pub(crate) callback_us: u64,
    pub(crate) segment_bytes: u64,
    pub(crate) batch_bytes: u32,
    pub(crate) window_bytes: u64,
    pub(crate) catch_up_bytes_per_second: Option<u64>,
}

impl Plan {
    pub(crate) fn new(random: &mut Random) -> Self {
        let replicas = if random.chance(550) { 2 } else { 3 };
        let uniform = random.chance(400);
        Self {
            replicas,
            flush: if random.chance(500) { Flush::Sync } else { Flush::Async },
            sync: !random.chance(80),
            min_in_sync: if random.chance(200) { 2 } else { 1 },
            faults_for: random.millis(4000, 12_000),
            fault_every: random.millis(80, 1200),
            producers: 2 + random.index(2),
            pace: random.millis(4, 60),
            uniform,
            disorder: if random.chance(200) { 5 } else { 0 },
            stale: if random.chance(300) { 250 } else { 0 },
            lost_answers: if random.chance(400) { 200 } else { 10 },
            callback_us: if random.chance(300) { 2000 } else { 0 },
            segment_bytes: 4096 << random.below(3),
            batch_bytes: if random.chance(300) { 600 } else { 16 << 10 },
            window_bytes: if random.chance(300) { 2000 } else { 1 << 20 },
            catch_up_bytes_per_second: random.chance(200).then_some(200_000),
        }
    }

    /// Which acknowledgement a send waits for.
    pub(crate) fn ack(&self) -> Ack {
        match (self.sync, self.flush) {
            (true, _) => Ack::Confirmed,
            (false, Flush::Sync) => Ack::Flushed,
            (false, Flush::Async) => Ack::Appended,
        }
    }
}
