//! Thousands of seeds. `SIM_SEED=n` runs one and says what happens in it; `SIM_SEEDS=n` says how many; `SIM_FIRST=n` where to begin.

use std::{
    sync::Mutex,
    sync::atomic::{AtomicU64, Ordering},
};

use bolide_sim::{Summary, run};

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("SIM_ variables are numbers"))
}

/// Runs seeds on two threads; returns the sums, or the first seed that failed.
fn run_seeds(first: u64, count: u64) -> Result<(u64, Summary), (u64, String)> {
    let next = AtomicU64::new(first);
    let failed: Mutex<Option<(u64, String)>> = Mutex::new(None);
    let sums = Mutex::new((0, Summary::default()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + count || failed.lock().expect("no panic").is_some() {
                        break;
                    }
                    let result = std::panic::catch_unwind(|| run(seed, false));
                    let result = result.unwrap_or_else(|_| Err("it panics".to_owned()));
                    match result {
                        Ok(found) => {
                            let mut sums = sums.lock().expect("no panic");
                            sums.0 += 1;
                            sums.1.sent += found.sent;
                            sums.1.acked += found.acked;
                            sums.1.reads += found.reads;
                            sums.1.epochs += found.epochs;
                        }
                        Err(why) => {
                            failed.lock().expect("no panic").get_or_insert((seed, why));
                        }
                    }
                }
            });
        }
    });
    match failed.into_inner().expect("no panic") {
        Some(failed) => Err(failed),
        None => Ok(sums.into_inner().expect("no panic")),
    }
}

#[test]
fn no_seed_breaks_an_invariant() {
    if let Some(seed) = number("SIM_SEED") {
        let found = run(seed, true).unwrap_or_else(|why| panic!("seed {seed}: {why}"));
        println!("seed {seed}: {found:?}");
        return;
    }
    let (first, count) = (number("SIM_FIRST").unwrap_or(1), number("SIM_SEEDS").unwrap_or(300));
    let start = std::time::Instant::now();
    match run_seeds(first, count) {
        Ok((seeds, sums)) => {
            println!(
                "{seeds} seeds in {:.1} s: {} messages sent, {} acknowledged, {} read, {} epochs; no invariant broken",
                start.elapsed().as_secs_f64(),
                sums.sent,
                sums.acked,
                sums.reads,
                sums.epochs
            );
            assert!(sums.acked > 0 && sums.epochs > seeds, "the runs did something");
        }
        Err((seed, why)) => panic!("seed {seed} (SIM_SEED={seed} make sim replays it): {why}"),
    }
}

#[test]
fn a_seed_runs_the_same_each_time() {
    for seed in 1..6 {
        assert_eq!(run(seed, false), run(seed, false), "seed {seed}");
    }
}
