//! The queues of a topic, from its route, kept for a while.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bolide_wire::body::route::{MASTER_ID, TopicRouteData};
use bolide_wire::body::topic::perm;

use crate::{Admin, ClientError};

/// How long a route is used before it is asked for again.
const FRESH_FOR: Duration = Duration::from_secs(30);
/// The topic whose route stands for topics made on first send.
const TEMPLATE: &str = "TBW102";
/// Most queues that a topic made on first send is expected to have.
pub(crate) const TEMPLATE_QUEUES: i32 = 8;
/// Routes kept; beyond it all are forgotten, which only costs asking again.
const KEPT: usize = 4096;

/// One queue of a topic, with the address of its master.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Queue {
    /// Name of the topic.
    pub topic: String,
    /// Name of the broker group.
    pub broker: String,
    /// Number of the queue.
    pub id: i32,
    /// `host:port` of the master.
    pub address: String,
}

/// What queues are wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    Send,
    Read,
}

/// The queues of a route that may be used, in order of broker and number. Broker groups without a master are left out.
pub(crate) fn queues(topic: &str, route: &TopicRouteData, wanted: Use) -> Vec<Queue> {
    let mut queues = Vec::new();
    for data in &route.queue_datas {
        let (allowed, count) = match wanted {
            Use::Send => (perm::is_writable(data.perm), data.write_queue_nums),
            Use::Read => (perm::is_readable(data.perm), data.read_queue_nums),
        };
        let group = route.broker_datas.iter().find(|group| group.broker_name == data.broker_name);
        let Some(address) = group.and_then(|group| group.broker_addrs.get(&MASTER_ID)).filter(|_| allowed)
        else {
            continue;
        };
        queues.extend((0..count).map(|id| Queue {
            topic: topic.to_owned(),
            broker: data.broker_name.clone(),
            id,
            address: address.clone(),
        }));
    }
    queues.sort();
    queues
}

/// Routes for sending, by topic.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    kept: Mutex<Kept>,
}

type Kept = HashMap<String, (Instant, Arc<Vec<Queue>>)>;

impl Routes {
    fn with<T>(&self, act: impl FnOnce(&mut Kept) -> T) -> T {
        act(&mut self.kept.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Queues that may be sent to. For a topic that no broker has, those of the template, cut to the number that a new topic gets.
    pub(crate) async fn to_send(&self, admin: &Admin, topic: &str) -> Result<Arc<Vec<Queue>>, ClientError> {
        let fresh = self.with(|kept| kept.get(topic).filter(|(at, _)| at.elapsed() < FRESH_FOR).cloned());
        if let Some((_, queues)) = fresh {
            return Ok(queues);
        }
        let found = match admin.route(topic).await? {
            Some(route) => queues(topic, &route, Use::Send),
            None => {
                let template = admin.route(TEMPLATE).await?;
                let template = template.ok_or_else(|| ClientError::NoTopic { topic: topic.to_owned() })?;
                let mut found = queues(topic, &template, Use::Send);
                found.retain(|queue| queue.id < TEMPLATE_QUEUES);
                found
            }
        };
        if found.is_empty() {
            return Err(ClientError::NoQueue { topic: topic.to_owned(), what: "send to" });
        }
        let found = Arc::new(found);
        self.with(|kept| {
            if kept.len() >= KEPT {
                kept.clear();
            }
            kept.insert(topic.to_owned(), (Instant::now(), found.clone()));
        });
        Ok(found)
    }

    /// Forgets a route that led to a failure.
    pub(crate) fn forget(&self, topic: &str) {
        self.with(|kept| kept.remove(topic));
    }
}

#[cfg(test)]
mod tests {
    use bolide_wire::body::route::{BrokerData, QueueData};

    use super::*;

    fn route() -> TopicRouteData {
        let group = |name: &str, id: i64| BrokerData {
            broker_name: name.to_owned(),
            broker_addrs: [(id, format!("{name}:1"))].into(),
            ..BrokerData::default()
        };
        let data = |name: &str, perm: i32| QueueData {
            broker_name: name.to_owned(),
            perm,
            read_queue_nums: 3,
            write_queue_nums: 2,
            ..QueueData::default()
        };
        TopicRouteData {
            broker_datas: vec![group("a", 0), group("b", 0), group("slave", 1)],
            queue_datas: vec![data("b", 4), data("a", 6), data("slave", 6)],
            ..TopicRouteData::default()
        }
    }

    #[test]
    fn queues_follow_permission_and_need_a_master() {
        let names = |wanted| {
            queues("t", &route(), wanted)
                .into_iter()
                .map(|q| format!("{}{}", q.broker, q.id))
                .collect::<Vec<_>>()
        };
        assert_eq!(names(Use::Send), ["a0", "a1"]);
        assert_eq!(names(Use::Read), ["a0", "a1", "a2", "b0", "b1", "b2"]);
    }
}
