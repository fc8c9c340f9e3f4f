//! Owns the recall of a message for a later time: a record in the timer topic that takes it back.
//!
//! No timer is delivered while a recall is checked and appended, and no recall is taken for an instant of which anything was
//! delivered. So a recall that succeeds is certain: the message is never delivered.

use bolide_store::{AppendBatch, Entry, Tags};
use bolide_wire::header::send::{RecallMessage, RecallMessageResponse};
use bolide_wire::ids::EpochMillis;
use bolide_wire::message::{NewRecord, encode_record};
use bolide_wire::properties::{Properties, names};

use super::Call;
use crate::config::LONGEST_TIMER_SEC;
use crate::delay::delivery::{self, DeliveryError};
use crate::error::Failure;
use crate::reply::Reply;
use crate::state::timers::recall_key;
use crate::timers::handle::RecallHandle;

/// Tag and body of the record, as upstream.
const TAG: &str = "_RECALL_TAG_";
const BODY: &[u8] = b"0";
/// A due time further away than this was never given out.
const LONGEST_MS: i64 = LONGEST_TIMER_SEC.cast_signed() * 1_000;

/// Code 370.
pub(crate) async fn recall(call: Call) -> Result<Reply, Failure> {
    let header = RecallMessage::decode(&call.command.ext)?;
    let broker = &call.broker;
    let live = broker.live();
    if !live.config.recall_message_enable {
        return Err(Failure::RecallForbidden);
    }
    if !live.config.writable() && !live.config.allow_recall_when_broker_not_writeable {
        return Err(Failure::RecallUnavailable);
    }
    if broker.state.topics.find(&header.topic).is_none() {
        return Err(Failure::NoTopic(header.topic));
    }
    let invalid = Failure::Recall("recall handle is invalid");
    let handle = RecallHandle::decode(&header.recall_handle).ok_or(invalid)?;
    if handle.topic != header.topic {
        return Err(Failure::Recall("recall failed, topic not match"));
    }
    if handle.broker != broker.names.broker.as_str() {
        return Err(Failure::Recall("recall failed, broker service not available"));
    }
    let timers = &broker.state.timers;
    let _no_delivery = timers.turn.read().await;
    let left = handle.due.0.saturating_sub(broker.clock.now().0);
    let delivered = timers.index.latest_delivered().is_some_and(|latest| handle.due <= latest);
    if left <= 0 || left > LONGEST_MS || delivered {
        return Err(Failure::Recall("recall failed, timestamp invalid"));
    }
    let producer = header.producer_group.as_deref().unwrap_or_default();
    let batch = record(&call, &handle, producer)?;
    delivery::append(broker, batch).await.map_err(|error| match error {
        DeliveryError::Refused(refusal) => Failure::Refused(refusal),
        DeliveryError::Append(error) => Failure::Append(error),
        DeliveryError::Read(error) => Failure::Read(error),
        DeliveryError::Gone => Failure::Stopping,
    })?;
    Ok(Reply::header(&RecallMessageResponse { msg_id: handle.unique_key })
        .with_ext(names::MSG_REGION, &live.config.region_id))
}

fn record(call: &Call, handle: &RecallHandle, producer: &str) -> Result<AppendBatch, Failure> {
    let broker = &call.broker;
    let now: EpochMillis = broker.clock.now();
    let mut properties = Properties::new();
    for (name, value) in [
        (names::TAGS, TAG),
        (names::TIMER_DEL_UNIQKEY, recall_key(&handle.topic, &handle.unique_key).as_str()),
        (names::UNIQ_KEY, handle.unique_key.as_str()),
        (names::TIMER_OUT_MS, handle.due.0.to_string().as_str()),
        (names::BORN_TIMESTAMP, now.0.to_string().as_str()),
        (names::PGROUP, producer),
        (names::REAL_TOPIC, handle.topic.as_str()),
        (names::REAL_QID, "0"),
    ] {
        properties.push(name, value);
    }
    let queue = &broker.timer_queue;
    let new = NewRecord {
        topic: queue.topic(),
        queue_id: queue.id(),
        flag: 0,
        sys_flag: 0,
        born_timestamp: now,
        born_host: call.conn.peer(),
        store_host: broker.store_host,
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body: BODY,
        properties: properties.as_str(),
    };
    let mut batch = AppendBatch::default();
    let len = encode_record(&new, &mut batch.buf)
        .map_err(|_| Failure::MessageIllegal("msg properties length limit 32767"))?;
    let mut entry = Entry::new(len, queue.clone());
    entry.tags = Tags::Hash(properties.view().tags_code());
    (entry.state, entry.client) = (true, true);
    batch.entries.push(entry);
    Ok(batch)
}
