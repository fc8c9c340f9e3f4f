//! Owns the way of a pop: read what the queues have, reserve it, log it as a checkpoint, and only then give it out.
//!
//! Reading holds no lock. What was read is reserved only if the queue still stands as it did before; if another pop was
//! faster, it is read again.

use std::io;
use std::sync::Arc;

use bolide_store::{ReadLimits, ReadResult, ReadStatus, RecordFilter, Unit};
use bolide_wire::header::pop::PopMessageResponse;
use bolide_wire::ids::{EpochMillis, QueueId, QueueOffset};
use bolide_wire::message::{RecordError, RecordRef, records};
use bolide_wire::pop::{OffsetInfo, PopSource};
use bytes::Bytes;

use super::PopRequest;
use super::sources::{self, Source};
use crate::broker::Broker;
use crate::clients::Subscription;
use crate::clients::subscription::Filter;
use crate::error::Failure;
use crate::handler::pull::{cold, refuse};
use crate::reply::Reply;
use crate::state::pops::bits::{Bits, distance};
use crate::state::pops::change::{CheckpointId, Given, OrderedBatch, QueueChange};
use crate::state::pops::journal::JournalError;

/// Reads of one queue that find nothing wanted before the rest is left to the next turn.
const BARREN_READS: usize = 8;

/// What a pop found in one queue.
struct Part {
    source: Source,
    /// Where the next pop begins.
    next: i64,
    slices: Vec<Bytes>,
    offsets: Vec<i64>,
    bytes: usize,
    /// Where the log holds the first message.
    log: u64,
    cold: bool,
}

/// What came of reserving.
enum Reserved {
    /// The answer follows when the checkpoint is in the log.
    Taken,
    /// There is nothing to give.
    Nothing,
    /// Another pop was faster.
    Again,
    /// It cannot be logged.
    Refused(JournalError),
}

/// Pops, and sees to the answer; gives the request back when there is nothing.
pub(super) fn attempt(broker: &Arc<Broker>, mut request: Box<PopRequest>) -> Result<(), Box<PopRequest>> {
    loop {
        let turn = broker.popping.turn();
        let sources = sources::all(broker, &request.target, turn);
        let parts = match gather(broker, &request, sources, turn) {
            Ok(parts) => parts,
            Err(error) => {
                tracing::error!(topic = %request.target.topic.name, %error, "messages cannot be read");
                refuse(&request.conn, &request.command, Failure::Internal("store getMessage failed"));
                return Ok(());
            }
        };
        if parts.is_empty() {
            return Err(request);
        }
        request = match reserve(broker, request, parts, turn) {
            (Reserved::Taken, _) => return Ok(()),
            (Reserved::Refused(error), Some(request)) => {
                refuse(&request.conn, &request.command, error.into());
                return Ok(());
            }
            (Reserved::Nothing, Some(request)) => {
                if !sources::any(broker, &request.target) {
                    return Err(request);
                }
                request
            }
            (Reserved::Again, Some(request)) => request,
            (_, None) => return Ok(()),
        };
    }
}

/// Reads from the queues in turn. Messages that come again get a quarter of a pop at least, and so does the topic.
fn gather(broker: &Broker, request: &PopRequest, sources: Vec<Source>, turn: u32) -> io::Result<Vec<Part>> {
    let waiting = |wanted: &dyn Fn(&Source) -> bool| {
        sources.iter().filter(|source| wanted(source)).any(|source| source.waiting() > 0)
    };
    let again = waiting(&|source| source.kind != PopSource::Topic);
    let new = waiting(&|source| source.kind == PopSource::Topic);
    let quarter = request.most.saturating_add(usize::try_from(turn % 4).unwrap_or(0)) / 4;
    let share = if new { quarter } else { request.most };
    let (topic, retries): (Vec<_>, Vec<_>) =
        sources.into_iter().partition(|source| source.kind == PopSource::Topic);
    let mut gathered = Gathered { broker, request, parts: Vec::new(), messages: 0, bytes: 0 };
    let mut left = None;
    if again && share > 0 {
        gathered.read(retries, share)?;
    } else {
        left = Some(retries);
    }
    gathered.read(topic, request.most)?;
    if let Some(retries) = left {
        gathered.read(retries, request.most)?;
    }
    Ok(gathered.parts)
}

struct Gathered<'a> {
    broker: &'a Broker,
    request: &'a PopRequest,
    parts: Vec<Part>,
    messages: usize,
    bytes: usize,
}

impl Gathered<'_> {
    /// Reads from queues until there are `most` messages in all.
    fn read(&mut self, sources: Vec<Source>, most: usize) -> io::Result<()> {
        let live = self.broker.live.load();
        let max_bytes = live.config.max_transfer_bytes_on_message_in_memory;
        let max_bytes = usize::try_from(max_bytes).unwrap_or(usize::MAX);
        for source in sources {
            let room = most.saturating_sub(self.messages);
            let bytes = max_bytes.saturating_sub(self.bytes);
            if room == 0 || bytes == 0 {
                return Ok(());
            }
            let begins = source.standing.taken && !source.standing.held_up;
            let beyond = source.standing.from > source.queue.max().0;
            if source.waiting() > 0 || begins || beyond {
                let part = read(self.broker, self.request, source, room, bytes)?;
                self.messages += part.offsets.len();
                self.bytes += part.bytes;
                if !part.offsets.is_empty()
                    || part.source.standing.taken
                    || part.next != part.source.standing.from
                {
                    self.parts.push(part);
                }
            }
        }
        Ok(())
    }
}

/// Reads one queue.
fn read(
    broker: &Broker,
    request: &PopRequest,
    source: Source,
    most: usize,
    max_bytes: usize,
) -> io::Result<Part> {
    let limits = ReadLimits { max_messages: most, max_bytes, ..ReadLimits::default() };
    let ordered = request.target.ordered.is_some().then(|| source.standing.ordered.clone()).flatten();
    let mut next = source.standing.from;
    let mut part =
        Part { source, next, slices: Vec::new(), offsets: Vec::new(), bytes: 0, log: 0, cold: false };
    for _ in 0..BARREN_READS {
        let mut wanted = Wanted::new(&request.subscription, ordered.as_ref());
        let found =
            broker.store.read_filtered(&part.source.queue, QueueOffset(next), &limits, &mut wanted)?;
        let before = std::mem::replace(&mut next, found.next.0);
        match found.status {
            ReadStatus::Found => {
                let places = wanted.places(&found)?;
                part.log = places.first().map_or(0, |(_, log)| *log);
                part.offsets = places.into_iter().map(|(offset, _)| offset).collect();
                (part.slices, part.bytes, part.cold) = (found.slices, found.bytes, found.cold);
                break;
            }
            ReadStatus::NoMatchedMessage
            | ReadStatus::OffsetFoundNull
            | ReadStatus::MessageWasRemoving
            | ReadStatus::OffsetTooSmall
                if next > before => {}
            _ => break,
        }
    }
    part.next = next;
    Ok(part)
}

/// The subscription, without what an ordered queue is done with; notes which records it lets through, so that these need
/// not be looked at for that.
struct Wanted<'a> {
    filter: Filter<'a>,
    ordered: Option<&'a OrderedBatch>,
    unit: (i64, u64),
    /// Offset in the queue and in the log.
    through: Vec<(i64, u64)>,
}

impl<'a> Wanted<'a> {
    fn new(subscription: &'a Subscription, ordered: Option<&'a OrderedBatch>) -> Wanted<'a> {
        Wanted { filter: subscription.filter(), ordered, unit: (0, 0), through: Vec::new() }
    }

    /// Where the records of a read lie.
    fn places(mut self, found: &ReadResult) -> io::Result<Vec<(i64, u64)>> {
        self.through.retain(|(offset, _)| *offset < found.next.0);
        if self.through.len() == found.messages {
            return Ok(self.through);
        }
        // Some were deleted while they were read.
        let place = |record: Result<RecordRef<'_>, RecordError>| {
            let record = record.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            Ok((record.queue_offset().0, record.log_offset().0))
        };
        found.slices.iter().flat_map(|slice| records(slice)).map(place).collect()
    }
}

impl RecordFilter for Wanted<'_> {
    fn wants_unit(&mut self, unit: &Unit) -> bool {
        let offset = unit.queue_offset.0;
        let done_with = self.ordered.is_some_and(|batch| {
            let of = distance(batch.start, offset);
            batch.given.has(of) && !batch.out.has(of)
        });
        let wanted = !done_with && self.filter.wants_unit(unit);
        self.unit = (offset, unit.log_offset.0);
        if wanted && !self.filter.reads_records() {
            self.through.push(self.unit);
        }
        wanted
    }

    fn reads_records(&self) -> bool {
        self.filter.reads_records()
    }

    fn wants_record(&mut self, record: &[u8]) -> bool {
        let wanted = self.filter.wants_record(record);
        if wanted {
            self.through.push(self.unit);
        }
        wanted
    }
}

impl Part {
    fn change(&self, request: &PopRequest, now: EpochMillis) -> QueueChange {
        let mut change = QueueChange::of(&self.source.key);
        change.taken = self.source.standing.taken;
        change.next = Some(self.next);
        let (Some(first), Some(_)) = (self.offsets.first(), self.offsets.last()) else { return change };
        let bits = Bits::of(*first, self.offsets.iter().copied());
        let visible_at = now.0.saturating_add(request.invisible_ms);
        match &request.target.ordered {
            None => change.given.push(Given(CheckpointId(*first, now.0), visible_at, bits, self.log)),
            Some(attempt) => {
                change.next = Some(*first);
                change.ordered = Some(OrderedBatch {
                    start: *first,
                    pop_time: now.0,
                    ends_at: visible_at,
                    attempt: attempt.clone(),
                    out: bits.clone(),
                    given: bits,
                    visible_at: Vec::new(),
                    times: self.times(attempt.as_deref()),
                });
            }
        }
        change
    }

    /// How often each message was given before, where it was. The same attempt is no other time.
    fn times(&self, attempt: Option<&str>) -> Vec<(i64, i32)> {
        let Some(before) = &self.source.standing.ordered else { return Vec::new() };
        let once_more = i32::from(attempt.is_none() || before.attempt.as_deref() != attempt);
        let given = |offset: &&i64| before.given.has(distance(before.start, **offset));
        let times = |offset: &i64| (*offset, before.times_of(*offset).saturating_add(once_more));
        self.offsets.iter().filter(given).map(times).filter(|(_, times)| *times > 0).collect()
    }
}

fn reserve(
    broker: &Arc<Broker>,
    request: Box<PopRequest>,
    mut parts: Vec<Part>,
    turn: u32,
) -> (Reserved, Option<Box<PopRequest>>) {
    let now = broker.clock.now();
    {
        let mode = request.target.mode(broker);
        let mut pops = broker.state.pops.lock();
        if let Err(error) = pops.journal.check() {
            return (Reserved::Refused(error), Some(request));
        }
        let found = parts.iter().any(|part| !part.offsets.is_empty());
        {
            let offsets = broker.state.offsets.lock();
            parts.retain(|part| {
                let before = &part.source.standing;
                before.same(&pops.standing(&part.source.key, mode, &offsets, || before.from))
            });
        }
        for part in &parts {
            pops.reserve(&part.source.key, part.change(&request, now));
        }
        if !parts.iter().any(|part| !part.offsets.is_empty()) {
            drop(pops);
            if !parts.is_empty() {
                broker.popping.journal.notify_one();
            }
            return (if found { Reserved::Again } else { Reserved::Nothing }, Some(request));
        }
        parts.retain(|part| !part.offsets.is_empty());
        let giving = broker.clone();
        pops.journal.wait(Box::new(move |logged| match logged {
            Ok(()) => give(&giving, request, parts, now, turn),
            Err(error) => refuse(&request.conn, &request.command, error.into()),
        }));
    }
    broker.popping.journal.notify_one();
    (Reserved::Taken, None)
}

/// Answers with what was popped, once the checkpoint is in the log.
fn give(broker: &Arc<Broker>, request: Box<PopRequest>, parts: Vec<Part>, now: EpochMillis, turn: u32) {
    if !parts.iter().any(|part| part.cold) {
        return answer(broker, &request, parts, now, turn);
    }
    let broker = broker.clone();
    let conn = request.conn.clone();
    conn.spawn(async move {
        let Ok(permit) = broker.cold_reads.clone().acquire_owned().await else { return };
        let (conn, command) = (request.conn.clone(), request.command.clone());
        let read = tokio::task::spawn_blocking(move || {
            parts.iter().for_each(|part| cold::touch(&part.slices));
            drop(permit);
            answer(&broker, &request, parts, now, turn);
        });
        if read.await.is_err() {
            refuse(&conn, &command, Failure::Internal("the read of old messages failed"));
        }
    });
}

fn answer(broker: &Broker, request: &PopRequest, parts: Vec<Part>, now: EpochMillis, turn: u32) {
    let mut info = OffsetInfo::default();
    let mut rest = 0_i64;
    let mut slices = Vec::new();
    for part in parts {
        let Source { kind, topic, queue, .. } = &part.source;
        let queue_id: QueueId = queue.id();
        let first = part.offsets.first().copied().unwrap_or(part.next);
        info.add(*kind, queue_id, QueueOffset(first), &part.offsets);
        if let Some(attempt) = &request.target.ordered {
            let times = part.times(attempt.as_deref());
            let all_given_before = times.len() == part.offsets.len();
            let least = times.iter().map(|(_, times)| *times).min().filter(|_| all_given_before);
            info.add_order_counts(*kind, queue_id, &times, least.unwrap_or(0));
        }
        rest = rest.saturating_add(queue.max().0.saturating_sub(part.next).max(0));
        let counters = request.target.group.counters.topic(&topic.name);
        counters.reads.got.add(u64::try_from(part.offsets.len()).unwrap_or(u64::MAX));
        counters.reads.got_bytes.add(u64::try_from(part.bytes).unwrap_or(u64::MAX));
        counters.reads.latency_ms.add(broker.monotonic_ms().saturating_sub(request.started_ms));
        slices.extend(part.slices);
    }
    let header = PopMessageResponse {
        pop_time: now,
        invisible_time: request.invisible_ms,
        revive_qid: request.revive_queue(turn),
        rest_num: rest,
        start_offset_info: Some(info.starts),
        msg_offset_info: Some(info.messages),
        order_count_info: request.target.ordered.as_ref().map(|_| info.order_counts),
    };
    let reply = Reply::header(&header).with_remark("FOUND").with_slices(slices);
    request.conn.reply(reply.answer(&request.command));
}
