//! A planned change of master: nothing new is let in, the successor gets all there is, is named in the group state, and told to
//! lead. Whatever goes wrong, the old master goes on.

use std::time::Duration;

use bolide_wire::LogOffset;

use super::{Replica, turn::Turn};
use crate::{event::Effect, message::Message, state::ReplicaName};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Appends that were let through are not all in the log yet.
    Holds,
    /// The successor does not hold all of the log yet.
    Drains,
    /// The group state is to name it.
    Names,
    /// It was told.
    Told,
}

#[derive(Debug)]
pub(super) struct Handover {
    to: ReplicaName,
    until: Duration,
    step: Step,
}

impl Handover {
    /// Whom the group state is to name as the successor.
    pub(super) fn named(&self) -> Option<&ReplicaName> {
        matches!(self.step, Step::Names | Step::Told).then_some(&self.to)
    }

    pub(super) fn is_told(&self) -> bool {
        self.step == Step::Told
    }
}

impl Replica {
    /// A person, the operator, or the end of the process wants another master.
    pub(super) fn on_switchover(&mut self, to: Option<ReplicaName>, turn: &mut Turn<'_>) {
        let target = self.successor(to.as_ref());
        let until = turn.now.saturating_add(self.config.timing.switchover);
        let Some(master) = self.master.as_mut().filter(|master| master.handover.is_none()) else { return };
        match target {
            Some(to) => {
                master.handover = Some(Handover { to, until, step: Step::Holds });
                turn.push(Effect::HoldSends);
            }
            None => turn.push(Effect::ReleaseSends),
        }
    }

    /// The member that is furthest of those that may lead, or the one that is wanted.
    fn successor(&self, wanted: Option<&ReplicaName>) -> Option<ReplicaName> {
        let (master, known) = (self.master.as_ref()?, self.group.known()?);
        if !master.serves() {
            return None;
        }
        let fits = |name: &ReplicaName| *name != self.me.name && wanted.is_none_or(|wanted| wanted == name);
        let members = known.in_sync.iter().filter(|member| fits(&member.name));
        let position = |member: &&crate::state::Member| master.position(member, self.config.holds);
        members
            .filter(|member| position(member) > LogOffset(0))
            .max_by_key(position)
            .map(|member| member.name.clone())
    }

    pub(super) fn on_sends_held(&mut self) {
        if let Some(handover) = self.master.as_mut().and_then(|master| master.handover.as_mut())
            && handover.step == Step::Holds
        {
            handover.step = Step::Drains;
        }
    }

    /// What is due for a planned switchover.
    pub(super) fn hand_over(&mut self, turn: &mut Turn<'_>) {
        let end = self.log.view().end;
        let holds = self.config.holds;
        let Some(master) = &mut self.master else { return };
        let epoch = master.epoch;
        let (Some(handover), Some(known)) = (&mut master.handover, self.group.known()) else { return };
        let member = known.member(&handover.to);
        let follower = master.followers.get(&handover.to);
        let (Some(member), Some(follower), false) = (member, follower, turn.due(handover.until)) else {
            master.handover = None;
            turn.push(Effect::ReleaseSends);
            return;
        };
        match handover.step {
            Step::Drains if master.confirm >= end && follower.holds_all(end, holds) => {
                handover.step = Step::Names
            }
            Step::Names if known.successor.as_ref() == Some(member) && self.group.is_idle() => {
                handover.step = Step::Told;
                turn.send(follower.link, Message::Lead { epoch, end });
                return;
            }
            _ => return,
        }
        self.change_in_sync(turn);
    }

    /// After handing over: once it is known who leads, clients are sent there.
    pub(super) fn forward(&mut self, turn: &mut Turn<'_>) {
        if self.master.is_some() {
            self.handed_over = None;
        }
        if self.handed_over.is_some_and(|until| !turn.due(until))
            && let Some(following) = &self.following
        {
            self.handed_over = None;
            turn.push(Effect::ForwardTo { master: following.master.clone() });
        }
    }
}
