//! kill -9 of the broker while two consumers of a group pop: every message is consumed, and what was acknowledged before does
//! not come again.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bolide_e2e::{Client, Cluster, Mqadmin, Result};

const KILLS: usize = 3;
const MESSAGES: usize = 600;
const LONG: Duration = Duration::from_secs(90);
/// `bolide up` waits longer before each restart of a child that dies young; after this time it is no longer young.
const GROWN_UP: Duration = Duration::from_millis(3_500);
/// More than this many messages twice would mean that acknowledgements get lost: those on their way at a kill are few.
const MOST_TWICE: usize = MESSAGES / 4;

#[test]
fn kills_of_the_broker_lose_no_popped_message() -> Result<()> {
    let (Some(java), Some(mqadmin)) = (Client::Java5.find(), Mqadmin::find()) else { return Ok(()) };
    let cluster = Cluster::builder().manifest(include_str!("manifests/clients.yaml")).start()?;
    let (topic, group) = ("popped", "poppers");
    let queues = ["-c", "clients", "-t", topic, "-r", "4", "-w", "4"];
    mqadmin.run(&cluster, &[&["updateTopic"], &queues[..]].concat())?;
    mqadmin.run(&cluster, &["updateSubGroup", "-c", "clients", "-g", group])?;
    let mode = ["setConsumeMode", "-c", "clients", "-t", topic, "-g", group, "-m", "POP", "-q", "8"];
    mqadmin.run(&cluster, &mode)?;
    let count = MESSAGES.to_string();
    java.run(&cluster, &["send", "--topic", topic, "--count", &count])?;

    let push = [
        "push",
        "--topic",
        topic,
        "--group",
        group,
        "--pop",
        "--from",
        "first",
        "--invisible-ms",
        "10000",
        "--consume-ms",
        "100",
        "--threads",
        "4",
        "--timeout-s",
        "300",
    ];
    let mut consumers = [java.start(&cluster, &push)?, java.start(&cluster, &push)?];
    let mut started = Instant::now();
    for kill in 0..KILLS {
        let wanted = MESSAGES * (kill + 1) / (KILLS + 2);
        bolide_e2e::wait::until("some of the messages", LONG, || {
            (started.elapsed() > GROWN_UP && consumed(&mut consumers).len() >= wanted).then_some(())
        })?;
        let died = cluster.kill_broker("")?;
        cluster.wait_restarted(&died, LONG)?;
        started = Instant::now();
    }
    bolide_e2e::wait::until("all messages", LONG, || {
        (consumed(&mut consumers).len() == MESSAGES).then_some(())
    })?;
    // What is still out comes again within its invisible time.
    std::thread::sleep(Duration::from_secs(12));
    let twice = consumed(&mut consumers).values().filter(|times| **times > 1).count();
    println!("{MESSAGES} messages popped over {KILLS} kills, {twice} of them more than once");
    ensure!(twice <= MOST_TWICE, "{twice} messages came more than once");
    for consumer in consumers {
        consumer.stop().context("a consumer")?;
    }
    cluster.stop()
}

/// How often each message was given to one of the consumers.
fn consumed(consumers: &mut [bolide_e2e::Running]) -> BTreeMap<String, usize> {
    let mut times = BTreeMap::new();
    for consumer in consumers {
        for event in consumer.events().iter().filter(|event| event.is("message")) {
            *times.entry(event.text("body").to_owned()).or_default() += 1;
        }
    }
    times
}
