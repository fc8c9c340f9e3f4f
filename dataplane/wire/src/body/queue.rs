//! The message queue, as a value and as a map's key.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde::ser::{Error as _, Serialize, SerializeMap, Serializer};

use crate::json::OBJECT_KEY_MARK;

/// One queue of a topic on one broker group.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "camelCase", default)]
pub struct MessageQueue {
    /// The broker group.
    pub broker_name: String,
    /// The queue's number; -1 stands for all queues in pop assignments.
    pub queue_id: i32,
    /// The topic.
    pub topic: String,
}

/// A map keyed by message queues. On the wire the key is the object itself, without quotes, in the compact form that
/// every client reads: `{{"brokerName":"b","queueId":0,"topic":"T"}:5}`. Needs the writer of [`crate::json`].
#[derive(Clone, Debug, PartialEq)]
pub struct QueueMap<V>(pub BTreeMap<MessageQueue, V>);

impl<V> Default for QueueMap<V> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<V> Deref for QueueMap<V> {
    type Target = BTreeMap<MessageQueue, V>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<V> DerefMut for QueueMap<V> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

impl<V> FromIterator<(MessageQueue, V)> for QueueMap<V> {
    fn from_iter<I: IntoIterator<Item = (MessageQueue, V)>>(entries: I) -> Self {
        Self(entries.into_iter().collect())
    }
}

impl<V: Serialize> Serialize for QueueMap<V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (queue, value) in &self.0 {
            let object = serde_json::to_string(queue).map_err(S::Error::custom)?;
            map.serialize_entry(&format!("{OBJECT_KEY_MARK}{object}"), value)?;
        }
        map.end()
    }
}

impl<'de, V: Deserialize<'de>> Deserialize<'de> for QueueMap<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries<V>(PhantomData<V>);

        impl<'de, V: Deserialize<'de>> Visitor<'de> for Entries<V> {
            type Value = QueueMap<V>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map keyed by message queues")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<QueueMap<V>, A::Error> {
                let mut entries = BTreeMap::new();
                while let Some((key, value)) = map.next_entry::<String, V>()? {
                    let object = key.strip_prefix(OBJECT_KEY_MARK).unwrap_or(&key);
                    entries.insert(serde_json::from_str(object).map_err(A::Error::custom)?, value);
                }
                Ok(QueueMap(entries))
            }
        }

        deserializer.deserialize_map(Entries(PhantomData))
    }
}
