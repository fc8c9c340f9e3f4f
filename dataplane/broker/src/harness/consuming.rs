use std::time::Instant;

use bolide_wire::body::connection::ConsumerIdList;
use bolide_wire::body::group::SubscriptionGroupConfig;
use bolide_wire::body::heartbeat::MessageModel;
use bolide_wire::body::lock::{LockBatchRequest, LockBatchResponse};
use bolide_wire::header::consumer::{
    GetConsumerListByGroup, OffsetResponse, QueryConsumerOffset, UnregisterClient, UpdateConsumerOffset,
};
use bolide_wire::header::send::ConsumerSendMsgBack;
use bolide_wire::ids::QueueId;

use super::*;

fn query(group: &str, topic: &str) -> QueryConsumerOffset {
    QueryConsumerOffset {
        consumer_group: group.into(),
        topic: topic.into(),
        queue_id: 0,
        set_zero_if_not_found: Some(false),
        broker_name: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_pull_is_answered_by_the_next_send() {
    let lab = Harness::start().await;
    sent(&lab.send("orders", "old", "").await);
    let started = Instant::now();
    let (pulled, _) = tokio::join!(lab.pull("orders", 0, 1, "*", 15_000), async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        sent(&lab.send("orders", "new", "").await)
    });
    assert_eq!(pulled.bodies(), ["new"]);
    assert!(started.elapsed() < Duration::from_secs(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_pull_without_messages_ends_on_time_with_its_own_offset() {
    let lab = Harness::start().await;
    sent(&lab.send("orders", "old", "").await);
    let started = Instant::now();
    let pulled = lab.pull("orders", 0, 1, "*", 300).await;
    assert_eq!((pulled.code, pulled.next), (19, 1));
    assert!((300..3_000).contains(&started.elapsed().as_millis()));
}

#[tokio::test(flavor = "multi_thread")]
async fn tags_filter_and_a_held_pull_waits_for_its_own_tag() {
    let lab = Harness::start().await;
    for (body, tag) in [("1", "A"), ("2", "B"), ("3", "A")] {
        sent(&lab.send("orders", body, &format!("TAGS\u{1}{tag}\u{2}")).await);
    }
    assert_eq!(lab.pull("orders", 0, 0, "A || C", 0).await.bodies(), ["1", "3"]);
    let none = lab.pull("orders", 0, 0, "X", 0).await;
    assert_eq!((none.code, none.next), (20, 3));
    let (pulled, ()) = tokio::join!(lab.pull("orders", 0, 3, "B", 15_000), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        sent(&lab.send("orders", "4", "TAGS\u{1}A\u{2}").await);
        tokio::time::sleep(Duration::from_millis(50)).await;
        sent(&lab.send("orders", "5", "TAGS\u{1}B\u{2}").await);
    });
    assert_eq!((pulled.bodies(), pulled.next), (vec!["5".to_owned()], 5));
    let (skipped, _) =
        tokio::join!(lab.pull("orders", 0, 5, "B", 400), lab.send("orders", "6", "TAGS\u{1}A\u{2}"));
    assert_eq!((skipped.code, skipped.next), (20, 6));
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_outside_the_queue_are_moved() {
    let lab = Harness::start().await;
    sent(&lab.send("orders", "only", "").await);
    let beyond = lab.pull("orders", 0, 9, "*", 15_000).await;
    assert_eq!((beyond.code, beyond.next), (21, 1));
    assert_eq!(lab.pull("orders", 1, 5, "*", 15_000).await.code, 21);
    assert_eq!(lab.pull("orders", 1, 0, "*", 0).await.code, 19);
    assert_eq!(lab.call(pull("g", "orders", 44, 0, "*", 0)).await.code, 29);
    assert_eq!(lab.call(pull("g", "missing", 0, 0, "*", 0)).await.code, 17);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_needs_a_live_subscription_unless_it_sends_one() {
    let lab = Harness::start().await;
    sent(&lab.send("orders", "x", "").await);
    let mut request = pull("workers", "orders", 0, 0, "*", 0);
    request.ext.insert("sysFlag", "0");
    request.ext.insert("subVersion", "1");
    assert_eq!(lab.call(request.clone()).await.code, 24);
    lab.join("workers", "orders").await;
    assert_eq!(lab.call(request.clone()).await.code, 0);
    request.ext.insert("subVersion", "2");
    assert_eq!(lab.call(request).await.code, 25);
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_are_committed_by_request_and_with_a_pull() {
    let lab = Harness::start().await;
    sent(&lab.send("orders", "x", "").await);
    lab.join("workers", "orders").await;
    assert_eq!(lab.ask(RequestCode::QUERY_CONSUMER_OFFSET, &query("workers", "orders")).await.code, 22);
    let young = QueryConsumerOffset { set_zero_if_not_found: None, ..query("workers", "orders") };
    let answer = lab.ask(RequestCode::QUERY_CONSUMER_OFFSET, &young).await;
    assert_eq!(OffsetResponse::decode(&answer.ext).unwrap().offset, 0);
    let update = UpdateConsumerOffset {
        consumer_group: "workers".into(),
        topic: "orders".into(),
        queue_id: 0,
        commit_offset: 5,
        broker_name: None,
    };
    assert_eq!(lab.ask(RequestCode::UPDATE_CONSUMER_OFFSET, &update).await.code, 0);
    let answer = lab.ask(RequestCode::QUERY_CONSUMER_OFFSET, &query("workers", "orders")).await;
    assert_eq!(OffsetResponse::decode(&answer.ext).unwrap().offset, 5);
    let mut request = pull("workers", "orders", 0, 0, "*", 0);
    request.ext.insert("sysFlag", "5");
    request.ext.insert("commitOffset", "1");
    assert_eq!(lab.call(request).await.code, 0);
    let answer = lab.ask(RequestCode::QUERY_CONSUMER_OFFSET, &query("workers", "orders")).await;
    assert_eq!(OffsetResponse::decode(&answer.ext).unwrap().offset, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn members_come_and_go_with_their_connections() {
    let lab = Harness::start().await;
    let list = GetConsumerListByGroup { consumer_group: "workers".into() };
    assert_eq!(lab.ask(RequestCode::GET_CONSUMER_LIST_BY_GROUP, &list).await.code, 1);
    let answer = lab.join("workers", "orders").await;
    assert_eq!(answer.ext.get("IS_SUPPORT_HEART_BEAT_V2").as_deref(), Some("true"));
    assert!(lab.broker.state.topics.find("%RETRY%workers").is_some());
    let answer = lab.ask(RequestCode::GET_CONSUMER_LIST_BY_GROUP, &list).await;
    let members: ConsumerIdList = json::from_slice(&answer.body).unwrap();
    assert_eq!(members.consumer_id_list, ["harness"]);
    lab.client.close(Duration::ZERO).await;
    let gone = async {
        while lab.broker.clients.read().consumer_group("workers").is_some() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(2), gone).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_can_leave_by_itself() {
    let lab = Harness::start().await;
    lab.join("workers", "orders").await;
    let leave = UnregisterClient {
        client_id: "harness".into(),
        producer_group: None,
        consumer_group: Some("workers".into()),
    };
    assert_eq!(lab.ask(RequestCode::UNREGISTER_CLIENT, &leave).await.code, 0);
    assert!(lab.broker.clients.read().consumer_group("workers").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn queues_are_locked_for_one_client() {
    let lab = Harness::start().await;
    let queue = lab.broker.message_queue("orders", QueueId(0));
    let lock = |client: &str| {
        let request = LockBatchRequest {
            client_id: client.into(),
            consumer_group: "workers".into(),
            mq_set: vec![queue.clone()],
            only_this_broker: false,
        };
        let body = json::to_vec(&request, IntegerKeys::Quoted).unwrap();
        Command::request(RequestCode::LOCK_BATCH_MQ).with_body(body)
    };
    let held = |answer: Command| -> LockBatchResponse { json::from_slice(&answer.body).unwrap() };
    assert_eq!(held(lab.call(lock("a")).await).lock_ok_mq_set.len(), 1);
    assert!(held(lab.call(lock("b")).await).lock_ok_mq_set.is_empty());
}

async fn give_back(lab: &Harness, topic: &str, offset: i64, level: i32) -> Command {
    let pulled = lab.pull(topic, 0, offset, "*", 15_000).await;
    let place = pulled.records()[0].log_offset();
    let header = ConsumerSendMsgBack {
        offset: place.to_wire(),
        group: "workers".into(),
        delay_level: level,
        origin_msg_id: None,
        origin_topic: None,
        unit_mode: false,
        max_reconsume_times: Some(1),
        broker_name: None,
    };
    lab.ask(RequestCode::CONSUMER_SEND_MSG_BACK, &header).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_given_back_comes_again_and_then_dies() {
    let lab = Harness::start().await;
    lab.join("workers", "orders").await;
    sent(&lab.send("orders", "hard", "TAGS\u{1}A\u{2}").await);
    let started = Instant::now();
    assert_eq!(give_back(&lab, "orders", 0, 1).await.code, 0);
    let again = lab.pull("%RETRY%workers", 0, 0, "*", 15_000).await;
    assert!(started.elapsed() >= Duration::from_millis(950), "the delay of level 1 is a second");
    let record = again.records()[0];
    assert_eq!((record.body(), record.reconsume_times()), (&b"hard"[..], 1));
    assert_eq!(record.properties().get("RETRY_TOPIC"), Some("orders"));
    assert_eq!(record.properties().get("DELAY_SRC"), Some("1:0"));
    assert_eq!(give_back(&lab, "%RETRY%workers", 0, 0).await.code, 0);
    let dead = lab.pull("%DLQ%workers", 0, 0, "*", 5_000).await;
    let record = dead.records()[0];
    assert_eq!((record.body(), record.properties().get("DELAY_SRC")), (&b"hard"[..], None));
    assert_eq!(record.properties().get("DLQ_ORIGIN_TOPIC"), Some("orders"));
    assert_eq!(lab.broker.state.groups.find("workers").unwrap().counters.dead_letters.total(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_has_room_for_what_is_added_when_it_is_delivered() {
    let lab = Harness::start().await;
    lab.join("workers", "orders").await;
    let long = |bytes: usize, more: &str| format!("long\u{1}{}\u{2}{more}", "x".repeat(bytes));
    sent(&lab.send("orders", "plain", &long(32_000, "")).await);
    for waits in ["DELAY\u{1}1\u{2}", "TIMER_DELAY_MS\u{1}1\u{2}", "TRAN_MSG\u{1}true\u{2}PGROUP\u{1}p\u{2}"]
    {
        assert_eq!(lab.send("orders", "lost", &long(32_000, waits)).await.code, 13, "{waits}");
    }
    assert_eq!(give_back(&lab, "orders", 0, 1).await.code, 13);
    for (waits, body) in [("DELAY\u{1}1\u{2}", "level"), ("TIMER_DELAY_MS\u{1}1100\u{2}", "timer")] {
        sent(&lab.send("orders", body, &long(31_500, waits)).await);
    }
    for (offset, body) in [(1, "level"), (2, "timer")] {
        assert_eq!(lab.pull("orders", 0, offset, "*", 15_000).await.records()[0].body(), body.as_bytes());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_may_not_consume_or_not_broadcast_is_refused() {
    let lab = Harness::start().await;
    sent(&lab.send("orders", "x", "").await);
    let define = |change: fn(&mut SubscriptionGroupConfig)| {
        let mut config = SubscriptionGroupConfig::new("workers");
        change(&mut config);
        lab.broker.change_groups(vec![config], Vec::new(), false)
    };
    define(|config| config.consume_enable = false).await.unwrap();
    let answer = lab.call(pull("workers", "orders", 0, 0, "*", 0)).await;
    assert_eq!((answer.code, answer.ext.get("forbiddenType").as_deref()), (16, Some("2")));
    define(|config| config.consume_broadcast_enable = false).await.unwrap();
    assert_eq!(lab.call(pull("workers", "orders", 0, 0, "*", 0)).await.code, 0);
    let heartbeat = HeartbeatData {
        client_id: "harness".into(),
        consumer_data_set: vec![ConsumerData {
            group_name: "workers".into(),
            message_model: MessageModel::Broadcasting,
            subscription_data_set: vec![SubscriptionData::by_tags("orders", "*", 1)],
            ..ConsumerData::default()
        }],
        ..HeartbeatData::default()
    };
    let body = json::to_vec(&heartbeat, IntegerKeys::Quoted).unwrap();
    assert_eq!(lab.call(Command::request(RequestCode::HEART_BEAT).with_body(body)).await.code, 0);
    // With its subscription registered rather than inline, as push consumers pull.
    let mut registered = pull("workers", "orders", 0, 0, "*", 0);
    registered.ext.insert("sysFlag", "0");
    let answer = lab.call(registered).await;
    assert_eq!((answer.code, answer.ext.get("forbiddenType").as_deref()), (16, Some("4")));
}
