//! Owns who is connected, what they subscribe to, and requests that are passed on to one client.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bolide_wire::Command;
use bolide_wire::RequestCode;
use bolide_wire::ResponseCode;
use bolide_wire::body::connection::{
    Connection, ConsumerConnection, ConsumerSubscription, ProducerConnection, ProducerInfo, ProducerTable,
};
use bolide_wire::body::group::GroupList;
use bolide_wire::body::heartbeat::SubscriptionData;
use bolide_wire::body::topic::TopicList;
use bolide_wire::header::group::{
    ConsumeMessageDirectly, GetConsumerConnectionList, GetConsumerRunningInfo, GetProducerConnectionList,
    QuerySubscriptionByConsumer, QueryTopicsByConsumer,
};
use bolide_wire::header::topic::TopicOnly;
use bolide_wire::message::OffsetMessageId;
use bytes::Bytes;

use super::Call;
use crate::clients::{Client, Subscription};
use crate::error::Failure;
use crate::reply::Reply;

/// How long a client may take to answer a request that is passed on.
const RELAY_WAIT: Duration = Duration::from_secs(10);
/// Clients before this version (3.1.8-SNAPSHOT) do not know the requests that are passed on.
const RELAY_VERSION: i32 = 62;

fn connection<C>(client: &Client<C>) -> Connection {
    Connection {
        client_addr: client.address.to_string(),
        client_id: client.id.to_string(),
        language: client.language.name().to_owned(),
        version: client.version,
    }
}

pub(super) fn subscription_data(subscription: &Subscription) -> SubscriptionData {
    let mut data = SubscriptionData {
        expression_type: Some(subscription.kind.as_str().to_owned()),
        sub_string: subscription.expression.clone(),
        sub_version: subscription.version,
        tags_set: subscription.tags.iter().cloned().collect(),
        topic: subscription.topic.clone(),
        ..SubscriptionData::default()
    };
    data.recompute_codes();
    data
}

/// Code 203.
pub(crate) fn consumers(call: &Call) -> Result<Reply, Failure> {
    let header = GetConsumerConnectionList::decode(&call.command.ext)?;
    let clients = call.broker.clients.read();
    let offline = || Failure::NotOnline(format!("the consumer group[{}] not online", header.consumer_group));
    let group = clients.consumer_group(&header.consumer_group).ok_or_else(offline)?;
    Reply::json(&ConsumerConnection {
        connection_set: group.members.values().map(connection).collect(),
        consume_from_where: group.style.consume_from_where,
        consume_type: group.style.consume_type,
        message_model: group.style.message_model,
        subscription_table: group
            .subscriptions
            .iter()
            .map(|(topic, subscription)| (topic.clone(), subscription_data(subscription)))
            .collect(),
    })
}

/// Code 204.
pub(crate) fn producers(call: &Call) -> Result<Reply, Failure> {
    let header = GetProducerConnectionList::decode(&call.command.ext)?;
    let clients = call.broker.clients.read();
    let connection_set: Vec<Connection> =
        clients.producers_of(&header.producer_group).map(connection).collect();
    if connection_set.is_empty() {
        return Err(Failure::Missing(format!("the producer group[{}] not exist", header.producer_group)));
    }
    Reply::json(&ProducerConnection { connection_set })
}

/// Code 328.
pub(crate) fn all_producers(call: &Call) -> Result<Reply, Failure> {
    let clients = call.broker.clients.read();
    let info = |client: &Client<_>| ProducerInfo {
        client_id: client.id.to_string(),
        language: client.language.name().to_owned(),
        last_update_timestamp: client.seen.0,
        remote_ip: client.address.to_string(),
        version: client.version,
    };
    let data: BTreeMap<String, Vec<ProducerInfo>> = clients
        .producer_groups()
        .map(|(group, members)| (group.to_string(), members.values().map(info).collect()))
        .collect();
    Reply::json(&ProducerTable { data })
}

/// Code 300: groups that subscribe to the topic now, or have offsets in it.
pub(crate) fn groups_of_topic(call: &Call) -> Result<Reply, Failure> {
    let header = TopicOnly::decode(&call.command.ext)?;
    let live = call.broker.clients.read().groups_subscribed(&header.topic);
    let stored = call.broker.state.offsets.lock().groups_of(&header.topic);
    let group_list: BTreeSet<String> = live.iter().chain(&stored).map(ToString::to_string).collect();
    Reply::json(&GroupList { group_list })
}

/// Code 343.
pub(crate) fn topics_of_group(call: &Call) -> Result<Reply, Failure> {
    let header = QueryTopicsByConsumer::decode(&call.command.ext)?;
    let topics = call.broker.state.offsets.lock().topics_of(&header.group);
    let topic_list: BTreeSet<String> = topics.iter().map(ToString::to_string).collect();
    Reply::json(&TopicList { topic_list: topic_list.into_iter().collect(), ..TopicList::default() })
}

/// Code 345.
pub(crate) fn subscription(call: &Call) -> Result<Reply, Failure> {
    let header = QuerySubscriptionByConsumer::decode(&call.command.ext)?;
    let topic = header.topic.unwrap_or_default();
    let clients = call.broker.clients.read();
    let known = clients.consumer_group(&header.group).and_then(|group| group.subscriptions.get(&topic));
    let subscription_data = known.map(|subscription| subscription_data(subscription));
    Reply::json(&ConsumerSubscription { group: header.group, subscription_data, topic })
}

/// Code 307: the client's own words, unread.
pub(crate) async fn running_info(call: Call) -> Result<Reply, Failure> {
    let header = GetConsumerRunningInfo::decode(&call.command.ext)?;
    let mut request = Command::request(RequestCode::GET_CONSUMER_RUNNING_INFO);
    request.ext = call.command.ext.clone();
    relay(&call, &header.consumer_group, &header.client_id, request).await
}

/// Code 309: a stored message is consumed by one client, outside its turn.
pub(crate) async fn consume_directly(call: Call) -> Result<Reply, Failure> {
    let header = ConsumeMessageDirectly::decode(&call.command.ext)?;
    let missing = |what: &str| Failure::Parameter(format!("{what} is missing"));
    let id = header.msg_id.as_deref().ok_or_else(|| missing("msgId"))?;
    let id: OffsetMessageId =
        id.parse().map_err(|_| Failure::Parameter(format!("[{id}] is no offset message id")))?;
    let record = call.record(id.offset.to_wire()).await?;
    let client = match header.client_id {
        Some(client) => client,
        None => {
            let clients = call.broker.clients.read();
            let ids = clients
                .consumer_group(&header.consumer_group)
                .map(|group| group.client_ids())
                .unwrap_or_default();
            ids.first().map(ToString::to_string).ok_or_else(|| offline(&header.consumer_group, "*"))?
        }
    };
    let mut request = Command::request(RequestCode::CONSUME_MESSAGE_DIRECTLY);
    for (key, value) in &call.command.ext {
        if key != "brokerName" {
            request.ext.insert(&key, &value);
        }
    }
    request.ext.insert("brokerName", &call.broker.names.broker);
    request.body = record;
    relay(&call, &header.consumer_group, &client, request).await
}

fn offline(group: &str, client: &str) -> Failure {
    Failure::Missing(format!("The Consumer <{group}> <{client}> not online"))
}

async fn relay(call: &Call, group: &str, client: &str, request: Command) -> Result<Reply, Failure> {
    let channel = {
        let clients = call.broker.clients.read();
        let member = clients.consumer_group(group).and_then(|known| known.member(client));
        let member = member.ok_or_else(|| offline(group, client))?;
        if member.version < RELAY_VERSION {
            return Err(Failure::Missing(format!(
                "The Consumer <{client}> version {} is too old",
                member.version
            )));
        }
        member.channel.clone()
    };
    let answer = channel.request(request, RELAY_WAIT).await;
    let answer = answer
        .map_err(|error| Failure::ClientTimeout(format!("the consumer <{group}> <{client}>: {error}")))?;
    let mut reply = Reply::code(ResponseCode(answer.code)).with_body(Bytes::clone(&answer.body));
    if let Some(remark) = answer.remark {
        reply = reply.with_remark(remark);
    }
    Ok(reply)
}
