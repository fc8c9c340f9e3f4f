//! One replica on a faulty disk, driven step by step, and the little of a replication protocol that tests need.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
        mpsc,
    },
};

use bolide_store::{
    Ack, Acknowledging, AppendBatch, AppendError, EpochStart, Flush, OpenError, Placed, RawError, ReadLimits,
    ReadStatus, Refusal, RoleDone, RoleError, Steps, Store, StoreConfig,
    disk::{Crash, FaultyDisk},
};
use bolide_wire::{LogOffset, QueueId, QueueOffset, message::records};
use bytes::Bytes;

use crate::support::{ManualClock, Recorder, add, config, id_of, open, topic};

pub(super) type Answer = mpsc::Receiver<Result<Vec<Placed>, AppendError>>;
/// What can be read, by topic and queue: ids and log offsets from queue offset `min` on.
pub(super) type Visible = BTreeMap<(String, u32), Vec<(u64, u64)>>;

pub(super) struct Node {
    pub(super) name: &'static str,
    pub(super) disk: FaultyDisk,
    pub(super) clock: Arc<ManualClock>,
    pub(super) recorder: Arc<Recorder>,
    pub(super) config: StoreConfig,
    pub(super) store: Store,
    pub(super) steps: Steps,
}

pub(super) fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock(AtomicI64::new(1_700_000_000_000)))
}

/// A closure for a callback, and where its result comes out.
pub(super) fn told<T: Send + 'static>() -> (Box<dyn FnOnce(T) + Send>, mpsc::Receiver<T>) {
    let (tell, told) = mpsc::channel();
    let done = Box::new(move |result| {
        let _ = tell.send(result);
    });
    (done, told)
}

impl Node {
    pub(super) fn new(name: &'static str, seed: u64, flush: Flush) -> Self {
        let mut config = config(flush);
        config.replicated = true;
        config.max_pending_bytes = 1 << 20;
        Self::with(name, seed, config)
    }

    pub(super) fn with(name: &'static str, seed: u64, config: StoreConfig) -> Self {
        Self::on(name, FaultyDisk::new(seed), config)
    }

    pub(super) fn on(name: &'static str, disk: FaultyDisk, config: StoreConfig) -> Self {
        let (clock, recorder) = (clock(), Arc::new(Recorder::default()));
        let (store, steps) = open(&disk, &config, &clock, &recorder).expect("opens");
        Self { name, disk, clock, recorder, config, store, steps }
    }

    /// Goes down, if it is not, and comes up again with an observer that knows nothing.
    pub(super) fn restart(&mut self, crash: Crash) {
        self.try_restart(crash).expect("a crashed store opens");
    }

    pub(super) fn try_restart(&mut self, crash: Crash) -> Result<(), OpenError> {
        self.disk = self.disk.restart(crash);
        let recorder = Arc::new(Recorder::default());
        recorder.covers.store(self.recorder.covers.load(Ordering::SeqCst), Ordering::SeqCst);
        self.recorder = recorder;
        (self.store, self.steps) = open(&self.disk, &self.config, &self.clock, &self.recorder)?;
        Ok(())
    }

    pub(super) fn end(&self) -> u64 {
        self.store.watermarks().appended.0
    }

    fn role(&mut self, ask: impl FnOnce(&Store, RoleDone)) -> Result<LogOffset, RoleError> {
        let (done, told) = told();
        ask(&self.store, done);
        self.steps.write();
        told.try_recv().expect("answered within the step")
    }

    pub(super) fn lead(&mut self, epoch: u64) -> Result<LogOffset, RoleError> {
        let name = self.name;
        let led = self.role(|store, done| store.lead(epoch, name, done));
        self.store.set_acknowledging(Acknowledging::Yes);
        led
    }

    pub(super) fn follow(&mut self) -> Result<LogOffset, RoleError> {
        self.role(|store, done| store.follow(done))
    }

    pub(super) fn truncate(&mut self, to: u64) -> Result<LogOffset, RoleError> {
        self.role(|store, done| store.truncate(LogOffset(to), done))
    }

    pub(super) fn append_raw(&mut self, at: u64, bytes: Bytes) -> Result<LogOffset, RawError> {
        let (done, told) = told();
        self.store.append_raw(LogOffset(at), bytes, done);
        self.steps.write();
        told.try_recv().expect("answered within the step")
    }

    /// Hands records over, without a step.
    pub(super) fn send(&self, ack: Ack, wanted: &[(u64, &str, u32, usize)]) -> Result<Answer, Refusal> {
        let mut batch = AppendBatch::default();
        for (id, name, queue, len) in wanted {
            let queue = self.store.queue_or_create(&topic(name), QueueId(*queue));
            add(&mut batch, &queue, *id, *len);
        }
        let (done, told) = told();
        self.store.append(batch, ack, done).map_err(|refused| refused.reason)?;
        Ok(told)
    }

    /// Appends records and writes them.
    pub(super) fn append(&mut self, wanted: &[(u64, &str, u32, usize)]) -> Answer {
        let answer = self.send(Ack::Appended, wanted).expect("leads");
        self.steps.write();
        answer
    }

    /// Everyone has the log up to here; makes visible what may be.
    pub(super) fn confirm(&mut self, offset: u64) {
        self.store.set_confirmed(LogOffset(offset));
        while self.steps.dispatch() {}
    }

    pub(super) fn confirm_all(&mut self) {
        self.confirm(u64::MAX);
    }

    /// The bytes of the log, as its files hold them.
    pub(super) fn log(&self) -> Vec<u8> {
        let watermarks = self.store.watermarks();
        let mut bytes = Vec::new();
        for base in (watermarks.min.0..watermarks.appended.0).step_by(self.config.segment_bytes as usize) {
            let path = self.config.root.join(format!("commitlog/{base:020}"));
            bytes.extend(self.disk.contents(&path).expect("a file of the log"));
        }
        bytes.truncate((watermarks.appended.0 - watermarks.min.0) as usize);
        bytes
    }

    /// Everything after the log's end in its last file is zero, and no file comes after it.
    pub(super) fn assert_clean_end(&self) {
        let end = self.end();
        for path in self.disk.files() {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let in_log = path.parent().is_some_and(|dir| dir.ends_with("commitlog"));
            let Some(base) = in_log.then(|| name.parse::<u64>().ok()).flatten() else { continue };
            let bytes = self.disk.contents(&path).expect("listed");
            let used = end.saturating_sub(base).min(bytes.len() as u64) as usize;
            assert!(
                bytes[used..].iter().all(|byte| *byte == 0),
                "{}: zeros after {end} in {name}",
                self.name
            );
        }
    }

    /// All that can be read. Checks that queues are dense and in the order of the log.
    pub(super) fn visible(&self) -> Visible {
        let mut found = Visible::new();
        for name in self.store.topics() {
            for queue in self.store.queues_of(&name) {
                let mut ids = Vec::new();
                let mut next = queue.min();
                while next < queue.max() {
                    let read = self
                        .store
                        .read(&queue, next, &ReadLimits::default(), &mut |_| true)
                        .expect("readable");
                    assert_eq!(read.status, ReadStatus::Found, "{name} {} at {next}", queue.id());
                    for record in read.slices.iter().flat_map(|slice| records(slice)) {
                        let record = record.expect("whole records");
                        assert_eq!(record.queue_offset(), next, "queue offsets are dense");
                        record.verify_crc().expect("unharmed");
                        assert!(record.log_offset() < self.store.watermarks().confirmed);
                        ids.push((id_of(&record), record.log_offset().0));
                        next = QueueOffset(next.0 + 1);
                    }
                }
                if !ids.is_empty() {
                    assert!(ids.is_sorted_by_key(|(_, at)| *at));
                    found.insert((name.to_string(), queue.id().0), ids);
                }
            }
        }
        found
    }

    /// Ids of one queue.
    pub(super) fn ids(&self, name: &str, queue: u32) -> Vec<u64> {
        let visible = self.visible();
        let ids = visible.get(&(name.to_owned(), queue));
        ids.map_or_else(Vec::new, |ids| ids.iter().map(|(id, _)| *id).collect())
    }

    pub(super) fn applied(&self) -> Vec<u64> {
        self.recorder.applied.lock().expect("no panic").clone()
    }
}

/// Sends what `to` lacks of the log of `from`, `count` slices at most.
pub(super) fn stream(from: &Node, to: &mut Node, max_bytes: usize, count: usize) -> Result<(), RawError> {
    for _ in 0..count {
        if from.disk.is_down() {
            break;
        }
        let at = to.end();
        let bytes = from.store.log_slice(LogOffset(at), max_bytes).expect("readable");
        if bytes.is_empty() {
            break;
        }
        to.append_raw(at, bytes)?;
    }
    Ok(())
}

pub(super) fn stream_all(from: &Node, to: &mut Node) {
    stream(from, to, 3000, usize::MAX).expect("joins on");
}

/// Where the histories of two logs part, as their epochs tell.
pub(super) fn parting(a: &[EpochStart], a_end: u64, b: &[EpochStart], b_end: u64) -> u64 {
    let common = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    let end_of = |epochs: &[EpochStart], end: u64| epochs.get(common).map_or(end, |next| next.start.0);
    end_of(a, a_end).min(end_of(b, b_end))
}

/// Brings a follower to the history of the master.
pub(super) fn rejoin(master: &Node, follower: &mut Node) -> Result<(), RoleError> {
    let to = parting(&master.store.epochs(), master.end(), &follower.store.epochs(), follower.end());
    follower.truncate(to)?;
    Ok(())
}
