//! Changes of a BrokerSet: each is applied, or refused with a reason while everything else goes on.

use std::time::Duration;

use anyhow::{Context, ensure};
use bolide_e2e::kube::{NEXT_IMAGE, Namespace, condition, eventually};
use bolide_e2e::{Kube, Result};
use serde_json::{Value, json};

use crate::{READY_WITHIN, SOON, seen};

const SET: &str = "edit";
const POD: &str = "edit-broker-0-0";
const CLAIM: &str = "data-edit-broker-0-0";

const OBJECTS: &str = "apiVersion: bolide.dev/v1alpha1
kind: BrokerSet
metadata: {name: edit}
spec: {nameservers: {replicas: 1}, storage: {size: 1Gi}}
---
apiVersion: bolide.dev/v1alpha1
kind: Topic
metadata: {name: orders}
spec: {clusterRef: {name: edit}, queues: 4}
";

pub(crate) fn run(kube: &Kube) -> Result<()> {
    let namespace = kube.namespace("changes")?;
    namespace.apply(OBJECTS)?;
    namespace.wait_ready("brokerset", SET, READY_WITHIN)?;
    namespace.wait_ready("topic", "orders", SOON)?;
    namespace.bolide(SET, &["produce", "orders", "--body", "first", "--count", "20"])?;
    a_hot_setting_needs_no_new_pod(&namespace)?;
    a_cold_setting_and_an_image_replace_pods_one_by_one(&namespace)?;
    volumes_grow_and_do_not_shrink(&namespace)?;
    a_class_that_does_not_grow_is_said_and_stops_nothing_else(&namespace)?;
    a_second_group_gets_the_topics(&namespace)?;
    a_group_leaves_when_it_has_been_read(&namespace)?;
    a_group_is_discarded_by_annotation(&namespace)?;
    nothing_changes_while_paused(&namespace)?;
    a_stopped_set_keeps_data_and_addresses(&namespace)?;
    namespace.delete(SOON)
}

fn change(namespace: &Namespace, spec: &Value) -> Result<()> {
    namespace.patch("brokerset", SET, &json!({ "spec": spec }))
}

fn settled(namespace: &Namespace) -> Result<Value> {
    namespace.wait_settled("brokerset", SET, "True", READY_WITHIN + SOON)
}

fn pod_uid(namespace: &Namespace) -> Result<Value> {
    Ok(namespace.get(&["pod", POD])?["metadata"]["uid"].clone())
}

fn a_hot_setting_needs_no_new_pod(namespace: &Namespace) -> Result<()> {
    let (uid, long) = (pod_uid(namespace)?, "x".repeat(2000));
    namespace.bolide(SET, &["produce", "orders", "--body", &long])?;
    change(namespace, &json!({ "brokerConfig": { "maxMessageSize": 1024 } }))?;
    eventually("a long message to be refused", SOON, || {
        ensure!(namespace.bolide(SET, &["produce", "orders", "--body", &long]).is_err(), "it is stored");
        Ok(())
    })?;
    change(namespace, &json!({ "brokerConfig": null }))?;
    eventually("a long message to be stored", SOON, || {
        namespace.bolide(SET, &["produce", "orders", "--body", &long])
    })?;
    settled(namespace)?;
    let pod = namespace.get(&["pod", POD])?;
    ensure!(pod["metadata"]["uid"] == uid, "the pod was replaced");
    ensure!(pod["status"]["containerStatuses"][0]["restartCount"] == 0, "{}", pod["status"]);
    seen("a hot setting is in force there and back, in the same process");
    Ok(())
}

fn a_cold_setting_and_an_image_replace_pods_one_by_one(namespace: &Namespace) -> Result<()> {
    let (uid, stored) = (pod_uid(namespace)?, namespace.stored(SET, "orders")?);
    change(namespace, &json!({ "flush": "Sync" }))?;
    eventually("a new broker pod", SOON, || {
        ensure!(pod_uid(namespace)? != uid, "it is the old one");
        Ok(())
    })?;
    settled(namespace)?;
    let events =
        namespace.kubectl(&["get", "events", "--field-selector", "involvedObject.kind=BrokerSet"])?;
    ensure!(events.contains("Replacing") && events.contains(POD), "{events}");
    seen("a setting that needs a new process replaces the pod, and an event says so");
    change(namespace, &json!({ "image": NEXT_IMAGE }))?;
    eventually("all pods to have the new image", SOON, || {
        let pods = namespace.get(&["pods", "--selector", "bolide.dev/cluster=edit"])?;
        let pods = pods["items"].as_array().context("no list")?.clone();
        let images: Vec<_> = pods.iter().map(|pod| pod["spec"]["containers"][0]["image"].clone()).collect();
        ensure!(images.len() == 2 && images.iter().all(|image| image == NEXT_IMAGE), "{images:?}");
        Ok(())
    })?;
    settled(namespace)?;
    ensure!(namespace.stored(SET, "orders")? == stored, "messages were lost");
    seen("a new image reaches every pod, and the messages are still there");
    Ok(())
}

fn volumes_grow_and_do_not_shrink(namespace: &Namespace) -> Result<()> {
    let uid = pod_uid(namespace)?;
    change(namespace, &json!({ "storage": { "size": "2Gi" } }))?;
    namespace.wait_for("persistentvolumeclaim", CLAIM, "2Gi", SOON, |claim| {
        claim["status"]["capacity"]["storage"] == "2Gi"
    })?;
    settled(namespace)?;
    change(namespace, &json!({ "storage": { "size": "1Gi" }, "nameservers": { "replicas": 2 } }))?;
    namespace.wait_for("brokerset", SET, "a refused shrink", SOON, |set| {
        let resized = condition(set, "StorageResized");
        resized["status"] == "False" && resized["reason"] == "ShrinkRefused"
    })?;
    let set = namespace.wait_for("brokerset", SET, "two nameservers", SOON, |set| {
        set["status"]["nameserverPods"].as_array().map(Vec::len) == Some(2)
            && condition(set, "Ready")["status"] == "True"
    })?;
    every_nameserver_knows_the_broker(namespace, &set)?;
    ensure!(
        namespace.get(&["persistentvolumeclaim", CLAIM])?["spec"]["resources"]["requests"]["storage"]
            == "2Gi"
    );
    change(namespace, &json!({ "storage": { "size": "2Gi" }, "nameservers": { "replicas": 1 } }))?;
    namespace.wait_for("brokerset", SET, "no refusal", SOON, |set| {
        condition(set, "StorageResized")["status"] != "False"
    })?;
    settled(namespace)?;
    ensure!(pod_uid(namespace)? == uid, "the pod was replaced because of its volume");
    seen("a volume grows in place; a shrink is refused with a condition while the nameservers change");
    Ok(())
}

fn every_nameserver_knows_the_broker(namespace: &Namespace, set: &Value) -> Result<()> {
    let uid = pod_uid(namespace)?;
    for address in set["status"]["nameserverPods"].as_array().into_iter().flatten() {
        let address = address.as_str().context("an address is text")?;
        eventually("the broker to register with a new nameserver", SOON, || {
            let found = namespace.bolide_at(SET, address, &["topic", "describe", "orders"])?;
            ensure!(found.contains("edit-broker-0"), "{found}");
            Ok(())
        })?;
    }
    ensure!(pod_uid(namespace)? == uid, "the broker was replaced");
    seen("a running broker registers with a nameserver that comes later");
    Ok(())
}

/// What the cluster's default class allows, in a class that does not.
const RIGID_CLASS: &str = "apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: bolide-e2e-rigid}
provisioner: PROVISIONER
reclaimPolicy: Delete
volumeBindingMode: WaitForFirstConsumer
allowVolumeExpansion: false
---
apiVersion: bolide.dev/v1alpha1
kind: BrokerSet
metadata: {name: rigid}
spec: {nameservers: {replicas: 1}, storage: {size: 1Gi, storageClassName: bolide-e2e-rigid}}
";

fn a_class_that_does_not_grow_is_said_and_stops_nothing_else(namespace: &Namespace) -> Result<()> {
    let classes = namespace.get(&["storageclasses"])?;
    let default = "storageclass.kubernetes.io/is-default-class";
    let class = classes["items"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|class| class["metadata"]["annotations"][default] == "true")
        .context("no default storage class")?;
    let provisioner = class["provisioner"].as_str().context("a provisioner")?;
    namespace.apply(&RIGID_CLASS.replace("PROVISIONER", provisioner))?;
    namespace.wait_ready("brokerset", "rigid", READY_WITHIN)?;
    let spec = json!({ "spec": { "storage": { "size": "2Gi" }, "nameservers": { "replicas": 2 } } });
    namespace.patch("brokerset", "rigid", &spec)?;
    let set = namespace.wait_for("brokerset", "rigid", "a refused growth", SOON, |set| {
        condition(set, "StorageResized")["reason"] == "ExpansionNotSupported"
            && set["status"]["nameservers"] == "2/2"
            && condition(set, "Ready")["status"] == "True"
    })?;
    let message = condition(&set, "StorageResized")["message"].to_string();
    ensure!(
        message.contains("bolide-e2e-rigid") && message.contains("does not allow expansion"),
        "{message}"
    );
    namespace.kubectl(&["delete", "brokerset", "rigid", "--timeout=60s"])?;
    namespace.kubectl(&["delete", "storageclass", "bolide-e2e-rigid"])?;
    seen("where the class does not let volumes grow a condition says so, and everything else goes on");
    Ok(())
}

fn a_group_is_discarded_by_annotation(namespace: &Namespace) -> Result<()> {
    change(namespace, &json!({ "groups": 2 }))?;
    namespace.wait_for("topic", "orders", "to be on two groups", READY_WITHIN + SOON, |topic| {
        topic["status"]["queues"] == 8
    })?;
    settled(namespace)?;
    eventually("a send to the second group", SOON, || {
        let sent = namespace
            .bolide(SET, &["produce", "orders", "--body", "unread", "--count", "16", "--output", "json"])?;
        ensure!(sent.contains("edit-broker-1"), "{sent}");
        Ok(())
    })?;
    change(namespace, &json!({ "groups": 1 }))?;
    namespace.wait_for("brokerset", SET, "a group with unread messages to wait", SOON, |set| {
        let progress = set["status"]["groups"][1]["progress"].as_str().unwrap_or_default();
        progress.contains("messages are consumed")
    })?;
    ensure!(namespace.exists("pod", "edit-broker-1-0")?, "the group went with its unread messages");
    namespace.kubectl(&["annotate", "brokerset", SET, "bolide.dev/discard-groups=1"])?;
    eventually("the discarded group to be gone", SOON, || {
        ensure!(!namespace.exists("statefulset", "edit-broker-1")?, "its StatefulSet is there");
        Ok(())
    })?;
    ensure!(namespace.exists("persistentvolumeclaim", "data-edit-broker-1-0")?, "its volume went too");
    namespace.kubectl(&["annotate", "brokerset", SET, "bolide.dev/discard-groups-"])?;
    settled(namespace)?;
    seen("an annotation removes a group that still has unread messages; its volume stays");
    Ok(())
}

fn a_second_group_gets_the_topics(namespace: &Namespace) -> Result<()> {
    // nobody made an object for this one
    namespace.bolide(SET, &["topic", "create", "unspoken", "--queues", "3"])?;
    change(namespace, &json!({ "groups": 2 }))?;
    namespace.wait_for("topic", "orders", "to be on two groups", READY_WITHIN + SOON, |topic| {
        topic["status"]["queues"] == 8 && condition(topic, "Ready")["status"] == "True"
    })?;
    settled(namespace)?;
    eventually("a route with both groups", SOON, || {
        let found = namespace.bolide_json(SET, &["topic", "describe", "orders"])?;
        ensure!(found["queues"].as_array().map(Vec::len) == Some(8), "{found}");
        let found = namespace.bolide_json(SET, &["topic", "describe", "unspoken"])?;
        ensure!(found["queues"].as_array().map(Vec::len) == Some(6), "{found}");
        Ok(())
    })?;
    let set = namespace.get(&["brokerset", SET])?;
    ensure!(set["status"]["groups"][1]["joined"] == true, "{}", set["status"]);
    seen("a second broker group has the topics with their queues, with and without an object");
    Ok(())
}

fn a_group_leaves_when_it_has_been_read(namespace: &Namespace) -> Result<()> {
    let reader = ["consume", "orders", "--group", "readers", "--idle", "6s"];
    namespace.bolide(SET, &reader)?;
    namespace.bolide(SET, &["produce", "orders", "--body", "last", "--count", "64"])?;
    change(namespace, &json!({ "groups": 1 }))?;
    let set = namespace.wait_for("brokerset", SET, "a group that waits for its readers", SOON, |set| {
        let progress = set["status"]["groups"][1]["progress"].as_str().unwrap_or_default();
        progress.contains("messages are consumed") && progress.contains("readers")
    })?;
    ensure!(set["status"]["groups"][1]["progress"].to_string().contains("bolide.dev/discard-groups=1"));
    eventually("sends to stay away from the group", SOON, || {
        let sent = namespace
            .bolide(SET, &["produce", "orders", "--body", "after", "--count", "8", "--output", "json"])?;
        ensure!(!sent.contains("edit-broker-1"), "{sent}");
        Ok(())
    })?;
    ensure!(namespace.exists("pod", "edit-broker-1-0")?, "the group went before it was read");
    let read = namespace.bolide(SET, &reader)?;
    ensure!(read.matches("last").count() >= 64, "64 messages were sent, these were read: {read}");
    eventually("the group to be gone", SOON, || {
        ensure!(!namespace.exists("statefulset", "edit-broker-1")?, "its StatefulSet is there");
        ensure!(!namespace.exists("service", "edit-broker-1-master")?, "its Service is there");
        Ok(())
    })?;
    settled(namespace)?;
    ensure!(namespace.exists("persistentvolumeclaim", "data-edit-broker-1-0")?, "its volume went too");
    namespace
        .wait_for("topic", "orders", "to be on one group", SOON, |topic| topic["status"]["queues"] == 4)?;
    seen(
        "a group takes no more messages, says what it waits for, leaves when it has been read, and its volume stays",
    );
    Ok(())
}

fn nothing_changes_while_paused(namespace: &Namespace) -> Result<()> {
    let uid = pod_uid(namespace)?;
    change(namespace, &json!({ "paused": true }))?;
    namespace.wait_for("brokerset", SET, "to be paused", SOON, |set| {
        condition(set, "Progressing")["reason"] == "Paused"
    })?;
    change(namespace, &json!({ "flush": "Async" }))?;
    namespace.wait_for("brokerset", SET, "to have seen the change", SOON, |set| {
        set["status"]["observedGeneration"] == set["metadata"]["generation"]
    })?;
    std::thread::sleep(Duration::from_secs(3));
    let settings = namespace.get(&["configmap", "edit-broker-0"])?["data"].to_string();
    ensure!(
        settings.contains("SYNC_FLUSH") && pod_uid(namespace)? == uid,
        "a paused set was changed: {settings}"
    );
    change(namespace, &json!({ "paused": false }))?;
    eventually("the change to be made up for", SOON, || {
        ensure!(pod_uid(namespace)? != uid, "the pod is the old one");
        Ok(())
    })?;
    settled(namespace)?;
    seen("a paused set is left alone, and catches up afterwards");
    Ok(())
}

fn a_stopped_set_keeps_data_and_addresses(namespace: &Namespace) -> Result<()> {
    let stored = namespace.stored(SET, "orders")?;
    let addresses = || -> Result<Vec<Value>> {
        let of = |name: &str| Ok(namespace.get(&["service", name])?["spec"]["clusterIP"].clone());
        ["edit-nameserver", "edit-broker-0-master"].into_iter().map(of).collect()
    };
    let before = addresses()?;
    change(namespace, &json!({ "stopped": true }))?;
    eventually("all pods to be gone", SOON, || {
        let pods = namespace.kubectl(&["get", "pods", "--output", "name"])?;
        ensure!(pods.trim().is_empty(), "{pods}");
        Ok(())
    })?;
    namespace.wait_for("brokerset", SET, "to be stopped", SOON, |set| {
        condition(set, "Ready")["reason"] == "Stopped"
    })?;
    ensure!(namespace.exists("persistentvolumeclaim", CLAIM)?, "the volume is gone");
    change(namespace, &json!({ "stopped": false }))?;
    settled(namespace)?;
    ensure!(addresses()? == before, "the addresses changed");
    let found = eventually("the topic", SOON, || namespace.stored(SET, "orders"))?;
    ensure!(found == stored, "{stored} messages before the stop, {found} after");
    seen("a stopped set runs no pod; started again it has its data and its addresses");
    Ok(())
}
