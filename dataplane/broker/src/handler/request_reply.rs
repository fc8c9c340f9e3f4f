//! Owns replies to requests: a reply goes straight to the connection of the client that asked, and is stored on the side.
//!
//! The requester's client id stands in the reply's properties; it must have registered with this broker as a producer. Bounded
//! by the calls that one connection may have outstanding. What the replier is told is whether the requester has the reply:
//! the stored copy, which nobody waits for, changes nothing about that.

use std::time::Duration;

use bolide_wire::header::reply::PushReplyMessage;
use bolide_wire::header::send::{SendMessage, SendMessageResponse, SendMessageV2};
use bolide_wire::properties::{Properties, names};
use bolide_wire::{Command, RequestCode};

use super::Call;
use super::send::{Sends, any_queue};
use crate::error::{Failure, Forbidden};
use crate::reply::Reply;

/// How long the requester may take to accept the reply.
const PUSH_WAIT: Duration = Duration::from_secs(10);

/// Codes 324 and 325.
pub(crate) async fn push(call: Call) -> Result<Reply, Failure> {
    let long = call.command.request_code() == RequestCode::SEND_REPLY_MESSAGE;
    let header = if long {
        SendMessageV2::from(SendMessage::decode(&call.command.ext)?)
    } else {
        SendMessageV2::decode(&call.command.ext)?
    };
    let broker = &call.broker;
    let live = broker.live();
    let forbidden =
        |what, name: &str| Failure::Forbidden { what, name: name.into(), verb: "sending message" };
    if !live.config.writable() {
        return Err(forbidden(Forbidden::Broker, &broker.names.broker));
    }
    let no_topic = || Failure::NoTopic(header.topic.to_string());
    let topic = broker.state.topics.find(&header.topic).ok_or_else(no_topic)?;
    if topic.protected {
        return Err(Failure::ProtectedTopic(header.topic.to_string()));
    }
    if !topic.writable() {
        return Err(forbidden(Forbidden::Topic, &topic.name));
    }
    let queue = any_queue(&topic, header.queue_id)?;
    let pushed = push_to_requester(&call, &header).await;
    if live.config.store_reply_message_enable {
        store(&call, long);
    }
    pushed?;
    let answer = SendMessageResponse {
        // What is stored comes later; clients only ask that the fields are there.
        msg_id: "0".into(),
        queue_id: queue.to_wire(),
        queue_offset: 0,
        transaction_id: None,
        batch_uniq_id: None,
        recall_handle: None,
        region: Some(live.config.region_id.clone()),
        trace_on: Some(live.config.trace_on),
    };
    Ok(Reply::header(&answer))
}

async fn push_to_requester(call: &Call, header: &SendMessageV2<'_>) -> Result<(), Failure> {
    let broker = &call.broker;
    let mut properties =
        Properties::from_encoded(header.properties.as_deref().unwrap_or_default().to_owned());
    let Some(requester) = properties.get(names::REPLY_TO_CLIENT).map(str::to_owned) else {
        return Err(Failure::Missing(format!(
            "reply message properties[{}] is null",
            names::REPLY_TO_CLIENT
        )));
    };
    let channel = broker.clients.read().producer(&requester).cloned();
    let Some(channel) = channel else {
        return Err(Failure::Missing(format!(
            "push reply message fail, channel of <{requester}> not found."
        )));
    };
    let now = broker.clock.now();
    properties.set(names::PUSH_REPLY_TIME, &now.0.to_string());
    let request = Command::request(RequestCode::PUSH_REPLY_MESSAGE_TO_CLIENT)
        .with_header(&PushReplyMessage {
            producer_group: header.producer_group.to_string(),
            topic: header.topic.to_string(),
            default_topic: header.default_topic.to_string(),
            default_topic_queue_nums: header.default_topic_queue_nums,
            queue_id: header.queue_id,
            sys_flag: header.sys_flag,
            born_timestamp: header.born_timestamp,
            flag: header.flag,
            properties: Some(properties.into_encoded()),
            reconsume_times: header.reconsume_times,
            unit_mode: header.unit_mode,
            born_host: call.conn.peer().to_string(),
            store_host: broker.store_host.to_string(),
            store_timestamp: now,
        })
        .with_body(call.command.body.clone());
    let failed = || Failure::Missing(format!("push reply message to {requester} fail."));
    let answer = channel.request(request, PUSH_WAIT).await.map_err(|_| failed())?;
    if answer.code == 0 { Ok(()) } else { Err(failed()) }
}

/// Stores a copy in the reply topic, without an answer.
fn store(call: &Call, long: bool) {
    let mut copy = call.command.clone().oneway();
    copy.code = if long { RequestCode::SEND_MESSAGE } else { RequestCode::SEND_MESSAGE_V2 }.0;
    let mut sends = Sends::new(&call.broker, &call.conn);
    sends.add(copy);
    sends.finish();
}
