//! Two replicas under a random course of appends, streaming, changes of the master, and a crash at every step of a disk.
//!
//! The rules of a group in short: what both have is confirmed; a replica whose machine went down may not lead until it has
//! caught up; who follows cuts its log where the histories part. Then whatever happens, what was acknowledged as confirmed
//! or ever shown stays, and both end up with the same bytes.

use std::collections::BTreeMap;

use bolide_store::{
    Ack, Flush,
    disk::{Crash, Fault},
};

use super::node::{Answer, Node, Visible, rejoin, stream, stream_all};
use crate::support::Random;

/// Id, topic and queue of a record.
type Sent = (u64, String, u32);

struct Group {
    nodes: [Node; 2],
    master: usize,
    epoch: u64,
    /// Who has everything that is confirmed, and so may lead.
    whole: [bool; 2],
    flush: Flush,
    next_id: u64,
    waiting: Vec<(Vec<Sent>, Answer)>,
    /// Id to topic, queue, queue offset and log offset.
    acked: BTreeMap<u64, (String, u32, i64, u64)>,
}

impl Group {
    fn new(seed: u64, flush: Flush) -> Self {
        let nodes = [Node::new("a", seed, flush), Node::new("b", seed + 1000, flush)];
        let (waiting, acked) = (Vec::new(), BTreeMap::new());
        let mut group =
            Self { nodes, master: 0, epoch: 0, whole: [true, true], flush, next_id: 1, waiting, acked };
        group.take_over(0);
        group
    }

    fn split(&mut self) -> (&mut Node, &mut Node) {
        let [a, b] = &mut self.nodes;
        if self.master == 0 { (a, b) } else { (b, a) }
    }

    fn is_down(&self) -> bool {
        self.nodes.iter().any(|node| node.disk.is_down() || node.store.poisoned())
    }

    /// A new epoch, led by this one; the other follows.
    fn take_over(&mut self, who: usize) {
        self.epoch += 1;
        self.master = who;
        let epoch = self.epoch;
        let (master, follower) = self.split();
        let (led, follows) = (master.lead(epoch), follower.follow());
        let cut = follows.map_err(|_| ()).and_then(|_| rejoin(master, follower).map_err(|_| ()));
        assert!(self.is_down() || led.is_ok() && cut.is_ok(), "{led:?} {cut:?}");
    }

    /// What both have, once the follower is not short of anything.
    fn confirm(&mut self) {
        let flush = self.flush;
        let (master, follower) = self.split();
        let has = |node: &Node| match flush {
            Flush::Async => node.end(),
            Flush::Sync => node.store.watermarks().flushed.0,
        };
        let both = has(master).min(has(follower));
        let caught_up = follower.end() == master.end();
        let follows = 1 - self.master;
        self.whole[follows] |= caught_up;
        if self.whole[follows] {
            let (master, follower) = self.split();
            master.confirm(both);
            follower.confirm(both);
        }
        self.settle();
    }

    fn settle(&mut self) {
        let acked = &mut self.acked;
        self.waiting.retain(|(sent, answer)| match answer.try_recv() {
            Ok(Ok(placed)) => {
                for ((id, name, queue), placed) in sent.iter().zip(placed) {
                    let place = (name.clone(), *queue, placed.queue_offset.0, placed.log_offset.0);
                    assert_eq!(acked.insert(*id, place), None);
                }
                false
            }
            Ok(Err(_)) | Err(std::sync::mpsc::TryRecvError::Disconnected) => false,
            Err(std::sync::mpsc::TryRecvError::Empty) => true,
        });
    }

    fn append(&mut self, random: &mut Random) {
        let mut wanted = Vec::new();
        for _ in 0..=random.below(4) {
            let name = ["alpha", "beta"][random.below(2) as usize];
            wanted.push((self.next_id, name, random.below(2) as u32, random.below(1200) as usize));
            self.next_id += 1;
        }
        let sent = wanted.iter().map(|(id, name, queue, _)| (*id, (*name).to_owned(), *queue)).collect();
        if let Ok(answer) = self.split().0.send(Ack::Confirmed, &wanted) {
            self.waiting.push((sent, answer));
        }
    }

    /// A random but repeatable course of events, until something is down.
    fn run(&mut self, random: &mut Random, rounds: usize) {
        for _ in 0..rounds {
            if self.is_down() {
                return;
            }
            let which = random.below(2) as usize;
            match random.below(48) {
                0..=9 => self.append(random),
                10..=15 => {
                    self.split().0.steps.write();
                }
                16..=21 => {
                    let (master, follower) = self.split();
                    let _ = stream(master, follower, 1500, 4);
                }
                22..=27 => self.confirm(),
                28..=31 => {
                    self.nodes[which].steps.flush();
                }
                32..=34 => {
                    self.nodes[which].steps.checkpoint();
                }
                35..=37 => {
                    let _ = self.nodes[which].steps.prepare_segment();
                    self.nodes[which].steps.index();
                }
                40..=47 => {
                    let (master, follower) = self.split();
                    master.steps.write();
                    let _ = stream(master, follower, 1500, 20);
                    master.steps.flush();
                    follower.steps.flush();
                    self.confirm();
                }
                38 if self.whole[1 - self.master] => self.take_over(1 - self.master),
                _ => {
                    let again = self.master;
                    let _ = self.nodes[again].follow();
                    self.take_over(again);
                }
            }
        }
    }

    fn seen(&self) -> [Visible; 2] {
        [0, 1].map(|which| self.nodes[which].visible())
    }

    /// Whoever is down comes back; who may lead does; both become the same.
    fn recover(&mut self, crash: Crash) {
        let down = self.nodes.each_ref().map(|node| node.disk.is_down() || node.store.poisoned());
        for (node, down) in self.nodes.iter_mut().zip(down) {
            if down {
                node.restart(crash);
            }
        }
        // With sync flush, or the process alone gone, a replica has all that was confirmed; else only the other one.
        for (whole, down) in self.whole.iter_mut().zip(down) {
            *whole &= !(down && crash == Crash::Machine && self.flush == Flush::Async);
        }
        let who = if self.whole[self.master] { self.master } else { 1 - self.master };
        assert!(self.whole[who], "one disk fails at a time");
        if !down[self.master] {
            let _ = self.split().0.follow();
        }
        self.waiting.clear();
        self.take_over(who);
        self.catch_up();
    }

    fn catch_up(&mut self) {
        let (master, follower) = self.split();
        master.steps.write();
        stream_all(master, follower);
        master.steps.flush();
        follower.steps.flush();
        self.confirm();
        assert_eq!(self.whole, [true, true]);
    }

    fn check(&mut self, seen: &[Visible; 2]) {
        let [a, b] = &self.nodes;
        assert_eq!(a.log(), b.log());
        assert_eq!(a.store.epochs(), b.store.epochs());
        a.assert_clean_end();
        b.assert_clean_end();
        let visible = a.visible();
        assert_eq!(visible, b.visible());
        for (id, (name, queue, offset, at)) in &self.acked {
            let ids = visible.get(&(name.clone(), *queue)).expect("acknowledged records are there");
            assert_eq!(ids.get(*offset as usize), Some(&(*id, *at)), "acknowledged record {id}");
        }
        for (queue, ids) in seen.iter().flatten() {
            assert!(visible.get(queue).is_some_and(|now| now.starts_with(ids)), "{queue:?} was shown");
        }
    }
}

fn crash_everywhere(seed: u64, flush: Flush, crash: Crash, which: usize) {
    let rounds = 120;
    let total = {
        let mut group = Group::new(seed, flush);
        let before = group.nodes[which].disk.steps();
        group.run(&mut Random::new(seed), rounds);
        assert!(group.acked.len() > 10, "{} records confirmed", group.acked.len());
        group.nodes[which].disk.steps() - before
    };
    assert!(total > 20, "the course of events reaches the disk: {total}");
    for step in 1..=total {
        println!("seed {seed}, crash at step {step} of {total}");
        let mut group = Group::new(seed, flush);
        group.nodes[which].disk.fault_after(Some((step, Fault::Crash)));
        group.run(&mut Random::new(seed), rounds);
        group.settle();
        let seen = if group.nodes[which].disk.is_down() {
            // A disk that is down cannot be read; the other one can.
            let mut seen = [Visible::new(), Visible::new()];
            seen[1 - which] = group.nodes[1 - which].visible();
            seen
        } else {
            group.seen()
        };
        group.recover(crash);
        group.check(&seen);
        // Go on from there, and through a clean restart of both.
        group.run(&mut Random::new(seed ^ step), rounds / 4);
        group.settle();
        let seen = group.seen();
        group.recover(crash);
        group.check(&seen);
        for node in &mut group.nodes {
            let shown = node.visible();
            node.store.close();
            node.restart(Crash::Machine);
            assert_eq!(node.visible(), shown);
        }
    }
}

#[test]
fn a_process_killed_at_every_step_of_either_disk_loses_nothing_confirmed() {
    for which in [0, 1] {
        crash_everywhere(1, Flush::Async, Crash::Process, which);
        crash_everywhere(2, Flush::Sync, Crash::Process, which);
    }
}

#[test]
fn a_machine_lost_at_every_step_of_either_disk_loses_nothing_confirmed() {
    for which in [0, 1] {
        crash_everywhere(3, Flush::Async, Crash::Machine, which);
        crash_everywhere(4, Flush::Sync, Crash::Machine, which);
    }
}

#[test]
fn many_courses_without_a_fault_end_in_the_same_bytes() {
    for seed in 100..160 {
        let flush = if seed % 2 == 0 { Flush::Async } else { Flush::Sync };
        let mut group = Group::new(seed, flush);
        group.run(&mut Random::new(seed), 400);
        group.settle();
        let seen = group.seen();
        group.recover(Crash::Process);
        group.check(&seen);
        assert!(group.epoch > 3 && group.acked.len() > 20, "epoch {}, {}", group.epoch, group.acked.len());
    }
}
