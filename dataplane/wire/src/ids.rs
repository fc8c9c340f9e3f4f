//! Names and numbers that must not be mixed up. A value of one of these types has been checked once, so later code need
//! not check it again.

use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Prefix of a group's retry topic.
pub const RETRY_PREFIX: &str = "%RETRY%";
/// Prefix of a group's dead-letter topic.
pub const DLQ_PREFIX: &str = "%DLQ%";

/// Longest topic name a client may create, in bytes.
pub const TOPIC_MAX_BYTES: usize = 127;
/// Longest name of a retry, dead-letter or internal topic, in bytes.
pub const INTERNAL_NAME_MAX_BYTES: usize = 255;
/// Longest group name, in bytes.
pub const GROUP_MAX_BYTES: usize = 120;

/// Why a name was refused. The text is what clients of Apache RocketMQ know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing, or nothing but blanks.
    #[error("The specified {kind} is blank.")]
    Blank {
        /// `topic`, `group`, `broker` or `cluster`.
        kind: &'static str,
    },
    /// A character outside the allowed set.
    #[error("The specified {kind}: {name}, contains illegal characters, allowing only ^[%|a-zA-Z0-9_-]+$")]
    IllegalCharacter {
        /// `topic`, `group`, `broker` or `cluster`.
        kind: &'static str,
        /// The name as given.
        name: String,
    },
    /// Longer than the limit.
    #[error("The specified {kind} is longer than {kind} name max length {limit}.")]
    TooLong {
        /// `topic`, `group`, `broker` or `cluster`.
        kind: &'static str,
        /// The limit in bytes.
        limit: usize,
    },
}

fn allowed(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'%' | b'|' | b'_' | b'-')
}

fn check_strict(kind: &'static str, name: &str, limit: usize) -> Result<(), NameError> {
    if name.trim().is_empty() {
        return Err(NameError::Blank { kind });
    }
    if !name.bytes().all(allowed) {
        return Err(NameError::IllegalCharacter {
            kind,
            name: name.chars().take(INTERNAL_NAME_MAX_BYTES).collect(),
        });
    }
    if name.len() > limit {
        return Err(NameError::TooLong { kind, limit });
    }
    Ok(())
}

fn check_internal(kind: &'static str, name: &str) -> Result<(), NameError> {
    if name.trim().is_empty() {
        return Err(NameError::Blank { kind });
    }
    if name.len() > INTERNAL_NAME_MAX_BYTES {
        return Err(NameError::TooLong { kind, limit: INTERNAL_NAME_MAX_BYTES });
    }
    if name.chars().any(char::is_control) {
        return Err(NameError::IllegalCharacter { kind, name: name.escape_default().to_string() });
    }
    Ok(())
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(Arc<str>);

        impl $type {
            /// A name made by the system itself or reported by a peer: not blank, at most 255 bytes, no control
            /// characters; otherwise free (derived topics may hold `+`, for example).
            pub fn internal(name: &str) -> Result<Self, NameError> {
                check_internal($kind, name)?;
                Ok(Self(Arc::from(name)))
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl Deref for $type {
            type Target = str;
            fn deref(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $type {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $type {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl PartialEq<str> for $type {
            fn eq(&self, other: &str) -> bool {
                self.as_str() == other
            }
        }

        impl PartialEq<&str> for $type {
            fn eq(&self, other: &&str) -> bool {
                self.as_str() == *other
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        /// Reads by the rule of `internal`: JSON that holds names comes from brokers or from disk.
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                Self::internal(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}

name!(
    /// A topic's name.
    TopicName, "topic"
);
name!(
    /// The name of a consumer or producer group.
    GroupName, "group"
);
name!(
    /// The name of a broker group (a master and its slaves).
    BrokerName, "broker"
);
name!(
    /// The name of a cluster.
    ClusterName, "cluster"
);

impl TopicName {
    /// A topic named by a client: `^[%|a-zA-Z0-9_-]+$`, at most 127 bytes (255 for retry and dead-letter topics).
    pub fn new(name: &str) -> Result<Self, NameError> {
        let derived = name.starts_with(RETRY_PREFIX) || name.starts_with(DLQ_PREFIX);
        let limit = if derived { INTERNAL_NAME_MAX_BYTES } else { TOPIC_MAX_BYTES };
        check_strict("topic", name, limit)?;
        Ok(Self(Arc::from(name)))
    }

    /// The retry topic of a group.
    #[must_use]
    pub fn retry_of(group: &GroupName) -> Self {
        Self(Arc::from(format!("{RETRY_PREFIX}{group}")))
    }

    /// The dead-letter topic of a group.
    #[must_use]
    pub fn dlq_of(group: &GroupName) -> Self {
        Self(Arc::from(format!("{DLQ_PREFIX}{group}")))
    }

    /// The topic that popped and unacknowledged messages of `topic` come to again, in the form that brokers use by default.
    pub fn pop_retry_v1(group: &GroupName, topic: &TopicName) -> Result<Self, NameError> {
        Self::internal(&format!("{RETRY_PREFIX}{group}_{topic}"))
    }

    /// The same in the second form, which can be told apart from the retry topic of another group.
    pub fn pop_retry_v2(group: &GroupName, topic: &TopicName) -> Result<Self, NameError> {
        Self::internal(&format!("{RETRY_PREFIX}{group}+{topic}"))
    }

    /// True for `%RETRY%...`.
    #[must_use]
    pub fn is_retry(&self) -> bool {
        self.starts_with(RETRY_PREFIX)
    }

    /// True for `%DLQ%...`.
    #[must_use]
    pub fn is_dlq(&self) -> bool {
        self.starts_with(DLQ_PREFIX)
    }
}

impl GroupName {
    /// A group named by a client: `^[%|a-zA-Z0-9_-]+$`, at most 120 bytes.
    pub fn new(name: &str) -> Result<Self, NameError> {
        check_strict("group", name, GROUP_MAX_BYTES)?;
        Ok(Self(Arc::from(name)))
    }
}

impl BrokerName {
    /// A configured broker name; the rule is that of `internal`.
    pub fn new(name: &str) -> Result<Self, NameError> {
        Self::internal(name)
    }
}

impl ClusterName {
    /// A configured cluster name; the rule is that of `internal`.
    pub fn new(name: &str) -> Result<Self, NameError> {
        Self::internal(name)
    }
}

macro_rules! number {
    ($(#[$doc:meta])* $type:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $type(pub $inner);

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl From<$inner> for $type {
            fn from(value: $inner) -> Self {
                Self(value)
            }
        }
    };
}

number!(
    /// The number of a queue within its topic on one broker.
    QueueId(u32)
);
number!(
    /// A position in a queue, counted in messages; -1 stands for "none".
    QueueOffset(i64)
);
number!(
    /// A byte position in a commit log.
    LogOffset(u64)
);
number!(
    /// Milliseconds since 1970-01-01 UTC.
    EpochMillis(i64)
);

impl QueueId {
    /// From the wire's signed number; `None` when negative.
    #[must_use]
    pub fn from_wire(value: i32) -> Option<Self> {
        u32::try_from(value).ok().map(Self)
    }

    /// As the wire writes it. Numbers beyond `i32::MAX` cannot come from the wire and are clamped.
    #[must_use]
    pub fn to_wire(self) -> i32 {
        i32::try_from(self.0).unwrap_or(i32::MAX)
    }
}

impl LogOffset {
    /// From the wire's signed number; `None` when negative.
    #[must_use]
    pub fn from_wire(value: i64) -> Option<Self> {
        u64::try_from(value).ok().map(Self)
    }

    /// As the wire writes it. Offsets beyond `i64::MAX` cannot come from the wire and are clamped.
    #[must_use]
    pub fn to_wire(self) -> i64 {
        i64::try_from(self.0).unwrap_or(i64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_name_follows_the_rules_of_the_original() {
        assert!(TopicName::new("orders-1_x|%").is_ok());
        assert_eq!(TopicName::new("  "), Err(NameError::Blank { kind: "topic" }));
        assert!(matches!(TopicName::new("a b"), Err(NameError::IllegalCharacter { .. })));
        assert!(matches!(TopicName::new("ünder"), Err(NameError::IllegalCharacter { .. })));
        assert!(TopicName::new(&"t".repeat(127)).is_ok());
        assert!(matches!(TopicName::new(&"t".repeat(128)), Err(NameError::TooLong { limit: 127, .. })));
        let retry = format!("%RETRY%{}", "g".repeat(200));
        assert!(TopicName::new(&retry).is_ok_and(|topic| topic.is_retry()));
    }

    #[test]
    fn a_group_name_is_at_most_120_bytes() {
        assert!(GroupName::new(&"g".repeat(120)).is_ok());
        assert!(GroupName::new(&"g".repeat(121)).is_err());
    }

    #[test]
    fn internal_names_may_hold_what_clients_may_not_send() {
        assert!(TopicName::new("%RETRY%g+t").is_err());
        assert!(TopicName::internal("%RETRY%g+t").is_ok());
        assert!(TopicName::internal("a\u{0}b").is_err());
    }

    #[test]
    fn maps_keyed_by_a_name_are_searched_by_text() {
        let mut topics = std::collections::HashMap::new();
        topics.insert(TopicName::new("t").expect("a legal name"), 1);
        assert_eq!(topics.get("t"), Some(&1));
    }
}
