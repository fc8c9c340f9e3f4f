//! SQL92 subscriptions: by heartbeat, inline, held, over cold data, refused.

use bolide_wire::body::heartbeat::CheckClientConfig;

use super::*;

async fn lab(change: impl FnOnce(&mut BrokerConfig)) -> Harness {
    Harness::start_with(|config| {
        config.enable_property_filter = true;
        change(config);
    })
    .await
}

fn sql_pull(offset: i64, expression: &str, hold_ms: i64) -> Command {
    let mut command = pull("g", "orders", 0, offset, expression, hold_ms);
    command.ext.insert("expressionType", "SQL92");
    command
}

fn pulled(answer: Command) -> Pulled {
    let header = PullMessageResponse::decode(&answer.ext).unwrap();
    Pulled { code: answer.code, next: header.next_begin_offset, body: answer.body }
}

async fn numbered(lab: &Harness, numbers: std::ops::Range<u32>) {
    for number in numbers {
        sent(&lab.send("orders", &number.to_string(), &format!("n\u{1}{number}\u{2}")).await);
    }
}

pub(super) async fn subscribe(lab: &Harness, expression: &str, version: i64) -> Command {
    let heartbeat = HeartbeatData {
        client_id: "harness".into(),
        consumer_data_set: vec![ConsumerData {
            group_name: "g".into(),
            subscription_data_set: vec![SubscriptionData {
                expression_type: Some("SQL92".into()),
                sub_string: expression.into(),
                sub_version: version,
                topic: "orders".into(),
                ..SubscriptionData::default()
            }],
            ..ConsumerData::default()
        }],
        ..HeartbeatData::default()
    };
    let body = json::to_vec(&heartbeat, IntegerKeys::Quoted).unwrap();
    lab.call(Command::request(RequestCode::HEART_BEAT).with_body(body)).await
}

async fn pull_as_subscribed(lab: &Harness, version: i64) -> Command {
    let mut command = pull("g", "orders", 0, 0, "", 0);
    command.ext.insert("sysFlag", "0");
    command.ext.insert("subVersion", &version.to_string());
    command.ext.insert("expressionType", "SQL92");
    lab.call(command).await
}

async fn check(lab: &Harness, kind: &str, expression: &str) -> Command {
    let body = CheckClientConfig {
        client_id: "c".into(),
        group: "g".into(),
        subscription_data: SubscriptionData {
            expression_type: Some(kind.into()),
            sub_string: expression.into(),
            topic: "orders".into(),
            ..SubscriptionData::default()
        },
        ..CheckClientConfig::default()
    };
    let body = json::to_vec(&body, IntegerKeys::Quoted).unwrap();
    lab.call(Command::request(RequestCode::CHECK_CLIENT_CONFIG).with_body(body)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expression_filters_on_the_broker_and_offsets_go_on_behind_what_was_refused() {
    for ratio in [40, 0] {
        let lab = lab(|config| config.access_message_in_memory_max_ratio = ratio).await;
        numbered(&lab, 0..20).await;
        let found = pulled(lab.call(sql_pull(0, "n BETWEEN 3 AND 5 OR n = 17", 0)).await);
        assert_eq!((found.bodies(), found.next), (["3", "4", "5", "17"].map(String::from).to_vec(), 20));
        let none = pulled(lab.call(sql_pull(0, "n > 100", 0)).await);
        assert_eq!((none.code, none.next), (20, 20), "with {ratio} % of memory");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_pull_is_woken_by_its_own_messages_only() {
    for ratio in [40, 0] {
        let lab = lab(|config| config.access_message_in_memory_max_ratio = ratio).await;
        numbered(&lab, 0..2).await;
        let (found, ()) = tokio::join!(lab.call(sql_pull(2, "n = 7", 15_000)), async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            numbered(&lab, 2..7).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
            numbered(&lab, 7..8).await;
        });
        let found = pulled(found);
        assert_eq!((found.bodies(), found.next), (vec!["7".to_owned()], 8), "with {ratio} % of memory");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registered_expression_filters_and_a_newer_one_replaces_it() {
    let lab = lab(|_| {}).await;
    numbered(&lab, 0..4).await;
    assert_eq!(subscribe(&lab, "n = 1", 5).await.code, 0);
    assert_eq!(pulled(pull_as_subscribed(&lab, 5).await).bodies(), ["1"]);
    assert_eq!(pull_as_subscribed(&lab, 6).await.code, 25, "the group has not heard of the newer one");
    assert_eq!(subscribe(&lab, "n = 2", 6).await.code, 0);
    assert_eq!(pulled(pull_as_subscribed(&lab, 6).await).bodies(), ["2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_expression_is_refused_with_the_place_of_the_fault() {
    let lab = lab(|_| {}).await;
    numbered(&lab, 0..1).await;
    let checked = check(&lab, "SQL92", "n > 1 AND AND").await;
    assert_eq!(checked.code, 23);
    assert!(checked.remark.unwrap().contains("column 11"));
    let inline = lab.call(sql_pull(0, "n >", 0)).await;
    assert_eq!(inline.code, 23);
    assert!(inline.remark.unwrap().contains("column 4"));
    assert_eq!(
        subscribe(&lab, "n LIKE 'x'", 5).await.code,
        0,
        "as upstream: the heartbeat is about more than one group"
    );
    let registered = pull_as_subscribed(&lab, 5).await;
    assert_eq!(registered.code, 27);
    assert!(registered.remark.unwrap().contains("column"), "the place of the fault");
    assert_eq!(check(&lab, "SQL92", "n IN ('1', '2') AND x IS NULL").await.code, 0);
    assert_eq!(check(&lab, "XPATH", "//a").await.code, 23);
}

#[tokio::test(flavor = "multi_thread")]
async fn expressions_are_refused_while_the_filter_is_switched_off() {
    let lab = Harness::start().await;
    numbered(&lab, 0..1).await;
    assert_eq!(check(&lab, "SQL92", "n = 0").await.code, 1);
    assert_eq!(lab.call(sql_pull(0, "n = 0", 0)).await.code, 1);
    assert_eq!(check(&lab, "TAG", "*").await.code, 0);
}
