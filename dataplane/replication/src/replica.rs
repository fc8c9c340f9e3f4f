//! The state machine of one replica: it gives each event to the part that owns it, then lets every part do what has become due.
//!
//! Parts: `links` (connections, heartbeats), `group` (the group state), `log` (its own log), `election` (becoming master), `master`,
//! `stream` and `switchover` (being master), `follower` (following one).

mod election;
mod follower;
mod group;
mod links;
mod log;
mod master;
mod stream;
mod switchover;
mod turn;

use std::{collections::BTreeSet, time::Duration};

use bolide_wire::LogOffset;

use crate::{
    config::Config,
    event::{Acknowledging, Effect, Event, LinkId, RawFailure, Role},
    history::LogView,
    identity::Identity,
    message::{Heartbeat, Hello, Message, Session, Standing},
    state::{Epoch, GroupState, Member, ReplicaName, Seen},
    status::{PeerStatus, RoleName, Status},
};

use self::{
    election::Bar, follower::Following, group::Group, links::Links, log::Log, master::Master, turn::Turn,
};

/// One replica of a group. Owned by one task or thread; never blocks.
#[derive(Debug)]
pub struct Replica {
    config: Config,
    me: Member,
    /// When the process started.
    started: Duration,
    /// What the volume remembered when it did.
    seen_at_start: Option<Seen>,
    /// The log was made to agree with the newest master's, or is the newest master's, in this process.
    aligned: bool,
    /// The log begins with bytes of no epoch, and this replica never was part of the group: they are not known to be the group's.
    foreign: bool,
    last_event: Duration,
    wake_at: Duration,
    log: Log,
    group: Group,
    links: Links,
    sessions: Session,
    master: Option<Master>,
    following: Option<Following>,
    /// A claim whose compare-and-set was sent.
    claiming: Option<GroupState>,
    bar: Option<Bar>,
    /// After a claim whose epoch record could not be written.
    no_claim_before: Duration,
    /// Stepped down for a successor: once it is known to lead, clients are sent to it. Given up at this time.
    handed_over: Option<Duration>,
    /// Told to the store as confirmed.
    confirmed: LogOffset,
    role: Role,
    /// After a batch that could not be written.
    no_stream_before: Duration,
    raw_failure: Option<RawFailure>,
    /// Followers with another size of commit log files.
    misfits: BTreeSet<ReplicaName>,
}

impl Replica {
    /// A replica that has just started: its store is open and follows, `log` is what recovery found. The first effects come with the
    /// first event, which should be `Event::Tick` at once.
    #[must_use]
    pub fn new(config: Config, identity: Identity, log: LogView, now: Duration) -> Self {
        let of_no_epoch = log.epochs.first().map_or(log.end, |first| first.start) > log.min;
        Self {
            foreign: identity.seen.is_none() && of_no_epoch,
            me: identity.member,
            started: now,
            seen_at_start: identity.seen,
            aligned: false,
            last_event: now,
            wake_at: now,
            log: Log::new(log),
            group: Group::new(identity.seen),
            links: Links::new(&config, now),
            sessions: Session::default(),
            master: None,
            following: None,
            claiming: None,
            bar: None,
            no_claim_before: Duration::ZERO,
            handed_over: None,
            confirmed: LogOffset(0),
            role: Role::Waiting,
            no_stream_before: Duration::ZERO,
            raw_failure: None,
            misfits: BTreeSet::new(),
            config,
        }
    }

    /// Takes one event and adds what is to be done. `now` is the monotonic clock; it never goes back.
    pub fn handle(&mut self, now: Duration, event: Event, effects: &mut Vec<Effect>) {
        let now = now.max(self.last_event);
        let timing = self.config.timing;
        if now.saturating_sub(self.last_event) > timing.heartbeat.saturating_mul(2) {
            // This process was stopped: that it has heard nothing says nothing of the others.
            self.links.on_resumed(now);
            if let Some(following) = &mut self.following {
                following.heard = now;
            }
        }
        self.last_event = now;
        let mut turn = Turn::new(now, now.saturating_add(timing.heartbeat), effects);
        self.on_event(event, &mut turn);
        self.settle(&mut turn);
        self.wake_at = turn.wake_at();
    }

    /// When the next `Event::Tick` is due, if nothing else happens before.
    #[must_use]
    pub fn wake_at(&self) -> Duration {
        self.wake_at
    }

    fn on_event(&mut self, event: Event, turn: &mut Turn<'_>) {
        let timing = self.config.timing;
        match event {
            Event::Tick => {}
            Event::Progress { appended, flushed } => self.log.on_progress(appended, flushed),
            Event::Following(view) => self.log.on_following(view),
            Event::Leading { epoch, log } => self.on_leading(epoch, log, turn),
            Event::RawAppended(result) => self.on_raw_appended(&result, turn),
            Event::Truncated(result) => self.on_truncated(&result, turn),
            Event::LogSent { link, session, result } => self.on_log_sent(link, session, result, turn),
            Event::StoreFailed => {
                self.log.failed = true;
                self.resign(turn);
            }
            Event::Dialed { peer, link } => {
                if self.links.on_dialed(&peer, link, &timing, turn) {
                    self.greet(&peer, link, turn);
                }
            }
            Event::DialFailed { peer, refused } => {
                self.links.on_dial_failed(&peer, &timing, turn.now);
                if refused {
                    self.on_master_refuses(&peer, turn.now);
                    // A follower is there, whatever was found before it came.
                    if let Some(master) = &mut self.master
                        && !master.followers.contains_key(&peer)
                    {
                        master.gone.insert(peer);
                    }
                }
            }
            Event::Accepted { link } => self.links.on_accepted(link, turn),
            Event::LinkDown { link } => self.on_link_down(link, turn.now),
            Event::Received { link, message } => self.on_message(link, message, turn),
            Event::StateLoaded(result) => {
                let floor = self.floor();
                self.group.on_loaded(result, floor, turn);
            }
            Event::CasDone(outcome) => self.group.on_cas(outcome, turn),
            Event::Switchover { to } => self.on_switchover(to, turn),
            Event::Retire => self.no_claim_before = Duration::MAX,
            Event::SendsHeld => self.on_sends_held(),
        }
    }

    /// Every part does what has become due.
    fn settle(&mut self, turn: &mut Turn<'_>) {
        for link in self.links.silent(&self.config.timing, turn) {
            self.drop_link(link, turn);
        }
        self.reign(turn);
        self.look_to_state(turn);
        if self.master.is_none() {
            self.elect(turn);
        }
        self.follow(turn);
        self.forward(turn);
        let standing = self.standing();
        let confirm = self.master.as_ref().map_or(LogOffset(0), |master| master.confirm);
        self.links.run(&standing, confirm, &self.config.timing, turn);
        let role = self.role_now();
        // clients keep their connections until it is known where to send them
        let handing_over = role == Role::Waiting && self.handed_over.is_some_and(|until| !turn.due(until));
        if role != self.role && !handing_over {
            self.role = role.clone();
            turn.push(Effect::Role(role));
        }
        if self.following.as_ref().is_some_and(Following::streams) {
            self.aligned = true;
        }
    }

    fn on_message(&mut self, link: LinkId, message: Message, turn: &mut Turn<'_>) {
        self.links.on_heard(link, turn.now);
        if let Message::Hello(hello) = message {
            self.on_first_hello(link, &hello, turn);
            return;
        }
        let Some((peer, dialed)) = self.links.peer_of(link) else {
            self.drop_link(link, turn);
            return;
        };
        match message {
            Message::Hello(_) => {}
            Message::Shell(_) => self.on_snapshot_part(link, turn.now),
            Message::Welcome(welcome) => self.on_standing(link, &peer, dialed, &welcome.standing, turn),
            Message::Heartbeat(beat) => self.on_heartbeat(link, &peer, dialed, &beat, turn),
            Message::TruncateTo(truncate) => self.on_truncate_to(link, truncate, turn),
            Message::NeedSnapshot { epoch, min } => self.on_need_snapshot(link, epoch, min, turn),
            Message::Batch(batch) => self.on_batch(link, batch, turn),
            Message::Ack(ack) => self.on_ack(link, ack, turn),
            Message::Lead { epoch, end } => self.on_lead(link, epoch, end, turn.now),
            Message::Resign { epoch } => self.on_resign(&peer, epoch, turn.now),
            Message::Refuse { epoch } => self.on_higher_epoch(epoch, turn),
        }
    }

    fn on_first_hello(&mut self, link: LinkId, hello: &Hello, turn: &mut Turn<'_>) {
        let name = &hello.standing.member.name;
        let ours = hello.cluster == self.config.cluster && hello.group == self.config.group;
        if !ours || !self.links.name(link, name, turn) {
            self.drop_link(link, turn);
            return;
        }
        self.on_standing(link, name, false, &hello.standing, turn);
        self.on_hello(link, hello, turn);
    }

    fn on_heartbeat(
        &mut self,
        link: LinkId,
        peer: &ReplicaName,
        dialed: bool,
        beat: &Heartbeat,
        turn: &mut Turn<'_>,
    ) {
        self.links.on_stamp(link, beat.stamp);
        self.links.on_echo(peer, beat.echo, turn.now);
        self.on_standing(link, peer, dialed, &beat.standing, turn);
        if let Some(epoch) = beat.standing.leads {
            self.on_confirm(link, epoch, beat.confirm);
        }
    }

    fn on_standing(
        &mut self,
        link: LinkId,
        peer: &ReplicaName,
        dialed: bool,
        standing: &Standing,
        turn: &mut Turn<'_>,
    ) {
        if standing.member.name != *peer {
            self.drop_link(link, turn);
            return;
        }
        self.links.on_standing(standing, turn.now);
        let highest = standing.leads.max(standing.seen.map(|seen| seen.epoch));
        self.on_higher_epoch(highest.unwrap_or_default(), turn);
        self.on_leader(link, dialed, standing, turn);
    }

    /// Somebody knows this epoch: a master of a lower one is not master any more.
    fn on_higher_epoch(&mut self, epoch: Epoch, turn: &mut Turn<'_>) {
        if self.master.as_ref().is_some_and(|master| master.epoch < epoch) {
            self.step_down(turn);
            self.group.load(Duration::ZERO, turn);
        }
    }

    fn on_link_down(&mut self, link: LinkId, now: Duration) {
        self.on_follower_down(link);
        self.on_master_link_down(link);
        self.links.on_down(link, now);
    }

    /// Ends a link for something that should not have come over it.
    fn drop_link(&mut self, link: LinkId, turn: &mut Turn<'_>) {
        self.on_follower_down(link);
        self.on_master_link_down(link);
        self.links.close(link, turn);
    }

    /// What this replica says of itself.
    fn standing(&self) -> Standing {
        let view = self.log.view();
        Standing {
            member: self.me.clone(),
            seen: self.group.seen(),
            leads: self.master.as_ref().and_then(|_| self.log.leads()),
            last_epoch: view.last_epoch(),
            end: view.end,
        }
    }

    fn set_confirmed(&mut self, offset: LogOffset, turn: &mut Turn<'_>) {
        if offset > self.confirmed {
            self.confirmed = offset;
            turn.push(Effect::SetConfirmed(offset));
        }
    }

    fn role_now(&self) -> Role {
        match (&self.master, &self.following) {
            (Some(master), _) => Role::Master {
                epoch: master.epoch,
                serving: master.serves(),
                acknowledging: master.acknowledging != Acknowledging::No,
            },
            (None, Some(following)) => {
                Role::Slave { master: following.master.clone(), epoch: following.epoch }
            }
            (None, None) => Role::Waiting,
        }
    }

    /// How it looks from outside.
    #[must_use]
    pub fn status(&self) -> Status {
        let known = self.group.known();
        let (role, master, epoch) = match &self.role {
            Role::Master { epoch, serving: true, acknowledging: true } => {
                (RoleName::Master, Some(self.me.name.clone()), *epoch)
            }
            Role::Master { epoch, .. } => (RoleName::Starting, Some(self.me.name.clone()), *epoch),
            Role::Slave { master, epoch } => (RoleName::Slave, Some(master.clone()), *epoch),
            Role::Waiting => (RoleName::Waiting, None, self.group.seen().unwrap_or_default().epoch),
        };
        Status {
            member: self.me.clone(),
            role,
            master,
            epoch,
            in_sync: known.map(|known| known.in_sync.clone()).unwrap_or_default(),
            confirmed: self.confirmed.0,
            end: self.log.view().end.0,
            peers: self.peer_statuses(known),
            reasons: self.reasons(known),
        }
    }

    fn peer_statuses(&self, known: Option<&GroupState>) -> Vec<PeerStatus> {
        let of = |(name, peer): (&ReplicaName, &links::Peer)| {
            let held = self.master.as_ref().and_then(|master| {
                let held = master.followers.get(name)?.held(self.config.holds)?;
                Some((self.log.view().end.0.saturating_sub(held.0), master.age(held, self.last_event)))
            });
            let standing = peer.recent(self.last_event, self.config.timing.suspect);
            let in_sync = known.and_then(|known| known.member(name));
            PeerStatus {
                name: name.clone(),
                connected: standing.is_some(),
                in_sync: in_sync
                    .is_some_and(|member| standing.is_none_or(|found| member.covers(&found.member))),
                lag_bytes: held.map(|(bytes, _)| bytes),
                lag_ms: held.map(|(_, age)| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
            }
        };
        self.links.peers().map(of).collect()
    }

    fn reasons(&self, known: Option<&GroupState>) -> Vec<String> {
        let mut reasons = Vec::new();
        if self.log.failed {
            reasons.push("the store has failed and takes no more writes".to_owned());
        }
        if self.foreign && self.following.is_some() {
            reasons.push("the store holds messages that are not known to be of this group".to_owned());
        }
        if let Some(failure) = self.raw_failure {
            reasons.push(format!("what the master sent could not be written: {failure:?}"));
        }
        if self.following.as_ref().is_some_and(Following::needs_snapshot) {
            reasons.push("the log cannot be continued from the master's; a snapshot is needed".to_owned());
        }
        let min = self.config.min_in_sync;
        if self.master.is_some() && known.is_some_and(|known| known.in_sync.len() < min) {
            reasons.push(format!("fewer than {min} replicas are in sync: nothing is acknowledged"));
        }
        let misfits = self.misfits.iter();
        reasons.extend(misfits.map(|name| format!("{name} has commit log files of another size")));
        if self.master.is_none() {
            reasons.extend(self.election_reasons());
        }
        reasons
    }
}

#[cfg(test)]
mod tests;
