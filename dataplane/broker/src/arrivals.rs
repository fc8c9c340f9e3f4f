//! Owns the way from the store's dispatch to whoever waits for a queue: the list of queues in which something arrived.
//!
//! A queue is announced once and then no longer watched, until someone waits for it again; so the list is bounded by the
//! number of queues.

use std::sync::Arc;

use bolide_store::Queue;
use parking_lot::Mutex;
use tokio::sync::Notify;

/// Queues in which something arrived since they were last taken.
#[derive(Default)]
pub(crate) struct Arrivals {
    queues: Mutex<Vec<Arc<Queue>>>,
    wake: Notify,
}

impl Arrivals {
    /// Adds a queue; called by the store, must not block.
    pub(crate) fn push(&self, queue: &Arc<Queue>) {
        queue.watch(false);
        self.queues.lock().push(queue.clone());
        self.wake.notify_one();
    }

    /// Waits until there is one, and takes all.
    pub(crate) async fn take(&self) -> Vec<Arc<Queue>> {
        loop {
            let queues = std::mem::take(&mut *self.queues.lock());
            if !queues.is_empty() {
                return queues;
            }
            self.wake.notified().await;
        }
    }
}
