//! The commands beside the servers, as a person and as a script use them.

use std::time::Duration;

use anyhow::{Context, ensure};
use bolide_e2e::cluster::run_bolide;
use bolide_e2e::{Cluster, Result, wait};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(20);

fn lines(text: &str) -> Result<Vec<Value>> {
    text.lines().map(|line| serde_json::from_str(line).with_context(|| format!("not JSON: {line}"))).collect()
}

#[test]
fn topics_are_made_listed_described_and_deleted() -> Result<()> {
    let cluster = Cluster::start()?;
    cluster.cli(&["topic", "create", "bills", "--queues", "3", "--type", "ordered"])?;
    let listed = cluster.json(&["topic", "list"])?;
    let bills = listed.as_array().context("no list")?.iter().find(|topic| topic["topic"] == "bills");
    let bills = bills.with_context(|| format!("bills is not listed: {listed}"))?;
    ensure!(
        bills["write_queues"] == 3 && bills["type"] == "FIFO" && bills["permission"] == "read-write",
        "{bills}"
    );

    cluster.cli(&["topic", "create", "bills", "--queues", "5", "--type", "ordered"])?;
    cluster.cli(&["produce", "bills", "--body", "one"])?;
    let described = wait::until_ok("five queues", SOON, || {
        let described = cluster.json(&["topic", "describe", "bills"])?;
        ensure!(described["queues"].as_array().is_some_and(|queues| queues.len() == 5), "{described}");
        Ok(described)
    })?;
    let queues = described["queues"].as_array().context("no queues")?;
    ensure!(queues.iter().filter_map(|queue| queue["messages"].as_i64()).sum::<i64>() == 1, "{described}");
    ensure!(queues.iter().any(|queue| queue["last_write"].is_string()), "{described}");

    cluster.cli(&["topic", "delete", "bills"])?;
    let gone = cluster.cli_unchecked(&["topic", "describe", "bills"])?;
    ensure!(gone.code == 1 && gone.stderr == "bolide: there is no topic bills\n", "{gone:?}");
    let table = cluster.cli(&["topic", "list"])?;
    ensure!(table.stdout.starts_with("TOPIC") && !table.stdout.contains("bills"), "{}", table.stdout);
    cluster.stop()
}

#[test]
fn what_is_produced_is_consumed_with_its_tag_keys_and_properties() -> Result<()> {
    let cluster = Cluster::start()?;
    let sent = cluster.cli(&[
        "produce",
        "orders",
        "--body",
        "h\u{e9}llo",
        "--tag",
        "new",
        "--key",
        "k1",
        "--key",
        "k2",
        "--property",
        "colour=red",
        "-o",
        "json",
    ])?;
    let sent = lines(&sent.stdout)?;
    cluster.cli(&["produce", "orders", "--body", "other", "--tag", "old"])?;
    let read = lines(&cluster.cli(&["consume", "orders", "--tag", "new || newer", "-o", "json"])?.stdout)?;
    ensure!(read.len() == 1, "{read:?}");
    let message = &read[0];
    ensure!(
        message["body"] == "h\u{e9}llo" && message["tag"] == "new" && message["keys"] == "k1 k2",
        "{message}"
    );
    ensure!(message["properties"]["colour"] == "red", "{message}");
    for member in ["message_id", "queue", "offset", "broker"] {
        ensure!(message[member] == sent[0][member], "{member}: {message} {:?}", sent[0]);
    }
    cluster.stop()
}

#[test]
fn each_line_of_standard_input_is_a_message() -> Result<()> {
    let cluster = Cluster::start()?;
    let bolide = bolide_e2e::cluster::bolide()?;
    let shell = format!("seq 1 500 | {} produce made-on-first-send", bolide.display());
    let status = std::process::Command::new("sh")
        .args(["-c", &shell])
        .env("NAMESRV_ADDR", cluster.namesrv())
        .status()?;
    ensure!(status.success(), "{status}");
    let read = cluster.cli(&["consume", "made-on-first-send"])?;
    let mut numbers: Vec<u32> = read.stdout.lines().filter_map(|line| line.parse().ok()).collect();
    numbers.sort_unstable();
    ensure!(numbers == (1..=500).collect::<Vec<_>>(), "{} of 500 came back", numbers.len());
    cluster.stop()
}

#[test]
fn a_group_reads_everything_once_and_can_be_moved_back() -> Result<()> {
    let cluster = Cluster::start()?;
    cluster.cli(&["produce", "orders", "--body", "x", "--count", "40"])?;
    let read = |what: &str| -> Result<usize> {
        Ok(cluster.cli(&["consume", "orders", "--group", what])?.stdout.lines().count())
    };
    ensure!(read("g")? == 40, "the first member reads all");
    ensure!(read("g")? == 0, "nothing is read twice");
    let lag = cluster.cli(&["lag", "g"])?;
    ensure!(lag.stdout.trim_end().ends_with("0 messages behind"), "{}", lag.stdout);

    let moved = cluster.json(&["group", "reset-offset", "g", "--topic", "orders", "--to", "start"])?;
    ensure!(moved.as_array().is_some_and(|moved| moved.iter().all(|queue| queue["offset"] == 0)), "{moved}");
    ensure!(read("g")? == 40, "after the reset all is read again");

    let groups = cluster.json(&["group", "list"])?;
    ensure!(groups[0]["group"] == "g" && groups[0]["topics"][0] == "orders", "{groups}");
    cluster.cli(&["group", "describe", "g"])?;
    cluster.cli(&["group", "delete", "g"])?;
    let gone = cluster.cli_unchecked(&["lag", "g"])?;
    ensure!(gone.code == 1 && gone.stderr.contains("there is no consumer group g"), "{gone:?}");
    cluster.stop()
}

#[test]
fn a_delayed_message_comes_after_its_delay() -> Result<()> {
    let cluster = Cluster::start()?;
    let begun = std::time::Instant::now();
    cluster.cli(&["produce", "orders", "--body", "later", "--delay-level", "2"])?;
    let early = cluster.cli(&["consume", "orders"])?;
    ensure!(
        early.stdout.is_empty() || begun.elapsed() > Duration::from_secs(5),
        "too early: {}",
        early.stdout
    );
    let read = cluster.cli(&["consume", "orders", "--follow", "--count", "1"])?;
    let took = begun.elapsed();
    ensure!(read.stdout == "later\n", "{}", read.stdout);
    ensure!(
        took > Duration::from_secs(5) && took < Duration::from_secs(8),
        "delay level 2 is 5 s, took {took:?}"
    );
    cluster.stop()
}

#[test]
fn bench_tells_rates_and_latencies() -> Result<()> {
    let cluster = Cluster::start()?;
    let sent = cluster.json(&[
        "bench",
        "produce",
        "--topic",
        "bench",
        "--count",
        "2000",
        "--size",
        "100",
        "--connections",
        "2",
        "--in-flight",
        "8",
    ])?;
    ensure!(sent["messages"] == 2000 && sent["errors"] == 0, "{sent}");
    ensure!(sent["messages_per_second"].as_f64().is_some_and(|rate| rate > 0.0), "{sent}");
    ensure!(sent["latency_p50_ms"].as_f64() <= sent["latency_p99_ms"].as_f64(), "{sent}");
    let read = cluster.json(&["bench", "consume", "--topic", "bench"])?;
    // each of the two connections sends one message before the clock starts
    ensure!(read["messages"] == 2002, "{read}");
    cluster.stop()
}

#[test]
fn status_shows_the_brokers() -> Result<()> {
    let cluster = Cluster::start()?;
    let status = cluster.json(&["status"])?;
    ensure!(status[0]["cluster"] == "demo" && status[0]["broker"] == "demo-broker-0", "{status}");
    let table = cluster.cli(&["status"])?;
    ensure!(table.stdout.contains("serving"), "{}", table.stdout);
    cluster.stop()
}

#[test]
fn exit_codes_tell_failures_apart() -> Result<()> {
    let code = |arguments: &[&str]| -> Result<i32> { Ok(run_bolide(arguments, &[])?.code) };
    ensure!(code(&["status", "--namesrv", "127.0.0.1:1"])? == 3, "nothing listens on port 1");
    ensure!(code(&["status", "--namesrv", "nonsense"])? == 2, "that is no address");
    ensure!(code(&["topic", "create", "a b"])? == 2, "that is no topic name");
    ensure!(code(&["frobnicate"])? == 2, "that is no command");
    ensure!(code(&["--help"])? == 0, "help is what was asked for");
    Ok(())
}
