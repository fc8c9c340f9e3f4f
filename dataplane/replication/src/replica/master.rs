//! Leading: what is confirmed, who is in sync, and whether acknowledgements may go out.
//!
//! Invariants:
//! - The confirm offset is held by every member that any possible group state has in `in_sync`, counting only what a
//!   member acknowledged in this epoch after its truncation; it advances only from the end of the epoch record on, and only while
//!   the smallest possible `in_sync` has `min_in_sync` members (I1, I2, I6).
//! - A new member is waited for from before its compare-and-set is sent; a removed one until the success is known (I2).
//! - Acknowledgements end `suspect` after the last thing said to a member that it has answered (I1).

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use bolide_wire::LogOffset;

use super::{Replica, election::SLOW_RELOAD, stream::Follower, switchover::Handover, turn::Turn};
use crate::{
    config::Holds,
    event::{Acknowledging, Effect},
    message::Message,
    mutation::{Mutation, mutated},
    state::{Epoch, GroupState, Incarnation, Member, ReplicaName, Seen},
};

/// Marks of when which byte was appended; older ones are merged.
const MAX_MARKS: usize = 128;
/// Time between two marks.
const MARK_EVERY: Duration = Duration::from_millis(20);
/// How often the pause before adding a member again is doubled at most.
const MAX_READD_DOUBLINGS: u32 = 5;

/// Why a member waits before it is added again.
#[derive(Debug, Default)]
struct Pause {
    until: Duration,
    doublings: u32,
}

#[derive(Debug)]
pub(super) struct Master {
    pub(super) epoch: Epoch,
    /// When the epoch record was on disk.
    pub(super) led_at: Option<Duration>,
    /// End of the epoch record.
    pub(super) epoch_end: LogOffset,
    pub(super) confirm: LogOffset,
    pub(super) followers: BTreeMap<ReplicaName, Follower>,
    /// Replicas whose link has ended, or who refuse connections.
    pub(super) gone: BTreeSet<ReplicaName>,
    pub(super) acknowledging: Acknowledging,
    pub(super) handover: Option<Handover>,
    pauses: BTreeMap<ReplicaName, Pause>,
    /// From this offset on, bytes were appended at this time or later.
    marks: VecDeque<(LogOffset, Duration)>,
    marked_to: LogOffset,
}

impl Master {
    fn new(epoch: Epoch) -> Self {
        Self {
            epoch,
            led_at: None,
            epoch_end: LogOffset(0),
            confirm: LogOffset(0),
            followers: BTreeMap::new(),
            gone: BTreeSet::new(),
            acknowledging: Acknowledging::No,
            handover: None,
            pauses: BTreeMap::new(),
            marks: VecDeque::new(),
            marked_to: LogOffset(0),
        }
    }

    /// The epoch record is confirmed.
    pub(super) fn serves(&self) -> bool {
        self.led_at.is_some() && self.confirm >= self.epoch_end
    }

    /// Up to where this very member holds the log, as it said in this epoch.
    pub(super) fn position(&self, member: &Member, holds: Holds) -> LogOffset {
        let follower = self.followers.get(&member.name).filter(|follower| follower.member == *member);
        follower.and_then(|follower| follower.held(holds)).unwrap_or(LogOffset(0))
    }

    /// Age of the oldest byte beyond a position.
    pub(super) fn age(&self, position: LogOffset, now: Duration) -> Duration {
        if position >= self.marked_to {
            return Duration::ZERO;
        }
        let before = self.marks.iter().take_while(|(start, _)| *start <= position).last();
        let since = before.or(self.marks.front()).map_or(now, |(_, at)| *at);
        now.saturating_sub(since)
    }

    fn mark(&mut self, end: LogOffset, slowest: LogOffset, now: Duration) {
        if end > self.marked_to {
            let apart = self.marks.back().is_none_or(|(_, at)| now.saturating_sub(*at) >= MARK_EVERY);
            if apart || self.marks.back().is_some_and(|_| slowest >= self.marked_to) {
                self.marks.push_back((self.marked_to, now));
            }
            self.marked_to = end;
        }
        while self.marks.get(1).is_some_and(|(start, _)| *start <= slowest) {
            self.marks.pop_front();
        }
        if self.marks.len() > MAX_MARKS {
            self.marks.remove(1);
        }
    }

    fn pause(&mut self, name: &ReplicaName, first: Duration, now: Duration) {
        let pause = self.pauses.entry(name.clone()).or_default();
        let factor = 1_u32.checked_shl(pause.doublings).unwrap_or(u32::MAX);
        let length = first.saturating_mul(factor);
        // A member that was well for long begins anew.
        let well = now.saturating_sub(pause.until) > first.saturating_mul(60);
        pause.doublings = if well { 1 } else { pause.doublings.saturating_add(1).min(MAX_READD_DOUBLINGS) };
        pause.until = now.saturating_add(if well { first } else { length });
    }
}

impl Replica {
    /// The claim is set: this process leads that epoch, once its record is in the log.
    pub(super) fn begin_reign(&mut self, epoch: Epoch, turn: &mut Turn<'_>) {
        if let Some(known) = self.group.known() {
            let seen = Seen { epoch, revision: known.revision };
            self.group.saw(seen, turn);
        }
        self.following = None;
        self.master = Some(Master::new(epoch));
        self.aligned = true;
        self.foreign = false;
        self.log.lead(epoch, turn);
    }

    /// The epoch record is on disk: from now on this is the master, and says so.
    pub(super) fn on_leading(
        &mut self,
        epoch: Epoch,
        log: Option<crate::history::LogView>,
        turn: &mut Turn<'_>,
    ) {
        let failed = log.is_none();
        let leads = self.log.on_leading(epoch, log);
        let Some(master) = self.master.as_mut().filter(|master| master.epoch == epoch) else { return };
        if leads {
            let end = self.log.view().end;
            master.led_at = Some(turn.now);
            master.epoch_end = end;
            master.marked_to = LogOffset(end.0.saturating_sub(1));
            master.mark(end, LogOffset(0), turn.now);
            for link in self.links.accepted() {
                self.welcome(link, turn);
            }
        } else if failed {
            // Perhaps there is no room at the moment: others first.
            self.no_claim_before =
                self.no_claim_before.max(turn.now.saturating_add(self.config.timing.shrink));
            self.resign(turn);
        }
    }

    /// Ends the reign, if there is one.
    pub(super) fn step_down(&mut self, turn: &mut Turn<'_>) {
        let Some(master) = self.master.take() else { return };
        turn.push(Effect::SetAcknowledging(Acknowledging::No));
        let told = master.handover.is_some_and(|handover| handover.is_told());
        self.handed_over = told.then(|| turn.now.saturating_add(self.config.timing.suspect));
        self.log.follow(turn);
    }

    /// Gives up: the disk has failed. Whoever is in sync may claim at once.
    pub(super) fn resign(&mut self, turn: &mut Turn<'_>) {
        let Some(master) = &self.master else { return };
        let epoch = master.epoch;
        for link in self.links.accepted() {
            turn.send(link, Message::Resign { epoch });
        }
        self.step_down(turn);
    }

    /// What is due while being master.
    pub(super) fn reign(&mut self, turn: &mut Turn<'_>) {
        let Some(epoch) = self.master.as_ref().map(|master| master.epoch) else { return };
        if self.group.known().is_some_and(|known| known.epoch > epoch) {
            self.step_down(turn);
            return;
        }
        if self.master.as_ref().is_some_and(|master| master.led_at.is_none()) {
            return;
        }
        let required = self.required();
        let holds = self.config.holds;
        let end = self.log.view().end;
        if let Some(master) = &mut self.master {
            let slowest = required.iter().map(|member| master.position(member, holds)).min().unwrap_or(end);
            master.mark(end, slowest, turn.now);
        }
        self.confirm(turn);
        self.change_in_sync(turn);
        self.permit(turn);
        self.stream(turn);
        self.hand_over(turn);
    }

    /// Every other member of any group state that may be the newest one.
    fn required(&self) -> BTreeSet<Member> {
        let known = self.group.known().into_iter();
        let states: Vec<&GroupState> = if mutated(Mutation::GrowthBindsLate) {
            known.collect()
        } else {
            self.group.possible().collect()
        };
        let members = states.into_iter().flat_map(|state| &state.in_sync);
        members.filter(|member| member.name != self.me.name).cloned().collect()
    }

    /// The smallest number of members, this one among them, that `in_sync` may have.
    fn in_sync_at_least(&self) -> usize {
        self.group.possible().map(|state| state.in_sync.len()).min().unwrap_or(0)
    }

    fn has_enough(&self) -> bool {
        self.in_sync_at_least() >= self.config.min_in_sync || mutated(Mutation::MinInSyncAtAdmission)
    }

    fn confirm(&mut self, turn: &mut Turn<'_>) {
        let holds = self.config.holds;
        let enough = self.has_enough();
        let required = self.required();
        let own = self.log.held(holds);
        let Some(master) = &mut self.master else { return };
        let held = required.iter().map(|member| master.position(member, holds)).fold(own, LogOffset::min);
        if enough && held >= master.epoch_end && held > master.confirm {
            master.confirm = held;
            self.set_confirmed(held, turn);
        }
    }

    /// Decides until when acknowledgements may go out.
    fn permit(&mut self, turn: &mut Turn<'_>) {
        let required = self.required();
        let enough = self.has_enough();
        let Some(master) = &mut self.master else { return };
        let led_at = master.led_at.unwrap_or(turn.now);
        let answered = |member: &Member| {
            let peer = self.links.peer(&member.name)?;
            let same = peer.standing().is_some_and(|standing| standing.member == *member);
            (same && peer.answered() >= led_at).then(|| peer.answered())
        };
        let heard = required.iter().map(answered).min();
        let permitted = match heard {
            _ if !master.serves() || !enough => Acknowledging::No,
            None => Acknowledging::Yes,
            Some(None) => Acknowledging::No,
            Some(Some(at)) => {
                let deadline = at.saturating_add(self.config.timing.suspect);
                if turn.due(deadline) { Acknowledging::No } else { Acknowledging::Until(deadline) }
            }
        };
        if permitted != master.acknowledging {
            master.acknowledging = permitted;
            turn.push(Effect::SetAcknowledging(permitted));
        }
    }

    /// Removes who cannot be waited for, adds who has caught up, names a successor: one compare-and-set at a time.
    pub(super) fn change_in_sync(&mut self, turn: &mut Turn<'_>) {
        if self.group.is_outdated() || self.group.known().is_none() {
            self.group.load(self.config.timing.redial, turn);
            return;
        }
        if !self.group.is_idle() {
            return;
        }
        let Some(known) = self.group.known().cloned() else { return };
        let mut new = known.clone();
        let mut removed = Vec::new();
        for member in known.in_sync.iter().filter(|member| member.name != self.me.name) {
            // With too few left, nothing would be acknowledged: the member may as well stay able to lead.
            if new.in_sync.len() > self.config.min_in_sync && self.is_lost(member, turn) {
                new.in_sync.retain(|kept| kept != member);
                removed.push(member.name.clone());
            }
        }
        for member in self.caught_up(&known, turn) {
            new.in_sync.retain(|kept| kept.name != member.name);
            new.in_sync.push(member);
        }
        let successor = self.master.as_ref().and_then(|master| master.handover.as_ref()?.named().cloned());
        new.successor = successor.and_then(|name| new.member(&name).cloned());
        if new == known && !self.group.is_undecided() {
            self.group.load(SLOW_RELOAD, turn);
            return;
        }
        new.revision = known.revision.saturating_add(1);
        if let Some(master) = &mut self.master {
            for name in &removed {
                master.pause(name, self.config.timing.readd, turn.now);
            }
        }
        self.group.set(new, turn);
    }

    /// A member that cannot be waited for any longer.
    fn is_lost(&self, member: &Member, turn: &mut Turn<'_>) -> bool {
        let Some(master) = &self.master else { return false };
        let timing = &self.config.timing;
        let Some(peer) = self.links.peer(&member.name) else { return true };
        let standing = peer.recent(turn.now, timing.suspect);
        let renewed = standing.is_some_and(|standing| standing.member.incarnation != member.incarnation);
        if master.gone.contains(&member.name) || (renewed && member.incarnation != Incarnation::ANY) {
            return true;
        }
        let position = master.position(member, self.config.holds);
        let age = master.age(position, turn.now);
        let silent_from = peer.answered().max(master.led_at.unwrap_or(turn.now));
        let silent = silent_from.saturating_add(timing.shrink).saturating_add(timing.heartbeat);
        let behind = position < master.marked_to;
        let late = turn.now.saturating_add(timing.shrink.saturating_sub(age));
        turn.due(silent) || (behind && turn.due(late))
    }

    /// Followers that hold all that may have been acknowledged and are not in sync yet.
    fn caught_up(&self, state: &GroupState, turn: &mut Turn<'_>) -> Vec<Member> {
        let Some(master) = &self.master else { return Vec::new() };
        let bound = master.confirm.max(master.epoch_end);
        let mut found = Vec::new();
        for (name, follower) in &master.followers {
            let held = follower.held(self.config.holds);
            let ready = held.is_some_and(|held| held >= bound) && !state.in_sync.contains(&follower.member);
            let full = state.member(name).is_none() && state.in_sync.len() >= crate::state::MAX_REPLICAS;
            if ready && !full && turn.due(master.pauses.get(name).map_or(Duration::ZERO, |pause| pause.until))
            {
                found.push(follower.member.clone());
            }
        }
        found
    }
}
