//! Owns the record by which a message comes again.

use bolide_store::AppendBatch;
use bolide_wire::message::{NewRecord, RecordRef, encode_record};
use bolide_wire::properties::{Properties, names};

use super::found::Returning;
use crate::broker::Broker;
use crate::rewrite;
use crate::state::pops::source::Source;
use crate::state::topics::Topic;

/// Adds the record of one message; false when no record can hold it.
pub(super) fn add(broker: &Broker, one: &Returning, topic: &Topic, batch: &mut AppendBatch) -> bool {
    let Ok(record) = RecordRef::parse(&one.record) else { return false };
    let mut properties = Properties::from_encoded(record.properties().as_str().to_owned());
    for name in [names::POP_CK, names::POP_SRC, names::DELAY_SRC, names::TRAN_SRC, names::DELAY, names::WAIT]
    {
        properties.remove(name);
    }
    if properties.get(names::FIRST_POP_TIME).is_none() {
        properties.push(names::FIRST_POP_TIME, &one.id.pop_time().to_string());
    }
    if one.dead {
        let id = record.properties().get(names::UNIQ_KEY).map(str::to_owned);
        let id = id.unwrap_or_else(|| record.offset_message_id().to_string());
        properties.set(names::DLQ_ORIGIN_TOPIC, &one.key.asked_for());
        properties.set(names::DLQ_ORIGIN_MESSAGE_ID, &id);
    }
    let source = Source { key: (*one.key).clone(), id: one.id, offset: one.offset };
    properties.push(names::POP_SRC, &source.to_string());
    let queue = topic.queue(&broker.store, topic.any_write_queue());
    let new = NewRecord {
        reconsume_times: record.reconsume_times().saturating_add(1),
        ..rewrite::rewritten(broker, &record, &topic.name, queue.id(), properties.as_str())
    };
    match encode_record(&new, &mut batch.buf) {
        Ok(len) => {
            batch.entries.push(rewrite::entry(len, queue, &topic.name, &properties));
            true
        }
        Err(error) => {
            tracing::error!(topic = %one.key.topic, offset = one.offset, %error, "a message cannot come again");
            false
        }
    }
}
