//! Connections to the other replicas, what each says of itself, and heartbeats.
//!
//! Every replica dials every other and keeps trying; on a link the dialer follows and the acceptor leads, if one of them leads at all. A
//! heartbeat carries the sender's clock, which comes back: what counts as hearing of a peer is the time at which something was
//! *sent* that it has answered, so a process that was stopped learns nothing from what had waited for it.

use std::{collections::BTreeMap, time::Duration};

use bolide_wire::LogOffset;

use super::turn::Turn;
use crate::{
    config::{Config, Timing},
    event::{Effect, LinkId},
    message::{Heartbeat, Message, Standing},
    state::{Epoch, MAX_REPLICAS, ReplicaName},
};

/// Most connections that may wait for their hello.
const MAX_UNNAMED: usize = 4 * MAX_REPLICAS;
/// A dialed link is given up after so many times `suspect` in which nothing has come over it: the other end may have gone without a
/// word, and its successor at the same name is to be found.
const SILENCE: u32 = 3;
/// How much the pause between two dials grows at most.
const MAX_DIAL_PAUSES: u32 = 10;

#[derive(Debug)]
struct Link {
    peer: Option<ReplicaName>,
    dialed: bool,
    since: Duration,
    /// Something came last, or it was made.
    heard: Duration,
    /// Newest stamp received.
    stamp: u64,
    beat_at: Duration,
}

#[derive(Debug)]
pub(super) struct Peer {
    dialed: Option<LinkId>,
    accepted: Option<LinkId>,
    dialing: bool,
    dial_at: Duration,
    pause: Duration,
    /// What it said last of itself, and when that came.
    standing: Option<(Standing, Duration)>,
    /// Newest own time that it has answered.
    answered: Duration,
}

impl Peer {
    pub(super) fn standing(&self) -> Option<&Standing> {
        self.standing.as_ref().map(|(standing, _)| standing)
    }

    /// What it said, if it said so within that time.
    pub(super) fn recent(&self, now: Duration, within: Duration) -> Option<&Standing> {
        let (standing, at) = self.standing.as_ref()?;
        (now.saturating_sub(*at) < within).then_some(standing)
    }

    /// Time at which something was sent that it has answered.
    pub(super) fn answered(&self) -> Duration {
        self.answered
    }
}

#[derive(Debug)]
pub(super) struct Links {
    links: BTreeMap<LinkId, Link>,
    peers: BTreeMap<ReplicaName, Peer>,
}

impl Links {
    pub(super) fn new(config: &Config, now: Duration) -> Self {
        let peer = || Peer {
            dialed: None,
            accepted: None,
            dialing: false,
            dial_at: now,
            pause: config.timing.redial,
            standing: None,
            answered: Duration::ZERO,
        };
        Self {
            links: BTreeMap::new(),
            peers: config.peers.iter().map(|name| (name.clone(), peer())).collect(),
        }
    }

    pub(super) fn peer(&self, name: &ReplicaName) -> Option<&Peer> {
        self.peers.get(name)
    }

    pub(super) fn peers(&self) -> impl Iterator<Item = (&ReplicaName, &Peer)> {
        self.peers.iter()
    }

    /// The peer of a link, and whether we dialed it.
    pub(super) fn peer_of(&self, link: LinkId) -> Option<(ReplicaName, bool)> {
        let found = self.links.get(&link)?;
        Some((found.peer.clone()?, found.dialed))
    }

    /// Links that others dialed, by peer.
    pub(super) fn accepted(&self) -> Vec<LinkId> {
        self.peers.values().filter_map(|peer| peer.accepted).collect()
    }

    /// Newest stamp received on a link.
    pub(super) fn stamp(&self, link: LinkId) -> u64 {
        self.links.get(&link).map_or(0, |link| link.stamp)
    }

    pub(super) fn on_dialed(
        &mut self,
        name: &ReplicaName,
        link: LinkId,
        timing: &Timing,
        turn: &mut Turn<'_>,
    ) -> bool {
        let Some(peer) = self.peers.get_mut(name) else {
            turn.push(Effect::Close { link });
            return false;
        };
        peer.dialing = false;
        peer.pause = timing.redial;
        let old = peer.dialed.replace(link);
        self.insert(link, Some(name.clone()), true, turn.now);
        if let Some(old) = old {
            self.close(old, turn);
        }
        true
    }

    pub(super) fn on_dial_failed(&mut self, name: &ReplicaName, timing: &Timing, now: Duration) {
        if let Some(peer) = self.peers.get_mut(name) {
            peer.dialing = false;
            peer.dial_at = now.saturating_add(peer.pause);
            peer.pause = peer.pause.saturating_mul(2).min(timing.redial.saturating_mul(MAX_DIAL_PAUSES));
        }
    }

    pub(super) fn on_accepted(&mut self, link: LinkId, turn: &mut Turn<'_>) {
        if self.links.values().filter(|link| link.peer.is_none()).count() >= MAX_UNNAMED {
            turn.push(Effect::Close { link });
            return;
        }
        self.insert(link, None, false, turn.now);
    }

    fn insert(&mut self, link: LinkId, peer: Option<ReplicaName>, dialed: bool, now: Duration) {
        self.links.insert(link, Link { peer, dialed, since: now, heard: now, stamp: 0, beat_at: now });
    }

    /// A hello on an accepted link says whose it is; an older link of the same peer is closed. False: not a link for a hello of
    /// that name.
    pub(super) fn name(&mut self, link: LinkId, name: &ReplicaName, turn: &mut Turn<'_>) -> bool {
        let (Some(found), Some(peer)) = (self.links.get_mut(&link), self.peers.get_mut(name)) else {
            return false;
        };
        if found.dialed || found.peer.as_ref().is_some_and(|peer| peer != name) {
            return false;
        }
        found.peer = Some(name.clone());
        let old = peer.accepted.replace(link).filter(|old| *old != link);
        if let Some(old) = old {
            self.close(old, turn);
        }
        true
    }

    /// Forgets a link and has it closed.
    pub(super) fn close(&mut self, link: LinkId, turn: &mut Turn<'_>) {
        turn.push(Effect::Close { link });
        self.on_down(link, turn.now);
    }

    pub(super) fn on_down(&mut self, link: LinkId, now: Duration) {
        let Some(Link { peer: Some(name), dialed, .. }) = self.links.remove(&link) else { return };
        let Some(peer) = self.peers.get_mut(&name) else { return };
        let place = if dialed { &mut peer.dialed } else { &mut peer.accepted };
        if *place == Some(link) {
            *place = None;
            peer.dial_at = if dialed { now } else { peer.dial_at };
        }
    }

    /// What a peer says of itself.
    pub(super) fn on_standing(&mut self, standing: &Standing, now: Duration) {
        if let Some(peer) = self.peers.get_mut(&standing.member.name) {
            peer.standing = Some((standing.clone(), now));
        }
    }

    /// Something has come over a link.
    pub(super) fn on_heard(&mut self, link: LinkId, now: Duration) {
        if let Some(link) = self.links.get_mut(&link) {
            link.heard = now;
        }
    }

    /// This process was stopped: that it has heard nothing says nothing of its links.
    pub(super) fn on_resumed(&mut self, now: Duration) {
        for link in self.links.values_mut() {
            link.heard = now;
        }
    }

    /// Dialed links over which nothing comes any more.
    pub(super) fn silent(&self, timing: &Timing, turn: &mut Turn<'_>) -> Vec<LinkId> {
        let limit = timing.suspect.saturating_mul(SILENCE);
        let dialed = self.links.iter().filter(|(_, link)| link.dialed);
        dialed.filter(|(_, link)| turn.due(link.heard.saturating_add(limit))).map(|(id, _)| *id).collect()
    }

    pub(super) fn on_stamp(&mut self, link: LinkId, stamp: u64) {
        if let Some(link) = self.links.get_mut(&link) {
            link.stamp = link.stamp.max(stamp);
        }
    }

    pub(super) fn on_echo(&mut self, name: &ReplicaName, echo: u64, now: Duration) {
        if let Some(peer) = self.peers.get_mut(name) {
            peer.answered = peer.answered.max(Duration::from_nanos(echo).min(now));
        }
    }

    /// Sends a heartbeat now, whenever the next one is due.
    pub(super) fn beat(
        &mut self,
        id: LinkId,
        standing: &Standing,
        confirm: LogOffset,
        every: Duration,
        turn: &mut Turn<'_>,
    ) {
        if let Some(link) = self.links.get_mut(&id) {
            link.beat_at = turn.now.saturating_add(every);
            let stamp = u64::try_from(turn.now.as_nanos()).unwrap_or(u64::MAX);
            let beat = Heartbeat { standing: standing.clone(), confirm, stamp, echo: link.stamp };
            turn.send(id, Message::Heartbeat(beat));
        }
    }

    /// Dials and heartbeats that are due; links that never said who they are end.
    pub(super) fn run(
        &mut self,
        standing: &Standing,
        confirm: LogOffset,
        timing: &Timing,
        turn: &mut Turn<'_>,
    ) {
        for (name, peer) in &mut self.peers {
            if peer.dialed.is_none() && !peer.dialing && turn.due(peer.dial_at) {
                peer.dialing = true;
                turn.push(Effect::Dial { peer: name.clone() });
            }
        }
        let (mut beats, mut nameless) = (Vec::new(), Vec::new());
        for (id, link) in &self.links {
            if link.peer.is_some() {
                if turn.due(link.beat_at) {
                    beats.push(*id);
                }
            } else if turn.due(link.since.saturating_add(timing.suspect)) {
                nameless.push(*id);
            }
        }
        for link in beats {
            self.beat(link, standing, confirm, timing.heartbeat, turn);
        }
        for link in nameless {
            self.close(link, turn);
        }
    }

    /// The highest epoch that any peer that was heard of within `within` has seen or leads in.
    pub(super) fn highest_epoch(&self, now: Duration, within: Duration) -> Epoch {
        let of = |standing: &Standing| standing.leads.max(standing.seen.map(|seen| seen.epoch));
        let recent = self.peers.values().filter_map(|peer| peer.recent(now, within));
        recent.filter_map(of).max().unwrap_or_default()
    }
}
