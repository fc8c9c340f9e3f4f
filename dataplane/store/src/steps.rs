//! The store's work in steps, for whoever owns the threads: the shell, a test, the simulator.

use std::{io, sync::Arc};

use crate::{
    checkpoint::Checkpointer,
    commit_log::{
        append::{Request, Writer},
        replay::Follower,
    },
    flush::Flusher,
    index::Indexer,
    retention::Retention,
    shared::Shared,
};

/// All workers of one store. Each may be driven from a thread of its own.
pub struct Steps {
    pub(crate) shared: Arc<Shared>,
    pub(crate) writer: Writer,
    pub(crate) flusher: Flusher,
    pub(crate) follower: Follower,
    pub(crate) checkpointer: Checkpointer,
    pub(crate) indexer: Indexer,
    pub(crate) retention: Retention,
    requests: Vec<Request>,
}

impl std::fmt::Debug for Steps {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Steps").finish_non_exhaustive()
    }
}

impl Steps {
    pub(crate) fn new(shared: &Arc<Shared>, end: u64) -> io::Result<Self> {
        let segments = &shared.log.segments;
        let segment = match segments.find(end) {
            Some(segment) => segment,
            None => segments.add()?,
        };
        let newest = bolide_wire::EpochMillis(shared.log.newest_time());
        Ok(Self {
            shared: Arc::clone(shared),
            writer: Writer::new(Arc::clone(shared), segment, end, newest),
            flusher: Flusher::new(Arc::clone(shared)),
            follower: Follower::new(Arc::clone(shared)),
            checkpointer: Checkpointer::new(Arc::clone(shared)),
            indexer: Indexer::new(Arc::clone(shared)),
            retention: Retention::new(Arc::clone(shared)),
            requests: Vec::new(),
        })
    }

    /// Does all that waits for the writer; returns how many requests there were.
    pub fn write(&mut self) -> usize {
        self.shared.inbox.take(&mut self.requests);
        let count = self.requests.len();
        self.writer.step(self.shared.clock.now(), &mut self.requests);
        count
    }

    /// One group flush; false when there was nothing to flush.
    pub fn flush(&mut self) -> bool {
        self.flusher.step()
    }

    /// Makes a stretch of confirmed log visible that no writer holds in memory: what a replica that follows was given, and
    /// what a new master found. True when more is confirmed.
    pub fn dispatch(&mut self) -> bool {
        self.follower.step()
    }

    /// One checkpoint, if there is anything new; false when none was made.
    pub fn checkpoint(&mut self) -> bool {
        self.checkpointer.step()
    }

    /// One step of the key index; true when more of the log waits to be read.
    pub fn index(&mut self) -> bool {
        self.indexer.step()
    }

    /// Makes the next commit log file ahead of its use.
    pub fn prepare_segment(&mut self) -> io::Result<()> {
        let made = self.shared.log.segments.prepare();
        self.shared.check_disk();
        made
    }

    /// One round of retention; returns the number of deleted commit log files.
    pub fn retain(&mut self) -> usize {
        self.retention.step(self.shared.clock.now())
    }
}
