//! What goes wrong, and how it is mended.

use std::time::Duration;

use bolide_store::{
    Flush,
    disk::{Crash, Fault as DiskFault},
};
use bolide_wire::message::RecordRef;

use crate::{
    network::link,
    node::StartError,
    world::{What, World},
};

/// Something that goes wrong, or is mended.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    Kill(usize),
    PowerLoss(usize),
    AllPowerLoss,
    Pause(usize),
    Stop(usize),
    Cut { from: usize, to: usize, both: bool },
    Heal,
    ApiAway,
    ApiBack,
    ApiCutOff(usize),
    SlowDisk(usize),
    FullDisk(usize),
    FreeDisk(usize),
    DiskError(usize),
    DiskDies(usize),
    Wipe(usize),
    Switchover(usize),
    ClockJump(usize),
    StateRecreated,
    StateRestored,
}

impl World {
    pub(crate) fn on_fault(&mut self, fault: Option<Fault>) {
        let Some(fault) = fault else {
            if self.ending {
                return;
            }
            let mean = u64::try_from(self.plan.fault_every.as_millis()).unwrap_or(1);
            let pause = self.random.millis(mean / 4, mean * 2);
            self.after(pause, What::Fault(None));
            let fault = self.choose();
            self.apply(fault);
            return;
        };
        self.apply(fault);
    }

    fn choose(&mut self) -> Fault {
        let node = self.random.index(self.nodes.len());
        let other = (node + 1 + self.random.index(self.nodes.len() - 1)) % self.nodes.len();
        match self.random.below(100) {
            0..20 => Fault::Kill(node),
            20..28 => Fault::PowerLoss(node),
            28..30 => Fault::AllPowerLoss,
            30..38 => Fault::Pause(node),
            38..42 => Fault::Stop(node),
            42..54 => Fault::Cut { from: node, to: other, both: self.random.chance(500) },
            54..58 => Fault::ApiAway,
            58..62 => Fault::ApiCutOff(node),
            62..69 => Fault::SlowDisk(node),
            69..73 => Fault::FullDisk(node),
            73..77 => Fault::DiskError(node),
            77..83 => Fault::DiskDies(node),
            83..86 => Fault::Wipe(node),
            86..94 => Fault::Switchover(node),
            94..97 => Fault::ClockJump(node),
            _ => Fault::StateRecreated,
        }
    }

    fn apply(&mut self, fault: Fault) {
        self.say(|| format!("FAULT {fault:?}"));
        match fault {
            Fault::Kill(node) => self.end(node, Crash::Process),
            Fault::PowerLoss(node) => {
                if self.may_lose_unsynced(node) {
                    self.end(node, Crash::Machine);
                }
            }
            Fault::AllPowerLoss => {
                if self.plan.flush == Flush::Sync {
                    for node in 0..self.nodes.len() {
                        self.end(node, Crash::Machine);
                    }
                }
            }
            Fault::Pause(node) => {
                if self.nodes[node].process.is_some() && !self.nodes[node].paused {
                    self.nodes[node].paused = true;
                    let time = self.random.millis(100, 5000);
                    self.after(time, What::Continue(node));
                }
            }
            Fault::Stop(node) => self.close_cleanly(node),
            Fault::Cut { from, to, both } => {
                self.network.cut(from, to);
                if both {
                    self.network.cut(to, from);
                }
                let time = self.random.millis(200, 6000);
                self.after(time, What::Fault(Some(Fault::Heal)));
            }
            Fault::Heal => self.heal(),
            Fault::ApiAway => {
                self.api.away = true;
                let time = self.random.millis(200, 6000);
                self.after(time, What::Fault(Some(Fault::ApiBack)));
            }
            Fault::ApiCutOff(node) => {
                self.api.cut_off[node] = true;
                let time = self.random.millis(200, 6000);
                self.after(time, What::Fault(Some(Fault::ApiBack)));
            }
            Fault::ApiBack => {
                self.api.away = false;
                self.api.cut_off.fill(false);
            }
            Fault::SlowDisk(node) => self.nodes[node].slow_until = self.now + self.random.millis(300, 4000),
            Fault::FullDisk(node) => {
                let room = self.random.below(20_000);
                let used = self.disk_use(node);
                self.nodes[node].disk.set_capacity(used + room);
                let time = self.random.millis(300, 4000);
                self.after(time, What::Fault(Some(Fault::FreeDisk(node))));
            }
            Fault::FreeDisk(node) => self.nodes[node].disk.set_capacity(u64::MAX),
            Fault::DiskError(node) => {
                let steps = 1 + self.random.below(20);
                self.nodes[node].disk.fault_after(Some((steps, DiskFault::Fail)));
            }
            Fault::DiskDies(node) => {
                let steps = 1 + self.random.below(30);
                self.nodes[node].disk.fault_after(Some((steps, DiskFault::Crash)));
            }
            Fault::Wipe(node) => {
                if self.may_be_emptied(node) {
                    self.end(node, Crash::Machine);
                    self.nodes[node].wipe();
                }
            }
            Fault::Switchover(node) => {
                if !self.nodes[node].paused {
                    self.give(node, bolide_replication::Event::Switchover { to: None });
                }
            }
            Fault::ClockJump(node) => {
                let to = 1_600_000_000_000 + i64::try_from(self.random.below(200_000_000_000)).unwrap_or(0);
                self.nodes[node].clock.jump(to);
            }
            Fault::StateRecreated => {
                // A volume that was emptied as well could not know better.
                let state = self.api.state();
                let known = |node: &crate::node::Node| {
                    node.process.as_ref().is_some_and(|process| state.in_sync.contains(&process.member))
                };
                if self.nodes.iter().all(known) {
                    self.api.recreate(self.nodes[0].name.clone());
                    let time = self.random.millis(1000, 5000);
                    self.after(time, What::Fault(Some(Fault::StateRestored)));
                }
            }
            Fault::StateRestored => self.api.restore(),
        }
    }

    fn disk_use(&self, node: usize) -> u64 {
        let disk = &self.nodes[node].disk;
        let of = |path: &std::path::PathBuf| disk.contents(path).map_or(0, |bytes| bytes.len() as u64);
        disk.files().iter().map(of).sum()
    }

    /// Another member, running and as the group state knows it, holds all that this one might lose.
    fn may_be_emptied(&self, node: usize) -> bool {
        let state = self.api.state();
        let name = &self.nodes[node].name;
        let holds = |other: &crate::node::Node| {
            let known = other.process.as_ref().is_some_and(|process| state.in_sync.contains(&process.member));
            other.name != *name && known
        };
        self.nodes.iter().any(holds)
    }

    /// Whether losing unsynced bytes here breaks no promise: with synchronous flush never, else only when another holds them.
    fn may_lose_unsynced(&self, node: usize) -> bool {
        self.plan.flush == Flush::Sync || self.may_be_emptied(node)
    }

    /// The end of a process, or of its machine.
    pub(crate) fn end(&mut self, node: usize, crash: Crash) {
        if self.nodes[node].process.is_none() {
            return;
        }
        self.say(|| format!("r{node} ends: {crash:?}, {}", self.holdings(node)));
        self.nodes[node].process = None;
        self.nodes[node].paused = false;
        if crash == Crash::Machine {
            self.void[node] = self.nodes[node].life;
        }
        self.forget_deferred(node);
        self.nodes[node].disk = self.nodes[node].disk.restart(crash);
        self.nodes[node].machine_up = crash == Crash::Process;
        for producer in &mut self.producers {
            producer.waits_for = None;
        }
        if crash == Crash::Process {
            self.break_connections(node);
        } else if self.random.chance(300) {
            self.leave_remains(node);
        }
        let pause =
            if self.random.chance(400) { self.random.millis(5, 300) } else { self.random.millis(300, 5000) };
        self.after(pause, What::Start(node));
    }

    /// The other ends of a dead process's connections learn it.
    fn break_connections(&mut self, node: usize) {
        for connection in 0..self.network.connections.len() {
            for end in 0..2 {
                let found = &mut self.network.connections[connection];
                if found.ends[end] == node && found.open[end] {
                    found.open[end] = false;
                    self.tell_broken(connection, 1 - end);
                }
            }
        }
    }

    /// A disk that lost power may give old bytes for what was not synced: here, an old record right after the log's end.
    fn leave_remains(&mut self, node: usize) {
        let disk = self.nodes[node].disk.clone();
        let of_log = |path: &&std::path::PathBuf| path.parent().is_some_and(|dir| dir.ends_with("commitlog"));
        let files = disk.files();
        let mut logs: Vec<_> = files.iter().filter(of_log).collect();
        logs.sort();
        for path in logs {
            let Some(mut bytes) = disk.contents(path) else { continue };
            let (mut at, mut first) = (0_usize, None);
            while let Ok(record) = RecordRef::parse(&bytes[at..]) {
                first.get_or_insert(record.total_size());
                at += record.total_size();
            }
            let Some(len) = first else { continue };
            let room = bytes.len() - at;
            let nothing = bytes[at..].iter().take(len).all(|byte| *byte == 0);
            if at > len && room >= len && nothing {
                bytes.copy_within(0..len, at);
                disk.overwrite(path, &bytes);
                return;
            }
        }
    }

    /// A clean stop: the store is closed, and the mark of it is left.
    fn close_cleanly(&mut self, node: usize) {
        if self.nodes[node].paused {
            return;
        }
        let Some(process) = &mut self.nodes[node].process else { return };
        process.steps.write();
        process.store.close();
        let file = process.file.clone();
        let marks = process.store.watermarks();
        let clean = !process.store.poisoned() && marks.flushed == marks.appended;
        if clean && self.nodes[node].mark_closed(&file).is_ok() {
            self.say(|| format!("r{node} is closed"));
            self.end(node, Crash::Process);
            return;
        }
        self.end(node, Crash::Process);
    }

    /// The store or its disk has failed: the shell says so, and ends the process.
    pub(crate) fn disk_failed(&mut self, node: usize) {
        let down = self.nodes[node].disk.is_down();
        self.say(|| format!("r{node}: its disk failed, down: {down}"));
        if down {
            let machine = self.random.chance(500) && self.may_lose_unsynced(node);
            self.end(node, if machine { Crash::Machine } else { Crash::Process });
            return;
        }
        let Some(process) = &mut self.nodes[node].process else { return };
        let mut effects = Vec::new();
        process.replica.handle(self.now, bolide_replication::Event::StoreFailed, &mut effects);
        for effect in effects {
            if let bolide_replication::Effect::Send { link, message } = effect {
                self.send(link, message);
            }
        }
        // The kernel forgets what a failed fsync could not write: gone with the next power loss, so let that be now. Where no other
        // replica could bear that, the kernel has written it after all.
        let crash = if self.may_lose_unsynced(node) {
            Crash::Machine
        } else {
            self.write_after_all(node);
            Crash::Process
        };
        self.end(node, crash);
    }

    /// The kernel writes what an fsync has failed for.
    fn write_after_all(&self, node: usize) {
        let disk = &self.nodes[node].disk;
        for path in disk.files() {
            if let Some(bytes) = disk.contents(&path) {
                disk.overwrite(&path, &bytes);
            }
        }
    }

    pub(crate) fn start(&mut self, node: usize) {
        if self.nodes[node].process.is_some() {
            return;
        }
        if !std::mem::replace(&mut self.nodes[node].machine_up, true) {
            self.break_connections(node);
        }
        let peers = self.nodes.iter().filter(|other| other.name != self.nodes[node].name);
        let peers = peers.map(|other| other.name.clone()).collect();
        let (plan, now) = (self.plan.clone(), self.now);
        match self.nodes[node].start(&plan, peers, now) {
            Ok(()) => {
                let life = self.nodes[node].life;
                self.say(|| format!("r{node} starts its life {life}: {}", self.holdings(node)));
                self.after(Duration::ZERO, What::Event(node, life, bolide_replication::Event::Tick));
                let pause = self.random.millis(100, 1500);
                self.after(pause, What::Checkpoint(node, life));
            }
            Err(error) => self.on_start_failed(node, &error),
        }
    }

    /// For people: what a replica has.
    fn holdings(&self, node: usize) -> String {
        let Some(process) = &self.nodes[node].process else { return String::new() };
        let queue = |id| {
            process.store.queue(crate::clients::TOPIC, bolide_wire::QueueId(id)).map(|queue| queue.max().0)
        };
        let queues: Vec<_> = (0..crate::clients::QUEUES).map(queue).collect();
        format!("{:?}, {:?}, queues {queues:?}", process.member.incarnation, process.store.watermarks())
    }

    fn on_start_failed(&mut self, node: usize, error: &StartError) {
        self.nodes[node].process = None;
        if !error.of_disk {
            self.history.fail(format!("r{node} cannot open its store: {}", error.why));
            return;
        }
        self.say(|| format!("r{node} does not start: {}", error.why));
        self.nodes[node].disk = self.nodes[node].disk.restart(Crash::Process);
        self.write_after_all(node);
        let pause = self.random.millis(50, 500);
        self.after(pause, What::Start(node));
    }

    /// All partitions end. What was said into them comes late, or the connection does not survive.
    pub(crate) fn heal(&mut self) {
        for (from, to) in self.network.heal() {
            for connection in 0..self.network.connections.len() {
                for end in 0..2 {
                    let found = &mut self.network.connections[connection];
                    if found.ends[1 - end] != from || found.ends[end] != to {
                        continue;
                    }
                    let held = std::mem::take(&mut found.held[end]);
                    let (open, other_open) = (found.open[end], found.open[1 - end]);
                    if open && other_open && self.random.chance(600) {
                        for message in held {
                            self.carry(connection, end, message);
                        }
                    } else if open {
                        // Reset, or the other end went away during the partition.
                        let other = self.network.connections[connection].ends[1 - end];
                        let life = self.network.connections[connection].lives[1 - end];
                        self.tell_broken(connection, end);
                        if other_open && self.nodes[other].life == life {
                            self.after(Duration::from_millis(1), What::Broken { connection, end: 1 - end });
                        }
                        self.say(|| format!("connection {:?} is reset", link(connection, end)));
                    }
                }
            }
        }
    }

    /// The end of all faults.
    pub(crate) fn mend(&mut self) {
        self.ending = true;
        self.heal();
        self.api.away = false;
        self.api.cut_off.fill(false);
        self.api.restore();
        for node in 0..self.nodes.len() {
            self.nodes[node].disk.set_capacity(u64::MAX);
            self.nodes[node].disk.fault_after(None);
            self.nodes[node].slow_until = Duration::ZERO;
            self.go_on(node);
            if self.nodes[node].process.is_none() {
                self.start(node);
            }
        }
    }
}
