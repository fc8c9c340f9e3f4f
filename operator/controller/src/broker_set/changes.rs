//! What a new status says that the one before did not: another master, a replica that is in sync no more.

use bolide_api::broker_set::BrokerGroupStatus;
use bolide_api::{BrokerSet, BrokerSetStatus};

use crate::context::Context;

/// An event to be.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Change {
    is_bad: bool,
    reason: &'static str,
    note: String,
}

/// Publishes an event for each change.
pub(crate) async fn tell<B>(ctx: &Context<B>, set: &BrokerSet, after: &BrokerSetStatus) {
    let Some(before) = &set.status else { return };
    for Change { is_bad, reason, note } in changes(before, after) {
        if is_bad {
            ctx.events.warn(set, reason, note).await;
        } else {
            ctx.events.done(set, reason, note).await;
        }
    }
}

fn changes(before: &BrokerSetStatus, after: &BrokerSetStatus) -> Vec<Change> {
    let pairs = after.groups.iter().filter_map(|now| {
        let old = before.groups.iter().find(|old| old.name == now.name)?;
        Some((old, now))
    });
    pairs.flat_map(|(old, now)| master(old, now).into_iter().chain(replicas(old, now))).collect()
}

fn master(old: &BrokerGroupStatus, now: &BrokerGroupStatus) -> Option<Change> {
    let (was, is) = (old.epoch?, now.epoch?);
    let (before, after) = (old.master.as_deref()?, now.master.as_deref()?);
    if was >= is {
        return None;
    }
    let name = &now.name;
    let (reason, note) = if before == after {
        ("MasterRestarted", format!("{after} leads {name} again, in epoch {is}"))
    } else {
        ("MasterChanged", format!("{after} leads {name} in epoch {is}, after {before}"))
    };
    Some(Change { is_bad: false, reason, note })
}

fn replicas(old: &BrokerGroupStatus, now: &BrokerGroupStatus) -> Vec<Change> {
    let both = now.replicas.iter().filter_map(|now| {
        let old = old.replicas.iter().find(|old| old.pod == now.pod)?;
        (old.in_sync != now.in_sync).then_some(now)
    });
    let change = |is_bad, reason, note| Change { is_bad, reason, note };
    both.map(|replica| {
        let (pod, group) = (&replica.pod, &now.name);
        if replica.in_sync {
            change(false, "InSync", format!("{pod} holds every acknowledged message of {group} again"))
        } else {
            change(true, "OutOfSync", format!("{pod} is not in sync: messages of {group} have a copy less"))
        }
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use bolide_api::broker_set::BrokerReplicaStatus;

    use super::*;

    fn status(epoch: u64, master: &str, in_sync: [bool; 2]) -> BrokerSetStatus {
        let replica = |(ordinal, in_sync): (usize, bool)| BrokerReplicaStatus {
            pod: format!("demo-broker-0-{ordinal}"),
            in_sync,
            lag_bytes: None,
        };
        let group = BrokerGroupStatus {
            name: "demo-broker-0".into(),
            master: Some(master.into()),
            epoch: Some(epoch),
            replicas: in_sync.into_iter().enumerate().map(replica).collect(),
            ..BrokerGroupStatus::default()
        };
        BrokerSetStatus { groups: vec![group], ..BrokerSetStatus::default() }
    }

    #[test]
    fn a_failover_is_two_changes_and_the_return_of_the_other_is_one() {
        let reasons = |before: &BrokerSetStatus, after: &BrokerSetStatus| {
            changes(before, after)
                .into_iter()
                .map(|change| (change.is_bad, change.reason))
                .collect::<Vec<_>>()
        };
        let before = status(3, "demo-broker-0-0", [true, true]);
        let failed_over = status(4, "demo-broker-0-1", [false, true]);
        assert_eq!(reasons(&before, &failed_over), [(false, "MasterChanged"), (true, "OutOfSync")]);
        assert_eq!(reasons(&failed_over, &status(4, "demo-broker-0-1", [true, true])), [(false, "InSync")]);
        assert_eq!(
            reasons(&before, &status(4, "demo-broker-0-0", [true, true])),
            [(false, "MasterRestarted")]
        );
        assert!(changes(&before, &before).is_empty());
        assert!(changes(&BrokerSetStatus::default(), &before).is_empty(), "a new group is no change");
    }
}
