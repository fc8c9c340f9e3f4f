//! Owns changes of a group's offsets from outside the group: reset, clone, and what members hold.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bolide_store::{Boundary, Queue};
use bolide_wire::body::MessageQueue;
use bolide_wire::body::offset::{
    ConsumerStatus, QueueWithOffset, ResetOffset as ResetBody, ResetOffsetForCpp,
};
use bolide_wire::body::queue::QueueMap;
use bolide_wire::header::group::{
    CloneGroupOffset, GetConsumerStatus, GetConsumerStatusFromClient, ResetConsumerClientOffset, ResetOffset,
};
use bolide_wire::ids::{QueueId, QueueOffset};
use bolide_wire::json::{self, IntegerKeys};
use bolide_wire::{Command, Language, RequestCode};

use super::Call;
use crate::error::Failure;
use crate::reply::Reply;
use crate::state::groups::Group;
use crate::state::topics::Topic;

/// How long a member may take to say what it holds.
const STATUS_WAIT: Duration = Duration::from_secs(5);
/// The timestamp that means the end of the queue.
const END: i64 = -1;

/// Code 222. By default the broker keeps the new offsets and its next pull tells each member; with
/// `useServerSideResetOffset` off, members are told, as before 5.0.
pub(crate) async fn reset(call: Call) -> Result<Reply, Failure> {
    let header = ResetOffset::decode(&call.command.ext)?;
    let state = &call.broker.state;
    let topic = state.topics.find(&header.topic).ok_or_else(|| Failure::NoTopic(header.topic.clone()))?;
    let group = state.groups.find(&header.group).ok_or_else(|| Failure::NoGroup(header.group.clone()))?;
    let targets = targets(&call, &topic, &header).await?;
    if call.broker.live.load().config.use_server_side_reset_offset {
        let mut offsets = state.offsets.lock();
        for (queue, offset) in &targets {
            offsets.reset(&group.name, &topic.name, *queue, *offset);
        }
        drop(offsets);
        return body(&call, &topic, targets, Language::Java);
    }
    let moved = moved(&call, &group, &topic, &header, targets)?;
    tell_members(&call, &header, &topic, &moved)?;
    body(&call, &topic, moved, call.command.language)
}

/// Where each queue is to go.
async fn targets(
    call: &Call,
    topic: &Topic,
    header: &ResetOffset,
) -> Result<BTreeMap<QueueId, QueueOffset>, Failure> {
    let queues: Vec<Arc<Queue>> = match QueueId::from_wire(header.queue_id) {
        Some(queue) if queue.0 < topic.queues() => vec![topic.queue(&call.broker.store, queue)],
        Some(queue) => return Err(Failure::Parameter(format!("queueId[{}] is illegal", queue.0))),
        None => (0..topic.queues()).map(|queue| topic.queue(&call.broker.store, QueueId(queue))).collect(),
    };
    let (offset, time) = (header.offset.filter(|offset| *offset >= 0), header.timestamp);
    let found = call.broker.cold_read(move |store| {
        let one = |queue: &Arc<Queue>| match offset {
            Some(offset) => Ok(QueueOffset(offset.clamp(queue.min().0, queue.max().0))),
            None if time.0 == END => Ok(queue.max()),
            None => store.offset_by_time(queue, time, Boundary::Lower),
        };
        queues.iter().map(|queue| Ok((queue.id(), one(queue)?))).collect::<std::io::Result<BTreeMap<_, _>>>()
    });
    found.await
}

/// Without force a queue only moves back, and one without a committed offset cannot move.
fn moved(
    call: &Call,
    group: &Group,
    topic: &Topic,
    header: &ResetOffset,
    mut targets: BTreeMap<QueueId, QueueOffset>,
) -> Result<BTreeMap<QueueId, QueueOffset>, Failure> {
    let offsets = call.broker.state.offsets.lock();
    for (queue, target) in &mut targets {
        let committed = offsets.committed(&group.name, &topic.name, *queue).ok_or_else(|| {
            Failure::Missing(format!(
                "the consumer group <{}> has no offset in queue {}",
                group.name, queue.0
            ))
        })?;
        if !header.force && committed < *target {
            *target = committed;
        }
    }
    Ok(targets)
}

fn queue_map(call: &Call, topic: &Topic, targets: &BTreeMap<QueueId, QueueOffset>) -> QueueMap<i64> {
    targets.iter().map(|(queue, offset)| (call.broker.message_queue(&topic.name, *queue), offset.0)).collect()
}

fn tell_members(
    call: &Call,
    header: &ResetOffset,
    topic: &Topic,
    targets: &BTreeMap<QueueId, QueueOffset>,
) -> Result<(), Failure> {
    let members = {
        let clients = call.broker.clients.read();
        let group = clients.consumer_group(&header.group);
        let group = group.ok_or_else(|| {
            Failure::NotOnline(format!(
                "Consumer not online, so can not reset offset, Group: {}",
                header.group
            ))
        })?;
        group.members.values().map(|member| member.channel.clone()).collect::<Vec<_>>()
    };
    let request_header = ResetConsumerClientOffset {
        topic: header.topic.clone(),
        group: header.group.clone(),
        timestamp: header.timestamp,
        force: header.force,
    };
    let table = ResetBody { offset_table: queue_map(call, topic, targets) };
    let body = json::to_vec(&table, IntegerKeys::Unquoted)?;
    for member in members {
        let request = Command::request(RequestCode::RESET_CONSUMER_CLIENT_OFFSET)
            .with_header(&request_header)
            .with_body(body.clone());
        // A connection that just closed is noticed by its own event.
        let _ = member.oneway(request);
    }
    Ok(())
}

fn body(
    call: &Call,
    topic: &Topic,
    targets: BTreeMap<QueueId, QueueOffset>,
    language: Language,
) -> Result<Reply, Failure> {
    if language != Language::Cpp {
        return Reply::json(&ResetBody { offset_table: queue_map(call, topic, &targets) });
    }
    let rows = targets.into_iter().map(|(queue, offset)| {
        let MessageQueue { broker_name, queue_id, topic } = call.broker.message_queue(&topic.name, queue);
        QueueWithOffset { broker_name, offset: offset.0, queue_id, topic }
    });
    Reply::json(&ResetOffsetForCpp { offset_table: rows.collect() })
}

/// Code 223: what each member, or the one named, has consumed.
pub(crate) async fn status(call: Call) -> Result<Reply, Failure> {
    let header = GetConsumerStatus::decode(&call.command.ext)?;
    let wanted = header.client_addr.as_deref().filter(|client| !client.is_empty());
    let members: Vec<_> = {
        let clients = call.broker.clients.read();
        let offline = || {
            Failure::NotOnline(format!("No Any Consumer online in the consumer group: [{}]", header.group))
        };
        let group = clients.consumer_group(&header.group).ok_or_else(offline)?;
        let members =
            group.members.values().filter(|member| wanted.is_none_or(|wanted| wanted == &*member.id));
        members.map(|member| (member.id.to_string(), member.channel.clone())).collect()
    };
    let request_header = GetConsumerStatusFromClient { topic: header.topic, group: header.group };
    let mut consumer_table = BTreeMap::new();
    for (id, channel) in members {
        let request =
            Command::request(RequestCode::GET_CONSUMER_STATUS_FROM_CLIENT).with_header(&request_header);
        let answer = channel.request(request, STATUS_WAIT).await;
        let answer =
            answer.map_err(|error| Failure::ClientTimeout(format!("the consumer <{id}>: {error}")))?;
        let status: ConsumerStatus = json::from_slice(&answer.body)?;
        consumer_table.insert(id, status.message_queue_table);
    }
    Reply::json(&ConsumerStatus { consumer_table, ..ConsumerStatus::default() })
}

/// Code 314.
pub(crate) fn clone_offsets(call: &Call) -> Result<Reply, Failure> {
    let header = CloneGroupOffset::decode(&call.command.ext)?;
    let state = &call.broker.state;
    let group = |name: &str| state.groups.find(name).ok_or_else(|| Failure::NoGroup(name.to_owned()));
    let (from, to) = (group(&header.src_group)?, group(&header.dest_group)?);
    let mut offsets = state.offsets.lock();
    let topics = match header.topic.as_deref().filter(|topic| !topic.is_empty()) {
        Some(topic) => {
            vec![state.topics.find(topic).ok_or_else(|| Failure::NoTopic(topic.into()))?.name.clone()]
        }
        None => offsets.topics_of(&from.name).into_iter().filter(|topic| !topic.is_retry()).collect(),
    };
    for topic in topics {
        for (queue, offset) in offsets.queues_of(&from.name, &topic) {
            offsets.commit(&to.name, &topic, queue, offset);
        }
    }
    Ok(Reply::ok())
}
