//! Owns which deleted topics may still have queues in the store, and where topics of the same names begin in the log.
//!
//! Filled from the log like all of the state. A queue goes only if nothing in it comes from a topic made anew.

use std::collections::BTreeMap;

use bolide_wire::ids::{LogOffset, TopicName};

#[derive(Debug, Clone, Copy)]
struct Deletion {
    /// The record of the deletion.
    at: LogOffset,
    /// The record that made a topic of that name anew.
    made_anew: Option<LogOffset>,
}

/// Deleted topics.
#[derive(Debug, Default)]
pub(crate) struct DeletedTopics {
    topics: BTreeMap<TopicName, Deletion>,
}

impl DeletedTopics {
    /// The record at `at` deletes the topic.
    pub(crate) fn deleted(&mut self, topic: &TopicName, at: LogOffset) {
        self.topics.insert(topic.clone(), Deletion { at, made_anew: None });
    }

    /// The record at `at` makes or changes the topic.
    pub(crate) fn put(&mut self, topic: &str, at: LogOffset) {
        if let Some(deletion) = self.topics.get_mut(topic) {
            deletion.made_anew.get_or_insert(at);
        }
    }

    /// Topics whose queues are to go, with the records of their deletion.
    pub(crate) fn all(&self) -> Vec<(TopicName, LogOffset)> {
        self.topics.iter().map(|(topic, deletion)| (topic.clone(), deletion.at)).collect()
    }

    /// Records of the topic before this offset are those of a deleted one.
    pub(crate) fn ends(&self, topic: &str) -> LogOffset {
        let made_anew = |deletion: &Deletion| deletion.made_anew.unwrap_or(LogOffset(u64::MAX));
        self.topics.get(topic).map_or(LogOffset(0), made_anew)
    }

    /// The queues of the topic that was deleted at `at` are gone.
    pub(crate) fn forget(&mut self, topic: &str, at: LogOffset) {
        if self.topics.get(topic).is_some_and(|deletion| deletion.at == at) {
            self.topics.remove(topic);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deletion_ends_where_the_topic_was_made_anew() {
        let topic = TopicName::new("t").unwrap();
        let mut deleted = DeletedTopics::default();
        deleted.put("t", LogOffset(5));
        assert_eq!((deleted.ends("t"), deleted.all()), (LogOffset(0), Vec::new()));
        deleted.deleted(&topic, LogOffset(10));
        assert_eq!(deleted.ends("t"), LogOffset(u64::MAX));
        deleted.put("t", LogOffset(20));
        deleted.put("t", LogOffset(30));
        assert_eq!((deleted.ends("t"), deleted.all()), (LogOffset(20), vec![(topic.clone(), LogOffset(10))]));
        deleted.deleted(&topic, LogOffset(40));
        deleted.forget("t", LogOffset(10));
        assert_eq!(deleted.ends("t"), LogOffset(u64::MAX), "another deletion");
        deleted.forget("t", LogOffset(40));
        assert!(deleted.all().is_empty());
    }
}
