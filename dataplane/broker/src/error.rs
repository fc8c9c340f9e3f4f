//! Owns the ways in which a request can fail. What each means on the wire is decided in `reply.rs` alone.

use bolide_filter::sql::SyntaxError;
use bolide_store::{AppendError, Refusal};
use bolide_wire::RequestCode;
use bolide_wire::header::HeaderError;
use bolide_wire::ids::NameError;
use thiserror::Error;

use crate::config::ConfigError;

/// Why a request was not carried out. The text is the remark that the client reads.
#[derive(Debug, Error)]
pub(crate) enum Failure {
    /// Nobody handles this code.
    #[error("{}", RequestCode(*.0).not_supported())]
    UnknownCode(i32),
    /// A header field is missing or cannot be read.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// The body is not what the code asks for.
    #[error(transparent)]
    Body(#[from] bolide_wire::json::JsonError),
    /// A body cannot be written.
    #[error("the body cannot be written: {0}")]
    Encode(#[from] serde_json::Error),
    /// A name breaks the naming rules.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A parameter is outside its range.
    #[error("{0}")]
    Parameter(String),
    /// A setting cannot be changed so.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The topic does not exist.
    #[error("topic[{0}] not exist, apply first please!")]
    NoTopic(String),
    /// The group does not exist.
    #[error("subscription group [{0}] does not exist")]
    NoGroup(String),
    /// Broker, group or topic may not be written or read.
    #[error("the {what} [{name}] {verb} is forbidden")]
    Forbidden {
        /// `broker`, `consumer group` or `topic`.
        what: Forbidden,
        /// Its name.
        name: String,
        /// `sending message`, `pulling message`, ...
        verb: &'static str,
    },
    /// The group may not read the topic.
    #[error("the consumer group[{group}] is forbidden for topic[{topic}]")]
    ForbiddenTopic {
        /// Group.
        group: String,
        /// Topic.
        topic: String,
    },
    /// A topic that clients may not send to.
    #[error("Sending message to topic[{0}] is forbidden.")]
    ProtectedTopic(String),
    /// Messages for an arbitrary time are switched off.
    #[error("accurate timer message is not enabled, timerWheelEnable is false")]
    TimersDisabled,
    /// The time asked for is no time, or too far ahead.
    #[error(
        "timer message illegal, the delay time should not be bigger than the max delay {max_ms}ms; or if set del msg, the \
         delay time should be bigger than the current time"
    )]
    TimerIllegal {
        /// How far ahead a time may lie.
        max_ms: i64,
    },
    /// Recalls are switched off.
    #[error("recall failed, operation is forbidden")]
    RecallForbidden,
    /// The broker takes no recalls now.
    #[error("recall failed, broker service not available")]
    RecallUnavailable,
    /// The message cannot be recalled, or not any more.
    #[error("{0}")]
    Recall(&'static str),
    /// The message breaks a limit.
    #[error("the message is illegal, maybe {0}")]
    MessageIllegal(&'static str),
    /// The group has no live registration of the topic.
    #[error("the consumer's subscription not exist")]
    NoSubscription,
    /// The group's registration is older than the client's.
    #[error("the consumer's subscription not latest")]
    OldSubscription,
    /// The expression cannot be read.
    #[error("parse the consumer's subscription failed: {0}")]
    BadSubscription(String),
    /// The expression that the group registered cannot be read.
    #[error("The broker's consumer filter data is not exist!Your expression may be wrong! {0}")]
    BadFilter(SyntaxError),
    /// SQL92 is switched off.
    #[error("The broker does not support consumer to filter message by SQL92")]
    FilterDisabled,
    /// The group reads the topic in another way than asked.
    #[error("{0}")]
    NotOnline(String),
    /// A client did not answer in time.
    #[error("{0}")]
    ClientTimeout(String),
    /// What was asked for is not there.
    #[error("{0}")]
    NotFound(String),
    /// The offset names no message of the queue.
    #[error("{0}")]
    NoMessage(String),
    /// The handle of a popped message cannot be read.
    #[error(transparent)]
    Handle(#[from] bolide_wire::pop::HandleError),
    /// Nothing matches.
    #[error("{0}")]
    Missing(String),
    /// What was asked for may not be done any more.
    #[error("{0}")]
    TooLate(&'static str),
    /// The store cannot read.
    #[error("the store cannot be read: {0}")]
    Read(#[source] std::io::Error),
    /// The store does not take the append.
    #[error("append refused: {0}")]
    Refused(#[from] Refusal),
    /// The store took the append and could not finish it.
    #[error("append failed: {0}")]
    Append(#[from] AppendError),
    /// The broker has too much to do.
    #[error("[OVERLOAD]system busy, start flow control for a while")]
    Busy,
    /// This process does not lead its group, or no longer.
    #[error("[REJECTREQUEST]system busy, start flow control for a while: this broker is a slave")]
    NotMaster,
    /// Fewer replicas are in sync than messages need.
    #[error("in-sync replicas not enough: minInSync is not reached")]
    TooFewReplicas,
    /// The broker has no replicas.
    #[error("this broker has no replicas")]
    NoReplicas,
    /// No other replica took over.
    #[error("no other replica took over: {0}")]
    NoSwitchover(String),
    /// The broker is stopping.
    #[error("the broker is shutting down")]
    Stopping,
    /// A number does not fit.
    #[error("{0}")]
    Internal(&'static str),
}

impl Failure {
    /// Nothing was done, or nothing is known to have been, because this process does not lead its group.
    pub(crate) fn is_not_master(&self) -> bool {
        matches!(
            self,
            Failure::NotMaster
                | Failure::Refused(Refusal::NotMaster)
                | Failure::Append(AppendError::NotMaster)
        )
    }
}

/// What is not permitted; the number goes to the client as `forbiddenType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Forbidden {
    /// The whole broker.
    Broker,
    /// The consumer group.
    Group,
    /// The topic.
    Topic,
    /// Broadcast consumption by this group.
    Broadcast,
    /// This topic to this group.
    Subscription,
}

impl Forbidden {
    /// Number on the wire.
    pub(crate) fn number(self) -> i32 {
        match self {
            Forbidden::Broker => 1,
            Forbidden::Group => 2,
            Forbidden::Topic => 3,
            Forbidden::Broadcast => 4,
            Forbidden::Subscription => 5,
        }
    }
}

impl std::fmt::Display for Forbidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Forbidden::Broker => "broker",
            Forbidden::Group => "consumer group",
            Forbidden::Topic => "topic",
            Forbidden::Broadcast => "broadcast of consumer group",
            Forbidden::Subscription => "topic of consumer group",
        })
    }
}
