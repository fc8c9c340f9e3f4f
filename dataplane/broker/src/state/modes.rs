//! Owns how groups get the messages of topics, where an administrator said so: a projection of the log.

use std::collections::HashMap;

use bolide_wire::body::assignment::SetMessageRequestMode;

/// Modes by topic and group.
#[derive(Debug, Default)]
pub(crate) struct RequestModes {
    table: HashMap<(String, String), SetMessageRequestMode>,
}

impl RequestModes {
    /// Applies modes that are in the log or in a snapshot.
    pub(crate) fn put(&mut self, modes: &[SetMessageRequestMode]) {
        for mode in modes {
            self.table.insert((mode.topic.clone(), mode.consumer_group.clone()), mode.clone());
        }
    }

    /// The mode of a group for a topic, if one was set.
    pub(crate) fn find(&self, topic: &str, group: &str) -> Option<SetMessageRequestMode> {
        self.table.get(&(topic.to_owned(), group.to_owned())).cloned()
    }

    /// Every mode that was set, by topic and group.
    pub(crate) fn all(&self) -> Vec<SetMessageRequestMode> {
        let mut all: Vec<_> = self.table.values().cloned().collect();
        all.sort_by(|a, b| (&a.topic, &a.consumer_group).cmp(&(&b.topic, &b.consumer_group)));
        all
    }

    /// Forgets what `gone` says of topic and group.
    pub(crate) fn forget(&mut self, gone: impl Fn(&str, &str) -> bool) {
        self.table.retain(|(topic, group), _| !gone(topic, group));
    }
}
