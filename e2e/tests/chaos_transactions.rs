//! kill -9 of the producer and of the broker at each point of a transaction: what was committed is there once, what was rolled back
//! is not, and what nobody decided is asked for, of whoever is left.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::ensure;
use bolide_e2e::{Client, Cluster, Event, Program, Result};

const MANIFEST: &str = include_str!("manifests/transactions.yaml");
const LONG: Duration = Duration::from_secs(90);
const TOPIC: &str = "orders";

/// A cluster with the topic, and the client.
fn begin() -> Result<Option<(Cluster, Program)>> {
    let Some(java) = Client::Java5.find() else { return Ok(None) };
    let cluster = Cluster::builder().manifest(MANIFEST).start()?;
    cluster.cli(&["topic", "create", TOPIC, "--queues", "4"])?;
    Ok(Some((cluster, java)))
}

fn kill_broker(cluster: &Cluster) -> Result<()> {
    let died = cluster.kill_broker("")?;
    cluster.wait_restarted(&died, LONG)?;
    Ok(())
}

/// Arguments of transactions of a group, with bodies of this prefix.
fn transactions<'a>(
    group: &'a str,
    body: &'a str,
    count: &'a str,
    states: &[&'a str],
    check: &'a str,
) -> Vec<&'a str> {
    let mut arguments = vec!["transaction", "--topic", TOPIC, "--group", group, "--body", body];
    arguments.extend(["--count", count, "--check", check, "--timeout-s", "170"]);
    states.iter().for_each(|state| arguments.extend(["--state", state]));
    arguments
}

fn all_sent(events: &[Event], count: usize) -> bool {
    events.iter().filter(|event| event.is("sent")).count() >= count
}

/// How often each message is stored where consumers read.
fn stored(cluster: &Cluster, java: &Program) -> Result<BTreeMap<String, usize>> {
    let events = java.run(cluster, &["pull", "--topic", TOPIC, "--group", "reader", "--do", "drain"])?;
    let mut found = BTreeMap::new();
    for event in events.iter().filter(|event| event.is("message")) {
        *found.entry(event.text("body").to_owned()).or_insert(0) += 1;
    }
    Ok(found)
}

fn once(groups: &[(&str, &[u32])]) -> BTreeMap<String, usize> {
    let bodies =
        groups.iter().flat_map(|(group, numbers)| numbers.iter().map(move |n| format!("{group}-{n}")));
    bodies.map(|body| (body, 1)).collect()
}

#[test]
fn a_broker_killed_at_each_point_of_a_transaction_keeps_every_outcome() -> Result<()> {
    let Some((cluster, java)) = begin()? else { return Ok(()) };
    // Decided, then killed at once.
    java.run(&cluster, &transactions("first", "decided", "6", &["commit", "rollback"], "rollback"))?;
    kill_broker(&cluster)?;
    let expected = once(&[("decided", &[0, 2, 4])]);
    ensure!(stored(&cluster, &java)? == expected, "after a kill: {:?}", stored(&cluster, &java)?);

    // Killed between the half messages and the decision, which the check-backs ask for.
    let mut commits = java.start(&cluster, &transactions("second", "later", "3", &["unknown"], "commit"))?;
    let mut never = java.start(&cluster, &transactions("third", "never", "3", &["unknown"], "rollback"))?;
    for producer in [&mut commits, &mut never] {
        producer.wait_until("3 half messages", LONG, |events| all_sent(events, 3))?;
    }
    kill_broker(&cluster)?;
    ensure!(stored(&cluster, &java)? == expected, "undecided messages are invisible after a kill");
    let asked = commits.wait_for("check", LONG)?;
    // Killed while decisions arrive.
    kill_broker(&cluster)?;
    ensure!(asked.text("topic") == TOPIC, "{asked:?}");
    for producer in [commits, never] {
        producer.finish(Duration::from_secs(180))?;
    }
    kill_broker(&cluster)?;
    let found = stored(&cluster, &java)?;
    ensure!(found == once(&[("decided", &[0, 2, 4]), ("later", &[0, 1, 2])]), "in the end: {found:?}");

    // Nobody is asked about any of them again.
    let last = transactions("second", "last", "1", &["unknown"], "commit");
    let events = java.run(&cluster, &last)?;
    let asked: Vec<&str> =
        events.iter().filter(|event| event.is("check")).map(|event| event.text("body")).collect();
    ensure!(asked == ["last-0"], "{asked:?}");
    cluster.stop()
}

#[test]
fn when_a_producer_is_killed_another_of_its_group_is_asked() -> Result<()> {
    let Some((cluster, java)) = begin()? else { return Ok(()) };
    for broker_dies_too in [false, true] {
        let (group, lost, heir) =
            if broker_dies_too { ("both", "lost2", "heir2") } else { ("one", "lost1", "heir1") };
        let mut producer = java.start(&cluster, &transactions(group, lost, "2", &["unknown"], "unknown"))?;
        producer.wait_until("2 half messages", LONG, |events| all_sent(events, 2))?;
        // SIGKILL
        drop(producer);
        if broker_dies_too {
            kill_broker(&cluster)?;
        }
        ensure!(stored(&cluster, &java)?.keys().all(|body| !body.starts_with(lost)), "invisible");
        let mut other = java.start(&cluster, &transactions(group, heir, "3", &["unknown"], "commit"))?;
        other.wait_until("checks of what the first left", LONG, |events| {
            let asked =
                |body: String| events.iter().any(|event| event.is("check") && event.text("body") == body);
            asked(format!("{lost}-0")) && asked(format!("{lost}-1"))
        })?;
        other.finish(LONG)?;
        let found = stored(&cluster, &java)?;
        for number in 0..2 {
            ensure!(found.get(&format!("{lost}-{number}")) == Some(&1), "{found:?}");
        }
        ensure!(found.values().all(|times| *times == 1), "{found:?}");
    }
    cluster.stop()
}
