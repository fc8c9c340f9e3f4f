//! Owns what all records have in common that the broker makes of a stored one: what they keep of it, and how they are found.

use std::sync::Arc;

use bolide_store::{Entry, Queue, Tags, index_hash};
use bolide_wire::ids::QueueId;
use bolide_wire::message::{NewRecord, RecordRef};
use bolide_wire::properties::{PROPERTIES_MAX_BYTES, Properties, names};

use crate::broker::Broker;
use crate::error::Failure;

/// What a broker may add to the properties of a message until it is where its consumers read it: where it came from, and when.
const ADDED_BYTES_MAX: usize = 1_024;

/// Refuses a message that is to be stored and later rewritten if its properties leave no room for what is added then: it would be
/// acknowledged and could never be delivered.
pub(crate) fn check_room(properties: &str) -> Result<(), Failure> {
    if properties.len().saturating_add(ADDED_BYTES_MAX) > PROPERTIES_MAX_BYTES {
        return Err(Failure::MessageIllegal(
            "msg properties length limit 32767, less 1024 for a message that waits for its time or its transaction",
        ));
    }
    Ok(())
}

/// The record as it is, stored here anew, in another queue and with other properties.
pub(crate) fn rewritten<'a>(
    broker: &Broker,
    record: &RecordRef<'a>,
    topic: &'a str,
    queue_id: QueueId,
    properties: &'a str,
) -> NewRecord<'a> {
    NewRecord {
        topic,
        queue_id,
        flag: record.flag(),
        sys_flag: record.sys_flag(),
        born_timestamp: record.born_timestamp(),
        born_host: record.born_host(),
        store_host: broker.store_host,
        reconsume_times: record.reconsume_times(),
        prepared_transaction_offset: record.prepared_transaction_offset(),
        body: record.body(),
        properties,
    }
}

/// The entry of such a record: the state is told of it, and it is found under `topic`.
pub(crate) fn entry(len: u32, queue: Arc<Queue>, topic: &str, properties: &Properties) -> Entry {
    let mut entry = Entry::new(len, queue);
    entry.tags = Tags::Hash(properties.view().tags_code());
    entry.state = true;
    index_keys(&mut entry, topic, properties.get(names::UNIQ_KEY), properties.get(names::KEYS));
    entry
}

/// Adds the keys by which a record is found: its unique id, and the words of its keys.
pub(crate) fn index_keys(entry: &mut Entry, topic: &str, unique: Option<&str>, keys: Option<&str>) {
    let keys = keys.into_iter().flat_map(|keys| keys.split(' '));
    for key in unique.into_iter().chain(keys).filter(|key| !key.is_empty()) {
        entry.keys.push(index_hash(topic, key));
    }
}
