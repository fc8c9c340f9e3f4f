//! Owns messages that a consumer gives back: they come again after a delay, or go to the dead-letter topic.

use bolide_store::{AppendBatch, Entry, Refused, Tags, index_hash};
use bolide_wire::header::send::ConsumerSendMsgBack;
use bolide_wire::ids::{QueueId, TopicName};
use bolide_wire::message::{NewRecord, RecordRef, encode_record};
use bolide_wire::properties::{Properties, names};
use tokio::sync::oneshot;

use super::Call;
use super::send::retry::SAYS_MAX_RECONSUME_TIMES;
use crate::delay::retry_level;
use crate::error::{Failure, Forbidden};
use crate::reply::Reply;
use crate::state::groups::Group;

/// Code 36.
pub(crate) async fn send_back(call: Call) -> Result<Reply, Failure> {
    let header = ConsumerSendMsgBack::decode(&call.command.ext)?;
    let broker = &call.broker;
    let group =
        broker.state.groups.find(&header.group).ok_or_else(|| Failure::NoGroup(header.group.clone()))?;
    let forbidden =
        |what, name: &str| Failure::Forbidden { what, name: name.into(), verb: "sending message" };
    if !broker.live.load().config.writable() {
        return Err(forbidden(Forbidden::Broker, &broker.names.broker));
    }
    if group.config.retry_queue_nums <= 0 {
        return Ok(Reply::ok());
    }
    let retry = TopicName::retry_of(&group.name);
    let retry = broker.make_internal_topic(retry, group.config.retry_queue_nums).await?;
    if !retry.writable() {
        return Err(forbidden(Forbidden::Topic, &retry.name));
    }
    let bytes = call.record(header.offset).await?;
    let unreadable = |_| Failure::Missing(format!("look message by offset failed, {}", header.offset));
    let record = RecordRef::parse(&bytes).map_err(unreadable)?;
    let times = record.reconsume_times();
    let dead = header.delay_level < 0 || times >= most_times(&call, &header, &group);
    let origin = record.properties().get(names::RETRY_TOPIC).unwrap_or(record.topic()).to_owned();
    let mut properties = Properties::from_encoded(record.properties().as_str().to_owned());
    for name in [names::DELAY_SRC, names::DELAY, names::REAL_TOPIC, names::REAL_QID, names::WAIT] {
        properties.remove(name);
    }
    properties.set(names::RETRY_TOPIC, &origin);
    let first_id = record.properties().get(names::ORIGIN_MESSAGE_ID).map(str::to_owned);
    let first_id = first_id.unwrap_or_else(|| record.offset_message_id().to_string());
    properties.set(names::ORIGIN_MESSAGE_ID, &first_id);
    let level = if header.delay_level == 0 { retry_level(times) } else { header.delay_level };
    let (topic, level) = if dead {
        let dead = broker.make_internal_topic(TopicName::dlq_of(&group.name), 1).await?;
        properties.set(names::DLQ_ORIGIN_TOPIC, &origin);
        properties
            .set(names::DLQ_ORIGIN_MESSAGE_ID, record.properties().get(names::UNIQ_KEY).unwrap_or(&first_id));
        (dead, None)
    } else {
        (retry, broker.levels.clamp(level))
    };
    let queue = topic.any_write_queue();
    let (stored, tags) = match level {
        None => (topic.queue(&broker.store, queue), Tags::Hash(record.properties().tags_code())),
        Some(level) => {
            properties.set(names::DELAY, &level.to_string());
            properties.set(names::REAL_TOPIC, &topic.name);
            properties.set(names::REAL_QID, &queue.0.to_string());
            let level_queue = broker.schedule.queue(&broker.store, QueueId(level.saturating_sub(1)));
            (level_queue, Tags::DeliverAfter(broker.levels.delay_ms(level)))
        }
    };
    let new = NewRecord {
        topic: stored.topic(),
        queue_id: stored.id(),
        flag: record.flag(),
        sys_flag: super::send::one::stored_flags(record.sys_flag()),
        born_timestamp: record.born_timestamp(),
        born_host: record.born_host(),
        store_host: broker.store_host,
        reconsume_times: times.saturating_add(1),
        prepared_transaction_offset: 0,
        body: record.body(),
        properties: properties.as_str(),
    };
    let mut batch = AppendBatch::default();
    let too_long = |_| Failure::MessageIllegal("msg properties length limit 32767");
    let mut entry = Entry::new(encode_record(&new, &mut batch.buf).map_err(too_long)?, stored.clone());
    entry.tags = tags;
    let keys = properties.get(names::KEYS).into_iter().flat_map(|keys| keys.split(' '));
    for key in properties.get(names::UNIQ_KEY).into_iter().chain(keys).filter(|key| !key.is_empty()) {
        entry.keys.push(index_hash(stored.topic(), key));
    }
    batch.entries.push(entry);
    let (sender, receiver) = oneshot::channel();
    // Nobody listening any more is no failure of the append.
    let done = Box::new(move |placed| drop(sender.send(placed)));
    let appended = broker.store.append(batch, broker.full_ack(), done);
    appended.map_err(|Refused { reason, .. }| Failure::Refused(reason))?;
    receiver.await.map_err(|_| Failure::Stopping)??;
    if dead {
        group.counters.dead_letters.add(1);
    } else {
        let origin = TopicName::internal(&origin)?;
        group.counters.topic(&origin).sent_back.add(1);
    }
    Ok(Reply::ok())
}

fn most_times(call: &Call, header: &ConsumerSendMsgBack, group: &Group) -> i32 {
    let said = header.max_reconsume_times.filter(|_| call.command.version >= SAYS_MAX_RECONSUME_TIMES);
    said.unwrap_or(group.config.retry_max_times)
}
