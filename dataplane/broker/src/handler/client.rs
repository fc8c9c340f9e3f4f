//! Owns what clients say of themselves: heartbeats, farewells, group membership, queue locks.

use bolide_wire::body::connection::ConsumerIdList;
use bolide_wire::body::heartbeat::{CheckClientConfig, ConsumerData, HeartbeatData, SubscriptionData};
use bolide_wire::body::lock::{LockBatchRequest, LockBatchResponse};
use bolide_wire::header::consumer::{GetConsumerListByGroup, UnregisterClient};
use bolide_wire::ids::{GroupName, TopicName};
use bolide_wire::json;

use super::Call;
use crate::broker::Broker;
use crate::clients::subscription::ExpressionKind;
use crate::clients::{Change, Client, ConsumeStyle, Registration, Subscription};
use crate::error::Failure;
use crate::reply::{self, Reply};
use crate::state::grants::Grant;

/// Code 34. Waits only when a group or its retry topic must be made first.
pub(crate) fn heartbeat(call: Call) {
    let data: HeartbeatData = match json::from_slice(&call.command.body) {
        Ok(data) => data,
        Err(error) => return finish(&call, Err(error.into())),
    };
    let complete = data.consumer_data_set.iter().all(|consumer| is_made(&call, &consumer.group_name));
    if complete {
        let outcome = register(&call, data);
        return finish(&call, outcome);
    }
    let conn = call.conn.clone();
    conn.spawn(async move {
        for consumer in &data.consumer_data_set {
            if let Err(failure) = make(&call, &consumer.group_name).await {
                // As upstream: the group is passed over, the heartbeat succeeds.
                tracing::debug!(group = %consumer.group_name, error = %failure, "group of a heartbeat not made");
            }
        }
        let outcome = register(&call, data);
        finish(&call, outcome);
    });
}

fn finish(call: &Call, outcome: Result<Reply, Failure>) {
    if !call.command.is_oneway() {
        call.conn.reply(reply::answer(&call.command, outcome));
    }
}

fn retry_topic(group: &str) -> Option<TopicName> {
    GroupName::new(group).ok().map(|group| TopicName::retry_of(&group))
}

fn is_made(call: &Call, group: &str) -> bool {
    let state = &call.broker.state;
    state.groups.find(group).is_some()
        && retry_topic(group).is_some_and(|topic| state.topics.find(&topic).is_some())
}

async fn make(call: &Call, group: &str) -> Result<(), Failure> {
    let group = call.broker.make_group(group).await?;
    call.broker.make_internal_topic(TopicName::retry_of(&group.name), group.config.retry_queue_nums).await?;
    Ok(())
}

fn register(call: &Call, data: HeartbeatData) -> Result<Reply, Failure> {
    let broker = &call.broker;
    let now = broker.clock.now();
    let client = Client {
        channel: call.conn.clone(),
        connection: call.conn.id().0,
        id: data.client_id.as_str().into(),
        language: call.command.language,
        version: call.command.version,
        address: call.conn.peer(),
        seen: now,
    };
    let mut changed = Vec::new();
    let mut fingerprint_changed = false;
    for consumer in data.consumer_data_set {
        let Some(group) = broker.state.groups.find(&consumer.group_name) else { continue };
        let sent = registration(broker, consumer, data.without_sub, data.heartbeat_fingerprint, now.0);
        let Change { notify, fingerprint } =
            broker.clients.write().register_consumer(&group.name, client.clone(), sent);
        fingerprint_changed |= fingerprint;
        if notify {
            changed.push(group.name.clone());
        }
    }
    for producer in data.producer_data_set {
        if let Ok(group) = GroupName::internal(&producer.group_name) {
            broker.clients.write().register_producer(&group, client.clone());
        }
    }
    if call.conn.is_closed() {
        // The close event may have come before the registration.
        changed.extend(broker.clients.write().disconnect(call.conn.id().0));
    }
    broker.notify_groups(&changed);
    let full_form = data.heartbeat_fingerprint == 0 || fingerprint_changed;
    Ok(Reply::ok()
        .with_ext("IS_SUPPORT_HEART_BEAT_V2", "true")
        .with_ext("IS_SUB_CHANGE", if full_form { "true" } else { "false" }))
}

fn registration(
    broker: &Broker,
    consumer: ConsumerData,
    without_sub: bool,
    fingerprint: i32,
    now_ms: i64,
) -> Registration {
    let style = ConsumeStyle {
        consume_type: consumer.consume_type,
        message_model: consumer.message_model,
        consume_from_where: consumer.consume_from_where,
    };
    let sent = consumer.subscription_data_set.into_iter();
    let subscriptions = sent.map(|data| subscription(broker, data, now_ms)).collect();
    Registration { style, subscriptions: (!without_sub).then_some(subscriptions), fingerprint }
}

/// Tag hashes are made anew from the tags: not every client hashes as Java does. As upstream, an expression that does not
/// compile fails no heartbeat, which may be about other groups too: the pulls of that subscription are refused.
fn subscription(broker: &Broker, data: SubscriptionData, now_ms: i64) -> Subscription {
    let version = if data.sub_version == 0 { now_ms } else { data.sub_version };
    match ExpressionKind::parse(data.expression_type.as_deref()) {
        Some(ExpressionKind::Sql92) => {
            let compiled = broker.selectors.compile(&data.sub_string);
            Subscription::sql(&data.topic, &data.sub_string, version, compiled)
        }
        _ => Subscription::tags(&data.topic, &data.sub_string, version),
    }
}

/// Code 35.
pub(crate) fn unregister(call: &Call) -> Result<Reply, Failure> {
    let header = UnregisterClient::decode(&call.command.ext)?;
    let connection = call.conn.id().0;
    if let Some(group) = &header.producer_group {
        call.broker.clients.write().unregister_producer(group, connection);
    }
    if let Some(group) = header.consumer_group.as_deref().and_then(|group| GroupName::internal(group).ok()) {
        let was = call.broker.clients.write().unregister_consumer(&group, connection);
        if was {
            call.broker.notify_group(&group);
        }
    }
    Ok(Reply::ok())
}

/// Code 38.
pub(crate) fn members(call: &Call) -> Result<Reply, Failure> {
    let header = GetConsumerListByGroup::decode(&call.command.ext)?;
    let clients = call.broker.clients.read();
    let members =
        clients.consumer_group(&header.consumer_group).map(|group| group.client_ids()).unwrap_or_default();
    if members.is_empty() {
        return Err(Failure::Missing(format!("no consumer for this group, {}", header.consumer_group)));
    }
    Reply::json(&ConsumerIdList { consumer_id_list: members.iter().map(|id| id.to_string()).collect() })
}

/// Code 46.
pub(crate) fn check_config(call: &Call) -> Result<Reply, Failure> {
    let body: CheckClientConfig = json::from_slice(&call.command.body)?;
    let data = body.subscription_data;
    call.broker
        .subscription(&data.topic, data.expression_type.as_deref(), &data.sub_string, data.sub_version)
        .map(|_| Reply::ok())
}

/// Code 41. With replicas, an owner is told only when the log says so: then the next master knows it too.
pub(crate) async fn lock(call: Call) -> Result<Reply, Failure> {
    let body: LockBatchRequest = json::from_slice(&call.command.body)?;
    let group = GroupName::internal(&body.consumer_group)?;
    let now = call.broker.clock.now();
    let (held, queues) = call.broker.locks.lock().lock(&group, &body.client_id, body.mq_set, now);
    if call.broker.replication.get().is_some() && !queues.is_empty() {
        let take = vec![Grant {
            group: body.consumer_group,
            client: body.client_id.clone(),
            queues: queues.clone(),
        }];
        if let Err(failure) = call.broker.log_locks(take, Vec::new()).await {
            call.broker.locks.lock().unlock(&group, &body.client_id, &queues);
            return Err(failure);
        }
    }
    Reply::json(&LockBatchResponse { lock_ok_mq_set: held })
}

/// Code 42.
pub(crate) async fn unlock(call: Call) -> Result<Reply, Failure> {
    let body: LockBatchRequest = json::from_slice(&call.command.body)?;
    let gone = call.broker.locks.lock().unlock(&body.consumer_group, &body.client_id, &body.mq_set);
    if call.broker.replication.get().is_some() && !gone.is_empty() {
        let give = Grant { group: body.consumer_group, client: body.client_id, queues: gone };
        call.broker.log_locks(Vec::new(), vec![give]).await?;
    }
    Ok(Reply::ok())
}
