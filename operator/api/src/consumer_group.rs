//! The kind `ConsumerGroup`: a subscription group on every broker of one cluster, and how far it has read.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::common::{ClusterRef, DeletionPolicy};
use crate::status::Condition;

/// A consumer group: how its messages are retried, and whether it may consume at all.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "bolide.dev",
    version = "v1alpha1",
    kind = "ConsumerGroup",
    namespaced,
    status = "ConsumerGroupStatus",
    derive = "PartialEq",
    category = "bolide",
    doc = "A consumer group of a message cluster.",
    selectable = ".spec.clusterRef.name",
    printcolumn(name = "Cluster", type_ = "string", json_path = ".spec.clusterRef.name"),
    printcolumn(name = "Group", type_ = "string", json_path = ".status.groupName", priority = 1),
    printcolumn(name = "Members", type_ = "integer", json_path = ".status.members"),
    printcolumn(name = "Lag", type_ = "integer", json_path = ".status.lag", description = "messages not yet consumed"),
    printcolumn(name = "Behind", type_ = "integer", json_path = ".status.lagSeconds", description = "seconds that the group is behind"),
    printcolumn(name = "Dead", type_ = "integer", json_path = ".status.deadLetters", description = "messages in the dead letter queue"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("has(self.spec.groupName) || !self.metadata.name.contains('.')")
        .message("metadata.name has a dot, which a group name cannot have: set spec.groupName"),
    validation = Rule::new("has(self.spec.groupName) || self.metadata.name.size() <= 120")
        .message("metadata.name is longer than the 120 characters of a group name: set spec.groupName")
)]
#[x_kube(
    validation = Rule::new("has(self.groupName) == has(oldSelf.groupName) && (!has(self.groupName) || self.groupName == oldSelf.groupName)")
        .message("groupName cannot change: make a new ConsumerGroup, move its members, then delete this one"),
    validation = Rule::new("!has(self.groupName) || !(self.groupName.startsWith('CID_RMQ_SYS_') || self.groupName.startsWith('%') || self.groupName in ['DEFAULT_CONSUMER', 'TOOLS_CONSUMER', 'SCHEDULE_CONSUMER', 'FILTERSRV_CONSUMER', 'SELF_TEST_C_GROUP'])")
        .message("groupName is a name that brokers keep for themselves")
)]
#[serde(rename_all = "camelCase")]
pub struct ConsumerGroupSpec {
    /// The cluster that the group consumes from. Cannot change.
    #[x_kube(validation = Rule::new("self == oldSelf").message("clusterRef cannot change: a consumer group belongs to one cluster"))]
    pub cluster_ref: ClusterRef,
    /// Name of the group in the cluster; by default the name of this object. Cannot change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 120), regex(pattern = r"^[%|a-zA-Z0-9_-]+$"))]
    pub group_name: Option<String>,
    /// How often a message is delivered again before it goes to the dead letter queue.
    #[serde(default = "default_max_retries")]
    #[schemars(range(min = 0, max = 1000))]
    pub max_retries: u32,
    /// Queues of the group's retry topic on each broker.
    #[serde(default = "default_retry_queues")]
    #[schemars(range(min = 1, max = 64))]
    pub retry_queues: u32,
    /// The group consumes each queue in order.
    #[serde(default)]
    pub ordered: bool,
    /// Members may consume in broadcast mode.
    #[serde(default = "default_true")]
    pub broadcast: bool,
    /// New members without an offset may start from the oldest message.
    #[serde(default = "default_true")]
    pub consume_from_min: bool,
    /// Members are told at once when others come or go.
    #[serde(default = "default_true")]
    pub notify_on_change: bool,
    /// While true the brokers hand the group no messages; offsets are kept.
    #[serde(default)]
    pub paused: bool,
    /// Moves the group's offsets, once for each token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reset_offset: Option<ResetOffset>,
    /// What happens to the group and its offsets when this object is deleted.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
}

fn default_max_retries() -> u32 {
    16
}

fn default_retry_queues() -> u32 {
    1
}

fn default_true() -> bool {
    true
}

/// An order to move the group's offsets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    validation = Rule::new("(self.to == 'Time') == has(self.time)").message("resetOffset.time goes with `to: Time`, and only with it")
)]
#[serde(rename_all = "camelCase")]
pub struct ResetOffset {
    /// Any text. The reset happens once for each new token.
    #[schemars(length(min = 1, max = 64))]
    pub token: String,
    /// Where to.
    pub to: ResetTarget,
    /// The moment, for `to: Time`: the first message stored at or after it is the next one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    pub time: Option<String>,
    /// Which topics; without it, every topic the group has consumed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub topics: Option<Vec<String>>,
}

/// Where offsets are moved to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ResetTarget {
    /// The oldest message kept.
    Earliest,
    /// Behind the newest message: what is stored now is skipped.
    #[default]
    Latest,
    /// A moment in time.
    Time,
}

/// What the operator last saw of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConsumerGroupStatus {
    /// The generation that the rest of the status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Whether the group is as wanted.
    #[serde(default)]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// Name in the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group_name: Option<String>,
    /// Clients that consume now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub members: Option<u32>,
    /// Messages not yet consumed, over all topics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag: Option<i64>,
    /// Seconds since the last consumed message of a queue that is behind was stored, the most of all queues.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag_seconds: Option<i64>,
    /// Messages in the dead letter queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_letters: Option<i64>,
    /// Per topic, at most 100 topics, those with the most lag first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub topics: Vec<TopicLag>,
    /// The last reset and the offsets before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_reset: Option<LastReset>,
}

/// How far a group has read one topic.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct TopicLag {
    /// Name of the topic.
    pub topic: String,
    /// Messages not yet consumed.
    pub lag: i64,
    /// Seconds since the last consumed message of a queue that is behind was stored; absent when nothing has been consumed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag_seconds: Option<i64>,
}

/// A reset that was carried out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct LastReset {
    /// Token of the order.
    pub token: String,
    /// Whether every broker has been told.
    pub complete: bool,
    /// When it began.
    #[schemars(extend("format" = "date-time"))]
    pub time: String,
    /// What went wrong, if anything.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// The offsets before the reset, at most 1024, for going back by hand.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub previous: Vec<QueueOffset>,
}

/// The offset of a group in one queue.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct QueueOffset {
    /// Name of the topic.
    pub topic: String,
    /// Name of the broker group.
    pub broker: String,
    /// Number of the queue.
    pub queue: u32,
    /// The next message of the group.
    pub offset: i64,
}

impl ConsumerGroup {
    /// The group's name in the cluster.
    pub fn group_name(&self) -> &str {
        match &self.spec.group_name {
            Some(name) => name,
            None => self.metadata.name.as_deref().unwrap_or_default(),
        }
    }
}
