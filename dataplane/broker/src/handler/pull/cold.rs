//! Owns the answer to a pull of data that may not be in memory: its pages are touched on a bounded pool of threads before
//! the answer is written, so that a page fault never holds up a connection's task.

use std::hint::black_box;
use std::sync::Arc;

use bolide_store::ReadResult;
use bytes::Bytes;

use super::{Pull, finish, refuse};
use crate::broker::Broker;
use crate::error::Failure;

const PAGE_BYTES: usize = 4096;

/// Touches what was found and answers.
pub(super) fn answer(broker: &Arc<Broker>, pull: Pull, found: ReadResult) {
    let broker = broker.clone();
    let conn = pull.conn.clone();
    conn.spawn(async move {
        let Ok(permit) = broker.cold_reads.clone().acquire_owned().await else { return };
        let (conn, command) = (pull.conn.clone(), pull.command.clone());
        let read = tokio::task::spawn_blocking(move || {
            touch(&found.slices);
            drop(permit);
            finish(&broker, pull, found);
        });
        if read.await.is_err() {
            refuse(&conn, &command, Failure::Internal("the read of old messages failed"));
        }
    });
}

fn touch(slices: &[Bytes]) {
    for slice in slices {
        for byte in slice.iter().step_by(PAGE_BYTES).chain(slice.last()) {
            black_box(*byte);
        }
    }
}
