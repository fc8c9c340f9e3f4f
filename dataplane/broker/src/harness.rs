//! A whole broker in the test's process: real store in a temporary folder, real sockets on free ports, no nameserver.

use std::sync::Arc;
use std::time::Duration;

use bolide_store::RealDisk;
use bolide_transport::{Client, ClientConfig};
use bolide_wire::body::heartbeat::{ConsumerData, HeartbeatData, SubscriptionData};
use bolide_wire::header::EncodeHeader;
use bolide_wire::header::pull::{PullMessage, PullMessageResponse, sys_flag};
use bolide_wire::header::send::{SendMessageResponse, SendMessageV2};
use bolide_wire::ids::EpochMillis;
use bolide_wire::json::{self, IntegerKeys};
use bolide_wire::{Command, RequestCode};
use prometheus::Registry;
use tempfile::TempDir;

use crate::broker::Broker;
use crate::config::BrokerConfig;
use crate::run::{start, stop};
use crate::serving::Serving;

mod admin;
pub(crate) mod clock;
mod consuming;
pub(crate) mod crashing;
mod deleting;
mod filtering;
pub(crate) mod pop;
mod request_reply;
mod restart;
mod sending;
mod timers;
mod transactions;

use clock::JumpingClock;

const TIMEOUT: Duration = Duration::from_secs(20);

/// A running broker and a client of it.
pub(crate) struct Harness {
    pub(crate) broker: Arc<Broker>,
    pub(crate) client: Client,
    pub(crate) address: String,
    pub(crate) clock: Arc<JumpingClock>,
    serving: Serving,
    folder: TempDir,
    config: BrokerConfig,
}

impl Harness {
    pub(crate) async fn start() -> Harness {
        Harness::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut BrokerConfig)) -> Harness {
        let folder = tempfile::tempdir().unwrap();
        let mut config = BrokerConfig {
            bind_address: [127, 0, 0, 1].into(),
            broker_ip1: Some([127, 0, 0, 1].into()),
            listen_port: 0,
            fast_listen_port: Some(0),
            store_path_root_dir: folder.path().into(),
            mapped_file_size_commit_log: 16 << 20,
            ..BrokerConfig::default()
        };
        change(&mut config);
        Harness::open(folder, config, Arc::new(JumpingClock::new())).await
    }

    async fn open(folder: TempDir, config: BrokerConfig, clock: Arc<JumpingClock>) -> Harness {
        let registry = Registry::new();
        let broker =
            start(config.clone(), Arc::new(RealDisk::new()), clock.clone(), &registry).await.unwrap();
        let serving = Serving::begin(&broker, &registry).await.unwrap();
        let address = serving.address().to_string();
        let client = Client::new(ClientConfig::default());
        Harness { broker, client, address, clock, serving, folder, config }
    }

    /// Ends the broker and starts it again; without `clean`, no snapshot is saved, as after a crash.
    pub(crate) async fn restart(self, clean: bool) -> Harness {
        self.restart_after(clean, || {}).await
    }

    /// Like `restart`; `meanwhile` runs while there is no broker.
    pub(crate) async fn restart_after(self, clean: bool, meanwhile: impl FnOnce()) -> Harness {
        self.client.close(Duration::ZERO).await;
        self.serving.end(&self.broker).await;
        if clean {
            stop(&self.broker).await.unwrap();
        } else {
            self.broker.log_dirty_offsets().unwrap();
            let store = self.broker.store.clone();
            tokio::task::spawn_blocking(move || store.close()).await.unwrap();
        }
        drop(self.broker);
        meanwhile();
        Harness::open(self.folder, self.config, self.clock).await
    }

    pub(crate) async fn call(&self, command: Command) -> Command {
        self.client.call(&self.address, command, TIMEOUT).await.unwrap()
    }

    pub(crate) async fn ask(&self, code: RequestCode, header: &impl EncodeHeader) -> Command {
        self.call(Command::request(code).with_header(header)).await
    }

    pub(crate) async fn send(&self, topic: &str, body: &str, properties: &str) -> Command {
        self.call(send(topic, 0, body, properties)).await
    }

    /// Registers this client as a member of a group that wants everything of a topic.
    pub(crate) async fn join(&self, group: &str, topic: &str) -> Command {
        let heartbeat = HeartbeatData {
            client_id: "harness".into(),
            consumer_data_set: vec![ConsumerData {
                group_name: group.into(),
                subscription_data_set: vec![SubscriptionData::by_tags(topic, "*", 1)],
                ..ConsumerData::default()
            }],
            ..HeartbeatData::default()
        };
        let body = json::to_vec(&heartbeat, IntegerKeys::Quoted).unwrap();
        self.call(Command::request(RequestCode::HEART_BEAT).with_body(body)).await
    }

    /// Pulls with the subscription inline; holds for `hold_ms` when there is nothing.
    pub(crate) async fn pull(
        &self,
        topic: &str,
        queue: i32,
        offset: i64,
        tags: &str,
        hold_ms: i64,
    ) -> Pulled {
        let answer = self.call(pull("puller", topic, queue, offset, tags, hold_ms)).await;
        let header = PullMessageResponse::decode(&answer.ext).unwrap();
        Pulled { code: answer.code, next: header.next_begin_offset, body: answer.body }
    }
}

/// The answer to a pull.
pub(crate) struct Pulled {
    pub(crate) code: i32,
    pub(crate) next: i64,
    pub(crate) body: bytes::Bytes,
}

impl Pulled {
    pub(crate) fn records(&self) -> Vec<bolide_wire::message::RecordRef<'_>> {
        bolide_wire::message::records(&self.body).collect::<Result<_, _>>().unwrap()
    }

    pub(crate) fn bodies(&self) -> Vec<String> {
        self.records().iter().map(|record| String::from_utf8_lossy(record.body()).into_owned()).collect()
    }
}

pub(crate) fn send(topic: &str, queue: i32, body: &str, properties: &str) -> Command {
    Command::request(RequestCode::SEND_MESSAGE_V2)
        .with_header(&send_header(topic, queue, properties))
        .with_body(body.to_owned())
}

pub(crate) fn send_header<'a>(topic: &'a str, queue: i32, properties: &'a str) -> SendMessageV2<'a> {
    SendMessageV2 {
        producer_group: "producers".into(),
        topic: topic.into(),
        default_topic: "TBW102".into(),
        default_topic_queue_nums: 4,
        queue_id: queue,
        sys_flag: 0,
        born_timestamp: EpochMillis(1),
        flag: 0,
        properties: Some(properties.into()),
        reconsume_times: None,
        unit_mode: None,
        max_reconsume_times: None,
        batch: false,
        broker_name: None,
    }
}

pub(crate) fn pull(group: &str, topic: &str, queue: i32, offset: i64, tags: &str, hold_ms: i64) -> Command {
    let suspend = if hold_ms > 0 { sys_flag::SUSPEND } else { 0 };
    Command::request(RequestCode::PULL_MESSAGE).with_header(&PullMessage {
        consumer_group: group.into(),
        topic: topic.into(),
        queue_id: queue,
        queue_offset: offset,
        max_msg_nums: 32,
        sys_flag: suspend | sys_flag::SUBSCRIPTION,
        commit_offset: 0,
        suspend_timeout_millis: hold_ms,
        subscription: Some(tags.into()),
        sub_version: 0,
        expression_type: None,
        max_msg_bytes: None,
        request_source: None,
        proxy_forward_client_id: None,
        broker_name: None,
    })
}

pub(crate) fn sent(answer: &Command) -> SendMessageResponse {
    assert_eq!(answer.code, 0, "{:?}", answer.remark);
    SendMessageResponse::decode(&answer.ext).unwrap()
}
