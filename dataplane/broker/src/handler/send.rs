//! Owns the send path: every send of one read becomes one append, one completion and one write of replies.
//!
//! A message whose topic exists is encoded on the spot, without a lock and without waiting. One that needs a topic made
//! first (or a dead-letter topic) leaves the batch and comes back through [`make_topic_then_send`].

use std::sync::Arc;

use bolide_store::Ack;
use bolide_transport::{Conn, Outgoing};
use bolide_wire::header::send::{SendMessage, SendMessageV2};
use bolide_wire::ids::{EpochMillis, QueueId, TopicName};
use bolide_wire::message::sys_flag;
use bolide_wire::{Command, RequestCode, ResponseCode};

use crate::broker::{Broker, Live};
use crate::error::{Failure, Forbidden};
use crate::replicas::status::Replication;
use crate::reply;
use crate::state::topics::{Topic, is_protected};

mod batch;
pub(crate) mod complete;
mod half;
pub(super) mod one;
pub(crate) mod properties;
pub(super) mod retry;
pub(crate) mod unique_id;

use complete::Part;

/// Why a message is not in the batch yet.
pub(super) enum Stop {
    /// It never will be.
    Refuse(Failure),
    /// The topic must be made first.
    Make(MakeTopic),
}

impl<T: Into<Failure>> From<T> for Stop {
    fn from(failure: T) -> Stop {
        Stop::Refuse(failure.into())
    }
}

/// A topic to be made before the message can be stored.
pub(super) enum MakeTopic {
    /// From a template, as the client asks.
    FromTemplate {
        /// Topic.
        topic: TopicName,
        /// Template topic.
        template: String,
        /// Most queues.
        queues: i32,
    },
    /// The dead-letter topic of a group.
    DeadLetter(TopicName),
}

/// The sends of one read on their way into one append.
pub(crate) struct Sends<'a> {
    broker: &'a Arc<Broker>,
    conn: &'a Conn,
    live: Arc<Live>,
    now: EpochMillis,
    /// Acknowledged when what the broker promises has happened.
    promised: Part,
    /// Acknowledged when appended.
    appended: Part,
    refused: Vec<Outgoing>,
    scratch: String,
}

impl<'a> Sends<'a> {
    pub(crate) fn new(broker: &'a Arc<Broker>, conn: &'a Conn) -> Sends<'a> {
        Sends {
            broker,
            conn,
            live: broker.live(),
            now: broker.clock.now(),
            promised: Part::default(),
            appended: Part::default(),
            refused: Vec::new(),
            scratch: String::new(),
        }
    }

    /// Takes one request of the codes 10, 310 and 320.
    pub(crate) fn add(&mut self, command: Command) {
        match self.encode(&command) {
            Ok(()) => {}
            Err(Stop::Refuse(failure)) => self.refuse(&command, failure),
            Err(Stop::Make(make)) => {
                let (broker, conn) = (self.broker.clone(), self.conn.clone());
                let unfinished = conn.unfinished(&command);
                self.conn.spawn(async move {
                    let _unfinished = unfinished;
                    make_topic_then_send(broker, conn, command, make).await;
                });
            }
        }
    }

    fn refuse(&mut self, command: &Command, failure: Failure) {
        self.broker.metrics.send_refused(reply::code_of(&failure));
        if !command.is_oneway() {
            self.refused.push(reply::answer(command, Err(failure)));
        }
    }

    /// Hands everything to the store and answers what was refused.
    pub(crate) fn finish(self) {
        if !self.refused.is_empty() {
            self.conn.reply_many(self.refused);
        }
        self.promised.submit(self.broker, self.conn, self.live.config.ack());
        self.appended.submit(self.broker, self.conn, Ack::Appended);
    }

    fn encode(&mut self, command: &Command) -> Result<(), Stop> {
        let header = if command.request_code() == RequestCode::SEND_MESSAGE {
            SendMessageV2::from(SendMessage::decode(&command.ext)?)
        } else {
            SendMessageV2::decode(&command.ext)?
        };
        if !self.live.config.writable() {
            return Err(self.forbidden(Forbidden::Broker, &self.broker.names.broker));
        }
        if header.sys_flag & (sys_flag::INNER_BATCH | sys_flag::NEED_UNWRAP) != 0 {
            return Err(Failure::MessageIllegal("an inner batch, which this broker does not store").into());
        }
        if self.broker.replication.get().is_some_and(Replication::short) {
            return Err(Failure::TooFewReplicas.into());
        }
        let topic = self.topic(&header)?;
        if !topic.writable() {
            return Err(self.forbidden(Forbidden::Topic, &topic.name));
        }
        let queue = any_queue(&topic, header.queue_id)?;
        let max_body = usize::try_from(self.live.config.max_message_size).unwrap_or(usize::MAX);
        if command.body.len() > max_body {
            return Err(Failure::MessageIllegal("msg body size is above the limit of maxMessageSize").into());
        }
        if header.batch {
            self.encode_batch(command, &header, topic, queue)
        } else {
            self.encode_one(command, &header, topic, queue)
        }
    }

    fn forbidden(&self, what: Forbidden, name: &str) -> Stop {
        Failure::Forbidden { what, name: name.into(), verb: "sending message" }.into()
    }

    fn topic(&self, header: &SendMessageV2<'_>) -> Result<Arc<Topic>, Stop> {
        if let Some(topic) = self.broker.state.topics.find(&header.topic) {
            if topic.protected {
                return Err(Failure::ProtectedTopic(header.topic.to_string()).into());
            }
            return Ok(topic);
        }
        let topic = TopicName::new(&header.topic)?;
        if is_protected(&topic) {
            return Err(Failure::ProtectedTopic(header.topic.to_string()).into());
        }
        Err(Stop::Make(MakeTopic::FromTemplate {
            topic,
            template: header.default_topic.to_string(),
            queues: header.default_topic_queue_nums,
        }))
    }

    /// The part that a message belongs to.
    fn part(&mut self, wait: bool) -> &mut Part {
        if wait { &mut self.promised } else { &mut self.appended }
    }

    /// The frame that will answer the message, with everything that is known before it is stored.
    fn reply(&self, command: &Command, queue: QueueId, unique: Option<&str>) -> Option<Command> {
        if command.is_oneway() {
            return None;
        }
        let mut reply = command.response(ResponseCode::SUCCESS);
        if let Some(unique) = unique {
            reply.ext.append("transactionId", |text| text.push_str(unique));
        }
        reply.ext.append("queueId", |text| text.push_str(itoa::Buffer::new().format(queue.0)));
        reply.ext.append("MSG_REGION", |text| text.push_str(&self.live.config.region_id));
        reply.ext.append("TRACE_ON", |text| {
            text.push_str(if self.live.config.trace_on { "true" } else { "false" })
        });
        Some(reply)
    }
}

/// The queue that a message goes to: the one asked for, or any for -1.
pub(super) fn any_queue(topic: &Topic, asked: i32) -> Result<QueueId, Failure> {
    if asked < 0 {
        return Ok(topic.any_write_queue());
    }
    QueueId::from_wire(asked).filter(|queue| queue.0 < topic.queues()).ok_or_else(|| {
        Failure::Parameter(format!(
            "request queueId[{asked}] is illegal, topic [{}] has {} queues",
            topic.name,
            topic.queues()
        ))
    })
}

/// Rounds of making a topic: the topic itself, then a dead-letter topic, then once more if one was deleted meanwhile.
const ROUNDS: u32 = 3;

async fn make_topic_then_send(broker: Arc<Broker>, conn: Conn, command: Command, mut make: MakeTopic) {
    for _ in 0..ROUNDS {
        let made = match make {
            MakeTopic::FromTemplate { topic, template, queues } => {
                broker.make_topic(topic, &template, queues).await
            }
            MakeTopic::DeadLetter(topic) => broker.make_internal_topic(topic, 1).await,
        };
        let mut sends = Sends::new(&broker, &conn);
        match made.map_err(Stop::from).and_then(|_| sends.encode(&command)) {
            Err(Stop::Make(next)) => make = next,
            Err(Stop::Refuse(failure)) => {
                sends.refuse(&command, failure);
                return sends.finish();
            }
            Ok(()) => return sends.finish(),
        }
    }
    let mut sends = Sends::new(&broker, &conn);
    sends.refuse(&command, Failure::Busy);
    sends.finish();
}
