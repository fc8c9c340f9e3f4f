use super::*;

fn topic(queues: i32) -> WantedTopic {
    WantedTopic {
        name: "orders".into(),
        queues,
        permission: 6,
        message_type: "NORMAL".into(),
        order: false,
        brokers: None,
    }
}

fn group() -> WantedGroup {
    WantedGroup {
        name: "billing".into(),
        max_retries: 16,
        retry_queues: 1,
        ordered: false,
        broadcast: true,
        consume_from_min: true,
        notify_on_change: true,
        enabled: true,
    }
}

fn wanted(topics: Vec<WantedTopic>, groups: Vec<WantedGroup>) -> Wanted {
    Wanted { topics, groups }
}

/// A broker that does what it is told; queues count as read at once when `drained`.
fn apply(found: &mut Found, changes: &[Change], drained: bool) {
    for change in changes {
        match change {
            Change::MakeTopic(to) | Change::ChangeTopic { to, .. } => {
                found.topics.insert(to.topic_name.clone(), to.clone());
            }
            Change::Drain { to, .. } if drained => {
                found.topics.insert(to.topic_name.clone(), to.clone());
            }
            Change::Drain { .. } | Change::Conflict { .. } => {}
            Change::MakeGroup(to) | Change::ChangeGroup { to, .. } => {
                found.groups.insert(to.group_name.clone(), to.clone());
            }
        }
    }
}

#[test]
fn what_is_missing_is_made_groups_first_and_then_nothing_is_left_to_do() {
    let wanted = wanted(vec![topic(4)], vec![group()]);
    let mut found = Found { broker: "b".into(), ..Found::default() };
    let first = changes(&wanted, &found);
    assert!(matches!(first.as_slice(), [Change::MakeGroup(_), Change::MakeTopic(_)]), "{first:?}");
    apply(&mut found, &first, false);
    assert_eq!(changes(&wanted, &found), []);
}

#[test]
fn a_topic_grows_at_once_and_keeps_what_the_broker_knows_beyond_it() {
    let mut held = TopicConfig::new("orders", 4);
    held.attributes.insert("reserve.time".into(), "1000".into());
    held.topic_sys_flag = 1;
    let Some(Change::ChangeTopic { to, why }) = topic_change(&topic(8), Some(&held)) else {
        panic!("a change")
    };
    assert_eq!((to.write_queue_nums, to.read_queue_nums, to.topic_sys_flag), (8, 8, 1));
    assert_eq!(to.attributes.len(), 1);
    assert_eq!(why, "4 -> 8 queues, 4 -> 8 read queues");
}

#[test]
fn a_topic_shrinks_its_write_queues_first_and_its_read_queues_when_they_are_read() {
    let wanted = wanted(vec![topic(2)], vec![]);
    let mut found = Found { broker: "b".into(), ..Found::default() };
    found.topics.insert("orders".into(), TopicConfig::new("orders", 6));
    let first = changes(&wanted, &found);
    let [Change::ChangeTopic { to, .. }] = first.as_slice() else { panic!("{first:?}") };
    assert_eq!((to.write_queue_nums, to.read_queue_nums), (2, 6));
    apply(&mut found, &first, false);
    let second = changes(&wanted, &found);
    let [Change::Drain { from: 2, until: 6, .. }] = second.as_slice() else { panic!("{second:?}") };
    apply(&mut found, &second, false);
    assert_eq!(changes(&wanted, &found), second, "unread queues stay");
    apply(&mut found, &second, true);
    assert_eq!(changes(&wanted, &found), []);
}

#[test]
fn drift_is_repaired() {
    let mut held = TopicConfig::new("orders", 4);
    held.perm = 4;
    held.read_queue_nums = 2;
    let Some(Change::ChangeTopic { to, why }) = topic_change(&topic(4), Some(&held)) else {
        panic!("a change")
    };
    assert_eq!((to.perm, to.read_queue_nums), (6, 4));
    assert_eq!(why, "permission 4 -> 6, 2 -> 4 read queues");
}

#[test]
fn a_topic_of_another_type_is_a_conflict_not_a_change() {
    let mut fifo = topic(4);
    fifo.message_type = "FIFO".into();
    fifo.order = true;
    let Some(Change::MakeTopic(made)) = topic_change(&fifo, None) else { panic!("made") };
    assert_eq!(made.attributes.get(MESSAGE_TYPE).map(String::as_str), Some("FIFO"));
    assert_eq!(topic_change(&fifo, Some(&made)), None);
    let change = topic_change(&fifo, Some(&TopicConfig::new("orders", 4)));
    assert!(matches!(&change, Some(Change::Conflict { topic, .. }) if topic == "orders"), "{change:?}");
}

#[test]
fn a_topic_named_for_other_brokers_is_left_alone_here() {
    let mut elsewhere = topic(4);
    elsewhere.brokers = Some(BTreeSet::from(["a".to_owned()]));
    let wanted = wanted(vec![elsewhere], vec![]);
    assert_eq!(changes(&wanted, &Found { broker: "b".into(), ..Found::default() }), []);
    assert_eq!(changes(&wanted, &Found { broker: "a".into(), ..Found::default() }).len(), 1);
}

#[test]
fn a_paused_group_is_a_change_with_a_name() {
    let held = SubscriptionGroupConfig::new("billing");
    assert_eq!(group_change(&group(), Some(&held)), None);
    let paused = WantedGroup { enabled: false, max_retries: 3, ..group() };
    let Some(change) = group_change(&paused, Some(&held)) else { panic!("a change") };
    assert_eq!(change.to_string(), "group billing changed: retries 16 -> 3, paused");
}

#[test]
fn a_nameserver_is_told_the_order_of_a_topic_only_when_it_differs() {
    assert_eq!(order_change(Some("a:4"), None), Some(OrderChange::Put("a:4".into())));
    assert_eq!(order_change(Some("a:4"), Some("a:2")), Some(OrderChange::Put("a:4".into())));
    assert_eq!(order_change(Some("a:4"), Some("a:4")), None);
    assert_eq!(order_change(None, Some("a:4")), Some(OrderChange::Delete));
    assert_eq!(order_change(None, None), None);
}
