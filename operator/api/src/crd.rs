//! The custom resource definitions as they are installed.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::Value;

use crate::yaml::{self, WriteError};
use crate::{BrokerSet, ConsumerGroup, Topic};

/// The definition of every kind with the name of its file in `crds/`, in the order of installation.
pub fn all() -> Vec<(&'static str, CustomResourceDefinition)> {
    vec![
        ("broker_set.yaml", BrokerSet::crd()),
        ("topic.yaml", Topic::crd()),
        ("consumer_group.yaml", ConsumerGroup::crd()),
    ]
}

/// The YAML of one definition.
///
/// # Errors
/// Only if the definition cannot be written as YAML, which the tests of this crate rule out.
pub fn to_yaml(definition: &CustomResourceDefinition) -> Result<String, WriteError> {
    yaml::write(&tidy(serde_json::to_value(definition).unwrap_or(Value::Null)))
}

/// Kubernetes knows no unsigned formats and warns about them; what they say is in `minimum` already. Bounds are held as
/// floating point by the Rust types; all of ours are whole.
fn tidy(mut value: Value) -> Value {
    fn walk(value: &mut Value) {
        match value {
            Value::Object(map) => {
                if map.get("format").and_then(Value::as_str).is_some_and(|format| format.starts_with("uint"))
                {
                    map.insert("format".to_owned(), "int64".into());
                }
                for bound in ["minimum", "maximum"] {
                    if let Some(number) = map.get(bound).and_then(whole) {
                        map.insert(bound.to_owned(), number.into());
                    }
                }
                map.values_mut().for_each(walk);
            }
            Value::Array(items) => items.iter_mut().for_each(walk),
            _ => {}
        }
    }
    walk(&mut value);
    value
}

fn whole(value: &Value) -> Option<i64> {
    value.as_f64().filter(|number| number.fract() == 0.0 && number.abs() < 1e15).map(|number| {
        #[expect(clippy::cast_possible_truncation, reason = "whole and small, as just checked")]
        let number = number as i64;
        number
    })
}
