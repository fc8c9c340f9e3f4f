//! Messages as a user of this crate sends and receives them.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use bolide_wire::message::{RecordRef, sys_flag};
use bolide_wire::properties::{Properties, names};
use bytes::Bytes;

/// A compressed body that would unpack to more than this is left packed.
const UNPACKED_MOST_BYTES: u64 = 64 * 1024 * 1024;

/// A message to send.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// Where to.
    pub topic: String,
    /// The content.
    pub body: Bytes,
    /// For consumers that filter.
    pub tag: Option<String>,
    /// For finding the message by key.
    pub keys: Vec<String>,
    /// 1 to 18; delivered after the delay of that level.
    pub delay_level: Option<u8>,
    /// Further properties; names and values are not empty.
    pub properties: BTreeMap<String, String>,
}

impl Message {
    /// A message without tag, keys and properties.
    pub fn new(topic: &str, body: impl Into<Bytes>) -> Self {
        Self { topic: topic.to_owned(), body: body.into(), ..Self::default() }
    }

    /// The properties as the wire has them, with the given message id.
    pub(crate) fn encoded_properties(&self, id: &str) -> String {
        let mut properties = Properties::new();
        properties.push(names::UNIQ_KEY, id);
        properties.push(names::WAIT, "true");
        if let Some(tag) = &self.tag {
            properties.push(names::TAGS, tag);
        }
        if !self.keys.is_empty() {
            properties.push(names::KEYS, &self.keys.join(" "));
        }
        if let Some(level) = self.delay_level {
            properties.push(names::DELAY, &level.to_string());
        }
        for (name, value) in &self.properties {
            properties.set(name, value);
        }
        properties.into_encoded()
    }
}

/// A message id in the form of the official clients: 32 hexadecimal digits of process, time and a counter.
pub(crate) fn unique_id(process: &ProcessId) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = u32::try_from(now.as_millis() & u128::from(u32::MAX)).unwrap_or_default();
    let count = process.counter.fetch_add(1, Ordering::Relaxed);
    format!("7F000001{:04X}{:08X}{now:08X}{count:04X}", process.pid, process.salt)
}

/// What keeps the ids of two producers apart.
#[derive(Debug)]
pub(crate) struct ProcessId {
    pid: u16,
    salt: u32,
    counter: AtomicU16,
}

impl ProcessId {
    pub(crate) fn new() -> Self {
        use std::hash::{BuildHasher, Hasher};
        // seeded from the system's randomness, and so without a dependency for one number
        let random = std::collections::hash_map::RandomState::new().build_hasher().finish();
        let [a, b, c, d, e, f, ..] = random.to_be_bytes();
        let [.., high, low] = std::process::id().to_be_bytes();
        Self {
            pid: u16::from_be_bytes([high, low]),
            salt: u32::from_be_bytes([a, b, c, d]),
            counter: AtomicU16::new(u16::from_be_bytes([e, f])),
        }
    }

    /// A client id in the form of the official clients.
    pub(crate) fn client_id(&self) -> String {
        format!("127.0.0.1@{}#{}", std::process::id(), self.salt)
    }
}

/// A message that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// Its topic; for a retried message the one it was sent to.
    pub topic: String,
    /// The topic whose queue it was read from.
    pub queue_topic: String,
    /// Name of the broker group.
    pub broker: String,
    /// Number of the queue.
    pub queue: i32,
    /// Its offset in the queue.
    pub offset: i64,
    /// The producer's id of the message, or the broker's when there is none.
    pub message_id: String,
    /// When the broker stored it, in milliseconds since 1970.
    pub stored_ms: i64,
    /// How often it was delivered again.
    pub reconsume_times: i32,
    /// All properties, `TAGS` and `KEYS` among them.
    pub properties: BTreeMap<String, String>,
    /// The content, unpacked where it was sent compressed with zlib.
    pub body: Bytes,
}

impl Received {
    pub(crate) fn new(broker: &str, record: &RecordRef<'_>) -> Self {
        let properties: BTreeMap<String, String> =
            record.properties().iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let queue_topic = record.topic().to_owned();
        Self {
            topic: properties.get(names::RETRY_TOPIC).cloned().unwrap_or_else(|| queue_topic.clone()),
            queue_topic,
            broker: broker.to_owned(),
            queue: record.queue_id().to_wire(),
            offset: record.queue_offset().0,
            message_id: properties
                .get(names::UNIQ_KEY)
                .cloned()
                .unwrap_or_else(|| record.offset_message_id().to_string()),
            stored_ms: record.store_timestamp().0,
            reconsume_times: record.reconsume_times(),
            body: unpacked(record.sys_flag(), record.body()),
            properties,
        }
    }
}

/// The body as it was before compression; as stored when it is not a zlib stream or too large.
fn unpacked(flags: i32, body: &[u8]) -> Bytes {
    const ZLIB: [i32; 2] = [0, 0x300];
    if flags & sys_flag::COMPRESSED != 0 && ZLIB.contains(&(flags & sys_flag::COMPRESSION_MASK)) {
        let mut unpacked = Vec::new();
        let mut reader = flate2::read::ZlibDecoder::new(body).take(UNPACKED_MOST_BYTES + 1);
        if reader.read_to_end(&mut unpacked).is_ok() && unpacked.len() as u64 <= UNPACKED_MOST_BYTES {
            return unpacked.into();
        }
    }
    Bytes::copy_from_slice(body)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn properties_are_written_once_each() {
        let mut message = Message::new("t", "x");
        message.tag = Some("a".to_owned());
        message.keys = vec!["k1".to_owned(), "k2".to_owned()];
        message.delay_level = Some(3);
        message.properties.insert("colour".to_owned(), "red".to_owned());
        let encoded = Properties::from_encoded(message.encoded_properties("ID"));
        assert_eq!(encoded.get("KEYS"), Some("k1 k2"));
        assert_eq!(encoded.get("TAGS"), Some("a"));
        assert_eq!(encoded.get("DELAY"), Some("3"));
        assert_eq!(encoded.get("colour"), Some("red"));
        assert_eq!(encoded.get("UNIQ_KEY"), Some("ID"));
    }

    #[test]
    fn ids_differ() {
        let process = ProcessId::new();
        let (one, two) = (unique_id(&process), unique_id(&process));
        assert_ne!(one, two);
        assert_eq!(one.len(), 32);
    }

    #[test]
    fn a_zlib_body_is_unpacked_and_a_broken_one_is_left() {
        let mut packed = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(b"hello").unwrap();
        let packed = packed.finish().unwrap();
        assert_eq!(unpacked(sys_flag::COMPRESSED, &packed), "hello");
        assert_eq!(unpacked(0, &packed), packed);
        assert_eq!(unpacked(sys_flag::COMPRESSED, b"junk"), "junk");
    }
}
