//! Requests of brokers, clients and tools: one line per request code in [`Requests::answer`], one module per family.
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
        match request.request_code() {
            RequestCode::GET_ROUTEINFO_BY_TOPIC => route::route(self, request),
            RequestCode::GET_BROKER_CLUSTER_INFO => route::cluster_info(self, request),
            RequestCode::GET_BROKER_MEMBER_GROUP => route::member_group(self, request),
            RequestCode::REGISTER_BROKER => register::register(self, conn, request),
            RequestCode::BOLIDE_REGISTER_DELTA => register::register_delta(self, conn, request),
            RequestCode::UNREGISTER_BROKER => register::unregister(self, request),
            RequestCode::BROKER_HEARTBEAT => register::heartbeat(self, conn, request),
            RequestCode::QUERY_DATA_VERSION => register::query_version(self, request),
            RequestCode::GET_ALL_TOPIC_LIST_FROM_NAMESERVER => topic::all(self, request),
            RequestCode::GET_TOPICS_BY_CLUSTER => topic::of_cluster(self, request),
            RequestCode::GET_SYSTEM_TOPIC_LIST_FROM_NS => topic::system(self, request),
            RequestCode::GET_UNIT_TOPIC_LIST
            | RequestCode::GET_HAS_UNIT_SUB_TOPIC_LIST
            | RequestCode::GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST => topic::unit(self, request),
            RequestCode::REGISTER_TOPIC_IN_NAMESRV => topic::register(self, request),
            RequestCode::DELETE_TOPIC_IN_NAMESRV => topic::delete(self, request),
            RequestCode::GET_KV_CONFIG => kv::get(self, request),
            RequestCode::GET_KVLIST_BY_NAMESPACE => kv::list(self, request),
            RequestCode::PUT_KV_CONFIG => kv::put(self, request),
            RequestCode::DELETE_KV_CONFIG => kv::delete(self, request),
            RequestCode::WIPE_WRITE_PERM_OF_BROKER => kv::wipe_write(self, request),
            RequestCode::ADD_WRITE_PERM_OF_BROKER => kv::add_write(self, request),
            RequestCode::GET_NAMESRV_CONFIG => settings::get(self, request),
            RequestCode::UPDATE_NAMESRV_CONFIG => settings::update(self, request),
            _ => Err(RequestError::NotSupported { code: request.code }),
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
