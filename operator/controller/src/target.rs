//! Where a set's brokers are reached, from the set's own status: topics and groups need no other object.

use bolide_api::BrokerSet;
use bolide_api::common::DeletionPolicy;
use bolide_api::status::{ConditionStatus, READY, condition};

/// The master of a broker group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Broker {
    /// Number of the group.
    pub(crate) group: u32,
    /// Its name.
    pub(crate) name: String,
    /// `host:port`.
    pub(crate) address: String,
}

/// The masters of all groups that have an address.
pub(crate) fn brokers(set: &BrokerSet) -> Vec<Broker> {
    let groups = set.status.iter().flat_map(|status| &status.groups);
    groups
        .filter_map(|group| {
            let number = group.name.rsplit('-').next()?.parse().ok()?;
            Some(Broker { group: number, name: group.name.clone(), address: group.address.clone()? })
        })
        .collect()
}

/// `host:port` of each nameserver that clients may ask.
pub(crate) fn nameservers(set: &BrokerSet) -> Vec<String> {
    set.status.as_ref().map(|status| status.nameserver_pods.clone()).unwrap_or_default()
}

/// Why nothing can be done on the set's brokers now, as a sentence.
pub(crate) fn unusable(set: &BrokerSet) -> Option<String> {
    if set.spec.stopped {
        return Some("the cluster is stopped".to_owned());
    }
    let wanted = (0..set.spec.groups).map(|group| set.broker_name(group));
    let known = brokers(set);
    for name in wanted {
        if !known.iter().any(|broker| broker.name == name) {
            return Some(format!("broker group {name} has no address yet"));
        }
    }
    let ready = set.status.as_ref().and_then(|status| condition(&status.conditions, READY));
    match ready {
        Some(ready) if ready.status == ConditionStatus::True => None,
        // one group that is away must not keep the others from their topics
        Some(ready) if ready.reason == "BrokersNotReady" && known.len() > 1 => None,
        Some(ready) => Some(format!("the cluster is not ready: {}", ready.message)),
        None => Some("the cluster is being made".to_owned()),
    }
}

/// Whether brokers lose what the object describes when the object goes.
pub(crate) fn is_deleted_with_object(policy: DeletionPolicy) -> bool {
    policy == DeletionPolicy::Delete
}

#[cfg(test)]
mod tests {
    use super::*;
    use bolide_api::broker_set::BrokerGroupStatus;
    use bolide_api::status::Condition;
    use bolide_api::{BrokerSetSpec, BrokerSetStatus};

    fn set(ready: ConditionStatus, reason: &str) -> BrokerSet {
        let mut set = BrokerSet::new("demo", BrokerSetSpec { groups: 2, ..BrokerSetSpec::default() });
        let group = |name: &str| BrokerGroupStatus {
            name: name.into(),
            address: Some("10.96.0.7:10911".into()),
            ..BrokerGroupStatus::default()
        };
        set.status = Some(BrokerSetStatus {
            groups: vec![group("demo-broker-0"), group("demo-broker-1")],
            conditions: vec![Condition {
                type_: READY.into(),
                status: ready,
                reason: reason.into(),
                message: "x".into(),
                last_transition_time: String::new(),
                observed_generation: None,
            }],
            ..BrokerSetStatus::default()
        });
        set
    }

    #[test]
    fn a_ready_set_can_be_used_and_one_that_is_being_made_cannot() {
        assert_eq!(unusable(&set(ConditionStatus::True, "Ready")), None);
        assert!(unusable(&set(ConditionStatus::False, "NameserversNotReady")).is_some());
        assert!(unusable(&BrokerSet::new("demo", BrokerSetSpec::default())).is_some());
    }

    #[test]
    fn one_group_that_is_away_does_not_stop_the_others() {
        assert_eq!(unusable(&set(ConditionStatus::False, "BrokersNotReady")), None);
    }

    #[test]
    fn groups_are_known_by_number_name_and_address() {
        let found = brokers(&set(ConditionStatus::True, "Ready"));
        assert_eq!(found.iter().map(|broker| broker.group).collect::<Vec<_>>(), [0, 1]);
    }
}
