//! Owns pulls: the checks, the read, and what happens when there is nothing to give.
//!
//! A pull that finds nothing is held under its queue until something arrives or its time is over; it is answered exactly
//! once, by whoever takes it out of the hold table.

use std::io;
use std::sync::Arc;

use bolide_store::{Queue, ReadLimits, ReadResult, ReadStatus};
use bolide_transport::Conn;
use bolide_wire::header::pull::{PullMessage, PullMessageResponse, sys_flag};
use bolide_wire::ids::{QueueId, QueueOffset};
use bolide_wire::{Command, ResponseCode};

use super::Call;
use crate::broker::{Broker, Live};
use crate::clients::Subscription;
use crate::clients::subscription::ExpressionKind;
use crate::error::{Failure, Forbidden};
use crate::hold::HoldKey;
use crate::reply::{self, Reply};
use crate::state::groups::Group;
use crate::state::topics::Topic;

pub(super) mod cold;
pub(crate) mod wake;

/// Units that one read looks at; in memory that is a millisecond at most, also with an expression.
const SCAN: usize = 4_096;
const TOTAL_BYTES_MAX: u32 = 128 * 1024 * 1024;

/// A pull on its way to an answer.
pub(crate) struct Pull {
    pub(super) conn: Conn,
    pub(super) command: Command,
    pub(super) group: Arc<Group>,
    pub(super) topic: Arc<Topic>,
    pub(super) queue: Arc<Queue>,
    pub(super) subscription: Arc<Subscription>,
    /// Where the next read begins: the offset asked for, or later when everything up to here was filtered out.
    pub(super) from: QueueOffset,
    /// Some messages were filtered out while the pull was held.
    pub(super) skipped: bool,
    max_messages: u32,
    max_bytes: u32,
    /// How long the pull may still be held when it first finds nothing.
    hold_ms: Option<u64>,
    started_ms: u64,
}

impl Pull {
    /// Nobody waits for the answer any more.
    pub(crate) fn abandoned(&self) -> bool {
        self.conn.is_closed()
    }

    /// Goes on behind messages that were filtered out.
    fn skip_to(&mut self, next: QueueOffset) {
        self.skipped |= next > self.from;
        self.from = next;
    }

    fn limits(&self, messages: u32, bytes: u32) -> ReadLimits {
        ReadLimits {
            max_messages: usize::try_from(self.max_messages.min(messages)).unwrap_or(1),
            max_bytes: usize::try_from(self.max_bytes.min(bytes)).unwrap_or(1),
            ..ReadLimits::default()
        }
    }

    fn key(&self) -> HoldKey {
        HoldKey { topic: self.queue.topic().clone(), queue: self.queue.id() }
    }
}

/// Codes 11 and 361.
pub(crate) fn handle(call: Call) {
    let header = match PullMessage::decode(&call.command.ext) {
        Ok(header) => header,
        Err(error) => return refuse(&call.conn, &call.command, error.into()),
    };
    if call.broker.state.groups.find(&header.consumer_group).is_none() {
        let group = header.consumer_group.to_string();
        let conn = call.conn.clone();
        return conn.spawn(async move {
            match call.broker.make_group(&group).await {
                Ok(_) => begin(&call),
                Err(failure) => refuse(&call.conn, &call.command, failure),
            }
        });
    }
    begin(&call);
}

/// Answers with a failure.
pub(super) fn refuse(conn: &Conn, command: &Command, failure: Failure) {
    if !command.is_oneway() {
        conn.reply(reply::answer(command, Err(failure)));
    }
}

fn begin(call: &Call) {
    match prepare(call) {
        Ok(Begun::Read(pull)) => run(&call.broker, pull),
        Ok(Begun::Moved(reply)) => call.conn.reply(reply.answer(&call.command)),
        Err(failure) => refuse(&call.conn, &call.command, failure),
    }
}

enum Begun {
    Read(Pull),
    /// A reset waits for the group: it is told where to go on.
    Moved(Reply),
}

fn prepare(call: &Call) -> Result<Begun, Failure> {
    let broker = &call.broker;
    let live = broker.live.load();
    let header = PullMessage::decode(&call.command.ext)?;
    let forbidden =
        |what, name: &str| Failure::Forbidden { what, name: name.into(), verb: "pulling message" };
    if !live.config.readable() {
        return Err(forbidden(Forbidden::Broker, &broker.names.broker));
    }
    let group = broker.state.groups.find(&header.consumer_group);
    let group = group.ok_or_else(|| Failure::NoGroup(header.consumer_group.to_string()))?;
    if !group.config.consume_enable {
        return Err(forbidden(Forbidden::Group, &group.name));
    }
    let topic =
        broker.state.topics.find(&header.topic).ok_or_else(|| Failure::NoTopic(header.topic.to_string()))?;
    if !topic.readable() {
        return Err(forbidden(Forbidden::Topic, &topic.name));
    }
    if !broker.state.groups.may_read(&group.name, &topic.name) {
        let (group, topic) = (group.name.to_string(), topic.name.to_string());
        return Err(Failure::ForbiddenTopic { group, topic });
    }
    let queue = readable_queue(&topic, header.queue_id)?;
    let subscription = subscription(broker, &header, &group, &topic)?;
    if subscription.kind == ExpressionKind::Sql92 && !live.config.enable_property_filter {
        return Err(Failure::FilterDisabled);
    }
    if let Some(fault) = subscription.fault() {
        return Err(Failure::BadFilter(fault.clone()));
    }
    let stored = topic.queue(&broker.store, queue);
    {
        let mut offsets = broker.state.offsets.lock();
        if let Some(target) = offsets.take_reset(&group.name, &topic.name, queue) {
            return Ok(Begun::Moved(answer(
                &stored,
                ResponseCode::PULL_OFFSET_MOVED,
                target,
                0,
                "OFFSET_RESET",
            )));
        }
        if header.sys_flag & sys_flag::COMMIT_OFFSET != 0 && header.commit_offset >= 0 {
            offsets.commit(&group.name, &topic.name, queue, QueueOffset(header.commit_offset));
        }
    }
    let max_messages = u32::try_from(header.max_msg_nums).unwrap_or(1).max(1);
    let max_bytes =
        header.max_msg_bytes.and_then(|bytes| u32::try_from(bytes).ok()).filter(|bytes| *bytes > 0);
    Ok(Begun::Read(Pull {
        conn: call.conn.clone(),
        command: call.command.clone(),
        group,
        topic,
        queue: stored,
        subscription,
        from: QueueOffset(header.queue_offset),
        skipped: false,
        max_messages,
        max_bytes: max_bytes.unwrap_or(TOTAL_BYTES_MAX),
        hold_ms: (header.sys_flag & sys_flag::SUSPEND != 0)
            .then(|| hold_ms(&live, header.suspend_timeout_millis)),
        started_ms: broker.monotonic_ms(),
    }))
}

fn readable_queue(topic: &Topic, asked: i32) -> Result<QueueId, Failure> {
    QueueId::from_wire(asked).filter(|queue| queue.0 < topic.queues()).ok_or_else(|| {
        Failure::Parameter(format!(
            "queueId[{asked}] is illegal, topic:[{}] has {} queues",
            topic.name,
            topic.queues()
        ))
    })
}

fn hold_ms(live: &Live, asked: i64) -> u64 {
    let most = if live.config.long_polling_enable { u64::MAX } else { live.config.short_polling_time_mills };
    u64::try_from(asked).unwrap_or(0).min(most)
}

fn subscription(
    broker: &Broker,
    header: &PullMessage<'_>,
    group: &Group,
    topic: &Topic,
) -> Result<Arc<Subscription>, Failure> {
    if header.sys_flag & sys_flag::SUBSCRIPTION != 0 {
        let expression = header.subscription.as_deref().unwrap_or_default();
        let kind = header.expression_type.as_deref();
        return broker.subscription(&topic.name, kind, expression, header.sub_version).map(Arc::new);
    }
    let clients = broker.clients.read();
    let members = clients.consumer_group(&group.name).ok_or(Failure::NoSubscription)?;
    if members.style.broadcasting() && !group.config.consume_broadcast_enable {
        let name = group.name.to_string();
        return Err(Failure::Forbidden { what: Forbidden::Broadcast, name, verb: "pulling message" });
    }
    let known = members.subscriptions.get(&*topic.name).ok_or(Failure::NoSubscription)?;
    if known.version < header.sub_version {
        return Err(Failure::OldSubscription);
    }
    Ok(known.clone())
}

/// Reads for a pull and answers it, or holds it.
pub(super) fn run(broker: &Arc<Broker>, pull: Pull) {
    match read(broker, &pull) {
        Ok(found) if stopped_at_cold(&pull, &found) => cold::search(broker, pull, found.next, None),
        Ok(found) if found.cold && !found.slices.is_empty() => cold::answer(broker, pull, found),
        Ok(found) => finish(broker, pull, found),
        Err(error) => unreadable(&pull, &error),
    }
}

/// Whether the filter has to look at records that may not be in memory before anything can be said.
fn stopped_at_cold(pull: &Pull, found: &ReadResult) -> bool {
    found.cold && found.slices.is_empty() && pull.subscription.reads_properties()
}

fn unreadable(pull: &Pull, error: &std::io::Error) {
    tracing::error!(topic = %pull.topic.name, queue = pull.queue.id().0, %error, "messages cannot be read");
    refuse(&pull.conn, &pull.command, Failure::Internal("store getMessage failed"));
}

fn read(broker: &Broker, pull: &Pull) -> io::Result<ReadResult> {
    let live = broker.live.load();
    let config = &live.config;
    let found = broker.store.read_filtered(
        &pull.queue,
        pull.from,
        &ReadLimits {
            max_scan: SCAN,
            filter_cold: false,
            ..pull.limits(
                config.max_transfer_count_on_message_in_memory,
                config.max_transfer_bytes_on_message_in_memory,
            )
        },
        &mut pull.subscription.filter(),
    )?;
    if !found.cold || stopped_at_cold(pull, &found) {
        return Ok(found);
    }
    read_cold(broker, pull)
}

/// As [`read`], within the limits of what is not in memory, and wherever the filter has to look.
fn read_cold(broker: &Broker, pull: &Pull) -> io::Result<ReadResult> {
    let live = broker.live.load();
    let config = &live.config;
    let limits = pull
        .limits(config.max_transfer_count_on_message_in_disk, config.max_transfer_bytes_on_message_in_disk);
    broker.store.read_filtered(&pull.queue, pull.from, &limits, &mut pull.subscription.filter())
}

/// Answers with what the store found, or holds the pull if this is the first time that it finds nothing.
fn finish(broker: &Arc<Broker>, mut pull: Pull, found: ReadResult) {
    // What a slave does not have yet may well be at the master.
    let ahead = !broker.leads()
        && matches!(found.status, ReadStatus::OffsetOverflowBadly | ReadStatus::NoMessageInQueue);
    let nothing_yet = match found.status {
        ReadStatus::OffsetOverflowOne => true,
        ReadStatus::NoMessageInQueue => pull.from.0 == 0,
        _ => ahead,
    };
    if nothing_yet && let Some(hold_ms) = pull.hold_ms.take() {
        let deadline = pull.started_ms.saturating_add(hold_ms);
        return wake::hold(broker, pull, deadline);
    }
    let next = if ahead { pull.from } else { found.next };
    broker.state.offsets.lock().note_pull(&pull.group.name, &pull.topic.name, pull.queue.id(), next);
    let code = match found.status {
        _ if ahead => ResponseCode::PULL_NOT_FOUND,
        ReadStatus::Found => ResponseCode::SUCCESS,
        ReadStatus::NoMatchedMessage | ReadStatus::MessageWasRemoving => ResponseCode::PULL_RETRY_IMMEDIATELY,
        ReadStatus::OffsetTooSmall | ReadStatus::OffsetOverflowBadly => ResponseCode::PULL_OFFSET_MOVED,
        ReadStatus::OffsetFoundNull => ResponseCode::PULL_NOT_FOUND,
        ReadStatus::NoMessageInQueue if pull.from.0 != 0 => ResponseCode::PULL_OFFSET_MOVED,
        ReadStatus::NoMessageInQueue | ReadStatus::OffsetOverflowOne if pull.skipped => {
            ResponseCode::PULL_RETRY_IMMEDIATELY
        }
        ReadStatus::NoMessageInQueue | ReadStatus::OffsetOverflowOne => ResponseCode::PULL_NOT_FOUND,
    };
    let suggested = if found.cold { broker.reader_of_old() } else { 0 };
    let mut reply = answer(&pull.queue, code, next, suggested, status_name(found.status));
    if code == ResponseCode::SUCCESS {
        count(broker, &pull, &found);
        reply = reply.with_slices(found.slices);
    }
    pull.conn.reply(reply.answer(&pull.command));
}

fn count(broker: &Broker, pull: &Pull, found: &ReadResult) {
    let counters = pull.group.counters.topic(&pull.topic.name);
    let amount = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    counters.reads.got.add(amount(found.messages));
    counters.reads.got_bytes.add(amount(found.bytes));
    counters.reads.latency_ms.add(broker.monotonic_ms().saturating_sub(pull.started_ms));
}

fn answer(queue: &Queue, code: ResponseCode, next: QueueOffset, suggested: i64, status: &str) -> Reply {
    let header = PullMessageResponse {
        suggest_which_broker_id: suggested,
        next_begin_offset: next.0,
        min_offset: queue.min().0,
        max_offset: queue.max().0,
        offset_delta: None,
        topic_sys_flag: None,
        group_sys_flag: None,
        forbidden_type: None,
    };
    Reply::code(code).with_header(&header).with_remark(status)
}

/// Name of a status, as clients log it.
fn status_name(status: ReadStatus) -> &'static str {
    match status {
        ReadStatus::Found => "FOUND",
        ReadStatus::NoMatchedMessage => "NO_MATCHED_MESSAGE",
        ReadStatus::NoMessageInQueue => "NO_MESSAGE_IN_QUEUE",
        ReadStatus::OffsetTooSmall => "OFFSET_TOO_SMALL",
        ReadStatus::OffsetOverflowOne => "OFFSET_OVERFLOW_ONE",
        ReadStatus::OffsetOverflowBadly => "OFFSET_OVERFLOW_BADLY",
        ReadStatus::OffsetFoundNull => "OFFSET_FOUND_NULL",
        ReadStatus::MessageWasRemoving => "MESSAGE_WAS_REMOVING",
    }
}
