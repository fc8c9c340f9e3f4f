//! Owns the life of a held pop or notification: in when there is nothing, out when something arrives, comes again or is
//! unlocked, or when its time is over.
//!
//! A message wakes one pop; the next one is woken while there is more. So the work is that of the messages, not that of
//! all who wait.

use std::sync::Arc;
use std::time::Duration;

use bolide_store::Queue;
use bolide_wire::ResponseCode;
use bolide_wire::ids::QueueId;

use super::{NotifyRequest, PopRequest, Target, sources, take};
use crate::broker::Broker;
use crate::pop::hold::{Held, Room, WaitKey};

/// How often requests of closed connections are dropped.
const SWEEP: Duration = Duration::from_secs(5);
/// Requests that find nothing before the rest is left waiting: they may want another queue or have another filter.
const FRUITLESS: usize = 4;

/// A request that waits.
pub(crate) enum Waiting {
    /// For messages.
    Pop(Box<PopRequest>),
    /// To hear that there are messages.
    Notification(Box<NotifyRequest>),
}

impl Waiting {
    fn target(&self) -> &Target {
        match self {
            Waiting::Pop(request) => &request.target,
            Waiting::Notification(request) => &request.target,
        }
    }

    fn abandoned(&self) -> bool {
        match self {
            Waiting::Pop(request) => request.conn.is_closed(),
            Waiting::Notification(request) => request.conn.is_closed(),
        }
    }

    /// Answers that there was nothing.
    fn nothing(self, broker: &Broker, code: ResponseCode) {
        match self {
            Waiting::Pop(request) => request.nothing(broker, code),
            Waiting::Notification(request) => {
                request.answer(false, code == ResponseCode::POLLING_FULL);
            }
        }
    }
}

/// Holds a pop that found nothing, if it may be held.
pub(super) fn hold_or_answer(broker: &Arc<Broker>, waiting: Waiting) {
    let Waiting::Pop(request) = &waiting else { return };
    let deadline = request.started_ms.saturating_add(request.hold_ms);
    if request.hold_ms == 0 {
        return waiting.nothing(broker, ResponseCode::POLLING_TIMEOUT);
    }
    hold(broker, waiting, deadline);
}

/// Holds a notification, if it may be held.
pub(super) fn hold_notification(broker: &Arc<Broker>, request: NotifyRequest, hold_ms: u64) {
    let waiting = Waiting::Notification(Box::new(request));
    if hold_ms == 0 {
        return waiting.nothing(broker, ResponseCode::POLLING_TIMEOUT);
    }
    hold(broker, waiting, broker.monotonic_ms().saturating_add(hold_ms));
}

fn hold(broker: &Arc<Broker>, waiting: Waiting, deadline_ms: u64) {
    if broker.shutdown.is_cancelled() {
        return waiting.nothing(broker, ResponseCode::POLLING_TIMEOUT);
    }
    let target = waiting.target().clone();
    let key = target.wait_key();
    let live = broker.live.load();
    let limit = |limit: u32| usize::try_from(limit).unwrap_or(usize::MAX);
    let room =
        Room { each: limit(live.config.pop_polling_size), all: limit(live.config.max_pop_polling_size) };
    let inserted = broker.popping.hold.lock().insert(&key, target.queue, deadline_ms, waiting, room);
    match inserted {
        Err(waiting) => return waiting.nothing(broker, ResponseCode::POLLING_FULL),
        Ok(true) => broker.popping.hold_changed.notify_one(),
        Ok(false) => {}
    }
    sources::watch(broker, &target);
    // Something may have arrived between the read and the watch.
    if sources::any(broker, &target) {
        wake(broker, &key, None);
    }
}

/// Something arrived in a queue.
pub(crate) fn arrived(broker: &Arc<Broker>, queue: &Arc<Queue>) {
    let groups = broker.popping.hold.lock().groups_of(queue.topic());
    for key in groups {
        wake(broker, &key, Some(queue.id()));
    }
}

/// Gives what there is to those of a group who wait: for one queue, or for any with `None`.
pub(crate) fn wake(broker: &Arc<Broker>, key: &WaitKey, queue: Option<QueueId>) {
    loop {
        serve(broker, key, queue);
        let Some(target) = still_wanted(broker, key) else { return };
        sources::watch(broker, &target);
        if !sources::any(broker, &target) {
            return;
        }
    }
}

/// What those who still wait want together.
fn still_wanted(broker: &Broker, key: &WaitKey) -> Option<Target> {
    let mut hold = broker.popping.hold.lock();
    let first = hold.take_first(key, None)?;
    let target = Target { queue: first.queue(), ..first.waiting.target().clone() };
    hold.put_back(key, first);
    Some(target)
}

/// Serves waiting requests in order until some find nothing.
fn serve(broker: &Arc<Broker>, key: &WaitKey, queue: Option<QueueId>) {
    let mut fruitless: Vec<Held<Waiting>> = Vec::new();
    while fruitless.len() < FRUITLESS {
        let taken = broker.popping.hold.lock().take_first(key, queue);
        let Some(held) = taken else { break };
        if held.waiting.abandoned() {
            continue;
        }
        let (rest, waiting) = held.apart();
        match waiting {
            Waiting::Pop(request) => {
                if let Err(request) = take::attempt(broker, request) {
                    fruitless.push(rest.with(Waiting::Pop(request)));
                }
            }
            Waiting::Notification(request) if sources::any(broker, &request.target) => {
                request.answer(true, false);
            }
            waiting @ Waiting::Notification(_) => fruitless.push(rest.with(waiting)),
        }
    }
    let mut hold = broker.popping.hold.lock();
    for held in fruitless {
        hold.put_back(key, held);
    }
}

/// Answers held requests whose time is over; ends with the broker, and answers all then.
pub(crate) async fn serve_deadlines(broker: Arc<Broker>) {
    let mut last_sweep = broker.monotonic_ms();
    loop {
        let now = broker.monotonic_ms();
        let (due, next) = {
            let mut held = broker.popping.hold.lock();
            if now.saturating_sub(last_sweep) >= u64::try_from(SWEEP.as_millis()).unwrap_or(u64::MAX) {
                held.retain(|waiting| !waiting.abandoned());
                last_sweep = now;
            }
            (held.take_due(now), held.next_deadline())
        };
        for waiting in due.into_iter().filter(|waiting| !waiting.abandoned()) {
            waiting.nothing(&broker, ResponseCode::POLLING_TIMEOUT);
        }
        let pause = next.map_or(SWEEP, |next| Duration::from_millis(next.saturating_sub(now)).min(SWEEP));
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = broker.popping.hold_changed.notified() => {}
            () = broker.shutdown.cancelled() => break,
        }
    }
    let held = broker.popping.hold.lock().take_due(u64::MAX);
    for waiting in held {
        waiting.nothing(&broker, ResponseCode::POLLING_TIMEOUT);
    }
}
