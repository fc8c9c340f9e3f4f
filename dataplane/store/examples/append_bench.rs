//! Measures the store alone: `cargo run --release -p bolide-store --example append_bench -- [folder] [seconds]`.
//!
//! Appends of 1 KiB records with one index key each, in batches of 1, 16 and 64, from 1, 4 and 8 threads, to 8 queues;
//! reads of 32 records; opening a log of 2.6 GiB after a clean close and after a stop without one. The folder is emptied
//! before each part and removed at the end.

use std::{
    error::Error,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use bolide_store::{
    Ack, AppendBatch, Entry, Flush, Observer, Queue, ReadLimits, RealDisk, Refusal, Store, StoreConfig,
    StoreMetrics, SystemClock, index_hash,
};
use bolide_wire::{
    EpochMillis, LogOffset, QueueId, QueueOffset, TopicName,
    message::{NewRecord, RecordRef, encode_record},
};

type Fallible<T> = Result<T, Box<dyn Error + Send + Sync>>;

const QUEUES: u32 = 8;
/// Batches that one producer has under way.
const IN_FLIGHT: usize = 8;
/// Most that one run writes: more would measure the disk.
const MAX_BYTES: u64 = 2 << 30;

struct Nobody;

impl Observer for Nobody {
    fn replay_from(&self) -> LogOffset {
        LogOffset(u64::MAX)
    }
    fn apply(&self, _record: &RecordRef<'_>, _at: LogOffset) {}
    fn arrived(&self, _queue: &Arc<Queue>) {}
    fn snapshot_covers(&self) -> LogOffset {
        LogOffset(0)
    }
}

fn open(root: &Path, flush: Flush) -> Fallible<Store> {
    let mut config = StoreConfig::new(root);
    config.flush = flush;
    let disk = Arc::new(RealDisk::new());
    Ok(Store::open(config, disk, Arc::new(SystemClock::new()), StoreMetrics::new(), Arc::new(Nobody))?)
}

fn queues(store: &Store) -> Fallible<Vec<Arc<Queue>>> {
    let topic = TopicName::new("bench")?;
    Ok((0..QUEUES).map(|id| store.queue_or_create(&topic, QueueId(id))).collect())
}

fn batch(queues: &[Arc<Queue>], size: usize, next: &mut u64, body: &[u8]) -> Fallible<AppendBatch> {
    let mut batch = AppendBatch { buf: Vec::with_capacity(size * 1200), entries: Vec::with_capacity(size) };
    for _ in 0..size {
        let queue = &queues[usize::try_from(*next % u64::from(QUEUES))?];
        let key = format!("{next:032X}");
        let properties = format!("UNIQ_KEY\u{1}{key}\u{2}CLUSTER\u{1}bench\u{2}");
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
            body,
            properties: &properties,
        };
        let len = encode_record(&record, &mut batch.buf)?;
        let mut entry = Entry::new(len, Arc::clone(queue));
        entry.keys.push(index_hash(queue.topic(), &key));
        batch.entries.push(entry);
        *next += 1;
    }
    Ok(batch)
}

struct Rate {
    records: u64,
    latencies: Vec<Duration>,
}

/// One producer: keeps `IN_FLIGHT` batches under way until told to stop.
fn produce(
    store: &Store,
    ack: Ack,
    size: usize,
    mut next: u64,
    stop: &AtomicBool,
    budget: &AtomicU64,
) -> Fallible<Rate> {
    let queues = queues(store)?;
    let body = vec![b'x'; 1024];
    let (tell, answers) = mpsc::channel();
    let mut rate = Rate { records: 0, latencies: Vec::new() };
    let mut under_way = 0_usize;
    loop {
        let ended = stop.load(Ordering::Relaxed) || budget.load(Ordering::Relaxed) > MAX_BYTES;
        if ended && under_way == 0 {
            return Ok(rate);
        }
        if !ended && under_way < IN_FLIGHT {
            let made = batch(&queues, size, &mut next, &body)?;
            budget.fetch_add(made.buf.len() as u64, Ordering::Relaxed);
            let start = Instant::now();
            let tell = tell.clone();
            let mut attempt = Some((
                made,
                Box::new(move |result: Result<Vec<_>, _>| {
                    let _ = tell.send((start, result.map(|placed: Vec<bolide_store::Placed>| placed.len())));
                }) as bolide_store::Done,
            ));
            while let Some((made, done)) = attempt.take() {
                if let Err(refused) = store.append(made, ack, done) {
                    if refused.reason != Refusal::Busy {
                        return Err(refused.reason.into());
                    }
                    std::thread::sleep(Duration::from_micros(200));
                    attempt = Some((refused.batch, refused.done));
                }
            }
            under_way += 1;
            continue;
        }
        let (start, result) = answers.recv()?;
        rate.latencies.push(start.elapsed());
        rate.records += result? as u64;
        under_way -= 1;
    }
}

fn append(root: &Path, flush: Flush, threads: u64, size: usize, seconds: f64) -> Fallible<()> {
    let _ = std::fs::remove_dir_all(root);
    let store = open(root, flush)?;
    let ack = if flush == Flush::Sync { Ack::Flushed } else { Ack::Appended };
    let (stop, budget) = (AtomicBool::new(false), AtomicU64::new(0));
    let start = Instant::now();
    let rates = std::thread::scope(|scope| {
        let producers: Vec<_> = (0..threads)
            .map(|number| {
                let (store, stop, budget) = (&store, &stop, &budget);
                scope.spawn(move || produce(store, ack, size, number << 40, stop, budget))
            })
            .collect();
        while start.elapsed().as_secs_f64() < seconds && budget.load(Ordering::Relaxed) <= MAX_BYTES {
            std::thread::sleep(Duration::from_millis(2));
        }
        stop.store(true, Ordering::Relaxed);
        producers
            .into_iter()
            .map(|producer| producer.join().map_err(|_| "a producer panicked")?)
            .collect::<Fallible<Vec<Rate>>>()
    })?;
    let taken = start.elapsed().as_secs_f64();
    let records: u64 = rates.iter().map(|rate| rate.records).sum();
    let mut latencies: Vec<Duration> = rates.into_iter().flat_map(|rate| rate.latencies).collect();
    latencies.sort_unstable();
    let at = |part: f64| latencies[((latencies.len() - 1) as f64 * part) as usize];
    println!(
        "append {flush:?} threads {threads} batch {size:>2}: {:>8.0} records/s {:>6.0} MB/s  p50 {:?} p99 {:?}",
        records as f64 / taken,
        records as f64 * 1150.0 / taken / 1e6,
        at(0.5),
        at(0.99)
    );
    drop(store);
    Ok(())
}

fn fill(store: &Store, bytes: u64) -> Fallible<()> {
    let queues = queues(store)?;
    let body = vec![b'x'; 1024];
    let mut next = 0;
    while store.watermarks().appended.0 < bytes {
        let mut made = batch(&queues, 256, &mut next, &body)?;
        loop {
            let (tell, answer) = mpsc::channel();
            let done = Box::new(move |result: Result<Vec<_>, _>| {
                let _ = tell.send(result.is_ok());
            });
            match store.append(made, Ack::Appended, done) {
                Ok(()) => {
                    answer.recv()?;
                    break;
                }
                Err(refused) if refused.reason != Refusal::Busy => return Err(refused.reason.into()),
                Err(refused) => {
                    std::thread::sleep(Duration::from_millis(1));
                    made = refused.batch;
                }
            }
        }
    }
    Ok(())
}

fn read(store: &Store, rounds: u32) -> Fallible<()> {
    let queues = queues(store)?;
    let start = Instant::now();
    let (mut bytes, mut records) = (0_u64, 0_u64);
    for _ in 0..rounds {
        for queue in &queues {
            let mut next = queue.min();
            while next < queue.max() {
                let read = store.read(queue, next, &ReadLimits::default(), &mut |_| true)?;
                bytes += read.bytes as u64;
                records += read.messages as u64;
                next = QueueOffset(read.next.0);
            }
        }
    }
    let taken = start.elapsed().as_secs_f64();
    println!(
        "read 32 at a time: {:.0} records/s {:.2} GB/s of record bytes",
        records as f64 / taken,
        bytes as f64 / taken / 1e9
    );
    Ok(())
}

fn rss() -> String {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let wanted = |line: &&str| line.starts_with("RssAnon") || line.starts_with("RssFile");
    text.lines()
        .filter(wanted)
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect::<Vec<_>>()
        .join(", ")
}

fn reopen(root: &Path, what: &str) -> Fallible<Store> {
    let start = Instant::now();
    let store = open(root, Flush::Async)?;
    println!("open {what}: {:?}, {:?}; {}", start.elapsed(), store.recovery(), rss());
    Ok(store)
}

fn main() -> Fallible<()> {
    let mut args = std::env::args().skip(1);
    let root = args.next().map_or_else(|| std::env::temp_dir().join("bolide-append-bench"), PathBuf::from);
    let seconds: f64 = args.next().map_or(Ok(2.0), |text| text.parse())?;
    let only = args.next().unwrap_or_default();
    println!("idle: {}", rss());
    if only.is_empty() || only == "append" {
        for threads in [1, 4, 8] {
            for size in [1, 16, 64] {
                append(&root, Flush::Async, threads, size, seconds)?;
            }
        }
        append(&root, Flush::Sync, 8, 64, seconds)?;
        append(&root, Flush::Sync, 8, 1, seconds)?;
    }
    if only == "hot" {
        append(&root, Flush::Async, 1, 64, seconds)?;
    }
    if only.is_empty() || only == "open" {
        let _ = std::fs::remove_dir_all(&root);
        let store = open(&root, Flush::Async)?;
        println!("open empty: {}", rss());
        fill(&store, 2_600 << 20)?;
        println!("filled: {}", rss());
        read(&store, 2)?;
        let start = Instant::now();
        store.close();
        drop(store);
        println!("close: {:?}", start.elapsed());
        drop(reopen(&root, "2.6 GiB after a clean close")?);
        // Dropped without a close: the mark of an open store stays, as after a kill.
        let store = reopen(&root, "2.6 GiB after a stop without writes")?;
        fill(&store, 2_700 << 20)?;
        drop(store);
        drop(reopen(&root, "2.7 GiB after a stop in the middle of writing")?);
    }
    std::fs::remove_dir_all(&root)?;
    Ok(())
}
