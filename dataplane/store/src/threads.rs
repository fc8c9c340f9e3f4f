//! The shell around the steps: one named thread each, ended by closing the inbox and the bells.

use std::{
    io,
    sync::Arc,
    thread::{Builder, JoinHandle},
    time::Duration,
};

use crate::{Flush, retention::MEASURE_INTERVAL, shared::Shared, steps::Steps};

/// Time after which the index looks for keys that are too few to ring for.
const INDEX_INTERVAL: Duration = Duration::from_secs(1);
/// Time after which dispatch looks for confirmed log that nobody rang for.
const DISPATCH_INTERVAL: Duration = Duration::from_secs(1);
/// Time after which a failed segment is tried again.
const SEGMENT_INTERVAL: Duration = Duration::from_secs(5);

pub(crate) struct Threads {
    handles: Vec<JoinHandle<()>>,
}

impl Threads {
    pub(crate) fn start(shared: &Arc<Shared>, steps: Steps) -> io::Result<Self> {
        let Steps {
            mut writer, mut flusher, mut follower, mut checkpointer, mut indexer, mut retention, ..
        } = steps;
        let mut handles = Vec::new();
        let mut spawn = |name: &str, run: Box<dyn FnOnce() + Send>| -> io::Result<()> {
            handles.push(Builder::new().name(name.to_owned()).spawn(run)?);
            Ok(())
        };
        let own = Arc::clone(shared);
        spawn(
            "store-writer",
            Box::new(move || {
                let mut requests = Vec::new();
                while own.inbox.wait(&mut requests) {
                    writer.step(own.clock.now(), &mut requests);
                    if own.flush_is_urgent() {
                        own.bells.flush.ring();
                    }
                }
            }),
        )?;
        let own = Arc::clone(shared);
        spawn(
            "store-flush",
            Box::new(move || {
                let mut open = true;
                while open {
                    if !(own.flush_is_urgent() && flusher.step()) {
                        open = own.bells.flush.wait(own.config.flush_interval);
                        if own.config.flush == Flush::Async || own.flush_is_urgent() {
                            flusher.step();
                        }
                    }
                }
            }),
        )?;
        let own = Arc::clone(shared);
        spawn(
            "store-checkpoint",
            Box::new(move || {
                while own.bells.checkpoint.wait(own.config.checkpoint_interval) {
                    checkpointer.step();
                }
            }),
        )?;
        if shared.config.replicated {
            let own = Arc::clone(shared);
            spawn(
                "store-dispatch",
                Box::new(move || {
                    while own.bells.dispatch.wait(DISPATCH_INTERVAL) {
                        while follower.step() {}
                    }
                }),
            )?;
        }
        let own = Arc::clone(shared);
        spawn(
            "store-index",
            Box::new(move || {
                let mut more = true;
                while own.bells.index.wait(if more { Duration::ZERO } else { INDEX_INTERVAL }) {
                    more = indexer.step();
                }
            }),
        )?;
        let own = Arc::clone(shared);
        spawn(
            "store-segment",
            Box::new(move || {
                while own.bells.segment.wait(SEGMENT_INTERVAL) {
                    // Not before the first record: an unused store stays one file large.
                    if own.log.appended() > 0
                        && let Err(error) = own.log.segments.prepare()
                    {
                        tracing::warn!(%error, "the next commit log file could not be made ahead");
                    }
                    own.check_disk();
                }
            }),
        )?;
        let own = Arc::clone(shared);
        spawn(
            "store-retention",
            Box::new(move || {
                let interval = own.config.retention.interval;
                while own.bells.retention.wait(interval.min(MEASURE_INTERVAL)) {
                    retention.step(own.clock.now());
                }
            }),
        )?;
        Ok(Self { handles })
    }

    /// Waits for all threads to end, except the one that calls.
    pub(crate) fn join(self) {
        for handle in self.handles {
            if handle.thread().id() != std::thread::current().id() && handle.join().is_err() {
                tracing::error!("a thread of the store has panicked");
            }
        }
    }
}
