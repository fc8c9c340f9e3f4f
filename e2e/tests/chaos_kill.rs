//! kill -9 of the broker under load, ten times in a row: every acknowledged message is read back, in order.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bolide_e2e::{Client, Cluster, Result, history};

const ROUNDS: usize = 10;
const SENDERS: &str = "6";
const LONG: Duration = Duration::from_secs(60);
/// `bolide up` waits longer before each restart of a child that dies young; after this time it is no longer young.
const GROWN_UP: Duration = Duration::from_millis(3_500);

fn manifest(flush: &str) -> String {
    include_str!("manifests/clients.yaml").replace("flush: Async", &format!("flush: {flush}"))
}

fn nothing_acknowledged_is_lost(flush: &str) -> Result<()> {
    let Some(java) = Client::Java5.find() else { return Ok(()) };
    let cluster = Cluster::builder().manifest(&manifest(flush)).start()?;
    let acks = cluster.dir().join("acked");
    let back = cluster.dir().join("drained");
    let acks_path = acks.to_str().context("a folder that is not UTF-8")?;
    let back_path = back.to_str().context("a folder that is not UTF-8")?;

    let load = [
        "load",
        "--topic",
        "chaos",
        "--senders",
        SENDERS,
        "--seconds",
        "600",
        "--size",
        "256",
        "--out",
        acks_path,
        "--timeout-s",
        "900",
    ];
    let mut load = java.start(&cluster, &load)?;
    load.wait_for("progress", LONG)?;
    let mut outages = Vec::new();
    let mut started = Instant::now();
    for round in 0..ROUNDS {
        let before = lines(&acks)?;
        bolide_e2e::wait::until("some hundred acknowledgements", LONG, || {
            (started.elapsed() > GROWN_UP && lines(&acks).ok()? > before + 500).then_some(())
        })?;
        let killed = Instant::now();
        let died = cluster.kill_broker("")?;
        cluster.wait_restarted(&died, LONG)?;
        started = Instant::now();
        let after = lines(&acks)?;
        bolide_e2e::wait::until("sends to succeed again", LONG, || {
            (lines(&acks).ok()? > after).then_some(())
        })?;
        outages.push(killed.elapsed().as_millis());
        println!(
            "{flush} flush, round {round}: sending again {} ms after kill -9",
            killed.elapsed().as_millis()
        );
    }
    load.tell("stop")?;
    let events = load.finish(LONG)?;
    let summary = events.iter().find(|event| event.is("summary")).context("no summary")?;

    java.run(
        &cluster,
        &["pull", "--topic", "chaos", "--group", "reader", "--do", "drain", "--out", back_path],
    )?;
    let verdict = history::check(&std::fs::read_to_string(&acks)?, &std::fs::read_to_string(&back)?)?;
    println!(
        "{flush} flush, {ROUNDS} kills: {verdict}; failed sends {}, longest gap {} ms, outages {outages:?} ms",
        summary.number("failed").unwrap_or(-1),
        summary.number("longestGapMs").unwrap_or(-1)
    );
    ensure!(verdict.kept(), "{verdict}");
    ensure!(verdict.acked > ROUNDS * 500, "only {} acknowledgements", verdict.acked);
    cluster.stop()
}

fn lines(file: &std::path::Path) -> Result<usize> {
    Ok(std::fs::read(file)?.iter().filter(|&&byte| byte == b'\n').count())
}

#[test]
fn ten_kills_with_async_flush_lose_nothing() -> Result<()> {
    nothing_acknowledged_is_lost("Async")
}

#[test]
fn ten_kills_with_sync_flush_lose_nothing() -> Result<()> {
    nothing_acknowledged_is_lost("Sync")
}
