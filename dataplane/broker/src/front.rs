//! Owns the client listeners of one term in a role, and what happens to a request there: it is served, kept for a moment,
//! handed on to the next master, or refused.
//!
//! Invariants: a request is answered once, by whoever has it then. After [`Front::hold`] returns, no request that came in
//! here appends anything until [`Front::release`]: requests are carried out under the gate's read lock.

use std::sync::Arc;
use std::time::Duration;

use bolide_transport::{Conn, Server, Unfinished};
use bolide_wire::{Command, RequestCode};
use parking_lot::{Mutex, RwLock};
use tokio_util::sync::CancellationToken;

use crate::broker::Broker;
use crate::error::Failure;
use crate::handler::{Requests, slave};
use crate::reply;
use crate::role::Standing;

mod listen;
mod relay;

pub use listen::FrontError;
pub(crate) use listen::Listeners;
use relay::Relays;

/// How long an old master hands requests on before it closes what is still connected.
const HAND_ON_FOR: Duration = Duration::from_secs(30);

/// What happens to requests.
enum Gate {
    /// All are served.
    Open,
    /// Those that need no master are served.
    Slave,
    /// They wait, in the order in which they came. Bounded by what connections may leave unanswered or unfinished.
    Held(Vec<Held>),
    /// They go to the next master.
    HandedOn(Arc<Relays>),
}

/// A request that waits.
struct Held {
    conn: Conn,
    command: Command,
    pulls: bool,
    _unfinished: Option<Unfinished>,
}

/// The listeners of one term in a role.
pub(crate) struct Front {
    broker: Arc<Broker>,
    gate: RwLock<Gate>,
    servers: Mutex<Vec<Server>>,
    stop: CancellationToken,
}

impl Front {
    /// Begins to listen where clients look for the role. Ports that are taken are waited for, see [`Listeners`].
    pub(crate) async fn open(
        broker: &Arc<Broker>,
        listeners: &Listeners,
        standing: Standing,
    ) -> Result<Arc<Front>, FrontError> {
        let gate = if standing.leads() { Gate::Open } else { Gate::Slave };
        let front = Arc::new(Front {
            broker: broker.clone(),
            gate: RwLock::new(gate),
            servers: Mutex::new(Vec::new()),
            stop: CancellationToken::new(),
        });
        let unfinished = front.stop.clone().drop_guard();
        for port in listeners.ports(&broker.live.load().config, standing.role) {
            let requests = Requests::new(broker.clone(), front.clone(), port.pulls);
            let server = listeners.serve(broker, &port, Arc::new(requests), front.stop.clone()).await?;
            front.servers.lock().push(server);
        }
        unfinished.disarm();
        Ok(front)
    }

    /// Carries out the requests of one read.
    pub(crate) fn take(self: &Arc<Self>, requests: &Requests, conn: &Conn, commands: Vec<Command>) {
        {
            let gate = self.gate.read();
            match &*gate {
                Gate::Open => return requests.serve(conn, commands),
                Gate::Slave => return serve_as_slave(requests, conn, commands),
                Gate::Held(_) | Gate::HandedOn(_) => {}
            }
        }
        self.divert(requests, conn, commands);
    }

    /// Keeps or hands on requests, unless they may be served again by now.
    fn divert(self: &Arc<Self>, requests: &Requests, conn: &Conn, commands: Vec<Command>) {
        let relays = match &mut *self.gate.write() {
            Gate::Held(held) => {
                held.extend(commands.into_iter().map(|command| Held {
                    _unfinished: conn.unfinished(&command),
                    conn: conn.clone(),
                    command,
                    pulls: requests.pulls,
                }));
                return;
            }
            Gate::HandedOn(relays) => Some(relays.clone()),
            Gate::Open => None,
            Gate::Slave => return serve_as_slave(requests, conn, commands),
        };
        match relays {
            Some(relays) => {
                for command in commands {
                    relays.hand_on(conn, command);
                }
            }
            None => self.take(requests, conn, commands),
        }
    }

    /// Whether requests wait or are handed on: then `command`, which could not be carried out because this process leads no
    /// more, does so too. Otherwise it is given back.
    pub(crate) fn retake(
        self: &Arc<Self>,
        requests: &Requests,
        conn: &Conn,
        command: Command,
    ) -> Option<Command> {
        if matches!(&*self.gate.read(), Gate::Open | Gate::Slave) {
            return Some(command);
        }
        self.divert(requests, conn, vec![command]);
        None
    }

    /// From now on requests wait.
    pub(crate) fn hold(&self) {
        let mut gate = self.gate.write();
        if matches!(*gate, Gate::Open) {
            *gate = Gate::Held(Vec::new());
        }
    }

    /// Serves again, those first that wait.
    pub(crate) fn release(self: &Arc<Self>) {
        let mut gate = self.gate.write();
        let Gate::Held(held) = std::mem::replace(&mut *gate, Gate::Open) else { return };
        // Under the lock, so that nothing overtakes those that waited.
        for held in held {
            Requests::new(self.broker.clone(), self.clone(), held.pulls)
                .serve(&held.conn, vec![held.command]);
        }
    }

    /// Hands requests on to the master at `address` from now on, those first that wait.
    pub(crate) fn hand_on(&self, address: String) {
        let relays = Arc::new(Relays::new(address));
        let mut gate = self.gate.write();
        let before = std::mem::replace(&mut *gate, Gate::HandedOn(relays.clone()));
        if let Gate::Held(held) = before {
            for held in held {
                relays.hand_on(&held.conn, held.command);
            }
        }
    }

    /// Takes no more connections; those that are open go on.
    pub(crate) fn stop_accepting(&self) {
        for server in &*self.servers.lock() {
            server.stop_accepting();
        }
    }

    /// A connection has ended.
    pub(crate) fn closed(&self, conn: &Conn) {
        if let Gate::HandedOn(relays) = &*self.gate.read() {
            relays.remove(conn);
        }
    }

    fn connections(&self) -> Vec<Conn> {
        self.servers.lock().iter().flat_map(Server::connections).collect()
    }

    /// Sends clients to the new master one by one, in moments when nothing of theirs is under way; ends when all are gone, after
    /// half a minute, or when `hurry` says so.
    pub(crate) async fn empty(&self, move_after: Duration, hurry: &CancellationToken) {
        let relays = match &*self.gate.read() {
            Gate::HandedOn(relays) => relays.clone(),
            Gate::Open | Gate::Slave | Gate::Held(_) => return,
        };
        let work = async {
            tokio::time::sleep(move_after).await;
            self.stop_accepting();
            relays.send_away();
            loop {
                let open = self.connections();
                if open.is_empty() {
                    return;
                }
                for conn in open.into_iter().filter(|conn| relays.is_quiet(conn)) {
                    conn.close();
                }
                tokio::time::sleep(relay::QUIET).await;
            }
        };
        tokio::select! {
            _ = tokio::time::timeout(HAND_ON_FOR, work) => {}
            () = hurry.cancelled() => {}
        }
    }

    /// Ends every connection at once: what was asked and not answered is not known to have happened.
    pub(crate) fn cut(&self) {
        self.stop_accepting();
        for conn in self.connections() {
            conn.close();
        }
    }

    /// Answers what was asked, then ends.
    pub(crate) async fn end(&self) {
        self.stop.cancel();
        let servers = std::mem::take(&mut *self.servers.lock());
        for server in servers {
            server.stopped().await;
        }
    }

    /// The address of the main listener.
    #[cfg(test)]
    pub(crate) fn address(&self) -> std::net::SocketAddr {
        self.servers.lock()[0].local_addr()
    }
}

fn serve_as_slave(requests: &Requests, conn: &Conn, commands: Vec<Command>) {
    let (served, refused): (Vec<_>, Vec<_>) =
        commands.into_iter().partition(|command| slave::serves(code(command)));
    for command in refused.into_iter().filter(|command| !command.is_oneway()) {
        conn.reply(reply::answer(&command, Err(Failure::NotMaster)));
    }
    requests.serve(conn, served);
}

fn code(command: &Command) -> RequestCode {
    command.request_code().widened()
}
