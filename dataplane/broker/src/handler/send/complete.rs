//! Owns the end of a send: the store's answer becomes the replies of the read, in one write.

use std::fmt::Write;
use std::sync::Arc;

use bolide_store::{Ack, AppendBatch, AppendError, Placed, Refused};
use bolide_transport::{Conn, Outgoing};
use bolide_wire::Command;
use bolide_wire::message::OffsetMessageId;
use parking_lot::Mutex;

use crate::broker::Broker;
use crate::error::Failure;
use crate::reply::Reply;
use crate::state::topics::Topic;

/// One request of a batch until the store has answered.
pub(crate) struct Waiting {
    /// The frame to complete; none for a one-way send.
    pub(crate) reply: Option<Command>,
    /// Topic that the message counts for.
    pub(crate) topic: Arc<Topic>,
    /// Records of the request.
    pub(crate) records: usize,
    /// Bytes of the records.
    pub(crate) bytes: u32,
}

/// The sends of one read that wait for the same promise.
#[derive(Default)]
pub(crate) struct Part {
    /// What is appended.
    pub(crate) batch: AppendBatch,
    /// Who waits for it, in the order of the entries.
    pub(crate) waiting: Vec<Waiting>,
}

impl Part {
    /// Hands the part to the store; the replies leave when it answers.
    pub(crate) fn submit(self, broker: &Arc<Broker>, conn: &Conn, ack: Ack) {
        if self.waiting.is_empty() {
            return;
        }
        let waiting = Arc::new(Mutex::new(self.waiting));
        let completion = (broker.clone(), conn.clone(), waiting.clone());
        let done = Box::new(move |placed: Result<Vec<Placed>, AppendError>| {
            let (broker, conn, waiting) = completion;
            let waiting = std::mem::take(&mut *waiting.lock());
            match placed {
                Ok(placed) => conn.reply_many(stored(&broker, waiting, &placed)),
                Err(error) => conn.reply_many(failed(&broker, waiting, || Failure::Append(error))),
            }
        });
        if let Err(Refused { reason, .. }) = broker.store.append(self.batch, ack, done) {
            let waiting = std::mem::take(&mut *waiting.lock());
            conn.reply_many(failed(broker, waiting, || Failure::Refused(reason)));
        }
    }
}

fn stored(broker: &Broker, waiting: Vec<Waiting>, placed: &[Placed]) -> Vec<Outgoing> {
    let mut replies = Vec::with_capacity(waiting.len());
    let mut rest = placed;
    let mut id = String::with_capacity(56);
    for one in waiting {
        let Some((own, later)) = rest.split_at_checked(one.records) else { break };
        rest = later;
        let records = u64::try_from(one.records).unwrap_or(u64::MAX);
        one.topic.counters.put.add_calls(records, 1);
        one.topic.counters.put_bytes.add_calls(u64::from(one.bytes), 1);
        let (Some(mut reply), Some(first)) = (one.reply, own.first()) else { continue };
        id.clear();
        for (index, placed) in own.iter().enumerate() {
            let separator = if index == 0 { "" } else { "," };
            let written = write!(
                id,
                "{separator}{}",
                OffsetMessageId { host: broker.store_host, offset: placed.log_offset }
            );
            debug_assert!(written.is_ok(), "writing to a string cannot fail");
        }
        reply.ext.append("msgId", |text| text.push_str(&id));
        reply
            .ext
            .append("queueOffset", |text| text.push_str(itoa::Buffer::new().format(first.queue_offset.0)));
        replies.push(Outgoing::from(reply));
    }
    replies
}

fn failed(broker: &Broker, waiting: Vec<Waiting>, failure: impl Fn() -> Failure) -> Vec<Outgoing> {
    let mut replies = Vec::with_capacity(waiting.len());
    for one in waiting {
        let failure = failure();
        broker.metrics.send_refused(crate::reply::code_of(&failure));
        if let Some(reply) = one.reply {
            replies.push(Reply::from(failure).answer(&reply));
        }
    }
    replies
}
