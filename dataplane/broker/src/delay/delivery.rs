//! Owns the delivery of a message that waited: the record that goes to its topic, and its append.

use bolide_store::{Ack, AppendBatch, AppendError, Placed, Refused};
use bolide_wire::ids::{QueueId, TopicName};
use bolide_wire::message::{EncodeError, RecordRef, encode_record};
use bolide_wire::properties::{Properties, names};
use thiserror::Error;
use tokio::sync::oneshot;

use crate::broker::Broker;
use crate::handler::send::properties::push;
use crate::rewrite;
use crate::state::delays::SOURCE_PROPERTY;

/// A round of delivery did not succeed; it is tried again.
#[derive(Debug, Error)]
pub(crate) enum DeliveryError {
    /// The disk refused.
    #[error("the delayed messages cannot be read: {0}")]
    Read(#[from] std::io::Error),
    /// The store did not take the delivery.
    #[error("the delivery was refused: {0}")]
    Refused(#[from] bolide_store::Refusal),
    /// The store could not finish the delivery.
    #[error("the delivery failed: {0}")]
    Append(#[from] AppendError),
    /// The broker is ending.
    #[error("the store is gone")]
    Gone,
}

/// A message that can never be delivered.
#[derive(Debug, Error)]
pub(crate) enum Undeliverable {
    /// It does not say where to.
    #[error("it names no topic and queue to go to")]
    NoTarget,
    /// It does not fit.
    #[error(transparent)]
    Encode(#[from] EncodeError),
}

/// What a message carries only while it waits.
const WAITING: &[&str] =
    &[names::DELAY, names::TIMER_DELIVER_MS, names::TIMER_DELAY_SEC, names::TIMER_DELAY_MS, SOURCE_PROPERTY];

/// Room for what a delivery says beyond the message.
const FURTHER_BYTES: usize = 160;

/// Adds the delivery of one message, with further properties.
pub(crate) fn add(
    broker: &Broker,
    record: &RecordRef<'_>,
    further: &[(&str, &str)],
    batch: &mut AppendBatch,
) -> Result<(), Undeliverable> {
    // One walk: a burst of timers is bound by what each message costs here.
    let waiting = record.properties();
    let (mut topic, mut queue) = (None, None);
    let mut encoded = String::with_capacity(waiting.as_str().len().saturating_add(FURTHER_BYTES));
    for (name, value) in waiting {
        match name {
            names::REAL_TOPIC => topic = TopicName::internal(value).ok(),
            names::REAL_QID => queue = value.parse().ok().map(QueueId),
            _ => {}
        }
        if !WAITING.contains(&name) && !further.iter().any(|(replaced, _)| *replaced == name) {
            push(&mut encoded, name, value);
        }
    }
    for (name, value) in further {
        push(&mut encoded, name, value);
    }
    let (Some(topic), Some(queue)) = (topic, queue) else { return Err(Undeliverable::NoTarget) };
    let properties = Properties::from_encoded(encoded);
    let queue = broker.queue_of(&topic, queue);
    let new = rewrite::rewritten(broker, record, &topic, queue.id(), properties.as_str());
    let len = encode_record(&new, &mut batch.buf)?;
    batch.entries.push(rewrite::entry(len, queue, &topic, &properties));
    Ok(())
}

/// Appends deliveries and waits until they are applied, which is at least as durable as a client's message. An acknowledgement
/// alone would not do: with asynchronous replication it comes earlier, and whoever looked at the projections then would deliver
/// the same once more.
pub(crate) async fn append(broker: &Broker, batch: AppendBatch) -> Result<(), DeliveryError> {
    if batch.entries.is_empty() {
        return Ok(());
    }
    let (sender, receiver) = oneshot::channel::<Result<Vec<Placed>, AppendError>>();
    // Nobody listening any more is no failure of the append.
    let done = Box::new(move |placed| drop(sender.send(placed)));
    broker.store.append(batch, Ack::Confirmed, done).map_err(|Refused { reason, .. }| reason)?;
    receiver.await.map_err(|_| DeliveryError::Gone)??;
    Ok(())
}
