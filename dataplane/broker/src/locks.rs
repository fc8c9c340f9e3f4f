//! Owns the queue locks of ordered consumption: which client of a group may consume a queue right now.
//!
//! A new master takes over the owners that the log names, for [`INHERITED_MS`]: clients that live renew within that time.
//!
//! Pure: the clock comes in. A lock lives for [`LEASE_MS`] after its owner last took or renewed it; clients renew every
//! 20 s. An expired lock belongs to whoever asks first.

use std::collections::HashMap;
use std::hash::Hash;

use bolide_wire::ids::{EpochMillis, GroupName};

/// How long a lock lives without renewal, in milliseconds.
pub(crate) const LEASE_MS: i64 = 60_000;

/// How long a new master honours locks that it has only heard of, in milliseconds.
pub(crate) const INHERITED_MS: i64 = 30_000;

struct Holder {
    client: Box<str>,
    renewed: EpochMillis,
}

impl Holder {
    fn expired(&self, now: EpochMillis) -> bool {
        now.0.saturating_sub(self.renewed.0) > LEASE_MS
    }
}

/// Locks by group and queue. `Q` names a queue.
pub(crate) struct RebalanceLocks<Q> {
    groups: HashMap<GroupName, HashMap<Q, Holder>>,
}

impl<Q: Eq + Hash + Clone> RebalanceLocks<Q> {
    pub(crate) fn new() -> Self {
        RebalanceLocks { groups: HashMap::new() }
    }

    /// Takes over an owner that another broker knew.
    pub(crate) fn inherit(&mut self, group: &GroupName, client: &str, queues: Vec<Q>, now: EpochMillis) {
        let renewed = EpochMillis(now.0.saturating_sub(LEASE_MS).saturating_add(INHERITED_MS));
        let held = self.groups.entry(group.clone()).or_default();
        held.extend(queues.into_iter().map(|queue| (queue, Holder { client: client.into(), renewed })));
    }

    /// Takes or renews every free queue of `wanted` for `client`; returns those that it holds afterwards, and those of them
    /// that it did not hold before.
    pub(crate) fn lock(
        &mut self,
        group: &GroupName,
        client: &str,
        wanted: Vec<Q>,
        now: EpochMillis,
    ) -> (Vec<Q>, Vec<Q>) {
        let queues = self.groups.entry(group.clone()).or_default();
        let mut held = Vec::with_capacity(wanted.len());
        let mut taken = Vec::new();
        for queue in wanted {
            match queues.get_mut(&queue) {
                Some(holder) if &*holder.client == client => holder.renewed = now,
                Some(holder) if !holder.expired(now) => continue,
                _ => {
                    queues.insert(queue.clone(), Holder { client: client.into(), renewed: now });
                    taken.push(queue.clone());
                }
            }
            held.push(queue);
        }
        (held, taken)
    }

    /// Gives up the queues of `given` that `client` holds, and returns them.
    pub(crate) fn unlock(&mut self, group: &str, client: &str, given: &[Q]) -> Vec<Q> {
        let Some(queues) = self.groups.get_mut(group) else { return Vec::new() };
        let mut gone = Vec::new();
        for queue in given {
            if queues.get(queue).is_some_and(|holder| &*holder.client == client) {
                queues.remove(queue);
                gone.push(queue.clone());
            }
        }
        if queues.is_empty() {
            self.groups.remove(group);
        }
        gone
    }

    /// Whether any client of the group holds an unexpired lock.
    pub(crate) fn any_held(&self, group: &str, now: EpochMillis) -> bool {
        self.groups.get(group).is_some_and(|queues| queues.values().any(|holder| !holder.expired(now)))
    }

    /// Forgets expired locks, so that groups that left cost nothing.
    pub(crate) fn sweep(&mut self, now: EpochMillis) {
        self.groups.retain(|_, queues| {
            queues.retain(|_, holder| !holder.expired(now));
            !queues.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> EpochMillis {
        EpochMillis(ms)
    }

    fn group() -> GroupName {
        GroupName::internal("g").unwrap()
    }

    #[test]
    fn a_queue_has_one_owner_until_the_lease_ends() {
        let mut locks = RebalanceLocks::new();
        assert_eq!(locks.lock(&group(), "a", vec![0, 1], at(0)).0, vec![0, 1]);
        assert_eq!(locks.lock(&group(), "b", vec![1, 2], at(1_000)).0, vec![2]);
        assert_eq!(locks.lock(&group(), "a", vec![0], at(50_000)).0, vec![0]);
        assert_eq!(locks.lock(&group(), "b", vec![0, 1], at(60_001)).0, vec![1]);
    }

    #[test]
    fn an_inherited_lock_is_honoured_until_its_owner_had_time_to_renew() {
        let mut locks = RebalanceLocks::new();
        locks.inherit(&group(), "a", vec![0, 1], at(1_000));
        assert_eq!(locks.lock(&group(), "b", vec![0], at(1_000 + INHERITED_MS)), (vec![], vec![]));
        assert_eq!(locks.lock(&group(), "a", vec![0], at(2_000)), (vec![0], vec![]), "a renewal is no news");
        assert_eq!(locks.lock(&group(), "b", vec![0, 1], at(1_001 + INHERITED_MS)), (vec![1], vec![1]));
    }

    #[test]
    fn only_the_owner_unlocks() {
        let mut locks = RebalanceLocks::new();
        locks.lock(&group(), "a", vec![0], at(0));
        locks.unlock("g", "b", &[0]);
        assert!(locks.any_held("g", at(1)));
        locks.unlock("g", "a", &[0]);
        assert!(!locks.any_held("g", at(1)));
        assert_eq!(locks.lock(&group(), "b", vec![0], at(2)).0, vec![0]);
    }

    #[test]
    fn a_sweep_forgets_what_expired() {
        let mut locks = RebalanceLocks::new();
        locks.lock(&group(), "a", vec![0], at(0));
        assert!(!locks.any_held("g", at(LEASE_MS + 1)));
        locks.sweep(at(LEASE_MS + 1));
        assert!(locks.groups.is_empty());
    }

    #[test]
    fn a_clock_that_jumps_back_does_not_free_a_lock() {
        let mut locks = RebalanceLocks::new();
        locks.lock(&group(), "a", vec![0], at(1_000_000));
        assert!(locks.lock(&group(), "b", vec![0], at(0)).0.is_empty());
    }
}
