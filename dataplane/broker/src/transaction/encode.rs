//! Owns the records that half messages become: the committed message, the copy further on in the log, the discarded message.

use std::sync::Arc;

use bolide_store::{AppendBatch, Entry, Queue, Tags};
use bolide_wire::ids::{QueueId, TopicName};
use bolide_wire::message::{NewRecord, RecordRef, encode_record, sys_flag};
use bolide_wire::properties::{PropertiesRef, names, tags_code};

use super::HalfError;
use crate::broker::Broker;
use crate::delay::place::{TimerAsked, When};
use crate::error::Failure;
use crate::handler::send::properties::push;
use crate::rewrite;
use crate::state::topics::Topic;
use crate::state::transactions::{HalfId, Open, SOURCE_PROPERTY};

/// The properties of a half message, looked through once.
#[derive(Default)]
struct Looked<'a> {
    real_topic: Option<&'a str>,
    real_queue: Option<QueueId>,
    tags: Option<&'a str>,
    keys: Option<&'a str>,
    unique: Option<&'a str>,
    delay: i32,
    timer: TimerAsked<'a>,
}

impl<'a> Looked<'a> {
    fn new(properties: PropertiesRef<'a>) -> Looked<'a> {
        let mut looked = Looked::default();
        for (name, value) in properties {
            match name {
                names::REAL_TOPIC => looked.real_topic = Some(value),
                names::REAL_QID => looked.real_queue = value.parse().ok().map(QueueId),
                names::TAGS => looked.tags = Some(value),
                names::KEYS => looked.keys = Some(value),
                names::UNIQ_KEY => looked.unique = Some(value),
                names::DELAY => looked.delay = value.parse().unwrap_or(0),
                names::TIMER_DELAY_SEC => looked.timer.seconds = Some(value),
                names::TIMER_DELAY_MS => looked.timer.millis = Some(value),
                names::TIMER_DELIVER_MS => looked.timer.at = Some(value),
                _ => {}
            }
        }
        looked
    }

    fn entry(&self, len: u32, queue: Arc<Queue>) -> Entry {
        let mut entry = Entry::new(len, queue.clone());
        entry.tags = Tags::Hash(self.tags.map_or(0, tags_code));
        entry.state = true;
        rewrite::index_keys(&mut entry, queue.topic(), self.unique, self.keys);
        entry
    }
}

/// The properties without those named.
fn without(properties: PropertiesRef<'_>, names: &[&str]) -> String {
    let mut kept = String::with_capacity(properties.as_str().len().saturating_add(64));
    for (name, value) in properties.iter().filter(|(name, _)| !names.contains(name)) {
        push(&mut kept, name, value);
    }
    kept
}

/// The record as it is, in another queue and with other properties, and of no transaction yet.
fn rewritten<'a>(
    broker: &Broker,
    record: &RecordRef<'a>,
    queue: &'a Queue,
    properties: &'a str,
) -> NewRecord<'a> {
    NewRecord {
        prepared_transaction_offset: 0,
        ..rewrite::rewritten(broker, record, queue.topic(), queue.id(), properties)
    }
}

/// Adds the committed message of a half message: in its topic, or where it waits for its time. Returns its length in bytes.
///
/// As upstream it keeps the property `TRAN_MSG` and has the transaction bits "commit"; the prepared offset names the
/// transaction, which makes the message and the decision one record.
pub(crate) fn encode_committed(
    broker: &Broker,
    record: &RecordRef<'_>,
    id: HalfId,
    batch: &mut AppendBatch,
) -> Result<u32, Failure> {
    let looked = Looked::new(record.properties());
    let target = looked.real_topic.and_then(|topic| TopicName::internal(topic).ok()).zip(looked.real_queue);
    let (topic, queue) = target.ok_or(Failure::Internal("the half message names no topic and queue"))?;
    let mut properties = without(record.properties(), &[names::REAL_TOPIC, names::REAL_QID, SOURCE_PROPERTY]);
    let when = match broker.levels.clamp(looked.delay) {
        Some(level) => When::Level(level),
        None if looked.timer.any() => looked.timer.when(&broker.live.load().config, broker.clock.now())?,
        None => When::Now,
    };
    let target = broker.queue_of(&topic, queue);
    let mut say = |name: &str, value: &str| push(&mut properties, name, value);
    let place = broker.place(when, target, looked.tags.map_or(0, tags_code), &mut say);
    let new = NewRecord {
        sys_flag: sys_flag::with_transaction(record.sys_flag(), sys_flag::TRANSACTION_COMMIT),
        prepared_transaction_offset: i64::try_from(id.0).unwrap_or(i64::MAX),
        ..rewritten(broker, record, &place.queue, &properties)
    };
    let len = encode_record(&new, &mut batch.buf)
        .map_err(|_| Failure::MessageIllegal("msg properties length limit 32767"))?;
    let mut entry = looked.entry(len, place.queue.clone());
    entry.tags = place.tags;
    batch.entries.push(entry);
    Ok(len)
}

/// Adds a copy of a half message, which takes its place.
pub(super) fn encode_copy(
    broker: &Broker,
    record: &RecordRef<'_>,
    open: &Open,
    batch: &mut AppendBatch,
) -> Result<(), HalfError> {
    let mut properties = without(record.properties(), &[SOURCE_PROPERTY]);
    push(&mut properties, SOURCE_PROPERTY, &open.source().to_string());
    let queue = broker.half_queue();
    let new = rewritten(broker, record, &queue, &properties);
    let len = encode_record(&new, &mut batch.buf)?;
    batch.entries.push(Looked::new(record.properties()).entry(len, queue.clone()));
    Ok(())
}

/// Adds the message of a transaction that is given up, which ends it. It still says where it was for, as upstream.
pub(super) fn encode_discarded(
    broker: &Broker,
    topic: &Topic,
    record: &RecordRef<'_>,
    open: &Open,
    batch: &mut AppendBatch,
) -> Result<(), HalfError> {
    let mut properties = without(record.properties(), &[SOURCE_PROPERTY, names::TRANSACTION_CHECK_TIMES]);
    push(&mut properties, names::TRANSACTION_CHECK_TIMES, itoa::Buffer::new().format(open.checks));
    push(&mut properties, SOURCE_PROPERTY, &open.source().to_string());
    let queue = topic.queue(&broker.store, QueueId(0));
    let new = rewritten(broker, record, &queue, &properties);
    let len = encode_record(&new, &mut batch.buf)?;
    batch.entries.push(Looked::new(record.properties()).entry(len, queue.clone()));
    Ok(())
}

/// Adds a half message made of a discarded one: a new transaction with no checks yet.
pub(crate) fn encode_resumed(
    broker: &Broker,
    record: &RecordRef<'_>,
    batch: &mut AppendBatch,
) -> Result<(), HalfError> {
    let looked = Looked::new(record.properties());
    if looked.real_topic.is_none() || looked.real_queue.is_none() {
        return Err(HalfError::Target);
    }
    let mut properties = without(record.properties(), &[SOURCE_PROPERTY, names::TRANSACTION_CHECK_TIMES]);
    push(&mut properties, names::TRANSACTION_CHECK_TIMES, "0");
    let queue = broker.half_queue();
    let new = rewritten(broker, record, &queue, &properties);
    let len = encode_record(&new, &mut batch.buf)?;
    let entry = Entry { client: true, ..looked.entry(len, queue.clone()) };
    batch.entries.push(entry);
    Ok(())
}

/// The properties of a check-back message: those of the half message, and the number of this check.
pub(super) fn check_properties(record: &RecordRef<'_>, checks: u32) -> String {
    let mut properties = without(record.properties(), &[SOURCE_PROPERTY, names::TRANSACTION_CHECK_TIMES]);
    push(&mut properties, names::TRANSACTION_CHECK_TIMES, itoa::Buffer::new().format(checks));
    properties
}
