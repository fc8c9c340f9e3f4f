//! Owns which queues a consumer gets when the broker is asked to assign them: the queues of the whole cluster, shared as the
//! original shares them, so that brokers of both kinds give the same answer.

use std::collections::HashMap;
use std::time::Duration;

use bolide_client::Admin;
use bolide_wire::body::MessageQueue;
use bolide_wire::body::route::TopicRouteData;
use bolide_wire::body::topic::perm;
use parking_lot::Mutex;

/// How long a route is used before it is asked for again.
const FRESH_MS: u64 = 5_000;
/// Routes that are kept.
const MOST_ROUTES: usize = 10_000;
/// How long a nameserver may take.
const TIMEOUT: Duration = Duration::from_secs(2);

type Kept = HashMap<String, (u64, Vec<MessageQueue>)>;

/// The queues of topics in the cluster, as the nameservers say.
pub(crate) struct Assignments {
    admin: Option<Admin>,
    kept: Mutex<Kept>,
}

impl Assignments {
    /// Asks these nameservers; none when the text names none.
    pub(crate) fn new(namesrv: &str) -> Assignments {
        Assignments { admin: Admin::new(namesrv, TIMEOUT).ok(), kept: Mutex::default() }
    }

    /// Readable queues of a topic in order. With all nameservers away the last answer, or nothing.
    pub(crate) async fn queues(&self, topic: &str, now_ms: u64) -> Option<Vec<MessageQueue>> {
        let known = self.kept.lock().get(topic).cloned();
        if let Some((_, queues)) = known.clone().filter(|(at, _)| now_ms.saturating_sub(*at) < FRESH_MS) {
            return Some(queues);
        }
        let admin = self.admin.as_ref()?;
        match admin.route_of(topic).await {
            Ok(route) => {
                let queues = readable(topic, &route);
                let mut kept = self.kept.lock();
                if kept.len() >= MOST_ROUTES {
                    kept.clear();
                }
                kept.insert(topic.to_owned(), (now_ms, queues.clone()));
                Some(queues)
            }
            Err(error) => {
                tracing::debug!(topic, %error, "no route for an assignment");
                known.map(|(_, queues)| queues)
            }
        }
    }
}

fn readable(topic: &str, route: &TopicRouteData) -> Vec<MessageQueue> {
    let brokers = route.queue_datas.iter().filter(|data| perm::is_readable(data.perm));
    let mut queues: Vec<MessageQueue> = brokers
        .flat_map(|data| {
            (0..data.read_queue_nums).map(|queue_id| MessageQueue {
                broker_name: data.broker_name.clone(),
                queue_id,
                topic: topic.to_owned(),
            })
        })
        .collect();
    queues.sort();
    queues
}

/// How queues are shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Strategy {
    /// Neighbours to the same member.
    Average,
    /// One after the other in turn.
    Circle,
}

impl Strategy {
    /// Text on the wire.
    pub(crate) fn parse(text: &str) -> Option<Strategy> {
        match text {
            "AVG" => Some(Strategy::Average),
            "AVG_BY_CIRCLE" => Some(Strategy::Circle),
            _ => None,
        }
    }

    /// The part of `queues` that belongs to `me`; nothing for who is no member. Both lists in the order that all see.
    pub(crate) fn share(self, queues: &[MessageQueue], members: &[String], me: &str) -> Vec<MessageQueue> {
        let Some(index) = members.iter().position(|member| member == me) else { return Vec::new() };
        match self {
            Strategy::Average => {
                let (share, rest) = (queues.len() / members.len(), queues.len() % members.len());
                let start = index * share + index.min(rest);
                let count = share + usize::from(index < rest);
                queues.iter().skip(start).take(count).cloned().collect()
            }
            Strategy::Circle => queues.iter().skip(index).step_by(members.len()).cloned().collect(),
        }
    }

    /// What `me` pops: everything when each queue is shared by (nearly) all, or else its own share and those of the
    /// `shared` members after it. -1 stands for all queues of a broker.
    pub(crate) fn share_pops(
        self,
        queues: &[MessageQueue],
        members: &[String],
        me: &str,
        shared: i32,
    ) -> Vec<MessageQueue> {
        let shared = usize::try_from(shared).unwrap_or(0);
        if shared == 0 || shared + 1 >= members.len() {
            let mut all: Vec<MessageQueue> =
                queues.iter().map(|queue| MessageQueue { queue_id: -1, ..queue.clone() }).collect();
            all.dedup();
            return all;
        }
        let Some(index) = members.iter().position(|member| member == me) else { return Vec::new() };
        if members.len() > queues.len() {
            return queues.get(index % queues.len().max(1)).cloned().into_iter().collect();
        }
        let neighbours = members.iter().cycle().skip(index).take(shared + 1);
        let mut mine: Vec<_> = neighbours.flat_map(|member| self.share(queues, members, member)).collect();
        mine.sort();
        mine.dedup();
        mine
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queues(count: i32) -> Vec<MessageQueue> {
        (0..count)
            .map(|queue_id| MessageQueue { broker_name: "b".into(), queue_id, topic: "t".into() })
            .collect()
    }

    fn members(count: usize) -> Vec<String> {
        (0..count).map(|member| member.to_string()).collect()
    }

    fn ids(queues: &[MessageQueue]) -> Vec<i32> {
        queues.iter().map(|queue| queue.queue_id).collect()
    }

    #[test]
    fn queues_are_shared_in_neighbours_or_in_turn() {
        let share = |strategy: Strategy, me| ids(&strategy.share(&queues(5), &members(2), me));
        assert_eq!(
            (share(Strategy::Average, "0"), share(Strategy::Average, "1")),
            (vec![0, 1, 2], vec![3, 4])
        );
        assert_eq!((share(Strategy::Circle, "0"), share(Strategy::Circle, "1")), (vec![0, 2, 4], vec![1, 3]));
        assert!(share(Strategy::Average, "stranger").is_empty());
        assert_eq!(Strategy::parse("MACHINE_NEARBY"), None);
    }

    #[test]
    fn few_consumers_pop_all_queues_of_each_broker_together() {
        for shared in [-1, 0, 8] {
            let got = Strategy::Average.share_pops(&queues(4), &members(3), "1", shared);
            assert_eq!(ids(&got), [-1], "{shared}");
        }
    }

    #[test]
    fn many_consumers_pop_their_share_and_that_of_the_next() {
        let pops = |count, members_count, me: &str, shared| {
            ids(&Strategy::Average.share_pops(&queues(count), &members(members_count), me, shared))
        };
        assert_eq!(pops(8, 4, "0", 1), [0, 1, 2, 3]);
        assert_eq!(pops(8, 4, "3", 1), [0, 1, 6, 7]);
        assert_eq!(pops(2, 4, "3", 1), [1], "more members than queues: one queue each");
    }
}
