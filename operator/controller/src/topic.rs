//! Reconciles a Topic: on every broker group that it names, the topic is as it says; it goes when its object goes.

mod apply;
mod owner;

#[cfg(test)]
mod tests;

use std::time::Duration;

use bolide_api::check::Check;
use bolide_api::status::{ConditionStatus, READY, condition, set_condition};
use bolide_api::topic::TopicType;
use bolide_api::{BrokerSet, Topic, TopicStatus};
use kube::ResourceExt;
use kube::runtime::controller::Action;

use crate::apply::{apply_status, finalizers, set_finalizers};
use crate::brokers::Brokers;
use crate::context::Context;
use crate::error::Error;
use crate::target;
use apply::Outcome;

/// How often a topic is compared with the brokers when nothing seems to have changed: drift lasts that long at most.
const DRIFT_CHECK: Duration = Duration::from_secs(60);
/// How soon it is looked at again while it waits for something.
const SOON: Duration = Duration::from_secs(5);

/// Makes the topic on the brokers what the object says, and writes its status.
pub(crate) async fn reconcile<B: Brokers>(ctx: &Context<B>, topic: &Topic) -> Result<Action, Error> {
    let namespace = topic.namespace().unwrap_or_default();
    let set = ctx.seen.set(&namespace, &topic.spec.cluster_ref.name);
    if topic.metadata.deletion_timestamp.is_some() {
        return remove(ctx, topic, set.as_deref()).await;
    }
    let invalid = topic.check();
    if !invalid.is_empty() {
        let sentences: Vec<String> = invalid.iter().map(ToString::to_string).collect();
        write(ctx, topic, not_ready(ctx, topic, "Invalid", sentences.join("; "))).await?;
        return Ok(Action::await_change());
    }
    let Some(set) = set else {
        let sentence = format!("there is no BrokerSet {} in this namespace", topic.spec.cluster_ref.name);
        write(ctx, topic, not_ready(ctx, topic, "ClusterNotFound", sentence)).await?;
        return Ok(Action::requeue(DRIFT_CHECK));
    };
    if let Some(older) = owner::older(topic, &ctx.seen.topics.state()) {
        let sentence = format!("Topic {older} has the same name in the cluster and is older: it decides");
        write(ctx, topic, not_ready(ctx, topic, "Conflict", sentence)).await?;
        return Ok(Action::requeue(DRIFT_CHECK));
    }
    if let Some(wanted) = finalizers(topic, target::is_deleted_with_object(topic.spec.deletion_policy)) {
        set_finalizers(&ctx.client, topic, &wanted).await?;
        // the change comes back through the watch, and the rest is done then
        return Ok(Action::await_change());
    }
    if let Some(reason) = target::unusable(&set) {
        // a broker that restarts is no reason to write the status of every topic twice
        if set.spec.stopped || !was_ready(topic) {
            write(ctx, topic, not_ready(ctx, topic, "ClusterNotReady", reason)).await?;
        }
        return Ok(Action::requeue(SOON));
    }
    let outcome = apply::apply(ctx, topic, &set).await;
    // a change to a topic that was well is worth an event; the making of hundreds is not
    if topic.status.as_ref().is_some_and(|status| !status.groups.is_empty()) {
        for done in &outcome.done {
            ctx.events.done(topic, "Applied", done.clone()).await;
        }
    }
    let (status, again) = status(ctx, topic, &set, &outcome);
    write(ctx, topic, status).await?;
    Ok(Action::requeue(again))
}

/// Deletes the topic from the brokers if this object is the one that decides, then lets the object go.
async fn remove<B: Brokers>(
    ctx: &Context<B>,
    topic: &Topic,
    set: Option<&BrokerSet>,
) -> Result<Action, Error> {
    let Some(rest) = finalizers(topic, false) else { return Ok(Action::await_change()) };
    let shared = owner::others(topic, &ctx.seen.topics.state());
    let set = set.filter(|set| set.metadata.deletion_timestamp.is_none() && !shared);
    if let Some(set) = set
        && target::is_deleted_with_object(topic.spec.deletion_policy)
    {
        if set.spec.stopped {
            let sentence =
                "the topic is deleted when its cluster runs again, or at once with deletionPolicy: Retain";
            write(ctx, topic, not_ready(ctx, topic, "Deleting", sentence.to_owned())).await?;
            return Ok(Action::requeue(SOON));
        }
        for broker in target::brokers(set) {
            if ctx.brokers.topic(&broker.address, topic.topic_name()).await?.is_some() {
                ctx.brokers.delete_topic(&broker.address, topic.topic_name()).await?;
            }
        }
        if topic.spec.type_ == TopicType::Ordered
            && let Some(error) = apply::tell_order(ctx, topic.topic_name(), None, set).await
        {
            return Err(error.into());
        }
    }
    set_finalizers(&ctx.client, topic, &rest).await?;
    Ok(Action::await_change())
}

fn status<B>(ctx: &Context<B>, topic: &Topic, set: &BrokerSet, outcome: &Outcome) -> (TopicStatus, Duration) {
    let generation = topic.metadata.generation;
    let (ready, reason, message, again) = if let Some(failure) = outcome.failures.first() {
        (false, "BrokerUnavailable", failure.clone(), SOON)
    } else if let Some(conflict) = outcome.conflicts.first() {
        (false, "TypeConflict", conflict.clone(), DRIFT_CHECK)
    } else if let Some(missing) = missing_group(topic, set) {
        let sentence = format!("{} has no broker group {missing}, which spec.groups names", set.name_any());
        (false, "NoBrokerGroup", sentence, SOON)
    } else if let Some(error) = outcome.untold.as_ref().filter(|_| !was_ready(topic)) {
        // a nameserver that is replaced is no reason to write the status of a topic that was well
        (false, "NameserverUnavailable", format!("the order of its queues: {error}"), SOON)
    } else if let Some(draining) = outcome.draining.first() {
        (true, "Shrinking", draining.clone(), SOON)
    } else {
        (true, "Ready", format!("as wanted on {} broker groups", outcome.groups.len()), DRIFT_CHECK)
    };
    let again = if outcome.untold.is_some() { SOON } else { again };
    let mut status = TopicStatus {
        observed_generation: generation,
        conditions: topic.status.as_ref().map(|old| old.conditions.clone()).unwrap_or_default(),
        topic_name: Some(topic.topic_name().to_owned()),
        queues: Some(outcome.groups.iter().map(|group| group.write_queues).sum()),
        groups: outcome.groups.clone(),
    };
    set_condition(&mut status.conditions, ctx.condition(READY, ready, reason, message, generation));
    (status, again)
}

/// A broker group that the spec names and the set does not have.
fn missing_group(topic: &Topic, set: &BrokerSet) -> Option<u32> {
    let known = target::brokers(set);
    let named = topic.spec.groups.iter().flatten();
    named.copied().find(|group| !known.iter().any(|broker| broker.group == *group))
}

/// Whether this generation of the topic has been as wanted.
fn was_ready(topic: &Topic) -> bool {
    let Some(status) = &topic.status else { return false };
    let ready = condition(&status.conditions, READY);
    status.observed_generation == topic.metadata.generation
        && ready.is_some_and(|ready| ready.status == ConditionStatus::True)
}

fn not_ready<B>(ctx: &Context<B>, topic: &Topic, reason: &str, sentence: String) -> TopicStatus {
    let mut status = topic.status.clone().unwrap_or_default();
    status.observed_generation = topic.metadata.generation;
    status.topic_name = Some(topic.topic_name().to_owned());
    let condition = ctx.condition(READY, false, reason, sentence, topic.metadata.generation);
    set_condition(&mut status.conditions, condition);
    status
}

async fn write<B>(ctx: &Context<B>, topic: &Topic, status: TopicStatus) -> Result<(), Error> {
    if topic.status.as_ref() == Some(&status) {
        return Ok(());
    }
    apply_status(&ctx.client, topic, &status).await?;
    let before = topic.status.as_ref().map(|old| old.conditions.as_slice()).unwrap_or_default();
    // with hundreds of topics at once, an event for each that is as wanted helps nobody
    if status.conditions.iter().any(|condition| condition.reason != "Ready") {
        ctx.events.readiness(topic, before, &status.conditions).await;
    }
    Ok(())
}
