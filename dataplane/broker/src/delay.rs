//! Owns the delivery of delayed messages: per level one task that sleeps until the first message of the level is due.
//!
//! A delivery is one append that carries its source, so the log itself says how far a level is: after a crash nothing that
//! was delivered is delivered again. A level is strictly first in, first out. Invariant: `from` of a level is past every
//! message that was delivered, and only moves when the append that delivered them is acknowledged.

use std::sync::Arc;
use std::time::Duration;

use bolide_store::{AppendBatch, Queue, ReadLimits, ReadStatus};
use bolide_wire::ids::{QueueId, QueueOffset};
use bolide_wire::message::{RecordRef, records};
use tokio_util::sync::CancellationToken;

use crate::broker::Broker;
use crate::state::delays::{DelaySource, SOURCE_PROPERTY};

pub(crate) mod delivery;
mod levels;
pub(crate) mod place;
mod policy;

use delivery::DeliveryError;
pub(crate) use levels::retry_level;
pub use levels::{DelayLevels, LevelsError};
pub(crate) use policy::retry_delay_ms;

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
            let delivered = delivery::append(broker, batch).await;
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
    let source = DelaySource { level, offset }.to_string();
    if let Err(error) = delivery::add(broker, record, &[(SOURCE_PROPERTY, &source)], batch) {
        tracing::error!(level, offset = offset.0, %error, "a delayed message is passed over");
    }
}
