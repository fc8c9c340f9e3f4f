//! A store on a faulty disk, driven step by step, and a model of what it must hold.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
        mpsc,
    },
    time::Duration,
};

use bolide_store::{
    Ack, AppendBatch, AppendError, Clock, Entry, Flush, Observer, OpenError, Placed, Queue, ReadLimits,
    ReadStatus, Steps, Store, StoreConfig, StoreMetrics, Tags,
    disk::{Crash, FaultyDisk},
    index_hash,
};
use bolide_wire::{
    EpochMillis, LogOffset, QueueId, QueueOffset, TopicName,
    message::{NewRecord, RecordRef, encode_record, records},
    properties::tags_code,
};

pub(crate) const SEGMENT: u64 = 16 << 10;

/// xorshift64*: the same numbers for a seed everywhere.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) % limit
    }
}

/// A clock that only the test moves.
pub(crate) struct ManualClock(pub(crate) AtomicI64);

impl Clock for ManualClock {
    fn now(&self) -> EpochMillis {
        EpochMillis(self.0.load(Ordering::SeqCst))
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::SeqCst).unsigned_abs())
    }
}

/// Notes what it is told.
pub(crate) struct Recorder {
    pub(crate) replay_from: AtomicU64,
    pub(crate) covers: AtomicU64,
    /// Lowest log offset still needed.
    pub(crate) needs: AtomicU64,
    pub(crate) applied: std::sync::Mutex<Vec<u64>>,
    pub(crate) arrived: std::sync::Mutex<Vec<(String, u32)>>,
}

impl Default for Recorder {
    fn default() -> Self {
        Self {
            replay_from: AtomicU64::default(),
            covers: AtomicU64::default(),
            needs: AtomicU64::new(u64::MAX),
            applied: std::sync::Mutex::default(),
            arrived: std::sync::Mutex::default(),
        }
    }
}

impl Observer for Recorder {
    fn replay_from(&self) -> LogOffset {
        LogOffset(self.replay_from.load(Ordering::SeqCst))
    }

    fn apply(&self, record: &RecordRef<'_>, at: LogOffset) {
        assert_eq!(record.log_offset(), at);
        self.applied.lock().expect("no panic").push(at.0);
    }

    fn arrived(&self, queue: &Arc<Queue>) {
        self.arrived.lock().expect("no panic").push((queue.topic().to_string(), queue.id().0));
    }

    fn snapshot_covers(&self) -> LogOffset {
        LogOffset(self.covers.load(Ordering::SeqCst))
    }

    fn release(&self, below: LogOffset) -> bool {
        self.needs.load(Ordering::SeqCst) >= below.0
    }
}

/// One record as the test asked for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) id: u64,
    pub(crate) topic: String,
    pub(crate) queue: u32,
    pub(crate) ack: Ack,
}

type Answer = Result<Vec<Placed>, AppendError>;

/// A store, its workers, and what was asked of it.
pub(crate) struct Harness {
    pub(crate) disk: FaultyDisk,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) recorder: Arc<Recorder>,
    pub(crate) config: StoreConfig,
    pub(crate) store: Store,
    pub(crate) steps: Steps,
    pub(crate) model: Model,
    waiting: Vec<(Vec<Wanted>, mpsc::Receiver<Answer>)>,
    next_id: u64,
}

#[derive(Default)]
pub(crate) struct Model {
    /// Everything ever handed over, by id.
    pub(crate) sent: BTreeMap<u64, Wanted>,
    /// What was acknowledged, and where it lies.
    pub(crate) acked: BTreeMap<u64, Placed>,
    /// Highest `max` seen of each queue.
    pub(crate) seen: BTreeMap<(String, u32), i64>,
}

pub(crate) fn config(flush: Flush) -> StoreConfig {
    let mut config = StoreConfig::new("/store");
    config.segment_bytes = SEGMENT;
    config.queue_file_units = 16;
    config.index_slots = 64;
    config.index_entries = 64;
    config.flush = flush;
    config.max_unwritten_queue_bytes = 1 << 20;
    config.max_pending_bytes = 64 << 10;
    config.retention.refuse_free_bytes = 0;
    config
}

pub(crate) fn open(
    disk: &FaultyDisk,
    config: &StoreConfig,
    clock: &Arc<ManualClock>,
    recorder: &Arc<Recorder>,
) -> Result<(Store, Steps), OpenError> {
    Store::open_stepped(
        config.clone(),
        Arc::new(disk.clone()),
        Arc::clone(clock) as Arc<dyn Clock>,
        StoreMetrics::new(),
        Arc::clone(recorder) as Arc<dyn Observer>,
    )
}

pub(crate) fn topic(name: &str) -> TopicName {
    TopicName::new(name).expect("valid topic")
}

/// Body that tells which record this is, of a length that depends on it.
pub(crate) fn body(id: u64, len: usize) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    body.extend((0..len).map(|at| (at as u8).wrapping_mul(31).wrapping_add(id as u8) | 1));
    body
}

pub(crate) fn id_of(record: &RecordRef<'_>) -> u64 {
    u64::from_be_bytes(*record.body().first_chunk::<8>().expect("test records begin with an id"))
}

pub(crate) fn key(id: u64) -> String {
    format!("key-{id}")
}

/// Adds one record to a batch.
pub(crate) fn add(batch: &mut AppendBatch, queue: &Arc<Queue>, id: u64, len: usize) {
    let properties = format!("UNIQ_KEY\u{1}{}\u{2}TAGS\u{1}tag{}\u{2}", key(id), id % 3);
    let record = NewRecord {
        topic: queue.topic(),
        queue_id: queue.id(),
        flag: 0,
        sys_flag: 0,
        born_timestamp: EpochMillis(1),
        born_host: ([127, 0, 0, 1], 5000).into(),
        store_host: ([127, 0, 0, 1], 10911).into(),
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body: &body(id, len),
        properties: &properties,
    };
    let len = encode_record(&record, &mut batch.buf).expect("record fits");
    let mut entry = Entry::new(len, Arc::clone(queue));
    entry.tags = Tags::Hash(tags_code(&format!("tag{}", id % 3)));
    entry.keys.push(index_hash(queue.topic(), &key(id)));
    entry.state = id.is_multiple_of(5);
    batch.entries.push(entry);
}

impl Harness {
    pub(crate) fn new(seed: u64, flush: Flush) -> Self {
        Self::with(seed, config(flush))
    }

    pub(crate) fn with(seed: u64, config: StoreConfig) -> Self {
        let disk = FaultyDisk::new(seed);
        let clock = Arc::new(ManualClock(AtomicI64::new(1_700_000_000_000)));
        let recorder = Arc::new(Recorder::default());
        recorder.replay_from.store(u64::MAX, Ordering::SeqCst);
        let (store, steps) = open(&disk, &config, &clock, &recorder).expect("an empty disk opens");
        let (model, waiting) = (Model::default(), Vec::new());
        Self { disk, clock, recorder, config, store, steps, model, waiting, next_id: 1 }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.config.root.join(name)
    }

    pub(crate) fn queue(&self, name: &str, id: u32) -> Arc<Queue> {
        self.store.queue_or_create(&topic(name), QueueId(id))
    }

    /// Appends records of these body lengths to queues.
    pub(crate) fn append(&mut self, ack: Ack, wanted: &[(&str, u32, usize)]) {
        let mut batch = AppendBatch::default();
        let mut sent = Vec::new();
        for (name, queue, len) in wanted {
            let id = self.next_id;
            self.next_id += 1;
            add(&mut batch, &self.queue(name, *queue), id, *len);
            sent.push(Wanted { id, topic: (*name).to_owned(), queue: *queue, ack });
        }
        let (tell, answer) = mpsc::channel();
        let done = Box::new(move |result| {
            let _ = tell.send(result);
        });
        if self.store.append(batch, ack, done).is_ok() {
            self.model.sent.extend(sent.iter().map(|wanted| (wanted.id, wanted.clone())));
            self.waiting.push((sent, answer));
        }
    }

    /// Notes acknowledgements and what is visible.
    pub(crate) fn settle(&mut self) {
        let model = &mut self.model;
        self.waiting.retain(|(sent, answer)| match answer.try_recv() {
            Ok(Ok(placed)) => {
                assert_eq!(placed.len(), sent.len());
                model.acked.extend(sent.iter().map(|wanted| wanted.id).zip(placed));
                false
            }
            Ok(Err(_)) | Err(mpsc::TryRecvError::Disconnected) => false,
            Err(mpsc::TryRecvError::Empty) => true,
        });
        for name in self.store.topics() {
            for queue in self.store.queues_of(&name) {
                model.seen.insert((name.to_string(), queue.id().0), queue.max().0);
            }
        }
    }

    pub(crate) fn write(&mut self) {
        self.steps.write();
        self.settle();
    }

    pub(crate) fn flush(&mut self) {
        self.steps.flush();
        self.settle();
    }

    /// Goes down, comes up again.
    pub(crate) fn restart(&mut self, crash: Crash) {
        self.settle();
        self.disk = self.disk.restart(crash);
        let (store, steps) =
            open(&self.disk, &self.config, &self.clock, &self.recorder).expect("a crashed store opens");
        (self.store, self.steps) = (store, steps);
        self.waiting.clear();
    }

    pub(crate) fn close(&mut self) {
        self.store.close();
        self.settle();
    }

    /// Everything that can be read, by id. Checks that queues are dense and nothing is made up.
    pub(crate) fn read_all(&self) -> BTreeMap<u64, (String, u32, i64, u64)> {
        let mut found = BTreeMap::new();
        for name in self.store.topics() {
            for queue in self.store.queues_of(&name) {
                let mut next = queue.min();
                let mut last_log = None;
                while next < queue.max() {
                    let limits = ReadLimits { max_messages: 7, ..ReadLimits::default() };
                    let read = self.store.read(&queue, next, &limits, &mut |_| true).expect("readable");
                    assert_eq!(read.status, ReadStatus::Found, "{name} {} at {next}", queue.id());
                    for record in read.slices.iter().flat_map(|slice| records(slice)) {
                        let record = record.expect("whole records");
                        record.verify_crc().expect("unharmed body");
                        assert_eq!(record.queue_offset(), next, "queue offsets are dense");
                        assert!(last_log < Some(record.log_offset()), "log order");
                        last_log = Some(record.log_offset());
                        let id = id_of(&record);
                        let wanted = self.model.sent.get(&id).expect("nothing is made up");
                        assert_eq!(
                            (wanted.topic.as_str(), wanted.queue),
                            (record.topic(), record.queue_id().0)
                        );
                        assert_eq!(record.properties().get("UNIQ_KEY"), Some(key(id).as_str()));
                        let place = (name.to_string(), queue.id().0, next.0, record.log_offset().0);
                        assert_eq!(found.insert(id, place), None, "no record twice");
                        next = QueueOffset(next.0 + 1);
                    }
                    assert_eq!(read.next, next);
                }
            }
        }
        found
    }

    /// Every acknowledged record is where it was said to be. `only`: of this class.
    pub(crate) fn check_acked(&self, only: Option<Ack>) {
        let found = self.read_all();
        for (id, placed) in &self.model.acked {
            let wanted = &self.model.sent[id];
            if only.is_some_and(|ack| ack != wanted.ack) {
                continue;
            }
            let place = (wanted.topic.clone(), wanted.queue, placed.queue_offset.0, placed.log_offset.0);
            assert_eq!(found.get(id), Some(&place), "acknowledged record {id} ({:?})", wanted.ack);
            assert!(self.store.record_at(placed.log_offset).expect("readable").is_some());
        }
    }

    /// What was once visible still is.
    pub(crate) fn check_seen(&self) {
        for ((name, id), max) in &self.model.seen {
            let now = self.store.queue(name, QueueId(*id)).map_or(0, |queue| queue.max().0);
            assert!(now >= *max, "{name} {id}: {now} is less than {max}, which was visible");
        }
    }

    /// Every visible record is found by its key, and by no more than itself.
    pub(crate) fn check_index(&mut self) {
        while self.steps.index() {}
        for (id, (name, _, _, log_offset)) in self.read_all() {
            let (begin, end) = (EpochMillis(0), EpochMillis(i64::MAX));
            let found = self.store.query(&name, &key(id), 8, begin, end).expect("index is readable");
            let offsets: Vec<u64> = found
                .iter()
                .map(|bytes| RecordRef::parse(bytes).expect("whole record").log_offset().0)
                .collect();
            assert_eq!(offsets, [log_offset], "key of record {id}");
        }
    }

    /// Forgets what the crash may have taken, so that the run can go on: unacknowledged records that are gone.
    pub(crate) fn accept_losses(&mut self) {
        let found = self.read_all();
        self.model.acked.retain(|id, _| found.contains_key(id));
        self.model.seen.clear();
        self.settle();
    }
}
