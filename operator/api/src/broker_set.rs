//! The kind `BrokerSet`: one message cluster, its nameservers and its broker groups.

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::common::{Quantity, Resources, Setting, Toleration};
use crate::status::Condition;

/// A message cluster: nameservers, broker groups, how messages are stored and copied.
#[derive(CustomResource, Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "bolide.dev",
    version = "v1alpha1",
    kind = "BrokerSet",
    namespaced,
    status = "BrokerSetStatus",
    derive = "PartialEq",
    category = "bolide",
    shortname = "bset",
    doc = "A message cluster that speaks the RocketMQ protocol.",
    printcolumn(name = "Brokers", type_ = "string", json_path = ".status.brokers", description = "broker pods ready and wanted"),
    printcolumn(name = "Nameservers", type_ = "string", json_path = ".status.nameservers", description = "nameserver pods ready and wanted"),
    printcolumn(name = "Masters", type_ = "string", json_path = ".status.masters", description = "the pod that leads each broker group"),
    printcolumn(name = "InSync", type_ = "string", json_path = ".status.inSync", description = "replicas that hold every acknowledged message, and all; empty for sets of one replica"),
    printcolumn(name = "Disk", type_ = "string", json_path = ".status.disk", description = "the fullest volume"),
    printcolumn(name = "Address", type_ = "string", json_path = ".status.address", priority = 1),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("self.metadata.name.size() <= 40")
        .message("metadata.name is longer than 40 characters: names of pods and Services are made from it"),
    validation = Rule::new("self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')")
        .message("metadata.name must begin with a letter and have only letters, digits and dashes: Services are named after it")
)]
#[x_kube(
    validation = Rule::new("self.minInSync <= self.replicas")
        .message("minInSync is larger than replicas: no message could ever be acknowledged")
)]
#[serde(rename_all = "camelCase")]
pub struct BrokerSetSpec {
    /// Container image of nameservers and brokers; by default the one of the operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// When the image is pulled.
    #[serde(default)]
    pub image_pull_policy: ImagePullPolicy,
    /// Names of Secrets for pulling the image.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub image_pull_secrets: Vec<String>,
    /// The nameservers, which clients ask where a topic is.
    #[serde(default)]
    pub nameservers: Nameservers,
    /// Number of broker groups; topics are spread over them.
    #[serde(default = "default_one")]
    #[schemars(range(min = 1, max = 64))]
    pub groups: u32,
    /// Copies of each group's messages: one master and `replicas - 1` slaves.
    #[serde(default = "default_one")]
    #[schemars(range(min = 1, max = 5))]
    pub replicas: u32,
    /// Whether a message is acknowledged before every replica in sync has it.
    #[serde(default)]
    pub replication: Replication,
    /// Whether a message is acknowledged before it is on disk.
    #[serde(default)]
    pub flush: Flush,
    /// Sends are refused while fewer replicas than this are in sync.
    #[serde(default = "default_one")]
    #[schemars(range(min = 1, max = 5))]
    pub min_in_sync: u32,
    /// The disk of each broker.
    #[serde(default)]
    pub storage: Storage,
    /// Topics are made when a client first sends to them.
    #[serde(default)]
    pub auto_create_topics: bool,
    /// Consumer groups are made when a client first consumes with them.
    #[serde(default = "default_true")]
    pub auto_create_groups: bool,
    /// Further broker settings, by the names they have in a RocketMQ `broker.conf`. Those that a running broker can take over
    /// are told to it; others restart the brokers, one at a time.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 200))]
    pub broker_config: BTreeMap<String, Setting>,
    /// Processor and memory of each broker.
    #[serde(default)]
    pub resources: Resources,
    /// Where pods may run, and what is written on them.
    #[serde(default)]
    pub pods: Pods,
    /// Lets only pods of the cluster's namespaces that need it reach replication and administration ports.
    #[serde(default = "default_true")]
    pub network_policy: bool,
    /// While true the operator changes nothing of this set.
    #[serde(default)]
    pub paused: bool,
    /// While true no pod of this set runs; data and addresses are kept.
    #[serde(default)]
    pub stopped: bool,
}

impl Default for BrokerSetSpec {
    fn default() -> Self {
        Self {
            image: None,
            image_pull_policy: ImagePullPolicy::default(),
            image_pull_secrets: Vec::new(),
            nameservers: Nameservers::default(),
            groups: 1,
            replicas: 1,
            replication: Replication::default(),
            flush: Flush::default(),
            min_in_sync: 1,
            storage: Storage::default(),
            auto_create_topics: false,
            auto_create_groups: true,
            broker_config: BTreeMap::new(),
            resources: Resources::default(),
            pods: Pods::default(),
            network_policy: true,
            paused: false,
            stopped: false,
        }
    }
}

fn default_one() -> u32 {
    1
}

fn default_true() -> bool {
    true
}

/// When an image is pulled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ImagePullPolicy {
    /// At each start of a pod.
    Always,
    /// When the node does not have it.
    #[default]
    IfNotPresent,
    /// Never: the node must have it.
    Never,
}

/// When a message counts as copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Replication {
    /// Acknowledged when every replica in sync has it: the loss of a pod or node loses nothing.
    #[default]
    Sync,
    /// Acknowledged by the master alone: a failover may lose the last moments.
    Async,
}

/// When a message counts as written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Flush {
    /// Acknowledged when it is on disk: a power failure loses nothing.
    Sync,
    /// Acknowledged when the operating system has it: a killed process loses nothing.
    #[default]
    Async,
}

/// The nameservers of a set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Nameservers {
    /// How many. They share nothing; one is enough to work, two survive the loss of a node.
    #[serde(default = "default_nameservers")]
    #[schemars(range(min = 1, max = 9))]
    pub replicas: u32,
    /// Processor and memory of each.
    #[serde(default)]
    pub resources: Resources,
}

impl Default for Nameservers {
    fn default() -> Self {
        Self { replicas: default_nameservers(), resources: Resources::default() }
    }
}

fn default_nameservers() -> u32 {
    2
}

/// The disk of each broker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    validation = Rule::new("has(self.storageClassName) == has(oldSelf.storageClassName) && (!has(self.storageClassName) || self.storageClassName == oldSelf.storageClassName)")
        .message("storageClassName cannot change: the volumes exist already; make a new BrokerSet and move to it")
)]
#[serde(rename_all = "camelCase")]
pub struct Storage {
    /// Size of each broker's volume. It may grow where the storage class allows, never shrink.
    #[serde(default = "default_size")]
    #[x_kube(validation = Rule::new("self.matches('^[0-9]+(\\\\.[0-9]+)?(Ki|Mi|Gi|Ti|Pi|k|M|G|T|P)?$')").message("size must be an amount such as 20Gi"))]
    pub size: Quantity,
    /// Storage class of the volumes; by default the cluster's default class. Cannot change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub storage_class_name: Option<String>,
    /// When old messages are deleted.
    #[serde(default)]
    pub retention: Retention,
    /// What happens to the volumes when the set is deleted or has fewer groups.
    #[serde(default)]
    pub claim_retention: ClaimRetention,
}

impl Default for Storage {
    fn default() -> Self {
        Self {
            size: default_size(),
            storage_class_name: None,
            retention: Retention::default(),
            claim_retention: ClaimRetention::default(),
        }
    }
}

fn default_size() -> Quantity {
    Quantity("20Gi".to_owned())
}

/// When old messages are deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Retention {
    /// Messages older than this are deleted.
    #[serde(default = "default_retention_hours")]
    #[schemars(range(min = 1, max = 87600))]
    pub hours: u32,
    /// When the volume is fuller than this, the oldest messages are deleted earlier.
    #[serde(default = "default_disk_percent")]
    #[schemars(range(min = 10, max = 95))]
    pub disk_percent: u32,
}

impl Default for Retention {
    fn default() -> Self {
        Self { hours: default_retention_hours(), disk_percent: default_disk_percent() }
    }
}

fn default_retention_hours() -> u32 {
    72
}

fn default_disk_percent() -> u32 {
    75
}

/// What happens to volumes that are no longer used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ClaimRetention {
    /// They stay until a person deletes them.
    #[default]
    Retain,
    /// They are deleted, and the messages with them.
    Delete,
}

/// Where pods may run, and what is written on them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Pods {
    /// Further labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Further annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Labels that a node must have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub node_selector: BTreeMap<String, String>,
    /// Taints that the pods may live with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub tolerations: Vec<Toleration>,
    /// Priority class of the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority_class_name: Option<String>,
}

/// What the operator last saw of a set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct BrokerSetStatus {
    /// The generation that the rest of the status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Whether the set is as wanted, and what stands in the way.
    #[serde(default)]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// What clients take as NAMESRV_ADDR.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Broker pods ready and wanted, as `2/3`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub brokers: Option<String>,
    /// Nameserver pods ready and wanted, as `2/2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nameservers: Option<String>,
    /// `host:port` of each nameserver pod that is ready. They share nothing: what one shall know it is told by itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nameserver_pods: Vec<String>,
    /// The pods that lead the groups, separated by commas; of many groups only the first ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub masters: Option<String>,
    /// Replicas that hold every acknowledged message, and all replicas, as `2/2`; absent where groups have one replica.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_sync: Option<String>,
    /// How full the fullest volume is, as `41%`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<String>,
    /// Each broker group, those included that are on their way out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<BrokerGroupStatus>,
}

/// One broker group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct BrokerGroupStatus {
    /// Name of the group, of its StatefulSet, and of its broker in the protocol.
    pub name: String,
    /// The pod that leads it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub master: Option<String>,
    /// Address that clients use for the master.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Grows by one with each change of the master, and with each start of one; absent where the group has one replica.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,
    /// Its replicas; empty where it has one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replicas: Vec<BrokerReplicaStatus>,
    /// Pods that are ready.
    pub ready: u32,
    /// It has been given the topics and consumer groups that all older groups have; a new group gets them first.
    #[serde(default)]
    pub joined: bool,
    /// How full its volume is, in percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_percent: Option<u32>,
    /// What the group is doing besides serving, in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<String>,
}

/// One replica of a broker group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct BrokerReplicaStatus {
    /// Its pod, which is also its name in the group.
    pub pod: String,
    /// It holds every acknowledged message, so it may become master.
    pub in_sync: bool,
    /// Bytes that it lacks while it is not in sync, rounded up to a power of two; absent where the master does not know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag_bytes: Option<u64>,
}

impl BrokerSet {
    /// Name of the message cluster in the protocol.
    pub fn cluster_name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }

    /// Name of the broker group with the given number: its `brokerName`, and the name of its StatefulSet.
    pub fn broker_name(&self, group: u32) -> String {
        broker_name(self.cluster_name(), group)
    }
}

/// Name of broker group `group` of the cluster called `cluster`.
pub fn broker_name(cluster: &str, group: u32) -> String {
    format!("{cluster}-broker-{group}")
}
