//! Owns the return of messages that nobody acknowledged in time: a duty of the master.
//!
//! Each comes again by one record in the group's retry topic, or in its dead-letter topic after too many times. The record
//! names the checkpoint that the message leaves, so that a crash between the two is not possible and nothing comes
//! twice. A message in a part of the log that is about to be deleted comes again before its time: its copy lives on. Progress is the state of the checkpoints alone. A checkpoint that cannot be served waits by itself and
//! holds up no other.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bolide_store::AppendBatch;
use bolide_wire::ids::TopicName;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::broker::Broker;
use crate::delay::delivery::{self, DeliveryError};
use crate::error::Failure;
use crate::handler::pop::ack;
use crate::state::pops::bits::Bits;
use crate::state::pops::change::{CheckpointId, Moved, PopKey};
use crate::state::pops::due::DueCheckpoint;
use crate::state::topics::Topic;

mod backoff;
mod found;
mod record;

use found::{Found, Returning};

/// Messages of one round, about.
const ROUND_MESSAGES: usize = 512;
/// Longest sleep: bounds how late a jump of the wall clock is noticed.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);
/// Pauses after failures grow from here ...
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// ... to here.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How often it is looked for messages in a part of the log that is about to be deleted.
const HURRY_EVERY_MS: u64 = 1_000;
/// A checkpoint that cannot be read is looked at again after this.
const POSTPONED_MS: i64 = 5_000;

/// Why a round did not succeed; it is tried again.
#[derive(Debug, thiserror::Error)]
enum RoundError {
    #[error(transparent)]
    Delivery(#[from] DeliveryError),
    #[error("{0}")]
    Failure(#[from] Failure),
}

/// Brings messages back until `stop`.
pub(crate) async fn serve(broker: Arc<Broker>, stop: CancellationToken) {
    let mut pause = FIRST_PAUSE;
    let mut leaving = broker.state.leaving();
    let mut hurried_ms = 0;
    while !stop.is_cancelled() {
        broker.popping.asleep_until(i64::MAX);
        let now = broker.clock.now().0;
        let (due, unlocked, next) = {
            let mut pops = broker.state.pops.lock();
            let below = leaving.borrow_and_update().0;
            if below > 0 && broker.monotonic_ms().saturating_sub(hurried_ms) >= HURRY_EVERY_MS {
                hurried_ms = broker.monotonic_ms();
                pops.hurry(below);
            }
            (pops.due(now, ROUND_MESSAGES), pops.unlocked(now), pops.next_due())
        };
        for key in unlocked {
            ack::wake(&broker, &key);
        }
        let sleep = if due.is_empty() {
            let until = u64::try_from(next.unwrap_or(i64::MAX).saturating_sub(now)).unwrap_or(0);
            broker.popping.asleep_until(next.unwrap_or(i64::MAX));
            Duration::from_millis(until).min(LONGEST_SLEEP)
        } else {
            let round = tokio::select! {
                round = round(&broker, due) => round,
                () = stop.cancelled() => return,
            };
            match round {
                Ok(()) => {
                    pause = FIRST_PAUSE;
                    continue;
                }
                Err(error) => {
                    tracing::warn!(%error, "messages come again later");
                    let wait = pause;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    wait
                }
            }
        };
        tokio::select! {
            () = tokio::time::sleep(sleep) => {}
            () = broker.popping.due_earlier() => {}
            changed = leaving.changed() => if changed.is_err() { return },
            () = stop.cancelled() => return,
        }
    }
}

async fn round(broker: &Arc<Broker>, due: Vec<DueCheckpoint>) -> Result<(), RoundError> {
    let reading = broker.clone();
    let found = broker.cold_read(move |_| Ok(Found::read(&reading, due))).await?;
    let Found { returning, gone, unreadable } = found;
    let (ripe, early): (Vec<_>, Vec<_>) = returning.into_iter().partition(|one| one.visible_at.is_none());
    give_up(broker, gone, &early).await?;
    {
        let mut pops = broker.state.pops.lock();
        let until = broker.clock.now().0.saturating_add(POSTPONED_MS);
        for checkpoint in unreadable {
            pops.postpone(&checkpoint, until);
        }
    }
    let topics = targets(broker, &ripe).await?;
    let mut batch = AppendBatch::default();
    let mut counts: HashMap<Arc<PopKey>, (u64, u64)> = HashMap::new();
    let mut too_long = Vec::new();
    for one in &ripe {
        let Some(topic) = topics.get(&one.target) else { continue };
        if record::add(broker, one, topic, &mut batch) {
            let (again, dead) = counts.entry(one.key.clone()).or_default();
            *(if one.dead { dead } else { again }) += 1;
        } else {
            too_long.push((one.key.clone(), one.id, Bits::of(one.id.start(), [one.offset])));
        }
    }
    give_up(broker, too_long, &[]).await?;
    delivery::append(broker, batch).await?;
    let mut wakes: BTreeSet<&Arc<PopKey>> = BTreeSet::new();
    for (key, (again, dead)) in &counts {
        broker.popping.counters.again.add(*again);
        broker.popping.counters.dead.add(*dead);
        if let Some(group) = broker.state.groups.find(&key.group).filter(|_| *dead > 0) {
            group.counters.dead_letters.add(*dead);
        }
        wakes.insert(key);
    }
    for key in wakes {
        ack::wake(broker, key);
    }
    Ok(())
}

/// The topics that messages come to, made where they do not exist.
async fn targets(broker: &Broker, ripe: &[Returning]) -> Result<HashMap<TopicName, Arc<Topic>>, Failure> {
    let mut topics = HashMap::new();
    for one in ripe {
        if !topics.contains_key(&one.target) {
            topics.insert(one.target.clone(), broker.make_unannounced_topic(&one.target, 1).await?);
        }
    }
    Ok(topics)
}

/// Journals that messages are lost to their group, and that others wait longer.
async fn give_up(
    broker: &Broker,
    gone: Vec<(Arc<PopKey>, CheckpointId, Bits)>,
    early: &[Returning],
) -> Result<(), Failure> {
    if gone.is_empty() && early.is_empty() {
        return Ok(());
    }
    let (sender, receiver) = oneshot::channel();
    {
        let now = broker.clock.now().0;
        let mut pops = broker.state.pops.lock();
        pops.journal.check()?;
        for (key, id, bits) in &gone {
            let messages = u64::try_from(bits.len()).unwrap_or(0);
            tracing::warn!(group = %key.group, topic = %key.topic, queue = key.queue.0, messages,
                "unacknowledged messages are gone: the log was deleted, or their group or topic");
            broker.popping.counters.dropped.add(messages);
            pops.ack(key, *id, bits);
        }
        for one in early {
            let visible_at = one.visible_at.unwrap_or(now);
            let CheckpointId(offset, made) = one.id.waiting(one.offset);
            pops.delay(&one.key, Moved(one.id, offset, made, visible_at));
        }
        pops.journal.wait(Box::new(move |logged| {
            // Nobody listening any more is no failure of the record.
            let _ = sender.send(logged);
        }));
    }
    broker.popping.journal.notify_one();
    receiver.await.map_err(|_| Failure::Stopping)?.map_err(Failure::from)
}
