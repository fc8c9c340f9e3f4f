//! Owns what happens to open transactions by the clock: their producers are asked, those that were asked too often are given
//! up, and half messages whose log is about to be deleted are appended anew.
//!
//! A duty: its only memory is the projection of open transactions. One state record notes the checks of a whole round before
//! they are sent, so a crash costs a check, never makes one too many; the half message itself is not appended again for it. A
//! transaction that is given up is one record, its message in the discard topic. Invariant: whatever ends or moves a transaction is
//! appended under a claim, and the claim lasts until that record is applied or known not to be in the log.

use std::sync::Arc;
use std::time::Duration;

use bolide_store::{Ack, AppendBatch, AppendError, Placed, Refused};
use bolide_wire::ids::{EpochMillis, LogOffset, TopicName};
use bolide_wire::message::{EncodeError, RecordError, RecordRef};
use bytes::Bytes;
use thiserror::Error;
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::broker::Broker;
use crate::error::Failure;
use crate::state::record::StateRecord;
use crate::state::transactions::{Claims, DISCARD_TOPIC, Open, Timing};

mod check;
mod encode;
#[cfg(test)]
mod tests;

pub(crate) use encode::{encode_committed, encode_resumed};

/// Most transactions of one round.
const ROUND: usize = 1_000;
/// Bytes of half messages after which a round is over.
const ROUND_BYTES: usize = 1 << 20;
/// Time between rounds while there is more to do: what producers are asked at once has a bound.
const BETWEEN: Duration = Duration::from_millis(100);
/// Longest sleep: bounds how late a jump of the wall clock or a changed setting is noticed.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);
/// Pause after a round that failed.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

/// A round did not succeed; it is tried again.
#[derive(Debug, Error)]
pub(crate) enum RoundError {
    #[error("a half message cannot be read: {0}")]
    Read(Failure),
    #[error("the append failed: {0}")]
    Append(#[from] Failure),
    #[error("the store is gone")]
    Gone,
}

/// A half message that cannot become another record.
#[derive(Debug, Error)]
pub(crate) enum HalfError {
    #[error("it is malformed: {0}")]
    Record(#[from] RecordError),
    #[error("it names no topic and queue")]
    Target,
    #[error("it does not fit a record: {0}")]
    Encode(#[from] EncodeError),
}

/// Looks after open transactions until `stop`.
pub(crate) async fn serve(broker: Arc<Broker>, stop: CancellationToken) {
    let mut leaving = broker.state.leaving();
    loop {
        let wait = tokio::select! {
            outcome = round(&broker, &mut leaving) => outcome.unwrap_or_else(|error| {
                tracing::warn!(%error, "open transactions are looked after again in a moment");
                AFTER_FAILURE
            }),
            () = stop.cancelled() => return,
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            _ = leaving.changed() => {}
            () = stop.cancelled() => return,
        }
    }
}

/// One round; returns how long to wait for the next.
async fn round(
    broker: &Arc<Broker>,
    leaving: &mut watch::Receiver<LogOffset>,
) -> Result<Duration, RoundError> {
    let below = *leaving.borrow_and_update();
    let moving = broker.state.transactions.lock().below(below, ROUND);
    if !moving.is_empty() {
        move_forward(broker, moving).await?;
        // What is left, and the file that waits for it.
        broker.store.clean_now();
        return Ok(Duration::ZERO);
    }
    let now = broker.clock.now();
    let live = broker.live();
    let timing = Timing {
        first_ms: i64::try_from(live.config.transaction_time_out).unwrap_or(i64::MAX),
        interval_ms: i64::try_from(live.config.transaction_check_interval).unwrap_or(i64::MAX),
    };
    let reserved =
        i64::try_from(live.config.file_reserved_time.saturating_mul(3_600_000)).unwrap_or(i64::MAX);
    let due = broker.state.transactions.lock().due(now, &timing, ROUND);
    if due.is_empty() {
        let next = broker.state.transactions.lock().next_due(&timing);
        return Ok(next.map_or(LONGEST_SLEEP, |next| until(now, next)));
    }
    let given_up = |open: &Open| {
        open.checks >= live.config.transaction_check_max || now.0.saturating_sub(open.stored.0) > reserved
    };
    let (given_up, due): (Vec<_>, Vec<_>) = due.into_iter().partition(|(_, open)| given_up(open));
    if !given_up.is_empty() {
        discard(broker, given_up).await?;
    }
    if !due.is_empty() {
        check::ask(broker, due).await?;
    }
    Ok(BETWEEN)
}

fn until(now: EpochMillis, next: EpochMillis) -> Duration {
    let ms = u64::try_from(next.0.saturating_sub(now.0)).unwrap_or(0);
    Duration::from_millis(ms).clamp(BETWEEN / 10, LONGEST_SLEEP)
}

/// The half messages at these places, as many from the front as fit a round: at least one. None where there is none.
async fn read(broker: &Broker, places: Vec<LogOffset>) -> Result<Vec<Option<Bytes>>, RoundError> {
    let reading = broker.cold_read(move |store| {
        let mut found = Vec::with_capacity(places.len());
        let mut bytes = 0_usize;
        for place in places {
            let record = store.record_at(place)?;
            let len = record.as_ref().map_or(0, |record| {
                std::hint::black_box(record.iter().step_by(4096).copied().fold(0_u8, u8::wrapping_add));
                record.len()
            });
            bytes = bytes.saturating_add(len);
            if bytes > ROUND_BYTES && !found.is_empty() {
                break;
            }
            found.push(record);
        }
        Ok(found)
    });
    reading.await.map_err(RoundError::Read)
}

/// Appends what ends or copies the claimed transactions, and waits until it is applied.
async fn append(broker: &Broker, batch: AppendBatch, claims: Claims) -> Result<(), RoundError> {
    if batch.entries.is_empty() {
        return Ok(());
    }
    let (sender, receiver) = oneshot::channel::<Result<Vec<Placed>, AppendError>>();
    let done = Box::new(move |placed: Result<Vec<Placed>, AppendError>| {
        if placed.is_ok() {
            claims.applied();
        }
        // Nobody listening any more is no failure of the append.
        drop(sender.send(placed));
    });
    let appended = broker.store.append(batch, Ack::Confirmed, done);
    appended.map_err(|Refused { reason, .. }| Failure::Refused(reason))?;
    receiver.await.map_err(|_| RoundError::Gone)?.map_err(Failure::Append)?;
    Ok(())
}

/// Makes another record of each half message that fits the round and can be claimed; returns whose. Those that cannot be read any
/// more are ended.
async fn rewrite(
    broker: &Arc<Broker>,
    open: Vec<(LogOffset, Open)>,
    encode: impl Fn(&RecordRef<'_>, &Open, &mut AppendBatch) -> Result<(), HalfError>,
) -> Result<Vec<Open>, RoundError> {
    let found = read(broker, open.iter().map(|(place, _)| *place).collect()).await?;
    let mut claims = Claims::new(broker.state.clone());
    let mut batch = AppendBatch::default();
    let (mut written, mut lost) = (Vec::new(), Vec::new());
    for ((place, open), bytes) in open.into_iter().zip(found) {
        // Decided since it was looked up, or moved: then the copy is not where it was read.
        let there = broker.state.transactions.lock().place_of(open.id) == Some(place);
        if !there || !claims.add(open.id) {
            continue;
        }
        let record = bytes.as_ref().map(|bytes| RecordRef::parse(bytes).map_err(HalfError::from));
        match record.map(|record| record.and_then(|record| encode(&record, &open, &mut batch))) {
            Some(Ok(())) => written.push(open),
            outcome => {
                let error = outcome.and_then(Result::err);
                let why = error.map_or_else(|| "it is not in the log".to_owned(), |error| error.to_string());
                tracing::error!(offset = open.id.0, group = %open.group, topic = %open.topic, why, "a half message is lost");
                lost.push(open.id);
            }
        }
    }
    if !lost.is_empty() {
        let record = StateRecord::Transactions { checked: Vec::new(), rolled_back: lost };
        broker.encode_state(&record, &mut batch)?;
    }
    append(broker, batch, claims).await?;
    Ok(written)
}

/// Appends half messages anew; their old places are free once the copies are applied.
async fn move_forward(broker: &Arc<Broker>, open: Vec<(LogOffset, Open)>) -> Result<(), RoundError> {
    let moved = rewrite(broker, open, |record, open, batch| encode::encode_copy(broker, record, open, batch));
    let moved = moved.await?;
    tracing::info!(
        half_messages = moved.len(),
        "moved forward in the log, whose oldest file is to be deleted"
    );
    Ok(())
}

/// Gives transactions up: their messages go to the discard topic.
async fn discard(broker: &Arc<Broker>, open: Vec<(LogOffset, Open)>) -> Result<(), RoundError> {
    let name = TopicName::internal(DISCARD_TOPIC).map_err(Failure::from)?;
    let topic = broker.make_internal_topic(name, 1).await?;
    let discarded = rewrite(broker, open, |record, open, batch| {
        encode::encode_discarded(broker, &topic, record, open, batch)
    });
    let discarded = discarded.await?;
    for topic in discarded.iter().filter_map(|open| broker.state.topics.find(&open.topic)) {
        topic.counters.discarded.add(1);
    }
    if let Some(first) = discarded.first() {
        tracing::warn!(
            transactions = discarded.len(),
            group = %first.group,
            topic = %first.topic,
            offset = first.id.0,
            checks = first.checks,
            "nobody decided; the messages of these transactions are in TRANS_CHECK_MAX_TIME_TOPIC"
        );
    }
    Ok(())
}
