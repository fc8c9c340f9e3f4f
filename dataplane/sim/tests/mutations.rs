//! The simulator would notice: each deliberate mistake is caught by some seed. Only with the feature `mutations`.
#![cfg(feature = "mutations")]

use std::{
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use bolide_replication::{Mutation, set_mutation};
use bolide_sim::run;
use bolide_store::mutations::{self, Mutation as StoreMutation};

/// Seeds that a mistake may take to be caught.
const SEEDS: u64 = 30_000;

#[derive(Clone, Copy, Debug)]
enum Mistake {
    Replication(Mutation),
    Store(StoreMutation),
}

const MISTAKES: [(&str, Mistake); 11] = [
    (
        "growth of in_sync binds only after its compare-and-set",
        Mistake::Replication(Mutation::GrowthBindsLate),
    ),
    ("truncation does not zero", Mistake::Store(StoreMutation::TruncateWithoutZeroing)),
    ("recovery ignores the physical offset", Mistake::Store(StoreMutation::RecoverAnyPlace)),
    (
        "a restarted member keeps its membership after losing unsynced bytes",
        Mistake::Replication(Mutation::KeepsMembershipAfterLoss),
    ),
    (
        "acknowledgements count from before the truncation",
        Mistake::Replication(Mutation::CountsBeforeTruncation),
    ),
    ("the old master is kept in the new in_sync", Mistake::Replication(Mutation::KeepsOldMaster)),
    ("the Service is written without the epoch", Mistake::Replication(Mutation::PointsWithoutEpoch)),
    ("minInSync is checked at admission only", Mistake::Replication(Mutation::MinInSyncAtAdmission)),
    ("a snapshot is taken beyond the confirm offset", Mistake::Replication(Mutation::SnapshotBeyondConfirm)),
    ("the epoch table is not in the log", Mistake::Replication(Mutation::EpochTableBesideLog)),
    (
        "the group state is recreated while data exists",
        Mistake::Replication(Mutation::BelievesRecreatedState),
    ),
];

fn put_in(mistake: Option<Mistake>) {
    set_mutation(match mistake {
        Some(Mistake::Replication(mutation)) => Some(mutation),
        _ => None,
    });
    mutations::set(match mistake {
        Some(Mistake::Store(mutation)) => Some(mutation),
        _ => None,
    });
}

/// The first seed that fails with a mistake put in, and why.
fn caught_by(mistake: Mistake) -> Option<(u64, String)> {
    let next = AtomicU64::new(1);
    let caught: Mutex<Option<(u64, String)>> = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                put_in(Some(mistake));
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed > SEEDS || caught.lock().expect("no panic").is_some() {
                        break;
                    }
                    let result = std::panic::catch_unwind(|| run(seed, false));
                    if let Err(why) = result.unwrap_or_else(|_| Err("it panics".to_owned())) {
                        caught.lock().expect("no panic").get_or_insert((seed, why));
                    }
                }
            });
        }
    });
    caught.into_inner().expect("no panic")
}

#[test]
fn every_mistake_is_caught() {
    let only = std::env::var("SIM_MUTATION").ok();
    let mut missed = Vec::new();
    for (name, mistake) in MISTAKES {
        if only.as_ref().is_some_and(|only| !format!("{mistake:?}").contains(only.as_str())) {
            continue;
        }
        let start = Instant::now();
        match caught_by(mistake) {
            Some((seed, why)) => {
                let why: String = why.chars().take(150).collect();
                println!("caught   {name}: seed {seed}, {:.1} s: {why}", start.elapsed().as_secs_f64());
                // Without the mistake, the same seed is fine.
                put_in(None);
                run(seed, false).expect("the seed fails because of the mistake");
            }
            None => {
                println!("MISSED   {name}: {SEEDS} seeds, {:.1} s", start.elapsed().as_secs_f64());
                missed.push(name);
            }
        }
    }
    assert!(missed.is_empty(), "not caught: {missed:?}");
}
