//! Owns the way of a client's requests through an old master to the new one: for each client connection one connection of
//! its own to the new master, with requests in both directions.
//!
//! So the new master knows each client by a connection of its own and can send it requests. Requests of a connection keep
//! their order. Java clients since 5.2 are told GO_AWAY once the address has moved: they connect anew and ask again without
//! their caller noticing; others are only cut off when nothing of theirs is under way.

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use bolide_transport::{CallError, Client, ClientConfig, Conn, ConnId, Handler, TransportMetrics};
use bolide_wire::language::Language;
use bolide_wire::{Command, RequestCode, ResponseCode};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::error::Failure;
use crate::reply;

/// How long nothing may have been under way on a connection that is cut off.
pub(super) const QUIET: Duration = Duration::from_millis(100);
/// How long a connection that answers nothing itself is waited for: longer than any pull is held.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How often a new master that does not listen yet is tried.
const CONNECT_RETRY: Duration = Duration::from_millis(10);
/// Requests of one connection that may wait to be sent on.
const WAITING: usize = 16_384;
/// 5.2.0: the first version that understands GO_AWAY.
const UNDERSTANDS_GO_AWAY: i32 = 453;

/// The relays of all connections to one new master.
pub(super) struct Relays {
    address: String,
    relays: Mutex<HashMap<ConnId, Arc<Relay>>>,
    /// Clients that understand it are sent to the new master rather than relayed.
    away: AtomicBool,
}

struct Relay {
    requests: mpsc::Sender<Command>,
    /// Requests that are not answered yet.
    open: AtomicUsize,
    last: Mutex<Instant>,
}

impl Relays {
    pub(super) fn new(address: String) -> Relays {
        Relays { address, relays: Mutex::new(HashMap::new()), away: AtomicBool::new(false) }
    }

    /// The address of the role has moved: whoever connects to it reaches the new master.
    pub(super) fn send_away(&self) {
        self.away.store(true, Ordering::Release);
    }

    /// Hands one request on.
    pub(super) fn hand_on(self: &Arc<Self>, conn: &Conn, command: Command) {
        let understands = command.language == Language::Java && command.version >= UNDERSTANDS_GO_AWAY;
        if understands && !command.is_oneway() && self.away.load(Ordering::Acquire) {
            return conn.reply(command.response(ResponseCode::GO_AWAY));
        }
        let relay = {
            let mut relays = self.relays.lock();
            relays.entry(conn.id()).or_insert_with(|| Relay::begin(&self.address, conn)).clone()
        };
        *relay.last.lock() = Instant::now();
        let counted = !command.is_oneway();
        if counted {
            relay.open.fetch_add(1, Ordering::AcqRel);
        }
        if let Err(refused) = relay.requests.try_send(command)
            && counted
        {
            relay.open.fetch_sub(1, Ordering::AcqRel);
            conn.reply(reply::answer(&refused.into_inner(), Err(Failure::Busy)));
        }
    }

    /// Nothing of this connection is under way, and nothing was a moment ago. A pull that waits for messages is not counted by
    /// clients as failed when its connection ends, but it is here.
    pub(super) fn is_quiet(&self, conn: &Conn) -> bool {
        self.relays.lock().get(&conn.id()).is_none_or(|relay| {
            relay.open.load(Ordering::Acquire) == 0 && relay.last.lock().elapsed() >= QUIET
        })
    }

    /// The client is gone.
    pub(super) fn remove(&self, conn: &Conn) {
        self.relays.lock().remove(&conn.id());
    }
}

impl Relay {
    fn begin(address: &str, conn: &Conn) -> Arc<Relay> {
        let (requests, waiting) = mpsc::channel(WAITING);
        let relay = Arc::new(Relay { requests, open: AtomicUsize::new(0), last: Mutex::new(Instant::now()) });
        conn.spawn(carry(address.to_owned(), conn.clone(), Arc::downgrade(&relay), waiting));
        relay
    }
}

type Answer = Pin<Box<dyn Future<Output = (Command, Result<Command, CallError>)> + Send>>;

/// Carries requests to the new master and answers back, until the client's connection ends.
async fn carry(
    address: String,
    conn: Conn,
    relay: std::sync::Weak<Relay>,
    mut waiting: mpsc::Receiver<Command>,
) {
    let back = Arc::new(Back { client: conn.clone() });
    let client = Client::with_handler(ClientConfig::default(), back, TransportMetrics::unregistered());
    let mut open: FuturesUnordered<Answer> = FuturesUnordered::new();
    loop {
        let request = tokio::select! {
            request = waiting.recv() => match request {
                Some(request) => request,
                None => break,
            },
            Some((request, answer)) = open.next() => {
                give_back(&conn, &request, answer);
                if let Some(relay) = relay.upgrade() {
                    relay.open.fetch_sub(1, Ordering::AcqRel);
                    *relay.last.lock() = Instant::now();
                }
                continue;
            }
            () = conn.closed() => break,
        };
        let upstream = reach(&client, &address).await;
        let mut asked: Answer = Box::pin(async move {
            let upstream = match upstream {
                Ok(upstream) => upstream,
                Err(error) => return (request, Err(error)),
            };
            if request.is_oneway() {
                // A one-way request may be lost, as on any way.
                let _ = upstream.oneway(request.clone());
                return (request.clone(), Ok(request));
            }
            let answer = upstream.request(request.clone(), ANSWER_TIMEOUT).await;
            (request, answer)
        });
        // The first poll sends the request: so requests keep their order.
        match poll_fn(|cx| Poll::Ready(asked.as_mut().poll(cx))).await {
            Poll::Ready((request, _)) if request.is_oneway() => {}
            Poll::Ready((request, answer)) => {
                give_back(&conn, &request, answer);
                if let Some(relay) = relay.upgrade() {
                    relay.open.fetch_sub(1, Ordering::AcqRel);
                }
            }
            Poll::Pending => open.push(asked),
        }
    }
    client.close(Duration::ZERO).await;
}

/// Connects to the new master. It may not listen yet: then it is tried again, for a while.
async fn reach(client: &Client, address: &str) -> Result<Conn, CallError> {
    let until = Instant::now() + CONNECT_TIMEOUT;
    loop {
        match client.connect(address, CONNECT_TIMEOUT).await {
            Err(CallError::Connect { .. }) if Instant::now() < until => {
                tokio::time::sleep(CONNECT_RETRY).await;
            }
            reached => return reached,
        }
    }
}

fn give_back(conn: &Conn, request: &Command, answer: Result<Command, CallError>) {
    if request.is_oneway() {
        return;
    }
    match answer {
        Ok(mut answer) => {
            answer.opaque = request.opaque;
            conn.reply(answer);
        }
        Err(error) => {
            tracing::debug!(peer = %conn.peer(), %error, "the new master does not answer");
            // A pull that nobody answers is asked again; anything else is not known to have happened.
            match request.request_code() {
                RequestCode::PULL_MESSAGE | RequestCode::LITE_PULL_MESSAGE => conn.close(),
                _ => conn.reply(reply::answer(request, Err(Failure::Busy))),
            }
        }
    }
}

/// Requests of the new master to the client.
struct Back {
    client: Conn,
}

impl Handler for Back {
    fn handle(&self, upstream: &Conn, requests: Vec<Command>) {
        for request in requests {
            if request.is_oneway() {
                // The client is gone: its end is noticed elsewhere.
                let _ = self.client.oneway(request);
                continue;
            }
            let (client, upstream) = (self.client.clone(), upstream.clone());
            upstream.clone().spawn(async move {
                let opaque = request.opaque;
                match client.request(request, ANSWER_TIMEOUT).await {
                    Ok(mut answer) => {
                        answer.opaque = opaque;
                        upstream.reply(answer);
                    }
                    Err(_) => upstream.no_reply(opaque),
                }
            });
        }
    }
}
