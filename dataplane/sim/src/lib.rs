//! Whole broker groups on a simulated network, clock and disk: the production state machine of replication and the production
//! store, step by step, with everything going wrong that a seed says. The same seed gives the same run.
//!
//! A run ends with the first broken invariant, or after everything was mended and the group is whole again and holds all that
//! it ever promised.

#![forbid(unsafe_code)]

mod check;
mod clients;
mod faults;
mod group_state;
mod history;
mod network;
mod node;
mod plan;
mod projection;
mod random;
mod shell;
mod world;

use std::time::Duration;

use world::World;

/// What a run has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Messages handed over by producers.
    pub sent: usize,
    /// Messages acknowledged.
    pub acked: usize,
    /// Messages read by consumers, from any replica.
    pub reads: u64,
    /// Highest epoch.
    pub epochs: u64,
    /// The same for two runs in which the same happened.
    pub digest: u64,
}

/// Runs a seed.
///
/// # Errors
/// The first invariant that was broken.
pub fn run(seed: u64, verbose: bool) -> Result<Summary, String> {
    let mut world = World::new(seed, verbose);
    if verbose {
        println!("seed {seed}: {:?}", world.plan);
    }
    let end = world.now + Duration::from_millis(2500) + world.plan.faults_for;
    world.run_to(end);
    if world.history.failure().is_none() {
        world.converge();
    }
    if world.history.failure().is_none() {
        world.check_end();
    }
    match world.history.failure() {
        Some(failure) => Err(format!("at {:.4} s: {failure}", world.now.as_secs_f64())),
        None => Ok(Summary {
            sent: usize::try_from(world.messages).unwrap_or(0),
            acked: world.history.acked.len(),
            reads: world.history.reads,
            epochs: world.history.epochs,
            digest: world.history.digest,
        }),
    }
}
