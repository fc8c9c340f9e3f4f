//! Topics: adopted, contended, repaired, narrowed, deleted or kept.

use std::time::Duration;

use anyhow::ensure;
use bolide_e2e::kube::{Namespace, condition, eventually};
use bolide_e2e::{Kube, Result};
use serde_json::{Value, json};

use crate::{READY_WITHIN, SOON, seen};

const SET: &str = "hall";
/// The operator compares every topic with the brokers once a minute.
const DRIFT_WITHIN: Duration = Duration::from_secs(100);

const CLUSTER: &str = "apiVersion: bolide.dev/v1alpha1
kind: BrokerSet
metadata: {name: hall}
spec: {nameservers: {replicas: 1}, storage: {size: 1Gi}}
";

fn topic(object: &str, spec: &str) -> String {
    format!(
        "apiVersion: bolide.dev/v1alpha1\nkind: Topic\nmetadata: {{name: {object}}}\nspec: {{clusterRef: {{name: hall}}, {spec}}}\n---\n"
    )
}

pub(crate) fn run(kube: &Kube) -> Result<()> {
    let namespace = kube.namespace("topics")?;
    // topics may be there before their cluster
    namespace.apply(&topic("drifting", "queues: 4"))?;
    namespace.wait_for("topic", "drifting", "to wait for its cluster", SOON, |topic| {
        condition(topic, "Ready")["reason"] == "ClusterNotFound"
    })?;
    namespace.apply(CLUSTER)?;
    namespace.wait_ready("brokerset", SET, READY_WITHIN)?;
    namespace.wait_ready("topic", "drifting", SOON)?;

    // somebody changes one topic and deletes another behind the operator's back; it is seen while the rest is tried
    namespace.apply(&topic("vanishing", "queues: 2"))?;
    namespace.wait_ready("topic", "vanishing", SOON)?;
    namespace.bolide(SET, &["topic", "create", "drifting", "--queues", "4", "--permission", "read-only"])?;
    namespace.bolide(SET, &["topic", "delete", "vanishing"])?;

    adopted_with_its_messages(&namespace)?;
    the_older_of_two_decides(&namespace)?;
    narrowed_when_read(&namespace)?;
    deleted_or_kept(&namespace)?;
    ordered_topics_keep_their_queues(&namespace)?;

    eventually("drift to be repaired", DRIFT_WITHIN, || {
        ensure!(listed(&namespace, "drifting")?["permission"] == listed(&namespace, "kept")?["permission"]);
        ensure!(listed(&namespace, "vanishing")?["write_queues"] == 2);
        Ok(())
    })?;
    seen("a topic that was changed and one that was deleted by other tools are as their objects say again");
    namespace.delete(SOON)
}

/// A topic as `bolide topic list` shows it; `null` when there is none.
fn listed(namespace: &Namespace, name: &str) -> Result<Value> {
    let all = namespace.bolide_json(SET, &["topic", "list"])?;
    Ok(all.as_array().into_iter().flatten().find(|one| one["topic"] == name).cloned().unwrap_or(Value::Null))
}

fn adopted_with_its_messages(namespace: &Namespace) -> Result<()> {
    namespace.bolide(SET, &["topic", "create", "legacy", "--queues", "2"])?;
    eventually("a send to the new topic", SOON, || {
        namespace.bolide(SET, &["produce", "legacy", "--body", "old", "--count", "10"])
    })?;
    namespace.apply(&topic("legacy-topic", "topicName: legacy, queues: 6"))?;
    namespace.wait_ready("topic", "legacy-topic", SOON)?;
    ensure!(listed(namespace, "legacy")?["write_queues"] == 6, "{}", listed(namespace, "legacy")?);
    ensure!(namespace.stored(SET, "legacy")? == 10, "messages of the adopted topic are gone");
    seen("a topic that was there is adopted, widened, and keeps its messages");
    Ok(())
}

fn the_older_of_two_decides(namespace: &Namespace) -> Result<()> {
    namespace.apply(&topic("legacy-again", "topicName: legacy, queues: 3"))?;
    let second = namespace.wait_for("topic", "legacy-again", "to give way", SOON, |topic| {
        condition(topic, "Ready")["reason"] == "Conflict"
    })?;
    let message = condition(&second, "Ready")["message"].to_string();
    ensure!(message.contains("legacy-topic"), "{message}");
    namespace.kubectl(&["delete", "topic", "legacy-again", "--timeout=30s"])?;
    ensure!(listed(namespace, "legacy")?["write_queues"] == 6, "the younger object took the topic with it");
    seen("of two objects for one topic the older decides, the other says so and harms nothing when it goes");
    Ok(())
}

fn narrowed_when_read(namespace: &Namespace) -> Result<()> {
    let reader = ["consume", "legacy", "--group", "keepers", "--idle", "6s"];
    let read = namespace.bolide(SET, &reader)?;
    ensure!(read.matches("old").count() == 10, "{read}");
    namespace.bolide(SET, &["produce", "legacy", "--body", "new", "--count", "12"])?;
    namespace.patch("topic", "legacy-topic", &json!({ "spec": { "queues": 2 } }))?;
    namespace.wait_for("topic", "legacy-topic", "to wait for its readers", SOON, |topic| {
        let group = &topic["status"]["groups"][0];
        condition(topic, "Ready")["reason"] == "Shrinking"
            && group["writeQueues"] == 2
            && group["readQueues"] == 6
    })?;
    let read = namespace.bolide(SET, &reader)?;
    ensure!(read.matches("new").count() == 12, "a narrower topic lost messages: {read}");
    namespace.wait_for("topic", "legacy-topic", "to have two queues", SOON, |topic| {
        topic["status"]["groups"][0]["readQueues"] == 2 && condition(topic, "Ready")["reason"] == "Ready"
    })?;
    seen("a topic is narrowed: first nothing is written to the queues, and when they are read they go");
    Ok(())
}

fn deleted_or_kept(namespace: &Namespace) -> Result<()> {
    namespace.apply(&(topic("gone", "queues: 1") + &topic("kept", "queues: 1, deletionPolicy: Retain")))?;
    namespace.wait_ready("topic", "gone", SOON)?;
    namespace.wait_ready("topic", "kept", SOON)?;
    namespace.kubectl(&["delete", "topic", "gone", "kept", "--timeout=30s"])?;
    ensure!(listed(namespace, "gone")? == Value::Null, "a deleted topic is on the broker");
    ensure!(listed(namespace, "kept")?["write_queues"] == 1, "a retained topic is gone");
    seen("deletionPolicy decides what becomes of a topic");
    Ok(())
}

/// A Java client sees the order configuration in what it knows of a topic: with a broker away it still has all queues.
fn ordered_topics_keep_their_queues(namespace: &Namespace) -> Result<()> {
    namespace.apply(&topic("steps", "queues: 3, type: Ordered"))?;
    namespace.wait_ready("topic", "steps", SOON)?;
    let order = |expected: Option<&str>| {
        eventually("the order configuration in the route", SOON, || {
            let set = namespace.get(&["brokerset", SET])?;
            for address in set["status"]["nameserverPods"].as_array().into_iter().flatten() {
                let address = address.as_str().unwrap_or_default();
                let found =
                    namespace.bolide_at(SET, address, &["topic", "describe", "steps", "--output", "json"])?;
                let found: Value = serde_json::from_str(&found)?;
                ensure!(found["order"].as_str() == expected, "{address}: {found}");
            }
            Ok(())
        })
    };
    order(Some("hall-broker-0:3"))?;
    namespace.patch("topic", "steps", &json!({ "spec": { "queues": 5 } }))?;
    order(Some("hall-broker-0:5"))?;
    // a nameserver that is made anew knows nothing until it is told
    namespace.kubectl(&["delete", "pods", "--selector", "app.kubernetes.io/component=nameserver"])?;
    namespace.wait_ready("brokerset", SET, SOON)?;
    order(Some("hall-broker-0:5"))?;
    seen("every nameserver tells the order of an ordered topic, also one that comes later");
    Ok(())
}
