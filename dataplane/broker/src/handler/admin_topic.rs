//! Owns the administration of topics: definitions made, changed, deleted, listed.

use std::collections::BTreeMap;

use bolide_wire::body::topic::{TopicConfig, TopicConfigList, TopicConfigTable, TopicFilterType, TopicList};
use bolide_wire::header::topic::{CreateTopic, GetAllTopicConfigResponse, TopicOnly};
use bolide_wire::ids::TopicName;
use bolide_wire::json;

use super::Call;
use crate::error::Failure;
use crate::reply::Reply;
use crate::state::topics::is_system;

/// Queues that a topic may have.
const MAX_QUEUES: i32 = 65_536;
/// Bits that a permission may have.
const PERMISSION_BITS: i32 = 7;
/// Attributes whose value cannot change once the topic exists.
const FIXED_ATTRIBUTES: &[&str] = &["queue.type", "cleanup.policy"];

/// Code 17.
pub(crate) async fn put(call: Call) -> Result<Reply, Failure> {
    let header = CreateTopic::decode(&call.command.ext)?;
    let config = TopicConfig {
        order: header.order,
        perm: header.perm,
        read_queue_nums: header.read_queue_nums,
        topic_filter_type: TopicFilterType::default(),
        topic_sys_flag: header.topic_sys_flag.unwrap_or(0),
        write_queue_nums: header.write_queue_nums,
        ..TopicConfig::new(&header.topic, 1)
    };
    let config = checked(&call, config)?;
    let known = call.broker.state.topics.find(&config.topic_name).map(|topic| topic.config.clone());
    let before = known.as_ref().map(|known| known.attributes.clone()).unwrap_or_default();
    let attributes = edited(before, header.attributes.as_deref().unwrap_or_default(), known.is_some())?;
    change(&call, vec![TopicConfig { attributes, ..config }]).await
}

/// Code 18.
pub(crate) async fn put_list(call: Call) -> Result<Reply, Failure> {
    let list: TopicConfigList = json::from_slice(&call.command.body)?;
    let configs = list.topic_config_list.into_iter().map(|config| checked(&call, config));
    let configs = configs.collect::<Result<Vec<_>, _>>()?;
    change(&call, configs).await
}

async fn change(call: &Call, mut configs: Vec<TopicConfig>) -> Result<Reply, Failure> {
    let _making = call.broker.making.lock().await;
    let topics = &call.broker.state.topics;
    configs.retain(|config| topics.find(&config.topic_name).is_none_or(|known| known.config != *config));
    if !configs.is_empty() {
        call.broker.change_topics(configs).await?;
    }
    Ok(Reply::ok())
}

fn checked(call: &Call, config: TopicConfig) -> Result<TopicConfig, Failure> {
    TopicName::new(&config.topic_name)?;
    if is_system(&config.topic_name) || is_own_name(call, &config.topic_name) {
        return Err(Failure::Parameter(format!(
            "The topic[{}] is conflict with system topic.",
            config.topic_name
        )));
    }
    for queues in [config.read_queue_nums, config.write_queue_nums] {
        if !(0..=MAX_QUEUES).contains(&queues) {
            return Err(Failure::Parameter(format!(
                "number of queues {queues} is not between 0 and {MAX_QUEUES}"
            )));
        }
    }
    if config.perm & !PERMISSION_BITS != 0 {
        return Err(Failure::Parameter(format!(
            "permission {} is not between 0 and {PERMISSION_BITS}",
            config.perm
        )));
    }
    Ok(config)
}

fn is_own_name(call: &Call, topic: &str) -> bool {
    topic == &*call.broker.names.cluster || topic == &*call.broker.names.broker
}

/// Applies `+key=value,-key` to attributes. `exists`: whether the topic was there before.
fn edited(
    mut attributes: BTreeMap<String, String>,
    edits: &str,
    exists: bool,
) -> Result<BTreeMap<String, String>, Failure> {
    for edit in edits.split(',').map(str::trim).filter(|edit| !edit.is_empty()) {
        let bad = || Failure::Parameter(format!("attribute [{edit}] is neither +key=value nor -key"));
        let key = if let Some(added) = edit.strip_prefix('+') {
            let (key, value) = added.split_once('=').ok_or_else(bad)?;
            if attributes.get(key).is_some_and(|known| known == value) {
                continue;
            }
            attributes.insert(key.to_owned(), value.to_owned());
            key
        } else {
            let key = edit.strip_prefix('-').ok_or_else(bad)?;
            attributes.remove(key);
            key
        };
        if exists && FIXED_ATTRIBUTES.contains(&key) {
            return Err(Failure::Parameter(format!("attribute [{key}] of an existing topic cannot change")));
        }
    }
    Ok(attributes)
}

/// Code 215. Retry topics of pop consumption of the topic go with it.
pub(crate) async fn delete(call: Call) -> Result<Reply, Failure> {
    let header = TopicOnly::decode(&call.command.ext)?;
    let name = TopicName::new(&header.topic)?;
    if is_system(&name) || is_own_name(&call, &name) {
        return Err(Failure::Parameter(format!("The topic[{name}] is conflict with system topic.")));
    }
    let (topics, groups) = (&call.broker.state.topics, call.broker.state.groups.all());
    let retries = groups
        .iter()
        .flat_map(|group| ["_", "+"].map(|separator| format!("%RETRY%{}{separator}{name}", group.name)));
    let mut removed: Vec<TopicName> =
        retries.filter_map(|retry| Some(topics.find(&retry)?.name.clone())).collect();
    if topics.find(&name).is_some() {
        removed.push(name);
    }
    if !removed.is_empty() {
        call.broker.delete_topics(removed).await?;
    }
    Ok(Reply::ok())
}

/// Code 21. Clients that page get everything in one page.
pub(crate) fn all(call: &Call) -> Result<Reply, Failure> {
    let topics = &call.broker.state.topics;
    let table: BTreeMap<String, TopicConfig> =
        topics.all().iter().map(|topic| (topic.name.to_string(), topic.config.clone())).collect();
    let total = i32::try_from(table.len()).unwrap_or(i32::MAX);
    let body = TopicConfigTable {
        data_version: Some(topics.version()),
        topic_config_table: table,
        topic_queue_mapping_detail_map: Some(BTreeMap::new()),
        topic_queue_mapping_info_map: Some(BTreeMap::new()),
        ..TopicConfigTable::default()
    };
    Ok(Reply::json(&body)?.with_header(&GetAllTopicConfigResponse { total_topic_num: total }))
}

/// Code 351.
pub(crate) fn one(call: &Call) -> Result<Reply, Failure> {
    let header = TopicOnly::decode(&call.command.ext)?;
    let topic = call.broker.state.topics.find(&header.topic).ok_or(Failure::NoTopic(header.topic))?;
    Reply::json(&topic.config)
}

/// Code 305.
pub(crate) fn system_topics(call: &Call) -> Result<Reply, Failure> {
    let names = call.broker.state.topics.all();
    let names = names.iter().filter(|topic| topic.system || is_own_name(call, &topic.name));
    let mut topic_list: Vec<String> = names.map(|topic| topic.name.to_string()).collect();
    topic_list.sort();
    Reply::json(&TopicList { topic_list, ..TopicList::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attributes(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn attributes_are_added_changed_and_removed() {
        let before = attributes(&[("message.type", "NORMAL"), ("reserve.time", "5")]);
        let after = edited(before, "+message.type=FIFO, -reserve.time,+a=b=c", true).unwrap();
        assert_eq!(after, attributes(&[("a", "b=c"), ("message.type", "FIFO")]));
    }

    #[test]
    fn a_fixed_attribute_may_be_set_at_creation_only() {
        assert!(edited(BTreeMap::new(), "+queue.type=BatchCQ", false).is_ok());
        assert!(edited(BTreeMap::new(), "+queue.type=BatchCQ", true).is_err());
        let same = attributes(&[("queue.type", "BatchCQ")]);
        assert_eq!(edited(same.clone(), "+queue.type=BatchCQ", true).unwrap(), same);
    }

    #[test]
    fn other_forms_are_refused() {
        for bad in ["message.type=FIFO", "+key", "x"] {
            assert!(edited(BTreeMap::new(), bad, false).is_err(), "{bad}");
        }
    }
}
