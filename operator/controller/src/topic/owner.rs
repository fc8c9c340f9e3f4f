//! Which of several Topic objects for one topic decides: the oldest. Pure.

use std::cmp::Ordering;
use std::sync::Arc;

use bolide_api::Topic;
use kube::ResourceExt;

/// The name of an object for the same topic that is older, if there is one.
pub(crate) fn older(topic: &Topic, all: &[Arc<Topic>]) -> Option<String> {
    rivals(topic, all)
        .filter(|rival| age(rival, topic) == Ordering::Less)
        .map(|rival| rival.name_any())
        .next()
}

/// Whether other objects for the same topic remain when this one goes.
pub(crate) fn others(topic: &Topic, all: &[Arc<Topic>]) -> bool {
    rivals(topic, all).next().is_some()
}

fn rivals<'a>(topic: &'a Topic, all: &'a [Arc<Topic>]) -> impl Iterator<Item = &'a Topic> {
    all.iter().map(Arc::as_ref).filter(move |other| {
        other.metadata.uid != topic.metadata.uid
            && other.metadata.deletion_timestamp.is_none()
            && other.metadata.namespace == topic.metadata.namespace
            && other.spec.cluster_ref == topic.spec.cluster_ref
            && other.topic_name() == topic.topic_name()
    })
}

fn age(a: &Topic, b: &Topic) -> Ordering {
    let key = |topic: &Topic| (topic.creation_timestamp().map(|time| time.0), topic.metadata.uid.clone());
    key(a).cmp(&key(b))
}
