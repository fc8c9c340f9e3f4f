//! Owns the replica's state machine: one task that gives it one event at a time and begins what it wants done.
//!
//! Nothing here waits for a disk, a peer or the group state, except for the note of a state seen, which must be durable before
//! anything that follows it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bolide_replication::{
    Acknowledging, CasOutcome, Effect, Epoch, EpochStart, Event, LinkId, LogView, Message, RawFailure,
    Replica, ReplicaName, RoleName, Status, TruncateFailure, Unavailable,
};
use bolide_store::{RawError, RoleError};
use bolide_wire::LogOffset;
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::group_state::GroupStateStore;
use super::identity::Remembered;
use super::link::{Link, Links, Out};
use super::roles::{Command, Switched};
use super::snapshot::{self, Got};
use crate::broker::Broker;

/// How long the place of the group state may take to answer.
const STATE_TIMEOUT: Duration = Duration::from_secs(5);
/// How old the status that others see may be while nothing happens.
const STATUS_EVERY: Duration = Duration::from_millis(200);

/// What comes to the owner from outside the store.
pub(super) enum Input {
    /// For the state machine.
    Event(Event),
    /// A connection is there: its event, and the end to write to.
    Opened(Event, LinkId, Link),
    /// A part of a snapshot came in, or is asked for.
    Snapshot(LinkId, Got),
    /// A connection is to be closed: what was asked for on it does not come.
    GiveUp(LinkId),
}

/// What the store has done. There are no more of these at a time than effects under way.
enum Done {
    Followed(Result<LogOffset, RoleError>),
    Led(Epoch, Result<LogOffset, RoleError>),
    Raw(Result<LogOffset, RawError>),
    Truncated(Result<LogOffset, RoleError>),
}

/// What other parts of the broker may know and ask.
pub(crate) struct Shared {
    status: Mutex<Status>,
    has_slave: AtomicBool,
    short: AtomicBool,
    pub(super) inputs: mpsc::Sender<Input>,
}

impl Shared {
    pub(super) fn new(status: Status, inputs: mpsc::Sender<Input>) -> Shared {
        Shared {
            status: Mutex::new(status),
            has_slave: AtomicBool::new(false),
            short: AtomicBool::new(false),
            inputs,
        }
    }

    /// How the replica looks, at most a moment ago.
    pub(crate) fn status(&self) -> Status {
        self.status.lock().clone()
    }

    /// Whether another replica is connected and in sync.
    pub(super) fn has_slave(&self) -> bool {
        self.has_slave.load(Ordering::Relaxed)
    }

    /// Whether this replica leads with fewer in sync than messages need.
    pub(super) fn short(&self) -> bool {
        self.short.load(Ordering::Relaxed)
    }

    /// Takes no role any more: the process is about to end.
    pub(super) async fn retire(&self) {
        // The owner is gone only when the process ends.
        let _ = self.inputs.send(Input::Event(Event::Retire)).await;
    }

    /// Asks for a planned switchover; what comes of it is seen in the status.
    pub(crate) async fn switch_over(&self, to: Option<ReplicaName>) {
        // The owner is gone only when the process ends.
        let _ = self.inputs.send(Input::Event(Event::Switchover { to })).await;
    }

    /// Asks for a planned switchover and waits for what comes of it, whatever came of earlier ones.
    pub(super) async fn switch_over_and_see(
        &self,
        to: Option<ReplicaName>,
        mut switched: watch::Receiver<Switched>,
    ) -> Switched {
        switched.mark_unchanged();
        self.switch_over(to).await;
        loop {
            if switched.changed().await.is_err() {
                return Switched::Failed;
            }
            match &*switched.borrow_and_update() {
                Switched::Never | Switched::Under => {}
                outcome => return outcome.clone(),
            }
        }
    }
}

/// The task's state.
pub(super) struct Owner {
    pub(super) replica: Replica,
    pub(super) broker: Arc<Broker>,
    pub(super) group_state: Arc<dyn GroupStateStore>,
    pub(super) remembered: Remembered,
    /// Addresses of the other replicas.
    pub(super) peers: HashMap<ReplicaName, String>,
    pub(super) links: Links,
    pub(super) shared: Arc<Shared>,
    /// A command for each change of role; they are few.
    pub(super) roles: mpsc::UnboundedSender<Command>,
    /// Cancelled when a snapshot has come whole.
    pub(super) rebuild: CancellationToken,
    /// Cancelled when this process cannot go on.
    pub(super) fatal: CancellationToken,
    open: HashMap<LinkId, Link>,
    /// Connections over which a snapshot was asked for.
    asked: HashSet<LinkId>,
    epochs: Arc<[EpochStart]>,
    done: mpsc::UnboundedSender<Done>,
    finished: mpsc::UnboundedReceiver<Done>,
    store_failed: bool,
    status_due: Duration,
}

/// What an owner is made of.
pub(super) struct Parts {
    pub(super) replica: Replica,
    pub(super) broker: Arc<Broker>,
    pub(super) group_state: Arc<dyn GroupStateStore>,
    pub(super) remembered: Remembered,
    pub(super) peers: HashMap<ReplicaName, String>,
    pub(super) links: Links,
    pub(super) shared: Arc<Shared>,
    pub(super) roles: mpsc::UnboundedSender<Command>,
    pub(super) rebuild: CancellationToken,
    pub(super) fatal: CancellationToken,
}

impl Owner {
    pub(super) fn new(parts: Parts) -> Owner {
        let Parts { replica, broker, group_state, remembered, peers, links, shared, roles, rebuild, fatal } =
            parts;
        let (done, finished) = mpsc::unbounded_channel();
        Owner {
            replica,
            broker,
            group_state,
            remembered,
            peers,
            links,
            shared,
            roles,
            rebuild,
            fatal,
            open: HashMap::new(),
            asked: HashSet::new(),
            epochs: Arc::default(),
            done,
            finished,
            store_failed: false,
            status_due: Duration::ZERO,
        }
    }

    /// Works until `stop`; hands back what is remembered.
    pub(super) async fn serve(
        mut self,
        mut inputs: mpsc::Receiver<Input>,
        stop: CancellationToken,
    ) -> Remembered {
        let mut effects = Vec::new();
        let mut event = Some(Event::Tick);
        loop {
            let now = self.broker.clock.monotonic();
            if let Some(event) = event.take() {
                self.replica.handle(now, event, &mut effects);
                for effect in effects.drain(..) {
                    self.begin(effect).await;
                }
            }
            self.show(now);
            if self.broker.store.poisoned() && !std::mem::replace(&mut self.store_failed, true) {
                event = Some(Event::StoreFailed);
                continue;
            }
            let pause = self.replica.wake_at().saturating_sub(now).min(STATUS_EVERY);
            event = tokio::select! {
                () = stop.cancelled() => break,
                Some(done) = self.finished.recv() => Some(self.event_of(done)),
                () = self.broker.state.progress.notified() => Some(self.progress()),
                Some(input) = inputs.recv() => self.take(input),
                () = tokio::time::sleep(pause) => Some(Event::Tick),
            };
        }
        self.remembered
    }

    fn show(&mut self, now: Duration) {
        if now >= self.status_due {
            self.status_due = now.saturating_add(STATUS_EVERY);
            let status = self.replica.status();
            let slaves = status.peers.iter().filter(|peer| peer.connected && peer.in_sync).count();
            self.shared.has_slave.store(slaves > 0, Ordering::Relaxed);
            let live = self.broker.live.load();
            let wanted = usize::try_from(live.config.min_in_sync).unwrap_or(usize::MAX);
            let leads = matches!(status.role, RoleName::Master | RoleName::Starting);
            self.shared.short.store(leads && slaves.saturating_add(1) < wanted, Ordering::Relaxed);
            *self.shared.status.lock() = status;
        }
    }

    fn take(&mut self, input: Input) -> Option<Event> {
        match input {
            Input::Event(event) => {
                if let Event::LinkDown { link } = &event {
                    self.open.remove(link);
                    self.asked.remove(link);
                }
                Some(event)
            }
            Input::Opened(event, id, link) => {
                self.open.insert(id, link);
                Some(event)
            }
            Input::Snapshot(id, Got::Wanted) => {
                if let Some(link) = self.open.get(&id) {
                    let (broker, out) = (self.broker.clone(), link.sender());
                    let inputs = self.links.inputs.clone();
                    self.links.spawn(async move {
                        if !snapshot::send(broker, out).await {
                            // Nobody listens any more only when the process ends.
                            let _ = inputs.send(Input::GiveUp(id)).await;
                        }
                    });
                }
                None
            }
            Input::GiveUp(id) => {
                self.open.remove(&id);
                None
            }
            Input::Snapshot(_, Got::Whole) => {
                self.rebuild.cancel();
                None
            }
        }
    }

    fn progress(&self) -> Event {
        let marks = self.broker.store.watermarks();
        Event::Progress { appended: marks.appended, flushed: marks.flushed }
    }

    /// The log as it is now, or as it was when it ended at `end`.
    fn view(&mut self, end: Option<LogOffset>) -> LogView {
        let marks = self.broker.store.watermarks();
        let end = end.unwrap_or(marks.appended);
        let found = self.broker.store.epochs();
        let same = found.len() == self.epochs.len()
            && found.iter().zip(self.epochs.iter()).all(|(a, b)| a.epoch == b.epoch.0 && a.start == b.start);
        if !same {
            self.epochs = found
                .iter()
                .map(|entry| EpochStart { epoch: Epoch(entry.epoch), start: entry.start })
                .collect();
        }
        LogView { min: marks.min, end, flushed: marks.flushed.min(end), epochs: self.epochs.clone() }
    }

    /// The log at the start of the process.
    pub(super) fn first_view(broker: &Broker) -> LogView {
        let marks = broker.store.watermarks();
        let epochs = broker.store.epochs();
        LogView {
            min: marks.min,
            end: marks.appended,
            flushed: marks.flushed,
            epochs: epochs
                .iter()
                .map(|entry| EpochStart { epoch: Epoch(entry.epoch), start: entry.start })
                .collect(),
        }
    }

    fn event_of(&mut self, done: Done) -> Event {
        match done {
            Done::Followed(result) => {
                if let Err(error) = result {
                    tracing::error!(%error, "the store does not follow");
                }
                Event::Following(self.view(None))
            }
            Done::Led(epoch, Ok(_)) => Event::Leading { epoch, log: Some(self.view(None)) },
            Done::Led(epoch, Err(error)) => {
                tracing::error!(%epoch, %error, "the epoch cannot begin");
                Event::Leading { epoch, log: None }
            }
            Done::Raw(Ok(end)) => Event::RawAppended(Ok(self.view(Some(end)))),
            Done::Raw(Err(error)) => {
                tracing::warn!(%error, "bytes of the master's log were not taken");
                Event::RawAppended(Err(match error {
                    RawError::Gap { .. } | RawError::Busy => RawFailure::Gap,
                    RawError::Malformed { .. } => RawFailure::Malformed,
                    RawError::DiskFull | RawError::NoSegment => RawFailure::DiskFull,
                    RawError::Leading | RawError::Poisoned | RawError::Closed => RawFailure::Refused,
                }))
            }
            Done::Truncated(Ok(_)) => Event::Truncated(Ok(self.view(None))),
            Done::Truncated(Err(error)) => {
                tracing::warn!(%error, "the log was not cut");
                Event::Truncated(Err(match error {
                    RoleError::Confirmed { .. } => TruncateFailure::Shown,
                    _ => TruncateFailure::Refused,
                }))
            }
        }
    }

    async fn begin(&mut self, effect: Effect) {
        let store = &self.broker.store;
        let done = self.done.clone();
        // In all of these: nobody listens any more only when the process ends.
        match effect {
            Effect::PersistSeen(seen) => self.persist(seen).await,
            Effect::LoadState => self.load_state(),
            Effect::CompareAndSet { version, new } => {
                let (group_state, inputs) = (self.group_state.clone(), self.links.inputs.clone());
                tracing::info!(epoch = %new.epoch, master = ?new.master, in_sync = ?new.in_sync, "setting the group state");
                self.links.spawn(async move {
                    let setting = group_state.compare_and_set(&version, &new);
                    let outcome =
                        tokio::time::timeout(STATE_TIMEOUT, setting).await.unwrap_or(CasOutcome::Unknown);
                    let _ = inputs.send(Input::Event(Event::CasDone(outcome))).await;
                });
            }
            Effect::Follow => {
                store.follow(Box::new(move |result| drop(done.send(Done::Followed(result)))));
            }
            Effect::Lead { epoch } => {
                let name = self.replica.status().member.name;
                let led = move |result| drop(done.send(Done::Led(epoch, result)));
                store.lead(epoch.0, name.as_str(), Box::new(led));
            }
            Effect::Truncate { to } => {
                tracing::info!(to = to.0, "cutting the log where it parts from the master's");
                store.truncate(to, Box::new(move |result| drop(done.send(Done::Truncated(result)))));
            }
            Effect::AppendRaw { at, bytes } => {
                store.append_raw(at, bytes, Box::new(move |result| drop(done.send(Done::Raw(result)))));
            }
            Effect::SetConfirmed(offset) => store.set_confirmed(offset),
            Effect::SetAcknowledging(to) => store.set_acknowledging(match to {
                Acknowledging::Yes => bolide_store::Acknowledging::Yes,
                Acknowledging::Until(time) => bolide_store::Acknowledging::Until(time),
                Acknowledging::No => bolide_store::Acknowledging::No,
            }),
            Effect::Dial { peer } => match self.peers.get(&peer) {
                Some(address) => self.links.dial(peer, address.clone()),
                None => tracing::error!(%peer, "a replica without an address"),
            },
            Effect::Send { link, message } => self.send(link, Out::Message(message)),
            Effect::SendLog { link, epoch, session, from, max_bytes, confirm } => {
                self.send(link, Out::Log { epoch, session, from, max_bytes, confirm });
            }
            Effect::Close { link } => {
                // What is queued is written, then the link ends and says so.
                self.open.remove(&link);
            }
            Effect::Role(role) => {
                tracing::info!(?role, "role");
                self.status_due = Duration::ZERO;
                let _ = self.roles.send(Command::Become(role));
            }
            Effect::NeedSnapshot { link, master, min } => {
                if !self.asked.insert(link) {
                    return;
                }
                tracing::warn!(%master, min = min.0, "the master's log begins after the end of this one: everything is copied anew");
                self.send(link, Out::Message(Message::Shell(snapshot::request())));
            }
            Effect::HoldSends => drop(self.roles.send(Command::Hold)),
            Effect::ReleaseSends => drop(self.roles.send(Command::Release)),
            Effect::ForwardTo { master } => drop(self.roles.send(Command::ForwardTo(master))),
        }
    }

    fn send(&mut self, link: LinkId, out: Out) {
        let sent = self.open.get(&link).is_none_or(|link| link.send(out));
        if !sent {
            tracing::warn!(
                link = link.0,
                "a replica does not read what it is sent; the connection is closed"
            );
            self.open.remove(&link);
        }
    }

    async fn persist(&mut self, seen: bolide_replication::Seen) {
        let (mut remembered, disk) = (self.remembered.clone(), self.broker.disk.clone());
        let written =
            tokio::task::spawn_blocking(move || remembered.saw(disk.as_ref(), seen).map(|()| remembered));
        match written.await {
            Ok(Ok(remembered)) => self.remembered = remembered,
            Ok(Err(error)) => self.give_up(&error),
            Err(error) => self.give_up(&error),
        }
    }

    /// What was seen cannot be noted: going on could make this replica believe an older state after a restart.
    fn give_up(&self, error: &dyn std::error::Error) {
        tracing::error!(%error, "the highest state seen cannot be noted; the process ends");
        self.fatal.cancel();
    }

    fn load_state(&self) {
        let (group_state, inputs) = (self.group_state.clone(), self.links.inputs.clone());
        self.links.spawn(async move {
            let loaded = match tokio::time::timeout(STATE_TIMEOUT, group_state.load()).await {
                Ok(Ok(loaded)) => Ok(loaded),
                Ok(Err(error)) => {
                    tracing::warn!(%error, "who leads the group is not known");
                    Err(Unavailable)
                }
                Err(_) => {
                    tracing::warn!("who leads the group is not known: no answer");
                    Err(Unavailable)
                }
            };
            let _ = inputs.send(Input::Event(Event::StateLoaded(loaded))).await;
        });
    }
}
