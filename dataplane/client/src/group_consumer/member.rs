//! The member's side of a group: heartbeats, sharing of queues, one reading task for each queue, commits.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bolide_transport::{Client, Conn, Handler, TransportMetrics};
use bolide_wire::body::connection::ConsumerIdList;
use bolide_wire::body::heartbeat::{
    ConsumeFromWhere, ConsumeType, ConsumerData, HeartbeatData, MessageModel, SubscriptionData,
};
use bolide_wire::{Command, RequestCode, ResponseCode};
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{GroupConsumerConfig, Position, Progress, QueueKey};
use crate::admin::body;
use crate::allocate::average;
use crate::message::{ProcessId, Received};
use crate::pull::{PullStatus, Puller, StartAt, matches};
use crate::remote::{Remote, patient};
use crate::route::{self, Queue, Use};
use crate::{Admin, ClientError};

/// How often the share is looked over without being told of a change.
const REBALANCE: Duration = Duration::from_secs(20);
/// How often a share that could not be found out is tried again.
const REBALANCE_RETRY: Duration = Duration::from_secs(1);
/// How often finished messages are committed.
const COMMIT: Duration = Duration::from_secs(5);
/// How long a broker may hold a pull.
const HOLD: Duration = Duration::from_secs(15);
/// Pause after a failed pull.
const PULL_PAUSE: Duration = Duration::from_secs(1);
/// Messages asked for in each pull.
const BATCH: u16 = 32;

/// The member; its tasks hold it.
#[derive(Debug)]
pub(crate) struct Member {
    config: GroupConsumerConfig,
    client_id: String,
    puller: Puller,
    subscriptions: Vec<SubscriptionData>,
    progress: Arc<Progress>,
    sender: mpsc::Sender<Received>,
    changed: Arc<Notify>,
}

/// Hears from brokers that the members have changed.
struct Ear {
    changed: Arc<Notify>,
}

impl Handler for Ear {
    fn handle(&self, conn: &Conn, requests: Vec<Command>) {
        for request in requests {
            if request.request_code() == RequestCode::NOTIFY_CONSUMER_IDS_CHANGED {
                self.changed.notify_one();
            }
            if !request.is_oneway() {
                let remark = format!(" request type {} not supported", request.code);
                conn.reply(request.response(ResponseCode::REQUEST_CODE_NOT_SUPPORTED).with_remark(remark));
            }
        }
    }
}

impl Member {
    pub(crate) fn new(
        namesrv: &str,
        config: GroupConsumerConfig,
        progress: Arc<Progress>,
        sender: mpsc::Sender<Received>,
    ) -> Result<Self, ClientError> {
        let changed = Arc::new(Notify::new());
        let ear = Arc::new(Ear { changed: changed.clone() });
        let client = Client::with_handler(patient(config.timeout), ear, TransportMetrics::unregistered());
        let admin = Admin::from(Remote::new(client, namesrv, config.timeout)?);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let version = i64::try_from(now.as_millis()).unwrap_or(i64::MAX);
        let retry = format!("{}{}", bolide_wire::ids::RETRY_PREFIX, config.group);
        let subscriptions = vec![
            SubscriptionData::by_tags(&config.topic, &config.tags, version),
            SubscriptionData::by_tags(&retry, "*", version),
        ];
        Ok(Self {
            client_id: ProcessId::new().client_id(),
            puller: Puller::in_group(admin, &config.group),
            config,
            subscriptions,
            progress,
            sender,
            changed,
        })
    }

    fn admin(&self) -> &Admin {
        self.puller.admin()
    }

    /// Tells every broker of the topic that this member exists.
    pub(crate) async fn join(&self) -> Result<(), ClientError> {
        self.puller.queues(&self.config.topic).await?;
        self.heartbeat().await
    }

    async fn brokers(&self) -> Result<BTreeSet<String>, ClientError> {
        let queues = self.puller.queues(&self.config.topic).await?;
        Ok(queues.into_iter().map(|queue| queue.address).collect())
    }

    async fn heartbeat(&self) -> Result<(), ClientError> {
        let data = HeartbeatData {
            client_id: self.client_id.clone(),
            consumer_data_set: vec![ConsumerData {
                consume_from_where: match self.config.start {
                    StartAt::Latest => ConsumeFromWhere::LastOffset,
                    StartAt::Earliest => ConsumeFromWhere::FirstOffset,
                    StartAt::Time(_) => ConsumeFromWhere::Timestamp,
                },
                consume_type: ConsumeType::Passively,
                group_name: self.config.group.clone(),
                message_model: MessageModel::Clustering,
                subscription_data_set: self.subscriptions.clone(),
                unit_mode: false,
            }],
            ..HeartbeatData::default()
        };
        let body = serde_json::to_vec(&data)?;
        for addr in self.brokers().await? {
            let command = Command::request(RequestCode::HEART_BEAT).with_body(body.clone());
            self.admin().remote().ask(&addr, command).await?;
        }
        Ok(())
    }

    /// Tells every broker that this member is gone. One that does not hear it notices the closed connection.
    pub(crate) async fn leave(&self) {
        for addr in self.brokers().await.unwrap_or_default() {
            let command = Command::request(RequestCode::UNREGISTER_CLIENT)
                .with_ext("clientID", &self.client_id)
                .with_ext("consumerGroup", &self.config.group);
            let _ = self.admin().remote().ask(&addr, command).await;
        }
    }

    /// Heartbeats, rebalances and commits until told to stop.
    pub(crate) async fn keep_up(self: Arc<Self>, tracker: TaskTracker, stop: CancellationToken) {
        let mut reading: HashMap<QueueKey, CancellationToken> = HashMap::new();
        let mut commit = tokio::time::interval(COMMIT);
        let mut rebalance_at = Instant::now();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.changed.notified() => rebalance_at = Instant::now(),
                () = tokio::time::sleep_until(rebalance_at) => {
                    rebalance_at = Instant::now() + match self.rebalance(&mut reading, &tracker).await {
                        Ok(()) => REBALANCE,
                        Err(error) => {
                            tracing::warn!(%error, group = self.config.group, "cannot share the queues");
                            REBALANCE_RETRY
                        }
                    };
                }
                _ = commit.tick() => {
                    if let Err(error) = self.commit().await {
                        tracing::warn!(%error, group = self.config.group, "cannot commit");
                    }
                }
            }
        }
        for (_, task) in reading {
            task.cancel();
        }
    }

    async fn rebalance(
        self: &Arc<Self>,
        reading: &mut HashMap<QueueKey, CancellationToken>,
        tracker: &TaskTracker,
    ) -> Result<(), ClientError> {
        self.heartbeat().await?;
        let mut ours: HashMap<QueueKey, (Queue, StartAt)> = HashMap::new();
        for subscription in &self.subscriptions {
            let Some(route) = self.admin().route(&subscription.topic).await? else { continue };
            let queues = route::queues(&subscription.topic, &route, Use::Read);
            let Some(first) = queues.first() else { continue };
            let members = self.members(&first.address).await?;
            let start =
                if subscription.topic == self.config.topic { self.config.start } else { StartAt::Earliest };
            for queue in average(&queues, &members, &self.client_id) {
                let key =
                    QueueKey { topic: queue.topic.clone(), broker: queue.broker.clone(), queue: queue.id };
                ours.insert(key, (queue.clone(), start));
            }
        }
        let lost: Vec<QueueKey> = reading.keys().filter(|key| !ours.contains_key(*key)).cloned().collect();
        if !lost.is_empty() {
            self.commit().await?;
            for key in lost {
                if let Some(task) = reading.remove(&key) {
                    task.cancel();
                }
                self.progress.with(|queues| queues.remove(&key));
            }
        }
        for (key, (queue, start)) in ours {
            if !reading.contains_key(&key) {
                let stop = CancellationToken::new();
                reading.insert(key.clone(), stop.clone());
                let member = self.clone();
                tracker.spawn(async move {
                    tokio::select! {
                        () = member.read(key, queue, start) => {}
                        () = stop.cancelled() => {}
                    }
                });
            }
        }
        Ok(())
    }

    async fn members(&self, addr: &str) -> Result<Vec<String>, ClientError> {
        let command = Command::request(RequestCode::GET_CONSUMER_LIST_BY_GROUP)
            .with_ext("consumerGroup", &self.config.group);
        let answer = self.admin().remote().ask(addr, command).await?;
        let list: ConsumerIdList = body(addr, &answer)?;
        let mut members = list.consumer_id_list;
        members.sort();
        Ok(members)
    }

    async fn read(&self, key: QueueKey, queue: Queue, start: StartAt) {
        let subscription = self.subscriptions.iter().find(|subscription| subscription.topic == queue.topic);
        let tags = subscription.map_or("*", |subscription| &subscription.sub_string);
        let mut offset = loop {
            match self.first_offset(&queue, start).await {
                Ok(offset) => break offset,
                Err(error) => self.pause(&queue, &error).await,
            }
        };
        self.progress.with(|queues| queues.insert(key.clone(), Position { next: offset, committed: None }));
        loop {
            let pulled = self.puller.pull(&queue, offset, BATCH, Some(HOLD), tags).await;
            let messages = pulled.and_then(|pulled| {
                if pulled.status == PullStatus::Moved {
                    // somebody moved the group, or the messages are gone: what was read before no longer counts
                    self.progress.with(|queues| {
                        queues.insert(key.clone(), Position { next: pulled.next, committed: None });
                    });
                }
                offset = pulled.next;
                pulled.messages(&queue.broker)
            });
            match messages {
                Ok(messages) => {
                    for message in messages.into_iter().filter(|message| matches(tags, message)) {
                        if self.sender.send(message).await.is_err() {
                            return;
                        }
                    }
                }
                Err(error) => self.pause(&queue, &error).await,
            }
        }
    }

    async fn pause(&self, queue: &Queue, error: &ClientError) {
        tracing::warn!(%error, topic = queue.topic, queue = queue.id, "cannot read; trying again");
        tokio::time::sleep(PULL_PAUSE).await;
    }

    async fn first_offset(&self, queue: &Queue, start: StartAt) -> Result<i64, ClientError> {
        let known =
            self.admin().group_offset(&queue.address, &self.config.group, &queue.topic, queue.id).await?;
        match known {
            Some(offset) => Ok(offset),
            None => self.puller.start_offset(queue, start).await,
        }
    }

    /// Commits every queue whose position has moved.
    pub(crate) async fn commit(&self) -> Result<(), ClientError> {
        let due: Vec<(QueueKey, i64)> = self.progress.with(|queues| {
            let moved = queues.iter().filter(|(_, at)| at.committed != Some(at.next));
            moved.map(|(key, at)| (key.clone(), at.next)).collect()
        });
        if due.is_empty() {
            return Ok(());
        }
        let mut addresses: HashMap<String, Vec<Queue>> = HashMap::new();
        for (key, next) in due {
            if !addresses.contains_key(&key.topic) {
                let queues = self.puller.queues(&key.topic).await?;
                addresses.insert(key.topic.clone(), queues);
            }
            let queues = addresses.get(&key.topic).map(Vec::as_slice).unwrap_or_default();
            let Some(queue) = queues.iter().find(|queue| queue.broker == key.broker && queue.id == key.queue)
            else {
                continue;
            };
            self.admin()
                .commit_offset(&queue.address, &self.config.group, &key.topic, key.queue, next)
                .await?;
            self.progress.with(|queues| {
                if let Some(at) = queues.get_mut(&key) {
                    at.committed = Some(next);
                }
            });
        }
        Ok(())
    }
}
