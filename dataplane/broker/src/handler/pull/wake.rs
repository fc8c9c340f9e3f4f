//! Owns the life of a held pull: into the hold table, and out of it when something arrives, its queue is deleted or its time is
//! over.

use std::sync::Arc;
use std::time::Duration;

use bolide_store::ReadStatus;
use bolide_wire::ids::QueueId;

use super::{Pull, finish, read, run};
use crate::broker::Broker;
use crate::handler::pop;
use crate::hold::HoldKey;
use crate::state::topics::SCHEDULE_TOPIC;

/// How often pulls of closed connections are dropped.
const SWEEP: Duration = Duration::from_secs(5);

/// Holds a pull until `deadline_ms` of the monotonic clock.
pub(super) fn hold(broker: &Arc<Broker>, pull: Pull, deadline_ms: u64) {
    let most = usize::try_from(broker.live.load().config.max_held_pulls).unwrap_or(usize::MAX);
    let key = pull.key();
    let (queue, from) = (pull.queue.clone(), pull.from);
    let nearest = {
        let mut held = broker.hold.lock();
        if held.len() >= most {
            drop(held);
            return run(broker, pull);
        }
        queue.watch(true);
        held.insert(key.clone(), deadline_ms, pull)
    };
    if nearest {
        broker.hold_changed.notify_one();
    }
    // Something may have arrived, or the queue may have gone, between the read and the watch.
    if queue.max() > from || queue.deleted() {
        arrived(broker, &key);
    }
}

/// Looks again at every pull held for a queue. In one that is deleted nothing arrives any more, and a topic made anew under its
/// name has others: such a pull is answered, and finds out with the next.
fn arrived(broker: &Arc<Broker>, key: &HoldKey) {
    let pulls = broker.hold.lock().take_queue(key);
    for (deadline_ms, mut pull) in pulls {
        if pull.abandoned() {
            continue;
        }
        let found = match read(broker, &pull) {
            Ok(found) => found,
            Err(error) => {
                super::unreadable(&pull, &error);
                continue;
            }
        };
        let gone = pull.queue.deleted();
        match found.status {
            _ if super::stopped_at_cold(&pull, &found) => {
                super::cold::search(broker, pull, found.next, Some(deadline_ms));
            }
            ReadStatus::NoMatchedMessage if !gone => {
                pull.skip_to(found.next);
                hold(broker, pull, deadline_ms);
            }
            ReadStatus::OffsetOverflowOne if !gone => hold(broker, pull, deadline_ms),
            _ if found.cold && !found.slices.is_empty() => super::cold::answer(broker, pull, found),
            _ => finish(broker, pull, found),
        }
    }
}

/// Wakes held pulls and delay levels as records arrive; ends with the broker.
pub(crate) async fn serve_arrivals(broker: Arc<Broker>) {
    loop {
        let queues = tokio::select! {
            queues = broker.state.arrivals.take() => queues,
            () = broker.shutdown.cancelled() => return,
        };
        for queue in queues {
            if queue.topic() == SCHEDULE_TOPIC {
                wake_level(&broker, queue.id());
            }
            pop::wait::arrived(&broker, &queue);
            arrived(&broker, &HoldKey { topic: queue.topic().clone(), queue: queue.id() });
        }
    }
}

fn wake_level(broker: &Broker, queue: QueueId) {
    let level = usize::try_from(queue.0).ok().and_then(|index| broker.level_arrived.get(index));
    if let Some(level) = level {
        level.notify_one();
    }
}

/// Answers held pulls whose time is over; ends with the broker.
pub(crate) async fn serve_deadlines(broker: Arc<Broker>) {
    let mut last_sweep = broker.monotonic_ms();
    loop {
        let now = broker.monotonic_ms();
        let (due, next) = {
            let mut held = broker.hold.lock();
            if now.saturating_sub(last_sweep) >= u64::try_from(SWEEP.as_millis()).unwrap_or(u64::MAX) {
                held.retain(|pull| !pull.abandoned());
                last_sweep = now;
            }
            (held.take_due(now), held.next_deadline())
        };
        for pull in due {
            if !pull.abandoned() {
                run(&broker, pull);
            }
        }
        let pause = next.map_or(SWEEP, |next| Duration::from_millis(next.saturating_sub(now)).min(SWEEP));
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = broker.hold_changed.notified() => {}
            () = broker.shutdown.cancelled() => return,
        }
    }
}

/// Answers every held pull as if its time were over, so that a shutdown need not wait for them.
pub(crate) fn answer_all(broker: &Arc<Broker>) {
    let held = broker.hold.lock().take_due(u64::MAX);
    for pull in held {
        run(broker, pull);
    }
}
