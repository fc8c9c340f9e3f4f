//! Messages for a later time with a kill -9 of the broker between their sending and their time: none is lost, none comes twice,
//! none is early, and what was recalled never comes.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, ensure};
use bolide_e2e::{Client, Cluster, Result};

const MANIFEST: &str = include_str!("manifests/clients.yaml");
const LONG: Duration = Duration::from_secs(60);
/// Body, option, value, and the milliseconds that it stands for.
const LATER: [(&str, &str, &str, i64); 4] = [
    ("level", "--delay-level", "3", 10_000),
    ("ms", "--delay-ms", "14000", 14_000),
    ("s", "--delay-s", "16", 16_000),
    ("at", "--deliver-in-ms", "18000", 18_000),
];
const OF_EACH: usize = 5;
/// What the slowest machine may add: the outage, and the rebalance of the consumer.
const LATEST_MS: i64 = 30_000;

#[test]
fn delayed_messages_and_timers_survive_a_kill_in_between() -> Result<()> {
    let Some(java) = Client::Java5.find() else { return Ok(()) };
    let cluster = Cluster::builder().manifest(MANIFEST).start()?;
    let send = |body: &str, option: &str, value: &str, count: &str| {
        java.run(&cluster, &["send", "--topic", "later", "--body", body, option, value, "--count", count])
    };
    for (body, option, value, _) in LATER {
        send(body, option, value, &OF_EACH.to_string())?;
    }
    let lost = send("lost", "--delay-s", "20", "1")?;
    let handle =
        lost.iter().find(|event| event.is("sent")).context("not sent")?.text("recallHandle").to_owned();
    let recalled = java.run(&cluster, &["recall", "--topic", "later", "--handle", &handle])?;
    ensure!(recalled.iter().any(|event| event.is("recalled")), "{recalled:?}");

    let died = cluster.kill_broker("")?;
    cluster.wait_restarted(&died, LONG)?;
    let all = (LATER.len() * OF_EACH).to_string();
    let got = java.run(
        &cluster,
        &[
            "push",
            "--topic",
            "later",
            "--group",
            "readers",
            "--from",
            "first",
            "--expect",
            &all,
            "--properties",
            "--linger-ms",
            "8000",
        ],
    )?;
    let mut times: BTreeMap<&str, usize> = BTreeMap::new();
    for event in got.iter().filter(|event| event.is("message")) {
        let body = event.text("body");
        *times.entry(body).or_default() += 1;
        let kind = body.split('-').next().unwrap_or_default();
        let (.., asked) =
            LATER.iter().find(|(known, ..)| *known == kind).with_context(|| format!("{body} came"))?;
        let stored = event.number("storeTimestamp").context("no storeTimestamp")?;
        let born = event.number("bornTimestamp").context("no bornTimestamp")?;
        let due =
            event.member("properties").and_then(|all| all.get("TIMER_OUT_MS")).and_then(|due| due.as_str());
        // A level counts from the moment that the message is stored.
        let due: i64 = due.map_or(Ok(born + asked), str::parse)?;
        ensure!((due..due + LATEST_MS).contains(&stored), "{body}, due at {due}, was delivered at {stored}");
        ensure!((born + asked - due).abs() < LATEST_MS, "{body}, made at {born}, is due at {due}");
    }
    let mut wanted: Vec<String> = LATER
        .iter()
        .flat_map(|(body, ..)| (0..OF_EACH).map(move |number| format!("{body}-{number}")))
        .collect();
    wanted.sort();
    ensure!(times.keys().copied().eq(wanted.iter().map(String::as_str)), "{times:?}");
    ensure!(times.values().all(|times| *times == 1), "delivered twice: {times:?}");
    cluster.stop()
}
