//! Owns the making of one batch of deliveries: what is due, without what was recalled.
//!
//! A batch may be made while the one before it is being appended. It then leaves out what that one delivers, and must not be
//! appended unless that one was.

use std::collections::HashMap;

use bolide_store::AppendBatch;
use bolide_timer::{Entry, Key, Kind, UnderWay};
use bolide_wire::ids::{EpochMillis, LogOffset};
use bolide_wire::message::RecordRef;
use bolide_wire::properties::names;
use bytes::Bytes;

use crate::broker::Broker;
use crate::delay::delivery::{self, DeliveryError};
use crate::state::delays::SOURCE_PROPERTY;
use crate::state::timers::{TimerSource, is_recalled_by};

/// Most messages delivered by one append; few in tests, so that batches follow each other.
const BATCH_MESSAGES: usize = if cfg!(test) { 16 } else { 1_024 };
/// Bytes after which a batch is full.
const BATCH_BYTES: usize = 2 << 20;

/// Deliveries on their way.
pub(super) struct Batch {
    pub(super) append: AppendBatch,
    /// What its last record says; `None` while it has none.
    pub(super) comes_to: Option<UnderWay>,
    /// More was due when it was made.
    pub(super) more: bool,
    /// How late each message is, in milliseconds.
    pub(super) late_ms: Vec<i64>,
}

/// What is to be done.
pub(super) enum Gathered {
    /// Messages are due.
    Deliver(Batch),
    /// Something is due, but nobody gets it.
    Pass(TimerSource),
    /// Nothing is due before then.
    Nothing(Option<EpochMillis>),
}

/// The recalls of one instant, by what they recall.
#[derive(Default)]
struct Recalls {
    due: Option<EpochMillis>,
    known: HashMap<u64, Vec<LogOffset>>,
}

impl Recalls {
    fn add(&mut self, entry: &Entry) {
        if self.due != Some(entry.key.due()) {
            self.known.clear();
            self.due = Some(entry.key.due());
        }
        self.known.entry(entry.identity).or_default().push(entry.key.at());
    }

    /// Whether a message was taken back. The hash only says where to look.
    fn mean(&self, broker: &Broker, entry: &Entry, record: &RecordRef<'_>) -> Result<bool, DeliveryError> {
        if self.due != Some(entry.key.due()) {
            return Ok(false);
        }
        for at in self.known.get(&entry.identity).into_iter().flatten() {
            let Some(bytes) = broker.store.record_at(*at)? else { continue };
            let Ok(recall) = RecordRef::parse(&bytes) else { continue };
            let properties = recall.properties();
            let text = properties.get(names::TIMER_DEL_UNIQKEY).unwrap_or_default();
            if is_recalled_by(&record.properties(), text) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Looks what is due after a batch that is under way. Blocks for the disk.
pub(super) fn gather(broker: &Broker, after: Option<UnderWay>) -> Result<Gathered, DeliveryError> {
    let now = broker.clock.now();
    let due = broker.state.timers.index.due_after(after, now, BATCH_MESSAGES)?;
    let (Some(last), seen) = (due.entries.last().copied(), due.seen) else {
        return Ok(Gathered::Nothing(due.next));
    };
    let more = due.next.is_some_and(|next| next <= now);
    let mut batch = Batch { append: AppendBatch::default(), comes_to: None, more, late_ms: Vec::new() };
    let mut recalls = Recalls::default();
    for entry in &due.entries {
        if entry.key.kind() == Kind::Recall {
            recalls.add(entry);
            continue;
        }
        if batch.append.buf.len() >= BATCH_BYTES {
            batch.more = true;
            break;
        }
        let Some(bytes) = broker.store.record_at(entry.key.at())? else {
            tracing::error!(
                offset = entry.key.at().0,
                "a timer's message is not in the log any more; it is passed over"
            );
            continue;
        };
        add(broker, entry, &bytes, (seen, now), &recalls, &mut batch)?;
    }
    if batch.comes_to.is_some() {
        return Ok(Gathered::Deliver(batch));
    }
    // Recalls alone, or nothing left of the instant: all of it is done.
    let whole = due.next.is_none_or(|next| next > last.key.due());
    let upto = if whole { Key::after(last.key.due()) } else { last.key };
    Ok(Gathered::Pass(TimerSource::Delivered { seen, upto }))
}

fn add(
    broker: &Broker,
    entry: &Entry,
    bytes: &Bytes,
    (seen, now): (LogOffset, EpochMillis),
    recalls: &Recalls,
    batch: &mut Batch,
) -> Result<(), DeliveryError> {
    let offset = entry.key.at().0;
    let record = match RecordRef::parse(bytes) {
        Ok(record) => record,
        Err(error) => {
            tracing::error!(offset, %error, "a timer's message cannot be read; it is passed over");
            return Ok(());
        }
    };
    if recalls.mean(broker, entry, &record)? {
        tracing::debug!(offset, "a recalled message is passed over");
        return Ok(());
    }
    let source = TimerSource::Delivered { seen, upto: entry.key }.to_string();
    let (taken, given) = (record.store_timestamp().0.to_string(), now.0.to_string());
    let further = [
        (names::TIMER_ENQUEUE_MS, taken.as_str()),
        (names::TIMER_DEQUEUE_MS, given.as_str()),
        (SOURCE_PROPERTY, source.as_str()),
    ];
    match delivery::add(broker, &record, &further, &mut batch.append) {
        Ok(()) => {
            batch.comes_to = Some(UnderWay { seen, upto: entry.key });
            batch.late_ms.push(now.0.saturating_sub(entry.key.due().0));
        }
        Err(error) => tracing::error!(offset, %error, "a timer's message is passed over"),
    }
    Ok(())
}
