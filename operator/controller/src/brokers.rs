//! What the operator asks of brokers: a trait, so that tests have brokers without processes.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::time::Duration;

use bolide_client::desired::OrderChange;
use bolide_client::{Admin, ClientError, ConsumedQueue, QueueStats, ResetTo};
use bolide_transport::{Client, ClientConfig};
use bolide_wire::body::group::SubscriptionGroupConfig;
use bolide_wire::body::replica::ReplicaStatus;
use bolide_wire::body::route::MASTER_ID;
use bolide_wire::body::topic::TopicConfig;

#[cfg(test)]
pub(crate) mod fake;

type Answer<T> = Result<T, ClientError>;

/// The longest a broker may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Admin operations on brokers, by the address of the broker.
pub(crate) trait Brokers: Clone + Send + Sync + 'static {
    /// Names of the broker groups whose master is registered with the nameserver at `namesrv`.
    fn registered(&self, namesrv: &str) -> impl Future<Output = Answer<BTreeSet<String>>> + Send;
    /// One topic; `None` when the broker does not have it.
    fn topic(&self, addr: &str, name: &str) -> impl Future<Output = Answer<Option<TopicConfig>>> + Send;
    /// All topics, those of the system too.
    fn topics(&self, addr: &str) -> impl Future<Output = Answer<Vec<TopicConfig>>> + Send;
    /// All groups, those of the system too.
    fn groups(&self, addr: &str) -> impl Future<Output = Answer<Vec<SubscriptionGroupConfig>>> + Send;
    /// The order configuration of a topic on the nameserver at `namesrv`.
    fn order(&self, namesrv: &str, topic: &str) -> impl Future<Output = Answer<Option<String>>> + Send;
    /// Changes it.
    fn change_order(
        &self,
        namesrv: &str,
        topic: &str,
        change: &OrderChange,
    ) -> impl Future<Output = Answer<()>> + Send;
    /// Makes or changes a topic.
    fn put_topic(&self, addr: &str, config: &TopicConfig) -> impl Future<Output = Answer<()>> + Send;
    /// Deletes a topic with its messages.
    fn delete_topic(&self, addr: &str, name: &str) -> impl Future<Output = Answer<()>> + Send;
    /// Offsets of each queue of a topic.
    fn topic_stats(&self, addr: &str, name: &str) -> impl Future<Output = Answer<Vec<QueueStats>>> + Send;
    /// Groups that consume a topic.
    fn consumers_of(&self, addr: &str, topic: &str) -> impl Future<Output = Answer<Vec<String>>> + Send;
    /// One group; `None` when the broker does not have it.
    fn group(
        &self,
        addr: &str,
        name: &str,
    ) -> impl Future<Output = Answer<Option<SubscriptionGroupConfig>>> + Send;
    /// Makes or changes a group.
    fn put_group(
        &self,
        addr: &str,
        config: &SubscriptionGroupConfig,
    ) -> impl Future<Output = Answer<()>> + Send;
    /// Deletes a group with its offsets.
    fn delete_group(&self, addr: &str, name: &str) -> impl Future<Output = Answer<()>> + Send;
    /// Progress of a group, in one topic or in all.
    fn progress(
        &self,
        addr: &str,
        group: &str,
        topic: Option<&str>,
    ) -> impl Future<Output = Answer<Vec<ConsumedQueue>>> + Send;
    /// Client ids of the members of a group.
    fn members(&self, addr: &str, group: &str) -> impl Future<Output = Answer<BTreeSet<String>>> + Send;
    /// Moves a group in all queues of a topic.
    fn reset(
        &self,
        addr: &str,
        group: &str,
        topic: &str,
        to: ResetTo,
    ) -> impl Future<Output = Answer<()>> + Send;
    /// Rates, totals, disk use.
    fn runtime(&self, addr: &str) -> impl Future<Output = Answer<BTreeMap<String, String>>> + Send;
    /// Settings in force.
    fn settings(&self, addr: &str) -> impl Future<Output = Answer<BTreeMap<String, String>>> + Send;
    /// What a broker says of the replicas of its group; `None` from one that has no replicas.
    fn replica_status(&self, addr: &str) -> impl Future<Output = Answer<Option<ReplicaStatus>>> + Send;
    /// Tells the master to hand over to the replica called `to`, and waits until that leads.
    fn hand_over(&self, addr: &str, to: &str) -> impl Future<Output = Answer<()>> + Send;
    /// Changes settings of the running broker.
    fn change_settings(
        &self,
        addr: &str,
        settings: &BTreeMap<String, String>,
    ) -> impl Future<Output = Answer<()>> + Send;
}

/// Brokers over the network.
#[derive(Clone, Debug)]
pub(crate) struct RemoteBrokers {
    admin: Admin,
}

impl RemoteBrokers {
    /// Connects when first asked. Every operation goes to the broker whose address it is given, none to a nameserver, so the
    /// nameserver's address is one that is never used.
    ///
    /// # Errors
    /// Never in practice: the address is well formed.
    pub(crate) fn new() -> Answer<Self> {
        let admin = Admin::with_client(
            Client::new(ClientConfig::default()),
            "nameserver.invalid:9876",
            ANSWER_WITHIN,
        )?;
        Ok(Self { admin })
    }
}

impl Brokers for RemoteBrokers {
    async fn registered(&self, namesrv: &str) -> Answer<BTreeSet<String>> {
        let known = self.admin.cluster_info_of(namesrv).await?;
        let masters = known
            .broker_addr_table
            .into_iter()
            .filter(|(_, data)| data.broker_addrs.contains_key(&MASTER_ID));
        Ok(masters.map(|(name, _)| name).collect())
    }

    async fn topic(&self, addr: &str, name: &str) -> Answer<Option<TopicConfig>> {
        self.admin.topic(addr, name).await
    }

    async fn topics(&self, addr: &str) -> Answer<Vec<TopicConfig>> {
        self.admin.topics(addr).await
    }

    async fn groups(&self, addr: &str) -> Answer<Vec<SubscriptionGroupConfig>> {
        self.admin.groups(addr).await
    }

    async fn order(&self, namesrv: &str, topic: &str) -> Answer<Option<String>> {
        self.admin.order_of(namesrv, topic).await
    }

    async fn change_order(&self, namesrv: &str, topic: &str, change: &OrderChange) -> Answer<()> {
        self.admin.change_order(namesrv, topic, change).await
    }

    async fn put_topic(&self, addr: &str, config: &TopicConfig) -> Answer<()> {
        self.admin.put_topic(addr, config).await
    }

    async fn delete_topic(&self, addr: &str, name: &str) -> Answer<()> {
        self.admin.delete_topic(addr, name).await
    }

    async fn topic_stats(&self, addr: &str, name: &str) -> Answer<Vec<QueueStats>> {
        self.admin.topic_stats(addr, name).await
    }

    async fn consumers_of(&self, addr: &str, topic: &str) -> Answer<Vec<String>> {
        self.admin.consumers_of(addr, topic).await
    }

    async fn group(&self, addr: &str, name: &str) -> Answer<Option<SubscriptionGroupConfig>> {
        self.admin.group(addr, name).await
    }

    async fn put_group(&self, addr: &str, config: &SubscriptionGroupConfig) -> Answer<()> {
        self.admin.put_group(addr, config).await
    }

    async fn delete_group(&self, addr: &str, name: &str) -> Answer<()> {
        self.admin.delete_group(addr, name, true).await
    }

    async fn progress(&self, addr: &str, group: &str, topic: Option<&str>) -> Answer<Vec<ConsumedQueue>> {
        self.admin.consume_stats(addr, group, topic).await
    }

    async fn members(&self, addr: &str, group: &str) -> Answer<BTreeSet<String>> {
        let online = self.admin.consumer_connection(addr, group).await?;
        Ok(online
            .into_iter()
            .flat_map(|online| online.connection_set)
            .map(|member| member.client_id)
            .collect())
    }

    async fn reset(&self, addr: &str, group: &str, topic: &str, to: ResetTo) -> Answer<()> {
        self.admin.reset_offset(addr, group, topic, to).await.map(|_| ())
    }

    async fn runtime(&self, addr: &str) -> Answer<BTreeMap<String, String>> {
        self.admin.runtime_info(addr).await
    }

    async fn settings(&self, addr: &str) -> Answer<BTreeMap<String, String>> {
        self.admin.broker_config(addr).await
    }

    async fn replica_status(&self, addr: &str) -> Answer<Option<ReplicaStatus>> {
        self.admin.replica_status(addr).await
    }

    async fn hand_over(&self, addr: &str, to: &str) -> Answer<()> {
        self.admin.switchover(addr, Some(to)).await.map(|_| ())
    }

    async fn change_settings(&self, addr: &str, settings: &BTreeMap<String, String>) -> Answer<()> {
        self.admin.update_broker_config(addr, settings).await
    }
}
