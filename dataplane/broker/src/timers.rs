//! Owns the delivery of messages for an arbitrary time: one task that sleeps until the first one is due.
//!
//! A delivery is one append that carries its source, so the log itself says what is pending; this task keeps nothing. While a
//! batch is appended the next one is made, as if the first were in the log already; it is appended only once the first is
//! applied, and forgotten if the first failed. So there is never more than one append under way. What is due is decided by the wall clock alone: a clock that jumps ahead makes due what it passes, one that jumps back makes
//! everything wait for its time again, and what was delivered stays delivered. Nothing is early by the clock of the broker.
//!
//! The same task puts pending timers into the log again whose part of the log is to be deleted.

use std::sync::Arc;
use std::time::Duration;

use bolide_timer::UnderWay;
use bolide_wire::ids::EpochMillis;
use tokio_util::sync::CancellationToken;

use crate::broker::Broker;
use crate::delay::delivery::{self, DeliveryError};
use crate::state::record::StateRecord;

mod gather;
pub(crate) mod handle;
mod roll;
#[cfg(test)]
mod tests;

use gather::{Batch, Gathered};

/// Longest sleep while a message waits: bounds how late a jump of the wall clock is noticed.
const LONGEST_SLEEP: Duration = Duration::from_millis(500);
/// Pauses after failed deliveries grow from here ...
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// ... to here.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Batches delivered before recalls get their turn.
const BATCHES_OF_A_TURN: usize = 16;

/// What a round found.
enum Round {
    /// Something was done; look again at once.
    Progress,
    /// Nothing is due before then.
    Until(Option<EpochMillis>),
}

/// Delivers what is due until `stop`.
pub(crate) async fn serve(broker: Arc<Broker>, stop: CancellationToken) {
    let mut pause = FIRST_PAUSE;
    loop {
        let round = tokio::select! {
            round = round(&broker) => round,
            () = stop.cancelled() => return,
        };
        let wait = match round {
            Ok(Round::Progress) => {
                pause = FIRST_PAUSE;
                continue;
            }
            Ok(Round::Until(next)) => {
                pause = FIRST_PAUSE;
                next.map(|next| until(broker.clock.now(), next))
            }
            Err(error) => {
                tracing::warn!(%error, "the delivery of timers is tried again");
                let wait = pause;
                pause = (pause * 2).min(LONGEST_PAUSE);
                Some(wait)
            }
        };
        let sleep = async {
            match wait {
                Some(wait) => tokio::time::sleep(wait).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = sleep => {}
            () = broker.state.timers.earlier.notified() => {}
            () = stop.cancelled() => return,
        }
    }
}

fn until(now: EpochMillis, next: EpochMillis) -> Duration {
    let ms = u64::try_from(next.0.saturating_sub(now.0)).unwrap_or(0);
    Duration::from_millis(ms).min(LONGEST_SLEEP)
}

async fn round(broker: &Arc<Broker>) -> Result<Round, DeliveryError> {
    let timers = &broker.state.timers;
    let _no_recall = timers.turn.write().await;
    // A timer that comes while this looks must wake it.
    timers.looks_at(EpochMillis(i64::MAX));
    match gather(broker, None).await? {
        Gathered::Deliver(batch) => {
            deliver(broker, batch).await?;
            Ok(Round::Progress)
        }
        Gathered::Pass(source) => {
            pass(broker, source.to_string()).await?;
            Ok(Round::Progress)
        }
        Gathered::Nothing(next) => {
            if roll::roll(broker).await? {
                return Ok(Round::Progress);
            }
            if let Some(next) = next {
                timers.looks_at(next);
            }
            Ok(Round::Until(next))
        }
    }
}

async fn gather(broker: &Arc<Broker>, after: Option<UnderWay>) -> Result<Gathered, DeliveryError> {
    let task = broker.clone();
    let gathered = tokio::task::spawn_blocking(move || gather::gather(&task, after)).await;
    gathered.map_err(|_| DeliveryError::Gone)?
}

/// Delivers a batch and those that follow it. The next one is made while one is appended, and appended after it or not at all.
async fn deliver(broker: &Arc<Broker>, first: Batch) -> Result<(), DeliveryError> {
    let mut batch = first;
    for left in (0..BATCHES_OF_A_TURN).rev() {
        let Batch { append, comes_to, more, late_ms } = batch;
        broker.metrics.timers_late(&late_ms);
        if left == 0 || !more {
            return delivery::append(broker, append).await;
        }
        let (appended, next) = tokio::join!(delivery::append(broker, append), gather(broker, comes_to));
        appended?;
        match next? {
            Gathered::Deliver(next) => batch = next,
            // Rare, and better looked at from the log as it is by now.
            Gathered::Pass(_) | Gathered::Nothing(_) => return Ok(()),
        }
    }
    Ok(())
}

/// Says in the log that timers are done which nobody gets.
async fn pass(broker: &Broker, passed: String) -> Result<(), DeliveryError> {
    let failed = |error: crate::error::Failure| DeliveryError::Read(std::io::Error::other(error));
    let placed = broker.append_state(&StateRecord::Timers { passed }).map_err(failed)?;
    broker.applied(placed).await.map_err(failed)
}
