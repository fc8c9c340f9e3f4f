//! Owns the requests by which consumers pop: the checks, and what they ask for.
//!
//! A pop that finds nothing is held under its topic and group until something arrives or its time is over; it is answered
//! exactly once.

use std::sync::Arc;

use bolide_transport::Conn;
use bolide_wire::header::pop::{
    Notification, NotificationResponse, PollingInfo, PollingInfoResponse, PopMessage, PopMessageResponse,
};
use bolide_wire::ids::{EpochMillis, QueueId, TopicName};
use bolide_wire::pop::{ORDERED, PopSource};
use bolide_wire::{Command, ResponseCode};

use super::Call;
use super::pull::refuse;
use crate::broker::Broker;
use crate::clients::Subscription;
use crate::error::{Failure, Forbidden};
use crate::pop::MOST_MESSAGES;
use crate::pop::hold::WaitKey;
use crate::reply::Reply;
use crate::state::groups::Group;
use crate::state::topics::Topic;

pub(crate) mod ack;
pub(crate) mod invisible;
pub(crate) mod peek;
pub(crate) mod sources;
pub(crate) mod take;
pub(crate) mod wait;

use wait::Waiting;

/// Revive queues that a client may be told of; the number means nothing here.
const REVIVE_QUEUES: u32 = 8;

/// What is asked of whom.
#[derive(Clone)]
pub(crate) struct Target {
    /// Group that asks.
    pub(crate) group: Arc<Group>,
    /// Topic asked for.
    pub(crate) topic: Arc<Topic>,
    /// Its queue; `None` for all.
    pub(crate) queue: Option<QueueId>,
    /// Topics that messages of the topic come to again.
    pub(crate) retries: Vec<(PopSource, TopicName)>,
    /// One batch of a queue at a time; `Some(None)` without an attempt's name.
    pub(crate) ordered: Option<Option<String>>,
    /// A group without an offset starts at the end of the queue.
    pub(crate) from_end: bool,
}

impl Target {
    /// What requests of the same kind wait for.
    pub(crate) fn wait_key(&self) -> WaitKey {
        WaitKey { topic: self.topic.name.clone(), group: self.group.name.clone() }
    }
}

/// A pop on its way to an answer.
pub(crate) struct PopRequest {
    pub(crate) conn: Conn,
    pub(crate) command: Command,
    pub(crate) target: Target,
    pub(crate) subscription: Arc<Subscription>,
    /// Messages at most.
    pub(crate) most: usize,
    pub(crate) invisible_ms: i64,
    /// How long it may be held.
    pub(crate) hold_ms: u64,
    pub(crate) started_ms: u64,
}

impl PopRequest {
    /// Number of the revive queue that the answer names.
    pub(crate) fn revive_queue(&self, turn: u32) -> i32 {
        if self.target.ordered.is_some() { ORDERED } else { i32::try_from(turn % REVIVE_QUEUES).unwrap_or(0) }
    }

    /// Answers that there was nothing.
    pub(crate) fn nothing(self, broker: &Broker, code: ResponseCode) {
        let header = PopMessageResponse {
            pop_time: broker.clock.now(),
            invisible_time: self.invisible_ms,
            revive_qid: self.revive_queue(0),
            rest_num: 0,
            start_offset_info: None,
            msg_offset_info: None,
            order_count_info: None,
        };
        let reply = Reply::code(code).with_header(&header).with_remark("NO_MESSAGE_IN_QUEUE");
        self.conn.reply(reply.answer(&self.command));
    }
}

/// A question whether there is something to pop.
pub(crate) struct NotifyRequest {
    pub(crate) conn: Conn,
    pub(crate) command: Command,
    pub(crate) target: Target,
}

impl NotifyRequest {
    /// Answers.
    pub(crate) fn answer(self, has_msg: bool, polling_full: bool) {
        let reply = Reply::header(&NotificationResponse { has_msg, polling_full });
        self.conn.reply(reply.answer(&self.command));
    }
}

/// Code 200050.
pub(crate) fn pop(call: Call) {
    let group = match PopMessage::decode(&call.command.ext) {
        Ok(header) => header.consumer_group,
        Err(error) => return refuse(&call.conn, &call.command, error.into()),
    };
    with_group(call, group, begin);
}

/// Code 200054.
pub(crate) fn notification(call: Call) {
    let group = match Notification::decode(&call.command.ext) {
        Ok(header) => header.consumer_group,
        Err(error) => return refuse(&call.conn, &call.command, error.into()),
    };
    with_group(call, group, begin_notification);
}

/// Goes on once the group exists; it is made on first use where that is allowed.
fn with_group(call: Call, group: String, begin: fn(&Call) -> Result<(), Failure>) {
    let go = move |call: &Call| {
        if let Err(failure) = begin(call) {
            refuse(&call.conn, &call.command, failure);
        }
    };
    if call.broker.state.groups.find(&group).is_some() {
        return go(&call);
    }
    let conn = call.conn.clone();
    conn.spawn(async move {
        match call.broker.make_group(&group).await {
            Ok(_) => go(&call),
            Err(failure) => refuse(&call.conn, &call.command, failure),
        }
    });
}

/// Code 200055.
pub(crate) fn polling_info(call: &Call) -> Result<Reply, Failure> {
    let header = PollingInfo::decode(&call.command.ext)?;
    let target = target(&call.broker, &header.consumer_group, &header.topic, header.queue_id)?;
    let waiting = call.broker.popping.hold.lock().count(&target.wait_key(), target.queue);
    Ok(Reply::header(&PollingInfoResponse { polling_num: i32::try_from(waiting).unwrap_or(i32::MAX) }))
}

/// The checks that all requests share.
pub(super) fn target(broker: &Broker, group: &str, topic: &str, queue: i32) -> Result<Target, Failure> {
    let forbidden =
        |what, name: &str| Failure::Forbidden { what, name: name.into(), verb: "popping message" };
    let live = broker.live.load();
    if !live.config.readable() {
        return Err(forbidden(Forbidden::Broker, &broker.names.broker));
    }
    let topic = broker.state.topics.find(topic).ok_or_else(|| Failure::NoTopic(topic.into()))?;
    if !topic.readable() {
        return Err(forbidden(Forbidden::Topic, &topic.name));
    }
    let queues = topic.config.read_queue_nums;
    if queue >= queues {
        let name = &topic.name;
        let text =
            format!("queueId[{queue}] is illegal, topic:[{name}] topicConfig.readQueueNums:[{queues}]");
        return Err(Failure::Parameter(text));
    }
    let group = broker.state.groups.find(group).ok_or_else(|| Failure::NoGroup(group.into()))?;
    if !group.config.consume_enable {
        return Err(forbidden(Forbidden::Group, &group.name));
    }
    let retries = [PopSource::RetryV1, PopSource::RetryV2].into_iter();
    // A name too long for a topic has no retry topic either.
    let retries = retries.filter_map(|source| Some((source, source.topic(&topic.name, &group.name).ok()?)));
    let retries = retries.collect();
    Ok(Target { group, topic, queue: QueueId::from_wire(queue), retries, ordered: None, from_end: false })
}

fn begin(call: &Call) -> Result<(), Failure> {
    let header = PopMessage::decode(&call.command.ext)?;
    let broker = &call.broker;
    let mut target = target(broker, &header.consumer_group, &header.topic, header.queue_id)?;
    target.ordered = header.order.then_some(header.attempt_id);
    target.from_end = header.init_mode != 0;
    let expression = header.exp.as_deref().unwrap_or_default();
    let subscription = broker.subscription(
        &target.topic.name,
        header.exp_type.as_deref().filter(|_| !expression.is_empty()),
        expression,
        0,
    )?;
    let most = u32::try_from(header.max_msg_nums).ok().filter(|most| *most > 0);
    let most = most.ok_or_else(|| Failure::Parameter(format!("maxMsgNums[{}]", header.max_msg_nums)))?;
    let request = Box::new(PopRequest {
        conn: call.conn.clone(),
        command: call.command.clone(),
        target,
        subscription: Arc::new(subscription),
        most: usize::try_from(most.min(MOST_MESSAGES)).unwrap_or(1),
        invisible_ms: header.invisible_time.max(0),
        hold_ms: hold_ms(broker, header.poll_time, header.born_time),
        started_ms: broker.monotonic_ms(),
    });
    if request.subscription.reads_properties() {
        // The filter looks at records that may not be in memory.
        let (broker, conn) = (broker.clone(), call.conn.clone());
        conn.spawn(async move {
            let Ok(permit) = broker.cold_reads.clone().acquire_owned().await else { return };
            let (conn, command) = (request.conn.clone(), request.command.clone());
            let read = tokio::task::spawn_blocking(move || {
                take_or_hold(&broker, request);
                drop(permit);
            });
            if read.await.is_err() {
                refuse(&conn, &command, Failure::Internal("the read of messages failed"));
            }
        });
    } else {
        take_or_hold(broker, request);
    }
    Ok(())
}

fn take_or_hold(broker: &Arc<Broker>, request: Box<PopRequest>) {
    if let Err(request) = take::attempt(broker, request) {
        wait::hold_or_answer(broker, Waiting::Pop(request));
    }
}

fn begin_notification(call: &Call) -> Result<(), Failure> {
    let header = Notification::decode(&call.command.ext)?;
    let broker = &call.broker;
    let mut target = target(broker, &header.consumer_group, &header.topic, header.queue_id)?;
    target.ordered = header.order.then_some(header.attempt_id);
    let hold_ms = hold_ms(broker, header.poll_time, header.born_time);
    let request = NotifyRequest { conn: call.conn.clone(), command: call.command.clone(), target };
    if sources::any(broker, &request.target) {
        request.answer(true, false);
    } else {
        wait::hold_notification(broker, request, hold_ms);
    }
    Ok(())
}

/// How long a request may be held, counted from now. The client counts from its own clock, which may be another one than
/// ours: what it says of the time on its way is believed only where that shortens the wait by little.
fn hold_ms(broker: &Broker, poll_ms: i64, born: Option<EpochMillis>) -> u64 {
    let late = born.map_or(0, |born| broker.clock.now().0.saturating_sub(born.0));
    let late = if (0..=poll_ms / 2).contains(&late) { late } else { 0 };
    u64::try_from(poll_ms.saturating_sub(late)).unwrap_or(0)
}
