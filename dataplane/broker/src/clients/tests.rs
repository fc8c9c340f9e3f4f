use super::*;

fn client(connection: ConnectionId, seen: i64) -> Client<u64> {
    Client {
        channel: connection,
        connection,
        id: format!("client-{connection}").into(),
        language: Language::Java,
        version: 479,
        address: SocketAddr::from(([127, 0, 0, 1], 1)),
        seen: EpochMillis(seen),
    }
}

fn registration(topics: &[&str]) -> Registration {
    Registration {
        style: ConsumeStyle {
            consume_type: ConsumeType::Passively,
            message_model: MessageModel::Clustering,
            consume_from_where: ConsumeFromWhere::LastOffset,
        },
        subscriptions: Some(topics.iter().map(|topic| Subscription::tags(topic, "*", 1)).collect()),
        fingerprint: 0,
    }
}

fn group() -> GroupName {
    GroupName::new("g").unwrap()
}

#[test]
fn joining_leaving_and_new_topics_are_changes_and_a_repeat_is_not() {
    let mut clients = Clients::new();
    assert!(clients.register_consumer(&group(), client(1, 0), registration(&["a"])).notify);
    assert!(!clients.register_consumer(&group(), client(1, 1), registration(&["a"])).notify);
    assert!(clients.register_consumer(&group(), client(2, 1), registration(&["a"])).notify);
    assert!(clients.register_consumer(&group(), client(1, 2), registration(&["a", "b"])).notify);
    assert!(clients.register_consumer(&group(), client(2, 2), registration(&["b"])).notify);
    assert_eq!(clients.groups_subscribed("b"), vec![group()]);
    assert!(clients.groups_subscribed("a").is_empty());
    let mut told = clients.to_notify("g");
    told.sort_unstable();
    assert_eq!(told, [1, 2]);
}

#[test]
fn a_newer_version_replaces_a_subscription_quietly() {
    let mut clients = Clients::new();
    clients.register_consumer(&group(), client(1, 0), registration(&["a"]));
    let mut newer = registration(&[]);
    newer.subscriptions = Some(vec![Subscription::tags("a", "X", 5)]);
    assert!(!clients.register_consumer(&group(), client(1, 0), newer).notify);
    assert_eq!(clients.consumer_group("g").unwrap().subscriptions["a"].expression, "X");
    clients.register_consumer(&group(), client(1, 0), registration(&["a"]));
    assert_eq!(clients.consumer_group("g").unwrap().subscriptions["a"].expression, "X");
}

#[test]
fn a_closed_connection_leaves_all_its_groups() {
    let mut clients = Clients::new();
    let other = GroupName::new("h").unwrap();
    clients.register_consumer(&group(), client(1, 0), registration(&["a"]));
    clients.register_consumer(&other, client(1, 0), registration(&["a"]));
    clients.register_consumer(&group(), client(2, 0), registration(&["a"]));
    clients.register_producer(&group(), client(1, 0));
    assert_eq!(clients.disconnect(1), vec![group(), other]);
    assert_eq!(clients.consumer_group("g").unwrap().members.len(), 1);
    assert!(clients.consumer_group("h").is_none());
    assert_eq!(clients.producers_of("g").count(), 0);
    assert!(clients.disconnect(1).is_empty());
    assert_eq!(clients.connections.len(), 1);
}

#[test]
fn a_silent_client_is_forgotten_and_its_group_is_named() {
    let mut clients = Clients::new();
    clients.register_consumer(&group(), client(1, 0), registration(&["a"]));
    clients.register_consumer(&group(), client(2, 100_000), registration(&["a"]));
    clients.register_producer(&group(), client(3, 0));
    assert_eq!(clients.expire(EpochMillis(120_000), 120_000), (vec![], vec![]));
    let (mut channels, groups) = clients.expire(EpochMillis(120_001), 120_000);
    channels.sort_unstable();
    assert_eq!((channels, groups), (vec![1, 3], vec![group()]));
    assert_eq!(clients.to_notify("g"), vec![2]);
}

#[test]
fn a_producer_is_found_by_its_name_until_its_last_group_or_connection_is_gone() {
    let mut clients = Clients::new();
    let other = GroupName::new("h").unwrap();
    clients.register_producer(&group(), client(1, 0));
    clients.register_producer(&other, client(1, 0));
    clients.unregister_producer("g", 1);
    assert_eq!(clients.producer("client-1"), Some(&1));
    clients.unregister_producer("h", 1);
    assert_eq!(clients.producer("client-1"), None);
    clients.register_producer(&group(), client(1, 0));
    let again = Client { id: "client-1".into(), ..client(2, 0) };
    clients.register_producer(&group(), again);
    clients.disconnect(1);
    assert_eq!(clients.producer("client-1"), Some(&2), "the newer connection stays");
    clients.disconnect(2);
    assert_eq!(clients.producer("client-1"), None);
    assert!(clients.producer_ids.is_empty());
}

#[test]
fn one_fresh_registration_keeps_the_whole_connection() {
    let mut clients = Clients::new();
    clients.register_producer(&GroupName::new("p").unwrap(), client(1, 0));
    clients.register_consumer(&group(), client(1, 200_000), registration(&["a"]));
    assert_eq!(clients.expire(EpochMillis(210_000), 120_000).0, Vec::<u64>::new());
}

#[test]
fn a_broadcast_group_is_not_told() {
    let mut clients = Clients::new();
    let mut broadcast = registration(&["a"]);
    broadcast.style.message_model = MessageModel::Broadcasting;
    clients.register_consumer(&group(), client(1, 0), broadcast);
    assert!(clients.to_notify("g").is_empty());
}

#[test]
fn a_v2_heartbeat_keeps_subscriptions_and_reports_another_fingerprint() {
    let mut clients = Clients::new();
    let v2 = |fingerprint, subscriptions| Registration { fingerprint, subscriptions, ..registration(&[]) };
    let first =
        clients.register_consumer(&group(), client(1, 0), v2(7, Some(vec![Subscription::tags("a", "*", 1)])));
    assert!(!first.fingerprint);
    assert!(!clients.register_consumer(&group(), client(1, 1), v2(7, None)).fingerprint);
    assert!(clients.consumer_group("g").unwrap().subscriptions.contains_key("a"));
    assert!(clients.register_consumer(&group(), client(1, 2), v2(8, None)).fingerprint);
}
