//! The master changes while unmodified clients send: by command, when its process is asked to end, and when its disk is full.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use bolide_e2e::isolation::{self, SmallDisk};
use bolide_e2e::replicas::{Acknowledged, Replicas};
use bolide_e2e::{Client, Cluster, Result, Running, history};
use rustix::process::Signal;

const LONG: Duration = Duration::from_secs(60);
/// The sample as it is.
const SAMPLE: &str = include_str!("../../manifests/samples/ha.yaml");
/// Clients move to a new master within a moment. A second switchover within it is no planned one: it cuts some off.
const CLIENTS_MOVE: Duration = Duration::from_secs(1);
/// MiB of the small disk: well above what a broker keeps free for itself.
const DISK: u32 = 1536;

/// Senders that choose their queues themselves: a client never repeats such a send.
fn selecting_load(java: &bolide_e2e::Program, cluster: &Cluster, acks: &Path) -> Result<Running> {
    let acks = acks.to_str().context("not UTF-8")?;
    let load = ["load", "--topic", "chosen", "--senders", "4", "--seconds", "300", "--size", "64"];
    let mut load = java
        .start(cluster, &[&load[..], &["--one-queue-each", "--out", acks, "--timeout-s", "400"]].concat())?;
    load.wait_for("progress", LONG)?;
    Ok(load)
}

/// Ends the load, reads everything back, and gives the number of failed sends.
fn finish(java: &bolide_e2e::Program, cluster: &Cluster, mut load: Running, acks: &Path) -> Result<i64> {
    load.tell("stop")?;
    let events = load.finish(LONG)?;
    for failure in events.iter().filter(|event| event.is("failed")) {
        println!("{failure:?}");
    }
    let summary = events.iter().find(|event| event.is("summary")).context("no summary")?;
    let failed = summary.number("failed").context("no number of failures")?;
    let back = cluster.dir().join("drained");
    let back_path = back.to_str().context("not UTF-8")?;
    java.run(cluster, &["pull", "--topic", "chosen", "--group", "all", "--do", "drain", "--out", back_path])?;
    let verdict = history::check(&std::fs::read_to_string(acks)?, &std::fs::read_to_string(&back)?)?;
    println!(
        "{verdict}; failed sends {failed}, longest gap {} ms",
        summary.number("longestGapMs").unwrap_or(-1)
    );
    ensure!(verdict.kept() && verdict.acked > 1_000, "{verdict}");
    Ok(failed)
}

#[test]
fn no_send_fails_in_a_planned_switchover() -> Result<()> {
    let Some(java) = Client::Java5.find() else { return Ok(()) };
    let cluster = Cluster::builder().manifest(SAMPLE).start()?;
    let names: Vec<String> = cluster.brokers()?.into_iter().map(|(name, _)| name).collect();
    ensure!(names == ["broker-0-0", "broker-0-1"], "{names:?}");
    let group = Replicas::of(&cluster, "ha-broker-0");
    group.wait_in_sync(2, LONG)?;
    let acks = cluster.dir().join("acked");
    let acked = Acknowledged::new(&acks);
    let load = selecting_load(&java, &cluster, &acks)?;
    for _ in 0..5 {
        std::thread::sleep(CLIENTS_MOVE);
        acked.wait_flowing(LONG)?;
        let before = group.wait_in_sync(2, LONG)?;
        cluster.cli(&["switchover", "ha", "0"])?;
        let now = group.wait_new_epoch(&before, LONG)?;
        ensure!(now.master != before.master, "{before:?} {now:?}");
    }
    std::thread::sleep(CLIENTS_MOVE);
    acked.wait_flowing(LONG)?;
    let before = group.wait_in_sync(2, LONG)?;
    let named = before.in_sync.iter().find(|name| **name != before.master).context("no slave")?;
    let printed = cluster.json(&["switchover", "ha", "0", named])?;
    ensure!(printed["master"] == named.as_str(), "{printed}");

    // as at the end of a pod
    for _ in 0..2 {
        std::thread::sleep(CLIENTS_MOVE);
        acked.wait_flowing(LONG)?;
        let before = group.wait_in_sync(2, LONG)?;
        cluster.signal_broker(&Replicas::process(&before.master), Signal::TERM)?;
        let now = group.wait_new_epoch(&before, LONG)?;
        ensure!(now.master != before.master, "{before:?} {now:?}");
    }
    acked.wait_flowing(LONG)?;
    group.wait_in_sync(2, LONG)?;
    let failed = finish(&java, &cluster, load, &acks)?;
    ensure!(failed == 0, "{failed} sends failed");
    cluster.stop()
}

#[test]
fn a_full_disk_hands_over() -> Result<()> {
    if !isolation::inside("a_full_disk_hands_over")? {
        return Ok(());
    }
    let Some(java) = Client::Java5.find() else { return Ok(()) };
    let mut cluster = Cluster::builder().manifest(include_str!("manifests/failover.yaml")).start()?;
    let group = Replicas::of(&cluster, "ha-broker-0");
    let first = group.wait_in_sync(2, LONG)?;
    // the slave gets a small disk: it is ended, its folder replaced, and it comes back empty
    let small = first.in_sync.iter().find(|name| **name != first.master).context("no slave")?;
    cluster.halt()?;
    let store = cluster.data().join("data").join(small);
    std::fs::remove_dir_all(&store).with_context(|| format!("cannot remove {}", store.display()))?;
    let disk = SmallDisk::mount(&store, DISK)?;
    cluster.restart()?;
    let now = group.wait_in_sync(2, LONG)?;
    ensure!(now.master == first.master, "an empty volume leads: {now:?}");
    cluster.cli(&["switchover", "ha", "0"])?;
    let before = group.wait_in_sync(2, LONG)?;
    ensure!(before.master == *small, "{before:?}");

    let acks = cluster.dir().join("acked");
    let acked = Acknowledged::new(&acks);
    let load = selecting_load(&java, &cluster, &acks)?;
    acked.wait_flowing(LONG)?;
    fill(&store.join("filler"))?;
    let now = group.wait_new_epoch(&before, LONG)?;
    ensure!(now.master != before.master, "the full one still leads: {now:?}");
    acked.wait_flowing(LONG)?;
    let failed = finish(&java, &cluster, load, &acks)?;
    println!("{failed} sends failed while the disk was full");
    cluster.halt()?;
    disk.unmount()?;
    cluster.stop()
}

/// Writes until there is no room.
fn fill(file: &Path) -> Result<()> {
    let mut filler = File::create(file).with_context(|| format!("cannot make {}", file.display()))?;
    let block = vec![0_u8; 64 * 1024];
    loop {
        match filler.write_all(&block) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::StorageFull => return Ok(()),
            Err(error) => return Err(error).context("cannot fill the disk"),
        }
    }
}
