//! What a master does for each follower: find where the logs part, then send what comes after, as fast as the window allows.
//!
//! Invariant: a follower's position is what it acknowledged in this session, after its truncation; nothing else counts.

use std::time::Duration;

use bolide_wire::LogOffset;

use super::{Replica, turn::Turn};
use crate::{
    config::Holds,
    event::{Effect, LinkId, SendFailure},
    history::{Fork, fork},
    message::{Ack, Hello, Message, PROTOCOL, Session, TruncateTo, Welcome},
    mutation::{Mutation, mutated},
    state::Member,
};

/// Pause after a read of the log that gave nothing.
const STALL: Duration = Duration::from_millis(50);

#[derive(Debug)]
pub(super) struct Follower {
    pub(super) link: LinkId,
    pub(super) member: Member,
    session: Session,
    /// Written and flushed; none before its first acknowledgement.
    held: Option<(LogOffset, LogOffset)>,
    /// Handed to the link up to here.
    sent: LogOffset,
    reading: bool,
    /// Nothing is read before this time.
    stalled_until: Duration,
    /// Confirm offset that it was told, and when.
    told: LogOffset,
    told_at: Duration,
    /// Bytes that may still be sent while it is not in sync, as of a time.
    budget: u64,
    budget_at: Duration,
}

impl Follower {
    /// Up to where it holds the log.
    pub(super) fn held(&self, holds: Holds) -> Option<LogOffset> {
        let (written, flushed) = self.held?;
        Some(match holds {
            Holds::Written => written,
            Holds::Flushed => flushed,
        })
    }

    /// True when it has written and, where that counts, flushed up to this offset.
    pub(super) fn holds_all(&self, end: LogOffset, holds: Holds) -> bool {
        self.held(holds).is_some_and(|held| held >= end)
    }

    fn refill(&mut self, rate: u64, burst: u64, now: Duration) {
        let elapsed = u64::try_from(now.saturating_sub(self.budget_at).as_micros()).unwrap_or(u64::MAX);
        let earned = u128::from(rate).saturating_mul(u128::from(elapsed)) / 1_000_000;
        let earned = u64::try_from(earned).unwrap_or(u64::MAX);
        if earned > 0 {
            self.budget = self.budget.saturating_add(earned).min(burst);
            self.budget_at = now;
        }
    }
}

impl Replica {
    pub(super) fn welcome(&self, link: LinkId, turn: &mut Turn<'_>) {
        turn.send(link, Message::Welcome(Welcome { protocol: PROTOCOL, standing: self.standing() }));
    }

    /// A hello of a peer of ours, on a link that it dialed.
    pub(super) fn on_hello(&mut self, link: LinkId, hello: &Hello, turn: &mut Turn<'_>) {
        self.welcome(link, turn);
        let Some(epoch) = self.log.leads() else { return };
        let standing = self.standing();
        let Some(master) = self.master.as_mut().filter(|master| master.epoch == epoch) else { return };
        let name = &hello.standing.member.name;
        master.gone.remove(name);
        if master.followers.get(name).is_some_and(|follower| follower.link != link) {
            master.followers.remove(name);
        }
        let known = |follower: &Follower| follower.link == link && follower.session >= hello.session;
        if hello.follows != epoch || master.followers.get(name).is_some_and(known) {
            return;
        }
        self.misfits.remove(name);
        if hello.segment_bytes != self.config.segment_bytes {
            self.misfits.insert(name.clone());
            return;
        }
        // So that the follower's first acknowledgement answers something of this epoch.
        self.links.beat(link, &standing, master.confirm, self.config.timing.heartbeat, turn);
        let view = self.log.view();
        let Fork::At(offset) = fork(view, &hello.epochs, hello.min, hello.standing.end) else {
            master.followers.remove(name);
            turn.send(link, Message::NeedSnapshot { epoch, min: view.min });
            return;
        };
        let early =
            mutated(Mutation::CountsBeforeTruncation).then_some((hello.standing.end, hello.standing.end));
        let follower = Follower {
            link,
            member: hello.standing.member.clone(),
            session: hello.session,
            held: early,
            sent: offset,
            reading: false,
            stalled_until: Duration::ZERO,
            told: LogOffset(0),
            told_at: turn.now,
            budget: 0,
            budget_at: turn.now,
        };
        master.followers.insert(name.clone(), follower);
        turn.send(link, Message::TruncateTo(TruncateTo { epoch, session: hello.session, offset }));
    }

    pub(super) fn on_ack(&mut self, link: LinkId, ack: Ack, turn: &mut Turn<'_>) {
        let Some(master) = self.master.as_mut().filter(|master| master.epoch == ack.epoch) else { return };
        let mut followers = master.followers.values_mut();
        let Some(follower) = followers.find(|found| found.link == link && found.session == ack.session)
        else {
            return;
        };
        if ack.written > follower.sent || ack.flushed > ack.written {
            self.drop_link(link, turn);
            return;
        }
        let (written, flushed) = follower.held.unwrap_or_default();
        follower.held = Some((written.max(ack.written), flushed.max(ack.flushed)));
        let name = follower.member.name.clone();
        self.links.on_echo(&name, ack.echo, turn.now);
    }

    pub(super) fn on_log_sent(
        &mut self,
        link: LinkId,
        session: Session,
        result: Result<LogOffset, SendFailure>,
        turn: &mut Turn<'_>,
    ) {
        let min = self.log.view().min;
        let Some(master) = &mut self.master else { return };
        let epoch = master.epoch;
        let mut followers = master.followers.values_mut();
        let Some(follower) = followers.find(|found| found.link == link && found.session == session) else {
            return;
        };
        follower.reading = false;
        match result {
            Ok(to) if to > follower.sent => {
                let bytes = to.0.saturating_sub(follower.sent.0);
                follower.budget = follower.budget.saturating_sub(bytes);
                follower.sent = to;
            }
            Ok(_) => follower.stalled_until = turn.now.saturating_add(STALL),
            Err(SendFailure::Gone) => {
                let name = follower.member.name.clone();
                master.followers.remove(&name);
                master.gone.insert(name);
                turn.send(link, Message::NeedSnapshot { epoch, min });
            }
            Err(SendFailure::Failed) => self.drop_link(link, turn),
        }
    }

    /// A link that a follower dialed has ended.
    pub(super) fn on_follower_down(&mut self, link: LinkId) {
        if let Some(master) = &mut self.master {
            let found = master.followers.iter().find(|(_, follower)| follower.link == link);
            if let Some(name) = found.map(|(name, _)| name.clone()) {
                master.followers.remove(&name);
                master.gone.insert(name);
            }
        }
    }

    /// Sends what each follower is to get next.
    pub(super) fn stream(&mut self, turn: &mut Turn<'_>) {
        let standing = self.standing();
        let end = self.log.view().end;
        let (config, group) = (&self.config, &self.group);
        let Some(master) = &mut self.master else { return };
        let (epoch, confirm) = (master.epoch, master.confirm);
        for follower in master.followers.values_mut() {
            let Some((written, _)) = follower.held else { continue };
            let under_way = follower.sent.0.saturating_sub(written.0);
            let wanted = follower.sent < end && !follower.reading && under_way < config.window_bytes;
            if wanted && turn.due(follower.stalled_until) {
                let bound = group.possible().any(|state| state.in_sync.contains(&follower.member));
                let batch = u64::from(config.batch_bytes);
                let affordable = match config.catch_up_bytes_per_second.filter(|_| !bound) {
                    None => true,
                    Some(rate) => {
                        follower.refill(rate, batch.max(rate / 10), turn.now);
                        let missing = batch.saturating_sub(follower.budget);
                        let wait =
                            missing.saturating_mul(1000).checked_div(rate).unwrap_or(1000).clamp(1, 1000);
                        missing == 0 || turn.due(turn.now.saturating_add(Duration::from_millis(wait)))
                    }
                };
                if affordable {
                    follower.reading = true;
                    follower.told = confirm;
                    follower.told_at = turn.now;
                    turn.push(Effect::SendLog {
                        link: follower.link,
                        epoch,
                        session: follower.session,
                        from: follower.sent,
                        max_bytes: config.batch_bytes,
                        confirm,
                    });
                }
            }
            if follower.told < confirm && turn.due(follower.told_at.saturating_add(config.timing.confirm)) {
                follower.told = confirm;
                follower.told_at = turn.now;
                self.links.beat(follower.link, &standing, confirm, config.timing.heartbeat, turn);
            }
        }
    }
}
