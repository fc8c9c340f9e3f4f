//! What a new broker group is given: the topics and consumer groups that all older groups have and that no object speaks for, with
//! their definitions. Those with an object are brought by the reconciles of their objects.
//!
//! A group is new until its status says that it has joined. If that word is lost, the group is given again what it lacks, which is
//! nothing.

use std::collections::{BTreeMap, BTreeSet};

use bolide_api::BrokerSet;
use bolide_client::ClientError;
use bolide_resources::{Cluster, Group, names};
use bolide_wire::body::group::SubscriptionGroupConfig;
use bolide_wire::body::topic::TopicConfig;
use kube::ResourceExt;

use super::{leaving, observe};
use crate::brokers::Brokers;
use crate::context::Context;

/// Whether a group has what all others have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Joining {
    /// It has.
    Joined,
    /// Not yet, for the reason given.
    Waits(String),
}

/// The groups that have joined, as the status says.
pub(crate) fn joined(set: &BrokerSet) -> BTreeMap<u32, Joining> {
    let groups = set.status.iter().flat_map(|status| &status.groups).filter(|group| group.joined);
    let numbers = groups.filter_map(|group| group.name.rsplit('-').next()?.parse().ok());
    numbers.map(|number| (number, Joining::Joined)).collect()
}

/// Gives new groups that answer what they lack. Every group in the answer is wanted.
pub(crate) async fn join<B: Brokers>(
    ctx: &Context<B>,
    set: &BrokerSet,
    cluster: &Cluster,
    groups: &[Group],
    seen: &observe::Seen,
) -> BTreeMap<u32, Joining> {
    let mut states = joined(set);
    states.retain(|number, _| groups.iter().any(|group| group.number == *number && !group.draining));
    let (old, new): (Vec<&Group>, Vec<&Group>) =
        groups.iter().filter(|group| !group.draining).partition(|group| states.contains_key(&group.number));
    let new: Vec<&Group> = new.into_iter().filter(|group| seen.contains_key(&group.number)).collect();
    if new.is_empty() {
        return states;
    }
    let common = match common(ctx, set, cluster, &old).await {
        Ok(common) => common,
        Err(error) => {
            let waits = Joining::Waits(format!("waits for the topics of the older groups: {error}"));
            states.extend(new.iter().map(|group| (group.number, waits.clone())));
            return states;
        }
    };
    for group in new {
        let given = match observe::address(group) {
            Some(address) => give(ctx, &common, &address).await,
            None => continue,
        };
        let state = match given {
            Ok(()) => Joining::Joined,
            Err(error) => Joining::Waits(format!("does not take the topics of the older groups: {error}")),
        };
        states.insert(group.number, state);
    }
    states
}

/// Definitions that all older groups have; each as the first of them has it.
#[derive(Clone, Debug, Default, PartialEq)]
struct Common {
    topics: Vec<TopicConfig>,
    groups: Vec<SubscriptionGroupConfig>,
}

async fn common<B: Brokers>(
    ctx: &Context<B>,
    set: &BrokerSet,
    cluster: &Cluster,
    old: &[&Group],
) -> Result<Common, ClientError> {
    let spoken_for = SpokenFor::of(ctx, set);
    let mut common: Option<Common> = None;
    for group in old {
        let Some(address) = observe::address(group) else { continue };
        let topics = ctx.brokers.topics(&address).await?;
        let groups = ctx.brokers.groups(&address).await?;
        match &mut common {
            None => {
                let own = names::group(&cluster.name, group.number);
                let is_kept = |topic: &TopicConfig| {
                    let name = topic.topic_name.as_str();
                    !leaving::is_brokers_own(name)
                        && name != own
                        && name != cluster.name
                        && !spoken_for.topics.contains(name)
                };
                common = Some(Common {
                    topics: topics.into_iter().filter(is_kept).collect(),
                    groups: groups
                        .into_iter()
                        .filter(|group| !spoken_for.groups.contains(&group.group_name))
                        .collect(),
                });
            }
            Some(common) => {
                let topics: BTreeSet<String> = topics.into_iter().map(|topic| topic.topic_name).collect();
                let groups: BTreeSet<String> = groups.into_iter().map(|group| group.group_name).collect();
                common.topics.retain(|topic| topics.contains(&topic.topic_name));
                common.groups.retain(|group| groups.contains(&group.group_name));
            }
        }
    }
    Ok(common.unwrap_or_default())
}

/// Topics and groups that objects decide about.
struct SpokenFor {
    topics: BTreeSet<String>,
    groups: BTreeSet<String>,
}

impl SpokenFor {
    fn of<B>(ctx: &Context<B>, set: &BrokerSet) -> Self {
        let (namespace, name) = (set.namespace(), set.name_any());
        let topics = ctx.seen.topics.state();
        let topics = topics
            .iter()
            .filter(|topic| topic.namespace() == namespace && topic.spec.cluster_ref.name == name);
        let groups = ctx.seen.groups.state();
        let groups = groups
            .iter()
            .filter(|group| group.namespace() == namespace && group.spec.cluster_ref.name == name);
        Self {
            topics: topics.map(|topic| topic.topic_name().to_owned()).collect(),
            groups: groups.map(|group| group.group_name().to_owned()).collect(),
        }
    }
}

/// Topics that are missing are made; one that is there may hold messages and is left as it is. Groups get their definition in any case:
/// a consumer that found the new broker first has made them with default values.
async fn give<B: Brokers>(ctx: &Context<B>, common: &Common, address: &str) -> Result<(), ClientError> {
    let held = ctx.brokers.groups(address).await?;
    for group in common.groups.iter().filter(|group| !held.contains(group)) {
        ctx.brokers.put_group(address, group).await?;
    }
    let held: BTreeSet<String> =
        ctx.brokers.topics(address).await?.into_iter().map(|topic| topic.topic_name).collect();
    for topic in common.topics.iter().filter(|topic| !held.contains(&topic.topic_name)) {
        ctx.brokers.put_topic(address, topic).await?;
    }
    Ok(())
}
