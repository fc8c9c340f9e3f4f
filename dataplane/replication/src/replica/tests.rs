//! Replicas on a perfect network with logs in memory: each rule once. The simulator (`dataplane/sim`) does the rest.

mod net;

use bolide_wire::LogOffset;

use super::*;
use crate::{
    config::Holds,
    event::CasOutcome,
    message::{Ack, TruncateTo},
    state::Incarnation,
};
use net::Net;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[test]
fn a_new_group_begins_with_its_first_replica_and_the_others_join() {
    let mut net = Net::new(3);
    net.run(ms(500));
    assert_eq!(net.serving(), Some(0));
    net.append(0, 100);
    net.run(ms(2000));
    assert_eq!(net.state().in_sync.len(), 3);
    assert!(net.nodes.iter().all(|node| node.log == net.nodes[0].log));
    assert_eq!(net.nodes[0].confirmed, net.nodes[0].log.len() as u64);
    assert_eq!(net.nodes[2].confirmed, net.nodes[0].confirmed, "a follower learns the confirm offset");
    assert!(matches!(net.nodes[0].acknowledging, Acknowledging::Until(_)));
    assert_eq!(net.nodes[1].role, Role::Slave { master: net.name(0), epoch: Epoch(1) });
}

#[test]
fn a_killed_master_is_replaced_at_once_and_comes_back_without_its_own_tail() {
    let mut net = Net::new(2);
    net.run(ms(3000));
    net.append(0, 50);
    net.run(ms(10));
    net.cut(0, 1, true);
    net.append(0, 77);
    net.run(ms(5));
    net.cut(0, 1, false);
    net.kill(0);
    let before = net.now;
    net.run_until(ms(400), |net| net.serving() == Some(1));
    assert!(net.now - before < ms(200), "took {:?}", net.now - before);
    assert_eq!(net.state().in_sync.len(), 1, "the old master is out");
    net.append(1, 10);
    net.start(0);
    net.run(ms(3000));
    assert_eq!(net.nodes[0].log, net.nodes[1].log);
    assert_eq!(net.state().in_sync.len(), 2);
    assert_eq!(net.state().epoch, Epoch(2));
}

#[test]
fn a_silent_master_is_replaced_after_two_seconds_and_steps_down_when_it_hears_of_it() {
    let mut net = Net::new(2);
    net.run(ms(3000));
    net.cut(0, 1, true);
    net.state_away[0] = true;
    net.append(0, 30);
    net.run_until(ms(4000), |net| net.serving() == Some(1));
    assert_eq!(net.serving(), Some(1));
    let (held, now) = (net.nodes[0].acknowledging, net.now);
    assert!(matches!(held, Acknowledging::No), "{held:?} at {now:?}");
    assert!(net.nodes[0].confirmed < net.nodes[0].log.len() as u64);
    net.cut(0, 1, false);
    net.state_away[0] = false;
    net.run(ms(3000));
    assert_eq!(net.nodes[0].role, Role::Slave { master: net.name(1), epoch: Epoch(2) });
    assert_eq!(net.nodes[0].log, net.nodes[1].log);
}

#[test]
fn a_slow_member_is_removed_and_a_removed_one_does_not_lead() {
    let mut net = Net::new(2);
    net.run(ms(3000));
    net.state_away[1] = true;
    net.cut(0, 1, true);
    net.append(0, 40);
    net.run(ms(1800));
    assert_eq!(net.state().in_sync.len(), 1);
    assert_eq!(net.nodes[0].confirmed, net.nodes[0].log.len() as u64);
    assert_eq!(net.nodes[0].acknowledging, Acknowledging::Yes);
    net.kill(0);
    net.state_away[1] = false;
    net.run(ms(5000));
    assert_eq!(net.serving(), None);
    assert!(net.nodes[1].replica().status().reasons.iter().any(|reason| reason.contains("not in sync")));
    net.start(0);
    net.run(ms(2000));
    assert_eq!(net.serving(), Some(0), "the only member of in_sync");
}

#[test]
fn nothing_is_confirmed_with_fewer_members_than_asked_for() {
    let mut net = Net::with(2, |config| config.min_in_sync = 2);
    net.kill(1);
    net.run(ms(3000));
    assert_eq!(net.serving(), None);
    net.append(0, 40);
    assert_eq!(net.nodes[0].confirmed, 0);
    net.start(1);
    net.run(ms(3000));
    assert_eq!(net.serving(), Some(0));
    assert_eq!(net.nodes[0].confirmed, net.nodes[0].log.len() as u64);
    net.kill(1);
    net.append(0, 10);
    net.run(ms(4000));
    assert!(net.nodes[0].confirmed < net.nodes[0].log.len() as u64);
    assert_eq!(net.nodes[0].acknowledging, Acknowledging::No);
    assert_eq!(net.state().in_sync.len(), 2, "who is left of the last two may still lead");
}

#[test]
fn growth_binds_before_its_outcome_is_known() {
    let mut net = Net::new(2);
    net.kill(1);
    net.run(ms(2500));
    assert_eq!(net.serving(), Some(0));
    net.cas_answers_lost = true;
    net.start(1);
    net.run(ms(60));
    assert_eq!(net.state().in_sync.len(), 2, "set, and nobody was told");
    net.cut(0, 1, true);
    let confirmed = net.nodes[0].confirmed;
    net.append(0, 40);
    net.run(ms(10));
    assert_eq!(net.nodes[0].confirmed, confirmed);
}

#[test]
fn a_replica_that_lost_bytes_does_not_lead_while_another_may_have_them() {
    let mut net = Net::new(2);
    net.run(ms(3000));
    net.kill(0);
    net.kill(1);
    net.renew(1);
    net.start(1);
    net.run(ms(5000));
    assert_eq!(net.serving(), None);
    net.start(0);
    net.run(ms(3000));
    assert_eq!(net.serving(), Some(0));
}

#[test]
fn when_all_were_renewed_the_longest_leads_once_all_have_reported() {
    let mut net = Net::new(3);
    net.run(ms(3000));
    net.append(0, 60);
    net.run(ms(100));
    for node in 0..3 {
        net.kill(node);
        net.renew(node);
    }
    let lost = net.nodes[0].log.len() - 20;
    net.nodes[0].log.truncate(lost);
    net.nodes[1].log.truncate(lost + 10);
    net.nodes[2].log.truncate(lost + 15);
    net.start(0);
    net.start(1);
    net.run(ms(5000));
    assert_eq!(net.serving(), None);
    net.start(2);
    net.run(ms(3000));
    assert_eq!(net.serving(), Some(2));
    assert_eq!(net.state().in_sync.len(), 3);
    assert_eq!(net.nodes[0].log, net.nodes[2].log);
}

#[test]
fn an_emptied_volume_never_leads_and_is_filled_again() {
    let mut net = Net::new(2);
    net.run(ms(3000));
    net.append(0, 60);
    net.kill(1);
    net.run(ms(3000));
    net.kill(0);
    net.wipe(0);
    net.start(0);
    net.run(ms(5000));
    assert_eq!(net.serving(), None, "the group state says that there was data");
    net.force(1);
    net.start(1);
    net.run(ms(6000));
    assert_eq!(net.serving(), Some(1), "a human has chosen what is left");
    assert_eq!(net.nodes[0].log, net.nodes[1].log);
}

#[test]
fn a_recreated_group_state_is_not_believed() {
    let mut net = Net::new(2);
    net.run(ms(3000));
    net.kill(0);
    net.kill(1);
    net.recreate();
    net.start(0);
    net.run(ms(3000));
    assert_eq!(net.serving(), None);
    assert!(
        net.nodes[0].replica().status().reasons.iter().any(|reason| reason.contains("older than epoch 1"))
    );
    net.wipe(0);
    net.kill(0);
    net.start(0);
    net.start(1);
    net.run(ms(6000));
    assert_eq!(net.serving(), None, "the other one knows of the data");
}

#[test]
fn a_planned_switchover_loses_no_append_and_takes_milliseconds() {
    let mut net = Net::new(3);
    net.run(ms(3000));
    net.append(0, 90);
    net.give(0, Event::Switchover { to: Some(net.name(2)) });
    let before = net.now;
    net.run_until(ms(300), |net| net.serving() == Some(2));
    assert_eq!(net.serving(), Some(2));
    assert!(net.now - before < ms(100));
    net.run(ms(100));
    assert_eq!(net.nodes[0].forwarded_to, Some(net.name(2)));
    net.run(ms(3000));
    assert_eq!(net.state().in_sync.len(), 3);
    assert_eq!(net.state().successor, None);
    assert!(net.nodes.iter().all(|node| node.log == net.nodes[0].log));
}

#[test]
fn a_replica_that_is_about_to_end_hands_over_and_does_not_lead_again() {
    let mut net = Net::new(2);
    net.run(ms(3000));
    net.give(0, Event::Retire);
    net.run(ms(1000));
    assert_eq!(net.serving(), Some(0), "it leads on until it has handed over");
    net.give(0, Event::Switchover { to: None });
    net.run_until(ms(300), |net| net.serving() == Some(1));
    net.run(ms(2000));
    assert_eq!(net.state().in_sync.len(), 2);
    net.kill(1);
    net.run(ms(5000));
    assert_eq!(net.serving(), None);
    net.kill(0);
    net.start(0);
    net.run(ms(3000));
    assert_eq!(net.serving(), Some(0), "its next process may");
}

#[test]
fn a_switchover_to_a_dead_successor_is_given_up() {
    let mut net = Net::new(2);
    net.run(ms(3000));
    net.cut(0, 1, true);
    net.state_away[1] = true;
    net.append(0, 10);
    net.give(0, Event::Switchover { to: None });
    assert!(net.nodes[0].held);
    net.run(ms(2500));
    assert!(!net.nodes[0].held);
    assert_eq!(net.serving(), Some(0));
}

#[test]
fn a_failed_disk_hands_over_without_waiting() {
    let mut net = Net::new(2);
    net.run(ms(3000));
    net.give(0, Event::StoreFailed);
    net.run_until(ms(300), |net| net.serving() == Some(1));
    assert_eq!(net.serving(), Some(1));
    assert_ne!(net.nodes[0].replica().status().reasons, Vec::<String>::new());
}

#[test]
fn flushed_bytes_count_where_flush_is_synchronous() {
    let mut net = Net::with(2, |config| config.holds = Holds::Flushed);
    net.run(ms(3000));
    net.nodes[1].flushes = false;
    net.append(0, 10);
    net.run(ms(300));
    assert_eq!(net.nodes[1].log, net.nodes[0].log);
    assert!(net.nodes[0].confirmed < net.nodes[0].log.len() as u64);
    net.nodes[1].flushes = true;
    net.run(ms(600));
    assert_eq!(net.nodes[0].confirmed, net.nodes[0].log.len() as u64);
}

#[test]
fn a_link_that_carries_nothing_any_more_is_replaced() {
    let mut net = Net::with(2, |config| config.min_in_sync = 2);
    net.run(ms(3000));
    assert!(net.serving().is_some());
    net.strand();
    net.run(ms(12_000));
    let leader = net.serving().expect("they have found each other");
    net.append(leader, 10);
    net.run(ms(1000));
    assert_eq!(net.nodes[leader].confirmed, net.nodes[leader].log.len() as u64);
}

#[test]
fn a_process_that_was_stopped_keeps_its_links() {
    let mut net = Net::new(2);
    net.run(ms(3000));
    net.now += ms(20_000);
    let mut effects = Vec::new();
    let replica = net.nodes[1].replica.as_mut().expect("runs");
    replica.handle(net.now, Event::Tick, &mut effects);
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Close { .. })), "{effects:?}");
}

#[test]
fn a_dial_that_was_refused_before_the_follower_came_says_nothing_of_it() {
    let mut net = Net::new(2);
    net.run(ms(3000));
    assert_eq!(net.state().in_sync.len(), 2);
    let revision = net.state().revision;
    let peer = net.name(1);
    net.give(0, Event::DialFailed { peer, refused: true });
    for _ in 0..20 {
        net.append(0, 5);
        net.run(ms(100));
    }
    assert_eq!(net.state().revision, revision, "it was never taken out");
}

#[test]
fn the_api_server_away_stops_nothing_but_changes() {
    let mut net = Net::new(2);
    net.run(ms(3000));
    net.state_away = vec![true; 2];
    for _ in 0..100 {
        net.append(0, 10);
        net.run(ms(200));
    }
    assert_eq!(net.nodes[0].confirmed, net.nodes[0].log.len() as u64);
    assert!(matches!(net.nodes[0].acknowledging, Acknowledging::Until(_)));
    net.kill(0);
    net.run(ms(3000));
    assert_eq!(net.serving(), None);
    net.state_away = vec![false; 2];
    net.run(ms(1500));
    assert_eq!(net.serving(), Some(1));
}

#[test]
fn a_store_with_messages_of_unknown_origin_is_left_alone() {
    let mut net = Net::new(2);
    net.nodes[1].log = vec![0; 30];
    net.run(ms(3000));
    assert_eq!(net.nodes[1].log, vec![0; 30]);
    assert!(net.nodes[1].replica().status().reasons.iter().any(|reason| reason.contains("not known to be")));
    assert_eq!(net.state().in_sync.len(), 1);
}

fn follower() -> (Replica, LinkId, Vec<Effect>) {
    let name = |text: &str| ReplicaName::new(text).expect("a name");
    let mut config = Config::new("c", "g", vec![name("m")]);
    config.segment_bytes = 4096;
    let member = Member::new(name("f"), Incarnation(2));
    let seen = Some(Seen { epoch: Epoch(4), revision: 9 });
    let mut log = LogView::empty();
    log.end = LogOffset(100);
    log.epochs = vec![crate::EpochStart { epoch: Epoch(3), start: LogOffset(0) }].into();
    let mut replica = Replica::new(config, Identity { member, seen }, log, Duration::ZERO);
    let (link, mut effects) = (LinkId(1), Vec::new());
    replica.handle(ms(1), Event::Dialed { peer: name("m"), link }, &mut effects);
    (replica, link, effects)
}

fn leader(epoch: u64) -> Message {
    let member = "m@1".parse().expect("a member");
    let seen = Some(Seen { epoch: Epoch(epoch), revision: 20 });
    let standing =
        Standing { member, seen, leads: Some(Epoch(epoch)), last_epoch: Epoch(epoch), end: LogOffset(500) };
    Message::Welcome(crate::Welcome { protocol: 1, standing })
}

#[test]
fn the_stream_of_a_lower_epoch_is_refused() {
    let (mut replica, link, mut effects) = follower();
    effects.clear();
    replica.handle(ms(2), Event::Received { link, message: leader(3) }, &mut effects);
    let refused = effects
        .iter()
        .any(|effect| matches!(effect, Effect::Send { message: Message::Refuse { epoch: Epoch(4) }, .. }));
    assert!(refused, "{effects:?}");
    assert!(replica.following.is_none());
}

#[test]
fn only_the_truncation_of_the_newest_hello_is_done_and_acknowledged() {
    let (mut replica, link, mut effects) = follower();
    replica.handle(ms(2), Event::Received { link, message: leader(5) }, &mut effects);
    let persisted = effects.iter().position(|effect| matches!(effect, Effect::PersistSeen(_)));
    let hellos: Vec<(usize, Session, Epoch)> = effects
        .iter()
        .enumerate()
        .filter_map(|(at, effect)| match effect {
            Effect::Send { message: Message::Hello(hello), .. } => Some((at, hello.session, hello.follows)),
            _ => None,
        })
        .collect();
    let [(_, first, Epoch(0)), (at, second, Epoch(5))] = hellos[..] else { panic!("{hellos:?}") };
    assert!(persisted < Some(at), "an epoch is noted before it is followed");
    let truncate = |session| {
        let message = Message::TruncateTo(TruncateTo { epoch: Epoch(5), session, offset: LogOffset(60) });
        Event::Received { link, message }
    };
    effects.clear();
    replica.handle(ms(3), truncate(first), &mut effects);
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Truncate { .. })), "{effects:?}");
    replica.handle(ms(3), truncate(second), &mut effects);
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Truncate { to: LogOffset(60) })));
    let acked = |effects: &[Effect]| {
        effects.iter().find_map(|effect| match effect {
            Effect::Send { message: Message::Ack(ack), .. } => Some(*ack),
            _ => None,
        })
    };
    let progress = Event::Progress { appended: LogOffset(100), flushed: LogOffset(100) };
    replica.handle(ms(4), progress, &mut effects);
    assert_eq!(acked(&effects), None, "what is being cut off is not acknowledged");
    let mut cut = LogView::empty();
    (cut.end, cut.flushed) = (LogOffset(60), LogOffset(60));
    replica.handle(ms(5), Event::Truncated(Ok(cut)), &mut effects);
    let held = (LogOffset(60), LogOffset(60));
    let ack = Ack { epoch: Epoch(5), session: second, written: held.0, flushed: held.1, echo: 0 };
    assert_eq!(acked(&effects), Some(ack));
}

#[test]
fn a_stale_answer_and_a_lost_one_are_not_believed() {
    let mut net = Net::new(1);
    net.run(ms(500));
    let replica = net.nodes[0].replica.as_mut().expect("runs");
    let mut effects = Vec::new();
    let mut old = GroupState::new_group(ReplicaName::new("r0").expect("a name"));
    old.revision = 0;
    let version = "old".to_owned();
    replica.handle(
        ms(700),
        Event::StateLoaded(Ok(Some(crate::Versioned { state: old, version }))),
        &mut effects,
    );
    replica.handle(ms(701), Event::CasDone(CasOutcome::Set { version: "x".into() }), &mut effects);
    assert_eq!(replica.group.known().map(|known| known.epoch), Some(Epoch(1)));
    assert_eq!(replica.status().role, RoleName::Master);
}

#[test]
fn a_snapshot_that_does_not_come_is_asked_for_again() {
    let (mut replica, link, _) = follower();
    let start = Duration::from_secs(1);
    let beats = |replica: &mut Replica, from: u64, to: u64, part: bool| {
        let mut effects = Vec::new();
        for second in from..to {
            let now = start + Duration::from_secs(second);
            let shell = Message::Shell(bytes::Bytes::new());
            let message = if part { shell } else { leader(5) };
            replica.handle(now, Event::Received { link, message }, &mut effects);
        }
        effects.iter().any(|effect| matches!(effect, Effect::Close { .. }))
    };
    let need = Message::NeedSnapshot { epoch: Epoch(5), min: LogOffset(1000) };
    let mut effects = Vec::new();
    replica.handle(start, Event::Received { link, message: leader(5) }, &mut effects);
    replica.handle(start, Event::Received { link, message: need }, &mut effects);
    assert!(effects.iter().any(|effect| matches!(effect, Effect::NeedSnapshot { .. })), "{effects:?}");
    assert!(!beats(&mut replica, 1, 100, true), "parts come");
    assert!(!beats(&mut replica, 100, 150, false));
    assert!(beats(&mut replica, 150, 170, false));
}

/// Any message, with small numbers so that they often fit what the replica expects.
fn any_message() -> impl proptest::strategy::Strategy<Value = Message> {
    use proptest::prelude::*;
    let number = 0..6_u64;
    (0..10_u8, [number.clone(), number.clone(), number.clone(), number], any::<bool>()).prop_map(
        |(kind, [a, b, c, d], flag)| {
            let (epoch, session, offset) = (Epoch(a), Session(b), LogOffset(c * 50));
            let member = Member::new(ReplicaName::new("m").expect("a name"), Incarnation(1));
            let seen = flag.then_some(Seen { epoch: Epoch(d), revision: a });
            let standing =
                Standing { member, seen, leads: flag.then_some(epoch), last_epoch: Epoch(d), end: offset };
            match kind {
                0 => Message::Hello(Hello {
                    protocol: 1,
                    cluster: "c".to_owned(),
                    group: "g".to_owned(),
                    segment_bytes: 4096,
                    standing,
                    session,
                    follows: Epoch(d),
                    epochs: vec![crate::EpochStart { epoch: Epoch(d), start: LogOffset(0) }],
                    min: LogOffset(0),
                }),
                1 => Message::Welcome(crate::Welcome { protocol: 1, standing }),
                2 => Message::TruncateTo(TruncateTo { epoch, session, offset }),
                3 => Message::NeedSnapshot { epoch, min: offset },
                4 => Message::Batch(crate::Batch {
                    epoch,
                    session,
                    offset,
                    confirm: LogOffset(d * 50),
                    bytes: vec![0; 50].into(),
                }),
                5 => Message::Heartbeat(Heartbeat { standing, confirm: offset, stamp: b, echo: d }),
                6 => {
                    Message::Ack(Ack { epoch, session, written: offset, flushed: LogOffset(d * 50), echo: b })
                }
                7 => Message::Lead { epoch, end: offset },
                8 => Message::Resign { epoch },
                _ => Message::Refuse { epoch },
            }
        },
    )
}

proptest::proptest! {
    /// Whatever a peer says: no panic, nothing appended before the log's end is known, nothing confirmed beyond it.
    #[test]
    fn no_peer_can_make_a_replica_break_its_own_rules(
        messages in proptest::collection::vec((any_message(), 0..2_u64), 1..40),
    ) {
        let (mut replica, dialed, mut effects) = follower();
        let accepted = LinkId(2);
        let mut now = ms(2);
        replica.handle(now, Event::Accepted { link: accepted }, &mut effects);
        let (mut end, mut asked) = (100_u64, Vec::new());
        for (message, which) in messages {
            now += ms(100);
            let link = if which == 0 { dialed } else { accepted };
            effects.clear();
            replica.handle(now, Event::Received { link, message }, &mut effects);
            asked.append(&mut effects);
            while !asked.is_empty() {
                for effect in std::mem::take(&mut asked) {
                    let mut view = LogView::empty();
                    view.epochs = vec![crate::EpochStart { epoch: Epoch(3), start: LogOffset(0) }].into();
                    let answer = match effect {
                        Effect::AppendRaw { at, bytes } => {
                            assert_eq!(at.0, end, "appended where the log ends");
                            end += bytes.len() as u64;
                            (view.end, view.flushed) = (LogOffset(end), LogOffset(end));
                            Event::RawAppended(Ok(view))
                        }
                        Effect::Truncate { to } => {
                            assert!(to.0 < end, "only what is there is cut");
                            end = to.0;
                            (view.end, view.flushed) = (LogOffset(end), LogOffset(end));
                            Event::Truncated(Ok(view))
                        }
                        Effect::SetConfirmed(offset) => {
                            assert!(offset.0 <= end);
                            continue;
                        }
                        Effect::Lead { .. } => panic!("it never claimed"),
                        _ => continue,
                    };
                    replica.handle(now, answer, &mut effects);
                    asked.append(&mut effects);
                }
            }
        }
    }
}
