//! Owns offsets: those that groups commit, and those that queues have.

use std::sync::Arc;

use bolide_store::{Boundary, Queue};
use bolide_wire::header::consumer::{
    GetEarliestMsgStoreTime, GetMaxOffset, GetMinOffset, OffsetResponse, QueryConsumerOffset, SearchOffset,
    TimestampResponse, UpdateConsumerOffset,
};
use bolide_wire::ids::{EpochMillis, QueueId, QueueOffset};

use super::Call;
use crate::error::Failure;
use crate::reply::Reply;

fn found(offset: QueueOffset) -> Result<Reply, Failure> {
    Ok(Reply::header(&OffsetResponse { offset: offset.0 }))
}

impl Call {
    /// A queue that the topic is configured to have, or the store holds.
    pub(crate) fn queue(&self, topic: &str, asked: i32) -> Result<Arc<Queue>, Failure> {
        let illegal = || Failure::Parameter(format!("queueId[{asked}] of topic [{topic}] is illegal"));
        let queue = QueueId::from_wire(asked).ok_or_else(illegal)?;
        let known = self.broker.state.topics.find(topic).ok_or_else(|| Failure::NoTopic(topic.into()))?;
        if queue.0 < known.queues() {
            return Ok(known.queue(&self.broker.store, queue));
        }
        self.broker.store.queue(&known.name, queue).ok_or_else(illegal)
    }
}

/// Code 14. A group without an offset starts at 0 of a queue that still has its first message, whatever the group's own
/// setting: upstream asks whether that message is in memory, which makes the answer a matter of chance.
pub(crate) fn query(call: &Call) -> Result<Reply, Failure> {
    let header = QueryConsumerOffset::decode(&call.command.ext)?;
    let queue = QueueId::from_wire(header.queue_id).unwrap_or_default();
    let committed = call.broker.state.offsets.lock().committed(&header.consumer_group, &header.topic, queue);
    if let Some(offset) = committed {
        return found(offset);
    }
    let none = || Failure::NotFound("Not found, maybe this group consumer boot first".into());
    if !header.set_zero_if_not_found.unwrap_or(true) {
        return Err(none());
    }
    match call.queue(&header.topic, header.queue_id) {
        Ok(queue) if queue.min().0 <= 0 => found(QueueOffset(0)),
        _ => Err(none()),
    }
}

/// Code 15.
pub(crate) fn update(call: &Call) -> Result<Reply, Failure> {
    let header = UpdateConsumerOffset::decode(&call.command.ext)?;
    let state = &call.broker.state;
    let group = state
        .groups
        .find(&header.consumer_group)
        .ok_or_else(|| Failure::NoGroup(header.consumer_group.clone()))?;
    let topic = state.topics.find(&header.topic).ok_or_else(|| Failure::NoTopic(header.topic.clone()))?;
    let queue = QueueId::from_wire(header.queue_id)
        .ok_or_else(|| Failure::Parameter(format!("queueId[{}] is illegal", header.queue_id)))?;
    if header.commit_offset < 0 {
        return Err(Failure::Parameter("commitOffset is null or negative".into()));
    }
    state.offsets.lock().commit(&group.name, &topic.name, queue, QueueOffset(header.commit_offset));
    Ok(Reply::ok())
}

/// Code 30.
pub(crate) fn max(call: &Call) -> Result<Reply, Failure> {
    let header = GetMaxOffset::decode(&call.command.ext)?;
    found(call.queue(&header.topic, header.queue_id)?.max())
}

/// Code 31.
pub(crate) fn min(call: &Call) -> Result<Reply, Failure> {
    let header = GetMinOffset::decode(&call.command.ext)?;
    found(call.queue(&header.topic, header.queue_id)?.min())
}

/// Code 29.
pub(crate) async fn by_time(call: Call) -> Result<Reply, Failure> {
    let header = SearchOffset::decode(&call.command.ext)?;
    let queue = call.queue(&header.topic, header.queue_id)?;
    let upper =
        header.boundary_type.as_deref().is_some_and(|boundary| boundary.eq_ignore_ascii_case("upper"));
    let boundary = if upper { Boundary::Upper } else { Boundary::Lower };
    found(call.broker.offset_by_time(queue, header.timestamp, boundary).await?)
}

impl crate::broker::Broker {
    /// Offset of a queue's record at a time.
    pub(crate) async fn offset_by_time(
        &self,
        queue: Arc<Queue>,
        time: EpochMillis,
        boundary: Boundary,
    ) -> Result<QueueOffset, Failure> {
        self.cold_read(move |store| store.offset_by_time(&queue, time, boundary)).await
    }

    /// Store time of a queue's record.
    pub(crate) async fn store_time(
        &self,
        queue: Arc<Queue>,
        offset: QueueOffset,
    ) -> Result<Option<EpochMillis>, Failure> {
        self.cold_read(move |store| store.store_time(&queue, offset)).await
    }
}

/// Code 32.
pub(crate) async fn earliest(call: Call) -> Result<Reply, Failure> {
    let header = GetEarliestMsgStoreTime::decode(&call.command.ext)?;
    let queue = call.queue(&header.topic, header.queue_id)?;
    let first = queue.min();
    let time = call.broker.store_time(queue, first).await?;
    Ok(Reply::header(&TimestampResponse { timestamp: time.unwrap_or(EpochMillis(-1)) }))
}
