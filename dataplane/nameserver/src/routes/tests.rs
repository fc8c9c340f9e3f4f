use std::collections::BTreeSet;

use bolide_wire::body::route::QueueData;

use super::*;

const A: ConnId = ConnId(1);
const B: ConnId = ConnId(2);
const TIMEOUT: Duration = Duration::from_secs(120);

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn member(broker: &str, id: i64, addr: &str) -> Member {
    Member { cluster: "C".into(), broker: broker.into(), id, addr: addr.into(), epoch: 0 }
}

fn in_epoch(epoch: u64, member: Member) -> Member {
    Member { epoch, ..member }
}

fn version(counter: i64) -> DataVersion {
    DataVersion { counter, state_version: 0, timestamp: 1_000 }
}

fn table(counter: i64, topics: &[&str]) -> TopicConfigTable {
    let topics = topics.iter().map(|name| ((*name).to_owned(), TopicConfig::new(name, 4)));
    TopicConfigTable {
        data_version: Some(version(counter)),
        topic_config_table: topics.collect(),
        ..Default::default()
    }
}

fn new_routes() -> Routes {
    Routes::new(TIMEOUT, BTreeSet::new())
}

fn join(routes: &mut Routes, member: &Member, table: &TopicConfigTable, conn: ConnId, now: Duration) {
    routes.register(member, Profile::default(), table, Extent::Full, conn, now).unwrap();
}

fn perms(routes: &Routes, topic: &str) -> Vec<(String, i32)> {
    let route = routes.route(topic, Acting::No);
    route.into_iter().flat_map(|route| route.queue_datas).map(|data| (data.broker_name, data.perm)).collect()
}

/// `topics` and `Group::topics` must say the same, and every address be live.
fn assert_consistent(routes: &Routes) {
    for (broker, group) in &routes.groups {
        assert!(!group.addrs.is_empty(), "{broker} has no member");
        for topic in &group.topics {
            assert!(routes.topics[topic].contains_key(broker), "{topic} lacks {broker}");
        }
        for (id, addr) in &group.addrs {
            let live = &routes.live[&(group.cluster.clone(), addr.clone())];
            assert_eq!((&live.broker, live.id), (broker, *id));
        }
    }
    for (topic, holders) in &routes.topics {
        assert!(!holders.is_empty());
        for broker in holders.keys() {
            assert!(routes.groups[broker].topics.contains(topic), "{broker} does not know {topic}");
        }
    }
    let members: usize = routes.groups.values().map(|group| group.addrs.len()).sum();
    assert_eq!(members, routes.live.len());
}

#[test]
fn a_route_names_every_group_that_has_the_topic() {
    let mut routes = new_routes();
    join(&mut routes, &member("a", 0, "h:1"), &table(1, &["T", "U"]), A, at(0));
    join(&mut routes, &member("b", 0, "h:2"), &table(1, &["T", "V"]), B, at(0));
    let route = routes.route("T", Acting::No).unwrap();
    assert_eq!(route.broker_datas.len(), 2);
    assert_eq!(route.broker_datas[1].broker_addrs[&0], "h:2");
    assert_eq!(perms(&routes, "V"), [("b".to_owned(), 6)]);
    assert!(routes.route("W", Acting::No).is_none());
    assert_consistent(&routes);
}

#[test]
fn a_silent_member_goes_after_its_time_and_takes_its_topics_along() {
    let mut routes = new_routes();
    join(&mut routes, &member("a", 0, "h:1"), &table(1, &["T", "U"]), A, at(0));
    join(&mut routes, &member("b", 0, "h:2"), &table(1, &["T", "V"]), B, at(0));
    routes.heartbeat(&member("b", 0, "h:2"), None, B, at(60));
    assert!(routes.expire(at(120)).is_empty(), "not before the time is over");
    let gone = routes.expire(at(121));
    assert_eq!(gone, [member("a", 0, "h:1")]);
    assert!(routes.route("U", Acting::No).is_none());
    assert_eq!(perms(&routes, "T").len(), 1);
    assert_consistent(&routes);
}

#[test]
fn a_member_may_ask_for_a_shorter_time() {
    let mut routes = new_routes();
    let profile = Profile { timeout: Some(at(10)), ..Profile::default() };
    routes.register(&member("a", 0, "h:1"), profile, &table(1, &["T", "U"]), Extent::Full, A, at(0)).unwrap();
    assert_eq!(routes.expire(at(11)).len(), 1);
}

#[test]
fn a_closed_connection_removes_its_member_at_once_but_not_one_that_came_back() {
    let mut routes = new_routes();
    let broker = member("a", 0, "h:1");
    join(&mut routes, &broker, &table(1, &["T", "U"]), A, at(0));
    assert_eq!(routes.heartbeat(&broker, None, B, at(1)), Known::UpToDate);
    assert!(routes.connection_closed(A).is_empty(), "the member is on connection B by now");
    assert_eq!(routes.connection_closed(B), [broker]);
    assert!(routes.topics.is_empty() && routes.groups.is_empty() && routes.live.is_empty());
}

#[test]
fn topics_missing_from_a_full_registration_are_removed_for_that_group_only() {
    let mut routes = new_routes();
    join(&mut routes, &member("a", 0, "h:1"), &table(1, &["T", "U"]), A, at(0));
    join(&mut routes, &member("b", 0, "h:2"), &table(1, &["T", "U"]), B, at(0));
    join(&mut routes, &member("a", 0, "h:1"), &table(2, &["T", "V"]), A, at(1));
    assert_eq!(perms(&routes, "U"), [("b".to_owned(), 6)]);
    assert_eq!(perms(&routes, "V"), [("a".to_owned(), 6)]);
    assert_consistent(&routes);
}

#[test]
fn a_registration_of_changed_topics_keeps_the_others() {
    let mut routes = new_routes();
    let broker = member("a", 0, "h:1");
    let full = table(1, &["SELF_TEST_TOPIC", "T"]);
    assert_eq!(routes.extent_of(&broker, &full), Extent::Full);
    join(&mut routes, &broker, &full, A, at(0));
    let changed = table(2, &["New"]);
    let extent = routes.extent_of(&broker, &changed);
    assert_eq!(extent, Extent::Partial);
    routes.register(&broker, Profile::default(), &changed, extent, A, at(1)).unwrap();
    assert_eq!(routes.topic_names(), BTreeSet::from(["New".into(), "SELF_TEST_TOPIC".into(), "T".into()]));
    assert_consistent(&routes);
}

#[test]
fn one_part_of_a_registration_sent_in_parts_does_not_pass_for_the_whole() {
    let mut routes = new_routes();
    let broker = member("a", 0, "h:1");
    join(&mut routes, &broker, &table(1, &["SELF_TEST_TOPIC", "SCHEDULE_TOPIC_XXXX", "T"]), A, at(0));
    assert_eq!(routes.extent_of(&broker, &table(1, &["SELF_TEST_TOPIC", "T"])), Extent::Partial);
}

#[test]
fn a_difference_needs_the_version_it_starts_from() {
    let mut routes = new_routes();
    let broker = member("a", 0, "h:1");
    let delta = RegisterDeltaBody { changed: vec![TopicConfig::new("New", 8)], deleted: vec!["U".into()] };
    assert_eq!(routes.register_delta(&broker, version(1), version(2), &delta, A, at(0)), Known::NeedFull);
    join(&mut routes, &broker, &table(1, &["T", "U"]), A, at(0));
    assert_eq!(routes.register_delta(&broker, version(1), version(2), &delta, A, at(1)), Known::UpToDate);
    assert_eq!(routes.topic_names(), BTreeSet::from(["New".into(), "T".into()]));
    // Sent again because the answer was lost.
    assert_eq!(routes.register_delta(&broker, version(1), version(2), &delta, A, at(2)), Known::UpToDate);
    assert_eq!(routes.register_delta(&broker, version(1), version(3), &delta, A, at(3)), Known::NeedFull);
    assert_eq!(routes.heartbeat(&broker, Some(version(2)), A, at(4)), Known::UpToDate);
    assert_eq!(routes.heartbeat(&broker, Some(version(3)), A, at(4)), Known::NeedFull);
    assert_consistent(&routes);
}

#[test]
fn an_older_state_version_cannot_take_a_members_place() {
    let mut routes = new_routes();
    let mut newer = table(5, &["T", "U"]);
    newer.data_version = Some(DataVersion { state_version: 2, ..version(5) });
    join(&mut routes, &member("a", 0, "h:1"), &newer, A, at(0));
    let mut older = table(9, &["T", "U"]);
    older.data_version = Some(DataVersion { state_version: 1, ..version(9) });
    let refused = routes.register(&member("a", 0, "h:2"), Profile::default(), &older, Extent::Full, B, at(1));
    assert!(matches!(refused, Err(RegisterError::Stale { held: 2, offered: 1, .. })), "{refused:?}");
    assert_eq!(routes.member_group("C", "a").unwrap().broker_addrs[&0], "h:1");
    // The same or a newer one may: the broker has moved.
    join(&mut routes, &member("a", 0, "h:2"), &newer, B, at(2));
    assert_eq!(routes.member_group("C", "a").unwrap().broker_addrs[&0], "h:2");
    assert_consistent(&routes);
}

#[test]
fn an_address_that_comes_back_under_another_id_leaves_the_old_one() {
    let mut routes = new_routes();
    join(&mut routes, &member("a", 1, "h:1"), &table(1, &["T", "U"]), A, at(0));
    join(&mut routes, &member("a", 0, "h:1"), &table(1, &["T", "U"]), A, at(1));
    let members = routes.member_group("C", "a").unwrap().broker_addrs;
    assert_eq!(members.into_iter().collect::<Vec<_>>(), [(0, "h:1".to_owned())]);
    assert_eq!(perms(&routes, "T"), [("a".to_owned(), 6)], "promoted: may be written again");
    assert_consistent(&routes);
}

#[test]
fn a_slave_learns_its_master_and_does_not_change_the_masters_topics() {
    let mut routes = new_routes();
    let profile = Profile { ha_addr: "h:3".into(), ..Profile::default() };
    routes.register(&member("a", 0, "h:1"), profile, &table(1, &["T", "U"]), Extent::Full, A, at(0)).unwrap();
    let slave = member("a", 1, "h:2");
    let answer =
        routes.register(&slave, Profile::default(), &table(7, &["T", "X"]), Extent::Full, B, at(0)).unwrap();
    assert_eq!(answer.master, Some(("h:1".into(), "h:3".into())));
    assert_eq!(routes.topic_names(), BTreeSet::from(["T".into(), "U".into()]));
    routes.connection_closed(A);
    let route = routes.route("T", Acting::No).unwrap();
    assert_eq!(route.broker_datas[0].broker_addrs.keys().copied().collect::<Vec<_>>(), [1]);
    assert_consistent(&routes);
}

#[test]
fn without_a_master_the_lowest_member_stands_in_where_allowed() {
    let mut routes = new_routes();
    let profile = Profile { enable_acting_master: true, ..Profile::default() };
    routes.register(&member("a", 2, "h:2"), profile, &table(1, &["T", "U"]), Extent::Full, A, at(0)).unwrap();
    assert_eq!(perms(&routes, "T"), [("a".to_owned(), 4)], "a slave's topics take no messages");
    let route = routes.route("T", Acting::Yes).unwrap();
    assert_eq!(route.broker_datas[0].broker_addrs[&0], "h:2");
    assert_eq!(routes.route("T", Acting::No).unwrap().broker_datas[0].broker_addrs[&2], "h:2");
}

#[test]
fn a_withdrawn_write_permission_outlasts_registrations_and_comes_back_as_it_was() {
    let mut routes = new_routes();
    let broker = member("a", 0, "h:1");
    let mut topics = table(1, &["T", "U"]);
    topics.topic_config_table.get_mut("T").unwrap().perm = 7;
    join(&mut routes, &broker, &topics, A, at(0));
    assert_eq!(routes.wipe_write("a"), 2);
    topics.data_version = Some(version(2));
    join(&mut routes, &broker, &topics, A, at(1));
    assert_eq!(perms(&routes, "T"), [("a".to_owned(), 5)]);
    assert_eq!(routes.add_write("a"), 2);
    assert_eq!(perms(&routes, "T"), [("a".to_owned(), 7)], "not forced to 6");
    assert_eq!(routes.wipe_write("unknown"), 0);
}

#[test]
fn one_topic_of_an_unknown_member_is_refused() {
    let mut routes = new_routes();
    let refused = routes.register(
        &member("a", 0, "h:1"),
        Profile::default(),
        &table(1, &["T"]),
        Extent::Partial,
        A,
        at(0),
    );
    assert!(matches!(refused, Err(RegisterError::Unregistered { .. })));
    assert!(routes.live.is_empty());
}

#[test]
fn a_group_belongs_to_one_cluster() {
    let mut routes = new_routes();
    join(&mut routes, &member("a", 0, "h:1"), &table(1, &["T", "U"]), A, at(0));
    let other = Member { cluster: "D".into(), ..member("a", 0, "h:2") };
    let refused = routes.register(&other, Profile::default(), &table(1, &["T", "U"]), Extent::Full, B, at(0));
    assert!(matches!(refused, Err(RegisterError::OtherCluster { .. })));
    assert_consistent(&routes);
}

#[test]
fn topics_can_be_added_and_deleted_here_by_hand() {
    let mut routes = new_routes();
    join(&mut routes, &member("a", 0, "h:1"), &table(1, &["T", "U"]), A, at(0));
    let other = Member { cluster: "D".into(), ..member("b", 0, "h:2") };
    join(&mut routes, &other, &table(1, &["T", "U"]), B, at(0));
    let queues = QueueData {
        broker_name: "a".into(),
        perm: 6,
        read_queue_nums: 2,
        write_queue_nums: 2,
        topic_sys_flag: 3,
    };
    routes.register_topic("Hand", &[queues.clone(), QueueData { broker_name: "nobody".into(), ..queues }]);
    assert_eq!(perms(&routes, "Hand").len(), 1);
    assert_eq!(routes.unit_topics(UnitFilter::Unit), BTreeSet::from(["Hand".into()]));
    assert_eq!(routes.unit_topics(UnitFilter::UnitSub), BTreeSet::from(["Hand".into()]));
    assert!(routes.unit_topics(UnitFilter::UnitSubNotUnit).is_empty());
    routes.delete_topic("T", Some("D"));
    assert_eq!(perms(&routes, "T"), [("a".to_owned(), 6)]);
    routes.delete_topic("T", None);
    assert!(routes.route("T", Acting::No).is_none());
    assert_consistent(&routes);
}

#[test]
fn clusters_and_system_topics_are_listed() {
    let mut routes = new_routes();
    join(&mut routes, &member("a", 0, "h:1"), &table(1, &["T", "U"]), A, at(0));
    join(&mut routes, &member("b", 0, "h:2"), &table(1, &["V", "W"]), B, at(0));
    let info = routes.cluster_info();
    assert_eq!(info.cluster_addr_table["C"], BTreeSet::from(["a".into(), "b".into()]));
    assert_eq!(info.broker_addr_table["b"].broker_addrs[&0], "h:2");
    assert_eq!(
        routes.system_topics(),
        (BTreeSet::from(["C".into(), "a".into(), "b".into()]), Some("h:1".into()))
    );
    assert_eq!(routes.topics_of_cluster("C").len(), 4);
    assert!(routes.unregister(&member("a", 0, "h:1")));
    assert!(!routes.unregister(&member("a", 0, "h:1")));
    assert_eq!(routes.cluster_info().cluster_addr_table["C"], BTreeSet::from(["b".into()]));
    assert_consistent(&routes);
}

#[test]
fn the_master_of_an_old_epoch_is_refused_at_the_address_that_the_new_one_took_over() {
    let mut routes = new_routes();
    let (old, new) = (in_epoch(4, member("a", 0, "h:1")), in_epoch(5, member("a", 0, "h:1")));
    join(&mut routes, &old, &table(1, &["T", "U"]), A, at(0));
    join(&mut routes, &new, &table(1, &["T", "U"]), B, at(1));
    let refused = routes.register(&old, Profile::default(), &table(1, &["T", "U"]), Extent::Full, A, at(2));
    assert!(matches!(refused, Err(RegisterError::OldEpoch { held: 5, offered: 4, .. })), "{refused:?}");
    assert_eq!(routes.heartbeat(&old, Some(version(1)), A, at(2)), Known::NeedFull);
    assert!(!routes.unregister(&old));
    assert!(routes.connection_closed(A).is_empty());
    assert_eq!(routes.heartbeat(&new, Some(version(1)), B, at(2)), Known::UpToDate);
    assert_eq!(perms(&routes, "T"), [("a".to_owned(), 6)]);
    assert_consistent(&routes);
}

#[test]
fn an_old_master_stays_refused_while_the_new_one_is_away_and_so_does_an_old_slave() {
    let mut routes = new_routes();
    let slave = in_epoch(5, member("a", 1, "h:2"));
    join(&mut routes, &in_epoch(5, member("a", 0, "h:1")), &table(1, &["T", "U"]), A, at(0));
    join(&mut routes, &slave, &table(1, &["T", "U"]), B, at(0));
    assert_eq!(routes.connection_closed(A).len(), 1);
    let old = in_epoch(4, member("a", 0, "h:3"));
    let refused = routes.register(&old, Profile::default(), &table(1, &["T", "U"]), Extent::Full, A, at(1));
    assert!(matches!(refused, Err(RegisterError::OldEpoch { .. })), "{refused:?}");
    join(&mut routes, &in_epoch(6, member("a", 0, "h:2")), &table(1, &["T", "U"]), B, at(1));
    let refused = routes.register(&slave, Profile::default(), &table(1, &["T", "U"]), Extent::Full, A, at(2));
    assert!(matches!(refused, Err(RegisterError::OldEpoch { held: 6, offered: 5, .. })), "{refused:?}");
    assert_consistent(&routes);
}
