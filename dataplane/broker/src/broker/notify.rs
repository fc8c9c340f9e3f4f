//! Owns messages from the broker to the members of a group.

use bolide_wire::ids::GroupName;
use bolide_wire::{Command, RequestCode};

use super::Broker;

impl Broker {
    /// Tells every member of the group that its members or subscriptions changed, so that they share the queues anew.
    pub(crate) fn notify_group(&self, group: &GroupName) {
        let wanted =
            self.state.groups.find(group).is_none_or(|g| g.config.notify_consumer_ids_changed_enable);
        if !wanted {
            return;
        }
        let members = self.clients.read().to_notify(group);
        for member in members {
            let command =
                Command::request(RequestCode::NOTIFY_CONSUMER_IDS_CHANGED).with_ext("consumerGroup", group);
            // A connection that just closed is noticed by its own event.
            let _ = member.oneway(command);
        }
    }

    /// Tells several groups.
    pub(crate) fn notify_groups(&self, groups: &[GroupName]) {
        for group in groups {
            self.notify_group(group);
        }
    }
}
