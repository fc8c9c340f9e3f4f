//! The routing table: broker groups, their members, and the queues of topics on them.
//!
//! Pure: no clock, lock or socket. `now` is the time since any fixed moment, on a clock that never goes back.
//! Invariants: a group has at least one live member, and a cluster at least one group; `topics` and `Group::topics` say the same;
//! a member is live under exactly one address, and an address belongs to one member of its cluster.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use bolide_transport::ConnId;
use bolide_wire::body::register::RegisterDeltaBody;
use bolide_wire::body::route::MASTER_ID;
use bolide_wire::body::topic::{DataVersion, TopicConfig, TopicConfigTable, perm};

mod evict;
mod view;

pub(crate) use view::{Acting, UnitFilter};

/// Topics that every broker has from its start on. A registration without them is one of single changed topics.
const STARTUP_TOPICS: [&str; 3] = ["SELF_TEST_TOPIC", "SCHEDULE_TOPIC_XXXX", "OFFSET_MOVED_EVENT"];

/// Who registers or reports.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Member {
    pub(crate) cluster: String,
    pub(crate) broker: String,
    pub(crate) id: i64,
    pub(crate) addr: String,
    /// Of the group, as the member knows it; 0 from members of groups without one. Two processes that take turns at an address
    /// differ in it.
    pub(crate) epoch: u64,
}

/// What a broker says of itself beside its topics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Profile {
    pub(crate) ha_addr: String,
    pub(crate) zone: Option<String>,
    pub(crate) enable_acting_master: bool,
    /// Silence after which it is gone; none for the server's own setting.
    pub(crate) timeout: Option<Duration>,
}

/// How a registration's topics relate to those known before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// All topics of the broker.
    Full,
    /// Some that changed.
    Partial,
}

/// What a broker is told when it has registered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Registered {
    /// Of the group's master, for members that are not.
    pub(crate) master: Option<(String, String)>,
}

/// Why a registration was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RegisterError {
    #[error(
        "register broker failed: {broker} id {id} is held by {holder} with the newer state version {held}, not {offered}"
    )]
    Stale { broker: String, id: i64, holder: String, held: i64, offered: i64 },
    #[error("register broker failed: {broker} id {id} is known with epoch {held}, not {offered}")]
    OldEpoch { broker: String, id: i64, held: u64, offered: u64 },
    #[error("register broker failed: {addr} sent one topic but is not registered")]
    Unregistered { addr: String },
    #[error("register broker failed: {broker} belongs to cluster {known}, not {offered}")]
    OtherCluster { broker: String, known: String, offered: String },
}

/// Answer to a registration by difference or a heartbeat with a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// The server now has the sender's version.
    UpToDate,
    /// The sender has to register in full.
    NeedFull,
}

#[derive(Debug)]
struct Live {
    broker: String,
    id: i64,
    last_seen: Duration,
    timeout: Duration,
    version: DataVersion,
    ha_addr: String,
    conn: ConnId,
    epoch: u64,
}

#[derive(Debug, Default)]
struct Group {
    cluster: String,
    addrs: BTreeMap<i64, String>,
    enable_acting_master: bool,
    zone: Option<String>,
    /// Newest epoch that a member registered with.
    epoch: u64,
    topics: HashSet<String>,
    /// Which member the topics are from, and their version there.
    source: Option<(i64, DataVersion)>,
    /// Static topics, passed on as they are.
    mappings: BTreeMap<String, serde_json::Value>,
}

/// The queues of one topic on one group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Queues {
    read: i32,
    write: i32,
    perm: i32,
    sys_flag: i32,
}

impl From<&TopicConfig> for Queues {
    fn from(topic: &TopicConfig) -> Self {
        Self {
            read: topic.read_queue_nums,
            write: topic.write_queue_nums,
            perm: topic.perm,
            sys_flag: topic.topic_sys_flag,
        }
    }
}

/// The table.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    /// By (cluster, address).
    live: HashMap<(String, String), Live>,
    groups: HashMap<String, Group>,
    topics: HashMap<String, BTreeMap<String, Queues>>,
    /// Groups whose write permission is withdrawn, whatever they register.
    wiped: BTreeSet<String>,
    default_timeout: Duration,
}

impl Routes {
    pub(crate) fn new(default_timeout: Duration, wiped: BTreeSet<String>) -> Self {
        Self { default_timeout, wiped, ..Self::default() }
    }

    /// Guesses whether a registration in upstream's form is the whole table: brokers send changed topics in the same form.
    pub(crate) fn extent_of(&self, member: &Member, table: &TopicConfigTable) -> Extent {
        let has = |topic: &str| table.topic_config_table.contains_key(topic);
        let known = self.groups.get(&member.broker).map(|group| &group.topics);
        let knew = |topic: &str| known.is_some_and(|topics| topics.contains(topic));
        let missing = STARTUP_TOPICS.iter().any(|topic| knew(topic) && !has(topic));
        let present = STARTUP_TOPICS.iter().any(|topic| has(topic));
        if present && !missing { Extent::Full } else { Extent::Partial }
    }

    /// Takes in a broker and its topics.
    pub(crate) fn register(
        &mut self,
        member: &Member,
        profile: Profile,
        table: &TopicConfigTable,
        extent: Extent,
        conn: ConnId,
        now: Duration,
    ) -> Result<Registered, RegisterError> {
        let version = table.data_version.unwrap_or_default();
        self.check(member, version, table.topic_config_table.len())?;
        let key = (member.cluster.clone(), member.addr.clone());
        self.take_over(member);
        let group = self.groups.entry(member.broker.clone()).or_default();
        group.cluster.clone_from(&member.cluster);
        group.addrs.insert(member.id, member.addr.clone());
        group.enable_acting_master = profile.enable_acting_master;
        group.zone = profile.zone;
        group.epoch = group.epoch.max(member.epoch);
        let live = Live {
            broker: member.broker.clone(),
            id: member.id,
            last_seen: now,
            timeout: profile.timeout.unwrap_or(self.default_timeout),
            version,
            ha_addr: profile.ha_addr,
            conn,
            epoch: member.epoch,
        };
        self.live.insert(key, live);
        self.take_topics(member, table, version, extent);
        Ok(Registered { master: self.master_for(member) })
    }

    /// Applies a difference to what the member registered before.
    pub(crate) fn register_delta(
        &mut self,
        member: &Member,
        base: DataVersion,
        new: DataVersion,
        delta: &RegisterDeltaBody,
        conn: ConnId,
        now: Duration,
    ) -> Known {
        let Some(live) = self.live_of(member) else { return Known::NeedFull };
        let known = live.version;
        live.last_seen = now;
        live.conn = conn;
        if known == new {
            return Known::UpToDate;
        }
        if known != base {
            return Known::NeedFull;
        }
        live.version = new;
        if self.may_define(member) {
            for topic in &delta.changed {
                self.put_topic(&member.broker, member.id, topic);
            }
            for topic in &delta.deleted {
                self.remove_topic_from(&member.broker, topic);
            }
            if let Some(group) = self.groups.get_mut(&member.broker) {
                group.source = Some((member.id, new));
            }
        }
        Known::UpToDate
    }

    /// Notes a sign of life. With the sender's version it also says whether that is the one known here.
    pub(crate) fn heartbeat(
        &mut self,
        member: &Member,
        version: Option<DataVersion>,
        conn: ConnId,
        now: Duration,
    ) -> Known {
        let Some(live) = self.live_of(member) else { return Known::NeedFull };
        live.last_seen = now;
        live.conn = conn;
        match version {
            Some(version) if version != live.version => Known::NeedFull,
            _ => Known::UpToDate,
        }
    }

    /// Notes a sign of life and returns the version known here, if the broker is.
    pub(crate) fn query_version(&mut self, member: &Member, now: Duration) -> Option<DataVersion> {
        let live = self.live_of(member)?;
        live.last_seen = now;
        Some(live.version)
    }

    /// Withdraws the write permission of a group until it is given back; returns how many topics that concerns.
    pub(crate) fn wipe_write(&mut self, broker: &str) -> i32 {
        self.wiped.insert(broker.to_owned());
        self.topics_of(broker)
    }

    /// Gives the write permission back as registered; returns how many topics that concerns.
    pub(crate) fn add_write(&mut self, broker: &str) -> i32 {
        self.wiped.remove(broker);
        self.topics_of(broker)
    }

    fn topics_of(&self, broker: &str) -> i32 {
        let topics = self.groups.get(broker).map_or(0, |group| group.topics.len());
        i32::try_from(topics).unwrap_or(i32::MAX)
    }

    /// Adds queues of a topic on groups that are known.
    pub(crate) fn register_topic(&mut self, topic: &str, queues: &[bolide_wire::body::route::QueueData]) {
        for data in queues {
            let Some(group) = self.groups.get_mut(&data.broker_name) else { continue };
            group.topics.insert(topic.to_owned());
            let queues = Queues {
                read: data.read_queue_nums,
                write: data.write_queue_nums,
                perm: data.perm,
                sys_flag: data.topic_sys_flag,
            };
            self.topics.entry(topic.to_owned()).or_default().insert(data.broker_name.clone(), queues);
        }
    }

    /// Removes a topic from all groups, or from those of one cluster.
    pub(crate) fn delete_topic(&mut self, topic: &str, cluster: Option<&str>) {
        let holders: Vec<String> =
            self.topics.get(topic).into_iter().flat_map(BTreeMap::keys).cloned().collect();
        for broker in holders {
            let concerned = cluster
                .is_none_or(|cluster| self.groups.get(&broker).is_some_and(|group| group.cluster == cluster));
            if concerned {
                self.remove_topic_from(&broker, topic);
            }
        }
    }

    fn check(&self, member: &Member, version: DataVersion, topics: usize) -> Result<(), RegisterError> {
        let group = self.groups.get(&member.broker);
        if let Some(group) = group.filter(|group| group.cluster != member.cluster) {
            return Err(RegisterError::OtherCluster {
                broker: member.broker.clone(),
                known: group.cluster.clone(),
                offered: member.cluster.clone(),
            });
        }
        let holder = group.and_then(|group| group.addrs.get(&member.id));
        let live = holder.and_then(|holder| self.live.get(&(member.cluster.clone(), holder.clone())));
        let newest = group.map(|group| group.epoch).filter(|_| member.id == MASTER_ID);
        let former = self.live.get(&(member.cluster.clone(), member.addr.clone()));
        let former = former.filter(|former| former.broker == member.broker);
        let held =
            newest.max([live, former].into_iter().flatten().map(|live| live.epoch).max()).unwrap_or_default();
        if held > member.epoch {
            let (broker, id) = (member.broker.clone(), member.id);
            return Err(RegisterError::OldEpoch { broker, id, held, offered: member.epoch });
        }
        if holder.is_none() && topics == 1 {
            return Err(RegisterError::Unregistered { addr: member.addr.clone() });
        }
        let Some(holder) = holder.filter(|holder| **holder != member.addr) else { return Ok(()) };
        match live.map(|live| live.version.state_version) {
            Some(held) if held > version.state_version && member.epoch == 0 => Err(RegisterError::Stale {
                broker: member.broker.clone(),
                id: member.id,
                holder: holder.clone(),
                held,
                offered: version.state_version,
            }),
            _ => Ok(()),
        }
    }

    /// Removes what the member was under another id, and who held its id under another address.
    fn take_over(&mut self, member: &Member) {
        let former = self.live.get(&(member.cluster.clone(), member.addr.clone()));
        let moved = former.filter(|live| live.broker != member.broker || live.id != member.id);
        if let Some((broker, id)) = moved.map(|live| (live.broker.clone(), live.id)) {
            self.remove(&Member { broker, id, ..member.clone() });
        }
        let Some(group) = self.groups.get(&member.broker) else { return };
        if let Some(holder) = group.addrs.get(&member.id).filter(|holder| **holder != member.addr) {
            self.live.remove(&(member.cluster.clone(), holder.clone()));
        }
    }

    fn live_of(&mut self, member: &Member) -> Option<&mut Live> {
        self.live
            .get_mut(&(member.cluster.clone(), member.addr.clone()))
            .filter(|live| live.broker == member.broker && live.id == member.id && live.epoch == member.epoch)
    }

    /// The address of the group's master and its HA address, for another member.
    fn master_for(&self, member: &Member) -> Option<(String, String)> {
        let group = self.groups.get(&member.broker).filter(|_| member.id != MASTER_ID)?;
        let addr = group.addrs.get(&MASTER_ID)?;
        let live = self.live.get(&(group.cluster.clone(), addr.clone()))?;
        Some((addr.clone(), live.ha_addr.clone()))
    }

    /// Only the master defines topics, or in its absence the lowest member.
    fn may_define(&self, member: &Member) -> bool {
        let lowest = self.groups.get(&member.broker).and_then(|group| group.addrs.keys().next());
        member.id == MASTER_ID || lowest == Some(&member.id)
    }

    fn take_topics(
        &mut self,
        member: &Member,
        table: &TopicConfigTable,
        version: DataVersion,
        extent: Extent,
    ) {
        let source = Some((member.id, version));
        let unchanged = self.groups.get(&member.broker).is_some_and(|group| {
            group.source == source
                && table.topic_config_table.keys().all(|topic| group.topics.contains(topic))
        });
        if (unchanged && extent == Extent::Partial) || !self.may_define(member) {
            return;
        }
        if extent == Extent::Full {
            let gone: Vec<String> = self.groups.get(&member.broker).map_or_else(Vec::new, |group| {
                group
                    .topics
                    .iter()
                    .filter(|topic| !table.topic_config_table.contains_key(*topic))
                    .cloned()
                    .collect()
            });
            for topic in gone {
                self.remove_topic_from(&member.broker, &topic);
            }
        }
        if !unchanged {
            for topic in table.topic_config_table.values() {
                self.put_topic(&member.broker, member.id, topic);
            }
        }
        if let Some(group) = self.groups.get_mut(&member.broker) {
            group.source = source;
            if let Some(mappings) = &table.topic_queue_mapping_info_map {
                group.mappings.clone_from(mappings);
            }
        }
    }

    fn put_topic(&mut self, broker: &str, id: i64, topic: &TopicConfig) {
        let mut queues = Queues::from(topic);
        if id != MASTER_ID {
            queues.perm &= !perm::WRITE;
        }
        let Some(group) = self.groups.get_mut(broker) else { return };
        if !group.topics.contains(&topic.topic_name) {
            group.topics.insert(topic.topic_name.clone());
        }
        match self.topics.get_mut(&topic.topic_name) {
            Some(holders) => {
                holders.insert(broker.to_owned(), queues);
            }
            None => {
                self.topics.insert(topic.topic_name.clone(), BTreeMap::from([(broker.to_owned(), queues)]));
            }
        }
    }

    fn remove_topic_from(&mut self, broker: &str, topic: &str) {
        if let Some(group) = self.groups.get_mut(broker) {
            group.topics.remove(topic);
        }
        let Some(holders) = self.topics.get_mut(topic) else { return };
        holders.remove(broker);
        if holders.is_empty() {
            self.topics.remove(topic);
        }
    }
}

#[cfg(test)]
mod tests;
