//! Reads the objects of a YAML text the way the API server would take them: other kinds may stand beside ours, unknown
//! fields and broken rules are refused with a sentence that says where.

use kube::CustomResourceExt;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::check::{Check, Invalid};
use crate::{API_GROUP, API_VERSION, BrokerSet, ConsumerGroup, Topic, schema, yaml};

/// One object of a text.
#[derive(Clone, Debug, PartialEq)]
pub enum Manifest {
    /// A cluster.
    BrokerSet(Box<BrokerSet>),
    /// A topic.
    Topic(Box<Topic>),
    /// A consumer group.
    ConsumerGroup(Box<ConsumerGroup>),
    /// An object of another API group, with its kind.
    Other(String),
}

/// Why a text cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// It is not YAML.
    #[error("{0}")]
    Yaml(#[from] yaml::ReadError),
    /// A document is not a Kubernetes object.
    #[error("document {0} is not a Kubernetes object: it has no apiVersion and kind")]
    NotAnObject(usize),
    /// A kind of ours that does not exist, or in a version that does not exist.
    #[error(
        "{api_version} {kind} is not known; there are {API_GROUP}/{API_VERSION} BrokerSet, Topic and ConsumerGroup"
    )]
    UnknownKind {
        /// The version as written.
        api_version: String,
        /// The kind as written.
        kind: String,
    },
    /// An object breaks a rule. Only the first broken rule is shown; `all` has every one.
    #[error("{kind} {name}: {}", all.first().map(ToString::to_string).unwrap_or_default())]
    Invalid {
        /// Kind of the object.
        kind: String,
        /// Name of the object.
        name: String,
        /// Everything that is wrong; never empty.
        all: Vec<Invalid>,
    },
    /// An object that the schema allows but that could not be taken over.
    #[error("{kind} {name}: {source}")]
    Object {
        /// Kind of the object.
        kind: String,
        /// Name of the object.
        name: String,
        /// Why.
        source: serde_json::Error,
    },
}

/// Reads every object of `text`.
///
/// # Errors
/// The first document that cannot be used, and why.
pub fn read(text: &str) -> Result<Vec<Manifest>, ManifestError> {
    let documents: Vec<Value> = yaml::read_all(text)?;
    let mut manifests = Vec::with_capacity(documents.len());
    for (at, document) in documents.into_iter().enumerate() {
        if document.is_null() {
            continue;
        }
        let text = |key: &str| document.get(key).and_then(Value::as_str).map(str::to_owned);
        let (Some(api_version), Some(kind)) = (text("apiVersion"), text("kind")) else {
            return Err(ManifestError::NotAnObject(at + 1));
        };
        let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
        if group != API_GROUP {
            manifests.push(Manifest::Other(kind));
            continue;
        }
        manifests.push(match kind.as_str() {
            "BrokerSet" if version == API_VERSION => Manifest::BrokerSet(Box::new(object(document)?)),
            "Topic" if version == API_VERSION => Manifest::Topic(Box::new(object(document)?)),
            "ConsumerGroup" if version == API_VERSION => Manifest::ConsumerGroup(Box::new(object(document)?)),
            _ => return Err(ManifestError::UnknownKind { api_version, kind }),
        });
    }
    Ok(manifests)
}

fn object<K: CustomResourceExt + DeserializeOwned + Check>(document: Value) -> Result<K, ManifestError> {
    let text = |path: &str| document.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (kind, name) = (text("/kind"), text("/metadata/name"));
    let invalid = |all: Vec<Invalid>| ManifestError::Invalid { kind: kind.clone(), name: name.clone(), all };
    if name.is_empty() {
        return Err(invalid(vec![Invalid::new("metadata.name", "is missing".to_owned())]));
    }
    let definition = serde_json::to_value(K::crd()).unwrap_or(Value::Null);
    let spec = definition.pointer("/spec/versions/0/schema/openAPIV3Schema/properties/spec");
    let found = match (spec, document.get("spec")) {
        (Some(spec), Some(value)) => schema::violations(spec, value, "spec"),
        _ => vec![Invalid::new("spec", "is missing".to_owned())],
    };
    if !found.is_empty() {
        return Err(invalid(found));
    }
    let object: K = serde_json::from_value(document.clone()).map_err(|source| ManifestError::Object {
        kind: kind.clone(),
        name: name.clone(),
        source,
    })?;
    let found = object.check();
    if found.is_empty() { Ok(object) } else { Err(invalid(found)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        read(text).expect_err("must be refused").to_string()
    }

    fn topic(spec: &str) -> String {
        format!("apiVersion: bolide.dev/v1alpha1\nkind: Topic\nmetadata: {{name: orders}}\nspec: {spec}\n")
    }

    #[test]
    fn objects_of_ours_are_read_with_defaults_and_others_are_left() {
        let text = format!(
            "{}---\napiVersion: apps/v1\nkind: Deployment\n---\n",
            topic("{clusterRef: {name: demo}}")
        );
        let found = read(&text).expect("valid");
        assert_eq!(found.len(), 2);
        let Some(Manifest::Topic(topic)) = found.first() else { panic!("a topic: {found:?}") };
        assert_eq!((topic.topic_name(), topic.spec.queues), ("orders", 8));
        assert_eq!(found.last(), Some(&Manifest::Other("Deployment".into())));
    }

    #[test]
    fn a_wrong_field_is_named_with_the_nearest_right_one() {
        assert_eq!(
            refused(&topic("{clusterRef: {name: demo}, deletion_policy: Retain}")),
            "Topic orders: spec.deletion_policy: no such field; did you mean deletionPolicy?"
        );
    }

    #[test]
    fn wrong_types_ranges_and_words_are_named() {
        let with = |field: &str| refused(&topic(&format!("{{clusterRef: {{name: demo}}, {field}}}")));
        assert_eq!(with("queues: 0"), "Topic orders: spec.queues: 0 is less than 1");
        assert_eq!(with("queues: many"), "Topic orders: spec.queues: \"many\" is not a whole number");
        assert_eq!(
            with("type: Fifo"),
            "Topic orders: spec.type: \"Fifo\" is not one of Normal, Ordered, Delay, Transaction"
        );
        assert_eq!(with("groups: [0, 64]"), "Topic orders: spec.groups[1]: 64 is more than 63");
        assert_eq!(refused(&topic("{}")), "Topic orders: spec.clusterRef: is missing");
    }

    #[test]
    fn unknown_kinds_and_text_that_is_no_object_are_refused() {
        assert!(
            refused("apiVersion: bolide.dev/v1\nkind: Topic\nmetadata: {name: a}\n").contains("is not known")
        );
        assert!(refused("a: 1\n").contains("document 1"));
        assert!(!refused("a: [1\n").is_empty());
    }

    #[test]
    fn settings_of_any_scalar_type_are_kept() {
        let text = "{apiVersion: bolide.dev/v1alpha1, kind: BrokerSet, metadata: {name: demo},
            spec: {brokerConfig: {maxMessageSize: 4194304, traceTopicEnable: true, brokerTopic: 'x'}}}";
        let found = read(text).expect("valid");
        let Some(Manifest::BrokerSet(set)) = found.first() else { panic!("a set: {found:?}") };
        assert_eq!(set.spec.broker_config.len(), 3);
    }
}
