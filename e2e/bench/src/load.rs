//! A closed loop over raw TCP: on each of C connections W requests are always in flight, sent by one thread.
//!
//! It shares the machine with the server it measures, so it does little: frames are built before the start and only patched, all
//! frames of one turn leave in one vectored write, and of an answer only code, opaque and next offset are read.

use std::collections::{BTreeMap, VecDeque};
use std::io::{ErrorKind, IoSlice, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Context;
use hdrhistogram::Histogram;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::frame::{self, PULL_NOT_FOUND, PULL_OFFSET_MOVED, PULL_RETRY_IMMEDIATELY};

const READ_BYTES: usize = 1024 * 1024;
/// Pieces of one vectored write; the system takes no more.
const MAX_IO_SLICES: usize = 1024;
/// Latencies are kept in nanoseconds up to this, to two digits.
const MAX_LATENCY_NS: u64 = 60_000_000_000;
/// No answer on any connection for this long ends the load with an error.
const STALLED: Duration = Duration::from_secs(30);

/// What is asked.
#[derive(Clone, Debug)]
pub(crate) enum Work {
    /// Messages of `body_bytes` to queues in turn.
    Send {
        topic: String,
        queues: u32,
        body_bytes: usize,
        /// Whether each message says in the property `n` which of a hundred it is: `00` to `99`.
        numbered: bool,
    },
    /// All of the queues, each by one slot, from the start over and over.
    Pull { topic: String, queues: u32, batch: u32, filter: Filter },
    /// Transactions: a half message, and when it is stored its commit. Each counts once, when the commit is answered.
    Transactions { topic: String, queues: u32, body_bytes: usize },
}

/// Which messages a pull asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Filter {
    /// `TAG` or `SQL92`.
    pub(crate) kind: &'static str,
    /// The expression.
    pub(crate) expression: &'static str,
}

impl Filter {
    /// Every message.
    pub(crate) const ALL: Filter = Filter { kind: "TAG", expression: "*" };
}

/// How much, how long, where.
#[derive(Clone, Debug)]
pub(crate) struct Spec {
    pub(crate) addr: SocketAddr,
    pub(crate) connections: usize,
    pub(crate) inflight: usize,
    pub(crate) work: Work,
    pub(crate) warm_up: Duration,
    pub(crate) duration: Duration,
    /// End after this many answers, if that is before `duration`.
    pub(crate) max_requests: Option<u64>,
}

/// What came of it, without the warm-up.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) elapsed: Duration,
    /// Answers with code 0.
    pub(crate) succeeded: u64,
    /// Messages in them.
    pub(crate) messages: u64,
    /// Bytes of all answers.
    pub(crate) bytes_in: u64,
    /// Answers by code, 0 too. Codes that say "go on elsewhere" to a pull are not failures.
    pub(crate) codes: BTreeMap<i64, u64>,
    /// The text of the first failure.
    pub(crate) first_failure: Option<String>,
    pub(crate) latency_ns: Histogram<u64>,
}

impl Outcome {
    /// Nothing yet.
    pub(crate) fn new() -> anyhow::Result<Self> {
        Ok(Self {
            elapsed: Duration::ZERO,
            succeeded: 0,
            messages: 0,
            bytes_in: 0,
            codes: BTreeMap::new(),
            first_failure: None,
            latency_ns: Histogram::new_with_max(MAX_LATENCY_NS, 2)?,
        })
    }

    /// Answers that were neither a success nor a pull's "go on elsewhere".
    pub(crate) fn failures(&self) -> u64 {
        let known = [0, PULL_NOT_FOUND, PULL_RETRY_IMMEDIATELY, PULL_OFFSET_MOVED];
        self.codes.iter().filter(|(code, _)| !known.contains(code)).map(|(_, count)| count).sum()
    }

    pub(crate) fn messages_per_second(&self) -> f64 {
        self.messages as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }
}

/// One request that is always in flight.
struct Slot {
    frame: Vec<u8>,
    sent_at: Instant,
    kind: SlotKind,
}

enum SlotKind {
    Send {
        places: frame::Counters,
    },
    Pull {
        queue: u32,
        offset: i64,
    },
    /// The frame of the half message while the commit is asked for, and empty before.
    Transaction {
        half: Vec<u8>,
        places: frame::Counters,
    },
}

struct Link {
    stream: TcpStream,
    slots: Vec<Slot>,
    /// Slots to send, in order, and how much of the first is gone.
    queue: VecDeque<usize>,
    sent: usize,
    carry: Vec<u8>,
    skip: usize,
}

struct Load<'a> {
    spec: &'a Spec,
    outcome: Outcome,
    answered: u64,
    counter: u32,
}

/// Runs the load.
pub(crate) fn run(spec: &Spec) -> anyhow::Result<Outcome> {
    let mut poll = Poll::new()?;
    let mut links = Vec::with_capacity(spec.connections);
    for number in 0..spec.connections {
        let mut link = Link::open(spec, number)?;
        poll.registry().register(&mut link.stream, Token(number), Interest::READABLE | Interest::WRITABLE)?;
        links.push(link);
    }
    let mut load = Load { spec, outcome: Outcome::new()?, answered: 0, counter: seed() };
    let mut events = Events::with_capacity(spec.connections.max(16));
    let mut buf = vec![0; READ_BYTES];
    let mut measured_from = Instant::now() + spec.warm_up;
    let end = measured_from + spec.duration;
    let mut warming_up = true;
    let mut last_answer = Instant::now();
    loop {
        match poll.poll(&mut events, Some(Duration::from_millis(20))) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            outcome => outcome?,
        }
        let answered_before = load.answered;
        for event in &events {
            if let Some(link) = links.get_mut(event.token().0) {
                load.turn(link, &mut buf)?;
            }
        }
        let now = Instant::now();
        if load.answered > answered_before {
            last_answer = now;
        }
        anyhow::ensure!(now - last_answer < STALLED, "no answer for {} s", STALLED.as_secs());
        if warming_up && now >= measured_from {
            warming_up = false;
            measured_from = now;
            load.outcome = Outcome::new()?;
            load.answered = 0;
        }
        let enough = spec.max_requests.is_some_and(|max| load.answered >= max);
        if now >= end || (!warming_up && enough) {
            load.outcome.elapsed = now - measured_from;
            return Ok(load.outcome);
        }
    }
}

/// Starts the unique keys of a run elsewhere than those of the run before.
fn seed() -> u32 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    since.subsec_nanos() ^ u32::try_from(since.as_secs() & 0xFFFF_FFFF).unwrap_or(0)
}

impl Link {
    fn open(spec: &Spec, number: usize) -> anyhow::Result<Self> {
        let stream = std::net::TcpStream::connect(spec.addr)
            .with_context(|| format!("cannot connect to {}", spec.addr))?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let slots: Vec<Slot> = (0..spec.inflight).map(|opaque| Slot::new(spec, number, opaque)).collect();
        Ok(Self {
            stream: TcpStream::from_std(stream),
            queue: (0..slots.len()).collect(),
            slots,
            sent: 0,
            carry: Vec::new(),
            skip: 0,
        })
    }

    /// Sends the queued slots in as few writes as possible.
    fn write(&mut self) -> anyhow::Result<()> {
        while !self.queue.is_empty() {
            let mut pieces = Vec::with_capacity(self.queue.len().min(MAX_IO_SLICES));
            let mut skip = self.sent;
            for slot in self.queue.iter().take(MAX_IO_SLICES).filter_map(|slot| self.slots.get(*slot)) {
                pieces.push(IoSlice::new(slot.frame.get(std::mem::take(&mut skip)..).unwrap_or_default()));
            }
            match self.stream.write_vectored(&pieces) {
                Ok(0) => anyhow::bail!("the server closed a connection"),
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error).context("cannot write to the server"),
            }
            while let Some(length) =
                self.queue.front().and_then(|slot| self.slots.get(*slot)).map(|slot| slot.frame.len())
            {
                if self.sent < length {
                    break;
                }
                self.sent -= length;
                self.queue.pop_front();
            }
        }
        Ok(())
    }
}

impl Slot {
    fn new(spec: &Spec, link: usize, opaque: usize) -> Self {
        let number = link * spec.inflight + opaque;
        let queue_of = |queues: u32| u32::try_from(number).unwrap_or(0) % queues.max(1);
        let (frame, kind) = match &spec.work {
            Work::Send { topic, queues, body_bytes, numbered } => {
                let body = vec![b'x'; *body_bytes];
                let (frame, places) =
                    frame::send(topic, *queues, queue_of(*queues), opaque, &body, *numbered);
                (frame, SlotKind::Send { places })
            }
            Work::Pull { topic, queues, batch, filter } => {
                let queue = queue_of(*queues);
                (frame::pull(topic, queue, 0, *batch, opaque, *filter), SlotKind::Pull { queue, offset: 0 })
            }
            Work::Transactions { topic, queues, body_bytes } => {
                let body = vec![b'x'; *body_bytes];
                let (frame, places) = frame::half(topic, *queues, queue_of(*queues), opaque, &body);
                (frame, SlotKind::Transaction { half: Vec::new(), places })
            }
        };
        Self { frame, sent_at: Instant::now(), kind }
    }
}

impl Load<'_> {
    fn turn(&mut self, link: &mut Link, buf: &mut [u8]) -> anyhow::Result<()> {
        loop {
            match link.stream.read(buf) {
                Ok(0) => anyhow::bail!("the server closed a connection"),
                Ok(count) => {
                    self.take(link, buf.get(..count).unwrap_or_default())?;
                    if count < buf.len() {
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error).context("cannot read from the server"),
            }
        }
        link.write()
    }

    fn take(&mut self, link: &mut Link, received: &[u8]) -> anyhow::Result<()> {
        let skipped = link.skip.min(received.len());
        link.skip -= skipped;
        let received = received.get(skipped..).unwrap_or_default();
        if link.carry.is_empty() {
            let used = self.answers(link, received)?;
            link.carry.extend_from_slice(received.get(used..).unwrap_or_default());
        } else {
            let mut joined = std::mem::take(&mut link.carry);
            joined.extend_from_slice(received);
            let used = self.answers(link, &joined)?;
            joined.drain(..used);
            link.carry = joined;
        }
        Ok(())
    }

    /// Takes the answers whose headers are whole; returns how many bytes are done with.
    fn answers(&mut self, link: &mut Link, bytes: &[u8]) -> anyhow::Result<usize> {
        let now = Instant::now();
        let mut at = 0;
        loop {
            let rest = bytes.get(at..).unwrap_or_default();
            let Some(lengths) = frame::lengths(rest)? else { return Ok(at) };
            let Some(header) = rest.get(8..8 + lengths.header) else { return Ok(at) };
            let whole = 8 + lengths.header + lengths.body;
            self.outcome.bytes_in += whole as u64;
            self.answer(link, header, now)?;
            let here = whole.min(rest.len());
            link.skip = whole - here;
            at += here;
        }
    }

    fn answer(&mut self, link: &mut Link, header: &[u8], now: Instant) -> anyhow::Result<()> {
        let code = frame::code(header).context("an answer without code")?;
        let opaque = frame::opaque(header).context("an answer without opaque")?;
        let index = usize::try_from(opaque).ok().filter(|index| *index < link.slots.len());
        let index = index.with_context(|| format!("an answer to {opaque}, which was not asked"))?;
        let slot = link.slots.get_mut(index).context("slot")?;
        let elapsed = u64::try_from((now - slot.sent_at).as_nanos()).unwrap_or(u64::MAX);
        self.outcome.latency_ns.saturating_record(elapsed);
        *self.outcome.codes.entry(code).or_default() += 1;
        self.answered += 1;
        let messages = slot.next(&self.spec.work, index, code, header, &mut self.counter);
        if code == 0 {
            self.outcome.succeeded += 1;
            self.outcome.messages += messages;
        } else if self.outcome.first_failure.is_none() && self.outcome.failures() > 0 {
            self.outcome.first_failure = Some(format!("code {code}: {}", frame::remark(header)));
        }
        slot.sent_at = now;
        link.queue.push_back(index);
        Ok(())
    }
}

impl Slot {
    /// Makes the frame the next request; returns how many messages the answer was about.
    fn next(&mut self, work: &Work, opaque: usize, code: i64, header: &[u8], counter: &mut u32) -> u64 {
        match (&mut self.kind, work) {
            (SlotKind::Pull { queue, offset }, Work::Pull { topic, batch, filter, .. }) => {
                let before = *offset;
                *offset = match frame::next_begin_offset(header) {
                    Some(next) if code != PULL_NOT_FOUND => next,
                    _ => 0,
                };
                self.frame = frame::pull(topic, *queue, *offset, *batch, opaque, *filter);
                u64::try_from(*offset - before).unwrap_or(0)
            }
            (SlotKind::Send { places }, _) => {
                *counter = counter.wrapping_add(1);
                frame::set_counter(&mut self.frame, places, *counter);
                1
            }
            (SlotKind::Transaction { half, places }, Work::Transactions { topic, .. }) => {
                let commit =
                    if half.is_empty() && code == 0 { frame::commit(topic, header, opaque) } else { None };
                if let Some(commit) = commit {
                    *half = std::mem::replace(&mut self.frame, commit);
                    return 0;
                }
                let ended = u64::from(!half.is_empty());
                if ended == 1 {
                    self.frame = std::mem::take(half);
                }
                *counter = counter.wrapping_add(1);
                frame::set_counter(&mut self.frame, places, *counter);
                ended
            }
            (SlotKind::Pull { .. } | SlotKind::Transaction { .. }, _) => 0,
        }
    }
}
