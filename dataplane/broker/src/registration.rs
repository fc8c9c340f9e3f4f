//! Owns the broker's place in every nameserver: a full registration first, then differences and small heartbeats.
//!
//! A nameserver that does not know the difference (Apache RocketMQ's answers 3) gets the full table each time. A name that
//! yields several addresses means all of them, and is looked up again each period. Servers are told side by side; a dead
//! one delays nobody.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bolide_transport::{CallError, Client, ClientConfig};
use bolide_wire::body::register::{RegisterBrokerBody, RegisterDeltaBody, RegisterError};
use bolide_wire::body::topic::{DataVersion, TopicConfig, TopicConfigTable};
use bolide_wire::header::EncodeHeader;
use bolide_wire::header::route::{
    BrokerHeartbeat, EPOCH_FIELD, RegisterBroker, RegisterDelta, UnregisterBroker,
};
use bolide_wire::json::{self, IntegerKeys};
use bolide_wire::{Command, RequestCode, ResponseCode};
use futures::future::join_all;
use thiserror::Error;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::broker::Broker;
use crate::role::Place;

const CALL_TIMEOUT: Duration = Duration::from_secs(3);
/// How often names are looked up, and servers that do not know this broker yet are told: a nameserver that has just started
/// may be asked for routes at once.
const LOOK_UP_EVERY: Duration = Duration::from_secs(2);
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(1);
const CRC_MASK: u32 = 0x7FFF_FFFF;

/// Tells the registration that the topics changed, and others when it is done.
#[derive(Debug)]
pub(crate) struct Signal {
    wanted: watch::Sender<u64>,
    done: watch::Sender<u64>,
}

impl Signal {
    pub(crate) fn new() -> Signal {
        Signal { wanted: watch::Sender::new(0), done: watch::Sender::new(0) }
    }

    /// The topics, or the permission of the broker, changed.
    pub(crate) fn topics_changed(&self) {
        self.wanted.send_modify(|wanted| *wanted = wanted.wrapping_add(1));
    }

    /// Waits until the nameservers know of every change so far, `limit` at most.
    pub(crate) async fn registered(&self, limit: Duration) {
        let wanted = *self.wanted.borrow();
        let mut done = self.done.subscribe();
        // Too late is no failure: the next round brings it.
        let _ = tokio::time::timeout(limit, done.wait_for(|done| *done >= wanted)).await;
    }
}

#[derive(Debug, Error)]
enum RegistrationError {
    #[error(transparent)]
    Call(#[from] CallError),
    #[error(transparent)]
    Body(#[from] RegisterError),
    #[error("the nameserver answered {code}: {remark}")]
    Refused { code: ResponseCode, remark: String },
}

/// The topics as nameservers see them.
#[derive(Debug, Default, PartialEq)]
struct Table {
    version: DataVersion,
    topics: BTreeMap<String, TopicConfig>,
}

/// What a server is known to know.
#[derive(Debug, Clone, Default)]
struct Known {
    table: Option<Arc<Table>>,
    /// It understands differences; unknown before the first one was tried.
    differences: Option<bool>,
    failing: bool,
}

/// Keeps every nameserver informed of one place in the cluster.
pub(crate) struct Registration {
    broker: Arc<Broker>,
    client: Client,
    servers: HashMap<String, Known>,
    /// A name was not found when it was last looked up.
    name_unknown: bool,
    table: Arc<Table>,
    permission: u32,
    place: Place,
    end: Arc<End>,
}

/// How a registration ends.
#[derive(Debug, Default)]
struct End {
    stop: CancellationToken,
    goodbye: AtomicBool,
}

/// A registration at work.
pub(crate) struct Registered {
    end: Arc<End>,
    tasks: TaskTracker,
}

impl Registered {
    /// Ends the registration and waits for it. Without `goodbye` the nameservers notice by the connection: so another replica
    /// that has taken the place already keeps it, with any kind of nameserver.
    pub(crate) async fn end(self, goodbye: bool) {
        self.end.goodbye.store(goodbye, Ordering::Release);
        self.end.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Registration {
    /// Keeps the nameservers informed of a place until [`Registered::end`].
    pub(crate) fn begin(broker: &Arc<Broker>, place: Place) -> Registered {
        let (end, tasks) = (Arc::<End>::default(), TaskTracker::new());
        tasks.spawn(Registration::new(broker.clone(), place, end.clone()).serve());
        Registered { end, tasks }
    }

    fn new(broker: Arc<Broker>, place: Place, end: Arc<End>) -> Registration {
        Registration {
            place,
            end,
            broker,
            client: Client::new(ClientConfig::default()),
            servers: HashMap::new(),
            name_unknown: false,
            table: Arc::new(Table::default()),
            permission: u32::MAX,
        }
    }

    /// Works until it is ended.
    async fn serve(mut self) {
        let mut wanted = self.broker.registration.wanted.subscribe();
        let stop = self.end.stop.clone();
        self.look_up().await;
        loop {
            let target = *wanted.borrow_and_update();
            tokio::select! {
                () = self.round() => {}
                () = stop.cancelled() => break,
            }
            self.broker.registration.done.send_replace(target);
            let period = Duration::from_millis(self.broker.live.load().config.register_name_server_period);
            tokio::select! {
                changed = wanted.changed() => if changed.is_err() { break },
                () = self.heartbeat_due(period) => {}
                () = stop.cancelled() => break,
            }
        }
        if self.end.goodbye.load(Ordering::Acquire) {
            self.goodbye().await;
        }
        self.client.close(GOODBYE_TIMEOUT).await;
    }

    /// Waits for the next heartbeat, or for a server that has yet to be told.
    async fn heartbeat_due(&mut self, period: Duration) {
        let due = tokio::time::Instant::now() + period;
        while tokio::time::Instant::now() < due {
            tokio::time::sleep(LOOK_UP_EVERY.min(period)).await;
            self.look_up().await;
            if self.servers.values().any(|known| known.table.is_none()) {
                return;
            }
        }
    }

    async fn look_up(&mut self) {
        let names = self.broker.live.load().config.namesrv_addr.clone();
        let names: Vec<&str> =
            names.split([';', ',']).map(str::trim).filter(|name| !name.is_empty()).collect();
        let mut found = Vec::new();
        let mut unknown = None;
        for name in names {
            match tokio::time::timeout(CALL_TIMEOUT, tokio::net::lookup_host(name)).await {
                Ok(Ok(addresses)) => found.extend(addresses.map(|address| address.to_string())),
                Ok(Err(error)) => unknown = Some((name, error.to_string())),
                Err(_) => unknown = Some((name, "the look-up takes too long".to_owned())),
            }
        }
        if let Some((name, error)) = &unknown
            && !self.name_unknown
        {
            tracing::warn!(name, error, "a nameserver's name is not found; it is tried again");
        }
        self.name_unknown = unknown.is_some();
        // Nothing found at all: rather keep those known than forget every nameserver for a hiccup of the resolver.
        if !found.is_empty() {
            self.servers.retain(|address, _| found.contains(address));
            for address in found {
                self.servers.entry(address).or_default();
            }
        }
    }

    fn refresh_table(&mut self) {
        let version = self.broker.state.topics.version();
        let permission = self.broker.live.load().config.broker_permission;
        if self.table.version == version && self.permission == permission {
            return;
        }
        let mask = i32::try_from(permission).unwrap_or(6);
        let masked = |topic: &TopicConfig| match mask {
            6 => topic.clone(),
            _ => TopicConfig { perm: topic.perm & mask, ..topic.clone() },
        };
        let all = self.broker.state.topics.all();
        let topics =
            all.iter().map(|topic| (topic.config.topic_name.clone(), masked(&topic.config))).collect();
        self.permission = permission;
        self.table = Arc::new(Table { version, topics });
    }

    async fn round(&mut self) {
        self.refresh_table();
        let this = &*self;
        let told = this.servers.iter().map(|(address, known)| async move {
            let mut known = known.clone();
            match this.tell(address, &mut known).await {
                Ok(()) => {
                    if std::mem::take(&mut known.failing) {
                        tracing::info!(nameserver = %address, "registered again");
                    }
                }
                Err(error) => {
                    if !std::mem::replace(&mut known.failing, true) {
                        tracing::warn!(nameserver = %address, %error, "registration failed; it is tried again");
                    }
                    known.table = None;
                }
            }
            (address.clone(), known)
        });
        let told = join_all(told).await;
        self.servers = told.into_iter().collect();
    }

    async fn tell(&self, address: &str, known: &mut Known) -> Result<(), RegistrationError> {
        let Some(base) = known.table.clone() else { return self.full(address, known).await };
        let outcome = match known.differences {
            Some(false) => return self.full(address, known).await,
            Some(true) if base.version == self.table.version => self.heartbeat(address).await?,
            Some(true) | None => self.difference(address, &base).await?,
        };
        match outcome {
            ResponseCode::SUCCESS => {
                known.differences = Some(true);
                known.table = Some(self.table.clone());
                Ok(())
            }
            ResponseCode::REQUEST_CODE_NOT_SUPPORTED => {
                known.differences = Some(false);
                self.full(address, known).await
            }
            _ => self.full(address, known).await,
        }
    }

    async fn full(&self, address: &str, known: &mut Known) -> Result<(), RegistrationError> {
        let body = RegisterBrokerBody {
            filter_server_list: Vec::new(),
            topic_config_serialize_wrapper: TopicConfigTable {
                data_version: Some(self.table.version),
                mapping_data_version: Some(DataVersion::default()),
                topic_config_table: self.table.topics.clone(),
                topic_queue_mapping_detail_map: Some(BTreeMap::new()),
                topic_queue_mapping_info_map: Some(BTreeMap::new()),
            },
        };
        let body = body.encode(false)?;
        let crc = i32::try_from(crc32fast::hash(&body) & CRC_MASK).unwrap_or(0);
        let header = RegisterBroker {
            broker_name: self.broker.names.broker.to_string(),
            broker_addr: self.own_address(),
            cluster_name: self.broker.names.cluster.to_string(),
            ha_server_addr: self.ha_address(),
            broker_id: self.own_id(),
            heartbeat_timeout_millis: None,
            enable_acting_master: Some(false),
            compressed: false,
            body_crc32: crc,
        };
        let request = self
            .request(RequestCode::REGISTER_BROKER, &header)
            .with_ext("bolideExtent", "full")
            .with_body(body);
        let answer = self.client.call(address, request, CALL_TIMEOUT).await?;
        if answer.response_code() != ResponseCode::SUCCESS {
            let remark = answer.remark.clone().unwrap_or_default();
            return Err(RegistrationError::Refused { code: answer.response_code(), remark });
        }
        known.table = Some(self.table.clone());
        Ok(())
    }

    async fn difference(&self, address: &str, base: &Table) -> Result<ResponseCode, RegistrationError> {
        let now = &self.table.topics;
        let changed = now.iter().filter(|(name, topic)| base.topics.get(*name) != Some(topic));
        let deleted = base.topics.keys().filter(|name| !now.contains_key(*name));
        let body = RegisterDeltaBody {
            changed: changed.map(|(_, topic)| topic.clone()).collect(),
            deleted: deleted.cloned().collect(),
        };
        let header = RegisterDelta {
            cluster_name: self.broker.names.cluster.to_string(),
            broker_name: self.broker.names.broker.to_string(),
            broker_id: self.own_id(),
            broker_addr: self.own_address(),
            ha_server_addr: Some(self.ha_address()),
            enable_acting_master: None,
            heartbeat_timeout_millis: None,
            base_version: version_text(base.version)?,
            new_version: version_text(self.table.version)?,
        };
        let body = json::to_vec(&body, IntegerKeys::Quoted).map_err(RegisterError::Encode)?;
        let request = self.request(RequestCode::BOLIDE_REGISTER_DELTA, &header).with_body(body);
        Ok(self.client.call(address, request, CALL_TIMEOUT).await?.response_code())
    }

    async fn heartbeat(&self, address: &str) -> Result<ResponseCode, RegistrationError> {
        let header = BrokerHeartbeat {
            cluster_name: self.broker.names.cluster.to_string(),
            broker_addr: self.own_address(),
            broker_name: self.broker.names.broker.to_string(),
            broker_id: Some(self.own_id()),
            epoch: None,
            max_offset: None,
            confirm_offset: None,
            heartbeat_timeout_mills: None,
            election_priority: None,
            data_version: Some(version_text(self.table.version)?),
        };
        let request = self.request(RequestCode::BROKER_HEARTBEAT, &header);
        Ok(self.client.call(address, request, CALL_TIMEOUT).await?.response_code())
    }

    async fn goodbye(&self) {
        let header = UnregisterBroker {
            broker_name: self.broker.names.broker.to_string(),
            broker_addr: self.own_address(),
            cluster_name: self.broker.names.cluster.to_string(),
            broker_id: self.own_id(),
        };
        let goodbyes = self.servers.keys().map(|address| {
            let request = self.request(RequestCode::UNREGISTER_BROKER, &header);
            self.client.call(address, request, GOODBYE_TIMEOUT)
        });
        for outcome in join_all(goodbyes).await {
            if let Err(error) = outcome {
                tracing::debug!(%error, "a nameserver was not told goodbye");
            }
        }
    }

    /// A request with the epoch of the group, if it has one.
    fn request<H: EncodeHeader>(&self, code: RequestCode, header: &H) -> Command {
        let request = Command::request(code).with_header(header);
        match self.place.epoch {
            0 => request,
            epoch => request.with_ext(EPOCH_FIELD, &epoch.to_string()),
        }
    }

    fn own_id(&self) -> i64 {
        i64::try_from(self.place.id).unwrap_or(i64::MAX)
    }

    fn own_address(&self) -> String {
        self.place.address.to_string()
    }

    fn ha_address(&self) -> String {
        let host = self.place.address;
        std::net::SocketAddr::new(host.ip(), host.port().saturating_add(1)).to_string()
    }
}

fn version_text(version: DataVersion) -> Result<String, RegistrationError> {
    serde_json::to_string(&version).map_err(|error| RegistrationError::Body(RegisterError::Encode(error)))
}
