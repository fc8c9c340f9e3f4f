//! Whole groups in the test's process: real stores, real sockets, links that can be silenced, a group state in memory.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bolide_replication::{CasOutcome, GroupState, ReplicaName, RoleName, Versioned};
use bolide_transport::{Client, ClientConfig};
use bolide_wire::{Command, Language, ResponseCode};
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;

use super::*;
use crate::config::replica::ReplicaAddress;
use crate::harness::{Pulled, pull, send};

mod roles;
mod terms;
mod tests;

const DEADLINE: Duration = Duration::from_secs(20);

/// The group state, as one replica reaches it.
#[derive(Clone)]
struct MemoryState {
    state: Arc<Mutex<Option<Versioned>>>,
    away: Arc<AtomicBool>,
}

impl GroupStateStore for MemoryState {
    fn load(&self) -> BoxFuture<'_, Result<Option<Versioned>, GroupStateError>> {
        Box::pin(async {
            if self.away.load(Ordering::SeqCst) {
                return Err(GroupStateError::Unreachable("away".into()));
            }
            Ok(self.state.lock().clone())
        })
    }

    fn compare_and_set<'a>(&'a self, version: &'a str, new: &'a GroupState) -> BoxFuture<'a, CasOutcome> {
        Box::pin(async move {
            if self.away.load(Ordering::SeqCst) {
                return CasOutcome::Unknown;
            }
            let mut state = self.state.lock();
            if state.as_ref().is_none_or(|known| known.version != version) {
                return CasOutcome::Conflict;
            }
            let version = new.revision.to_string();
            *state = Some(Versioned { state: new.clone(), version: version.clone() });
            CasOutcome::Set { version }
        })
    }
}

/// Forwards connections to a port, or keeps silent.
async fn forward(listener: tokio::net::TcpListener, to: u16, silent: watch::Receiver<bool>) {
    loop {
        let Ok((mut near, _)) = listener.accept().await else { return };
        let silent = silent.clone();
        tokio::spawn(async move {
            let Ok(mut far) = tokio::net::TcpStream::connect(("127.0.0.1", to)).await else { return };
            let (mut near_read, mut near_write) = near.split();
            let (mut far_read, mut far_write) = far.split();
            tokio::select! {
                () = copy(&mut near_read, &mut far_write, silent.clone()) => {}
                () = copy(&mut far_read, &mut near_write, silent.clone()) => {}
            }
        });
    }
}

async fn copy(
    from: &mut (impl AsyncReadExt + Unpin),
    to: &mut (impl AsyncWriteExt + Unpin),
    mut silent: watch::Receiver<bool>,
) {
    let mut buf = vec![0; 65_536];
    while let Ok(len @ 1..) = from.read(&mut buf).await {
        if silent.wait_for(|silent| !silent).await.is_err() || to.write_all(&buf[..len]).await.is_err() {
            return;
        }
    }
}

/// One replica's place; it may run or not.
struct Seat {
    config: BrokerConfig,
    folder: TempDir,
    state: MemoryState,
    running: Option<Running>,
}

/// A group of replicas.
pub(super) struct Group {
    seats: Vec<Seat>,
    listeners: Vec<TcpListener>,
    state: Arc<Mutex<Option<Versioned>>>,
    silent: watch::Sender<bool>,
    client: Client,
    /// Where the master is found.
    address: String,
    /// Where slave 1 is found.
    slave: String,
}

fn bound() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

fn port(listener: &TcpListener) -> u16 {
    listener.local_addr().unwrap().port()
}

impl Group {
    /// A new group, nothing of it running.
    pub(super) async fn new(count: usize, change: impl Fn(&mut BrokerConfig)) -> Group {
        let listeners: Vec<TcpListener> = (0..count).map(|_| bound()).collect();
        let reserved: Vec<TcpListener> = (0..count).map(|_| bound()).collect();
        let ports: Vec<u16> = reserved.iter().map(port).collect();
        drop(reserved);
        let (silent, silence) = watch::channel(false);
        let name = |number: usize| format!("a-{number}");
        let state = Arc::new(Mutex::new(Some(Versioned {
            state: GroupState::new_group(ReplicaName::new(&name(0)).unwrap()),
            version: "1".into(),
        })));
        let mut seats = Vec::new();
        for own in 0..count {
            let mut replicas = Vec::new();
            for (peer, port) in ports.iter().enumerate() {
                let mut address = SocketAddr::from(([127, 0, 0, 1], *port));
                if peer != own {
                    let proxy = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                    address = proxy.local_addr().unwrap();
                    tokio::spawn(forward(proxy, *port, silence.clone()));
                }
                replicas.push(ReplicaAddress { name: name(peer), address: address.to_string() });
            }
            let folder = tempfile::tempdir().unwrap();
            let mut config = BrokerConfig {
                bind_address: [127, 0, 0, 1].into(),
                broker_ip1: Some([127, 0, 0, 1].into()),
                listen_port: port(&listeners[0]),
                fast_listen_port: Some(0),
                slave_listen_ports: listeners[1..].iter().map(port).collect(),
                store_path_root_dir: folder.path().into(),
                mapped_file_size_commit_log: 8 << 20,
                replica_name: name(own),
                replicas,
                ..BrokerConfig::default()
            };
            change(&mut config);
            let state = MemoryState { state: state.clone(), away: Arc::default() };
            seats.push(Seat { config, folder, state, running: None });
        }
        let (address, slave) =
            (listeners[0].local_addr().unwrap().to_string(), listeners[1].local_addr().unwrap().to_string());
        let client = Client::new(ClientConfig::default());
        Group { seats, listeners, state, silent, client, address, slave }
    }

    /// A new group with all replicas running, the first of them leading and all in sync.
    pub(super) async fn started(count: usize, change: impl Fn(&mut BrokerConfig)) -> Group {
        let mut group = Group::new(count, change).await;
        for number in 0..count {
            group.start(number).await;
        }
        group.until("all are in sync", |group| group.in_sync() == count && group.leader() == Some(0)).await;
        group
    }

    pub(super) async fn start(&mut self, number: usize) {
        let listeners = self.listeners.iter().map(|listener| listener.try_clone().unwrap()).collect();
        let seat = &mut self.seats[number];
        let ready = Arc::new(ArcSwap::from_pointee(Readiness::NotReady("starting".into())));
        let state = Arc::new(seat.state.clone());
        let shown = Shown { ready, serving: watch::Sender::default() };
        let running = Running::start(seat.config.clone(), listeners, state, shown, &Registry::new()).await;
        seat.running = Some(running.unwrap());
    }

    /// Ends a replica without a word, as if its process was killed.
    pub(super) async fn kill(&mut self, number: usize) {
        let running = self.seats[number].running.take().unwrap();
        let broker = Arc::downgrade(&running.broker);
        running.crash().await;
        self.until("nothing of it is left", |_| broker.strong_count() == 0).await;
    }

    pub(super) fn running(&self, number: usize) -> &Running {
        self.seats[number].running.as_ref().unwrap()
    }

    fn alive(&self) -> impl Iterator<Item = (usize, &Running)> {
        self.seats.iter().enumerate().filter_map(|(number, seat)| Some((number, seat.running.as_ref()?)))
    }

    /// The replica that serves as master.
    pub(super) fn leader(&self) -> Option<usize> {
        let serves =
            |running: &Running| running.broker.leads() && running.shared.status().role == RoleName::Master;
        self.alive().find(|(_, running)| serves(running)).map(|(number, _)| number)
    }

    pub(super) fn in_sync(&self) -> usize {
        self.state.lock().as_ref().map_or(0, |state| state.state.in_sync.len())
    }

    pub(super) fn epoch(&self) -> u64 {
        self.state.lock().as_ref().map_or(0, |state| state.state.epoch.0)
    }

    pub(super) async fn until(&self, what: &str, condition: impl Fn(&Group) -> bool) {
        let waiting = async {
            while !condition(self) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let statuses = || self.alive().map(|(_, running)| running.shared.status()).collect::<Vec<_>>();
        let waited = tokio::time::timeout(DEADLINE, waiting).await;
        assert!(waited.is_ok(), "never: {what}: {:#?} {:#?}", statuses(), self.state.lock());
    }

    pub(super) async fn ask(&self, command: Command) -> Option<Command> {
        self.client.call(&self.address, command, Duration::from_secs(3)).await.ok()
    }

    /// Sends until it is acknowledged; returns how often it was not.
    pub(super) async fn send(&self, body: &str) -> u32 {
        self.send_as(&self.client, Language::Java, body).await
    }

    /// As `send`, over the connection of a client written in `language`.
    pub(super) async fn send_as(&self, client: &Client, language: Language, body: &str) -> u32 {
        for failed in 0..200 {
            let command = Command { language, ..send("orders", 0, body, "") };
            let answer = client.call(&self.address, command, Duration::from_secs(3)).await.ok();
            if answer.is_some_and(|answer| answer.response_code() == ResponseCode::SUCCESS) {
                return failed;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        unreachable!("{body} is never acknowledged")
    }

    /// Sends `count` messages, each until it is acknowledged.
    pub(super) async fn send_all(&self, prefix: &str, count: usize) {
        for number in 0..count {
            self.send(&format!("{prefix}{number}")).await;
        }
    }

    pub(super) async fn pull(&self, address: &str, offset: i64, hold_ms: i64) -> Pulled {
        let command = pull("puller", "orders", 0, offset, "*", hold_ms);
        let answer = self.client.call(address, command, DEADLINE).await.unwrap();
        let header = bolide_wire::header::pull::PullMessageResponse::decode(&answer.ext);
        Pulled {
            code: answer.code,
            next: header.map_or(-1, |header| header.next_begin_offset),
            body: answer.body,
        }
    }

    /// Every message, as read at `address`.
    pub(super) async fn read(&self, address: &str) -> Vec<String> {
        let (mut bodies, mut next) = (Vec::new(), 0);
        loop {
            let pulled = self.pull(address, next, 0).await;
            match pulled.code {
                0 => bodies.extend(pulled.bodies()),
                20 => {}
                19 => return bodies,
                other => unreachable!("pull answered {other}"),
            }
            next = pulled.next;
        }
    }

    /// Whether two replicas hold the same bytes.
    pub(super) fn equal(&self, one: usize, two: usize) -> bool {
        let (one, two) = (&self.running(one).broker.store, &self.running(two).broker.store);
        let end = one.watermarks().appended;
        let mut at = one.watermarks().min.max(two.watermarks().min);
        if two.watermarks().appended != end {
            return false;
        }
        while at < end {
            let (Ok(ours), Ok(theirs)) = (one.log_slice(at, 1 << 20), two.log_slice(at, 1 << 20)) else {
                return false;
            };
            let len = ours.len().min(theirs.len());
            if len == 0 || ours[..len] != theirs[..len] {
                return false;
            }
            at = bolide_wire::LogOffset(at.0 + len as u64);
        }
        true
    }
}
