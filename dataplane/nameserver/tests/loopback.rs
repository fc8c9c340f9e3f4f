//! A nameserver as brokers, clients and tools see it, over loopback.
#![expect(
    clippy::unwrap_used,
    reason = "the lint tells tests by their attribute, and these helpers have none"
)]

use std::collections::BTreeMap;
use std::time::Duration;

use bolide_nameserver::{Nameserver, NameserverConfig};
use bolide_transport::{Client, ClientConfig};
use bolide_wire::body::register::{RegisterBrokerBody, RegisterDeltaBody};
use bolide_wire::body::route::TopicRouteData;
use bolide_wire::body::topic::{DataVersion, TopicConfig, TopicConfigTable, TopicList};
use bolide_wire::header::route::{
    AddWritePermResponse, BrokerHeartbeat, BrokerPermission, GetKvConfigResponse, GetRouteInfo, KvConfigKey,
    PutKvConfig, QueryDataVersion, QueryDataVersionResponse, RegisterBroker, RegisterBrokerResponse,
    RegisterDelta, UnregisterBroker, WipeWritePermResponse,
};
use bolide_wire::json::{self, IntegerKeys};
use bolide_wire::{Command, RequestCode, ResponseCode};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

const DEADLINE: Duration = Duration::from_secs(10);

struct Running {
    nameserver: Nameserver,
    shutdown: CancellationToken,
    client: Client,
    folder: TempDir,
}

async fn start(change: impl FnOnce(&mut NameserverConfig)) -> Running {
    start_in(tempfile::tempdir().unwrap(), change).await
}

async fn start_in(folder: TempDir, change: impl FnOnce(&mut NameserverConfig)) -> Running {
    let mut config = NameserverConfig {
        bind_address: "127.0.0.1".parse().unwrap(),
        listen_port: 0,
        admin_address: "127.0.0.1".parse().unwrap(),
        admin_port: 0,
        kv_config_path: folder.path().join("kvConfig.json"),
        ..NameserverConfig::default()
    };
    change(&mut config);
    let shutdown = CancellationToken::new();
    let nameserver = Nameserver::start(config, shutdown.clone()).await.unwrap();
    Running { nameserver, shutdown, client: Client::new(ClientConfig::default()), folder }
}

impl Running {
    async fn call(&self, request: Command) -> Command {
        self.client.call(&self.nameserver.local_addr().to_string(), request, DEADLINE).await.unwrap()
    }

    async fn route(&self, topic: &str, version: i32) -> Command {
        let mut request = Command::request(RequestCode::GET_ROUTEINFO_BY_TOPIC)
            .with_header(&GetRouteInfo { topic: topic.into(), accept_standard_json_only: None });
        request.version = version;
        self.call(request).await
    }

    async fn stop(self) -> TempDir {
        self.shutdown.cancel();
        self.nameserver.stopped().await;
        self.folder
    }
}

fn version(counter: i64) -> DataVersion {
    DataVersion { counter, state_version: 0, timestamp: 1 }
}

fn body(counter: i64, topics: &[&str]) -> RegisterBrokerBody {
    let table = topics.iter().map(|name| ((*name).to_owned(), TopicConfig::new(name, 4))).collect();
    RegisterBrokerBody {
        filter_server_list: Vec::new(),
        topic_config_serialize_wrapper: TopicConfigTable {
            data_version: Some(version(counter)),
            topic_config_table: table,
            ..TopicConfigTable::default()
        },
    }
}

fn register(id: i64, addr: &str, body: &RegisterBrokerBody, compressed: bool) -> Command {
    let bytes = body.encode(compressed).unwrap();
    let header = RegisterBroker {
        broker_name: "broker-a".into(),
        broker_addr: addr.into(),
        cluster_name: "C".into(),
        ha_server_addr: "127.0.0.1:10912".into(),
        broker_id: id,
        heartbeat_timeout_millis: None,
        enable_acting_master: None,
        compressed,
        body_crc32: (crc32fast::hash(&bytes) & 0x7FFF_FFFF).cast_signed(),
    };
    Command::request(RequestCode::REGISTER_BROKER).with_header(&header).with_body(bytes)
}

fn assert_success(reply: &Command) {
    assert_eq!(reply.response_code(), ResponseCode::SUCCESS, "{:?}", reply.remark);
}

#[tokio::test]
async fn a_registered_topic_has_a_route_with_the_keys_its_asker_reads() {
    let running = start(|_| {}).await;
    for compressed in [false, true] {
        let reply = running
            .call(register(0, "127.0.0.1:10911", &body(1, &["SELF_TEST_TOPIC", "T"]), compressed))
            .await;
        assert_success(&reply);
    }
    let old = running.route("T", 317).await;
    assert_eq!(
        std::str::from_utf8(&old.body).unwrap(),
        concat!(
            r#"{"brokerDatas":[{"brokerAddrs":{0:"127.0.0.1:10911"},"brokerName":"broker-a","cluster":"C","#,
            r#""enableActingMaster":false}],"filterServerTable":{},"queueDatas":[{"brokerName":"broker-a","perm":6,"#,
            r#""readQueueNums":4,"topicSysFlag":0,"writeQueueNums":4}]}"#
        )
    );
    let new = running.route("T", 479).await;
    assert!(new.body.windows(4).any(|window| window == br#""0":"#), "{:?}", new.body);
    let none = running.route("U", 479).await;
    assert_eq!(none.response_code(), ResponseCode::TOPIC_NOT_EXIST);
    assert!(none.remark.unwrap().starts_with("No topic route info in name server for the topic: U"));
    running.stop().await;
}

#[tokio::test]
async fn a_wrong_checksum_is_refused() {
    let running = start(|_| {}).await;
    let mut request = register(0, "127.0.0.1:10911", &body(1, &["SELF_TEST_TOPIC", "T"]), false);
    request.ext.insert("bodyCrc32", "12345");
    let reply = running.call(request).await;
    assert_eq!(
        (reply.response_code(), reply.remark.as_deref()),
        (ResponseCode::SYSTEM_ERROR, Some("crc32 not match"))
    );
    running.stop().await;
}

#[tokio::test]
async fn a_broker_reports_by_difference_and_by_version() {
    let running = start(|_| {}).await;
    let delta = |base: i64, new: i64| {
        let header = RegisterDelta {
            cluster_name: "C".into(),
            broker_name: "broker-a".into(),
            broker_id: 0,
            broker_addr: "127.0.0.1:10911".into(),
            ha_server_addr: None,
            enable_acting_master: None,
            heartbeat_timeout_millis: None,
            base_version: serde_json::to_string(&version(base)).unwrap(),
            new_version: serde_json::to_string(&version(new)).unwrap(),
        };
        let body = RegisterDeltaBody { changed: vec![TopicConfig::new("New", 2)], deleted: vec!["T".into()] };
        Command::request(RequestCode::BOLIDE_REGISTER_DELTA)
            .with_header(&header)
            .with_body(json::to_vec(&body, IntegerKeys::Quoted).unwrap())
    };
    let beat = |data_version: Option<i64>| {
        Command::request(RequestCode::BROKER_HEARTBEAT).with_header(&BrokerHeartbeat {
            cluster_name: "C".into(),
            broker_addr: "127.0.0.1:10911".into(),
            broker_name: "broker-a".into(),
            broker_id: Some(0),
            epoch: None,
            max_offset: None,
            confirm_offset: None,
            heartbeat_timeout_mills: None,
            election_priority: None,
            data_version: data_version.map(|counter| serde_json::to_string(&version(counter)).unwrap()),
        })
    };
    assert_eq!(running.call(delta(1, 2)).await.response_code(), ResponseCode::NEED_FULL);
    assert_eq!(running.call(beat(Some(1))).await.response_code(), ResponseCode::NEED_FULL);
    assert_success(&running.call(beat(None)).await);
    assert_success(
        &running.call(register(0, "127.0.0.1:10911", &body(1, &["SELF_TEST_TOPIC", "T"]), false)).await,
    );
    assert_success(&running.call(beat(Some(1))).await);
    assert_success(&running.call(delta(1, 2)).await);
    assert_success(&running.route("New", 479).await);
    assert_eq!(running.route("T", 479).await.response_code(), ResponseCode::TOPIC_NOT_EXIST);
    assert_success(&running.call(beat(Some(2))).await);
    assert_eq!(running.call(beat(Some(1))).await.response_code(), ResponseCode::NEED_FULL);

    let query = QueryDataVersion {
        broker_name: "broker-a".into(),
        broker_addr: "127.0.0.1:10911".into(),
        cluster_name: "C".into(),
        broker_id: 0,
    };
    let request = Command::request(RequestCode::QUERY_DATA_VERSION)
        .with_header(&query)
        .with_body(serde_json::to_vec(&version(2)).unwrap());
    let reply = running.call(request).await;
    assert!(!QueryDataVersionResponse::decode(&reply.ext).unwrap().changed);
    assert_eq!(json::from_slice::<DataVersion>(&reply.body).unwrap(), version(2));
    running.stop().await;
}

#[tokio::test]
async fn a_slave_learns_its_master_and_the_order_configuration() {
    let running = start(|config| config.order_message_enable = true).await;
    let put =
        PutKvConfig { namespace: "ORDER_TOPIC_CONFIG".into(), key: "T".into(), value: "broker-a:4".into() };
    assert_success(&running.call(Command::request(RequestCode::PUT_KV_CONFIG).with_header(&put)).await);
    let table = body(1, &["SELF_TEST_TOPIC", "T"]);
    assert_success(&running.call(register(0, "127.0.0.1:10911", &table, false)).await);
    let reply = running.call(register(1, "127.0.0.1:10921", &table, false)).await;
    let header = RegisterBrokerResponse::decode(&reply.ext).unwrap();
    assert_eq!(header.master_addr.as_deref(), Some("127.0.0.1:10911"));
    assert_eq!(header.ha_server_addr.as_deref(), Some("127.0.0.1:10912"));
    assert_eq!(&reply.body[..], br#"{"table":{"T":"broker-a:4"}}"#);
    let route: TopicRouteData = json::from_slice(&running.route("T", 479).await.body).unwrap();
    assert_eq!(route.order_topic_conf.as_deref(), Some("broker-a:4"));
    assert_eq!(route.broker_datas[0].broker_addrs.len(), 2);
    running.stop().await;
}

#[tokio::test]
async fn a_closed_connection_and_a_goodbye_remove_a_broker_at_once() {
    let running = start(|_| {}).await;
    let addr = running.nameserver.local_addr().to_string();
    let broker = Client::new(ClientConfig::default());
    let request = || register(0, "127.0.0.1:10911", &body(1, &["SELF_TEST_TOPIC", "T"]), false);
    assert_success(&broker.call(&addr, request(), DEADLINE).await.unwrap());
    assert_success(&running.route("T", 479).await);
    broker.close(Duration::from_secs(1)).await;
    let gone = async {
        while running.route("T", 479).await.response_code() != ResponseCode::TOPIC_NOT_EXIST {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(DEADLINE, gone).await.expect("removed when the connection closed");

    assert_success(&running.call(request()).await);
    let bye = UnregisterBroker {
        broker_name: "broker-a".into(),
        broker_addr: "127.0.0.1:10911".into(),
        cluster_name: "C".into(),
        broker_id: 0,
    };
    assert_success(&running.call(Command::request(RequestCode::UNREGISTER_BROKER).with_header(&bye)).await);
    assert_eq!(running.route("T", 479).await.response_code(), ResponseCode::TOPIC_NOT_EXIST);
    running.stop().await;
}

#[tokio::test]
async fn a_silent_broker_is_removed_although_its_connection_is_open() {
    let running = start(|config| {
        config.broker_timeout_millis = 100;
        config.scan_not_active_broker_interval = 20;
    })
    .await;
    assert_success(
        &running.call(register(0, "127.0.0.1:10911", &body(1, &["SELF_TEST_TOPIC", "T"]), false)).await,
    );
    let gone = async {
        while running.route("T", 479).await.response_code() == ResponseCode::SUCCESS {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(DEADLINE, gone).await.expect("removed after its time");
    running.stop().await;
}

#[tokio::test]
async fn key_values_and_withdrawn_permissions_survive_a_restart() {
    let running = start(|_| {}).await;
    let put = PutKvConfig { namespace: "N".into(), key: "k".into(), value: "v".into() };
    assert_success(&running.call(Command::request(RequestCode::PUT_KV_CONFIG).with_header(&put)).await);
    let broker = BrokerPermission { broker_name: "broker-a".into() };
    let table = body(1, &["SELF_TEST_TOPIC", "T"]);
    assert_success(&running.call(register(0, "127.0.0.1:10911", &table, false)).await);
    let reply =
        running.call(Command::request(RequestCode::WIPE_WRITE_PERM_OF_BROKER).with_header(&broker)).await;
    assert_eq!(WipeWritePermResponse::decode(&reply.ext).unwrap().wipe_topic_count, 2);

    let folder = running.stop().await;
    let running = start_in(folder, |_| {}).await;
    let key = KvConfigKey { namespace: "N".into(), key: "k".into() };
    let reply = running.call(Command::request(RequestCode::GET_KV_CONFIG).with_header(&key)).await;
    assert_eq!(GetKvConfigResponse::decode(&reply.ext).unwrap().value.as_deref(), Some("v"));
    assert_success(&running.call(register(0, "127.0.0.1:10911", &table, false)).await);
    let perm_now =
        |reply: Command| json::from_slice::<TopicRouteData>(&reply.body).unwrap().queue_datas[0].perm;
    assert_eq!(perm_now(running.route("T", 479).await), 4);
    let reply =
        running.call(Command::request(RequestCode::ADD_WRITE_PERM_OF_BROKER).with_header(&broker)).await;
    assert_eq!(AddWritePermResponse::decode(&reply.ext).unwrap().add_topic_count, 2);
    assert_eq!(perm_now(running.route("T", 479).await), 6);

    assert_success(&running.call(Command::request(RequestCode::DELETE_KV_CONFIG).with_header(&key)).await);
    let reply = running.call(Command::request(RequestCode::GET_KV_CONFIG).with_header(&key)).await;
    assert_eq!(reply.response_code(), ResponseCode::QUERY_NOT_FOUND);
    running.stop().await;
}

#[tokio::test]
async fn lists_and_settings_are_answered_and_other_codes_are_not_supported() {
    let running = start(|_| {}).await;
    assert_success(
        &running.call(register(0, "127.0.0.1:10911", &body(1, &["SELF_TEST_TOPIC", "T"]), false)).await,
    );
    let reply = running.call(Command::request(RequestCode::GET_ALL_TOPIC_LIST_FROM_NAMESERVER)).await;
    assert_eq!(json::from_slice::<TopicList>(&reply.body).unwrap().topic_list, ["SELF_TEST_TOPIC", "T"]);
    let reply = running.call(Command::request(RequestCode::GET_SYSTEM_TOPIC_LIST_FROM_NS)).await;
    let list: TopicList = json::from_slice(&reply.body).unwrap();
    assert_eq!(
        (list.topic_list, list.broker_addr.as_deref()),
        (vec!["C".into(), "broker-a".into()], Some("127.0.0.1:10911"))
    );
    let reply = running.call(Command::request(RequestCode::GET_BROKER_CLUSTER_INFO)).await;
    let text = std::str::from_utf8(&reply.body).unwrap();
    assert!(
        text.contains(r#""clusterAddrTable":{"C":["broker-a"]}"#)
            && text.contains(r#"{0:"127.0.0.1:10911"}"#),
        "{text}"
    );

    let reply = running
        .call(Command::request(RequestCode::UPDATE_NAMESRV_CONFIG).with_body("orderMessageEnable=true"))
        .await;
    assert_success(&reply);
    let reply = running.call(Command::request(RequestCode::GET_NAMESRV_CONFIG)).await;
    let settings: BTreeMap<&str, &str> =
        std::str::from_utf8(&reply.body).unwrap().lines().filter_map(|line| line.split_once('=')).collect();
    assert_eq!((settings["orderMessageEnable"], settings["listenPort"]), ("true", "0"));
    let reply =
        running.call(Command::request(RequestCode::UPDATE_NAMESRV_CONFIG).with_body("kvConfigPath=/x")).await;
    assert_eq!(reply.response_code(), ResponseCode::NO_PERMISSION);

    let reply = running.call(Command::request(RequestCode(987))).await;
    assert_eq!(reply.response_code(), ResponseCode::REQUEST_CODE_NOT_SUPPORTED);
    assert_eq!(reply.remark.as_deref(), Some(" request type 987 not supported"));
    running.stop().await;
}

#[tokio::test]
async fn clients_wait_for_brokers_after_the_start_where_configured() {
    let running = start(|config| config.need_wait_for_service = true).await;
    assert_success(
        &running.call(register(0, "127.0.0.1:10911", &body(1, &["SELF_TEST_TOPIC", "T"]), false)).await,
    );
    let reply = running.route("T", 479).await;
    assert_eq!(
        (reply.response_code(), reply.remark.as_deref()),
        (ResponseCode::SYSTEM_ERROR, Some("name server not ready"))
    );
    running.stop().await;
}
