//! The kind `Topic`: one topic on the broker groups of one cluster.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::common::{ClusterRef, DeletionPolicy};
use crate::status::Condition;

/// A topic: how many queues it has, who may use it, and on which broker groups it lives.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "bolide.dev",
    version = "v1alpha1",
    kind = "Topic",
    namespaced,
    status = "TopicStatus",
    derive = "PartialEq",
    category = "bolide",
    doc = "A topic of a message cluster.",
    selectable = ".spec.clusterRef.name",
    printcolumn(name = "Cluster", type_ = "string", json_path = ".spec.clusterRef.name"),
    printcolumn(name = "Topic", type_ = "string", json_path = ".status.topicName"),
    printcolumn(name = "Type", type_ = "string", json_path = ".spec.type"),
    printcolumn(name = "Queues", type_ = "integer", json_path = ".status.queues", description = "write queues over all broker groups"),
    printcolumn(name = "Permission", type_ = "string", json_path = ".spec.permission", priority = 1),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("has(self.spec.topicName) || !self.metadata.name.contains('.')")
        .message("metadata.name has a dot, which a topic name cannot have: set spec.topicName"),
    validation = Rule::new("has(self.spec.topicName) || self.metadata.name.size() <= 127")
        .message("metadata.name is longer than the 127 characters of a topic name: set spec.topicName")
)]
#[x_kube(
    validation = Rule::new("has(self.topicName) == has(oldSelf.topicName) && (!has(self.topicName) || self.topicName == oldSelf.topicName)")
        .message("topicName cannot change: make a new Topic, move its users, then delete this one"),
    validation = Rule::new("!has(self.topicName) || !(self.topicName.startsWith('rmq_sys_') || self.topicName.startsWith('%') || self.topicName in ['TBW102', 'SELF_TEST_TOPIC', 'OFFSET_MOVED_EVENT', 'SCHEDULE_TOPIC_XXXX', 'RMQ_SYS_TRANS_HALF_TOPIC', 'RMQ_SYS_TRANS_OP_HALF_TOPIC'])")
        .message("topicName is a name that brokers keep for themselves")
)]
#[serde(rename_all = "camelCase")]
pub struct TopicSpec {
    /// The cluster that holds the topic. Cannot change.
    #[x_kube(validation = Rule::new("self == oldSelf").message("clusterRef cannot change: a topic belongs to one cluster"))]
    pub cluster_ref: ClusterRef,
    /// Name of the topic in the cluster; by default the name of this object. Cannot change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 127), regex(pattern = r"^[%|a-zA-Z0-9_-]+$"))]
    pub topic_name: Option<String>,
    /// Queues on each broker group. Growing takes effect at once; when it shrinks, the surplus queues take no more
    /// messages and go away after every consumer group has read them.
    #[serde(default = "default_queues")]
    #[schemars(range(min = 1, max = 1024))]
    pub queues: u32,
    /// What clients may do.
    #[serde(default)]
    pub permission: Permission,
    /// What kind of messages the topic takes. Cannot change.
    #[serde(default, rename = "type")]
    #[x_kube(validation = Rule::new("self == oldSelf").message("type cannot change: messages of the old type may be stored"))]
    pub type_: TopicType,
    /// Numbers of the broker groups that hold the topic, counted from 0; without it, all groups, also later ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), inner(range(min = 0, max = 63)), extend("x-kubernetes-list-type" = "set"))]
    pub groups: Option<Vec<u32>>,
    /// What happens to the topic and its messages when this object is deleted.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
}

fn default_queues() -> u32 {
    8
}

/// What clients may do with a topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Permission {
    /// Send and consume.
    #[default]
    ReadWrite,
    /// Consume only.
    ReadOnly,
    /// Send only.
    WriteOnly,
    /// Neither.
    None,
}

impl Permission {
    /// The bits of the wire: 4 read, 2 write.
    pub fn bits(self) -> u32 {
        match self {
            Self::ReadWrite => 6,
            Self::ReadOnly => 4,
            Self::WriteOnly => 2,
            Self::None => 0,
        }
    }
}

/// What kind of messages a topic takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TopicType {
    /// Any message; order is kept within a queue.
    #[default]
    Normal,
    /// Ordered messages: the queue count seen by producers stays the same when a broker is away.
    Ordered,
    /// Messages delivered later.
    Delay,
    /// Half messages of transactions.
    Transaction,
}

impl TopicType {
    /// The value of the topic attribute `message.type`.
    pub fn message_type(self) -> &'static str {
        match self {
            Self::Normal => "NORMAL",
            Self::Ordered => "FIFO",
            Self::Delay => "DELAY",
            Self::Transaction => "TRANSACTION",
        }
    }
}

/// What the operator last saw of a topic.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct TopicStatus {
    /// The generation that the rest of the status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Whether the topic is as wanted.
    #[serde(default)]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// Name in the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic_name: Option<String>,
    /// Write queues over all broker groups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queues: Option<u32>,
    /// The topic on each broker group.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<TopicGroupStatus>,
}

/// The topic on one broker group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct TopicGroupStatus {
    /// Name of the broker group.
    pub name: String,
    /// Queues that take messages.
    pub write_queues: u32,
    /// Queues that consumers read; more than `writeQueues` while the topic shrinks.
    pub read_queues: u32,
}

impl Topic {
    /// The topic's name in the cluster.
    pub fn topic_name(&self) -> &str {
        match &self.spec.topic_name {
            Some(name) => name,
            None => self.metadata.name.as_deref().unwrap_or_default(),
        }
    }
}
