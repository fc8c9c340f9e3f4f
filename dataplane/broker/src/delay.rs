//! Owns the delivery of delayed messages: per level one task that sleeps until the first message of the level is due.
//!
//! A delivery is one append that carries its source, so the log itself says how far a level is: after a crash nothing that
//! was delivered is delivered again. A level is strictly first in, first out. Invariant: `from` of a level is past every
//! message that was delivered, and only moves when the append that delivered them is acknowledged.

use std::sync::Arc;
use std::time::Duration;

use bolide_store::{
    AppendBatch, AppendError, Entry, Placed, Queue, ReadLimits, ReadStatus, Refused, Tags, index_hash,
};
use bolide_wire::ids::{QueueId, QueueOffset, TopicName};
use bolide_wire::message::{NewRecord, RecordRef, encode_record, records};
use bolide_wire::properties::{Properties, names};
use thiserror::Error;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::broker::Broker;
use crate::state::delays::{DelaySource, SOURCE_PROPERTY};

mod levels;

pub(crate) use levels::retry_level;
pub use levels::{DelayLevels, LevelsError};

/// Most messages delivered by one append.
const BATCH_MESSAGES: usize = 256;
/// Most bytes read for one append.
const BATCH_BYTES: usize = 1 << 20;
/// Longest sleep while a message waits: bounds how late a jump of the wall clock is noticed.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);
/// Pauses after failed deliveries grow from here ...
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// ... to here.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A round of delivery did not succeed; it is tried again.
#[derive(Debug, Error)]
enum DeliveryError {
    #[error("the delayed messages cannot be read")]
    Read(#[from] std::io::Error),
    #[error("the delivery was refused: {0}")]
    Refused(#[from] bolide_store::Refusal),
    #[error("the delivery failed: {0}")]
    Append(#[from] AppendError),
    #[error("the store is gone")]
    Gone,
}

/// What a round found.
enum Round {
    /// Messages were delivered, or cannot be any more; look again at once.
    Progress(QueueOffset),
    /// The first message is due in so many milliseconds.
    Later(u64),
    /// The level is empty.
    Empty,
}

/// Delivers the messages of one level until `stop`. Level 1 is queue 0.
pub(crate) async fn serve_level(broker: Arc<Broker>, level: u32, stop: CancellationToken) {
    let queue_id = QueueId(level.saturating_sub(1));
    let queue = broker.schedule.queue(&broker.store, queue_id);
    let mut from = broker.state.delays.lock().next(level).max(queue.min());
    let mut pause = FIRST_PAUSE;
    loop {
        let round = tokio::select! {
            round = round(&broker, level, &queue, from) => round,
            () = stop.cancelled() => return,
        };
        let wait = match round {
            Ok(Round::Progress(next)) => {
                (from, pause) = (next, FIRST_PAUSE);
                continue;
            }
            Ok(Round::Later(ms)) => Some(Duration::from_millis(ms).min(LONGEST_SLEEP)),
            Ok(Round::Empty) => None,
            Err(error) => {
                tracing::warn!(level, offset = from.0, %error, "delayed delivery is tried again");
                let wait = pause;
                pause = (pause * 2).min(LONGEST_PAUSE);
                Some(wait)
            }
        };
        let Some(notify) = usize::try_from(queue_id.0).ok().and_then(|index| broker.level_arrived.get(index))
        else {
            return;
        };
        let sleep = async {
            match wait {
                Some(wait) => tokio::time::sleep(wait).await,
                None => notify.notified().await,
            }
        };
        tokio::select! {
            () = sleep => {}
            () = stop.cancelled() => return,
        }
    }
}

async fn round(
    broker: &Broker,
    level: u32,
    queue: &Arc<Queue>,
    from: QueueOffset,
) -> Result<Round, DeliveryError> {
    let now = broker.clock.now();
    let delay = broker.levels.delay_ms(level);
    let mut blocked: Option<(QueueOffset, i64)> = None;
    let mut last = from;
    queue.watch(true);
    let limits = ReadLimits { max_messages: BATCH_MESSAGES, max_bytes: BATCH_BYTES, ..ReadLimits::default() };
    let found = broker.store.read(queue, from, &limits, &mut |unit| {
        let due_in = unit.tags_code.saturating_sub(now.0);
        // A delivery time further away than the delay itself: the clock jumped back. Such a message is due.
        let due = due_in <= 0 || due_in > delay;
        if blocked.is_none() && !due {
            blocked = Some((unit.queue_offset, due_in));
        }
        if blocked.is_none() {
            last = QueueOffset(unit.queue_offset.0.saturating_add(1));
        }
        blocked.is_none()
    })?;
    match found.status {
        ReadStatus::Found => {
            let batch = deliveries(broker, level, &found.slices);
            let delivered = deliver(broker, batch).await;
            let next = match blocked {
                Some((first_blocked, _)) => first_blocked,
                None => found.next,
            };
            delivered.map(|()| Round::Progress(next))
        }
        ReadStatus::NoMatchedMessage => match blocked {
            Some((offset, _)) if offset > from => Ok(Round::Progress(offset)),
            Some((_, due_in)) => Ok(Round::Later(u64::try_from(due_in).unwrap_or(0))),
            None => Ok(Round::Progress(found.next.max(last))),
        },
        ReadStatus::OffsetTooSmall | ReadStatus::OffsetFoundNull | ReadStatus::MessageWasRemoving
            if found.next > from =>
        {
            tracing::warn!(
                level,
                from = from.0,
                to = found.next.0,
                "delayed messages expired with the log before delivery"
            );
            Ok(Round::Progress(found.next))
        }
        ReadStatus::OffsetOverflowBadly => Ok(Round::Progress(found.max)),
        ReadStatus::NoMessageInQueue
        | ReadStatus::OffsetOverflowOne
        | ReadStatus::OffsetTooSmall
        | ReadStatus::OffsetFoundNull
        | ReadStatus::MessageWasRemoving => Ok(Round::Empty),
    }
}

fn deliveries(broker: &Broker, level: u32, slices: &[bytes::Bytes]) -> AppendBatch {
    let mut batch = AppendBatch::default();
    for record in slices.iter().flat_map(|slice| records(slice)) {
        match record {
            Ok(record) => add(broker, level, &record, &mut batch),
            Err(error) => {
                tracing::error!(level, %error, "a delayed message cannot be read; it is passed over")
            }
        }
    }
    batch
}

/// Adds the delivery of one message, unless it names no place to go to.
fn add(broker: &Broker, level: u32, record: &RecordRef<'_>, batch: &mut AppendBatch) {
    let offset = record.queue_offset();
    let target = record.properties().get(names::REAL_TOPIC).and_then(|topic| TopicName::internal(topic).ok());
    let queue = record.properties().get(names::REAL_QID).and_then(|queue| queue.parse().ok()).map(QueueId);
    let (Some(topic), Some(queue)) = (target, queue) else {
        tracing::error!(level, offset = offset.0, "a delayed message names no target; it is passed over");
        return;
    };
    let mut properties = Properties::from_encoded(record.properties().as_str().to_owned());
    for name in [
        names::DELAY,
        names::TIMER_DELIVER_MS,
        names::TIMER_DELAY_SEC,
        names::TIMER_DELAY_MS,
        SOURCE_PROPERTY,
    ] {
        properties.remove(name);
    }
    properties.push(SOURCE_PROPERTY, &DelaySource { level, offset }.to_string());
    let queue = broker.queue_of(&topic, queue);
    let new = NewRecord {
        topic: &topic,
        queue_id: queue.id(),
        flag: record.flag(),
        sys_flag: record.sys_flag(),
        born_timestamp: record.born_timestamp(),
        born_host: record.born_host(),
        store_host: broker.store_host,
        reconsume_times: record.reconsume_times(),
        prepared_transaction_offset: record.prepared_transaction_offset(),
        body: record.body(),
        properties: properties.as_str(),
    };
    match encode_record(&new, &mut batch.buf) {
        Ok(len) => {
            let mut entry = Entry::new(len, queue);
            entry.tags = Tags::Hash(properties.view().tags_code());
            entry.state = true;
            let keys = properties.get(names::KEYS).into_iter().flat_map(|keys| keys.split(' '));
            for key in properties.get(names::UNIQ_KEY).into_iter().chain(keys).filter(|key| !key.is_empty()) {
                entry.keys.push(index_hash(&topic, key));
            }
            batch.entries.push(entry);
        }
        Err(error) => {
            tracing::error!(level, offset = offset.0, %error, "a delayed message cannot be delivered; it is passed over");
        }
    }
}

async fn deliver(broker: &Broker, batch: AppendBatch) -> Result<(), DeliveryError> {
    if batch.entries.is_empty() {
        return Ok(());
    }
    let (sender, receiver) = oneshot::channel::<Result<Vec<Placed>, AppendError>>();
    // Nobody listening any more is no failure of the append.
    let done = Box::new(move |placed| drop(sender.send(placed)));
    broker.store.append(batch, broker.full_ack(), done).map_err(|Refused { reason, .. }| reason)?;
    receiver.await.map_err(|_| DeliveryError::Gone)??;
    Ok(())
}
