use bolide_wire::body::stats::KvTable;

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
