//! Becoming master: who may claim, and when.
//!
//! Invariants (I3, I7):
//! - Only a member of `in_sync` that has lost nothing since it became one claims, by a compare-and-set that raises the epoch
//!   and takes the old master out. Where every member has lost something, the longest log of all of them claims, once all have said
//!   what they have.
//! - Nobody claims from a state that is older than what it, its log, or any peer in reach has seen.
//! - Why a master is taken for dead decides only *when* somebody claims, never what is lost.

use std::{cmp::Reverse, time::Duration};

use super::{Replica, group::Trouble, turn::Turn};
use crate::{
    message::Standing,
    mutation::{Mutation, mutated},
    state::{Epoch, GroupState, Incarnation, Seen},
};

/// Longest pause between two looks at the group state when all is well.
pub(super) const SLOW_RELOAD: Duration = Duration::from_secs(10);

/// Why this replica may not claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bar {
    /// Not in `in_sync`.
    NotInSync,
    /// In `in_sync` by an incarnation that it has lost, and others have not, or have not reported.
    Renewed,
    /// Its log, or the newest claim of its own, is older than the group state says: the volume was emptied or rolled back.
    RolledBack,
    /// A peer has seen a higher epoch than the group state has.
    PeerSawHigher,
    /// A new group: the others have not reported yet.
    AwaitsOthers,
}

impl Replica {
    /// The highest state that this replica's volume proves to have existed.
    pub(super) fn floor(&self) -> Seen {
        let log = Seen { epoch: self.log.view().last_epoch(), revision: 0 };
        self.group.seen().unwrap_or_default().max(log)
    }

    /// What is due while not being master.
    pub(super) fn elect(&mut self, turn: &mut Turn<'_>) {
        self.bar = None;
        self.settle_claim(turn);
        if self.master.is_some() {
            return;
        }
        let timing = self.config.timing;
        if self.group.known().is_none() || self.group.is_outdated() {
            self.group.load(timing.reload, turn);
            return;
        }
        let vacant = self.vacant_since(turn);
        let able = !self.log.failed && self.log.is_quiet() && turn.due(self.no_claim_before);
        let Some(since) = vacant.filter(|_| able) else {
            let told = self.following.as_ref().and_then(|following| self.links.peer(&following.master));
            let revision = told.and_then(|peer| peer.standing()).and_then(|standing| standing.seen);
            let newer = revision > self.group.known().map(GroupState::seen);
            let trouble = self.group.trouble().is_some();
            self.group.load(if newer || trouble { timing.reload } else { SLOW_RELOAD }, turn);
            return;
        };
        if !self.group.is_fresh(since) {
            self.group.load(timing.redial, turn);
            return;
        }
        match self.claim(turn.now) {
            Err(bar) => {
                self.bar = Some(bar);
                self.group.load(timing.reload, turn);
            }
            Ok(claim) => {
                let wait = timing.rank.saturating_mul(self.rank(turn.now));
                if turn.due(since.saturating_add(wait)) && self.group.is_idle() {
                    self.group.set(claim.clone(), turn);
                    self.claiming = Some(claim);
                }
            }
        }
    }

    /// Finds out what became of a claim whose compare-and-set was sent.
    fn settle_claim(&mut self, turn: &mut Turn<'_>) {
        let (Some(claim), Some(known)) = (&self.claiming, self.group.known()) else { return };
        let overtaken = claim.epoch < self.group.seen().unwrap_or_default().epoch
            && !mutated(Mutation::BelievesRecreatedState);
        if known == claim && !overtaken && self.log.is_quiet() {
            let epoch = claim.epoch;
            self.claiming = None;
            self.begin_reign(epoch, turn);
        } else if overtaken || (known != claim && known.revision >= claim.revision) {
            self.claiming = None;
        }
    }

    /// Since when the group is known to have no master; asks to be called when it might be taken for dead.
    fn vacant_since(&self, turn: &mut Turn<'_>) -> Option<Duration> {
        let known = self.group.known()?;
        let Some(following) = self.following.as_ref().filter(|following| following.epoch >= known.epoch)
        else {
            // No master, or ourselves in an earlier process or by a claim given up.
            return known
                .master
                .as_ref()
                .is_none_or(|master| master.name == self.me.name)
                .then_some(self.started);
        };
        let timing = &self.config.timing;
        let idle = following.idle.map(|since| {
            let renewed = self
                .links
                .peer(&following.master)
                .and_then(|peer| peer.standing())
                .is_some_and(|standing| !known.has(&standing.member));
            // A restarted master that lost nothing claims by itself.
            if renewed { since } else { since.saturating_add(timing.shrink) }
        });
        let handed = following
            .handover
            .filter(|(end, _)| {
                *end == self.log.view().end
                    && known.successor.as_ref().is_none_or(|next| next.covers(&self.me))
            })
            .map(|(_, since)| since);
        let silent = following.heard.saturating_add(timing.suspect);
        let reasons = [following.refused, following.resigned, idle, handed, Some(silent)];
        reasons.into_iter().flatten().filter(|at| turn.due(*at)).min()
    }

    /// The state that this replica would set to become master.
    fn claim(&self, now: Duration) -> Result<GroupState, Bar> {
        let known = self.group.known().ok_or(Bar::NotInSync)?;
        let timing = &self.config.timing;
        let believes = mutated(Mutation::BelievesRecreatedState);
        if self.links.highest_epoch(now, timing.suspect) > known.epoch && !believes {
            return Err(Bar::PeerSawHigher);
        }
        let old_master = known.master.as_ref().filter(|master| master.name != self.me.name);
        let own = known.member(&self.me.name).ok_or(Bar::NotInSync)?;
        let in_sync = if own.covers(&self.me) {
            let claimed_before =
                known.master.as_ref() == Some(&self.me) && own.incarnation != Incarnation::ANY;
            if claimed_before {
                self.check_volume(known)?;
            }
            if known.epoch == Epoch(0)
                && !self.all_reported(now)
                && now < self.started.saturating_add(timing.suspect)
            {
                return Err(Bar::AwaitsOthers);
            }
            let others = known.in_sync.iter().filter(|member| member.name != self.me.name);
            let kept = |member: &&crate::state::Member| {
                mutated(Mutation::KeepsOldMaster) || old_master.is_none_or(|old| old.name != member.name)
            };
            others.filter(kept).cloned().chain([self.me.clone()]).collect()
        } else {
            self.leads_the_renewed(known, now)?;
            vec![self.me.clone()]
        };
        Ok(GroupState {
            epoch: known.epoch.next(),
            revision: known.revision.saturating_add(1),
            master: Some(self.me.clone()),
            in_sync,
            successor: None,
        })
    }

    fn all_reported(&self, now: Duration) -> bool {
        self.links.peers().all(|(_, peer)| peer.recent(now, self.config.timing.suspect).is_some())
    }

    /// Whether all members have lost what made them members, all have said what they have, and this one has the longest log.
    fn leads_the_renewed(&self, known: &GroupState, now: Duration) -> Result<(), Bar> {
        let own = self.standing();
        let length =
            |standing: &Standing| (standing.last_epoch, standing.end, Reverse(standing.member.name.clone()));
        for member in known.in_sync.iter().filter(|member| member.name != self.me.name) {
            let peer = self.links.peer(&member.name).ok_or(Bar::Renewed)?;
            let standing = peer.recent(now, self.config.timing.suspect).ok_or(Bar::Renewed)?;
            if member.covers(&standing.member) || length(standing) > length(&own) {
                return Err(Bar::Renewed);
            }
        }
        self.check_volume(known)
    }

    /// Whether what this volume remembered at the start of the process fits the group state. One epoch may be missing: a claimer can
    /// go down before it has noted its own claim.
    fn check_volume(&self, known: &GroupState) -> Result<(), Bar> {
        let fits = self.seen_at_start.is_some_and(|seen| seen.epoch.next() >= known.epoch);
        if fits || self.aligned { Ok(()) } else { Err(Bar::RolledBack) }
    }

    /// How many members that could claim too are ahead of this one.
    fn rank(&self, now: Duration) -> u32 {
        let Some(known) = self.group.known() else { return 0 };
        let handed = self.following.as_ref().is_some_and(|following| following.handover.is_some());
        if handed || known.master.as_ref().is_some_and(|master| master.name == self.me.name) {
            return 0;
        }
        let own = self.standing();
        let length =
            |standing: &Standing| (standing.last_epoch, standing.end, Reverse(standing.member.name.clone()));
        let candidates = known.in_sync.iter().filter(|member| Some(*member) != known.master.as_ref());
        let standings = candidates
            .filter_map(|member| self.links.peer(&member.name)?.recent(now, self.config.timing.suspect));
        let ahead = standings
            .filter(|standing| known.has(&standing.member) && length(standing) > length(&own))
            .count();
        u32::try_from(ahead).unwrap_or(u32::MAX)
    }

    /// For people: why there is no master, as far as this replica is concerned.
    pub(super) fn election_reasons(&self) -> Vec<String> {
        let trouble = self.group.trouble().map(|trouble| match trouble {
            Trouble::Unavailable => "the group state cannot be read".to_owned(),
            Trouble::Missing => "there is no group state; it must be forced if this group had one".to_owned(),
            Trouble::Behind => {
                let floor = self.floor();
                format!(
                    "the group state is older than epoch {}, revision {}, seen here",
                    floor.epoch, floor.revision
                )
            }
        });
        let bar = self.bar.map(|bar| match bar {
            Bar::NotInSync => "not in sync when the master went away",
            Bar::Renewed => "in sync before a crash that may have lost bytes; waiting for a member that lost nothing, or for all",
            Bar::RolledBack => "the volume was emptied or rolled back; it must be forced to lead",
            Bar::PeerSawHigher => "another replica has seen a higher epoch than the group state has",
            Bar::AwaitsOthers => "a new group waits for the others to report",
        });
        trouble.into_iter().chain(bar.map(str::to_owned)).collect()
    }
}
