//! Following: adopt the master of the highest epoch, cut the log to what is common, take its batches, say what is held.
//!
//! Invariants:
//! - The stream of an epoch lower than the highest one seen is refused (I4).
//! - A truncation is done only in answer to a hello that was sent after all appends of earlier epochs had ended, and an
//!   acknowledgement is sent only after the truncation of its session (I1).
//! - What is confirmed here is never beyond the master's confirm offset, nor beyond what this replica holds of that master's
//!   log (I5, I8).

use std::time::Duration;

use bolide_wire::LogOffset;

use super::{Replica, turn::Turn};
use crate::{
    event::{Effect, LinkId, RawFailure, TruncateFailure},
    message::{Ack, Batch, Hello, Message, PROTOCOL, Session, Standing, TruncateTo},
    mutation::{Mutation, mutated},
    state::{Epoch, ReplicaName, Seen},
};

/// Time without a batch, though there is more to have, after which the link is given up.
const HUNGRY: Duration = Duration::from_secs(20);
/// Time without a part of the snapshot that was asked for, after which the link is given up, to ask again.
const SNAPSHOT_WAIT: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// No link on which it leads.
    Seeks,
    /// It leads on the link; appends of before are not done yet.
    Quiesces,
    /// The hello is sent.
    Asks { since: Duration },
    /// The log is being cut.
    Truncates,
    /// Batches come.
    Streams,
    /// The log cannot be continued without a snapshot.
    NeedsSnapshot,
}

/// The master that this replica looks to, and why it may be gone.
#[derive(Debug)]
pub(super) struct Following {
    pub(super) master: ReplicaName,
    pub(super) epoch: Epoch,
    step: Step,
    session: Session,
    link: Option<LinkId>,
    /// It was last heard to lead; or when it was first looked to.
    pub(super) heard: Duration,
    /// It was heard to lead by this process.
    connected: bool,
    /// After its link had ended, its address refused a connection.
    pub(super) refused: Option<Duration>,
    /// It has given up.
    pub(super) resigned: Option<Duration>,
    /// Its process says that it does not lead.
    pub(super) idle: Option<Duration>,
    /// It hands over to a log that ends here.
    pub(super) handover: Option<(LogOffset, Duration)>,
    confirm: LogOffset,
    /// The last batch or part of a snapshot came, or none was missing.
    fed: Duration,
    acked: Option<(LogOffset, LogOffset)>,
}

impl Following {
    fn new(master: ReplicaName, epoch: Epoch, now: Duration) -> Self {
        Self {
            master,
            epoch,
            step: Step::Seeks,
            session: Session::default(),
            link: None,
            heard: now,
            connected: false,
            refused: None,
            resigned: None,
            idle: None,
            handover: None,
            confirm: LogOffset(0),
            fed: now,
            acked: None,
        }
    }

    pub(super) fn streams(&self) -> bool {
        self.step == Step::Streams
    }

    pub(super) fn needs_snapshot(&self) -> bool {
        self.step == Step::NeedsSnapshot
    }

    fn lose_link(&mut self) {
        self.link = None;
        self.step = Step::Seeks;
        self.handover = None;
    }
}

impl Replica {
    /// Looks to whom the group state names.
    pub(super) fn look_to_state(&mut self, turn: &Turn<'_>) {
        let Some(known) = self.group.known() else { return };
        if self.master.is_some()
            || self.following.as_ref().is_some_and(|following| following.epoch >= known.epoch)
        {
            return;
        }
        let other = known.master.as_ref().filter(|master| master.name != self.me.name);
        self.following = other.map(|master| Following::new(master.name.clone(), known.epoch, turn.now));
    }

    /// A peer has said whether it leads. `dialed`: on a link on which it can lead us.
    pub(super) fn on_leader(&mut self, link: LinkId, dialed: bool, standing: &Standing, turn: &mut Turn<'_>) {
        let peer = &standing.member.name;
        let Some(epoch) = standing.leads else {
            if let Some(following) = self.following.as_mut().filter(|following| following.master == *peer) {
                following.idle.get_or_insert(turn.now);
                if following.link == Some(link) {
                    following.lose_link();
                }
            }
            return;
        };
        let highest = self.group.seen().unwrap_or_default().epoch;
        if epoch < highest {
            turn.send(link, Message::Refuse { epoch: highest });
            return;
        }
        if self.master.as_ref().is_some_and(|master| master.epoch >= epoch) {
            return;
        }
        self.step_down(turn);
        let revision = standing.seen.map_or(0, |seen| seen.revision);
        self.group.saw(Seen { epoch, revision }, turn);
        let same = self
            .following
            .as_ref()
            .is_some_and(|following| following.epoch == epoch && following.master == *peer);
        if !same {
            self.following = Some(Following::new(peer.clone(), epoch, turn.now));
        }
        let Some(following) = &mut self.following else { return };
        following.heard = turn.now;
        following.connected = true;
        following.idle = None;
        following.refused = None;
        if dialed && following.link != Some(link) {
            following.link = Some(link);
            following.step = Step::Quiesces;
        }
    }

    /// First words on a link that we dialed.
    pub(super) fn greet(&mut self, peer: &ReplicaName, link: LinkId, turn: &mut Turn<'_>) {
        let highest = self.group.seen().unwrap_or_default().epoch;
        let able = !self.foreign && turn.due(self.no_stream_before);
        let quiet = self.log.is_quiet() && self.master.is_none() && able;
        let mut follows = Epoch(0);
        let session = self.next_session();
        if let Some(following) = self.following.as_mut().filter(|following| following.master == *peer)
            && quiet
            && following.epoch >= highest
        {
            follows = following.epoch;
            following.link = Some(link);
            following.session = session;
            following.step = Step::Asks { since: turn.now };
            following.acked = None;
        }
        self.say_hello(link, session, follows, turn);
    }

    fn next_session(&mut self) -> Session {
        self.sessions = Session(self.sessions.0.saturating_add(1));
        self.sessions
    }

    fn say_hello(&self, link: LinkId, session: Session, follows: Epoch, turn: &mut Turn<'_>) {
        let view = self.log.view();
        let hello = Hello {
            protocol: PROTOCOL,
            cluster: self.config.cluster.clone(),
            group: self.config.group.clone(),
            segment_bytes: self.config.segment_bytes,
            standing: self.standing(),
            session,
            follows,
            epochs: view.newest_epochs(),
            min: view.min,
        };
        turn.send(link, Message::Hello(hello));
    }

    pub(super) fn on_truncate_to(&mut self, link: LinkId, message: TruncateTo, turn: &mut Turn<'_>) {
        let highest = self.group.seen().unwrap_or_default().epoch;
        let (end, quiet) = (self.log.view().end, self.log.is_quiet());
        let confirmed = self.confirmed;
        let Some(following) = self.asking(link, message.epoch) else { return };
        if following.session != message.session || following.epoch < highest || !quiet {
            return;
        }
        if message.offset > end {
            self.drop_link(link, turn);
        } else if message.offset == end {
            following.step = Step::Streams;
        } else if message.offset < confirmed {
            self.ask_for_snapshot(LogOffset(0), turn);
        } else {
            following.step = Step::Truncates;
            self.log.truncate(message.offset, turn);
        }
    }

    pub(super) fn on_need_snapshot(
        &mut self,
        link: LinkId,
        epoch: Epoch,
        min: LogOffset,
        turn: &mut Turn<'_>,
    ) {
        let Some(following) =
            self.following.as_mut().filter(|found| found.link == Some(link) && found.epoch == epoch)
        else {
            return;
        };
        if following.step != Step::NeedsSnapshot {
            self.ask_for_snapshot(min, turn);
        }
    }

    fn ask_for_snapshot(&mut self, min: LogOffset, turn: &mut Turn<'_>) {
        let Some(following) = &mut self.following else { return };
        following.step = Step::NeedsSnapshot;
        following.fed = turn.now;
        if let Some(link) = following.link {
            turn.push(Effect::NeedSnapshot { link, master: following.master.clone(), min });
        }
    }

    /// A part of the snapshot that was asked for has come.
    pub(super) fn on_snapshot_part(&mut self, link: LinkId, now: Duration) {
        if let Some(following) = self.following.as_mut().filter(|following| following.link == Some(link))
            && following.needs_snapshot()
        {
            following.fed = now;
        }
    }

    /// The master that we asked on this link, in this epoch, for where to cut.
    fn asking(&mut self, link: LinkId, epoch: Epoch) -> Option<&mut Following> {
        let asks = |found: &&mut Following| matches!(found.step, Step::Asks { .. });
        self.following.as_mut().filter(|found| found.link == Some(link) && found.epoch == epoch).filter(asks)
    }

    pub(super) fn on_truncated(
        &mut self,
        result: &Result<crate::history::LogView, TruncateFailure>,
        turn: &mut Turn<'_>,
    ) {
        self.log.on_truncated(result);
        let Some(following) = self.following.as_mut().filter(|found| found.step == Step::Truncates) else {
            return;
        };
        match (result, following.link) {
            (Ok(_), _) => following.step = Step::Streams,
            (Err(TruncateFailure::Shown), _) => {
                self.ask_for_snapshot(LogOffset(0), turn);
            }
            (Err(TruncateFailure::Refused), Some(link)) => self.drop_link(link, turn),
            (Err(TruncateFailure::Refused), None) => {}
        }
    }

    pub(super) fn on_batch(&mut self, link: LinkId, batch: Batch, turn: &mut Turn<'_>) {
        let highest = self.group.seen().unwrap_or_default().epoch;
        let Some(following) =
            self.following.as_mut().filter(|found| found.link == Some(link) && found.streams())
        else {
            return;
        };
        if batch.epoch != following.epoch || batch.session != following.session || following.epoch < highest {
            return;
        }
        following.heard = turn.now;
        following.fed = turn.now;
        following.confirm = following.confirm.max(batch.confirm);
        let end = batch.offset.0.saturating_add(batch.bytes.len() as u64);
        let (next, pending) = (self.log.next(), self.log.pending_bytes());
        if batch.offset == next && pending <= self.config.window_bytes.saturating_mul(2) {
            self.log.append_raw(batch.bytes, turn);
        } else if end > next.0 {
            self.drop_link(link, turn);
        }
    }

    pub(super) fn on_raw_appended(
        &mut self,
        result: &Result<crate::history::LogView, RawFailure>,
        turn: &mut Turn<'_>,
    ) {
        self.log.on_raw(result);
        self.raw_failure = result.as_ref().err().copied().or(self.raw_failure.filter(|_| result.is_err()));
        if result.is_err() {
            self.no_stream_before = turn.now.saturating_add(self.config.timing.shrink);
        }
        if result.is_err()
            && let Some(link) = self.following.as_ref().and_then(|following| following.link)
        {
            self.drop_link(link, turn);
        }
    }

    /// A master's heartbeat on a link that we dialed.
    pub(super) fn on_confirm(&mut self, link: LinkId, epoch: Epoch, confirm: LogOffset) {
        if let Some(following) =
            self.following.as_mut().filter(|found| found.link == Some(link) && found.epoch == epoch)
            && following.streams()
        {
            following.confirm = following.confirm.max(confirm);
        }
    }

    pub(super) fn on_lead(&mut self, link: LinkId, epoch: Epoch, end: LogOffset, now: Duration) {
        if let Some(following) =
            self.following.as_mut().filter(|found| found.link == Some(link) && found.epoch == epoch)
        {
            following.handover = Some((end, now));
        }
    }

    pub(super) fn on_resign(&mut self, peer: &ReplicaName, epoch: Epoch, now: Duration) {
        if let Some(following) =
            self.following.as_mut().filter(|found| found.master == *peer && found.epoch == epoch)
        {
            following.resigned = Some(now);
        }
    }

    pub(super) fn on_master_link_down(&mut self, link: LinkId) {
        if let Some(following) = self.following.as_mut().filter(|following| following.link == Some(link)) {
            following.lose_link();
        }
    }

    pub(super) fn on_master_refuses(&mut self, peer: &ReplicaName, now: Duration) {
        if let Some(following) = self.following.as_mut().filter(|following| following.master == *peer)
            && following.connected
            && following.link.is_none()
        {
            following.refused.get_or_insert(now);
        }
    }

    /// What is due while following.
    pub(super) fn follow(&mut self, turn: &mut Turn<'_>) {
        let highest = self.group.seen().unwrap_or_default().epoch;
        let Some(following) = &mut self.following else { return };
        let Some(link) = following.link else { return };
        if following.epoch < highest {
            following.lose_link();
            return;
        }
        match following.step {
            Step::Quiesces if self.log.is_quiet() && !self.foreign && turn.due(self.no_stream_before) => {
                let epoch = following.epoch;
                following.step = Step::Asks { since: turn.now };
                following.acked = None;
                let session = self.next_session();
                if let Some(following) = &mut self.following {
                    following.session = session;
                }
                self.say_hello(link, session, epoch, turn);
            }
            Step::Asks { since } if turn.due(since.saturating_add(self.config.timing.suspect)) => {
                self.drop_link(link, turn);
            }
            Step::NeedsSnapshot if turn.due(following.fed.saturating_add(SNAPSHOT_WAIT)) => {
                self.drop_link(link, turn);
            }
            Step::Streams => {
                let end = self
                    .links
                    .peer(&following.master)
                    .and_then(|peer| peer.standing())
                    .map(|found| found.end);
                if end <= Some(self.log.next()) {
                    following.fed = turn.now;
                }
                if turn.due(following.fed.saturating_add(HUNGRY)) {
                    self.drop_link(link, turn);
                } else {
                    self.acknowledge(link, turn);
                }
            }
            _ => {}
        }
    }

    fn acknowledge(&mut self, link: LinkId, turn: &mut Turn<'_>) {
        let Some(following) = &mut self.following else { return };
        let view = self.log.view();
        let held = (view.end, view.flushed.min(view.end));
        if following.acked != Some(held) {
            following.acked = Some(held);
            let (written, flushed) = held;
            let echo = self.links.stamp(link);
            let (epoch, session) = (following.epoch, following.session);
            turn.send(link, Message::Ack(Ack { epoch, session, written, flushed, echo }));
        }
        let own = self.log.held(self.config.holds);
        let confirm = if mutated(Mutation::SnapshotBeyondConfirm) { own } else { following.confirm.min(own) };
        self.set_confirmed(confirm, turn);
    }
}
