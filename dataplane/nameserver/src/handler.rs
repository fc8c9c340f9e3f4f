//! Requests of brokers, clients and tools: one line per request code in [`TABLE`], one module per family.
//!
//! Queries and registrations are answered on the connection's task. What writes to disk runs on a blocking thread.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bolide_transport::{Conn, ConnId, Handler};
use bolide_wire::{Command, RequestCode, ResponseCode};
use parking_lot::RwLock;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::config::NameserverConfig;
use crate::kv::{Kv, WRITE_PERM_WIPED};
use crate::metrics::NameserverMetrics;
use crate::routes::{Member, Routes};

mod error;
mod kv;
mod register;
mod route;
mod settings;
mod topic;

pub(crate) use error::RequestError;

/// Changes of the key-value table that may wait for the disk.
const MAX_DISK_WAITERS: usize = 64;

type Answer = Result<Command, RequestError>;

/// How a request is answered.
#[derive(Clone, Copy)]
enum Handle {
    /// Whoever asks.
    Any(fn(&Requests, &Command) -> Answer),
    /// It matters on which connection the request came.
    OfConnection(fn(&Requests, ConnId, &Command) -> Answer),
}

/// Every code that the nameserver knows, in order of number. Any other is answered with "not supported".
const TABLE: &[(RequestCode, Handle)] = &[
    (RequestCode::PUT_KV_CONFIG, Handle::Any(kv::put)),
    (RequestCode::GET_KV_CONFIG, Handle::Any(kv::get)),
    (RequestCode::DELETE_KV_CONFIG, Handle::Any(kv::delete)),
    (RequestCode::REGISTER_BROKER, Handle::OfConnection(register::register)),
    (RequestCode::UNREGISTER_BROKER, Handle::Any(register::unregister)),
    (RequestCode::GET_ROUTEINFO_BY_TOPIC, Handle::Any(route::route)),
    (RequestCode::GET_BROKER_CLUSTER_INFO, Handle::Any(route::cluster_info)),
    (RequestCode::WIPE_WRITE_PERM_OF_BROKER, Handle::Any(kv::wipe_write)),
    (RequestCode::GET_ALL_TOPIC_LIST_FROM_NAMESERVER, Handle::Any(topic::all)),
    (RequestCode::DELETE_TOPIC_IN_NAMESRV, Handle::Any(topic::delete)),
    (RequestCode::REGISTER_TOPIC_IN_NAMESRV, Handle::Any(topic::register)),
    (RequestCode::GET_KVLIST_BY_NAMESPACE, Handle::Any(kv::list)),
    (RequestCode::GET_TOPICS_BY_CLUSTER, Handle::Any(topic::of_cluster)),
    (RequestCode::GET_SYSTEM_TOPIC_LIST_FROM_NS, Handle::Any(topic::system)),
    (RequestCode::GET_UNIT_TOPIC_LIST, Handle::Any(topic::unit)),
    (RequestCode::GET_HAS_UNIT_SUB_TOPIC_LIST, Handle::Any(topic::unit)),
    (RequestCode::GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST, Handle::Any(topic::unit)),
    (RequestCode::UPDATE_NAMESRV_CONFIG, Handle::Any(settings::update)),
    (RequestCode::GET_NAMESRV_CONFIG, Handle::Any(settings::get)),
    (RequestCode::QUERY_DATA_VERSION, Handle::Any(register::query_version)),
    (RequestCode::ADD_WRITE_PERM_OF_BROKER, Handle::Any(kv::add_write)),
    (RequestCode::GET_BROKER_MEMBER_GROUP, Handle::Any(route::member_group)),
    (RequestCode::BROKER_HEARTBEAT, Handle::OfConnection(register::heartbeat)),
    (RequestCode::BOLIDE_REGISTER_DELTA, Handle::OfConnection(register::register_delta)),
];

fn line(code: RequestCode) -> Option<Handle> {
    let at = TABLE.binary_search_by_key(&code, |(code, _)| *code).ok()?;
    TABLE.get(at).map(|(_, handle)| *handle)
}

/// Codes that the dispatch table has, in order of number.
pub fn served() -> impl Iterator<Item = RequestCode> {
    TABLE.iter().map(|(code, _)| *code)
}

/// The state that requests work on.
#[derive(Debug)]
pub(crate) struct Requests {
    routes: RwLock<Routes>,
    kv: Kv,
    config: RwLock<NameserverConfig>,
    metrics: NameserverMetrics,
    started: Instant,
    warmed_up: AtomicBool,
    disk_waiters: AtomicUsize,
}

impl Requests {
    pub(crate) fn new(config: NameserverConfig, kv: Kv, metrics: NameserverMetrics) -> Self {
        let wiped: BTreeSet<String> =
            kv.namespace(WRITE_PERM_WIPED).into_iter().flatten().map(|(broker, _)| broker).collect();
        Self {
            routes: RwLock::new(Routes::new(config.broker_timeout(), wiped)),
            kv,
            config: RwLock::new(config),
            metrics,
            started: Instant::now(),
            warmed_up: AtomicBool::new(false),
            disk_waiters: AtomicUsize::new(0),
        }
    }

    /// Time since the start, which the routing table takes as its clock.
    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// True while route queries are refused because brokers may not have registered yet.
    pub(crate) fn warming_up(&self) -> bool {
        if self.warmed_up.load(Ordering::Relaxed) {
            return false;
        }
        let config = self.config.read();
        let over = !config.need_wait_for_service
            || self.now() >= Duration::from_secs(config.wait_seconds_for_service);
        if over {
            self.warmed_up.store(true, Ordering::Relaxed);
        }
        !over
    }

    /// Removes brokers that have been silent for too long.
    pub(crate) fn expire(&self) -> Vec<Member> {
        let gone = self.routes.write().expire(self.now());
        self.metrics.on_eviction("silent", gone.len());
        self.show_sizes();
        gone
    }

    fn show_sizes(&self) {
        for (kind, count) in self.routes.read().sizes() {
            self.metrics.set_entries(kind, count);
        }
    }

    fn answer(&self, conn: ConnId, request: &Command) -> Result<Command, RequestError> {
        match line(request.request_code()) {
            Some(Handle::Any(handle)) => handle(self, request),
            Some(Handle::OfConnection(handle)) => handle(self, conn, request),
            None => Err(RequestError::NotSupported { code: request.code }),
        }
    }

    fn reply(&self, conn: ConnId, request: &Command) -> Command {
        self.answer(conn, request).unwrap_or_else(|error| {
            debug!(code = request.code, %error, "request refused");
            error.reply(request)
        })
    }
}

/// True for requests that wait for the disk.
fn writes_to_disk(code: RequestCode) -> bool {
    matches!(
        code,
        RequestCode::PUT_KV_CONFIG
            | RequestCode::DELETE_KV_CONFIG
            | RequestCode::WIPE_WRITE_PERM_OF_BROKER
            | RequestCode::ADD_WRITE_PERM_OF_BROKER
    )
}

/// The transport's side of [`Requests`].
#[derive(Debug)]
pub(crate) struct Dispatch(pub(crate) Arc<Requests>);

impl Dispatch {
    fn reply_from_disk(&self, conn: &Conn, request: Command) {
        let requests = self.0.clone();
        if requests.disk_waiters.fetch_add(1, Ordering::Relaxed) >= MAX_DISK_WAITERS {
            requests.disk_waiters.fetch_sub(1, Ordering::Relaxed);
            conn.reply(
                request.response(ResponseCode::SYSTEM_BUSY).with_remark("too many changes wait for the disk"),
            );
            return;
        }
        let asker = conn.clone();
        conn.spawn(async move {
            let working = requests.clone();
            let id = asker.id();
            let done = tokio::task::spawn_blocking(move || working.reply(id, &request)).await;
            requests.disk_waiters.fetch_sub(1, Ordering::Relaxed);
            match done {
                Ok(reply) => asker.reply(reply),
                Err(error) => warn!(%error, "a change of the key-value table did not finish"),
            }
        });
    }
}

impl Handler for Dispatch {
    fn handle(&self, conn: &Conn, requests: Vec<Command>) {
        let mut replies = Vec::with_capacity(requests.len());
        for request in requests {
            if writes_to_disk(request.request_code()) {
                self.reply_from_disk(conn, request);
            } else {
                let reply = self.0.reply(conn.id(), &request);
                if !request.is_oneway() {
                    replies.push(reply.into());
                }
            }
        }
        conn.reply_many(replies);
    }

    fn closed(&self, conn: &Conn) {
        let gone = self.0.routes.write().connection_closed(conn.id());
        if gone.is_empty() {
            return;
        }
        self.0.metrics.on_eviction("closed", gone.len());
        self.0.show_sizes();
        for member in gone {
            info!(
                broker = member.broker,
                id = member.id,
                addr = member.addr,
                "broker's connection closed, removed"
            );
        }
    }
}
