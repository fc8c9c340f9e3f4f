//! Owns the way of pop changes into the log: one batch at a time becomes one record, so that under load each record holds
//! what came while the one before was written. Whoever waits is told when the record is as safe as the flush mode says
//! and applied.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::broker::Broker;
use crate::error::Failure;
use crate::state::pops::journal::{Batch, JournalError};
use crate::state::record::StateRecord;

impl From<JournalError> for Failure {
    fn from(error: JournalError) -> Failure {
        match error {
            JournalError::Busy => Failure::Busy,
            JournalError::Stopping => Failure::Stopping,
            JournalError::Refused(refusal) => Failure::Refused(refusal),
            JournalError::Append(error) => Failure::Append(error),
        }
    }
}

/// Logs changes until `stop`; what comes later is refused. What was appended is waited for, as long as it takes, but not once it is
/// `abandoned`. A duty: a term begins with an empty journal and nothing reserved.
pub(crate) async fn serve(broker: Arc<Broker>, stop: CancellationToken, abandoned: CancellationToken) {
    broker.state.pops.lock().begin_term();
    loop {
        while commit_next(&broker, &abandoned).await {}
        tokio::select! {
            () = broker.popping.journal.notified() => {}
            () = stop.cancelled() => break,
        }
    }
    broker.state.pops.lock().journal.close();
    while commit_next(&broker, &abandoned).await {}
}

async fn commit_next(broker: &Arc<Broker>, abandoned: &CancellationToken) -> bool {
    let taken = broker.state.pops.lock().journal.take();
    let Some(batch) = taken else { return false };
    let Batch { number, changes, done, .. } = batch;
    let keys: Vec<_> = changes.keys().cloned().collect();
    let record = StateRecord::Pops { queues: changes.into_values().collect() };
    match append(broker, &record, abandoned).await {
        Ok(()) => {
            let due = {
                let mut pops = broker.state.pops.lock();
                pops.settled(number, keys.into_iter());
                pops.next_due()
            };
            broker.popping.due_at(due.unwrap_or(i64::MAX));
            for done in done {
                done(Ok(()));
            }
        }
        Err(error) => {
            tracing::warn!(?error, "pops and acknowledgements are not in the log");
            let mut waiting = done;
            {
                let mut pops = broker.state.pops.lock();
                pops.refused(keys.into_iter());
                // What came meanwhile builds on what was refused.
                while let Some(later) = pops.journal.take() {
                    pops.refused(later.changes.into_keys());
                    waiting.extend(later.done);
                }
            }
            for done in waiting {
                done(Err(error));
            }
        }
    }
    true
}

async fn append(
    broker: &Broker,
    record: &StateRecord,
    abandoned: &CancellationToken,
) -> Result<(), JournalError> {
    let told = |failure: Failure| match failure {
        Failure::Refused(refusal) => JournalError::Refused(refusal),
        Failure::Append(error) => JournalError::Append(error),
        Failure::Busy => JournalError::Busy,
        _ => JournalError::Stopping,
    };
    let placed = broker.append_state(record).map_err(told)?;
    tokio::select! {
        biased;
        applied = broker.applied(placed) => applied.map_err(told),
        () = abandoned.cancelled() => Err(JournalError::Stopping),
    }
}
