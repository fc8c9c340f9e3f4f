//! Owns the administration of consumer groups: definitions made, changed, deleted, listed, and the table of offsets.

use std::collections::BTreeMap;

use bolide_wire::body::group as body;
use bolide_wire::body::group::{SubscriptionGroupConfig, SubscriptionGroupList, SubscriptionGroupTable};
use bolide_wire::body::offset::ConsumerOffsetTable;
use bolide_wire::header::group::{
    DeleteSubscriptionGroup, GetAllSubscriptionGroupConfigResponse, GetSubscriptionGroupConfig,
    GroupForbidden,
};
use bolide_wire::ids::{GroupName, TopicName};
use bolide_wire::json;

use super::Call;
use crate::error::Failure;
use crate::reply::Reply;
use crate::state::groups::{READ_FORBIDDEN, is_system};

/// Code 200.
pub(crate) async fn put(call: Call) -> Result<Reply, Failure> {
    let config: SubscriptionGroupConfig = json::from_slice(&call.command.body)?;
    change(&call, vec![config]).await
}

/// Code 225.
pub(crate) async fn put_list(call: Call) -> Result<Reply, Failure> {
    let list: SubscriptionGroupList = json::from_slice(&call.command.body)?;
    change(&call, list.group_config_list).await
}

async fn change(call: &Call, mut configs: Vec<SubscriptionGroupConfig>) -> Result<Reply, Failure> {
    let mut retry_topics = Vec::with_capacity(configs.len());
    for config in &configs {
        let group = GroupName::new(&config.group_name)?;
        if config.retry_max_times < -1 || !(0..=64).contains(&config.retry_queue_nums) {
            let (times, queues) = (config.retry_max_times, config.retry_queue_nums);
            return Err(Failure::Parameter(format!(
                "retryMaxTimes {times} or retryQueueNums {queues} out of range"
            )));
        }
        retry_topics.push((TopicName::retry_of(&group), config.retry_queue_nums));
    }
    let groups = &call.broker.state.groups;
    configs.retain(|config| groups.find(&config.group_name).is_none_or(|known| known.config != *config));
    if !configs.is_empty() {
        call.broker.change_groups(configs, Vec::new(), false).await?;
    }
    // Tools find the brokers of a group through the route of its retry topic, so it exists as soon as the group does.
    for (topic, queues) in retry_topics {
        call.broker.make_internal_topic(topic, queues).await?;
    }
    Ok(Reply::ok())
}

/// Code 207. The retry and dead-letter topics stay: they may hold messages.
pub(crate) async fn delete(call: Call) -> Result<Reply, Failure> {
    let header = DeleteSubscriptionGroup::decode(&call.command.ext)?;
    if is_system(&header.group_name) {
        return Err(Failure::Parameter(format!("group [{}] belongs to the system", header.group_name)));
    }
    let group = GroupName::internal(&header.group_name)?;
    if header.clean_offset || call.broker.state.groups.find(&group).is_some() {
        call.broker.change_groups(Vec::new(), vec![group], header.clean_offset).await?;
    }
    Ok(Reply::ok())
}

/// Code 201. Clients that page get everything in one page.
pub(crate) fn all(call: &Call) -> Result<Reply, Failure> {
    let groups = &call.broker.state.groups;
    let table: BTreeMap<String, SubscriptionGroupConfig> =
        groups.all().iter().map(|group| (group.name.to_string(), group.config.clone())).collect();
    let total = i32::try_from(table.len()).unwrap_or(i32::MAX);
    let body = SubscriptionGroupTable {
        data_version: Some(groups.version()),
        forbidden_table: groups.forbidden(),
        subscription_group_table: table,
    };
    Ok(Reply::json(&body)?.with_header(&GetAllSubscriptionGroupConfigResponse { total_group_num: total }))
}

/// Code 352.
pub(crate) fn one(call: &Call) -> Result<Reply, Failure> {
    let header = GetSubscriptionGroupConfig::decode(&call.command.ext)?;
    let group = call.broker.state.groups.find(&header.group).ok_or(Failure::NoGroup(header.group))?;
    Reply::json(&group.config)
}

/// Code 353: says whether a group may read a topic, after changing it if the request says so.
pub(crate) async fn forbid(call: Call) -> Result<Reply, Failure> {
    let header = GroupForbidden::decode(&call.command.ext)?;
    let groups = &call.broker.state.groups;
    if let Some(readable) = header.readable
        && readable != groups.may_read(&header.group, &header.topic)
    {
        let known = groups.find(&header.group);
        let group = known.ok_or_else(|| Failure::NoGroup(header.group.clone()))?;
        let topic = TopicName::internal(&header.topic)?;
        let bits = if readable { 0 } else { READ_FORBIDDEN };
        call.broker.forbid(&group.name, &topic, bits).await?;
    }
    let readable = Some(groups.may_read(&header.group, &header.topic));
    Reply::json(&body::GroupForbidden { group: header.group, readable, topic: header.topic })
}

/// Code 43.
pub(crate) fn offsets(call: &Call) -> Result<Reply, Failure> {
    let offset_table = call.broker.state.offsets.lock().current();
    Reply::json(&ConsumerOffsetTable { data_version: None, offset_table })
}
