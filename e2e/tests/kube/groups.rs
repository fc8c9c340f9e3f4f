//! Consumer groups: how far they have read, and resets that happen once.

use std::time::Duration;

use anyhow::{Context, ensure};
use bolide_e2e::kube::{Namespace, condition};
use bolide_e2e::{Client, Kube, Result};
use serde_json::{Value, json};

use crate::{READY_WITHIN, SOON, seen};

const SET: &str = "post";

const OBJECTS: &str = "apiVersion: bolide.dev/v1alpha1
kind: BrokerSet
metadata: {name: post}
spec: {nameservers: {replicas: 1}, storage: {size: 1Gi}}
---
apiVersion: bolide.dev/v1alpha1
kind: Topic
metadata: {name: mail}
spec: {clusterRef: {name: post}, queues: 2}
---
apiVersion: bolide.dev/v1alpha1
kind: ConsumerGroup
metadata: {name: readers}
spec: {clusterRef: {name: post}, maxRetries: 3}
";

pub(crate) fn run(kube: &Kube) -> Result<()> {
    let namespace = kube.namespace("groups")?;
    namespace.apply(OBJECTS)?;
    namespace.wait_ready("brokerset", SET, READY_WITHIN)?;
    namespace.wait_ready("topic", "mail", SOON)?;
    namespace.wait_ready("consumergroup", "readers", SOON)?;
    let found = namespace.bolide(SET, &["group", "describe", "readers"]);
    ensure!(found.is_ok(), "the group is not on the broker: {found:?}");

    namespace.bolide(SET, &["produce", "mail", "--body", "letter", "--count", "30"])?;
    let read = namespace.bolide(SET, &["consume", "mail", "--group", "readers", "--idle", "6s"])?;
    ensure!(read.matches("letter").count() == 30, "{read}");
    lag_is(&namespace, 0)?;
    namespace.bolide(SET, &["produce", "mail", "--body", "more", "--count", "12"])?;
    let group = lag_is(&namespace, 12)?;
    ensure!(group["status"]["members"] == 0 && group["status"]["deadLetters"] == 0, "{}", group["status"]);
    ensure!(group["status"]["topics"][0]["topic"] == "mail", "{}", group["status"]);
    let columns = namespace.kubectl(&["get", "consumergroup", "readers"])?;
    ensure!(columns.contains(" 12 "), "{columns}");
    seen("a consumer group says how far it is behind");

    let reset = json!({ "spec": { "resetOffset": { "token": "first", "to": "Earliest" } } });
    namespace.patch("consumergroup", "readers", &reset)?;
    let group = namespace.wait_for("consumergroup", "readers", "to be reset", SOON, |group| {
        let last = &group["status"]["lastReset"];
        last["token"] == "first" && last["complete"] == true
    })?;
    let before: i64 = group["status"]["lastReset"]["previous"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|one| one["topic"] == "mail")
        .filter_map(|one| one["offset"].as_i64())
        .sum();
    ensure!(before == 30, "the offsets before the reset: {}", group["status"]["lastReset"]);
    lag_is(&namespace, 42)?;
    let read = namespace.bolide(SET, &["consume", "mail", "--group", "readers", "--idle", "6s"])?;
    ensure!(read.matches("letter").count() == 30 && read.matches("more").count() == 12, "{read}");
    lag_is(&namespace, 0)?;
    // the order is still in the spec; another change of the object must not carry it out again
    namespace.patch("consumergroup", "readers", &json!({ "spec": { "maxRetries": 4 } }))?;
    namespace.wait_settled("consumergroup", "readers", "True", SOON)?;
    std::thread::sleep(Duration::from_secs(17));
    lag_is(&namespace, 0)?;
    seen("a reset happens once for its token, and the offsets before it are in the status");
    reset_to_a_moment_and_to_the_latest(&namespace)?;
    dead_letters_are_counted(&namespace)?;
    paused_and_deleted(&namespace)?;
    namespace.delete(SOON)
}

fn reset_to_a_moment_and_to_the_latest(namespace: &Namespace) -> Result<()> {
    std::thread::sleep(Duration::from_secs(2));
    let moment = jiff::Timestamp::now();
    std::thread::sleep(Duration::from_secs(2));
    namespace.bolide(SET, &["produce", "mail", "--body", "late", "--count", "7"])?;
    let order = |token: &str, to: Value| {
        let mut reset = to;
        reset["token"] = json!(token);
        namespace.patch("consumergroup", "readers", &json!({ "spec": { "resetOffset": reset } }))?;
        namespace.wait_for("consumergroup", "readers", "to be reset", SOON, |group| {
            let last = &group["status"]["lastReset"];
            last["token"] == token && last["complete"] == true
        })
    };
    order("second", json!({ "to": "Latest" }))?;
    lag_is(namespace, 0)?;
    order("third", json!({ "to": "Time", "time": moment.to_string() }))?;
    let group = lag_is(namespace, 7)?;
    ensure!(
        group["status"]["lagSeconds"].as_i64().is_some_and(|seconds| seconds >= 1),
        "{}",
        group["status"]
    );
    seen("a group is reset to the latest and to a moment, and its lag is told in seconds too");
    Ok(())
}

/// The seven messages that the group has not read fail in a Java consumer that gives up at once.
fn dead_letters_are_counted(namespace: &Namespace) -> Result<()> {
    let Some(java) = Client::Java5.find() else { return Ok(()) };
    let service = namespace.get(&["service", "post-nameserver"])?;
    let address = service["spec"]["clusterIP"].as_str().context("no address")?;
    let push = ["push", "--group", "readers", "--topic", "mail", "--fail-always", "--max-reconsume", "0"];
    let mut consumer = java.start_at(&format!("{address}:9876"), &push)?;
    let group = namespace.wait_for("consumergroup", "readers", "its dead letters", SOON, |group| {
        group["status"]["deadLetters"] == 7
    })?;
    ensure!(group["status"]["members"] == 1, "{}", group["status"]);
    consumer.tell("stop")?;
    consumer.finish(SOON)?;
    let columns = namespace.kubectl(&["get", "consumergroup", "readers"])?;
    ensure!(columns.contains(" 7 "), "{columns}");
    seen("messages that a Java consumer gave up are counted as dead letters");
    Ok(())
}

fn lag_is(namespace: &Namespace, lag: i64) -> Result<Value> {
    let what = format!("to be {lag} behind");
    namespace.wait_for("consumergroup", "readers", &what, SOON, |group| group["status"]["lag"] == lag)
}

fn paused_and_deleted(namespace: &Namespace) -> Result<()> {
    namespace.patch("consumergroup", "readers", &json!({ "spec": { "paused": true } }))?;
    namespace.wait_for("consumergroup", "readers", "to be paused", SOON, |group| {
        condition(group, "Ready")["reason"] == "Paused"
    })?;
    namespace.bolide(SET, &["produce", "mail", "--body", "held", "--count", "5"])?;
    let read = namespace.bolide_unchecked(SET, &["consume", "mail", "--group", "readers", "--idle", "4s"])?;
    ensure!(!read.stdout.contains("held"), "a paused group was given messages: {}", read.stdout);
    namespace.kubectl(&["delete", "consumergroup", "readers", "--timeout=30s"])?;
    let groups = namespace.bolide(SET, &["group", "list"])?;
    ensure!(!groups.contains("readers"), "the group is on the broker: {groups}");
    seen("a paused group is given nothing; a deleted one is gone from the broker");
    Ok(())
}
