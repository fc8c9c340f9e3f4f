//! HEART_BEAT (34) and what it carries; CHECK_CLIENT_CONFIG (46).

use serde::{Deserialize, Deserializer};

use super::java_enum::java_enum;
use crate::properties::java_hash;

/// `expressionType` of a tag filter, also meant when absent.
pub const TAG: &str = "TAG";
/// `expressionType` of an SQL filter.
pub const SQL92: &str = "SQL92";

java_enum! {
    /// How a group gets its messages.
    pub enum ConsumeType {
        /// Pull.
        #[default]
        Actively = "CONSUME_ACTIVELY",
        /// Push.
        Passively = "CONSUME_PASSIVELY",
        /// Pop.
        Pop = "CONSUME_POP",
    }
}

java_enum! {
    /// Whether the members of a group share the messages.
    pub enum MessageModel {
        /// Every member gets every message.
        Broadcasting = "BROADCASTING",
        /// Each message goes to one member.
        #[default]
        Clustering = "CLUSTERING",
    }
}

java_enum! {
    /// Where a group without offsets starts.
    pub enum ConsumeFromWhere {
        /// At the end.
        #[default]
        LastOffset = "CONSUME_FROM_LAST_OFFSET",
        /// Old name, means the end.
        LastOffsetAndMinWhenBootFirst = "CONSUME_FROM_LAST_OFFSET_AND_FROM_MIN_WHEN_BOOT_FIRST",
        /// Old name, means the end.
        MinOffset = "CONSUME_FROM_MIN_OFFSET",
        /// Old name, means the end.
        MaxOffset = "CONSUME_FROM_MAX_OFFSET",
        /// At the beginning.
        FirstOffset = "CONSUME_FROM_FIRST_OFFSET",
        /// At a point in time.
        Timestamp = "CONSUME_FROM_TIMESTAMP",
    }
}

body! {
    /// What a group wants of one topic.
    pub struct SubscriptionData {
        pub class_filter_mode: bool,
        /// Hashes of the tags. Go clients send them as strings, and hash other than Java beyond ASCII: see
        /// [`SubscriptionData::recompute_codes`].
        #[serde(deserialize_with = "integers")]
        pub code_set: Vec<i32>,
        /// `TAG` (also when absent or empty) or `SQL92`.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub expression_type: Option<String>,
        /// The expression, `*` for everything.
        pub sub_string: String,
        /// Grows with each change; milliseconds, or nanoseconds from Go.
        pub sub_version: i64,
        pub tags_set: Vec<String>,
        pub topic: String,
    }
}

impl SubscriptionData {
    /// A tag subscription built from its expression as the clients build it: `*` or empty for everything, otherwise
    /// tags separated by `||`.
    #[must_use]
    pub fn by_tags(topic: &str, expression: &str, version: i64) -> Self {
        let all = expression.is_empty() || expression == "*";
        let tags: Vec<String> = if all {
            Vec::new()
        } else {
            expression.split("||").map(str::trim).filter(|tag| !tag.is_empty()).map(str::to_owned).collect()
        };
        let mut data = Self {
            topic: topic.to_owned(),
            sub_string: if all { "*".to_owned() } else { expression.to_owned() },
            tags_set: tags,
            expression_type: Some(TAG.to_owned()),
            sub_version: version,
            ..Self::default()
        };
        data.recompute_codes();
        data
    }

    /// Sets the codes to Java's hashes of the tags.
    pub fn recompute_codes(&mut self) {
        self.code_set = self.tags_set.iter().map(|tag| java_hash(tag)).collect();
    }

    /// True unless another kind of expression is named.
    #[must_use]
    pub fn is_tag(&self) -> bool {
        self.expression_type.as_deref().is_none_or(|kind| kind.is_empty() || kind == TAG)
    }
}

/// Integers that may come as strings.
fn integers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<i32>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Item {
        Number(i32),
        Text(String),
        Other(serde::de::IgnoredAny),
    }

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Set {
        Items(Vec<Item>),
        Other(serde::de::IgnoredAny),
    }

    // What is no set reads as an empty one: Go writes `{}` for it.
    let Set::Items(items) = Set::deserialize(deserializer)? else {
        return Ok(Vec::new());
    };
    Ok(items
        .into_iter()
        .filter_map(|item| match item {
            Item::Number(number) => Some(number),
            Item::Text(text) => text.parse().ok(),
            Item::Other(_) => None,
        })
        .collect())
}

body! {
    /// A consumer group of the client.
    pub struct ConsumerData {
        pub consume_from_where: ConsumeFromWhere,
        pub consume_type: ConsumeType,
        pub group_name: String,
        pub message_model: MessageModel,
        #[serde(deserialize_with = "set")]
        pub subscription_data_set: Vec<SubscriptionData>,
        pub unit_mode: bool,
    }
}

body! {
    /// A producer group of the client.
    pub struct ProducerData {
        pub group_name: String,
    }
}

body! {
    /// The body of HEART_BEAT.
    pub struct HeartbeatData {
        #[serde(rename = "clientID")]
        pub client_id: String,
        #[serde(deserialize_with = "set")]
        pub consumer_data_set: Vec<ConsumerData>,
        /// Not 0: a heartbeat of version 2.
        pub heartbeat_fingerprint: i32,
        #[serde(deserialize_with = "set")]
        pub producer_data_set: Vec<ProducerData>,
        /// True: subscriptions are left out and stay as they are.
        pub without_sub: bool,
    }
}

/// A set, or anything else in its place, which reads as empty: some clients write `{}`.
fn set<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    struct Items<T>(std::marker::PhantomData<T>);

    impl<'de, T: Deserialize<'de>> serde::de::Visitor<'de> for Items<T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a set")
        }

        fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut items: A) -> Result<Vec<T>, A::Error> {
            let mut all = Vec::new();
            while let Some(item) = items.next_element()? {
                all.push(item);
            }
            Ok(all)
        }

        fn visit_map<A: serde::de::MapAccess<'de>>(self, mut entries: A) -> Result<Vec<T>, A::Error> {
            while entries.next_entry::<serde::de::IgnoredAny, serde::de::IgnoredAny>()?.is_some() {}
            Ok(Vec::new())
        }

        fn visit_unit<E: serde::de::Error>(self) -> Result<Vec<T>, E> {
            Ok(Vec::new())
        }
    }

    deserializer.deserialize_any(Items(std::marker::PhantomData))
}

body! {
    /// The body of CHECK_CLIENT_CONFIG.
    pub struct CheckClientConfig {
        pub client_id: String,
        pub group: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub namespace: Option<String>,
        pub subscription_data: SubscriptionData,
    }
}
