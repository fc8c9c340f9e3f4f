//! Owns what a change of role means to clients: terms begin and end, requests are held and handed on.
//!
//! One command at a time, in the order in which the state machine gives them. What may take long is not part of a command but
//! work that it leaves to be done: a term to begin, a hold to settle, duties to begin again. It is given up when the next command
//! comes, and begun again if that one leaves it to be done.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bolide_replication::{Event, ReplicaName, Role as Wanted};
use bolide_telemetry::Readiness;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Shown;
use super::owner::{Input, Shared};
use super::upkeep;
use crate::broker::Broker;
use crate::front::{Front, FrontError, Listeners};
use crate::handler::pull::wake;
use crate::role::{Role, Serving, Standing};
use crate::serving::Term;

/// How long an old master still takes connections where the address takes its time to move to another pod.
const ADDRESS_MOVES: Duration = Duration::from_secs(3);
/// The same where the next master binds the same port.
const PORT_MOVES: Duration = Duration::from_millis(500);
/// The same where both hold the listening socket.
const SOCKET_MOVES: Duration = Duration::from_millis(50);
/// Pause before a term that could not begin is tried again.
const RETRY: Duration = Duration::from_millis(200);

/// What the state machine wants.
pub(super) enum Command {
    /// The role is another.
    Become(Wanted),
    /// Requests wait from now on.
    Hold,
    /// Requests are carried out again.
    Release,
    /// Another replica leads: requests go there.
    ForwardTo(ReplicaName),
}

/// What became of the newest planned switchover.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Switched {
    /// None was begun.
    Never,
    /// Requests wait.
    Under,
    /// It was given up.
    Failed,
    /// This replica leads now.
    To(ReplicaName),
}

/// Whether requests wait for a planned switchover.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hold {
    /// They do not.
    Off,
    /// They do, and what was let through before is to come into the log.
    Settling,
    /// They do, and the log has come to its end.
    Settled,
    /// They do not any more, and the duties are to begin again.
    Lifted,
}

/// The task's state.
pub(super) struct Roles {
    broker: Arc<Broker>,
    listeners: Listeners,
    shared: Arc<Shared>,
    shown: Shown,
    /// Host names of the other replicas.
    hosts: HashMap<ReplicaName, String>,
    switched: watch::Sender<Switched>,
    term: Option<(Standing, Term)>,
    /// The term that is to begin; there is no other then.
    next: Option<Standing>,
    hold: Hold,
    leaving: TaskTracker,
    /// Old connections are not handed on any longer.
    hurry: CancellationToken,
}

impl Roles {
    pub(super) fn new(
        broker: Arc<Broker>,
        listeners: Listeners,
        shared: Arc<Shared>,
        shown: Shown,
        hosts: HashMap<ReplicaName, String>,
        switched: watch::Sender<Switched>,
        hurry: CancellationToken,
    ) -> Roles {
        let leaving = TaskTracker::new();
        let (term, next, hold) = (None, None, Hold::Off);
        Roles { broker, listeners, shared, shown, hosts, switched, term, next, hold, leaving, hurry }
    }

    /// Works until `stop`, then ends the term.
    pub(super) async fn serve(
        mut self,
        mut commands: mpsc::UnboundedReceiver<Command>,
        stop: CancellationToken,
    ) -> Result<(), FrontError> {
        let outcome = loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break Ok(()),
                command = commands.recv() => match command {
                    Some(command) => self.carry_out(command).await,
                    None => break Ok(()),
                },
                worked = self.work() => if worked.is_err() {
                    break worked;
                },
            }
        };
        self.finish().await;
        outcome
    }

    /// Ends what has to end, and says what is to be done then. Takes no longer than connections do to close.
    async fn carry_out(&mut self, command: Command) {
        match command {
            Command::Become(wanted) => {
                let Some(standing) = self.standing_of(&wanted) else { return };
                if self.term.as_ref().is_some_and(|(before, _)| *before == standing) {
                    return;
                }
                self.lose(standing);
                if let Some((_, term)) = self.term.take() {
                    term.cut().await;
                }
                self.next = (standing.role != Role::Waiting).then_some(standing);
                self.hold = Hold::Off;
            }
            Command::Hold => {
                self.switched.send_replace(Switched::Under);
                if let Some((_, term)) = &self.term {
                    term.front.hold();
                }
                self.hold = Hold::Settling;
            }
            Command::Release => {
                self.switched.send_replace(Switched::Failed);
                let held = std::mem::replace(&mut self.hold, Hold::Off) != Hold::Off;
                if let Some((_, term)) = self.term.as_ref().filter(|_| held) {
                    term.front.release();
                    self.hold = Hold::Lifted;
                }
            }
            Command::ForwardTo(master) => {
                if let Some((_, term)) = self.term.take() {
                    let front = term.leave().await;
                    self.hand_on(front, &master);
                }
                self.next = None;
                self.hold = Hold::Off;
                self.lose(Standing::WAITING);
                self.switched.send_replace(Switched::To(master));
            }
        }
    }

    /// Does what the commands so far have left to be done; waits for ever when that is nothing. May be given up at any moment and
    /// called again.
    async fn work(&mut self) -> Result<(), FrontError> {
        match (self.hold, &mut self.term, self.next) {
            (Hold::Settling, ..) => {
                self.settle().await;
                self.hold = Hold::Settled;
                // The owner is gone only when the process ends.
                let _ = self.shared.inputs.send(Input::Event(Event::SendsHeld)).await;
            }
            (Hold::Lifted, Some((_, term)), _) => {
                term.renew_duties(&self.broker).await;
                self.hold = Hold::Off;
            }
            (Hold::Off, None, Some(standing)) => {
                let term = self.begin(standing).await?;
                self.began(standing, term);
            }
            _ => std::future::pending().await,
        }
        Ok(())
    }

    /// What the state machine wants, as clients see it; none when nothing changes for them. A slave whose master is gone stays
    /// one until there is a new one: what it shows is confirmed.
    fn standing_of(&self, wanted: &Wanted) -> Option<Standing> {
        match wanted {
            Wanted::Master { epoch, serving: true, acknowledging: true } => {
                Some(Standing { role: Role::Master, epoch: epoch.0 })
            }
            Wanted::Slave { master, epoch } => {
                let id = self.broker.live.load().config.own_slave_id(Some(master.as_str()));
                Some(Standing { role: Role::Slave(id), epoch: epoch.0 })
            }
            Wanted::Master { .. } => Some(Standing::WAITING),
            Wanted::Waiting => match &self.term {
                Some((standing, _)) if !standing.leads() => None,
                _ => Some(Standing::WAITING),
            },
        }
    }

    /// The broker does not lead now, or not yet.
    fn lose(&self, standing: Standing) {
        self.broker.standing.store(Arc::new(Standing { role: Role::Waiting, ..standing }));
        self.broker.state.follow();
        let reason = "not in its role yet".to_owned();
        self.shown.ready.store(Arc::new(Readiness::NotReady(reason)));
        self.shown.serving.send_replace(Serving::Nobody);
    }

    async fn begin(&self, standing: Standing) -> Result<Term, FrontError> {
        if standing.leads() {
            // Beyond the epoch's record too: a role that comes back in the same epoch finds what it appended before.
            self.broker.caught_up().await;
            self.broker.take_over();
            loop {
                match self.broker.make_predefined().await {
                    Ok(()) => break,
                    Err(error) => {
                        tracing::warn!(%error, "what every broker has cannot be made; it is tried again")
                    }
                }
                tokio::time::sleep(RETRY).await;
            }
            self.broker.delete_queues().await;
        }
        Term::begin(&self.broker, &self.listeners, standing).await
    }

    fn began(&mut self, standing: Standing, mut term: Term) {
        if standing.leads() {
            // whoever waits for the next switchover must not take the last one for it
            self.switched.send_replace(Switched::Never);
        } else {
            term.add(&self.broker, |stop| upkeep::serve(self.broker.clone(), stop));
        }
        tracing::info!(role = ?standing.role, epoch = standing.epoch, "serving in this role");
        self.shown.ready.store(Arc::new(Readiness::Ready));
        self.shown.serving.send_replace(standing.into());
        self.term = Some((standing, term));
        self.next = None;
    }

    /// Everything that was let through is in the log: offsets too.
    async fn settle(&mut self) {
        if let Some((_, term)) = &mut self.term {
            term.end_duties().await;
        }
        if let Err(error) = self.broker.log_dirty_offsets() {
            tracing::warn!(%error, "the newest offsets are not logged");
        }
        if let Err(error) = self.broker.append_barrier().await {
            tracing::warn!(%error, "the log does not take what is to be its end");
        }
    }

    fn hand_on(&mut self, front: Arc<Front>, master: &ReplicaName) {
        let live = self.broker.live();
        let own = self.broker.store_host;
        let (address, moves) = if self.listeners.shared(&live.config) {
            front.stop_accepting();
            let moves = if self.listeners.inherited() { SOCKET_MOVES } else { PORT_MOVES };
            (own.to_string(), moves)
        } else {
            let host = self.hosts.get(master).cloned().unwrap_or_else(|| own.ip().to_string());
            (format!("{host}:{}", live.config.listen_port), ADDRESS_MOVES)
        };
        tracing::info!(%master, %address, "handing requests on");
        front.hand_on(address);
        wake::answer_all(&self.broker);
        let hurry = self.hurry.clone();
        self.leaving.spawn(async move {
            front.empty(moves, &hurry).await;
            front.end().await;
        });
    }

    async fn finish(mut self) {
        self.shown.ready.store(Arc::new(Readiness::NotReady("stopping".into())));
        self.leaving.close();
        self.leaving.wait().await;
        match self.term.take() {
            Some((_, term)) => term.finish(&self.broker).await,
            None => {
                self.broker.shutdown.cancel();
                self.broker.tasks.close();
                self.broker.tasks.wait().await;
            }
        }
    }
}
