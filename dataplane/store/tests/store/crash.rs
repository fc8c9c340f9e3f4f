//! A crash at every step of the disk, of the process and of the machine, then everything that was promised is checked.

use bolide_store::{
    Ack, Flush,
    disk::{Crash, Fault},
};

use crate::support::{Harness, Random};

const TOPICS: [&str; 3] = ["alpha", "beta", "gamma"];

/// A random but repeatable course of events.
fn run(harness: &mut Harness, random: &mut Random, rounds: usize) {
    for _ in 0..rounds {
        if harness.disk.is_down() {
            return;
        }
        match random.below(16) {
            0..=6 => {
                let ack = if random.below(2) == 0 { Ack::Appended } else { Ack::Flushed };
                let count = random.below(5) + 1;
                let wanted: Vec<_> = (0..count)
                    .map(|_| {
                        let name = TOPICS[random.below(3) as usize];
                        (name, random.below(2) as u32, random.below(900) as usize)
                    })
                    .collect();
                harness.append(ack, &wanted);
            }
            7..=10 => harness.write(),
            11 | 12 => harness.flush(),
            13 => {
                harness.steps.checkpoint();
            }
            14 => {
                harness.steps.index();
                harness.clock.0.fetch_add(3000, std::sync::atomic::Ordering::SeqCst);
            }
            _ => {
                let _ = harness.steps.prepare_segment();
            }
        }
        harness.settle();
    }
}

fn check(harness: &mut Harness, crash: Crash, flush: Flush) {
    match crash {
        Crash::Process => {
            harness.check_acked(None);
            harness.check_seen();
        }
        Crash::Machine => {
            harness.check_acked(Some(Ack::Flushed));
            if flush == Flush::Sync {
                harness.check_seen();
            }
        }
    }
    harness.check_index();
}

fn crash_everywhere(seed: u64, flush: Flush, crash: Crash, rounds: usize) {
    let total = {
        let mut harness = Harness::new(seed, flush);
        let before = harness.disk.steps();
        run(&mut harness, &mut Random::new(seed), rounds);
        harness.disk.steps() - before
    };
    assert!(total > 20, "the course of events reaches the disk");
    for step in 1..=total {
        println!("seed {seed}, crash at step {step} of {total}");
        let mut harness = Harness::new(seed, flush);
        harness.disk.fault_after(Some((step, Fault::Crash)));
        run(&mut harness, &mut Random::new(seed), rounds);
        harness.restart(crash);
        check(&mut harness, crash, flush);
        // Go on, and go down again: what recovery left behind must stand too.
        harness.accept_losses();
        run(&mut harness, &mut Random::new(seed ^ step), rounds / 4);
        harness.restart(crash);
        check(&mut harness, crash, flush);
        harness.accept_losses();
        harness.close();
        harness.restart(Crash::Machine);
        harness.check_acked(None);
        harness.check_seen();
        harness.check_index();
    }
}

#[test]
fn killed_at_every_step_with_async_flush_nothing_written_is_lost() {
    for seed in 1..=2 {
        crash_everywhere(seed, Flush::Async, Crash::Process, 80);
    }
}

#[test]
fn killed_at_every_step_with_sync_flush_nothing_written_is_lost() {
    for seed in 11..=12 {
        crash_everywhere(seed, Flush::Sync, Crash::Process, 80);
    }
}

#[test]
fn machine_lost_at_every_step_with_async_flush_keeps_what_was_flushed() {
    for seed in 21..=22 {
        crash_everywhere(seed, Flush::Async, Crash::Machine, 80);
    }
}

#[test]
fn machine_lost_at_every_step_with_sync_flush_keeps_what_was_flushed_or_shown() {
    for seed in 31..=32 {
        crash_everywhere(seed, Flush::Sync, Crash::Machine, 80);
    }
}

#[test]
fn a_crash_at_every_step_of_recovery_itself_loses_nothing() {
    for (seed, flush) in [(41, Flush::Async), (42, Flush::Sync)] {
        for step in 1..60 {
            let mut harness = Harness::new(seed, flush);
            run(&mut harness, &mut Random::new(seed), 120);
            harness.settle();
            let disk = harness.disk.restart(Crash::Machine);
            disk.fault_after(Some((step, Fault::Crash)));
            let opened = crate::support::open(&disk, &harness.config, &harness.clock, &harness.recorder);
            drop(opened);
            harness.disk = disk;
            harness.restart(Crash::Machine);
            check(&mut harness, Crash::Machine, flush);
        }
    }
}

/// Every write and every fsync fails once: the store must not acknowledge anything it cannot keep.
#[test]
fn a_failure_at_every_step_acknowledges_nothing_that_is_not_kept() {
    for (seed, flush) in [(51, Flush::Async), (52, Flush::Sync)] {
        for step in 1..160 {
            let mut harness = Harness::new(seed, flush);
            harness.disk.fault_after(Some((step, Fault::Fail)));
            run(&mut harness, &mut Random::new(seed), 80);
            harness.settle();
            harness.restart(Crash::Machine);
            check(&mut harness, Crash::Machine, flush);
        }
    }
}
