//! Owns the answer to a pull of data that may not be in memory: its pages are touched on a bounded pool of threads before
//! the answer is written, so that a page fault never holds up a connection's task.

use std::hint::black_box;
use std::sync::Arc;

use bolide_store::{ReadResult, ReadStatus};
use bolide_wire::ids::QueueOffset;
use bytes::Bytes;

use super::{Pull, finish, read_cold, refuse, unreadable, wake};
use crate::broker::Broker;
use crate::error::Failure;

const PAGE_BYTES: usize = 4096;

/// Touches what was found and answers.
pub(super) fn answer(broker: &Arc<Broker>, pull: Pull, found: ReadResult) {
    on_the_pool(broker, pull, move |broker, pull| {
        touch(&found.slices);
        finish(broker, pull, found);
    });
}

/// Reads from `next` on through a filter that has to look at the records, and answers; what was refused before is not read
/// again. A pull that was held until `held_until_ms` goes on being held when nothing matches.
pub(super) fn search(broker: &Arc<Broker>, mut pull: Pull, next: QueueOffset, held_until_ms: Option<u64>) {
    pull.skip_to(next);
    on_the_pool(broker, pull, move |broker, mut pull| match read_cold(broker, &pull) {
        Ok(found) => {
            if let (ReadStatus::NoMatchedMessage, Some(deadline_ms)) = (found.status, held_until_ms) {
                pull.skip_to(found.next);
                return wake::hold(broker, pull, deadline_ms);
            }
            touch(&found.slices);
            finish(broker, pull, found);
        }
        Err(error) => unreadable(&pull, &error),
    });
}

fn on_the_pool(broker: &Arc<Broker>, pull: Pull, work: impl FnOnce(&Arc<Broker>, Pull) + Send + 'static) {
    let broker = broker.clone();
    let conn = pull.conn.clone();
    conn.spawn(async move {
        let Ok(permit) = broker.cold_reads.clone().acquire_owned().await else { return };
        let (conn, command) = (pull.conn.clone(), pull.command.clone());
        let read = tokio::task::spawn_blocking(move || {
            work(&broker, pull);
            drop(permit);
        });
        if read.await.is_err() {
            refuse(&conn, &command, Failure::Internal("the read of old messages failed"));
        }
    });
}

/// Brings the pages of what was found into memory.
pub(in crate::handler) fn touch(slices: &[Bytes]) {
    for slice in slices {
        for byte in slice.iter().step_by(PAGE_BYTES).chain(slice.last()) {
            black_box(*byte);
        }
    }
}
