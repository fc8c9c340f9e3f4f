//! Owns the work that only a master does unasked: whatever appends to the log by itself.
//!
//! Begun when the broker becomes master, or goes on after a hold; ended before another becomes master. A duty takes its progress
//! from the projections when it begins and keeps nothing of its own from an earlier term. So it waits until they have come to
//! all that is in the log: an earlier duty may have been ended while what it appended was not confirmed. Only the journal of
//! pops does not: it works for clients, and a hold ends it with nothing of its own unconfirmed.

use std::future::Future;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::broker::Broker;
use crate::{delay, housekeeping, pop, timers, transaction};

/// The duties of one term as master.
pub(crate) struct Duties {
    stop: CancellationToken,
    /// What was appended is not waited for either.
    abandoned: CancellationToken,
    tasks: TaskTracker,
}

impl Duties {
    /// Begins all duties; they end with `end`, or with the broker.
    pub(crate) fn begin(broker: &Arc<Broker>) -> Duties {
        let duties = Duties::none(broker);
        let abandoned = duties.abandoned.clone();
        duties.spawn(|stop| pop::journal::serve(broker.clone(), stop, abandoned));
        let (tasks, broker) = (duties.tasks.clone(), broker.clone());
        duties.spawn(|stop| async move {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = broker.caught_up() => {}
            }
            for level in 1..=broker.levels.count() {
                tasks.spawn(delay::serve_level(broker.clone(), level, stop.clone()));
            }
            tasks.spawn(timers::serve(broker.clone(), stop.clone()));
            tasks.spawn(housekeeping::log_offsets(broker.clone(), stop.clone()));
            tasks.spawn(housekeeping::settle_offsets(broker.clone(), stop.clone()));
            tasks.spawn(transaction::serve(broker.clone(), stop.clone()));
            tasks.spawn(pop::revive::serve(broker, stop));
        });
        duties
    }

    /// No duty yet.
    pub(crate) fn none(broker: &Broker) -> Duties {
        let (stop, abandoned) = (broker.shutdown.child_token(), CancellationToken::new());
        Duties { stop, abandoned, tasks: TaskTracker::new() }
    }

    /// Begins one more.
    pub(crate) fn spawn<F: Future<Output = ()> + Send + 'static>(
        &self,
        duty: impl FnOnce(CancellationToken) -> F,
    ) {
        self.tasks.spawn(duty(self.stop.clone()));
    }

    /// Ends all duties and waits for them: as long as it takes until what they do for clients is decided. Who gives that up may
    /// wait again.
    pub(crate) async fn end(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// All duties end soon, whatever becomes of what they have appended: its outcome cannot be told to anybody.
    pub(crate) fn abandon(&self) {
        self.stop.cancel();
        self.abandoned.cancel();
    }
}
