//! Owns the putting of pending timers into the log again, before retention deletes their old place.
//!
//! They go in the order of the log, and each new record names the old one: the record is both the new timer and the end of the
//! old one.

use std::sync::Arc;

use bolide_store::AppendBatch;
use bolide_wire::message::{RecordRef, encode_record};
use bolide_wire::properties::{Properties, names};

use super::pass;
use crate::broker::Broker;
use crate::delay::delivery::{self, DeliveryError};
use crate::rewrite;
use crate::state::delays::SOURCE_PROPERTY;
use crate::state::timers::TimerSource;

/// Most records of one append.
const BATCH_RECORDS: usize = 1_024;
/// Bytes after which an append is full.
const BATCH_BYTES: usize = 2 << 20;

/// What one step of rolling does.
enum Step {
    Nothing,
    Append(AppendBatch),
    /// Records that cannot be read, up to this one.
    Pass(TimerSource),
}

/// Rolls some timers, if retention asks for it; true when there may be more.
pub(super) async fn roll(broker: &Arc<Broker>) -> Result<bool, DeliveryError> {
    let below = broker.state.timers.roll_below();
    if below.0 == 0 {
        return Ok(false);
    }
    let task = broker.clone();
    let step = tokio::task::spawn_blocking(move || prepare(&task, below)).await;
    match step.map_err(|_| DeliveryError::Gone)?? {
        Step::Nothing => Ok(false),
        Step::Append(batch) => {
            tracing::info!(
                timers = batch.entries.len(),
                below = below.0,
                "pending timers move to the end of the log"
            );
            delivery::append(broker, batch).await?;
            Ok(true)
        }
        Step::Pass(source) => {
            pass(broker, source.to_string()).await?;
            Ok(true)
        }
    }
}

fn prepare(broker: &Broker, below: bolide_wire::ids::LogOffset) -> Result<Step, DeliveryError> {
    let entries = broker.state.timers.index.before(below, BATCH_RECORDS)?;
    let mut batch = AppendBatch::default();
    let mut last = None;
    for entry in &entries {
        if batch.buf.len() >= BATCH_BYTES {
            break;
        }
        let at = entry.key.at();
        last = Some(TimerSource::Rolled(at));
        match broker.store.record_at(at)? {
            Some(bytes) => add(broker, &bytes, TimerSource::Rolled(at), &mut batch),
            None => tracing::error!(
                offset = at.0,
                "a timer's message is not in the log any more; it is passed over"
            ),
        }
    }
    Ok(match last {
        None => Step::Nothing,
        Some(_) if !batch.entries.is_empty() => Step::Append(batch),
        Some(source) => Step::Pass(source),
    })
}

fn add(broker: &Broker, bytes: &[u8], source: TimerSource, batch: &mut AppendBatch) {
    let record = match RecordRef::parse(bytes) {
        Ok(record) => record,
        Err(error) => {
            return tracing::error!(%source, %error, "a timer's message cannot be read; it is passed over");
        }
    };
    let mut properties = Properties::from_encoded(record.properties().as_str().to_owned());
    let times: u32 =
        properties.get(names::TIMER_ROLL_TIMES).and_then(|times| times.parse().ok()).unwrap_or(0);
    properties.set(names::TIMER_ROLL_TIMES, &times.saturating_add(1).to_string());
    properties.set(SOURCE_PROPERTY, &source.to_string());
    let new = rewrite::rewritten(broker, &record, record.topic(), record.queue_id(), properties.as_str());
    match encode_record(&new, &mut batch.buf) {
        Ok(len) => {
            batch.entries.push(rewrite::entry(len, broker.timer_queue.clone(), record.topic(), &properties));
        }
        Err(error) => {
            tracing::error!(%source, %error, "a timer's message cannot be moved; it is passed over")
        }
    }
}
