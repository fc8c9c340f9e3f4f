//! What a broker registers with a name server: the full table, plain or compressed, and this implementation's
//! difference to a version both sides know.

use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;

use super::topic::{DataVersion, TopicConfig, TopicConfigTable, TopicFilterType};
use crate::json::{self, IntegerKeys, JsonError};
use crate::reader::Reader;

/// First broker version whose compressed body has a section of static topics: 5.0.0.
const MAPPING_SINCE: i32 = 413;

/// Why a registration could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// The JSON in it.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// The JSON in it, while writing.
    #[error("registration: {0}")]
    Encode(#[from] serde_json::Error),
    /// Not a zlib stream, or one that ends early.
    #[error("registration: not a zlib stream")]
    Inflate(#[source] std::io::Error),
    /// Unpacks to more than allowed.
    #[error("registration unpacks to more than {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// The unpacked sections do not add up, or one is too long to be written.
    #[error("registration: bad {section}")]
    Section {
        /// Which.
        section: &'static str,
    },
}

body! {
    /// The body of REGISTER_BROKER.
    pub struct RegisterBrokerBody {
        pub filter_server_list: Vec<String>,
        pub topic_config_serialize_wrapper: TopicConfigTable,
    }
}

body! {
    /// The body of this implementation's registration by difference.
    pub struct RegisterDeltaBody {
        /// New and changed topics.
        pub changed: Vec<TopicConfig>,
        /// Names of topics that are gone.
        pub deleted: Vec<String>,
    }
}

impl RegisterBrokerBody {
    /// Reads a body. `compressed` and the broker's `version` come from the request; `limit` bounds the unpacked size in
    /// bytes. An empty body is an empty table.
    pub fn decode(body: &[u8], compressed: bool, version: i32, limit: u64) -> Result<Self, RegisterError> {
        if body.is_empty() || !compressed {
            return Ok(json::from_slice(body)?);
        }
        let mut unpacked = Vec::new();
        let more = limit.saturating_add(1);
        ZlibDecoder::new(body).take(more).read_to_end(&mut unpacked).map_err(RegisterError::Inflate)?;
        if u64::try_from(unpacked.len()).is_ok_and(|len| len > limit) {
            return Err(RegisterError::TooLarge { limit });
        }
        Self::sections(&mut Reader::new(&unpacked), version)
    }

    fn sections(reader: &mut Reader<'_>, version: i32) -> Result<Self, RegisterError> {
        let bad = |section| RegisterError::Section { section };
        let mut table = TopicConfigTable::default();
        let data_version = reader.block32().ok_or(bad("data version"))?;
        table.data_version = Some(json::from_slice::<DataVersion>(data_version)?);
        let count = reader.i32().ok_or(bad("topic count"))?;
        for _ in 0..count {
            let line = reader.block32().and_then(|bytes| std::str::from_utf8(bytes).ok());
            let topic = line.and_then(topic_from_line).ok_or(bad("topic"))?;
            table.topic_config_table.insert(topic.topic_name.clone(), topic);
        }
        let filter_servers = reader.block32().ok_or(bad("filter servers"))?;
        let filter_server_list = json::from_slice::<Option<Vec<String>>>(filter_servers)?.unwrap_or_default();
        if version >= MAPPING_SINCE && !reader.is_empty() {
            let count = reader.i32().ok_or(bad("static topic count"))?;
            let mut mappings = std::collections::BTreeMap::new();
            for _ in 0..count {
                let info: serde_json::Value = json::from_slice(reader.block32().ok_or(bad("static topic"))?)?;
                if let Some(topic) = info.get("topic").and_then(serde_json::Value::as_str) {
                    mappings.insert(topic.to_owned(), info.clone());
                }
            }
            table.topic_queue_mapping_info_map = Some(mappings);
        }
        Ok(Self { filter_server_list, topic_config_serialize_wrapper: table })
    }

    /// Writes the body, plain or compressed.
    pub fn encode(&self, compressed: bool) -> Result<Vec<u8>, RegisterError> {
        if !compressed {
            return Ok(json::to_vec(self, IntegerKeys::Unquoted)?);
        }
        let table = &self.topic_config_serialize_wrapper;
        let mut plain = Vec::new();
        put_json(&mut plain, &table.data_version.unwrap_or_default())?;
        put_count(&mut plain, table.topic_config_table.len())?;
        for topic in table.topic_config_table.values() {
            put_block(&mut plain, topic_to_line(topic)?.as_bytes())?;
        }
        put_json(&mut plain, &self.filter_server_list)?;
        let mappings = table.topic_queue_mapping_info_map.as_ref();
        put_count(&mut plain, mappings.map_or(0, std::collections::BTreeMap::len))?;
        for info in mappings.into_iter().flat_map(std::collections::BTreeMap::values) {
            put_json(&mut plain, info)?;
        }
        let mut packer = ZlibEncoder::new(Vec::new(), Compression::best());
        packer.write_all(&plain).and_then(|()| packer.finish()).map_err(RegisterError::Inflate)
    }
}

fn put_count(out: &mut Vec<u8>, count: usize) -> Result<(), RegisterError> {
    let count = i32::try_from(count).map_err(|_| RegisterError::Section { section: "count" })?;
    out.extend_from_slice(&count.to_be_bytes());
    Ok(())
}

fn put_block(out: &mut Vec<u8>, bytes: &[u8]) -> Result<(), RegisterError> {
    put_count(out, bytes.len())?;
    out.extend_from_slice(bytes);
    Ok(())
}

fn put_json<T: serde::Serialize>(out: &mut Vec<u8>, value: &T) -> Result<(), RegisterError> {
    put_block(out, &json::to_vec(value, IntegerKeys::Unquoted)?)
}

/// `name readQueues writeQueues perm filterType attributes`
fn topic_to_line(topic: &TopicConfig) -> Result<String, RegisterError> {
    let attributes = serde_json::to_string(&topic.attributes)?;
    Ok(format!(
        "{} {} {} {} {} {attributes}",
        topic.topic_name, topic.read_queue_nums, topic.write_queue_nums, topic.perm, topic.topic_filter_type
    ))
}

fn topic_from_line(line: &str) -> Option<TopicConfig> {
    let mut parts = line.splitn(6, ' ');
    let topic_name = parts.next().filter(|name| !name.is_empty())?.to_owned();
    let read_queue_nums = parts.next()?.parse().ok()?;
    let write_queue_nums = parts.next()?.parse().ok()?;
    let perm = parts.next()?.parse().ok()?;
    let filter = parts.next()?;
    let topic_filter_type = if filter == TopicFilterType::MultiTag.as_str() {
        TopicFilterType::MultiTag
    } else {
        TopicFilterType::SingleTag
    };
    let attributes = parts.next().and_then(|text| json::from_slice(text.as_bytes()).ok()).unwrap_or_default();
    Some(TopicConfig {
        attributes,
        perm,
        read_queue_nums,
        topic_filter_type,
        topic_name,
        write_queue_nums,
        ..TopicConfig::default()
    })
}
