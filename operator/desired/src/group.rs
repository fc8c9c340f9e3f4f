//! Consumer groups.

use bolide_api::ConsumerGroup;
use bolide_client::desired::WantedGroup;

use crate::number;

/// The subscription group that an object asks for, on every broker.
pub fn wanted_group(group: &ConsumerGroup) -> WantedGroup {
    let spec = &group.spec;
    WantedGroup {
        name: group.group_name().to_owned(),
        max_retries: number(spec.max_retries),
        retry_queues: number(spec.retry_queues),
        ordered: spec.ordered,
        broadcast: spec.broadcast,
        consume_from_min: spec.consume_from_min,
        notify_on_change: spec.notify_on_change,
        enabled: !spec.paused,
    }
}

#[cfg(test)]
mod tests {
    use bolide_api::ConsumerGroupSpec;

    use super::*;

    #[test]
    fn a_paused_group_may_not_consume() {
        let spec = ConsumerGroupSpec { max_retries: 3, paused: true, ..ConsumerGroupSpec::default() };
        let wanted = wanted_group(&ConsumerGroup::new("billing", spec));
        assert_eq!((wanted.name.as_str(), wanted.max_retries, wanted.enabled), ("billing", 3, false));
    }
}
