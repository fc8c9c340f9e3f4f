//! The rules that need no cluster: what makes an object wrong, said in sentences.
//!
//! The same rules stand in the schema as CEL; here they serve `bolide up`, the operator (an object may be older than
//! its schema) and tests.

use std::fmt;

use crate::broker_settings;
use crate::common::Quantity;
use crate::consumer_group::ResetTarget;
use crate::{BrokerSet, ConsumerGroup, Topic};

/// Something in an object that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Invalid {
    /// Where, as `spec.queues`.
    pub path: String,
    /// What is wrong and, where it can be said, what to do.
    pub sentence: String,
}

impl Invalid {
    pub(crate) fn new(path: &str, sentence: String) -> Self {
        Self { path: path.trim_start_matches('.').to_owned(), sentence }
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.sentence)
    }
}

/// An object that can be checked by itself.
pub trait Check {
    /// Everything that is wrong; nothing when it can be.
    fn check(&self) -> Vec<Invalid>;
}

/// The topic names that brokers keep for themselves.
const SYSTEM_TOPICS: &[&str] = &[
    "TBW102",
    "SELF_TEST_TOPIC",
    "OFFSET_MOVED_EVENT",
    "SCHEDULE_TOPIC_XXXX",
    "RMQ_SYS_TRANS_HALF_TOPIC",
    "RMQ_SYS_TRANS_OP_HALF_TOPIC",
];

/// The group names that brokers keep for themselves.
const SYSTEM_GROUPS: &[&str] =
    &["DEFAULT_CONSUMER", "TOOLS_CONSUMER", "SCHEDULE_CONSUMER", "FILTERSRV_CONSUMER", "SELF_TEST_C_GROUP"];

impl Check for BrokerSet {
    fn check(&self) -> Vec<Invalid> {
        let mut found = Vec::new();
        let mut wrong = |path: &str, sentence: String| found.push(Invalid::new(path, sentence));
        let name = self.cluster_name();
        if name.len() > 40 {
            wrong(
                "metadata.name",
                "is longer than 40 characters: names of pods and Services are made from it".to_owned(),
            );
        }
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if !name.starts_with(|c: char| c.is_ascii_lowercase())
            || !name.chars().all(plain)
            || name.ends_with('-')
        {
            wrong(
                "metadata.name",
                "must begin with a letter and have only letters, digits and dashes: Services are named after it"
                    .to_owned(),
            );
        }
        let spec = &self.spec;
        if spec.min_in_sync > spec.replicas {
            wrong(
                "spec.minInSync",
                format!(
                    "{} is larger than replicas ({}): no message could ever be acknowledged",
                    spec.min_in_sync, spec.replicas
                ),
            );
        }
        if !(1..=5).contains(&spec.replicas) {
            wrong("spec.replicas", format!("{} is not from 1 to 5", spec.replicas));
        }
        if spec.storage.size.bytes().is_none() {
            wrong("spec.storage.size", format!("\"{}\" is not an amount such as 20Gi", spec.storage.size));
        }
        for key in spec.broker_config.keys() {
            if let Some(sentence) = broker_settings::refusal(key) {
                wrong("spec.brokerConfig", sentence);
            }
        }
        for (path, resources) in
            [("spec.resources", &spec.resources), ("spec.nameservers.resources", &spec.nameservers.resources)]
        {
            for list in [&resources.requests, &resources.limits].into_iter().flatten() {
                if let Some(Quantity(text)) = list.memory.as_ref().filter(|memory| memory.bytes().is_none()) {
                    wrong(path, format!("memory \"{text}\" is not an amount such as 512Mi"));
                }
            }
        }
        found
    }
}

impl Check for Topic {
    fn check(&self) -> Vec<Invalid> {
        let mut found = Vec::new();
        name_rules(self.topic_name(), self.spec.topic_name.is_some(), "topicName", 127, &mut found);
        let name = self.topic_name();
        if SYSTEM_TOPICS.contains(&name) || name.starts_with("rmq_sys_") || name.starts_with('%') {
            found.push(Invalid::new(
                "spec.topicName",
                format!("\"{name}\" is a name that brokers keep for themselves"),
            ));
        }
        if let Some(groups) = &self.spec.groups {
            let mut seen = std::collections::BTreeSet::new();
            for group in groups {
                if !seen.insert(group) {
                    found.push(Invalid::new("spec.groups", format!("broker group {group} is listed twice")));
                }
            }
        }
        found
    }
}

impl Check for ConsumerGroup {
    fn check(&self) -> Vec<Invalid> {
        let mut found = Vec::new();
        name_rules(self.group_name(), self.spec.group_name.is_some(), "groupName", 120, &mut found);
        let name = self.group_name();
        if SYSTEM_GROUPS.contains(&name) || name.starts_with("CID_RMQ_SYS_") || name.starts_with('%') {
            found.push(Invalid::new(
                "spec.groupName",
                format!("\"{name}\" is a name that brokers keep for themselves"),
            ));
        }
        if let Some(reset) = &self.spec.reset_offset
            && (reset.to == ResetTarget::Time) != reset.time.is_some()
        {
            found.push(Invalid::new(
                "spec.resetOffset.time",
                "goes with `to: Time`, and only with it".to_owned(),
            ));
        }
        found
    }
}

/// The naming rules of the protocol, for a name given in the spec or taken from the object.
fn name_rules(name: &str, given: bool, field: &str, longest: usize, found: &mut Vec<Invalid>) {
    let path = if given { format!("spec.{field}") } else { "metadata.name".to_owned() };
    let advice = if given { String::new() } else { format!(": set spec.{field}") };
    if name.is_empty() {
        found.push(Invalid::new(&path, "is missing".to_owned()));
    }
    if name.len() > longest {
        found.push(Invalid::new(&path, format!("is longer than {longest} characters{advice}")));
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '%' | '|');
    if let Some(bad) = name.chars().find(|c| !allowed(*c)) {
        found.push(Invalid::new(
            &path,
            format!("has '{bad}'; only letters, digits and _ - % | are allowed{advice}"),
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BrokerSetSpec, ConsumerGroupSpec, TopicSpec, yaml};

    fn sentences(object: &impl Check) -> Vec<String> {
        object.check().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_plain_set_is_fine_and_replicas_have_bounds() {
        let set = |replicas| BrokerSet::new("demo", BrokerSetSpec { replicas, ..BrokerSetSpec::default() });
        assert!(set(1).check().is_empty() && set(5).check().is_empty());
        assert_eq!(sentences(&set(6)), ["spec.replicas: 6 is not from 1 to 5"]);
    }

    #[test]
    fn every_wrong_thing_is_named() {
        let mut spec = BrokerSetSpec { min_in_sync: 2, ..BrokerSetSpec::default() };
        spec.storage.size = Quantity("lots".into());
        spec.broker_config.insert("flushDiskType".into(), "SYNC_FLUSH".into());
        let found = sentences(&BrokerSet::new("9-Demo", spec));
        assert_eq!(found.len(), 4, "{found:?}");
    }

    #[test]
    fn names_with_dots_need_a_name_in_the_spec() {
        let spec = TopicSpec::default();
        assert_eq!(sentences(&Topic::new("a.b", spec.clone())).len(), 1);
        let named = TopicSpec { topic_name: Some("a_b".into()), ..spec };
        assert!(Topic::new("a.b", named).check().is_empty());
    }

    #[test]
    fn system_names_are_refused() {
        assert!(!Topic::new("rmq_sys_x", TopicSpec::default()).check().is_empty());
        assert!(!ConsumerGroup::new("TOOLS_CONSUMER", ConsumerGroupSpec::default()).check().is_empty());
    }

    #[test]
    fn a_reset_to_a_time_needs_the_time() {
        let group: ConsumerGroup = yaml::read(
            "{apiVersion: bolide.dev/v1alpha1, kind: ConsumerGroup, metadata: {name: g},
              spec: {clusterRef: {name: demo}, resetOffset: {token: a, to: Time}}}",
        )
        .expect("valid YAML");
        assert_eq!(sentences(&group), ["spec.resetOffset.time: goes with `to: Time`, and only with it"]);
    }
}
