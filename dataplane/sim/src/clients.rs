//! Producers and consumers: what they ask of the replica that the Service points to, and how they read.

use std::sync::Arc;

use bolide_replication::{ReplicaName, Role};
use bolide_store::{AppendBatch, Entry, Keys, Queue, ReadLimits, ReadStatus, Tags, index_hash};
use bolide_wire::{
    EpochMillis, LogOffset, QueueId, QueueOffset, TopicName,
    message::{NewRecord, encode_record, records, sys_flag},
    properties::tags_code,
};

use crate::{
    history::Acked,
    node::{Callback, Process, tell},
    projection::{STATE_TOPIC, commit_body},
    world::{What, World},
};

pub(crate) const TOPIC: &str = "orders";
pub(crate) const QUEUES: u32 = 2;
/// Bytes of an epoch record of a replica with a two-letter name, in an epoch of one digit.
const EPOCH_RECORD_BYTES: usize = 136;

/// What a client asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Request {
    Send { producer: usize, id: u64, queue: u32, len: usize },
    Commit { consumer: u32, queue: u32, offset: i64 },
}

/// One producer: it sends a message, and the next when it was answered or has waited long enough.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Producer {
    pub(crate) waits_for: Option<u64>,
    pub(crate) since: std::time::Duration,
}

impl World {
    /// A producer's turn.
    pub(crate) fn produce(&mut self, producer: usize) {
        if self.ending {
            return;
        }
        let pause =
            self.random.micros(self.plan.pace.as_micros() as u64 / 2, self.plan.pace.as_micros() as u64 * 2);
        self.after(pause, What::Produce(producer));
        let state = self.producers[producer];
        let patience = std::time::Duration::from_secs(3);
        if state.waits_for.is_some() && self.now - state.since < patience {
            return;
        }
        self.messages += 1;
        let id = self.messages;
        let queue = u32::try_from(producer).unwrap_or(0) % QUEUES;
        let len = if self.plan.uniform { 0 } else { self.random.index(400) };
        self.history.send(id, producer, queue);
        self.producers[producer] = Producer { waits_for: Some(id), since: self.now };
        self.ask(Request::Send { producer, id, queue, len });
    }

    /// Sends a request to whom the Service points to.
    fn ask(&mut self, request: Request) {
        let target = self.api.service.target.clone();
        let Some(node) = target.and_then(|name| self.index_of(&name)) else {
            self.answer(request, false);
            return;
        };
        let delay = self.random.micros(50, 800);
        let life = self.nodes[node].life;
        self.after(delay, What::Ask(node, life, request));
    }

    /// A request has come to a replica.
    pub(crate) fn on_ask(&mut self, node: usize, request: Request) {
        let plan_ack = self.plan.ack();
        let uniform = self.plan.uniform;
        let Some(process) = &mut self.nodes[node].process else {
            self.answer(request, false);
            return;
        };
        if let Some(held) = &mut process.held {
            held.push(request);
            return;
        }
        if let Some(forward) = process.forward.clone() {
            self.forward(&forward, request);
            return;
        }
        let serves = matches!(process.role, Role::Master { serving: true, acknowledging: true, .. });
        let taken = serves && append(process, request, plan_ack, uniform);
        if taken {
            self.plan_write(node);
        } else {
            self.answer(request, false);
        }
    }

    pub(crate) fn forward(&mut self, to: &ReplicaName, request: Request) {
        let Some(node) = self.index_of(to) else { return };
        let delay = self.random.micros(50, 800);
        let life = self.nodes[node].life;
        self.after(delay, What::Ask(node, life, request));
    }

    /// A client has its answer.
    pub(crate) fn answer(&mut self, request: Request, done: bool) {
        if let Request::Send { producer, id, .. } = request
            && self.producers[producer].waits_for == Some(id)
        {
            self.producers[producer].waits_for = None;
            if !done {
                // It sends a new one; the old one may turn up or not.
                self.producers[producer].since = self.now;
            }
        }
    }

    /// The store has acknowledged a message: check what that means before the client hears of it.
    pub(crate) fn on_appended(
        &mut self,
        node: usize,
        request: Request,
        placed: Option<bolide_store::Placed>,
    ) {
        let (Some(placed), Request::Send { id, queue, .. }) = (placed, request) else {
            self.answer(request, placed.is_some());
            return;
        };
        if self.plan.sync {
            self.history.place(queue, placed.queue_offset.0, id, placed.log_offset, "acknowledged");
            self.check_held(node, id, placed.log_offset, "acknowledged");
        }
        self.check_enough(node, id);
        let acked = Acked { queue, offset: placed.queue_offset, at: placed.log_offset };
        self.history.ack(id, acked, self.plan.sync);
        self.answer(request, true);
    }

    /// A consumer reads a queue from some replica, master or slave.
    pub(crate) fn consume(&mut self, consumer: u32) {
        let pause = self.random.millis(20, 120);
        self.after(pause, What::Consume(consumer));
        let node = self.random.index(self.nodes.len());
        let queue = u32::try_from(self.random.below(u64::from(QUEUES))).unwrap_or(0);
        if self.nodes[node].paused || self.nodes[node].process.is_none() {
            return;
        }
        let from = self.history.read.get(&(consumer, queue)).copied().unwrap_or(0);
        let next = self.read(node, queue, from);
        let read = self.history.read.entry((consumer, queue)).or_insert(0);
        *read = (*read).max(next);
        if next > from && !self.plan.uniform && self.random.chance(300) {
            self.history.committed.insert((consumer, queue), next);
            self.ask(Request::Commit { consumer, queue, offset: next });
        }
    }

    /// Reads all that a replica shows of a queue from an offset on; returns where the next read begins.
    pub(crate) fn read(&mut self, node: usize, queue: u32, from: i64) -> i64 {
        let Some(process) = &self.nodes[node].process else { return from };
        let Some(found) = process.store.queue(TOPIC, QueueId(queue)) else { return from };
        let limits = ReadLimits { max_messages: 32, ..ReadLimits::default() };
        let Ok(read) = process.store.read(&found, QueueOffset(from), &limits, &mut |_| true) else {
            return from;
        };
        if read.status != ReadStatus::Found {
            return from;
        }
        let mut seen = Vec::new();
        for record in read.slices.iter().flat_map(|slice| records(slice)) {
            match record {
                Ok(record) if record.verify_crc().is_ok() => {
                    let id = record.body().first_chunk::<8>().map_or(0, |id| u64::from_be_bytes(*id));
                    seen.push((record.queue_offset().0, id, record.log_offset()));
                }
                Ok(record) => {
                    let text =
                        format!("r{node} shows a record with a wrong checksum at {}", record.log_offset());
                    self.history.fail(text);
                }
                Err(error) => {
                    self.history.fail(format!(
                        "r{node} shows in queue {queue} from {from} on what is no record: {error}"
                    ));
                }
            }
        }
        let mut next = from;
        for (offset, id, at) in seen {
            if offset != next {
                self.history.fail(format!("r{node} shows offset {offset} of queue {queue} after {next}"));
            }
            next = offset + 1;
            self.history.reads += 1;
            self.history.place(queue, offset, id, at, "shown");
            if self.plan.sync {
                self.check_held(node, id, at, "shown");
            }
        }
        next
    }
}

/// Hands a request to the store; false when it is refused.
fn append(process: &Process, request: Request, ack: bolide_store::Ack, uniform: bool) -> bool {
    let mut batch = AppendBatch::default();
    let queue = match request {
        Request::Send { queue, .. } => process.store.queue_or_create(&name(TOPIC), QueueId(queue)),
        Request::Commit { .. } => process.store.queue_or_create(&name(STATE_TOPIC), QueueId(0)),
    };
    let entry = encode(request, &queue, uniform, &mut batch.buf);
    batch.entries.push(entry);
    let callbacks = process.call_back();
    let done = Box::new(move |result: Result<Vec<bolide_store::Placed>, _>| {
        let placed = result.ok().and_then(|placed| placed.first().copied());
        tell(&callbacks, Callback::Appended(request, placed));
    });
    process.store.append(batch, ack, done).is_ok()
}

fn name(topic: &str) -> TopicName {
    TopicName::internal(topic).expect("a short name")
}

fn encode(request: Request, queue: &Arc<Queue>, uniform: bool, buf: &mut Vec<u8>) -> Entry {
    let (body, flag, properties) = match request {
        Request::Send { id, len, .. } => {
            let mut body = id.to_be_bytes().to_vec();
            let filler = u8::try_from(id & 0x7f).unwrap_or(0) | 1;
            body.resize(8 + len, filler);
            (body, 0, format!("KEYS\u{1}k{}\u{2}TAGS\u{1}t{}\u{2}", id % 7, id % 3))
        }
        Request::Commit { consumer, queue, offset } => {
            (commit_body(consumer, queue, offset), sys_flag::TRANSACTION_ROLLBACK, String::new())
        }
    };
    let properties = if uniform { String::new() } else { properties };
    let record = |body: &[u8], buf: &mut Vec<u8>| {
        let record = NewRecord {
            topic: queue.topic(),
            queue_id: queue.id(),
            flag: 0,
            sys_flag: flag,
            born_timestamp: EpochMillis(1),
            born_host: ([127, 0, 0, 1], 5000).into(),
            store_host: ([127, 0, 0, 1], 10911).into(),
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body,
            properties: &properties,
        };
        encode_record(&record, buf).expect("a small record")
    };
    let start = buf.len();
    let mut len = record(&body, buf);
    let missing = EPOCH_RECORD_BYTES.saturating_sub(len as usize);
    if uniform && missing > 0 {
        buf.truncate(start);
        let mut longer = body;
        longer.resize(longer.len() + missing, 7);
        len = record(&longer, buf);
    }
    let mut entry = Entry::new(len, Arc::clone(queue));
    match request {
        Request::Send { id, .. } if !uniform => {
            entry.tags = Tags::Hash(tags_code(&format!("t{}", id % 3)));
            let mut keys = Keys::default();
            keys.push(index_hash(queue.topic(), &format!("k{}", id % 7)));
            entry.keys = keys;
        }
        Request::Send { .. } => {}
        Request::Commit { .. } => {
            entry.state = true;
            entry.consumable = false;
        }
    }
    entry
}

/// Id of the message that a replica's log holds at an offset.
pub(crate) fn message_at(process: &Process, at: LogOffset) -> Option<(u64, u64)> {
    let bytes = process.store.log_slice(at, 1).ok()?;
    let record = records(&bytes).next()?.ok()?;
    let id = u64::from_be_bytes(*record.body().first_chunk::<8>()?);
    (record.log_offset() == at).then(|| (id, at.0 + record.total_size() as u64))
}
