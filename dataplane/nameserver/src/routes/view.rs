//! What clients and tools are told of the table.

use std::collections::{BTreeMap, BTreeSet};

use bolide_wire::body::route::{
    BrokerData, BrokerMemberGroup, ClusterInfo, MASTER_ID, QueueData, TopicRouteData,
};
use bolide_wire::body::topic::perm;

use super::{Group, Queues, Routes};

/// topicSysFlag bits.
const UNIT: i32 = 1;
const UNIT_SUB: i32 = 2;

/// Whether a group without a master may be shown with its lowest member in the master's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Acting {
    Yes,
    No,
}

/// Which topics a list of unit topics holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UnitFilter {
    Unit,
    UnitSub,
    UnitSubNotUnit,
}

impl Routes {
    /// Queues and addresses of a topic; none if no group has it.
    pub(crate) fn route(&self, topic: &str, acting: Acting) -> Option<TopicRouteData> {
        let holders = self.topics.get(topic)?;
        let mut route = TopicRouteData::default();
        for (broker, queues) in holders {
            let Some(group) = self.groups.get(broker) else { continue };
            let queues = self.as_shown(broker, *queues);
            let mut data = broker_data(broker, group);
            let takes_over =
                acting == Acting::Yes && group.enable_acting_master && !perm::is_writable(queues.perm);
            if takes_over
                && !data.broker_addrs.contains_key(&MASTER_ID)
                && let Some((_, addr)) = data.broker_addrs.pop_first()
            {
                data.broker_addrs.insert(MASTER_ID, addr);
            }
            route.broker_datas.push(data);
            route.queue_datas.push(queue_data(broker, queues));
            if let Some(mapping) = group.mappings.get(topic) {
                route
                    .topic_queue_mapping_by_broker
                    .get_or_insert_default()
                    .insert(broker.clone(), mapping.clone());
            }
        }
        (!route.broker_datas.is_empty()).then_some(route)
    }

    pub(crate) fn cluster_info(&self) -> ClusterInfo {
        let mut info = ClusterInfo::default();
        for (broker, group) in &self.groups {
            info.broker_addr_table.insert(broker.clone(), broker_data(broker, group));
            info.cluster_addr_table.entry(group.cluster.clone()).or_default().insert(broker.clone());
        }
        info
    }

    /// The live members of a group, if the group is known and of that cluster.
    pub(crate) fn member_group(&self, cluster: &str, broker: &str) -> Option<BrokerMemberGroup> {
        let group = self.groups.get(broker).filter(|group| group.cluster == cluster)?;
        Some(BrokerMemberGroup {
            broker_addrs: group.addrs.clone(),
            broker_name: broker.to_owned(),
            cluster: cluster.to_owned(),
        })
    }

    pub(crate) fn topic_names(&self) -> BTreeSet<String> {
        self.topics.keys().cloned().collect()
    }

    pub(crate) fn topics_of_cluster(&self, cluster: &str) -> BTreeSet<String> {
        let groups = self.groups.values().filter(|group| group.cluster == cluster);
        groups.flat_map(|group| group.topics.iter().cloned()).collect()
    }

    /// Topics with the asked bits on any group.
    pub(crate) fn unit_topics(&self, filter: UnitFilter) -> BTreeSet<String> {
        let matches = |flag: i32| match filter {
            UnitFilter::Unit => flag & UNIT != 0,
            UnitFilter::UnitSub => flag & UNIT_SUB != 0,
            UnitFilter::UnitSubNotUnit => flag & UNIT_SUB != 0 && flag & UNIT == 0,
        };
        let topics =
            self.topics.iter().filter(|(_, holders)| holders.values().any(|queues| matches(queues.sys_flag)));
        topics.map(|(topic, _)| topic.clone()).collect()
    }

    /// Names of clusters and broker groups, which brokers have topics of, and the address of one broker to ask for more.
    pub(crate) fn system_topics(&self) -> (BTreeSet<String>, Option<String>) {
        let names =
            self.groups.iter().flat_map(|(broker, group)| [broker.clone(), group.cluster.clone()]).collect();
        let first = self.groups.iter().min_by_key(|(broker, _)| *broker);
        (names, first.and_then(|(_, group)| group.addrs.values().next().cloned()))
    }

    /// Groups, members and topics, for the metrics.
    pub(crate) fn sizes(&self) -> BTreeMap<&'static str, usize> {
        BTreeMap::from([
            ("group", self.groups.len()),
            ("member", self.live.len()),
            ("topic", self.topics.len()),
        ])
    }

    fn as_shown(&self, broker: &str, mut queues: Queues) -> Queues {
        if self.wiped.contains(broker) {
            queues.perm &= !perm::WRITE;
        }
        queues
    }
}

fn broker_data(broker: &str, group: &Group) -> BrokerData {
    BrokerData {
        broker_addrs: group.addrs.clone(),
        broker_name: broker.to_owned(),
        cluster: group.cluster.clone(),
        enable_acting_master: group.enable_acting_master,
        zone_name: group.zone.clone(),
    }
}

fn queue_data(broker: &str, queues: Queues) -> QueueData {
    QueueData {
        broker_name: broker.to_owned(),
        perm: queues.perm,
        read_queue_nums: queues.read,
        topic_sys_flag: queues.sys_flag,
        write_queue_nums: queues.write,
    }
}
