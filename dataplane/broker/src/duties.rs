//! Owns the work that only a master does unasked: whatever appends to the log by itself.
//!
//! Begun when the broker becomes master and everything that it holds is confirmed and applied; ended before another becomes
//! master. A duty takes its progress from the projections when it begins and keeps nothing of its own from an earlier term.

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
        for level in 1..=broker.levels.count() {
            duties.spawn(|stop| delay::serve_level(broker.clone(), level, stop));
        }
        duties.spawn(|stop| timers::serve(broker.clone(), stop));
        duties.spawn(|stop| housekeeping::log_offsets(broker.clone(), stop));
        duties.spawn(|stop| housekeeping::settle_offsets(broker.clone(), stop));
        duties.spawn(|stop| transaction::serve(broker.clone(), stop));
        let abandoned = duties.abandoned.clone();
        duties.spawn(|stop| pop::journal::serve(broker.clone(), stop, abandoned));
        duties.spawn(|stop| pop::revive::serve(broker.clone(), stop));
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
