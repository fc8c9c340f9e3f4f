//! Owns messages that a consumer gives back: they come again after a delay, or go to the dead-letter topic.

use bolide_store::{AppendBatch, Refused};
use bolide_wire::header::send::ConsumerSendMsgBack;
use bolide_wire::ids::{EpochMillis, TopicName};
use bolide_wire::message::{NewRecord, RecordRef, encode_record};
use bolide_wire::properties::{Properties, names};
use tokio::sync::oneshot;

use super::Call;
use super::send::retry::SAYS_MAX_RECONSUME_TIMES;
use crate::delay::place::{When, horizon_ms};
use crate::delay::{retry_delay_ms, retry_level};
use crate::error::{Failure, Forbidden};
use crate::reply::Reply;
use crate::rewrite;
use crate::state::groups::Group;

/// What the message carries from an earlier wait.
const FROM_BEFORE: &[&str] = &[
    names::DELAY_SRC,
    names::POP_SRC,
    names::DELAY,
    names::REAL_TOPIC,
    names::REAL_QID,
    names::WAIT,
    names::TIMER_OUT_MS,
    names::TIMER_ENQUEUE_MS,
    names::TIMER_DEQUEUE_MS,
    names::TIMER_ROLL_TIMES,
];

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
    for name in FROM_BEFORE {
        properties.remove(name);
    }
    properties.set(names::RETRY_TOPIC, &origin);
    let first_id = record.properties().get(names::ORIGIN_MESSAGE_ID).map(str::to_owned);
    let first_id = first_id.unwrap_or_else(|| record.offset_message_id().to_string());
    properties.set(names::ORIGIN_MESSAGE_ID, &first_id);
    let (topic, when) = if dead {
        let dead = broker.make_internal_topic(TopicName::dlq_of(&group.name), 1).await?;
        properties.set(names::DLQ_ORIGIN_TOPIC, &origin);
        properties
            .set(names::DLQ_ORIGIN_MESSAGE_ID, record.properties().get(names::UNIQ_KEY).unwrap_or(&first_id));
        (dead, When::Now)
    } else {
        (retry, when(&call, &header, &group, times))
    };
    if let When::Level(level) = when {
        properties.set(names::DELAY, &level.to_string());
    }
    let target = topic.queue(&broker.store, topic.any_write_queue());
    let mut say = |name: &str, value: &str| properties.set(name, value);
    let place = broker.place(when, target, record.properties().tags_code(), &mut say);
    if when != When::Now {
        rewrite::check_room(properties.as_str())?;
    }
    let stored = &place.queue;
    let new = NewRecord {
        sys_flag: super::send::one::stored_flags(record.sys_flag()),
        reconsume_times: times.saturating_add(1),
        prepared_transaction_offset: 0,
        ..rewrite::rewritten(broker, &record, stored.topic(), stored.id(), properties.as_str())
    };
    let mut batch = AppendBatch::default();
    let too_long = |_| Failure::MessageIllegal("msg properties length limit 32767");
    let mut entry = place.entry(encode_record(&new, &mut batch.buf).map_err(too_long)?);
    entry.client = true;
    let (unique, keys) = (properties.get(names::UNIQ_KEY), properties.get(names::KEYS));
    rewrite::index_keys(&mut entry, stored.topic(), unique, keys);
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

/// When a failed message comes again: as the client says, or by the group's policy, or by the delay levels.
fn when(call: &Call, header: &ConsumerSendMsgBack, group: &Group, times: i32) -> When {
    let broker = &call.broker;
    let live = broker.live.load();
    if header.delay_level == 0
        && live.config.timer_wheel_enable
        && let Some(ms) = retry_delay_ms(&group.config.group_retry_policy, times)
    {
        let ms = ms.min(horizon_ms(&live.config));
        return if ms == 0 {
            When::Now
        } else {
            When::At(EpochMillis(broker.clock.now().0.saturating_add(ms)))
        };
    }
    let level = if header.delay_level == 0 { retry_level(times) } else { header.delay_level };
    broker.levels.clamp(level).map_or(When::Now, When::Level)
}

fn most_times(call: &Call, header: &ConsumerSendMsgBack, group: &Group) -> i32 {
    let said = header.max_reconsume_times.filter(|_| call.command.version >= SAYS_MAX_RECONSUME_TIMES);
    said.unwrap_or(group.config.retry_max_times)
}
