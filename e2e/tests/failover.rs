//! Faults of every kind against a pair of replicas with sync replication, thirty times, under the load of unmodified Java clients:
//! every acknowledged message is read back, in order, and the master changes where it should.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bolide_e2e::isolation::{self, Cut};
use bolide_e2e::replicas::{Acknowledged, Leading, Replicas};
use bolide_e2e::{Client, Cluster, Event, Result, history, wait};
use rustix::process::Signal;

const LONG: Duration = Duration::from_secs(60);
/// Longer than anybody waits for a silent replica.
const SILENT: Duration = Duration::from_secs(4);
/// Acknowledgements that were on their way when the fault struck arrive within this time.
const ON_THEIR_WAY: Duration = Duration::from_millis(20);
/// `bolide up` waits longer before each restart of a child that dies young; after this time it is no longer young.
const GROWN_UP: Duration = Duration::from_millis(3_500);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    KillMaster,
    KillSlave,
    StopMaster,
    StopSlave,
    CutLink,
    KillBoth,
}

use Fault::{CutLink, KillBoth, KillMaster, KillSlave, StopMaster, StopSlave};

const ROUNDS: [Fault; 30] = [
    KillMaster, StopMaster, CutLink, KillMaster, KillSlave, KillMaster, StopSlave, StopMaster, KillMaster,
    KillBoth, KillMaster, CutLink, StopMaster, KillMaster, KillSlave, KillMaster, StopMaster, CutLink,
    KillMaster, KillBoth, KillMaster, StopSlave, StopMaster, KillMaster, CutLink, KillMaster, StopMaster,
    KillMaster, KillBoth, KillMaster,
];

struct Round<'a> {
    cluster: &'a Cluster,
    group: &'a Replicas,
    acked: &'a Acknowledged<'a>,
    links: [u16; 2],
}

impl Round<'_> {
    /// Strikes, and heals; the time without an acknowledgement.
    fn run(&self, fault: Fault, before: &Leading) -> Result<Duration> {
        let master = Replicas::process(&before.master);
        let slave = Replicas::slave(self.cluster, before)?;
        let since = Instant::now();
        let next = || self.acked.next(since, ON_THEIR_WAY, LONG);
        match fault {
            KillMaster => {
                self.cluster.kill_broker(&master)?;
                let gap = next()?;
                let now = self.group.wait_new_epoch(before, LONG)?;
                ensure!(now.master != before.master, "the killed master leads again: {before:?} {now:?}");
                Ok(gap)
            }
            StopMaster => {
                self.cluster.signal_broker(&master, Signal::STOP)?;
                let gap = next();
                std::thread::sleep(SILENT.saturating_sub(since.elapsed()));
                self.cluster.signal_broker(&master, Signal::CONT)?;
                let now = self.group.wait_new_epoch(before, LONG)?;
                ensure!(now.master != before.master, "the stopped master leads: {before:?} {now:?}");
                gap
            }
            KillSlave | StopSlave => {
                let signal = if fault == KillSlave { Signal::KILL } else { Signal::STOP };
                self.cluster.signal_broker(&slave, signal)?;
                let gap = next();
                let alone = wait::until_ok("the slave to be left out", LONG, || {
                    let now = self.group.leading()?;
                    // a killed slave is back soon, and then in sync again
                    ensure!(fault == KillSlave || now.in_sync.len() == 1, "{now:?}");
                    Ok(now)
                });
                if fault == StopSlave {
                    self.cluster.signal_broker(&slave, Signal::CONT)?;
                }
                ensure!(alone?.master == before.master, "the loss of the slave changed the master");
                gap
            }
            CutLink => {
                let cut = Cut::ports(&self.links)?;
                let gap = next();
                let alone = wait::until_ok("one replica to go on alone", LONG, || {
                    let now = self.group.leading()?;
                    ensure!(now.in_sync.len() == 1, "{now:?}");
                    Ok(now)
                });
                cut.heal()?;
                let alone = alone?;
                ensure!(alone.in_sync.contains(&alone.master), "{alone:?}");
                gap
            }
            KillBoth => {
                self.cluster.kill_broker(&master)?;
                self.cluster.kill_broker(&slave)?;
                let gap = next()?;
                self.group.wait_new_epoch(before, LONG)?;
                Ok(gap)
            }
        }
    }
}

#[test]
fn thirty_faults_lose_nothing() -> Result<()> {
    if !isolation::inside("thirty_faults_lose_nothing")? {
        return Ok(());
    }
    let Some(java) = Client::Java5.find() else { return Ok(()) };
    let cluster = Cluster::builder().manifest(include_str!("manifests/failover.yaml")).start()?;
    let group = Replicas::of(&cluster, "ha-broker-0");
    let (acks, back) = (cluster.dir().join("acked"), cluster.dir().join("drained"));
    let (acks_path, back_path) =
        (acks.to_str().context("not UTF-8")?.to_owned(), back.to_str().context("not UTF-8")?.to_owned());
    let load = ["load", "--topic", "chaos", "--senders", "4", "--seconds", "900", "--size", "64"];
    let mut load =
        java.start(&cluster, &[&load[..], &["--out", &acks_path, "--timeout-s", "1000"]].concat())?;
    let watched = ["send", "--topic", "watched", "--count", "100000", "--interval-ms", "20", "--body", "w"];
    let mut watched = java.start(&cluster, &[&watched[..], &["--timeout-s", "1000"]].concat())?;
    load.wait_for("progress", LONG)?;
    watched.wait_for("sent", LONG)?;
    let reader = ["push", "--topic", "watched", "--group", "watchers", "--timeout-s", "1000"];
    let mut reader = java.start(&cluster, &reader)?;
    reader.wait_for("message", LONG)?;

    let base = cluster.port_base() + 100;
    let acked = Acknowledged::new(&acks);
    let round = Round { cluster: &cluster, group: &group, acked: &acked, links: [base + 1, base + 3] };
    let mut gaps: Vec<(Fault, Duration)> = Vec::new();
    for (number, fault) in ROUNDS.into_iter().enumerate() {
        let begun = Instant::now();
        let before = group.wait_in_sync(2, LONG)?;
        acked.wait_flowing(LONG)?;
        let gap = round.run(fault, &before).with_context(|| format!("round {number}, {fault:?}"))?;
        let now = group.wait_in_sync(2, LONG).with_context(|| format!("after round {number}, {fault:?}"))?;
        println!(
            "round {number}: {fault:?}: acknowledged again after {} ms; epoch {} -> {}, master {} -> {}",
            gap.as_millis(),
            before.epoch,
            now.epoch,
            before.master,
            now.master
        );
        gaps.push((fault, gap));
        std::thread::sleep(GROWN_UP.saturating_sub(begun.elapsed()));
    }
    load.tell("stop")?;
    let events = load.finish(LONG)?;
    let summary = events.iter().find(|event| event.is("summary")).context("no summary")?;
    print_gaps(&mut gaps);

    java.run(
        &cluster,
        &["pull", "--topic", "chaos", "--group", "all", "--do", "drain", "--out", &back_path],
    )?;
    let verdict = history::check(&std::fs::read_to_string(&acks)?, &std::fs::read_to_string(&back)?)?;
    println!("{} rounds: {verdict}; failed sends {}", ROUNDS.len(), summary.number("failed").unwrap_or(-1));
    ensure!(verdict.kept(), "{verdict}");
    ensure!(verdict.acked > ROUNDS.len() * 300, "only {} acknowledgements", verdict.acked);

    let sent = labels(&watched.stop()?, "sent");
    reader.wait_until("every message that was acknowledged", LONG, |events| {
        let consumed = labels(events, "message");
        sent.iter().all(|label| consumed.contains(label))
    })?;
    println!("{} messages sent and consumed through all rounds", sent.len());
    reader.tell("stop")?;
    reader.finish(LONG)?;
    cluster.stop()
}

fn labels(events: &[Event], kind: &str) -> std::collections::HashSet<String> {
    let label = |event: &Event| match event.number("seq") {
        Some(seq) => format!("w-{seq}"),
        None => event.text("body").to_owned(),
    };
    events.iter().filter(|event| event.is(kind)).map(label).collect()
}

/// The gaps of each kind of fault, in milliseconds.
fn print_gaps(gaps: &mut [(Fault, Duration)]) {
    gaps.sort();
    for of_kind in gaps.chunk_by(|a, b| a.0 == b.0) {
        let at =
            |percent: usize| of_kind[(of_kind.len() * percent / 100).min(of_kind.len() - 1)].1.as_millis();
        println!(
            "{:?}: {} rounds, without acknowledgement p50 {} ms, p99 {} ms",
            of_kind[0].0,
            of_kind.len(),
            at(50),
            at(99)
        );
    }
}
