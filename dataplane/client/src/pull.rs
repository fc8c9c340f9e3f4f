//! Reading queues by pull, without a group: the reader keeps the offsets.

use std::time::Duration;

use bolide_transport::Client;
use bolide_wire::message::records;
use bolide_wire::{Command, RequestCode, ResponseCode};
use bytes::Bytes;

use crate::admin::number;
use crate::message::Received;
use crate::reader::Reader;
use crate::remote::{Remote, patient, refused};
use crate::route::{self, Queue, Use};
use crate::{Admin, ClientError};

/// A group that every broker has for its own tools; pulling with it changes nothing.
const TOOLS_GROUP: &str = "TOOLS_CONSUMER";

/// Bits of a pull's `sysFlag`.
const SUSPEND: i32 = 0x2;
const SUBSCRIPTION: i32 = 0x4;

/// Where reading begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartAt {
    /// The oldest message.
    Earliest,
    /// Behind the newest message.
    Latest,
    /// The first message stored at or after this moment, in milliseconds since 1970.
    Time(i64),
}

/// How a pull ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PullStatus {
    /// Messages were found.
    Found,
    /// Nothing beyond the offset yet.
    NotFound,
    /// Nothing that the filter takes; go on at `next`.
    NoMatch,
    /// The offset is not in the queue; go on at `next`.
    Moved,
}

/// The answer to a pull.
#[derive(Clone, Debug)]
pub struct Pulled {
    /// How it ended.
    pub status: PullStatus,
    /// Offset to go on at.
    pub next: i64,
    /// Offset of the oldest message of the queue.
    pub min: i64,
    /// Offset that the next message of the queue gets.
    pub max: i64,
    /// The records, one after another; empty unless `Found`.
    pub body: Bytes,
}

impl Pulled {
    /// The records as messages; `broker` is the broker group they come from.
    ///
    /// # Errors
    /// The body is not a sequence of records.
    pub fn messages(&self, broker: &str) -> Result<Vec<Received>, ClientError> {
        records(&self.body)
            .map(|record| match record {
                Ok(record) => Ok(Received::new(broker, &record)),
                Err(error) => Err(ClientError::Body { addr: broker.to_owned(), reason: error.to_string() }),
            })
            .collect()
    }
}

/// Pulls; cheap to clone, all clones share their connections.
#[derive(Clone, Debug)]
pub struct Puller {
    admin: Admin,
    group: String,
}

impl Puller {
    /// A puller with connections of its own, in no group. Nothing is connected yet.
    ///
    /// # Errors
    /// [`ClientError::Address`].
    pub fn new(namesrv: &str, timeout: Duration) -> Result<Self, ClientError> {
        let remote = Remote::new(Client::new(patient(timeout)), namesrv, timeout)?;
        Ok(Self { admin: Admin::from(remote), group: TOOLS_GROUP.to_owned() })
    }

    /// A puller that pulls as `group`, over the connections of `admin`.
    pub fn in_group(admin: Admin, group: &str) -> Self {
        Self { admin, group: group.to_owned() }
    }

    /// The operations that go with pulling.
    pub fn admin(&self) -> &Admin {
        &self.admin
    }

    /// The queues of a topic that may be read.
    ///
    /// # Errors
    /// The topic does not exist or has none, or no nameserver answers.
    pub async fn queues(&self, topic: &str) -> Result<Vec<Queue>, ClientError> {
        let queues = route::queues(topic, &self.admin.route_of(topic).await?, Use::Read);
        if queues.is_empty() {
            return Err(ClientError::NoQueue { topic: topic.to_owned(), what: "read from" });
        }
        Ok(queues)
    }

    /// Pulls up to `most` messages from `offset` on. `hold` is how long the broker may wait for the first one. `tags` is `*`, or tags
    /// separated by `||`; the broker filters by their hashes only.
    ///
    /// # Errors
    /// The broker does not answer, or refuses.
    pub async fn pull(
        &self,
        queue: &Queue,
        offset: i64,
        most: u16,
        hold: Option<Duration>,
        tags: &str,
    ) -> Result<Pulled, ClientError> {
        let hold_ms = hold.map_or(0, |hold| hold.as_millis());
        let flags = SUBSCRIPTION | if hold.is_some() { SUSPEND } else { 0 };
        let command = Command::request(RequestCode::PULL_MESSAGE)
            .with_ext("consumerGroup", &self.group)
            .with_ext("topic", &queue.topic)
            .with_ext("queueId", &queue.id.to_string())
            .with_ext("queueOffset", &offset.to_string())
            .with_ext("maxMsgNums", &most.to_string())
            .with_ext("sysFlag", &flags.to_string())
            .with_ext("commitOffset", "0")
            .with_ext("suspendTimeoutMillis", &hold_ms.to_string())
            .with_ext("subscription", tags)
            .with_ext("subVersion", "0")
            .with_ext("expressionType", "TAG")
            .with_ext("bname", &queue.broker);
        let addr = &queue.address;
        let remote = self.admin.remote();
        let limit = remote.timeout().saturating_add(hold.unwrap_or_default());
        let answer = remote.call_within(addr, command, limit).await?;
        let status = match answer.response_code() {
            ResponseCode::SUCCESS => PullStatus::Found,
            ResponseCode::PULL_NOT_FOUND => PullStatus::NotFound,
            ResponseCode::PULL_RETRY_IMMEDIATELY => PullStatus::NoMatch,
            ResponseCode::PULL_OFFSET_MOVED => PullStatus::Moved,
            code => return Err(refused(addr, "PULL_MESSAGE", code, &answer)),
        };
        Ok(Pulled {
            status,
            next: number(addr, &answer, "nextBeginOffset")?,
            min: number(addr, &answer, "minOffset")?,
            max: number(addr, &answer, "maxOffset")?,
            body: answer.body,
        })
    }

    /// The offset at which reading a queue begins.
    ///
    /// # Errors
    /// The broker does not answer, or refuses.
    pub async fn start_offset(&self, queue: &Queue, start: StartAt) -> Result<i64, ClientError> {
        match start {
            StartAt::Earliest => self.admin.min_offset(&queue.address, &queue.topic, queue.id).await,
            StartAt::Latest => self.admin.max_offset(&queue.address, &queue.topic, queue.id).await,
            StartAt::Time(ms) => self.admin.offset_by_time(&queue.address, &queue.topic, queue.id, ms).await,
        }
    }

    /// Reads all queues of a topic: up to their present ends, or on and on when `follow`.
    ///
    /// # Errors
    /// The topic does not exist, or a broker does not answer.
    pub async fn read(
        &self,
        topic: &str,
        tags: &str,
        start: StartAt,
        follow: bool,
    ) -> Result<Reader, ClientError> {
        Reader::open(self, topic, tags, start, follow).await
    }
}

/// Whether a message has one of the tags; brokers compare only hashes.
pub(crate) fn matches(tags: &str, message: &Received) -> bool {
    if tags.trim().is_empty() || tags.trim() == "*" {
        return true;
    }
    let own = message.properties.get(bolide_wire::properties::names::TAGS);
    own.is_some_and(|own| tags.split("||").any(|tag| tag.trim() == own))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn tags_are_compared_as_text() {
        let mut message = Received {
            topic: String::new(),
            queue_topic: String::new(),
            broker: String::new(),
            queue: 0,
            offset: 0,
            message_id: String::new(),
            stored_ms: 0,
            reconsume_times: 0,
            properties: BTreeMap::new(),
            body: Bytes::new(),
        };
        assert!(matches("*", &message) && matches("", &message));
        assert!(!matches("a", &message));
        message.properties.insert("TAGS".to_owned(), "b".to_owned());
        assert!(matches("a || b", &message));
        assert!(!matches("a", &message));
    }
}
