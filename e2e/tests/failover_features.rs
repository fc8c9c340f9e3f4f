//! What a broker has to do later is done by the next master when it is killed: timers, delayed messages, checks of transactions.
//! And while no replica can lead, consumers go on at the slave, and what they commit there is kept.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};
use bolide_client::{Admin, Message, Producer, ProducerConfig, Queue};
use bolide_e2e::replicas::Replicas;
use bolide_e2e::{Client, Cluster, Event, Program, Result, Running, wait};
use bolide_wire::ResponseCode;

const MANIFEST: &str = include_str!("manifests/failover_features.yaml");
const GROUP: &str = "ha-broker-0";
const LONG: Duration = Duration::from_secs(90);
/// How long it is watched that nothing else happens.
const A_WHILE: Duration = Duration::from_secs(3);

/// Body, option, value, and the milliseconds that it stands for.
const LATER: [(&str, &str, &str, i64); 3] = [
    ("level", "--delay-level", "4", 30_000),
    ("s", "--delay-s", "20", 20_000),
    ("at", "--deliver-in-ms", "30000", 30_000),
];
const OF_EACH: usize = 100;
/// Milliseconds after which what was recalled would have been delivered.
const RECALLED: i64 = 30_000;
/// What the slowest machine may add to a delay: the outage included.
const LATEST_MS: i64 = 30_000;
/// Transactions of each producer.
const HALVES: usize = 20;
/// Answers to checks that decide a few transactions each time that the broker asks about all.
const SLOWLY: [&str; 10] = [
    "commit", "unknown", "unknown", "unknown", "unknown", "unknown", "unknown", "unknown", "unknown",
    "unknown",
];

const QUEUES: i32 = 4;
/// Messages that consumers have read before the master is away, and that they read while it is.
const BEFORE: usize = 100;
const MEANWHILE: usize = 200;

fn now_ms() -> Result<i64> {
    Ok(i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?)
}

fn begin(topics: &[&str]) -> Result<Option<(Program, Cluster, Replicas)>> {
    let Some(java) = Client::Java5.find() else { return Ok(None) };
    let cluster = Cluster::builder().manifest(MANIFEST).start()?;
    let group = Replicas::of(&cluster, GROUP);
    group.wait_in_sync(2, LONG)?;
    for topic in topics {
        cluster.cli(&["topic", "create", topic, "--queues", &QUEUES.to_string()])?;
    }
    Ok(Some((java, cluster, group)))
}

/// How often each message of a topic is stored where consumers read.
fn stored(cluster: &Cluster, java: &Program, topic: &str) -> Result<BTreeMap<String, usize>> {
    let events = java.run(cluster, &["pull", "--topic", topic, "--group", "auditor", "--do", "drain"])?;
    let mut found = BTreeMap::new();
    for event in events.iter().filter(|event| event.is("message")) {
        *found.entry(event.text("body").to_owned()).or_insert(0) += 1;
    }
    Ok(found)
}

/// The bodies of messages that were sent with one prefix, each once.
fn once(prefix: &str, numbers: impl IntoIterator<Item = usize>) -> BTreeMap<String, usize> {
    numbers.into_iter().map(|number| (format!("{prefix}-{number}"), 1)).collect()
}

/// Begins transactions that the producer does not decide; what it says when asked about them is `answers`, the last from then on.
fn undecided(cluster: &Cluster, java: &Program, prefix: &str, answers: &[&str]) -> Result<Running> {
    let (count, limit) = (HALVES.to_string(), "170");
    let mut arguments = vec!["transaction", "--topic", "orders", "--group", prefix, "--body", prefix];
    arguments.extend(["--count", &count, "--state", "unknown", "--timeout-s", limit]);
    answers.iter().for_each(|answer| arguments.extend(["--check", answer]));
    java.start(cluster, &arguments)
}

fn wait_sent(producer: &mut Running, count: usize) -> Result<()> {
    let sent = |events: &[Event]| events.iter().filter(|event| event.is("sent")).count() == count;
    producer.wait_until(&format!("{count} messages sent"), LONG, sent).map(|_| ())
}

fn bodies(events: &[Event]) -> BTreeSet<&str> {
    events.iter().filter(|event| event.is("message")).map(|event| event.text("body")).collect()
}

/// The checks that were answered with a commit: the message, and when it was asked about.
fn committed_at(events: &[Event]) -> Vec<(&str, i64)> {
    let committed = |event: &&Event| event.is("check") && event.text("answer") == "COMMIT_MESSAGE";
    let checks = events.iter().filter(committed);
    checks.filter_map(|event| Some((event.text("body"), event.number("arrivedMs")?))).collect()
}

/// Every message came, in its time; returns how many were delivered after `killed_at`.
fn check_times(events: &[Event], killed_at: i64) -> Result<usize> {
    let mut after = 0;
    let mut places: BTreeMap<&str, BTreeSet<[Option<i64>; 2]>> = BTreeMap::new();
    for event in events.iter().filter(|event| event.is("message")) {
        let body = event.text("body");
        places.entry(body).or_default().insert([event.number("queueId"), event.number("queueOffset")]);
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
        after += usize::from(stored > killed_at);
    }
    ensure!(places.len() == LATER.len() * OF_EACH, "{} different messages", places.len());
    ensure!(places.values().all(|places| places.len() == 1), "stored twice: {places:?}");
    Ok(after)
}

#[test]
fn what_is_pending_is_done_by_the_new_master() -> Result<()> {
    let Some((java, cluster, group)) = begin(&["later", "orders"])? else { return Ok(()) };
    let decided = ["transaction", "--topic", "orders", "--group", "decided", "--body", "decided"];
    let decided = [&decided[..], &["--count", "6", "--state", "commit", "--state", "rollback"]].concat();
    java.run(&cluster, &decided)?;
    let reader = ["push", "--topic", "later", "--group", "readers", "--from", "first", "--properties"];
    let mut reader = java.start(&cluster, &[&reader[..], &["--timeout-s", "170"]].concat())?;
    reader.wait_for("assigned", LONG)?;

    // one program after the other: each of them keeps a core busy while it starts
    let answers = [&["unknown"; HALVES][..], &SLOWLY.repeat(HALVES / 2), &["commit"]].concat();
    let mut commits = undecided(&cluster, &java, "commits", &answers)?;
    wait_sent(&mut commits, HALVES)?;
    let mut never = undecided(&cluster, &java, "never", &["unknown", "rollback"])?;
    wait_sent(&mut never, HALVES)?;
    let later = |body: &str, option: &str, value: &str, count: usize| {
        let send = ["send", "--topic", "later", "--body", body, "--mode", "async", option, value];
        java.run(&cluster, &[&send[..], &["--count", &count.to_string()]].concat())
    };
    let (sooner, latest) = LATER.split_at(LATER.len() - 1);
    for (body, option, value, _) in sooner {
        later(body, option, value, OF_EACH)?;
    }
    let lost = later("lost", "--delay-s", &(RECALLED / 1_000).to_string(), 1)?;
    let lost_due = now_ms()? + RECALLED;
    let handle = lost.iter().find(|event| event.is("sent")).context("not sent")?.text("recallHandle");
    let recall = java.run(&cluster, &["recall", "--topic", "later", "--handle", handle])?;
    ensure!(recall.iter().any(|event| event.is("recalled")), "{recall:?}");
    for (body, option, value, _) in latest {
        later(body, option, value, OF_EACH)?;
    }
    // both replicas: the settings are those of a process
    for port in [100, 102] {
        Asked::at(&cluster, port)?.ask_about_transactions()?;
    }
    commits.wait_until("the first decision", LONG, |events| !committed_at(events).is_empty())?;

    let before = group.wait_in_sync(2, LONG)?;
    let killed_at = now_ms()?;
    cluster.kill_broker(&Replicas::process(&before.master))?;
    let now = group.wait_new_epoch(&before, LONG)?;
    ensure!(now.master != before.master, "the killed master leads again: {before:?} {now:?}");

    reader
        .wait_until("every delayed message", LONG, |events| bodies(events).len() >= LATER.len() * OF_EACH)?;
    std::thread::sleep(
        Duration::from_millis(u64::try_from(lost_due - now_ms()?).unwrap_or_default()) + A_WHILE,
    );
    reader.tell("stop")?;
    let after = check_times(&reader.finish(LONG)?, killed_at)?;
    println!("{after} of {} delayed messages were delivered by the new master", LATER.len() * OF_EACH);
    ensure!(after >= OF_EACH, "only {after} messages were pending when the master was killed");

    let asked = commits.finish(LONG)?;
    never.finish(LONG)?;
    let after = committed_at(&asked).into_iter().filter(|(_, arrived)| *arrived > killed_at);
    let after: BTreeSet<&str> = after.map(|(body, _)| body).collect();
    println!("{} of {HALVES} transactions were decided when the new master asked", after.len());
    ensure!(!after.is_empty(), "all was decided before the master was killed");
    let expected = [once("commits", 0..HALVES), once("decided", [0, 2, 4])];
    let expected: BTreeMap<_, _> = expected.into_iter().flatten().collect();
    let as_decided = || {
        let found = stored(&cluster, &java, "orders")?;
        ensure!(found == expected, "{found:?}");
        Ok(())
    };
    wait::until_ok("the decisions", LONG, as_decided)?;
    std::thread::sleep(A_WHILE);
    as_decided()?;
    let end = group.leading()?;
    ensure!((end.epoch, &end.master) == (now.epoch, &now.master), "{now:?} {end:?}");
    cluster.stop()
}

/// Asks one replica.
struct Asked {
    runtime: tokio::runtime::Runtime,
    admin: Admin,
    address: String,
}

impl Asked {
    fn at(cluster: &Cluster, port: u16) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let admin = {
            let _inside = runtime.enter();
            Admin::new(cluster.namesrv(), Duration::from_secs(5))?
        };
        Ok(Self { runtime, admin, address: format!("127.0.0.1:{}", cluster.port_base() + port) })
    }

    /// From now on producers are asked about transactions that they have not decided.
    fn ask_about_transactions(&self) -> Result<()> {
        let settings = BTreeMap::from([("transactionTimeOut".to_owned(), "1000".to_owned())]);
        Ok(self.runtime.block_on(self.admin.update_broker_config(&self.address, &settings))?)
    }

    /// Messages of the topic that are shown.
    fn shown(&self, topic: &str) -> Result<i64> {
        let offset = |queue| self.runtime.block_on(self.admin.max_offset(&self.address, topic, queue));
        (0..QUEUES).map(|queue| Ok(offset(queue)?)).sum()
    }

    /// Messages that a group has committed.
    fn committed(&self, group: &str, topic: &str) -> Result<i64> {
        let offset =
            |queue| self.runtime.block_on(self.admin.group_offset(&self.address, group, topic, queue));
        (0..QUEUES).map(|queue| Ok(offset(queue)?.unwrap_or(0))).sum()
    }
}

#[test]
fn the_slave_is_read_while_nobody_can_lead() -> Result<()> {
    let Some((java, cluster, group)) = begin(&["feed"])? else { return Ok(()) };
    let send = |body: &str, count: usize| {
        let count = count.to_string();
        java.run(&cluster, &["send", "--topic", "feed", "--body", body, "--count", &count, "--mode", "async"])
    };
    send("before", BEFORE)?;
    let reader = ["push", "--topic", "feed", "--group", "readers", "--from", "first", "--timeout-s", "170"];
    let mut reader = java.start(&cluster, &reader)?;
    // this one comes and goes
    let visit = |expect: usize| {
        let expect = expect.to_string();
        let visit = ["litepull", "--topic", "feed", "--group", "visitors", "--from", "first"];
        java.run(&cluster, &[&visit[..], &["--expect", &expect]].concat())
    };
    ensure!(bodies(&visit(BEFORE)?).len() == BEFORE, "what is there is read once");
    reader.wait_until("what was sent", LONG, |events| bodies(events).len() == BEFORE)?;
    reader.tell("suspend")?;
    reader.wait_for("control", LONG)?;
    send("meanwhile", MEANWHILE)?;
    let (master, slave) = (Asked::at(&cluster, 100)?, Asked::at(&cluster, 102)?);
    let all = i64::try_from(BEFORE + MEANWHILE)?;
    wait::until_ok("the slave to show everything", LONG, || {
        ensure!(slave.shown("feed")? == all, "{}", slave.shown("feed")?);
        Ok(())
    })?;

    let before = group.wait_in_sync(2, LONG)?;
    let away = group.state_away()?;
    let died = cluster.kill_broker(&Replicas::process(&before.master))?;
    let read = visit(MEANWHILE)?;
    ensure!(bodies(&read).len() == MEANWHILE, "{} messages", bodies(&read).len());
    ensure!(bodies(&read).iter().all(|body| body.starts_with("meanwhile-")), "read again: {read:?}");
    reader.tell("resume")?;
    reader
        .wait_until("what it has not read yet", LONG, |events| bodies(events).len() == BEFORE + MEANWHILE)?;
    reader.tell("stop")?;
    reader.finish(LONG)?;
    for group in ["visitors", "readers"] {
        wait::until_ok("the offsets at the slave", LONG, || {
            let committed = slave.committed(group, "feed")?;
            ensure!(committed == all, "{group}: {committed}");
            Ok(())
        })?;
    }
    let refused = slave.runtime.block_on(async {
        let queue =
            Queue { topic: "feed".into(), broker: GROUP.into(), id: 0, address: slave.address.clone() };
        let producer = Producer::new(cluster.namesrv(), ProducerConfig::default())?;
        anyhow::Ok(producer.send_to(&Message::new("feed", "refused"), &queue).await)
    })?;
    let code = refused.as_ref().err().and_then(bolide_client::ClientError::code);
    ensure!(code == Some(ResponseCode::SYSTEM_BUSY), "{refused:?}");
    let restarted = cluster.brokers()?.into_iter().any(|(name, pid)| name == died.name && pid != died.pid);
    ensure!(restarted, "the killed one does not run");

    away.back()?;
    let now = group.wait_new_epoch(&before, LONG)?;
    println!("epoch {} -> {}, master {} -> {}", before.epoch, now.epoch, before.master, now.master);
    group.wait_in_sync(2, LONG)?;
    for group in ["visitors", "readers"] {
        wait::until_ok("the offsets at the master", LONG, || {
            let committed = master.committed(group, "feed")?;
            ensure!(committed == all, "{group}: {committed}");
            Ok(())
        })?;
    }
    send("after", BEFORE)?;
    let read = visit(BEFORE)?;
    ensure!(bodies(&read).len() == BEFORE, "{} messages", bodies(&read).len());
    ensure!(bodies(&read).iter().all(|body| body.starts_with("after-")), "read again: {read:?}");
    let found = stored(&cluster, &java, "feed")?;
    ensure!(found.len() == 2 * BEFORE + MEANWHILE && !found.contains_key("refused"), "{}", found.len());
    cluster.stop()
}
