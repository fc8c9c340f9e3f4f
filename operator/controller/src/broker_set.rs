//! Reconciles a BrokerSet: fetch, validate, build, apply, replace pods, status.
//!
//! Level-triggered: every step follows from what is found, so it may stop after any write and the next run goes on.

mod fetch;
mod joining;
mod leaving;
mod observe;
mod rollout;
mod status;
mod volumes;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use bolide_api::BrokerSet;
use bolide_api::check::Check;
use bolide_api::common::Setting;
use bolide_client::ClientError;
use bolide_resources::broker::{access, config_map, network_policy, pdb, service, stateful_set};
use bolide_resources::{Cluster, Group, names, nameserver};
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{Api, DeleteParams, Preconditions};
use kube::runtime::controller::Action;
use kube::{Client, ResourceExt};

use crate::apply::{apply, apply_status, delete};
use crate::brokers::Brokers;
use crate::context::Context;
use crate::error::Error;
use fetch::Found;
use leaving::Leaving;
use rollout::Next;

/// How soon a set is looked at again while something is under way.
const SOON: Duration = Duration::from_secs(3);
/// How often a healthy set is looked at: disk use in the status is as old as this at most.
const LATER: Duration = Duration::from_secs(30);

/// Brings a set one step nearer to what it asks for, and writes its status.
pub(crate) async fn reconcile<B: Brokers>(ctx: &Context<B>, set: &BrokerSet) -> Result<Action, Error> {
    if set.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    let invalid = set.check();
    let Some(cluster) = Cluster::new(set, &ctx.image).filter(|_| invalid.is_empty()) else {
        let sentences: Vec<String> = invalid.iter().map(ToString::to_string).collect();
        write(ctx, set, status::invalid(ctx, set, &sentences.join("; "))).await?;
        return Ok(Action::await_change());
    };
    let mut found = Found::fetch(&ctx.client, &cluster).await?;
    if cluster.spec.paused {
        let groups = groups(&cluster, &found);
        let namesrv = found.cluster_ip(&names::nameserver(&cluster.name));
        let seen = observe::observe(ctx, &cluster, namesrv.as_deref(), &groups).await;
        write(ctx, set, status::paused(ctx, set, &cluster, &found, &groups, &seen)).await?;
        return Ok(Action::requeue(LATER));
    }
    let namesrv = apply_nameservers(ctx, &cluster).await?;
    let mut groups = groups(&cluster, &found);
    for group in &mut groups {
        apply_group(&ctx.client, &cluster, group, &mut found).await?;
    }
    let volumes = volumes::expand(&ctx.client, &cluster, &found).await?;
    let seen = observe::observe(ctx, &cluster, namesrv.as_deref(), &groups).await;
    let refused = update_settings(ctx, &cluster, &groups, &seen).await;
    let joining = joining::join(ctx, set, &cluster, &groups, &seen).await;
    let mut leaving = BTreeMap::new();
    for group in groups.iter().filter(|group| group.draining) {
        let decision = leaving::decide(ctx, set, &cluster, group).await;
        if decision == Leaving::Gone {
            remove_group(&ctx.client, &cluster, group).await?;
            let note = format!("broker group {} is gone", names::group(&cluster.name, group.number));
            ctx.events.done(set, "GroupRemoved", note).await;
        }
        leaving.insert(group.number, decision);
    }
    remove_unwanted(&ctx.client, &cluster, &found).await?;
    let next = rollout::next(&cluster, &groups, &found);
    if let Next::Replace { pod, uid, why } = &next {
        replace(&ctx.client, &cluster.namespace, pod, uid).await?;
        ctx.events.done(set, "Replacing", format!("pod {pod}: {why}")).await;
    }
    let (status, settled) = status::build(
        ctx,
        set,
        status::View {
            cluster: &cluster,
            found: &found,
            groups: &groups,
            seen: &seen,
            joining: &joining,
            leaving: &leaving,
            next: &next,
            volumes: &volumes,
            refused: refused.as_deref(),
        },
    );
    write(ctx, set, status).await?;
    Ok(Action::requeue(if settled { LATER } else { SOON }))
}

/// The groups that are wanted, and those that are still there though they are not.
fn groups(cluster: &Cluster, found: &Found) -> Vec<Group> {
    let leaving = found.stateful_sets.keys().copied().filter(|number| *number >= cluster.spec.groups);
    (0..cluster.spec.groups)
        .chain(leaving)
        .map(|number| Group {
            number,
            claim_size: found.claim_size(number).unwrap_or_else(|| cluster.spec.storage.size.clone()),
            address: found.cluster_ip(&names::master(&cluster.name, number)),
            draining: number >= cluster.spec.groups,
        })
        .collect()
}

/// Applies the objects of the nameservers; returns the address of their Service.
async fn apply_nameservers<B>(ctx: &Context<B>, cluster: &Cluster) -> Result<Option<String>, Error> {
    let client = &ctx.client;
    let service = apply(client, &nameserver::service::service(cluster)).await?;
    apply(client, &nameserver::service::headless_service(cluster)).await?;
    apply(client, &nameserver::config_map::config_map(cluster)?).await?;
    apply(client, &nameserver::pdb::disruption_budget(cluster)).await?;
    if cluster.spec.network_policy {
        apply(client, &nameserver::network_policy::network_policy(cluster)).await?;
        apply(client, &network_policy::network_policy(cluster)).await?;
    }
    apply(client, &nameserver::deployment::deployment(cluster)?).await?;
    Ok(fetch::cluster_ip(&service))
}

/// Applies the objects of a group. The Service of the master comes before the settings, which hold its address.
async fn apply_group(
    client: &Client,
    cluster: &Cluster,
    group: &mut Group,
    found: &mut Found,
) -> Result<(), Error> {
    apply(client, &service::headless_service(cluster, group)).await?;
    for role in service::role_services(cluster, group) {
        let stored = apply(client, &role).await?;
        if stored.name_any() == names::master(&cluster.name, group.number) {
            group.address = fetch::cluster_ip(&stored);
        }
    }
    apply(client, &access::service_account(cluster, group)).await?;
    apply(client, &access::role(cluster, group)).await?;
    apply(client, &access::role_binding(cluster, group)).await?;
    apply(client, &config_map::config_map(cluster, group)?).await?;
    apply(client, &pdb::disruption_budget(cluster, group)).await?;
    let stored = apply(client, &stateful_set::stateful_set(cluster, group)?).await?;
    found.stateful_sets.insert(group.number, stored);
    Ok(())
}

/// Tells running brokers the settings that need no new process. Returns what a broker refused; everything else goes on.
async fn update_settings<B: Brokers>(
    ctx: &Context<B>,
    cluster: &Cluster,
    groups: &[Group],
    seen: &observe::Seen,
) -> Option<String> {
    let mut refused = None;
    for group in groups.iter().filter(|group| seen.contains_key(&group.number)) {
        let Some(address) = observe::address(group) else { continue };
        let wanted = config_map::hot_settings(cluster, group);
        if let Err(error) = update_broker(ctx, &address, wanted).await {
            refused = Some(format!("{}: {error}", names::group(&cluster.name, group.number)));
        }
    }
    refused
}

async fn update_broker<B: Brokers>(
    ctx: &Context<B>,
    address: &str,
    wanted: BTreeMap<String, Setting>,
) -> Result<(), ClientError> {
    let held = ctx.brokers.settings(address).await?;
    let wanted = wanted.into_iter().map(|(key, value)| (key, value.to_string()));
    let changed: BTreeMap<String, String> =
        wanted.filter(|(key, value)| held.get(key) != Some(value)).collect();
    if changed.is_empty() { Ok(()) } else { ctx.brokers.change_settings(address, &changed).await }
}

/// Removes the objects of a group; its claims stay, or go with the StatefulSet where the spec says so.
async fn remove_group(client: &Client, cluster: &Cluster, group: &Group) -> Result<(), Error> {
    use k8s_openapi::api::core::v1::{ConfigMap, ServiceAccount};
    use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
    let namespace = &cluster.namespace;
    let name = names::group(&cluster.name, group.number);
    for role in service::role_services(cluster, group) {
        delete::<Service>(client, namespace, &role.name_any()).await?;
    }
    delete::<Service>(client, namespace, &name).await?;
    delete::<PodDisruptionBudget>(client, namespace, &name).await?;
    delete::<RoleBinding>(client, namespace, &name).await?;
    delete::<Role>(client, namespace, &name).await?;
    delete::<ServiceAccount>(client, namespace, &name).await?;
    delete::<ConfigMap>(client, namespace, &name).await?;
    // last: as long as it is there, the next run knows that the group has to go
    delete::<k8s_openapi::api::apps::v1::StatefulSet>(client, namespace, &name).await
}

/// Removes what an earlier spec asked for: slave Services beyond the replicas, network policies that are switched off.
async fn remove_unwanted(client: &Client, cluster: &Cluster, found: &Found) -> Result<(), Error> {
    for (name, service) in &found.services {
        let role =
            service.labels().get(bolide_resources::labels::ROLE).and_then(|role| role.strip_prefix("slave-"));
        if role.and_then(|id| id.parse::<u32>().ok()).is_some_and(|id| id >= cluster.spec.replicas) {
            delete::<Service>(client, &cluster.namespace, name).await?;
        }
    }
    if !cluster.spec.network_policy {
        delete::<NetworkPolicy>(client, &cluster.namespace, &names::nameserver(&cluster.name)).await?;
        delete::<NetworkPolicy>(client, &cluster.namespace, &names::brokers(&cluster.name)).await?;
    }
    Ok(())
}

/// Deletes a pod so that its StatefulSet makes a new one; not if it has been replaced in the meantime.
async fn replace(client: &Client, namespace: &str, pod: &str, uid: &str) -> Result<(), Error> {
    let params = DeleteParams {
        preconditions: Some(Preconditions { uid: Some(uid.to_owned()), resource_version: None }),
        ..DeleteParams::default()
    };
    match Api::<Pod>::namespaced(client.clone(), namespace).delete(pod, &params).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(answer)) if answer.code == 404 || answer.code == 409 => Ok(()),
        Err(error) => Err(Error::api(format!("delete Pod {pod}"))(error)),
    }
}

async fn write<B>(
    ctx: &Context<B>,
    set: &BrokerSet,
    status: bolide_api::BrokerSetStatus,
) -> Result<(), Error> {
    let before = set.status.as_ref();
    if before == Some(&status) {
        return Ok(());
    }
    apply_status(&ctx.client, set, &status).await?;
    let conditions = before.map(|before| before.conditions.as_slice()).unwrap_or_default();
    ctx.events.readiness(set, conditions, &status.conditions).await;
    Ok(())
}
