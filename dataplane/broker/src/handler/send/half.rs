//! Owns half messages on their way in: a message of a transaction is stored where no consumer reads, and says where it is for.

use std::sync::Arc;

use bolide_store::Queue;
use bolide_wire::header::send::SendMessageV2;
use bolide_wire::ids::{QueueId, TopicName};
use bolide_wire::properties::names;

use super::properties::{Scan, push};
use super::{Sends, Stop};
use crate::broker::Broker;
use crate::error::{Failure, Forbidden};
use crate::state::topics::Topic;
use crate::state::transactions::HALF_TOPIC;

/// Longest name of a producer group; every open transaction keeps it in memory.
const GROUP_MAX_BYTES: usize = 255;

impl Broker {
    /// The queue of the half messages.
    pub(crate) fn half_queue(&self) -> Arc<Queue> {
        match self.state.topics.find(HALF_TOPIC) {
            Some(topic) => topic.queue(&self.store, QueueId(0)),
            None => self.half_queue.clone(),
        }
    }
}

impl Sends<'_> {
    /// The topic of the half messages, when this is one and may be stored. A retry with a delay is none, as upstream: clients
    /// before 4.6.1 send it with the properties of the message that failed.
    pub(super) fn half_topic(
        &self,
        header: &SendMessageV2<'_>,
        scan: &Scan<'_>,
    ) -> Result<Option<Arc<Topic>>, Stop> {
        let retried = header.reconsume_times.unwrap_or(0) > 0 && scan.delay > 0;
        if !scan.transaction || retried {
            return Ok(None);
        }
        if self.live.config.reject_transaction_message {
            return Err(Failure::Forbidden {
                what: Forbidden::Broker,
                name: self.broker.names.broker.to_string(),
                verb: "sending transaction message",
            }
            .into());
        }
        if scan.group.unwrap_or(&header.producer_group).len() > GROUP_MAX_BYTES {
            return Err(Failure::MessageIllegal("producer group of a transaction is above 255 bytes").into());
        }
        let most = usize::try_from(self.live.config.max_open_transactions).unwrap_or(usize::MAX);
        if self.broker.state.open_transactions() >= most {
            return Err(Failure::Busy.into());
        }
        let topic = self.broker.state.topics.find(HALF_TOPIC);
        Ok(Some(topic.ok_or_else(|| Failure::NoTopic(HALF_TOPIC.into()))?))
    }
}

/// What a half message says besides what was sent.
pub(super) struct Hidden<'a> {
    /// Topic that it is for.
    pub(super) topic: &'a TopicName,
    /// Queue of that topic.
    pub(super) queue: QueueId,
    /// Producer group, should the properties name none.
    pub(super) group: &'a str,
    /// The client's message id: the transaction's, too.
    pub(super) unique: Option<&'a str>,
}

impl Hidden<'_> {
    pub(super) fn write(&self, scan: &Scan<'_>, properties: &mut String) {
        push(properties, names::REAL_TOPIC, self.topic);
        push(properties, names::REAL_QID, itoa::Buffer::new().format(self.queue.0));
        push(properties, names::TRANSACTION_ID, self.unique.unwrap_or_default());
        if scan.group.is_none() {
            push(properties, names::PGROUP, self.group);
        }
    }
}
