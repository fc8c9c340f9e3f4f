//! Owns changes of topics and groups: each becomes a record in the log, and is done when that record is applied.

use std::sync::Arc;
use std::time::Duration;

use bolide_store::{Ack, AppendBatch, AppendError, Entry, Placed, Refused, Tags};
use bolide_wire::body::group::SubscriptionGroupConfig;
use bolide_wire::body::topic::{DataVersion, TopicConfig, perm};
use bolide_wire::ids::{GroupName, QueueId, RETRY_PREFIX, TopicName};
use bolide_wire::message::{NewRecord, encode_record};
use bolide_wire::properties::{names, tags_code};
use tokio::sync::oneshot;

use super::Broker;
use crate::error::Failure;
use crate::handler::send::properties::push;
use crate::locks::RebalanceLocks;
use crate::state::grants::Grant;
use crate::state::groups::{Group, PREDEFINED};
use crate::state::record::{OffsetTable, STATE_TOPIC, StateRecord};
use crate::state::topics::{SCHEDULE_TOPIC, TEMPLATE_TOPIC, TIMER_TOPIC, TRACE_TOPIC, Topic, is_system};
use crate::state::transactions::HALF_TOPIC;

/// How long the making of a topic waits for the nameservers to know it.
const REGISTRATION_WAIT: Duration = Duration::from_secs(1);
/// How often it is looked whether the projections have come as far as the log.
const CATCH_UP: Duration = Duration::from_millis(1);

/// Versions of the definition tables.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Versions {
    /// Of the topics.
    pub(crate) topics: DataVersion,
    /// Of the groups.
    pub(crate) groups: DataVersion,
}

type PlacedLater = oneshot::Receiver<Result<Vec<Placed>, AppendError>>;

impl Broker {
    /// Adds one state record to a batch.
    pub(crate) fn encode_state(&self, record: &StateRecord, batch: &mut AppendBatch) -> Result<(), Failure> {
        let body = serde_json::to_vec(record)?;
        let mut properties = String::new();
        push(&mut properties, names::TAGS, record.kind());
        let new = NewRecord {
            topic: STATE_TOPIC,
            queue_id: QueueId(0),
            flag: 0,
            sys_flag: 0,
            born_timestamp: self.clock.now(),
            born_host: self.store_host,
            store_host: self.store_host,
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body: &body,
            properties: &properties,
        };
        let len = encode_record(&new, &mut batch.buf)
            .map_err(|_| Failure::Internal("a state record is too large"))?;
        let mut entry = Entry::new(len, self.state_queue.clone());
        entry.tags = Tags::Hash(tags_code(record.kind()));
        entry.state = true;
        batch.entries.push(entry);
        Ok(())
    }

    /// What the configuration promises of an acknowledgement.
    pub(crate) fn full_ack(&self) -> Ack {
        self.live.load().config.ack()
    }

    /// Appends one state record. What it says is in force when it is applied, see [`Broker::applied`]: so its acknowledgement
    /// waits for that too, and a record that is cut off with an end of the log is a failure.
    pub(crate) fn append_state(&self, record: &StateRecord) -> Result<PlacedLater, Failure> {
        let mut batch = AppendBatch::default();
        self.encode_state(record, &mut batch)?;
        let (sender, receiver) = oneshot::channel();
        // Nobody listening any more is no failure of the append.
        let done = Box::new(move |placed| drop(sender.send(placed)));
        self.store
            .append(batch, Ack::Confirmed, done)
            .map_err(|Refused { reason, .. }| Failure::Refused(reason))?;
        Ok(receiver)
    }

    /// Waits until an appended state record is applied, or never will be by this master.
    pub(crate) async fn applied(&self, placed: PlacedLater) -> Result<(), Failure> {
        placed.await.map_err(|_| Failure::Stopping)??;
        Ok(())
    }

    /// Makes and changes topics, and waits a moment for the nameservers to know. The caller holds `making`.
    pub(crate) async fn change_topics(&self, put: Vec<TopicConfig>) -> Result<(), Failure> {
        self.change_topics_here(put).await?;
        self.registration.registered(REGISTRATION_WAIT).await;
        Ok(())
    }

    async fn change_topics_here(&self, put: Vec<TopicConfig>) -> Result<(), Failure> {
        // Of a deletion that nobody waited for: what is made now must not get its queues.
        self.delete_queues().await;
        self.log_topics(put, Vec::new()).await?;
        self.registration.topics_changed();
        Ok(())
    }

    /// Deletes topics, and waits a moment for the nameservers to know. None of these names is made anew before the queues are
    /// gone: it would get them, and lose what was sent to it with them.
    pub(crate) async fn delete_topics(&self, remove: Vec<TopicName>) -> Result<(), Failure> {
        let making = self.making.lock().await;
        self.log_topics(Vec::new(), remove).await?;
        let gone = self.delete_queues().await;
        drop(making);
        self.registration.topics_changed();
        if !gone {
            return Err(Failure::Internal("the deletion failed"));
        }
        self.registration.registered(REGISTRATION_WAIT).await;
        Ok(())
    }

    /// Removes the queues of deleted topics, without what belongs to topics made anew. False when some cannot go yet: they do with the next
    /// call. Queues whose topic is unknown for any other reason stay.
    pub(crate) async fn delete_queues(&self) -> bool {
        let mut all = true;
        let deleted = self.state.deleted.lock().all();
        for (topic, at) in deleted {
            let (store, state, name) = (self.store.clone(), self.state.clone(), topic.clone());
            let work = move || {
                let gone = store.delete_topic_before(&name, || state.deleted.lock().ends(&name));
                if gone.is_ok() {
                    state.deleted.lock().forget(&name, at);
                }
                gone
            };
            let outcome = tokio::task::spawn_blocking(work).await.map_err(std::io::Error::other);
            match outcome.flatten() {
                Ok(false) => {}
                Ok(true) => tracing::info!(%topic, "queues of a deleted topic removed"),
                Err(error) => {
                    tracing::warn!(%topic, %error, "queues of a deleted topic stay for now");
                    all = false;
                }
            }
        }
        all
    }

    async fn log_topics(&self, put: Vec<TopicConfig>, remove: Vec<TopicName>) -> Result<(), Failure> {
        let placed = {
            let mut versions = self.versions.lock();
            let data_version = versions.topics.next(self.clock.now());
            versions.topics = data_version;
            self.append_state(&StateRecord::Topics { data_version, put, remove })?
        };
        self.applied(placed).await
    }

    /// Makes, changes and deletes groups.
    pub(crate) async fn change_groups(
        &self,
        put: Vec<SubscriptionGroupConfig>,
        remove: Vec<GroupName>,
        clean_offsets: bool,
    ) -> Result<(), Failure> {
        let placed = {
            let mut versions = self.versions.lock();
            let data_version = versions.groups.next(self.clock.now());
            versions.groups = data_version;
            self.append_state(&StateRecord::Groups { data_version, put, remove, clean_offsets })?
        };
        self.applied(placed).await
    }

    /// Forbids a group to read a topic, or allows it again.
    pub(crate) async fn forbid(&self, group: &str, topic: &str, bits: i32) -> Result<(), Failure> {
        let placed = {
            let mut versions = self.versions.lock();
            let data_version = versions.groups.next(self.clock.now());
            versions.groups = data_version;
            let (group, topic) = (group.to_owned(), topic.to_owned());
            self.append_state(&StateRecord::Forbidden { data_version, group, topic, bits })?
        };
        self.applied(placed).await
    }

    /// The topic, made from a template if it does not exist and the template allows it.
    pub(crate) async fn make_topic(
        &self,
        topic: TopicName,
        template: &str,
        queues: i32,
    ) -> Result<Arc<Topic>, Failure> {
        let _making = self.making.lock().await;
        if let Some(known) = self.state.topics.find(&topic) {
            return Ok(known);
        }
        let missing = || Failure::NoTopic(topic.to_string());
        if let Some(group) = topic.strip_prefix(RETRY_PREFIX) {
            let group = self.state.groups.find(group).ok_or_else(|| Failure::NoGroup(group.into()))?;
            return self.put_internal(topic, group.config.retry_queue_nums).await;
        }
        let template =
            self.state.topics.find(template).filter(|template| template.inheritable()).ok_or_else(missing)?;
        // Clients send traces to a topic of their own, whether or not it was made beforehand.
        if (is_system(&topic) && *topic != *TRACE_TOPIC) || topic.is_dlq() {
            return Err(missing());
        }
        let queues = queues.min(template.config.write_queue_nums).max(1);
        let config =
            TopicConfig { perm: template.config.perm & !perm::INHERIT, ..TopicConfig::new(&topic, queues) };
        self.change_topics(vec![config]).await?;
        self.state.topics.find(&topic).ok_or_else(missing)
    }

    /// A retry or dead-letter topic, made if it does not exist.
    pub(crate) async fn make_internal_topic(
        &self,
        topic: TopicName,
        queues: i32,
    ) -> Result<Arc<Topic>, Failure> {
        if let Some(known) = self.state.topics.find(&topic) {
            return Ok(known);
        }
        let _making = self.making.lock().await;
        self.put_internal(topic, queues).await
    }

    /// A topic of the broker's own, made if it does not exist, without waiting for the nameservers.
    pub(crate) async fn make_unannounced_topic(
        &self,
        topic: &TopicName,
        queues: i32,
    ) -> Result<Arc<Topic>, Failure> {
        if let Some(known) = self.state.topics.find(topic) {
            return Ok(known);
        }
        let _making = self.making.lock().await;
        if let Some(known) = self.state.topics.find(topic) {
            return Ok(known);
        }
        self.change_topics_here(vec![TopicConfig::new(topic, queues.max(1))]).await?;
        self.state.topics.find(topic).ok_or_else(|| Failure::NoTopic(topic.to_string()))
    }

    async fn put_internal(&self, topic: TopicName, queues: i32) -> Result<Arc<Topic>, Failure> {
        if let Some(known) = self.state.topics.find(&topic) {
            return Ok(known);
        }
        self.change_topics(vec![TopicConfig::new(&topic, queues.max(1))]).await?;
        self.state.topics.find(&topic).ok_or_else(|| Failure::NoTopic(topic.to_string()))
    }

    /// The group, made if it does not exist and groups are made on first use.
    pub(crate) async fn make_group(&self, name: &str) -> Result<Arc<Group>, Failure> {
        if let Some(known) = self.state.groups.find(name) {
            return Ok(known);
        }
        if !self.live.load().config.auto_create_subscription_group {
            return Err(Failure::NoGroup(name.into()));
        }
        let group = GroupName::new(name)?;
        let _making = self.making.lock().await;
        if let Some(known) = self.state.groups.find(name) {
            return Ok(known);
        }
        self.change_groups(vec![SubscriptionGroupConfig::new(&group)], Vec::new(), false).await?;
        self.state.groups.find(name).ok_or_else(|| Failure::NoGroup(name.into()))
    }

    /// Waits until everything that was handed to the store before is in the log.
    pub(crate) async fn append_barrier(&self) -> Result<(), Failure> {
        let mut batch = AppendBatch::default();
        self.encode_state(&StateRecord::Offsets { offsets: OffsetTable::new() }, &mut batch)?;
        let (sender, receiver) = oneshot::channel();
        // Nobody listening any more is no failure of the append.
        let done = Box::new(move |placed| drop(sender.send(placed)));
        let appended = self.store.append(batch, Ack::Appended, done);
        appended.map_err(|Refused { reason, .. }| Failure::Refused(reason))?;
        receiver.await.map_err(|_| Failure::Stopping)??;
        Ok(())
    }

    /// Logs who takes and gives up queues of ordered consumption, and waits until it is in force.
    pub(crate) async fn log_locks(&self, take: Vec<Grant>, give: Vec<Grant>) -> Result<(), Failure> {
        let placed = self.append_state(&StateRecord::Locks { take, give })?;
        self.applied(placed).await
    }

    /// Waits until everything that is in the log by now has come to the projections. With replicas that is as long as confirmation
    /// takes, and for ever where the end of the log is cut off: whoever waits gives up when the role is lost.
    pub(crate) async fn caught_up(&self) {
        let appended = self.store.watermarks().appended;
        while self.store.watermarks().dispatched < appended {
            tokio::time::sleep(CATCH_UP).await;
        }
    }

    /// This broker leads from now on, and goes on from what the log says.
    pub(crate) fn take_over(&self) {
        self.state.lead();
        let now = self.clock.now();
        let mut locks = RebalanceLocks::new();
        for grant in self.state.grants.lock().all() {
            if let Ok(group) = GroupName::internal(&grant.group) {
                locks.inherit(&group, &grant.client, grant.queues, now);
            }
        }
        *self.locks.lock() = locks;
        *self.versions.lock() =
            Versions { topics: self.state.topics.version(), groups: self.state.groups.version() };
    }

    /// Makes the topics and groups that every broker has, where they are missing or differ from the configuration.
    pub(crate) async fn make_predefined(&self) -> Result<(), Failure> {
        let topics: Vec<TopicConfig> =
            self.predefined_topics().into_iter().filter(|wanted| self.lacks(wanted)).collect();
        if !topics.is_empty() {
            self.change_topics_here(topics).await?;
        }
        let missing = PREDEFINED.iter().filter(|name| self.state.groups.find(name).is_none());
        let groups: Vec<SubscriptionGroupConfig> =
            missing.map(|name| SubscriptionGroupConfig::new(name)).collect();
        if !groups.is_empty() {
            self.change_groups(groups, Vec::new(), false).await?;
        }
        Ok(())
    }

    fn lacks(&self, wanted: &TopicConfig) -> bool {
        self.state.topics.find(&wanted.topic_name).is_none_or(|known| {
            let settled = wanted.topic_name != TEMPLATE_TOPIC && wanted.topic_name != SCHEDULE_TOPIC;
            !settled && known.config != *wanted
        })
    }

    fn predefined_topics(&self) -> Vec<TopicConfig> {
        let live = self.live();
        let config = &live.config;
        let named = |name: &str, queues: i32, enabled: bool| {
            let open = if enabled { perm::READ | perm::WRITE } else { 0 };
            TopicConfig { perm: perm::INHERIT | open, ..TopicConfig::new(name, queues) }
        };
        let inherit = if config.auto_create_topic_enable { perm::INHERIT } else { 0 };
        let template_queues = i32::try_from(config.default_topic_queue_nums).unwrap_or(i32::MAX);
        let levels = i32::try_from(self.levels.count()).unwrap_or(i32::MAX);
        let mut topics = vec![
            TopicConfig {
                perm: perm::READ | perm::WRITE | inherit,
                ..TopicConfig::new(TEMPLATE_TOPIC, template_queues)
            },
            TopicConfig::new("SELF_TEST_TOPIC", 1),
            TopicConfig::new("BenchmarkTest", 1024),
            named(&self.names.cluster, 16, config.cluster_topic_enable),
            named(&self.names.broker, 1, config.broker_topic_enable),
            TopicConfig::new("OFFSET_MOVED_EVENT", 1),
            TopicConfig::new(SCHEDULE_TOPIC, levels),
            TopicConfig::new(TIMER_TOPIC, 1),
            TopicConfig::new(&format!("{}_REPLY_TOPIC", self.names.cluster), 1),
            TopicConfig::new(HALF_TOPIC, 1),
            TopicConfig::new("RMQ_SYS_TRANS_OP_HALF_TOPIC", 1),
        ];
        if config.trace_topic_enable {
            topics.push(TopicConfig::new(TRACE_TOPIC, 1));
        }
        topics
    }
}
