//! Owns acknowledgements of popped messages. Each is answered when it is in the log, or at once when the message is not out
//! any more: a late acknowledgement is no failure.

use std::sync::Arc;

use bolide_wire::body::pop::{BatchAck, BatchAckRequest};
use bolide_wire::header::pop::AckMessage;
use bolide_wire::ids::{EpochMillis, GroupName, QueueId, TopicName};
use bolide_wire::json;
use bolide_wire::pop::{Handle, ORDERED, PopSource};

use super::wait;
use crate::broker::Broker;
use crate::error::Failure;
use crate::handler::Call;
use crate::handler::pull::refuse;
use crate::pop::hold::WaitKey;
use crate::reply::{self, Reply};
use crate::state::pops::Acked;
use crate::state::pops::bits::Bits;
use crate::state::pops::change::{CheckpointId, PopKey};

/// Code 200051.
pub(crate) fn ack(call: Call) {
    if let Err(failure) = one(&call) {
        refuse(&call.conn, &call.command, failure);
    }
}

fn one(call: &Call) -> Result<(), Failure> {
    let header = AckMessage::decode(&call.command.ext)?;
    let handle = Handle::parse(&header.extra_info)?;
    let (key, min, max) = queue(&call.broker, &header.consumer_group, &header.topic, header.queue_id)?;
    if header.offset < min || header.offset > max {
        let text = format!("offset is illegal, commit:{}, store:{min}~{max}", header.offset);
        return Err(Failure::NoMessage(text));
    }
    let messages = Messages {
        id: CheckpointId(handle.start.0, handle.pop_time.0),
        ordered: handle.ordered(),
        offsets: vec![header.offset],
    };
    settle(call, &[(key, messages)])
}

/// Code 200151.
pub(crate) fn batch(call: Call) {
    if let Err(failure) = many(&call) {
        refuse(&call.conn, &call.command, failure);
    }
}

fn many(call: &Call) -> Result<(), Failure> {
    let request: BatchAckRequest = json::from_slice(&call.command.body)?;
    if request.acks.is_empty() {
        return Err(Failure::NoMessage("the request names no message".into()));
    }
    let mut all = Vec::new();
    for ack in &request.acks {
        let illegal = Failure::MessageIllegal("an acknowledgement names no message");
        let Some(offsets) = offsets_of(ack) else { return Err(illegal) };
        let source = PopSource::parse(&ack.retry).ok_or(illegal)?;
        let group = GroupName::internal(&ack.consumer_group)?;
        let topic = source.topic(&TopicName::internal(&ack.topic)?, &group)?;
        // As in the original, one that names no queue does not hold up the others.
        let Ok((key, min, max)) = queue(&call.broker, &group, &topic, ack.queue_id) else { continue };
        let offsets = offsets.into_iter().filter(|offset| (min..=max).contains(offset)).collect();
        let id = CheckpointId(ack.start_offset, EpochMillis(ack.pop_time).0);
        all.push((key, Messages { id, ordered: ack.revive_queue_id == ORDERED, offsets }));
    }
    settle(call, &all)
}

fn offsets_of(ack: &BatchAck) -> Option<Vec<i64>> {
    let distances = ack.distances()?;
    Some(distances.into_iter().map(|distance| ack.start_offset.saturating_add(i64::from(distance))).collect())
}

/// The queue as the group pops it, and the offsets that it has. What was given of a queue that is read no more can still be
/// acknowledged.
pub(super) fn queue(
    broker: &Broker,
    group: &str,
    topic: &str,
    queue: i32,
) -> Result<(PopKey, i64, i64), Failure> {
    let topic = broker.state.topics.find(topic).ok_or_else(|| Failure::NoTopic(topic.into()))?;
    let id = QueueId::from_wire(queue);
    let stored = id.and_then(|id| match id {
        id if queue < topic.config.read_queue_nums => Some(topic.queue(&broker.store, id)),
        id => broker.store.queue(&topic.name, id),
    });
    let stored = stored.ok_or(Failure::MessageIllegal("the queue does not exist"))?;
    let group = match broker.state.groups.find(group) {
        Some(group) => group.name.clone(),
        None => GroupName::internal(group)?,
    };
    let key = PopKey { group, topic: topic.name.clone(), queue: stored.id() };
    Ok((key, stored.min().0, stored.max().0))
}

/// Messages of one checkpoint.
struct Messages {
    id: CheckpointId,
    ordered: bool,
    offsets: Vec<i64>,
}

/// Journals acknowledgements and answers when they are in the log.
fn settle(call: &Call, all: &[(PopKey, Messages)]) -> Result<(), Failure> {
    let broker = &call.broker;
    let (mut journaled, mut illegal) = (false, false);
    {
        let mut pops = broker.state.pops.lock();
        pops.journal.check()?;
        for (key, Messages { id, ordered, offsets }) in all {
            if !*ordered {
                let bits = Bits::of(id.start(), offsets.iter().copied());
                journaled |= pops.ack(key, *id, &bits) == Acked::Journaled;
                continue;
            }
            for offset in offsets {
                match pops.settle_ordered(key, id.pop_time(), *offset, None) {
                    Acked::Journaled => journaled = true,
                    Acked::NotOut => {}
                    Acked::Illegal => illegal = true,
                }
            }
        }
        if journaled {
            let (conn, command) = (call.conn.clone(), call.command.clone());
            let unlocked: Vec<PopKey> =
                all.iter().filter(|(_, messages)| messages.ordered).map(|(key, _)| key.clone()).collect();
            let broker = broker.clone();
            pops.journal.wait(Box::new(move |logged| {
                let outcome = logged.map_err(Failure::from).and_then(|()| accepted(illegal));
                if !command.is_oneway() {
                    conn.reply(reply::answer(&command, outcome));
                }
                // An ordered queue may be free now.
                unlocked.iter().for_each(|key| wake(&broker, key));
            }));
        }
    }
    if journaled {
        broker.popping.journal.notify_one();
    } else if !call.command.is_oneway() {
        call.conn.reply(accepted(illegal)?.answer(&call.command));
    }
    Ok(())
}

fn accepted(illegal: bool) -> Result<Reply, Failure> {
    let refused = Failure::MessageIllegal("a message was not given in this batch");
    if illegal { Err(refused) } else { Ok(Reply::ok()) }
}

/// Wakes those who wait for what a queue belongs to.
pub(crate) fn wake(broker: &Arc<Broker>, key: &PopKey) {
    let topic = key.asked_for();
    wait::wake(broker, &WaitKey { topic, group: key.group.clone() }, None);
}
