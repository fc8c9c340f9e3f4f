//! How members leave the table: they say so, their connection ends, or they have been silent for too long.

use std::time::Duration;

use bolide_transport::ConnId;

use super::{Member, Routes};

impl Routes {
    /// Removes a member that says goodbye; false if it is not known.
    pub(crate) fn unregister(&mut self, member: &Member) -> bool {
        self.live_of(member).is_some() && self.remove(member)
    }

    /// Removes the members whose last sign of life came over this connection.
    pub(crate) fn connection_closed(&mut self, conn: ConnId) -> Vec<Member> {
        self.evict(|live| live.conn == conn)
    }

    /// Removes the members that have been silent for their time.
    pub(crate) fn expire(&mut self, now: Duration) -> Vec<Member> {
        self.evict(|live| now.saturating_sub(live.last_seen) > live.timeout)
    }

    fn evict(&mut self, gone: impl Fn(&super::Live) -> bool) -> Vec<Member> {
        let members: Vec<Member> = self
            .live
            .iter()
            .filter(|(_, live)| gone(live))
            .map(|((cluster, addr), live)| Member {
                cluster: cluster.clone(),
                broker: live.broker.clone(),
                id: live.id,
                addr: addr.clone(),
                epoch: live.epoch,
            })
            .collect();
        for member in &members {
            self.remove(member);
        }
        members
    }

    /// Removes a member, and with the last of a group the group's topics.
    pub(super) fn remove(&mut self, member: &Member) -> bool {
        let removed = self.live.remove(&(member.cluster.clone(), member.addr.clone())).is_some();
        let Some(group) = self.groups.get_mut(&member.broker) else { return removed };
        if group.addrs.get(&member.id) == Some(&member.addr) {
            group.addrs.remove(&member.id);
        }
        if group.addrs.is_empty() {
            let topics = std::mem::take(&mut group.topics);
            self.groups.remove(&member.broker);
            for topic in topics {
                self.remove_topic_from(&member.broker, &topic);
            }
        }
        removed
    }
}
