//! Owns what all handlers share: configuration, store, state, clients, and the broker's place in its cluster.

use std::net::SocketAddr;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use bolide_store::{Clock, Disk, Queue, Store};
use bolide_transport::Conn;
use bolide_wire::body::MessageQueue;
use bolide_wire::ids::{BrokerName, ClusterName, EpochMillis, QueueId, TopicName};
use bolide_wire::properties::names;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::assignments::Assignments;
use crate::clients::selectors::Selectors;
use crate::clients::subscription::ExpressionKind;
use crate::clients::{Clients, Subscription};
use crate::config::BrokerConfig;
use crate::delay::DelayLevels;
use crate::error::Failure;
use crate::handler::pull::Pull;
use crate::handler::send::properties::push;
use crate::handler::send::unique_id::UniqueIds;
use crate::hold::HoldTable;
use crate::locks::RebalanceLocks;
use crate::metrics::BrokerMetrics;
use crate::pop::Popping;
use crate::registration::Signal;
use crate::replicas::status::Replication;
use crate::role::Standing;
use crate::state::State;
use crate::state::topics::Topic;

mod definitions;
mod notify;

pub(crate) use definitions::Versions;

/// The names that the broker goes by.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    /// Cluster.
    pub(crate) cluster: ClusterName,
    /// Broker group.
    pub(crate) broker: BrokerName,
}

/// The configuration in force, with what is made from it once.
pub(crate) struct Live {
    /// Configuration.
    pub(crate) config: BrokerConfig,
    /// Properties that every stored message gets, encoded.
    pub(crate) added_properties: String,
}

impl Live {
    pub(crate) fn new(config: BrokerConfig) -> Live {
        let mut added = String::new();
        push(&mut added, names::MSG_REGION, &config.region_id);
        push(&mut added, names::TRACE_ON, if config.trace_on { "true" } else { "false" });
        push(&mut added, names::CLUSTER, &config.broker_cluster_name);
        Live { config, added_properties: added }
    }
}

/// One broker.
pub(crate) struct Broker {
    pub(crate) live: ArcSwap<Live>,
    pub(crate) names: Names,
    pub(crate) store: Store,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) state: Arc<State>,
    pub(crate) clients: RwLock<Clients<Conn>>,
    /// Compiled SQL92 expressions.
    pub(crate) selectors: Selectors,
    pub(crate) locks: Mutex<RebalanceLocks<MessageQueue>>,
    pub(crate) hold: Mutex<HoldTable<Pull>>,
    /// The nearest deadline of `hold` came closer.
    pub(crate) hold_changed: Notify,
    pub(crate) popping: Popping,
    pub(crate) assignments: Assignments,
    pub(crate) levels: DelayLevels,
    /// The topic of the delay levels.
    pub(crate) schedule: Topic,
    /// Something arrived in the queue of a level; index is the queue's number.
    pub(crate) level_arrived: Vec<Notify>,
    pub(crate) unique_ids: UniqueIds,
    /// Address that clients reach the broker at.
    pub(crate) store_host: SocketAddr,
    pub(crate) metrics: BrokerMetrics,
    pub(crate) registration: Signal,
    pub(crate) cold_reads: Arc<Semaphore>,
    pub(crate) started: EpochMillis,
    /// Versions handed out to definition changes; held while one is appended, so that versions follow the log.
    pub(crate) versions: Mutex<Versions>,
    /// Held while the files of a snapshot are replaced, or read as one.
    pub(crate) saving: Mutex<()>,
    /// Held while a topic or group is made, so that a burst makes it once, and while a topic is deleted.
    pub(crate) making: tokio::sync::Mutex<()>,
    pub(crate) state_queue: Arc<Queue>,
    pub(crate) half_queue: Arc<Queue>,
    /// Which of a group's producers is asked next about a transaction.
    pub(crate) check_turn: AtomicUsize,
    /// What replication does; none in a broker without replicas.
    pub(crate) replication: OnceLock<Replication>,
    /// Role in the group.
    pub(crate) standing: ArcSwap<Standing>,
    /// The queue of the timer topic.
    pub(crate) timer_queue: Arc<Queue>,
    pub(crate) tasks: TaskTracker,
    pub(crate) shutdown: CancellationToken,
}

impl Broker {
    /// The configuration in force.
    pub(crate) fn live(&self) -> Arc<Live> {
        self.live.load_full()
    }

    /// The subscription that a request carries: its expression is compiled, or refused with the place of the fault.
    pub(crate) fn subscription(
        &self,
        topic: &str,
        kind: Option<&str>,
        expression: &str,
        version: i64,
    ) -> Result<Subscription, Failure> {
        match ExpressionKind::parse(kind) {
            Some(ExpressionKind::Tag) => Ok(Subscription::tags(topic, expression, version)),
            Some(ExpressionKind::Sql92) if !self.live.load().config.enable_property_filter => {
                Err(Failure::FilterDisabled)
            }
            Some(ExpressionKind::Sql92) => {
                let compiled = self.selectors.compile(expression);
                if let Err(fault) = &compiled {
                    return Err(Failure::BadSubscription(fault.to_string()));
                }
                Ok(Subscription::sql(topic, expression, version, compiled))
            }
            None => Err(Failure::BadSubscription(format!(
                "[{}] is no kind of expression",
                kind.unwrap_or_default()
            ))),
        }
    }

    /// Whether this process takes messages.
    pub(crate) fn leads(&self) -> bool {
        self.standing.load().leads()
    }

    /// The broker id that a consumer which reads old messages is sent to: a slave, where one has them all.
    pub(crate) fn reader_of_old(&self) -> i64 {
        let live = self.live.load();
        let slave = self.replication.get().is_some_and(Replication::has_slave) || !self.leads();
        if slave && live.config.slave_read_enable {
            i64::try_from(live.config.which_broker_when_consume_slowly).unwrap_or(0)
        } else {
            0
        }
    }

    /// Milliseconds of the monotonic clock.
    pub(crate) fn monotonic_ms(&self) -> u64 {
        u64::try_from(self.clock.monotonic().as_millis()).unwrap_or(u64::MAX)
    }

    /// A queue of a topic that need not be configured.
    pub(crate) fn queue_of(&self, topic: &TopicName, queue: QueueId) -> Arc<Queue> {
        match self.state.topics.find(topic) {
            Some(topic) => topic.queue(&self.store, queue),
            None => self.store.queue_or_create(topic, queue),
        }
    }

    /// This broker's name for a queue.
    pub(crate) fn message_queue(&self, topic: &str, queue: QueueId) -> MessageQueue {
        MessageQueue {
            broker_name: self.names.broker.to_string(),
            queue_id: queue.to_wire(),
            topic: topic.to_owned(),
        }
    }
}
