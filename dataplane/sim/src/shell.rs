//! What a broker's shell does: effects of the replica become work of the store, the network and the API server, and what these answer
//! becomes events.

use std::{sync::PoisonError, time::Duration};

use bolide_replication::{
    Acknowledging, Batch, CasOutcome, Effect, Event, GroupState, LinkId, Message, RawFailure, Role,
    SendFailure, TruncateFailure, Unavailable, codec,
};
use bolide_store::{RawError, RoleError};
use bytes::BytesMut;

use crate::{
    network::{end_of, link},
    node::{Callback, tell},
    world::{What, World},
};

/// Time that a request to an API server that is away takes to fail.
const API_PATIENCE: Duration = Duration::from_millis(250);
/// Time that a dial into nothing takes to fail.
const DIAL_PATIENCE: Duration = Duration::from_millis(400);

impl World {
    /// Tells a replica something, and does what it wants.
    pub(crate) fn give(&mut self, node: usize, event: Event) {
        let now = self.now;
        let Some(process) = &mut self.nodes[node].process else { return };
        if self.verbose && !matches!(event, Event::Tick | Event::Progress { .. } | Event::Received { .. }) {
            println!("{:>10.4} r{node} <- {event:?}", now.as_secs_f64());
        }
        let mut effects = Vec::new();
        process.replica.handle(now, event, &mut effects);
        for effect in effects {
            self.perform(node, effect);
            if self.nodes[node].process.is_none() {
                return;
            }
        }
        self.after_store(node);
        let life = self.nodes[node].life;
        if let Some(process) = &mut self.nodes[node].process {
            let wake_at = process.replica.wake_at();
            if wake_at < process.wake_planned || process.wake_planned <= now {
                process.wake_planned = wake_at;
                self.at(wake_at, What::Wake(node, life));
            }
        }
    }

    pub(crate) fn on_wake(&mut self, node: usize) {
        if let Some(process) = &mut self.nodes[node].process
            && process.wake_planned <= self.now
        {
            process.wake_planned = Duration::MAX;
            self.give(node, Event::Tick);
        }
    }

    fn perform(&mut self, node: usize, effect: Effect) {
        let life = self.nodes[node].life;
        if self.verbose
            && !matches!(effect, Effect::Send { .. } | Effect::SendLog { .. } | Effect::AppendRaw { .. })
        {
            println!("{:>10.4} r{node} -> {effect:?}", self.now.as_secs_f64());
        }
        match effect {
            Effect::PersistSeen(seen) => {
                if self.nodes[node].persist(seen).is_err() {
                    self.disk_failed(node);
                }
            }
            Effect::LoadState => {
                let delay = self.random.micros(300, 8000);
                self.after(delay, What::Load(node, life));
            }
            Effect::CompareAndSet { version, new } => {
                let delay = self.random.micros(300, 8000);
                self.after(delay, What::CompareAndSet { node, life, version, new, answered: true });
            }
            Effect::Dial { peer } => {
                let Some(to) = self.index_of(&peer) else { return };
                let delay = self.random.micros(50, 1000);
                self.after(delay, What::Dial(node, life, to));
            }
            Effect::Send { link, message } => self.send(link, message),
            Effect::SendLog { link, epoch, session, from, max_bytes, confirm } => {
                let Some(process) = &self.nodes[node].process else { return };
                let result = match process.store.log_slice(from, max_bytes as usize) {
                    Ok(bytes) => {
                        let to = bolide_wire::LogOffset(from.0 + bytes.len() as u64);
                        if !bytes.is_empty() {
                            let batch = Batch { epoch, session, offset: from, confirm, bytes };
                            self.send(link, Message::Batch(batch));
                        }
                        Ok(to)
                    }
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(SendFailure::Gone),
                    Err(_) => Err(SendFailure::Failed),
                };
                let delay = self.random.micros(5, 300);
                self.after(delay, What::Event(node, life, Event::LogSent { link, session, result }));
            }
            Effect::Close { link } => self.close(link),
            Effect::Role(role) => self.on_role(node, role),
            Effect::NeedSnapshot { .. } => {
                self.history.fail(format!("I8: r{node} has shown what a new master does not have"));
            }
            Effect::HoldSends => {
                let Some(process) = &mut self.nodes[node].process else { return };
                process.held = Some(Vec::new());
                process.steps.write();
                tell(&process.callbacks, Callback::Held);
            }
            Effect::ReleaseSends => self.release(node),
            Effect::ForwardTo { master } => {
                if let Some(process) = &mut self.nodes[node].process {
                    process.forward = Some(master);
                }
                self.release(node);
            }
            effect => self.perform_on_store(node, effect),
        }
    }

    fn perform_on_store(&mut self, node: usize, effect: Effect) {
        let Some(process) = &mut self.nodes[node].process else { return };
        let callbacks = process.call_back();
        match effect {
            Effect::Follow => {
                process.store.follow(Box::new(move |_| tell(&callbacks, Callback::Follows)));
            }
            Effect::Lead { epoch } => {
                let name = process.member.name.to_string();
                let done = Box::new(move |result: Result<_, RoleError>| {
                    tell(&callbacks, Callback::Led(epoch, result.is_ok()));
                });
                process.store.lead(epoch.0, &name, done);
            }
            Effect::Truncate { to } => {
                let done = Box::new(move |result: Result<_, RoleError>| {
                    let failure = result.err().map(|error| match error {
                        RoleError::Confirmed { .. } => TruncateFailure::Shown,
                        _ => TruncateFailure::Refused,
                    });
                    tell(&callbacks, Callback::Truncated(failure));
                });
                process.store.truncate(to, done);
            }
            Effect::AppendRaw { at, bytes } => {
                let done = Box::new(move |result: Result<_, RawError>| {
                    let failure = result.err().map(|error| match error {
                        RawError::Gap { .. } => RawFailure::Gap,
                        RawError::Malformed { .. } => RawFailure::Malformed,
                        RawError::DiskFull => RawFailure::DiskFull,
                        _ => RawFailure::Refused,
                    });
                    tell(&callbacks, Callback::Raw(failure));
                });
                process.store.append_raw(at, bytes, done);
            }
            Effect::SetConfirmed(offset) => {
                process.store.set_confirmed(offset);
                while process.steps.dispatch() {}
            }
            Effect::SetAcknowledging(to) => process.store.set_acknowledging(match to {
                Acknowledging::Yes => bolide_store::Acknowledging::Yes,
                Acknowledging::Until(time) => bolide_store::Acknowledging::Until(time),
                Acknowledging::No => bolide_store::Acknowledging::No,
            }),
            _ => {}
        }
        self.plan_write(node);
    }

    fn on_role(&mut self, node: usize, role: Role) {
        let life = self.nodes[node].life;
        let Some(process) = &mut self.nodes[node].process else { return };
        if let Role::Master { epoch, serving, .. } = &role {
            process.forward = None;
            self.history.epochs = self.history.epochs.max(epoch.0);
            if *serving && !std::mem::replace(&mut process.pointing, true) {
                self.after(Duration::ZERO, What::Point(node, life));
            }
        }
        if let Some(process) = &mut self.nodes[node].process {
            process.role = role;
        }
    }

    fn release(&mut self, node: usize) {
        let held = self.nodes[node].process.as_mut().and_then(|process| process.held.take());
        for request in held.unwrap_or_default() {
            self.on_ask(node, request);
        }
    }

    /// The holder of the role keeps the Service pointed at itself.
    pub(crate) fn on_point(&mut self, node: usize) {
        let life = self.nodes[node].life;
        let (name, reachable) = (self.nodes[node].name.clone(), self.api.reachable(node));
        let Some(process) = &mut self.nodes[node].process else { return };
        let Role::Master { epoch, serving: true, .. } = process.role else {
            process.pointing = false;
            return;
        };
        if reachable {
            let service = &mut self.api.service;
            let ours = service.target.as_ref() == Some(&name);
            match bolide_replication::point(service.epoch, ours, epoch) {
                bolide_replication::Pointing::Held => {}
                bolide_replication::Pointing::Lost => {
                    process.pointing = false;
                    return;
                }
                bolide_replication::Pointing::Write => {
                    if epoch < service.epoch {
                        let text = format!(
                            "r{node} points the Service at itself in epoch {epoch}, over {}",
                            service.epoch
                        );
                        self.history.fail(text);
                        return;
                    }
                    service.target = Some(name);
                    service.epoch = epoch;
                    service.version += 1;
                }
            }
        }
        let again = self.random.millis(60, 400);
        self.after(again, What::Point(node, life));
    }

    pub(crate) fn on_load(&mut self, node: usize, life: u64) {
        let (delay, answer) = if self.api.reachable(node) {
            let found = self.api.load(&mut self.random, self.plan.stale * u64::from(!self.ending));
            (self.random.micros(300, 8000), Ok(Some(found)))
        } else {
            (API_PATIENCE, Err(Unavailable))
        };
        self.after(delay, What::Event(node, life, Event::StateLoaded(answer)));
    }

    pub(crate) fn on_compare_and_set(
        &mut self,
        node: usize,
        life: u64,
        version: &str,
        new: GroupState,
        answered: bool,
    ) {
        let Some(by) = new.master.clone().filter(|_| life > self.void[node]) else { return };
        let (mut delay, mut outcome) = (API_PATIENCE, CasOutcome::Unknown);
        if self.api.reachable(node) || !answered {
            match self.api.compare_and_set(&by, version, new) {
                Ok(done) => {
                    self.say(|| format!("r{node} sets {:?}: {done:?}", self.api.state()));
                    let lost = self.random.chance(self.plan.lost_answers * u64::from(!self.ending));
                    if !lost {
                        (delay, outcome) = (self.random.micros(300, 8000), done);
                    }
                }
                Err(broken) => self.history.fail(broken),
            }
        } else if self.random.chance(300) {
            // It is on its way all the same, and arrives when nobody expects it any more.
            let late = self.random.millis(100, 3000);
            let version = version.to_owned();
            self.after(late, What::CompareAndSet { node, life, version, new, answered: false });
        }
        if answered {
            self.after(delay, What::Event(node, life, Event::CasDone(outcome)));
        }
    }

    pub(crate) fn on_dial(&mut self, from: usize, life: u64, to: usize) {
        let peer = self.nodes[to].name.clone();
        let passes =
            !self.network.is_cut(from, to) && !self.network.is_cut(to, from) && self.nodes[to].machine_up;
        if !passes || self.nodes[to].process.is_none() {
            let (delay, refused) =
                if passes { (Duration::from_micros(300), true) } else { (DIAL_PATIENCE, false) };
            self.after(delay, What::Event(from, life, Event::DialFailed { peer, refused }));
            return;
        }
        if self.nodes[from].life != life {
            return;
        }
        let other = self.nodes[to].life;
        let connection = self.network.connect((from, life), (to, other));
        let delay = self.random.micros(50, 500);
        self.after(delay, What::Event(from, life, Event::Dialed { peer, link: link(connection, 0) }));
        self.after(Duration::ZERO, What::Event(to, other, Event::Accepted { link: link(connection, 1) }));
    }

    /// Says something on a connection.
    pub(crate) fn send(&mut self, from: LinkId, message: Message) {
        let (connection, end) = end_of(from);
        let Some(found) = self.network.connections.get(connection) else { return };
        let other = 1 - end;
        if !found.open[end] {
            return;
        }
        if self.network.is_cut(found.ends[end], found.ends[other]) {
            if let Some(found) = self.network.connections.get_mut(connection) {
                found.held[other].push(message);
            }
            return;
        }
        self.carry(connection, other, message);
    }

    /// Takes a message towards an end.
    pub(crate) fn carry(&mut self, connection: usize, end: usize, message: Message) {
        let mut delay = self.random.micros(50, 1500);
        if self.random.chance(5) {
            delay += self.random.millis(1, 200);
        }
        let at = self.now + delay;
        if self.random.chance(self.plan.disorder) {
            self.at(
                at + Duration::from_millis(20),
                What::Arrive { connection, end, message: message.clone() },
            );
            if self.random.chance(500) {
                return;
            }
        }
        if let Some(found) = self.network.connections.get_mut(connection) {
            let at = at.max(found.not_before[end]);
            found.not_before[end] = at;
            self.at(at, What::Arrive { connection, end, message });
        }
    }

    pub(crate) fn on_arrive(&mut self, connection: usize, end: usize, message: Message) {
        let Some(found) = self.network.connections.get(connection) else { return };
        if !found.open[end] {
            return;
        }
        let node = found.ends[end];
        let (head, payload) = codec::encode(&message);
        let mut bytes = BytesMut::from(&head[..]);
        bytes.extend_from_slice(&payload);
        match codec::decode(&mut bytes) {
            Ok(Some(read)) if read == message => {}
            other => self.history.fail(format!("{message:?} became {other:?}")),
        }
        self.give(node, Event::Received { link: link(connection, end), message });
    }

    /// One end closes a connection.
    fn close(&mut self, from: LinkId) {
        let (connection, end) = end_of(from);
        let Some(found) = self.network.connections.get_mut(connection) else { return };
        found.open[end] = false;
        self.tell_broken(connection, 1 - end);
    }

    /// The other end of a connection has gone: this one learns it, if the network lets it.
    pub(crate) fn tell_broken(&mut self, connection: usize, end: usize) {
        let Some(found) = self.network.connections.get(connection) else { return };
        if found.open[end] && !self.network.is_cut(found.ends[1 - end], found.ends[end]) {
            let at = (self.now + self.random.micros(50, 1500)).max(found.not_before[end]);
            self.at(at, What::Broken { connection, end });
        }
    }

    /// The store has something to write.
    pub(crate) fn plan_write(&mut self, node: usize) {
        let life = self.nodes[node].life;
        let delay = self.disk_delay(node, 20, 400);
        if let Some(process) = &mut self.nodes[node].process
            && !std::mem::replace(&mut process.write_planned, true)
        {
            self.after(delay, What::Write(node, life));
        }
    }

    fn disk_delay(&mut self, node: usize, from_us: u64, to_us: u64) -> Duration {
        let slow = self.nodes[node].slow_until > self.now;
        if slow { self.random.millis(20, 1500) } else { self.random.micros(from_us, to_us) }
    }

    pub(crate) fn on_write(&mut self, node: usize) {
        if let Some(process) = &mut self.nodes[node].process {
            process.write_planned = false;
            process.steps.write();
            while process.steps.dispatch() {}
        }
        self.after_store(node);
    }

    pub(crate) fn on_flush(&mut self, node: usize) {
        if let Some(process) = &mut self.nodes[node].process {
            process.flush_planned = false;
            process.steps.flush();
            while process.steps.dispatch() {}
        }
        self.after_store(node);
    }

    pub(crate) fn on_checkpoint(&mut self, node: usize) {
        let life = self.nodes[node].life;
        let pause = self.random.millis(200, 2500);
        self.after(pause, What::Checkpoint(node, life));
        if let Some(process) = &mut self.nodes[node].process {
            let made = process.steps.checkpoint();
            while process.steps.index() {}
            if made && self.random.chance(500) {
                let marks = process.store.watermarks();
                if marks.checkpoint == marks.dispatched {
                    let offsets = process.projection.offsets();
                    self.nodes[node].snapshot =
                        crate::projection::Snapshot { covers: marks.checkpoint, offsets };
                }
            }
        }
        self.after_store(node);
    }

    /// After the store was given something to do: what it called back, whether it moved, whether it still works.
    pub(crate) fn after_store(&mut self, node: usize) {
        let life = self.nodes[node].life;
        let Some(process) = &self.nodes[node].process else { return };
        if process.store.poisoned() || self.nodes[node].disk.is_down() {
            self.disk_failed(node);
            return;
        }
        if let Some(wrong) = process.projection.wrong() {
            self.history.fail(format!("r{node}: {wrong}"));
        }
        let found: Vec<Callback> =
            process.callbacks.lock().unwrap_or_else(PoisonError::into_inner).drain(..).collect();
        let moved = process.projection.take_progress();
        let marks = process.store.watermarks();
        let behind = marks.flushed < marks.appended;
        for callback in found {
            if let Callback::Appended(request, placed) = callback {
                self.on_appended(node, request, placed);
                continue;
            }
            let at = self.told_at(node);
            self.at(at, What::Callback(node, life, callback));
        }
        if moved {
            let at = self.told_at(node);
            self.at(at, What::Progress(node, life));
        }
        if behind {
            let delay = match self.plan.flush {
                bolide_store::Flush::Sync => self.disk_delay(node, 200, 3000),
                bolide_store::Flush::Async => self.disk_delay(node, 20_000, 400_000),
            };
            if let Some(process) = &mut self.nodes[node].process
                && !std::mem::replace(&mut process.flush_planned, true)
            {
                self.after(delay, What::Flush(node, life));
            }
        }
    }

    /// When the replica hears what its store has just said: in order, and perhaps not at once.
    fn told_at(&mut self, node: usize) -> Duration {
        let delay = self.random.micros(0, self.plan.callback_us);
        let now = self.now;
        let Some(process) = &mut self.nodes[node].process else { return now };
        process.told_at = process.told_at.max(now + delay);
        process.told_at
    }

    pub(crate) fn on_progress(&mut self, node: usize) {
        let Some(process) = &self.nodes[node].process else { return };
        let marks = process.store.watermarks();
        self.give(node, Event::Progress { appended: marks.appended, flushed: marks.flushed });
    }

    pub(crate) fn on_callback(&mut self, node: usize, callback: Callback) {
        let Some(process) = &self.nodes[node].process else { return };
        let event = match callback {
            Callback::Led(epoch, led) => Event::Leading { epoch, log: led.then(|| process.view()) },
            Callback::Follows => Event::Following(process.view()),
            Callback::Raw(None) => Event::RawAppended(Ok(process.view())),
            Callback::Raw(Some(failure)) => Event::RawAppended(Err(failure)),
            Callback::Truncated(None) => Event::Truncated(Ok(process.view())),
            Callback::Truncated(Some(failure)) => Event::Truncated(Err(failure)),
            Callback::Held => Event::SendsHeld,
            Callback::Appended(request, placed) => {
                self.on_appended(node, request, placed);
                return;
            }
        };
        self.give(node, event);
    }
}
