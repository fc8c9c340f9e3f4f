//! Reconciles a BrokerSet: fetch, validate, build, apply, replace pods, status.
//!
//! Level-triggered: every step follows from what is found, so it may stop after any write and the next run goes on.

mod changes;
mod fetch;
mod group_state;
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
use bolide_api::broker_set::ClaimRetention;
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
use fetch::{Found, group_of, is_ready};
use group_state::States;
use leaving::Leaving;
use rollout::{Next, Situation};

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
    let mut states = states(&cluster, &found);
    if cluster.spec.paused {
        let groups = groups(&cluster, &found, &states);
        let namesrv = found.cluster_ip(&names::nameserver(&cluster.name));
        let seen = observe::observe(ctx, &cluster, namesrv.as_deref(), &groups).await;
        let view =
            status::Facts { cluster: &cluster, found: &found, groups: &groups, states: &states, seen: &seen };
        write(ctx, set, status::paused(ctx, set, view)).await?;
        return Ok(Action::requeue(LATER));
    }
    let namesrv = apply_nameservers(ctx, &cluster).await?;
    let mut groups = groups(&cluster, &found, &states);
    for group in &mut groups {
        apply_group(&ctx.client, &cluster, group, &mut found, &mut states).await?;
    }
    let volumes = volumes::expand(&ctx.client, &cluster, &found).await?;
    let seen = observe::observe(ctx, &cluster, namesrv.as_deref(), &groups).await;
    let refused = update_settings(ctx, &cluster, &groups, &found, &seen).await;
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
    remove_unwanted(&ctx.client, &cluster, &groups, &found).await?;
    let now = Situation { cluster: &cluster, groups: &groups, found: &found, states: &states, seen: &seen };
    let next = step(ctx, set, now, rollout::next(now)).await?;
    let (status, settled) = status::build(
        ctx,
        set,
        status::View {
            facts: status::Facts {
                cluster: &cluster,
                found: &found,
                groups: &groups,
                states: &states,
                seen: &seen,
            },
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

/// Takes the next step of a rolling change; what it has become.
async fn step<B: Brokers>(
    ctx: &Context<B>,
    set: &BrokerSet,
    now: Situation<'_>,
    next: Next,
) -> Result<Next, Error> {
    match &next {
        Next::Replace { pod, uid, why } => {
            replace(&ctx.client, &now.cluster.namespace, pod, uid).await?;
            ctx.events.done(set, "Replacing", format!("pod {pod}: {why}")).await;
        }
        Next::HandOver { group, from, to } => {
            let address = now.groups.iter().find(|found| found.number == *group).and_then(observe::address);
            let Some(address) = address else { return Ok(next) };
            if let Err(error) = ctx.brokers.hand_over(&address, to).await {
                return Ok(Next::Waits(format!("{from} does not hand over to {to}: {error}")));
            }
            ctx.events.done(set, "HandedOver", format!("{from} has handed over to {to}")).await;
        }
        Next::Done | Next::Waits(_) => {}
    }
    Ok(next)
}

/// The numbers of the groups that are wanted, and of those that are still there though they are not.
fn numbers(cluster: &Cluster, found: &Found) -> impl Iterator<Item = u32> {
    let wanted = cluster.spec.groups;
    (0..wanted).chain(found.stateful_sets.keys().copied().filter(move |number| *number >= wanted))
}

fn states(cluster: &Cluster, found: &Found) -> States {
    numbers(cluster, found).map(|number| (number, group_state::held(cluster, found, number))).collect()
}

/// The groups that are wanted, and those that are still there though they are not.
fn groups(cluster: &Cluster, found: &Found, states: &States) -> Vec<Group> {
    numbers(cluster, found)
        .map(|number| {
            let replicas = states
                .get(&number)
                .map_or(cluster.spec.replicas, |held| group_state::replicas(cluster, found, number, held));
            let slaves = (1..replicas).map(|id| found.cluster_ip(&names::slave(&cluster.name, number, id)));
            Group {
                number,
                claim_size: found.claim_size(number).unwrap_or_else(|| cluster.spec.storage.size.clone()),
                replicas,
                replicated: group_state::is_replicated(cluster, found, number),
                address: found.cluster_ip(&names::master(&cluster.name, number)),
                slave_addresses: slaves.flatten().collect(),
                draining: number >= cluster.spec.groups,
            }
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

/// Applies the objects of a group. The Services of the roles come before the settings, which hold their addresses, and the group
/// state before the first pod.
async fn apply_group(
    client: &Client,
    cluster: &Cluster,
    group: &mut Group,
    found: &mut Found,
    states: &mut States,
) -> Result<(), Error> {
    apply(client, &service::headless_service(cluster, group)).await?;
    group.slave_addresses.clear();
    for role in service::role_services(cluster, group) {
        let stored = apply(client, &role).await?;
        if stored.name_any() == names::master(&cluster.name, group.number) {
            group.address = fetch::cluster_ip(&stored);
        } else {
            group.slave_addresses.extend(fetch::cluster_ip(&stored));
        }
    }
    if let Some(held) = states.remove(&group.number) {
        let held = group_state::make(client, cluster, group, held).await?;
        group_state::mark(client, cluster, found, group, &held).await?;
        states.insert(group.number, held);
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
    found: &Found,
    seen: &observe::Seen,
) -> Option<String> {
    let mut refused = None;
    for group in groups.iter().filter(|group| seen.contains_key(&group.number)) {
        let wanted = config_map::hot_settings(cluster, group);
        for address in brokers_of(group, found) {
            if let Err(error) = update_broker(ctx, &address, wanted.clone()).await {
                let name = names::group(&cluster.name, group.number);
                refused = Some(format!("{name} at {address}: {error}"));
            }
        }
    }
    refused
}

/// Where the brokers of a group that work are reached, each by itself.
fn brokers_of(group: &Group, found: &Found) -> Vec<String> {
    if !group.replicated {
        return observe::address(group).into_iter().collect();
    }
    let ready = found.pods.iter().filter(|pod| group_of(*pod) == Some(group.number) && is_ready(pod));
    let addresses = ready.filter_map(|pod| pod.status.as_ref()?.pod_ip.as_deref());
    addresses.map(|address| format!("{address}:{}", names::BROKER_PORT)).collect()
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

/// Removes the objects of a group; its claims stay, or go with the StatefulSet where the spec says so, and the group state with them.
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
    if cluster.spec.storage.claim_retention == ClaimRetention::Delete {
        delete::<k8s_openapi::api::coordination::v1::Lease>(client, namespace, &name).await?;
    }
    // last: as long as it is there, the next run knows that the group has to go
    delete::<k8s_openapi::api::apps::v1::StatefulSet>(client, namespace, &name).await
}

/// Removes what an earlier spec asked for: slave Services beyond the replicas, network policies that are switched off.
async fn remove_unwanted(
    client: &Client,
    cluster: &Cluster,
    groups: &[Group],
    found: &Found,
) -> Result<(), Error> {
    for (name, service) in &found.services {
        let Some(group) = groups.iter().find(|group| group_of(service) == Some(group.number)) else {
            continue;
        };
        let role =
            service.labels().get(bolide_resources::labels::ROLE).and_then(|role| role.strip_prefix("slave-"));
        if role.and_then(|id| id.parse::<u32>().ok()).is_some_and(|id| id >= group.replicas) {
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
    changes::tell(ctx, set, &status).await;
    let conditions = before.map(|before| before.conditions.as_slice()).unwrap_or_default();
    ctx.events.readiness(set, conditions, &status.conditions).await;
    Ok(())
}
