//! Owns the queue locks of ordered consumption: which client of a group may consume a queue right now.
//!
//! Pure: the clock comes in. A lock lives for [`LEASE_MS`] after its owner last took or renewed it; clients renew every
//! 20 s. An expired lock belongs to whoever asks first.

use std::collections::HashMap;
use std::hash::Hash;

use bolide_wire::ids::{EpochMillis, GroupName};

/// How long a lock lives without renewal, in milliseconds.
pub(crate) const LEASE_MS: i64 = 60_000;

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

    /// Takes or renews every free queue of `wanted` for `client`; returns those that it holds afterwards.
    pub(crate) fn lock(
        &mut self,
        group: &GroupName,
        client: &str,
        wanted: Vec<Q>,
        now: EpochMillis,
    ) -> Vec<Q> {
        let queues = self.groups.entry(group.clone()).or_default();
        let mut held = Vec::with_capacity(wanted.len());
        for queue in wanted {
            match queues.get_mut(&queue) {
                Some(holder) if &*holder.client == client => holder.renewed = now,
                Some(holder) if !holder.expired(now) => continue,
                _ => {
                    queues.insert(queue.clone(), Holder { client: client.into(), renewed: now });
                }
            }
            held.push(queue);
        }
        held
    }

    /// Gives up the queues of `given` that `client` holds.
    pub(crate) fn unlock(&mut self, group: &str, client: &str, given: &[Q]) {
        let Some(queues) = self.groups.get_mut(group) else { return };
        for queue in given {
            if queues.get(queue).is_some_and(|holder| &*holder.client == client) {
                queues.remove(queue);
            }
        }
        if queues.is_empty() {
            self.groups.remove(group);
        }
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
        assert_eq!(locks.lock(&group(), "a", vec![0, 1], at(0)), vec![0, 1]);
        assert_eq!(locks.lock(&group(), "b", vec![1, 2], at(1_000)), vec![2]);
        assert_eq!(locks.lock(&group(), "a", vec![0], at(50_000)), vec![0]);
        assert_eq!(locks.lock(&group(), "b", vec![0, 1], at(60_001)), vec![1]);
    }

    #[test]
    fn only_the_owner_unlocks() {
        let mut locks = RebalanceLocks::new();
        locks.lock(&group(), "a", vec![0], at(0));
        locks.unlock("g", "b", &[0]);
        assert!(locks.any_held("g", at(1)));
        locks.unlock("g", "a", &[0]);
        assert!(!locks.any_held("g", at(1)));
        assert_eq!(locks.lock(&group(), "b", vec![0], at(2)), vec![0]);
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
        assert!(locks.lock(&group(), "b", vec![0], at(0)).is_empty());
    }
}
