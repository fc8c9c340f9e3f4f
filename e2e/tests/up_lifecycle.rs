//! `bolide up` as a person uses it: start, stop, carry on, kill, edit.

use std::time::Duration;

use anyhow::{Context, ensure};
use bolide_e2e::cluster::signal_pid;
use bolide_e2e::{Cluster, Result, wait};
use rustix::process::{Pid, Signal, test_kill_process};

const SOON: Duration = Duration::from_secs(30);

fn is_alive(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // a process that has ended and that nobody waited for is a zombie, not alive
    let zombie = status.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z'));
    let found =
        i32::try_from(pid).ok().and_then(Pid::from_raw).is_some_and(|pid| test_kill_process(pid).is_ok());
    found && !zombie
}

#[test]
fn the_quick_start_is_ready_and_has_its_topic() -> Result<()> {
    let cluster = Cluster::start()?;
    let printed = cluster.printed();
    let last = printed.last().context("nothing was printed")?;
    ensure!(last.starts_with("ready NAMESRV_ADDR=127.0.0.1:"), "the last line is {last}");
    ensure!(printed.iter().any(|line| line.contains("topic orders made")), "{printed:?}");
    let topics = cluster.json(&["topic", "list"])?;
    ensure!(topics[0]["topic"] == "orders", "{topics}");
    let (brokers, nameservers) = (cluster.brokers()?, cluster.nameservers()?);
    ensure!(brokers.len() == 1 && brokers[0].0.starts_with("broker"), "{brokers:?}");
    ensure!(nameservers.len() == 1, "{nameservers:?}");
    cluster.stop()
}

#[test]
fn the_next_start_carries_on_with_the_data() -> Result<()> {
    let mut cluster = Cluster::start()?;
    cluster.cli(&["produce", "orders", "--body", "kept", "--count", "20"])?;
    cluster.cli(&["consume", "orders", "--group", "readers", "--count", "7"])?;
    cluster.halt()?;
    let run = std::fs::read_dir(cluster.data().join("run"))?.count();
    ensure!(run == 0, "{run} pid files are left after a clean end");

    cluster.restart()?;
    let made = cluster.printed().iter().filter(|line| line.contains(" made")).count();
    ensure!(made == 0, "topics were made again: {:?}", cluster.printed());
    let lag = cluster.json(&["lag", "readers", "--topic", "orders"])?;
    let behind: i64 =
        lag.as_array().context("no list")?.iter().filter_map(|queue| queue["lag"].as_i64()).sum();
    ensure!(behind == 13, "13 of 20 messages are left to read, not {behind}: {lag}");
    let all = cluster.cli(&["consume", "orders"])?;
    ensure!(all.stdout.lines().count() == 20, "{}", all.stdout);
    cluster.stop()
}

#[test]
fn a_broker_that_is_killed_runs_again_and_keeps_what_it_acknowledged() -> Result<()> {
    let cluster = Cluster::start()?;
    for round in 1..=3 {
        cluster.cli(&["produce", "orders", "--body", "x", "--count", "50"])?;
        let died = cluster.kill_broker("")?;
        cluster.wait_restarted(&died, SOON)?;
        let all = wait::until_ok("all messages", SOON, || {
            let all = cluster.cli(&["consume", "orders"])?;
            Ok(all.stdout.lines().count())
        })?;
        ensure!(all == 50 * round, "{all} messages after {round} kills, expected {}", 50 * round);
    }
    let said = cluster.printed().iter().filter(|line| line.contains("died (killed by signal 9)")).count();
    ensure!(said == 3, "{:?}", cluster.printed());
    cluster.stop()
}

#[test]
fn no_process_outlives_a_killed_parent_and_the_next_start_works() -> Result<()> {
    let mut cluster = Cluster::start()?;
    cluster.cli(&["produce", "orders", "--body", "kept", "--count", "5"])?;
    let children: Vec<u32> =
        cluster.brokers()?.into_iter().chain(cluster.nameservers()?).map(|(_, pid)| pid).collect();
    ensure!(children.len() == 2 && children.iter().all(|pid| is_alive(*pid)), "{children:?}");
    cluster.kill_up()?;
    wait::until("the children to end", SOON, || children.iter().all(|pid| !is_alive(*pid)).then_some(()))?;

    cluster.restart()?;
    let all = cluster.cli(&["consume", "orders"])?;
    ensure!(all.stdout.lines().count() == 5, "{}", all.stdout);
    cluster.stop()
}

#[test]
fn a_start_right_after_a_kill_waits_for_the_children_of_the_killed_one() -> Result<()> {
    let mut cluster = Cluster::start()?;
    cluster.kill_up()?;
    cluster.restart()?;
    cluster.stop()
}

#[test]
fn edits_are_applied_while_it_runs() -> Result<()> {
    let cluster = Cluster::start()?;
    let before = std::fs::read_to_string(cluster.manifest())?;
    let more = before.trim_end().to_owned()
        + "\n  queues: 12\n---\napiVersion: bolide.dev/v1alpha1\nkind: ConsumerGroup\nmetadata: {name: billing}\nspec: {clusterRef: {name: demo}, maxRetries: 3}\n";
    std::fs::write(cluster.manifest(), &more)?;
    wait::until_ok("the wider topic", SOON, || {
        let topics = cluster.json(&["topic", "list"])?;
        ensure!(topics[0]["write_queues"] == 12, "{topics}");
        Ok(())
    })?;
    wait::until_ok("the group", SOON, || {
        let groups = cluster.json(&["group", "list"])?;
        ensure!(groups[0]["group"] == "billing" && groups[0]["max_retries"] == 3, "{groups}");
        Ok(())
    })?;

    std::fs::write(cluster.manifest(), more.replace("maxRetries: 3", "maxRetris: 5"))?;
    wait::until("the refusal to be printed", SOON, || {
        let printed = cluster.printed();
        printed
            .iter()
            .any(|line| line.contains("edit not applied") && line.contains("maxRetris"))
            .then_some(())
    })?;
    std::fs::write(cluster.manifest(), more.replace("maxRetries: 3", "maxRetries: 5"))?;
    wait::until_ok("the corrected edit", SOON, || {
        let groups = cluster.json(&["group", "list"])?;
        ensure!(groups[0]["max_retries"] == 5, "{groups}");
        Ok(())
    })?;
    cluster.stop()
}

#[test]
fn a_hung_broker_does_not_keep_the_cluster_from_ending() -> Result<()> {
    let mut cluster = Cluster::start()?;
    let stopped = cluster.signal_broker("", Signal::STOP)?;
    let ended = cluster.halt();
    if is_alive(stopped.pid) {
        signal_pid(stopped.pid, Signal::KILL)?;
        anyhow::bail!("the paused broker is still there");
    }
    ended?;
    cluster.stop()
}

#[test]
fn two_broker_groups_share_a_topic() -> Result<()> {
    let yaml = "apiVersion: bolide.dev/v1alpha1
kind: BrokerSet
metadata: {name: pair}
spec: {groups: 2, nameservers: {replicas: 2}, storage: {size: 1Gi}}
---
apiVersion: bolide.dev/v1alpha1
kind: Topic
metadata: {name: spread}
spec: {clusterRef: {name: pair}, queues: 3}
";
    let cluster = Cluster::builder().manifest(yaml).start()?;
    ensure!(cluster.namesrv().split(';').count() == 2, "{}", cluster.namesrv());
    cluster.cli(&["produce", "spread", "--body", "x", "--count", "60"])?;
    let topic = cluster.json(&["topic", "describe", "spread"])?;
    let queues = topic["queues"].as_array().context("no queues")?;
    ensure!(queues.len() == 6, "{topic}");
    let used = queues.iter().filter(|queue| queue["messages"].as_i64() == Some(10)).count();
    ensure!(used == 6, "60 messages over 6 queues in turn: {topic}");
    // one nameserver less changes nothing
    let (_, pid) = cluster.nameservers()?.into_iter().next().context("no nameserver")?;
    signal_pid(pid, Signal::KILL)?;
    cluster.cli(&["produce", "spread", "--body", "x", "--count", "6"])?;
    cluster.stop()
}
