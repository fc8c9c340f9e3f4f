//! Reconciles a ConsumerGroup: the group is on every broker as the object says, and the object says how far it has read.

mod apply;
mod lag;
mod reset;

#[cfg(test)]
mod tests;

use std::time::Duration;

use bolide_api::check::Check;
use bolide_api::status::{READY, set_condition};
use bolide_api::{BrokerSet, ConsumerGroup, ConsumerGroupStatus};
use kube::ResourceExt;
use kube::runtime::controller::Action;

use crate::apply::{apply_status, finalizers, set_finalizers};
use crate::brokers::Brokers;
use crate::context::Context;
use crate::error::Error;
use crate::target;

/// How often lag and members are looked at; the status is written that often at most, and only when it differs.
const REFRESH: Duration = Duration::from_secs(15);
/// How soon a group is looked at again while it waits for something.
const SOON: Duration = Duration::from_secs(5);

/// Makes the group on the brokers what the object says, resets offsets if asked to, and writes the status.
pub(crate) async fn reconcile<B: Brokers>(ctx: &Context<B>, group: &ConsumerGroup) -> Result<Action, Error> {
    let namespace = group.namespace().unwrap_or_default();
    let set = ctx.seen.set(&namespace, &group.spec.cluster_ref.name);
    if group.metadata.deletion_timestamp.is_some() {
        return remove(ctx, group, set.as_deref()).await;
    }
    let invalid = group.check();
    if !invalid.is_empty() {
        let sentences: Vec<String> = invalid.iter().map(ToString::to_string).collect();
        write(ctx, group, not_ready(ctx, group, "Invalid", sentences.join("; "))).await?;
        return Ok(Action::await_change());
    }
    let Some(set) = set else {
        let sentence = format!("there is no BrokerSet {} in this namespace", group.spec.cluster_ref.name);
        write(ctx, group, not_ready(ctx, group, "ClusterNotFound", sentence)).await?;
        return Ok(Action::requeue(REFRESH));
    };
    if let Some(older) = older(group, ctx) {
        let sentence =
            format!("ConsumerGroup {older} has the same name in the cluster and is older: it decides");
        write(ctx, group, not_ready(ctx, group, "Conflict", sentence)).await?;
        return Ok(Action::requeue(REFRESH));
    }
    if let Some(wanted) = finalizers(group, target::is_deleted_with_object(group.spec.deletion_policy)) {
        set_finalizers(&ctx.client, group, &wanted).await?;
        return Ok(Action::await_change());
    }
    if let Some(reason) = target::unusable(&set) {
        write(ctx, group, not_ready(ctx, group, "ClusterNotReady", reason)).await?;
        return Ok(Action::requeue(SOON));
    }
    let brokers = target::brokers(&set);
    let applied = apply::apply(ctx, group, &brokers).await;
    for done in &applied.done {
        ctx.events.done(group, "Applied", done.clone()).await;
    }
    let mut status = group.status.clone().unwrap_or_default();
    status.observed_generation = group.metadata.generation;
    status.group_name = Some(group.group_name().to_owned());
    if applied.failures.is_empty()
        && let Some(begun) = reset::begin(ctx, group, &brokers, status.last_reset.as_ref()).await?
    {
        // the offsets before the reset are kept before anything moves, so that a reset that stops half way can be undone
        status.last_reset = Some(begun);
        apply_status(&ctx.client, group, &status).await?;
        if let Some(done) = reset::carry_out(ctx, group, &brokers, status.last_reset.clone()).await {
            ctx.events.done(group, "OffsetsReset", format!("token {}", done.token)).await;
            status.last_reset = Some(done);
        }
    }
    match lag::measure(ctx, group.group_name(), &brokers).await {
        Ok(measured) => measured.write_into(&mut status),
        Err(error) if applied.failures.is_empty() => return Err(error.into()),
        Err(_) => {}
    }
    let (ready, reason, message) = if let Some(failure) = applied.failures.first() {
        (false, "BrokerUnavailable", failure.clone())
    } else if group.spec.paused {
        (true, "Paused", "the group is as wanted: it may not consume".to_owned())
    } else {
        (true, "Ready", format!("as wanted on {} broker groups", brokers.len()))
    };
    let condition = ctx.condition(READY, ready, reason, message, group.metadata.generation);
    set_condition(&mut status.conditions, condition);
    write(ctx, group, status).await?;
    Ok(Action::requeue(if ready { REFRESH } else { SOON }))
}

/// Deletes the group from the brokers if no other object speaks for it, then lets the object go.
async fn remove<B: Brokers>(
    ctx: &Context<B>,
    group: &ConsumerGroup,
    set: Option<&BrokerSet>,
) -> Result<Action, Error> {
    let Some(rest) = finalizers(group, false) else { return Ok(Action::await_change()) };
    let set = set.filter(|set| set.metadata.deletion_timestamp.is_none() && rivals(group, ctx).is_empty());
    if let Some(set) = set
        && target::is_deleted_with_object(group.spec.deletion_policy)
    {
        if set.spec.stopped {
            let sentence =
                "the group is deleted when its cluster runs again, or at once with deletionPolicy: Retain";
            write(ctx, group, not_ready(ctx, group, "Deleting", sentence.to_owned())).await?;
            return Ok(Action::requeue(SOON));
        }
        for broker in target::brokers(set) {
            if ctx.brokers.group(&broker.address, group.group_name()).await?.is_some() {
                ctx.brokers.delete_group(&broker.address, group.group_name()).await?;
            }
        }
    }
    set_finalizers(&ctx.client, group, &rest).await?;
    Ok(Action::await_change())
}

/// Other objects for the same group, by age and name.
fn rivals<B>(group: &ConsumerGroup, ctx: &Context<B>) -> Vec<(Option<jiff::Timestamp>, String)> {
    let all = ctx.seen.groups.state();
    let same = all.iter().filter(|other| {
        other.metadata.uid != group.metadata.uid
            && other.metadata.deletion_timestamp.is_none()
            && other.metadata.namespace == group.metadata.namespace
            && other.spec.cluster_ref == group.spec.cluster_ref
            && other.group_name() == group.group_name()
    });
    same.map(|other| (other.creation_timestamp().map(|time| time.0), other.name_any())).collect()
}

fn older<B>(group: &ConsumerGroup, ctx: &Context<B>) -> Option<String> {
    let own = (group.creation_timestamp().map(|time| time.0), group.name_any());
    rivals(group, ctx).into_iter().filter(|rival| *rival < own).map(|(_, name)| name).next()
}

fn not_ready<B>(
    ctx: &Context<B>,
    group: &ConsumerGroup,
    reason: &str,
    sentence: String,
) -> ConsumerGroupStatus {
    let mut status = group.status.clone().unwrap_or_default();
    status.observed_generation = group.metadata.generation;
    status.group_name = Some(group.group_name().to_owned());
    let condition = ctx.condition(READY, false, reason, sentence, group.metadata.generation);
    set_condition(&mut status.conditions, condition);
    status
}

async fn write<B>(ctx: &Context<B>, group: &ConsumerGroup, status: ConsumerGroupStatus) -> Result<(), Error> {
    if group.status.as_ref() == Some(&status) {
        return Ok(());
    }
    apply_status(&ctx.client, group, &status).await?;
    let before = group.status.as_ref().map(|old| old.conditions.as_slice()).unwrap_or_default();
    ctx.events.readiness(group, before, &status.conditions).await;
    Ok(())
}
