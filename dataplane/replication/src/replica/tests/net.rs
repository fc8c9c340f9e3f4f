//! A network of replicas with logs in memory. Every log byte is its epoch's number, an epoch record is one byte, so equal bytes are
//! an equal history.

use std::{collections::VecDeque, time::Duration};

use bolide_wire::LogOffset;

use crate::{
    Acknowledging, Batch, CasOutcome, Config, Effect, Epoch, EpochStart, Event, GroupState, Identity,
    Incarnation, LinkId, LogView, Member, Message, RawFailure, Replica, ReplicaName, Role, Seen,
    TruncateFailure, Unavailable, Versioned,
};

pub(super) struct Node {
    pub(super) replica: Option<Replica>,
    pub(super) log: Vec<u8>,
    pub(super) flushed: u64,
    pub(super) flushes: bool,
    pub(super) confirmed: u64,
    pub(super) acknowledging: Acknowledging,
    pub(super) role: Role,
    pub(super) held: bool,
    pub(super) forwarded_to: Option<ReplicaName>,
    incarnation: u64,
    seen: Option<Seen>,
}

impl Node {
    pub(super) fn replica(&self) -> &Replica {
        self.replica.as_ref().expect("runs")
    }

    fn view(&self) -> LogView {
        let mut epochs: Vec<EpochStart> = Vec::new();
        for (at, byte) in self.log.iter().enumerate() {
            let epoch = Epoch(u64::from(*byte));
            if epochs.last().map_or(Epoch(0), |last| last.epoch) != epoch {
                epochs.push(EpochStart { epoch, start: LogOffset(at as u64) });
            }
        }
        LogView {
            min: LogOffset(0),
            end: LogOffset(self.log.len() as u64),
            flushed: LogOffset(self.flushed),
            epochs: epochs.into(),
        }
    }
}

pub(super) struct Net {
    pub(super) nodes: Vec<Node>,
    pub(super) now: Duration,
    pub(super) state_away: Vec<bool>,
    pub(super) cas_answers_lost: bool,
    config: Box<dyn Fn(&mut Config)>,
    state: Versioned,
    events: VecDeque<(usize, Event)>,
    links: Vec<(usize, usize)>,
    cut: Vec<(usize, usize)>,
}

impl Net {
    pub(super) fn new(count: usize) -> Self {
        Self::with(count, |_| {})
    }

    pub(super) fn with(count: usize, config: impl Fn(&mut Config) + 'static) -> Self {
        let node = |at| Node {
            replica: None,
            log: Vec::new(),
            flushed: 0,
            flushes: true,
            confirmed: 0,
            acknowledging: Acknowledging::No,
            role: Role::Waiting,
            held: false,
            forwarded_to: None,
            incarnation: 100 + at,
            seen: None,
        };
        let mut net = Self {
            nodes: (0..count as u64).map(node).collect(),
            now: Duration::from_secs(1),
            state_away: vec![false; count],
            cas_answers_lost: false,
            config: Box::new(config),
            state: Versioned { state: GroupState::new_group(name(0)), version: "1".into() },
            events: VecDeque::new(),
            links: Vec::new(),
            cut: Vec::new(),
        };
        for at in 0..count {
            net.events.push_back((at, Event::Tick));
        }
        net
    }

    pub(super) fn name(&self, at: usize) -> ReplicaName {
        name(at)
    }

    pub(super) fn state(&self) -> &GroupState {
        &self.state.state
    }

    pub(super) fn serving(&self) -> Option<usize> {
        let serves =
            |node: &Node| matches!(node.role, Role::Master { serving: true, acknowledging: true, .. });
        let mut found =
            self.nodes.iter().enumerate().filter(|(_, node)| node.replica.is_some() && serves(node));
        let first = found.next().map(|(at, _)| at);
        assert!(found.next().is_none(), "two masters serve at {:?}", self.now);
        first
    }

    pub(super) fn cut(&mut self, a: usize, b: usize, cut: bool) {
        self.cut.retain(|pair| *pair != (a, b) && *pair != (b, a));
        if cut {
            self.cut.extend([(a, b), (b, a)]);
        }
    }

    pub(super) fn start(&mut self, at: usize) {
        let node = &self.nodes[at];
        let peers = (0..self.nodes.len()).filter(|other| *other != at).map(name).collect();
        let mut config = Config::new("c", "g", peers);
        (self.config)(&mut config);
        let identity =
            Identity { member: Member::new(name(at), Incarnation(node.incarnation)), seen: node.seen };
        let replica = Replica::new(config, identity, node.view(), self.now);
        self.nodes[at].replica = Some(replica);
        self.events.push_back((at, Event::Tick));
    }

    pub(super) fn kill(&mut self, at: usize) {
        if self.nodes[at].replica.is_none() {
            self.start(at);
        }
        self.nodes[at].replica = None;
        self.nodes[at].role = Role::Waiting;
        self.nodes[at].confirmed = 0;
        self.events.retain(|(to, _)| *to != at);
        for link in 0..self.links.len() {
            let (from, to) = self.links[link];
            if from == at || to == at {
                self.drop_link(link);
            }
        }
    }

    pub(super) fn renew(&mut self, at: usize) {
        self.nodes[at].incarnation += 1000;
    }

    pub(super) fn wipe(&mut self, at: usize) {
        self.renew(at);
        self.nodes[at].log.clear();
        self.nodes[at].flushed = 0;
        self.nodes[at].seen = None;
    }

    pub(super) fn recreate(&mut self) {
        self.state = Versioned { state: GroupState::new_group(name(0)), version: "new".into() };
    }

    pub(super) fn force(&mut self, at: usize) {
        self.state = Versioned {
            state: GroupState::forced(name(at), self.state.state.seen()),
            version: "forced".into(),
        };
    }

    fn drop_link(&mut self, link: usize) {
        let (from, to) = self.links[link];
        self.links[link] = (usize::MAX, usize::MAX);
        for node in [from, to].into_iter().filter(|node| *node < self.nodes.len()) {
            if self.nodes[node].replica.is_some() {
                self.events.push_back((node, Event::LinkDown { link: LinkId(link as u64) }));
            }
        }
    }

    /// What was connected stays so for both, and carries nothing any more.
    pub(super) fn strand(&mut self) {
        self.links.fill((usize::MAX, usize::MAX));
    }

    pub(super) fn append(&mut self, at: usize, count: usize) {
        let epoch = self.nodes[at].log.last().copied().expect("leads");
        let len = self.nodes[at].log.len() + count;
        self.nodes[at].log.resize(len, epoch);
        self.progress(at);
    }

    fn progress(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        if node.flushes {
            node.flushed = node.log.len() as u64;
        }
        let (appended, flushed) = (LogOffset(node.log.len() as u64), LogOffset(node.flushed));
        self.give(at, Event::Progress { appended, flushed });
    }

    pub(super) fn run(&mut self, time: Duration) {
        self.run_until(time, |_| false);
    }

    pub(super) fn run_until(&mut self, time: Duration, done: impl Fn(&Self) -> bool) {
        for at in 0..self.nodes.len() {
            if self.nodes[at].replica.is_none() && self.events.iter().any(|(to, _)| *to == at) {
                self.start(at);
            }
        }
        let end = self.now + time;
        while self.now < end && !done(self) {
            while let Some((to, event)) = self.events.pop_front() {
                self.give(to, event);
            }
            self.now += Duration::from_millis(1);
            for at in 0..self.nodes.len() {
                if self.nodes[at].replica.as_ref().is_some_and(|replica| replica.wake_at() <= self.now) {
                    self.progress(at);
                }
            }
        }
    }

    pub(super) fn give(&mut self, at: usize, event: Event) {
        let mut effects = Vec::new();
        let Some(replica) = self.nodes[at].replica.as_mut() else { return };
        replica.handle(self.now, event, &mut effects);
        for effect in effects {
            self.perform(at, effect);
        }
    }

    fn later(&mut self, at: usize, event: Event) {
        self.events.push_back((at, event));
    }

    fn perform(&mut self, at: usize, effect: Effect) {
        match effect {
            Effect::PersistSeen(seen) => self.nodes[at].seen = Some(seen),
            Effect::LoadState => {
                let found = if self.state_away[at] { Err(Unavailable) } else { Ok(Some(self.state.clone())) };
                self.later(at, Event::StateLoaded(found));
            }
            Effect::CompareAndSet { version, new } => self.compare_and_set(at, &version, new),
            Effect::Follow => {
                let view = self.nodes[at].view();
                self.later(at, Event::Following(view));
            }
            Effect::Lead { epoch } => {
                self.nodes[at].log.push(u8::try_from(epoch.0).expect("few epochs"));
                self.nodes[at].flushed = self.nodes[at].log.len() as u64;
                let log = Some(self.nodes[at].view());
                self.later(at, Event::Leading { epoch, log });
            }
            Effect::Truncate { to } => {
                let node = &mut self.nodes[at];
                let result = if to.0 < node.confirmed {
                    Err(TruncateFailure::Shown)
                } else {
                    node.log.truncate(usize::try_from(to.0).expect("short"));
                    node.flushed = node.flushed.min(to.0);
                    Ok(node.view())
                };
                self.later(at, Event::Truncated(result));
            }
            Effect::AppendRaw { at: offset, bytes } => {
                let node = &mut self.nodes[at];
                let result = if offset.0 == node.log.len() as u64 {
                    node.log.extend_from_slice(&bytes);
                    node.flushed = if node.flushes { node.log.len() as u64 } else { node.flushed };
                    Ok(node.view())
                } else {
                    Err(RawFailure::Gap)
                };
                self.later(at, Event::RawAppended(result));
            }
            Effect::SetConfirmed(offset) => {
                let node = &mut self.nodes[at];
                assert!(offset.0 >= node.confirmed && offset.0 <= node.log.len() as u64);
                node.confirmed = offset.0;
            }
            Effect::SetAcknowledging(acknowledging) => self.nodes[at].acknowledging = acknowledging,
            Effect::Dial { peer } => self.dial(at, peer),
            Effect::Send { link, message } => self.send(at, link, message),
            Effect::SendLog { link, epoch, session, from, max_bytes, confirm } => {
                let start = usize::try_from(from.0).expect("short");
                let bytes: Vec<u8> =
                    self.nodes[at].log[start..].iter().copied().take(max_bytes as usize).collect();
                let to = LogOffset(from.0 + bytes.len() as u64);
                let batch = Batch { epoch, session, offset: from, confirm, bytes: bytes.into() };
                self.send(at, link, Message::Batch(batch));
                self.later(at, Event::LogSent { link, session, result: Ok(to) });
            }
            Effect::Close { link } => self.drop_link(usize::try_from(link.0).expect("few")),
            Effect::Role(role) => self.nodes[at].role = role,
            Effect::NeedSnapshot { .. } => {}
            Effect::HoldSends => {
                self.nodes[at].held = true;
                self.later(at, Event::SendsHeld);
            }
            Effect::ReleaseSends => self.nodes[at].held = false,
            Effect::ForwardTo { master } => self.nodes[at].forwarded_to = Some(master),
        }
    }

    fn compare_and_set(&mut self, at: usize, version: &str, new: GroupState) {
        let outcome = if self.state_away[at] {
            CasOutcome::Unknown
        } else if self.state.version == version {
            new.validate().expect("valid");
            let json = new.to_json().expect("json");
            assert_eq!(GroupState::from_json(&json).expect("valid"), new);
            self.state = Versioned { version: format!("{version}+"), state: new };
            if self.cas_answers_lost {
                CasOutcome::Unknown
            } else {
                CasOutcome::Set { version: self.state.version.clone() }
            }
        } else {
            CasOutcome::Conflict
        };
        self.later(at, Event::CasDone(outcome));
    }

    fn dial(&mut self, at: usize, peer: ReplicaName) {
        let to = (0..self.nodes.len()).find(|other| name(*other) == peer).expect("a peer");
        if self.cut.contains(&(at, to)) {
            self.later(at, Event::DialFailed { peer, refused: false });
        } else if self.nodes[to].replica.is_none() {
            self.later(at, Event::DialFailed { peer, refused: true });
        } else {
            let link = LinkId(self.links.len() as u64);
            self.links.push((at, to));
            self.later(to, Event::Accepted { link });
            self.later(at, Event::Dialed { peer, link });
        }
    }

    fn send(&mut self, at: usize, link: LinkId, message: Message) {
        let Some((from, to)) = self.links.get(usize::try_from(link.0).expect("few")).copied() else { return };
        let other = if from == at { to } else { from };
        if other < self.nodes.len() && !self.cut.contains(&(at, other)) {
            let (head, payload) = crate::codec::encode(&message);
            let mut bytes = bytes::BytesMut::from(&head[..]);
            bytes.extend_from_slice(&payload);
            assert_eq!(crate::codec::decode(&mut bytes), Ok(Some(message.clone())));
            self.later(other, Event::Received { link, message });
        }
    }
}

fn name(at: usize) -> ReplicaName {
    ReplicaName::new(&format!("r{at}")).expect("a name")
}
