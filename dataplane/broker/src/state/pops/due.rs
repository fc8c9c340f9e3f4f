//! Owns the order in which checkpoints are due: by their time, or earlier or later where that was asked for.

use std::sync::Arc;

use super::Pops;
use super::bits::Bits;
use super::change::{CheckpointId, PopKey};

/// A checkpoint at its time.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Due {
    pub(super) at: i64,
    pub(super) key: Arc<PopKey>,
    pub(super) id: CheckpointId,
}

/// A checkpoint whose time has come.
#[derive(Debug, Clone)]
pub(crate) struct DueCheckpoint {
    /// The queue.
    pub(crate) key: Arc<PopKey>,
    /// The checkpoint.
    pub(crate) id: CheckpointId,
    /// Its messages.
    pub(crate) out: Bits,
}

impl Pops {
    /// Checkpoints whose time has come, the longest overdue first, with about `most` messages.
    pub(crate) fn due(&self, now: i64, most: usize) -> Vec<DueCheckpoint> {
        let mut found = Vec::new();
        let mut messages = 0;
        for due in self.due.iter().take_while(|due| due.at <= now) {
            let known = self.queues.get(&due.key).and_then(|queue| queue.checkpoints.get(&due.id));
            let Some(checkpoint) = known else { continue };
            messages += checkpoint.out.len();
            found.push(DueCheckpoint { key: due.key.clone(), id: due.id, out: checkpoint.out.clone() });
            if messages >= most {
                break;
            }
        }
        found
    }

    /// Where the log holds the oldest message that is out.
    pub(crate) fn oldest(&self) -> Option<u64> {
        self.queues.values().flat_map(|queue| queue.checkpoints.values()).map(|known| known.log).min()
    }

    /// Makes every checkpoint due that has a message in the log before `below`. Its own time stays.
    pub(crate) fn hurry(&mut self, below: u64) {
        for (key, queue) in &mut self.queues {
            for (id, known) in queue.checkpoints.iter_mut().filter(|(_, known)| known.log < below) {
                let at = std::mem::replace(&mut known.due_at, 0);
                self.due.remove(&Due { at, key: key.clone(), id: *id });
                self.due.insert(Due { at: 0, key: key.clone(), id: *id });
            }
        }
    }

    /// Looks at a due checkpoint again at another time, so that it holds up no other. Its own time stays.
    pub(crate) fn postpone(&mut self, checkpoint: &DueCheckpoint, until: i64) {
        let (key, id) = (&checkpoint.key, checkpoint.id);
        let known = self.queues.get_mut(key).and_then(|queue| queue.checkpoints.get_mut(&id));
        if let Some(known) = known {
            let at = std::mem::replace(&mut known.due_at, until);
            self.due.remove(&Due { at, key: key.clone(), id });
            self.due.insert(Due { at: until, key: key.clone(), id });
        }
    }

    /// Ordered queues that are free by now; each is named once.
    pub(crate) fn unlocked(&mut self, now: i64) -> Vec<Arc<PopKey>> {
        let mut found = Vec::new();
        while self.unlocks.first().is_some_and(|(at, _)| *at <= now) {
            found.extend(self.unlocks.pop_first().map(|(_, key)| key));
        }
        found
    }

    /// When something is due next.
    pub(crate) fn next_due(&self) -> Option<i64> {
        let due = self.due.first().map(|due| due.at);
        due.into_iter().chain(self.unlocks.first().map(|(at, _)| *at)).min()
    }
}
