//! Objects that cannot be: the API server refuses each with a sentence that says what is wrong.

use anyhow::ensure;
use bolide_e2e::kube::condition;
use bolide_e2e::{Kube, Result};
use serde_json::json;

use crate::{SOON, seen};

/// Kind, name, spec, and what the refusal has to say.
const WRONG: &[(&str, &str, &str, &str)] = &[
    ("BrokerSet", "a-name-that-is-a-good-deal-longer-than-forty", "{}", "longer than 40 characters"),
    ("BrokerSet", "9shop", "{}", "must begin with a letter"),
    ("BrokerSet", "shop", "{minInSync: 2}", "no message could ever be acknowledged"),
    ("BrokerSet", "shop", "{groups: 0}", "spec.groups"),
    ("BrokerSet", "shop", "{groups: 65}", "less than or equal to 64"),
    ("BrokerSet", "shop", "{storage: {size: lots}}", "spec.storage.size"),
    ("BrokerSet", "shop", "{flush: Sometimes}", "supported values: \"Sync\", \"Async\""),
    ("BrokerSet", "shop", "{grups: 2}", "unknown field \"spec.grups\""),
    ("Topic", "orders", "{queues: 4}", "spec.clusterRef: Required value"),
    ("Topic", "or.ders", "{clusterRef: {name: shop}}", "set spec.topicName"),
    (
        "Topic",
        "orders",
        "{clusterRef: {name: shop}, topicName: rmq_sys_orders}",
        "brokers keep for themselves",
    ),
    ("Topic", "orders", "{clusterRef: {name: shop}, topicName: or ders}", "spec.topicName"),
    ("Topic", "orders", "{clusterRef: {name: shop}, queues: 2000}", "less than or equal to 1024"),
    ("Topic", "orders", "{clusterRef: {name: shop}, groups: [1, 1]}", "Duplicate value"),
    (
        "ConsumerGroup",
        "readers",
        "{clusterRef: {name: shop}, groupName: TOOLS_CONSUMER}",
        "brokers keep for themselves",
    ),
    (
        "ConsumerGroup",
        "readers",
        "{clusterRef: {name: shop}, resetOffset: {token: a, to: Time}}",
        "goes with `to: Time`",
    ),
    ("ConsumerGroup", "readers", "{clusterRef: {name: shop}, maxRetries: -1}", "spec.maxRetries"),
];

/// Kind, name, and a change that is refused although the object that results could be made anew.
const UNCHANGEABLE: &[(&str, &str, &str, &str)] = &[
    ("topic", "fixed", r#"{"spec": {"type": "Delay"}}"#, "type cannot change"),
    ("topic", "fixed", r#"{"spec": {"clusterRef": {"name": "other"}}}"#, "a topic belongs to one cluster"),
    ("topic", "fixed", r#"{"spec": {"topicName": "other"}}"#, "topicName cannot change"),
    ("consumergroup", "fixed", r#"{"spec": {"groupName": "other"}}"#, "groupName cannot change"),
    (
        "brokerset",
        "fixed",
        r#"{"spec": {"storage": {"storageClassName": "other"}}}"#,
        "storageClassName cannot change",
    ),
];

pub(crate) fn run(kube: &Kube) -> Result<()> {
    let namespace = kube.namespace("refusals")?;
    let object = |kind: &str, name: &str, spec: &str| {
        format!(
            "apiVersion: bolide.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {spec}\n---\n"
        )
    };
    for (kind, name, spec, sentence) in WRONG {
        let said = namespace.refused(&object(kind, name, spec))?;
        ensure!(said.contains(sentence), "{kind} {spec}: expected {sentence:?} in: {said}");
    }
    seen(&format!("{} wrong objects are refused, each with its sentence", WRONG.len()));

    namespace.apply(
        &[
            object("BrokerSet", "fixed", "{stopped: true, brokerConfig: {flushDiskType: SYNC_FLUSH}}"),
            object("Topic", "fixed", "{clusterRef: {name: fixed}}"),
            object("ConsumerGroup", "fixed", "{clusterRef: {name: fixed}}"),
        ]
        .concat(),
    )?;
    for (kind, name, change, sentence) in UNCHANGEABLE {
        let said = namespace.patch(kind, name, &serde_json::from_str(change)?);
        let said = said.err().map(|error| format!("{error:#}")).unwrap_or_default();
        ensure!(said.contains(sentence), "{kind} {change}: expected {sentence:?} in: {said}");
    }
    seen(&format!("{} changes are refused, each with its sentence", UNCHANGEABLE.len()));

    // what the schema cannot say, the operator does
    let set = namespace.wait_for("brokerset", "fixed", "to be invalid", SOON, |set| {
        condition(set, "Ready")["reason"] == json!("Invalid")
    })?;
    let message = condition(&set, "Ready")["message"].to_string();
    ensure!(message.contains("decided by spec.flush"), "{message}");
    seen("what only the operator can see is in the status");
    namespace.delete(SOON)
}
