//! Owns who may consume which queue in order, as the log says: a projection that only a broker with replicas keeps, so that a
//! queue has one owner across a change of master.
//!
//! Grants and releases are in the log; renewals are not, since what a new master takes over it honours for a time of its own.

use std::collections::BTreeMap;

use bolide_wire::body::MessageQueue;
use serde::{Deserialize, Serialize};

/// One client's queues in one group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Grant {
    /// Consumer group.
    pub(crate) group: String,
    /// Client.
    pub(crate) client: String,
    /// Queues.
    pub(crate) queues: Vec<MessageQueue>,
}

/// Owners of queues, by group.
#[derive(Debug, Default)]
pub(crate) struct Grants {
    groups: BTreeMap<String, Owners>,
}

/// By topic and queue.
type Owners = BTreeMap<(String, i32), Owner>;

#[derive(Debug)]
struct Owner {
    client: String,
    queue: MessageQueue,
}

impl Grants {
    /// The queues belong to the client now.
    pub(crate) fn take(&mut self, grant: &Grant) {
        let owners = self.groups.entry(grant.group.clone()).or_default();
        for queue in &grant.queues {
            let owner = Owner { client: grant.client.clone(), queue: queue.clone() };
            owners.insert((queue.topic.clone(), queue.queue_id), owner);
        }
    }

    /// The client gives up the queues; those of another stay.
    pub(crate) fn give(&mut self, grant: &Grant) {
        let Some(owners) = self.groups.get_mut(&grant.group) else { return };
        for queue in &grant.queues {
            let key = (queue.topic.clone(), queue.queue_id);
            if owners.get(&key).is_some_and(|owner| owner.client == grant.client) {
                owners.remove(&key);
            }
        }
        if owners.is_empty() {
            self.groups.remove(&grant.group);
        }
    }

    /// Forgets a group.
    pub(crate) fn forget_group(&mut self, group: &str) {
        self.groups.remove(group);
    }

    /// Forgets the queues of a topic.
    pub(crate) fn forget_topic(&mut self, topic: &str) {
        self.groups.retain(|_, owners| {
            owners.retain(|(of, _), _| of != topic);
            !owners.is_empty()
        });
    }

    /// Every grant, by group and client.
    pub(crate) fn all(&self) -> Vec<Grant> {
        let mut all = Vec::new();
        for (group, owners) in &self.groups {
            let mut clients: BTreeMap<&str, Vec<MessageQueue>> = BTreeMap::new();
            for owner in owners.values() {
                clients.entry(&owner.client).or_default().push(owner.queue.clone());
            }
            all.extend(clients.into_iter().map(|(client, queues)| Grant {
                group: group.clone(),
                client: client.to_owned(),
                queues,
            }));
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(client: &str, queues: &[i32]) -> Grant {
        let queue = |id: &i32| MessageQueue { broker_name: "b".into(), queue_id: *id, topic: "t".into() };
        Grant { group: "g".into(), client: client.into(), queues: queues.iter().map(queue).collect() }
    }

    #[test]
    fn the_newest_grant_of_a_queue_counts_and_only_its_owner_gives_it_up() {
        let mut grants = Grants::default();
        grants.take(&grant("a", &[0, 1]));
        grants.take(&grant("b", &[1, 2]));
        grants.give(&grant("a", &[1]));
        assert_eq!(grants.all(), [grant("a", &[0]), grant("b", &[1, 2])]);
        let mut again = Grants::default();
        grants.all().iter().for_each(|grant| again.take(grant));
        assert_eq!(again.all(), grants.all());
        grants.give(&grant("a", &[0]));
        grants.forget_topic("t");
        assert!(grants.all().is_empty());
        again.forget_group("g");
        assert!(again.all().is_empty());
    }
}
