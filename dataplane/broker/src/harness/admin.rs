use bolide_wire::body::stats::{ConsumeQueueUnits, KvTable};
use bolide_wire::header::group::GroupForbidden;
use bolide_wire::header::stats::QueryConsumeQueue;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn the_runtime_table_has_what_tools_cannot_do_without() {
    let lab = Harness::start().await;
    sent(&lab.send("orders", "1", "").await);
    let answer = lab.call(Command::request(RequestCode::GET_BROKER_RUNTIME_INFO)).await;
    let table: KvTable = json::from_slice(&answer.body).unwrap();
    for key in [
        "brokerVersionDesc",
        "putTps",
        "getTransferredTps",
        "sendThreadPoolQueueSize",
        "pageCacheLockTimeMills",
    ] {
        assert!(table.table.contains_key(key), "{key}");
    }
    assert_eq!(table.table["putMessageTimesTotal"], "1");
    assert!(table.table["earliestMessageTimeStamp"].parse::<i64>().unwrap() > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_are_shown_and_only_hot_ones_change() {
    let lab = Harness::start().await;
    let shown = lab.call(Command::request(RequestCode::GET_BROKER_CONFIG)).await;
    assert!(String::from_utf8_lossy(&shown.body).contains("brokerName=broker-a\n"));
    let update = |text: &str| Command::request(RequestCode::UPDATE_BROKER_CONFIG).with_body(text.to_owned());
    assert_eq!(lab.call(update("listenPort=1")).await.code, 29);
    assert_eq!(lab.call(update("autoCreateTopicEnable=false")).await.code, 0);
    assert_eq!(lab.send("fresh", "x", "").await.code, 17);
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_name_topics_and_lag() {
    let registry = Registry::new();
    let lab = Harness::start().await;
    sent(&lab.send("orders", "1", "").await);
    lab.join("workers", "orders").await;
    let workers = lab.broker.state.groups.find("workers").unwrap();
    let orders = lab.broker.state.topics.find("orders").unwrap();
    let queue = bolide_wire::ids::QueueId(0);
    lab.broker.state.offsets.lock().commit(
        &workers.name,
        &orders.name,
        queue,
        bolide_wire::ids::QueueOffset(0),
    );
    let collector = crate::metrics::BrokerCollector::new(Arc::downgrade(&lab.broker)).unwrap();
    registry.register(Box::new(collector)).unwrap();
    let text = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
    let line = |start: &str| text.lines().find(|line| line.starts_with(start)).unwrap_or_default().to_owned();
    assert!(
        line("rocketmq_messages_in_total").ends_with(r#"node_type="broker",topic="orders"} 1"#),
        "{text}"
    );
    assert!(line("rocketmq_consumer_lag_messages").ends_with(r#"topic="orders"} 1"#), "{text}");
    assert!(line("rocketmq_consumer_connections").contains(r#"consumer_group="workers""#));
}

async fn forbid(lab: &Harness, readable: Option<bool>) -> bool {
    let header = GroupForbidden { group: "workers".into(), topic: "orders".into(), readable };
    let answer = lab.ask(RequestCode::UPDATE_AND_GET_GROUP_FORBIDDEN, &header).await;
    assert_eq!(answer.code, 0, "{:?}", answer.remark);
    let body: bolide_wire::body::group::GroupForbidden = json::from_slice(&answer.body).unwrap();
    body.readable.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_is_forbidden_to_read_a_topic_until_it_is_allowed_again() {
    let lab = Harness::start().await;
    sent(&lab.send("orders", "1", "").await);
    lab.join("workers", "orders").await;
    assert!(forbid(&lab, None).await);
    assert!(!forbid(&lab, Some(false)).await);
    let refused = lab.call(pull("workers", "orders", 0, 0, "*", 0)).await;
    assert_eq!((refused.code, refused.ext.get("forbiddenType").as_deref()), (16, Some("5")));
    assert_eq!(refused.remark.as_deref(), Some("the consumer group[workers] is forbidden for topic[orders]"));
    assert_eq!(lab.pull("orders", 0, 0, "*", 0).await.bodies(), ["1"], "another group may");
    let lab = lab.restart(false).await;
    assert!(!forbid(&lab, None).await, "from the log");
    let lab = lab.restart(true).await;
    assert!(!forbid(&lab, None).await, "from the snapshot");
    assert!(forbid(&lab, Some(true)).await);
    assert_eq!(lab.call(pull("workers", "orders", 0, 0, "*", 0)).await.code, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_hurried_is_answered_and_unused_queues_go() {
    let lab = Harness::start().await;
    sent(&lab.send("orders", "1", "").await);
    let stray = bolide_wire::ids::TopicName::new("stray").unwrap();
    let queue = lab.broker.store.queue_or_create(&stray, bolide_wire::ids::QueueId(0));
    assert_eq!(queue.max().0, 0);
    for code in [
        RequestCode::CLEAN_EXPIRED_CONSUMEQUEUE,
        RequestCode::DELETE_EXPIRED_COMMITLOG,
        RequestCode::CLEAN_UNUSED_TOPIC,
    ] {
        assert_eq!(lab.call(Command::request(code)).await.code, 0);
    }
    let topics = lab.broker.store.topics();
    assert!(!topics.contains(&stray) && topics.iter().any(|topic| **topic == *"orders"));
    assert_eq!(lab.pull("orders", 0, 0, "*", 0).await.bodies(), ["1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_nobody_serves_is_answered_with_the_reason() {
    let lab = Harness::start().await;
    let answer = lab.call(Command::request(RequestCode::AUTH_LIST_USER)).await;
    assert_eq!(answer.code, 3);
    assert_eq!(
        answer.remark.as_deref(),
        Some(" request type 3005 not supported: access control is not in this version")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_units_of_a_queue_say_what_a_group_would_get() {
    let lab = Harness::start_with(|config| config.enable_property_filter = true).await;
    for number in 0..3 {
        sent(&lab.send("orders", "x", &format!("n\u{1}{number}\u{2}")).await);
    }
    let ask = async |group: Option<&str>| {
        let header = QueryConsumeQueue {
            topic: "orders".into(),
            queue_id: 0,
            index: 0,
            count: 10,
            consumer_group: group.map(str::to_owned),
        };
        let answer = lab.ask(RequestCode::QUERY_CONSUME_QUEUE, &header).await;
        json::from_slice::<ConsumeQueueUnits>(&answer.body).unwrap()
    };
    let all = ask(None).await;
    assert!(all.queue_data.len() == 3 && all.queue_data.iter().all(|unit| unit.eval));
    assert!(ask(Some("workers")).await.filter_data.unwrap().contains("not online"));
    super::filtering::subscribe(&lab, "n > 1", 1).await;
    let some = ask(Some("g")).await;
    assert_eq!(some.queue_data.iter().map(|unit| unit.eval).collect::<Vec<_>>(), [false, false, true]);
    assert_eq!(some.subscription_data.unwrap().sub_string, "n > 1");
}
