//! The samples as they are, an application beside them, and the official Java client by the name of the Service.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, ensure};
use bolide_e2e::kube::{Namespace, condition, eventually};
use bolide_e2e::{Event, Kube, Result, repository};
use serde_json::Value;

use crate::{READY_WITHIN, SOON, seen};

/// How long a Java program may take to start and do a little on a busy machine.
const JAVA_WITHIN: Duration = Duration::from_secs(90);
/// Name of the Service that leads to the master of the first broker group.
const MASTER: &str = "demo-broker-0-master";

pub(crate) fn run(kube: &Kube) -> Result<()> {
    let namespace = kube.namespace("application")?;
    let samples = repository().join("manifests/samples");
    let samples = samples.display().to_string();
    namespace.kubectl(&["apply", "--filename", &samples])?;
    for set in ["demo", "shop"] {
        namespace.wait_ready("brokerset", set, READY_WITHIN)?;
    }
    seen("the samples are ready within a minute");
    for (kind, name) in [("topic", "orders"), ("topic", "payments"), ("consumergroup", "billing")] {
        namespace.wait_ready(kind, name, SOON)?;
    }
    for deployment in ["orders-producer", "orders-consumer"] {
        let wait = ["wait", "--for=condition=Available", "deployment", deployment, "--timeout=60s"];
        namespace.kubectl(&wait)?;
    }
    eventually("orders to be consumed", SOON, || {
        let log = namespace.kubectl(&["logs", "--selector", "app=orders-consumer", "--tail=-1"])?;
        ensure!(log.contains("one more order"), "the consumers printed: {log}");
        Ok(())
    })?;
    seen("the application of the samples sends and consumes");
    let columns = namespace.kubectl(&["get", "brokersets"])?;
    for text in ["demo-broker-0-0", "shop-broker-0-0,shop-broker-1-0", "2/2", "%", "True"] {
        ensure!(columns.contains(text), "{text} is missing in:\n{columns}");
    }
    java_goes_on_while_the_broker_is_replaced(&namespace)?;
    // the cluster stays for the scenario that scrapes it
    namespace.kubectl(&["delete", "pods", "--selector", "app=java", "--wait=false"]).map(|_| ())
}

fn java_goes_on_while_the_broker_is_replaced(namespace: &Namespace) -> Result<()> {
    let push = namespace.java(
        "push",
        "demo",
        &["push", "--topic", "letters", "--group", "readers", "--from", "first", "--timeout-s", "400"],
    )?;
    let few =
        namespace.java("send", "demo", &["send", "--topic", "letters", "--count", "40", "--body", "few"])?;
    let few = bodies_sent(&few.finish(JAVA_WITHIN)?, "few")?;
    ensure!(few.len() == 40, "{few:?}");
    push.wait_until("what was sent", JAVA_WITHIN, |events| few.is_subset(&received(events)))?;
    seen("a Java client in a pod sends to and consumes from demo-nameserver:9876");

    let steady = namespace.java(
        "steady",
        "demo",
        &[
            "send",
            "--topic",
            "letters",
            "--count",
            "4000",
            "--interval-ms",
            "100",
            "--body",
            "steady",
            "--timeout-s",
            "400",
        ],
    )?;
    steady.wait_until("a few sends", JAVA_WITHIN, |events| sent(events) >= 10)?;
    let addresses = service_addresses(namespace)?;
    let before = namespace.get(&["pod", "demo-broker-0-0"])?;
    namespace.kubectl(&["delete", "pod", "demo-broker-0-0", "--wait=false"])?;
    let after = namespace.wait_for("pod", "demo-broker-0-0", "to be replaced and ready", SOON, |pod| {
        pod["metadata"]["uid"] != before["metadata"]["uid"] && condition(pod, "Ready")["status"] == "True"
    })?;
    ensure!(
        after["status"]["podIP"] != before["status"]["podIP"],
        "the new pod has the address of the old one"
    );
    ensure!(service_addresses(namespace)? == addresses, "addresses of Services changed: {addresses}");
    let selector = namespace.get(&["service", MASTER])?["spec"]["selector"].to_string();
    ensure!(selector.contains("demo-broker-0-0"), "{selector}");
    let then = sent(&steady.events()?);
    let events = steady.wait_until("sends after the change", SOON, |events| sent(events) >= then + 20)?;
    let acknowledged = bodies_sent(&events, "steady")?;
    steady.stop()?;
    push.wait_until("everything acknowledged", SOON, |events| {
        acknowledged.is_subset(&received(events)) && few.is_subset(&received(events))
    })?;
    ensure!(namespace.stored("demo", "letters")? >= i64::try_from(few.len() + acknowledged.len())?);
    seen(
        "the broker's pod was replaced: same Service addresses, data still there, the Java clients went on by themselves",
    );
    push.stop().map(|_| ())
}

/// Addresses of all Services of the set, by name.
fn service_addresses(namespace: &Namespace) -> Result<Value> {
    let services = namespace.get(&["services", "--selector", "bolide.dev/cluster=demo"])?;
    let items = services["items"].as_array().context("no list")?;
    Ok(items
        .iter()
        .map(|one| serde_json::json!([one["metadata"]["name"], one["spec"]["clusterIP"]]))
        .collect())
}

fn sent(events: &[Event]) -> usize {
    events.iter().filter(|event| event.is("sent")).count()
}

/// Labels of the messages that were acknowledged.
fn bodies_sent(events: &[Event], prefix: &str) -> Result<BTreeSet<String>> {
    let acknowledged = events.iter().filter(|event| event.is("sent") && event.text("status") == "SEND_OK");
    acknowledged
        .map(|event| Ok(format!("{prefix}-{}", event.number("seq").context("a sent event without seq")?)))
        .collect()
}

fn received(events: &[Event]) -> BTreeSet<String> {
    events.iter().filter(|event| event.is("message")).map(|event| event.text("body").to_owned()).collect()
}
