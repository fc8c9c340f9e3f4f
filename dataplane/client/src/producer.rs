//! Sending. One [`Producer`] may send many messages at once over one connection to each broker; it retries on another queue, of
//! another broker where there is one.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bolide_transport::Client;
use bolide_wire::header::send::{SendMessageResponse, SendMessageV2};
use bolide_wire::message::{BatchMessage, encode_batch};
use bolide_wire::{Command, EpochMillis, RequestCode, ResponseCode};

use crate::message::{Message, ProcessId, unique_id};
use crate::remote::{Remote, patient, refused};
use crate::route::{Queue, Routes, TEMPLATE_QUEUES};
use crate::{Admin, ClientError};

/// Pause before a retry on the same broker, times the number of the attempt.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// Settings of a [`Producer`].
#[derive(Clone, Debug)]
pub struct ProducerConfig {
    /// Name of the producer group.
    pub group: String,
    /// Limit of each attempt.
    pub timeout: Duration,
    /// Further attempts after the first one failed in a way that may pass.
    pub retries: usize,
}

impl Default for ProducerConfig {
    fn default() -> Self {
        Self { group: "CLIENT_INNER_PRODUCER".to_owned(), timeout: Duration::from_secs(5), retries: 2 }
    }
}

/// What a broker promised about a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendStatus {
    /// Everything that the broker's mode promises.
    Ok,
    /// Stored; not yet on disk when the broker stopped waiting.
    FlushTimeout,
    /// Stored; not yet on a slave.
    SlaveTimeout,
    /// Stored; there is no slave.
    NoSlave,
}

/// A message that was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Id given by this producer, in the message's `UNIQ_KEY`.
    pub message_id: String,
    /// Id given by the broker: its address and the place in the log; several separated by commas for a batch.
    pub offset_message_id: String,
    /// Name of the broker group.
    pub broker: String,
    /// Number of the queue.
    pub queue: i32,
    /// Offset in the queue; of the first message of a batch.
    pub offset: i64,
    /// What was promised.
    pub status: SendStatus,
}

/// Sends messages; cheap to clone, all clones share routes and connections.
#[derive(Clone, Debug)]
pub struct Producer {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    admin: Admin,
    config: ProducerConfig,
    routes: Routes,
    process: ProcessId,
    next: AtomicUsize,
}

impl Producer {
    /// A producer with connections of its own. Nothing is connected yet.
    ///
    /// # Errors
    /// [`ClientError::Address`].
    pub fn new(namesrv: &str, config: ProducerConfig) -> Result<Self, ClientError> {
        let remote = Remote::new(Client::new(patient(config.timeout)), namesrv, config.timeout)?;
        let process = ProcessId::new();
        let shared = Shared {
            admin: Admin::from(remote),
            config,
            routes: Routes::default(),
            process,
            next: AtomicUsize::new(0),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Queues that a message of the topic may be sent to.
    ///
    /// # Errors
    /// The topic does not exist and cannot be made on first send, or no nameserver answers.
    pub async fn queues(&self, topic: &str) -> Result<Vec<Queue>, ClientError> {
        Ok(self.shared.routes.to_send(&self.shared.admin, topic).await?.to_vec())
    }

    /// Sends one message to the next queue of its topic. After a failure that may pass it is sent again, so that it may be stored
    /// twice.
    ///
    /// # Errors
    /// The last attempt's, when all failed.
    pub async fn send(&self, message: &Message) -> Result<Sent, ClientError> {
        let shared = &*self.shared;
        let mut attempt = 0;
        let mut failed_broker: Option<String> = None;
        loop {
            let outcome = match self.pick(&message.topic, failed_broker.as_deref()).await {
                Ok(queue) => {
                    let sent = self.send_to(message, &queue).await;
                    if sent.is_err() {
                        failed_broker = Some(queue.broker);
                    }
                    sent
                }
                Err(error) => Err(error),
            };
            match outcome {
                Err(error) if error.is_retryable() && attempt < shared.config.retries => {
                    attempt += 1;
                    shared.routes.forget(&message.topic);
                    tokio::time::sleep(RETRY_PAUSE.saturating_mul(u32::try_from(attempt).unwrap_or(1))).await;
                }
                outcome => return outcome,
            }
        }
    }

    /// The next queue in turn, of another broker than the one that failed where there is one.
    async fn pick(&self, topic: &str, failed: Option<&str>) -> Result<Queue, ClientError> {
        let queues = self.shared.routes.to_send(&self.shared.admin, topic).await?;
        let turn = self.shared.next.fetch_add(1, Ordering::Relaxed);
        let others: Vec<&Queue> = match failed {
            Some(failed) => queues.iter().filter(|queue| queue.broker != failed).collect(),
            None => Vec::new(),
        };
        let picked = match others.len() {
            0 => queues.get(turn % queues.len().max(1)),
            count => others.get(turn % count).copied(),
        };
        picked.cloned().ok_or_else(|| ClientError::NoQueue { topic: topic.to_owned(), what: "send to" })
    }

    /// Sends one message to a certain queue, once.
    ///
    /// # Errors
    /// The broker does not answer, or refuses.
    pub async fn send_to(&self, message: &Message, queue: &Queue) -> Result<Sent, ClientError> {
        let id = unique_id(&self.shared.process);
        let header = self.header(&message.topic, queue, message.encoded_properties(&id), false);
        let command = Command::request(RequestCode::SEND_MESSAGE_V2).with_header(&header);
        self.deliver(command.with_body(message.body.clone()), queue, id).await
    }

    /// Sends several messages of one topic in one request to one queue, once. They get consecutive offsets.
    ///
    /// # Errors
    /// The broker does not answer, or refuses; or a message is too long for a batch ([`ClientError::Body`]).
    pub async fn send_batch(&self, messages: &[Message], queue: &Queue) -> Result<Sent, ClientError> {
        let process = &self.shared.process;
        let properties: Vec<String> =
            messages.iter().map(|message| message.encoded_properties(&unique_id(process))).collect();
        let batch: Vec<BatchMessage<'_>> = messages
            .iter()
            .zip(&properties)
            .map(|(message, properties)| BatchMessage { flag: 0, body: &message.body, properties })
            .collect();
        let body = encode_batch(&batch).map_err(|error| ClientError::Body {
            addr: "this client".to_owned(),
            reason: error.to_string(),
        })?;
        let id = unique_id(process);
        let header = self.header(&queue.topic, queue, String::new(), true);
        let command = Command::request(RequestCode::SEND_BATCH_MESSAGE).with_header(&header).with_body(body);
        self.deliver(command, queue, id).await
    }

    fn header<'a>(
        &'a self,
        topic: &'a str,
        queue: &'a Queue,
        properties: String,
        batch: bool,
    ) -> SendMessageV2<'a> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        SendMessageV2 {
            producer_group: Cow::Borrowed(&self.shared.config.group),
            topic: Cow::Borrowed(topic),
            default_topic: Cow::Borrowed("TBW102"),
            default_topic_queue_nums: TEMPLATE_QUEUES,
            queue_id: queue.id,
            sys_flag: 0,
            born_timestamp: EpochMillis(i64::try_from(now.as_millis()).unwrap_or(i64::MAX)),
            flag: 0,
            properties: Some(Cow::Owned(properties)),
            reconsume_times: Some(0),
            unit_mode: Some(false),
            max_reconsume_times: None,
            batch,
            broker_name: Some(Cow::Borrowed(&queue.broker)),
        }
    }

    async fn deliver(&self, command: Command, queue: &Queue, id: String) -> Result<Sent, ClientError> {
        let addr = &queue.address;
        let answer = self.shared.admin.remote().call(addr, command).await?;
        let status = match answer.response_code() {
            ResponseCode::SUCCESS => SendStatus::Ok,
            ResponseCode::FLUSH_DISK_TIMEOUT => SendStatus::FlushTimeout,
            ResponseCode::FLUSH_SLAVE_TIMEOUT => SendStatus::SlaveTimeout,
            ResponseCode::SLAVE_NOT_AVAILABLE => SendStatus::NoSlave,
            code => return Err(refused(addr, "SEND_MESSAGE", code, &answer)),
        };
        let header = SendMessageResponse::decode(&answer.ext)
            .map_err(|source| ClientError::Header { addr: addr.clone(), source })?;
        Ok(Sent {
            message_id: id,
            offset_message_id: header.msg_id,
            broker: queue.broker.clone(),
            queue: header.queue_id,
            offset: header.queue_offset,
            status,
        })
    }
}
