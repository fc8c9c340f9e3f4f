//! Runs the three controllers while this replica leads.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bolide_api::status::{Condition, ConditionStatus, READY, condition};
use bolide_api::topic::TopicType;
use bolide_api::{BrokerSet, ConsumerGroup, Topic};
use bolide_telemetry::{AdminServer, Readiness};
use futures::StreamExt;
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::client::ClientBuilder;
use kube::core::NamespaceResourceScope;
use kube::runtime::controller::{Action, Config};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::{Controller, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use parking_lot::Mutex;
use prometheus::Registry;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::api_calls::CountCalls;
use crate::args::RunArgs;
use crate::brokers::{Brokers, RemoteBrokers};
use crate::context::{Context, Seen};
use crate::error::Error;
use crate::events::Events;
use crate::leader::Candidate;
use crate::metrics::Metrics;
use crate::{broker_set, consumer_group, target, topic};

/// Reconciles of one kind at the same time.
const CONCURRENCY: u16 = 16;
/// Changes within this time are one.
const DEBOUNCE: Duration = Duration::from_millis(200);
/// How often objects are counted for the metrics.
const COUNT_EVERY: Duration = Duration::from_secs(15);
/// Bounds of the pause after a failure.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_LAST: Duration = Duration::from_secs(60);

/// Runs until SIGTERM, or until another replica leads.
pub(crate) async fn run(args: RunArgs) -> anyhow::Result<()> {
    let shutdown = CancellationToken::new();
    cancel_on_signal(shutdown.clone())?;
    let registry = Registry::new();
    bolide_telemetry::register_build_info(&registry, "operator")?;
    let metrics = Metrics::register(&registry)?;
    let config = kube::Config::infer().await.context("there is no way to a Kubernetes API server")?;
    let count = CountCalls(metrics.api_requests.clone());
    let client = ClientBuilder::try_from(config)?.with_layer(&count).build();
    let reached = Arc::new(AtomicBool::new(false));
    let admin = {
        let reached = reached.clone();
        let check = move || {
            if reached.load(Ordering::Relaxed) {
                Readiness::Ready
            } else {
                Readiness::NotReady("the API server has not answered yet".to_owned())
            }
        };
        AdminServer::bind(args.admin, registry, Arc::new(check), shutdown.clone()).await?
    };
    client.apiserver_version().await.context("the API server does not answer")?;
    reached.store(true, Ordering::Relaxed);

    let pod = args.pod.clone().unwrap_or_else(|| "bolide-operator".to_owned());
    let me = format!("{pod}_{}", jiff::Timestamp::now().as_millisecond());
    let mut candidate = Candidate::new(client.clone(), &args.namespace, me, metrics.clone());
    if candidate.lead(&shutdown).await {
        // the controllers end with this token: at a signal, and when the lease is lost
        let leading = shutdown.child_token();
        let work = tokio::spawn(controllers(client, args, metrics, leading.clone()));
        candidate.keep(shutdown.clone()).await;
        leading.cancel();
        let _ended = tokio::time::timeout(Duration::from_secs(10), work).await;
        anyhow::ensure!(shutdown.is_cancelled(), "another replica leads; starting again");
    }
    admin.stopped().await;
    Ok(())
}

fn cancel_on_signal(shutdown: CancellationToken) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        shutdown.cancel();
    });
    Ok(())
}

async fn controllers(
    client: Client,
    args: RunArgs,
    metrics: Metrics,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let scope = Scope { client: client.clone(), namespace: args.watch_namespace.clone() };
    let config = || Config::default().concurrency(CONCURRENCY).debounce(DEBOUNCE);
    let sets = Controller::new(scope.api::<BrokerSet>(), watcher::Config::default()).with_config(config());
    let topics = Controller::new(scope.api::<Topic>(), watcher::Config::default()).with_config(config());
    let groups =
        Controller::new(scope.api::<ConsumerGroup>(), watcher::Config::default()).with_config(config());
    let seen = Seen { sets: sets.store(), topics: topics.store(), groups: groups.store() };
    let ctx = Context {
        client: client.clone(),
        brokers: RemoteBrokers::new()?,
        seen: seen.clone(),
        events: Events::new(client, args.pod),
        metrics,
        image: args.image.into(),
        now: jiff::Timestamp::now,
    };
    let ours = || watcher::Config::default().labels("app.kubernetes.io/name=bolide");
    let until = |stop: CancellationToken| async move { stop.cancelled().await };
    let sets = sets
        .owns(scope.api::<Deployment>(), ours())
        .owns(scope.api::<StatefulSet>(), ours())
        .owns(scope.api::<Service>(), ours())
        .watches(scope.api::<Pod>(), ours(), set_of)
        .watches(scope.api::<Lease>(), ours(), set_of)
        .graceful_shutdown_on(until(stop.clone()))
        .run(broker_set_step, retry, reconciler(&ctx))
        .for_each(|_| async {});
    let topics = topics
        .watches(
            scope.api::<BrokerSet>(),
            watcher::Config::default(),
            on_change(
                seen.topics.clone(),
                |topic| topic.spec.cluster_ref.name.clone(),
                vec![brokers(), nameservers()],
            ),
        )
        .graceful_shutdown_on(until(stop.clone()))
        .run(topic_step, retry, reconciler(&ctx))
        .for_each(|_| async {});
    let groups = groups
        .watches(
            scope.api::<BrokerSet>(),
            watcher::Config::default(),
            on_change(seen.groups.clone(), |group| group.spec.cluster_ref.name.clone(), vec![brokers()]),
        )
        .graceful_shutdown_on(until(stop.clone()))
        .run(consumer_group_step, retry, reconciler(&ctx))
        .for_each(|_| async {});
    let counting = async {
        while tokio::time::timeout(COUNT_EVERY, stop.cancelled()).await.is_err() {
            count(&ctx.metrics, &seen.sets, |set| {
                set.status.as_ref().map(|status| status.conditions.as_slice())
            });
            count(&ctx.metrics, &seen.topics, |topic| {
                topic.status.as_ref().map(|status| status.conditions.as_slice())
            });
            count(&ctx.metrics, &seen.groups, |group| {
                group.status.as_ref().map(|status| status.conditions.as_slice())
            });
        }
    };
    futures::join!(sets, topics, groups, counting);
    Ok(())
}

/// Sets the figures of how many objects of a kind are ready and how many are not.
fn count<K>(metrics: &Metrics, objects: &Store<K>, conditions: impl Fn(&K) -> Option<&[Condition]>)
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    let objects = objects.state();
    let is_ready = |object: &&Arc<K>| {
        let ready = conditions(object).and_then(|conditions| condition(conditions, READY));
        ready.is_some_and(|ready| ready.status == ConditionStatus::True)
    };
    let ready = objects.iter().filter(is_ready).count();
    let kind = K::kind(&());
    for (label, number) in [("true", ready), ("false", objects.len() - ready)] {
        metrics.objects.with_label_values(&[&*kind, label]).set(i64::try_from(number).unwrap_or(i64::MAX));
    }
}

struct Scope {
    client: Client,
    namespace: Option<String>,
}

impl Scope {
    fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        match &self.namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        }
    }
}

/// A pod is not owned by the set itself but by a StatefulSet, and a group's Lease by nobody; their label names the set.
fn set_of<K: Resource>(object: K) -> Option<ObjectRef<BrokerSet>> {
    let cluster = object.labels().get(bolide_resources::labels::CLUSTER)?;
    Some(ObjectRef::new(cluster).within(&object.namespace()?))
}

/// Something of a set that matters to some of its topics or groups.
struct Matter<K> {
    /// What it is now; a new figure of disk use is not in it.
    of: fn(&BrokerSet) -> String,
    /// Whether it matters to this object.
    concerns: fn(&K) -> bool,
}

/// Where the brokers are and whether they can be used: matters to all.
fn brokers<K>() -> Matter<K> {
    let of = |set: &BrokerSet| {
        let gone = set.metadata.deletion_timestamp.is_some();
        format!("{gone} {:?} {:?} {}", target::brokers(set), target::unusable(set), set.spec.groups)
    };
    Matter { of, concerns: |_| true }
}

/// Which nameserver pods there are: ordered topics are told to each.
fn nameservers() -> Matter<Topic> {
    let of = |set: &BrokerSet| target::nameservers(set).join(" ");
    Matter { of, concerns: |topic| topic.spec.type_ == TopicType::Ordered }
}

/// The objects of a set to which something that has changed matters.
fn on_change<K>(
    objects: Store<K>,
    cluster_of: impl Fn(&K) -> String + Send + Sync + 'static,
    matters: Vec<Matter<K>>,
) -> impl Fn(BrokerSet) -> Vec<ObjectRef<K>> + Send + Sync + 'static
where
    K: Resource<DynamicType = ()> + Clone + Send + Sync + 'static,
{
    let seen: Mutex<HashMap<ObjectRef<BrokerSet>, Vec<String>>> = Mutex::default();
    move |set| {
        let now: Vec<String> = matters.iter().map(|matter| (matter.of)(&set)).collect();
        let before = seen.lock().insert(ObjectRef::from_obj(&set), now.clone()).unwrap_or_default();
        let changed: Vec<&Matter<K>> = matters
            .iter()
            .zip(&now)
            .enumerate()
            .filter(|(index, (_, now))| before.get(*index) != Some(*now))
            .map(|(_, (matter, _))| matter)
            .collect();
        if changed.is_empty() {
            return Vec::new();
        }
        let of_set =
            |object: &&Arc<K>| object.namespace() == set.namespace() && cluster_of(object) == set.name_any();
        let concerned = |object: &&Arc<K>| changed.iter().any(|matter| (matter.concerns)(object));
        let objects = objects.state();
        let concerned = objects.iter().filter(of_set).filter(concerned);
        concerned.map(|object| ObjectRef::from_obj(object.as_ref())).collect()
    }
}

/// What a controller carries: the context, and how often in a row an object has failed.
struct Reconciler<B> {
    ctx: Context<B>,
    failures: Mutex<HashMap<String, u32>>,
}

fn reconciler<B: Brokers>(ctx: &Context<B>) -> Arc<Reconciler<B>> {
    Arc::new(Reconciler { ctx: ctx.clone(), failures: Mutex::default() })
}

async fn broker_set_step<B: Brokers>(set: Arc<BrokerSet>, with: Arc<Reconciler<B>>) -> Result<Action, Error> {
    measured(&with, set.as_ref(), broker_set::reconcile(&with.ctx, &set)).await
}

async fn topic_step<B: Brokers>(topic: Arc<Topic>, with: Arc<Reconciler<B>>) -> Result<Action, Error> {
    measured(&with, topic.as_ref(), topic::reconcile(&with.ctx, &topic)).await
}

async fn consumer_group_step<B: Brokers>(
    group: Arc<ConsumerGroup>,
    with: Arc<Reconciler<B>>,
) -> Result<Action, Error> {
    measured(&with, group.as_ref(), consumer_group::reconcile(&with.ctx, &group)).await
}

async fn measured<B, K: Resource<DynamicType = ()>>(
    with: &Reconciler<B>,
    object: &K,
    reconcile: impl Future<Output = Result<Action, Error>>,
) -> Result<Action, Error> {
    let kind = K::kind(&());
    let started = Instant::now();
    let result = match reconcile.await {
        Err(error) if error.is_namespace_going() => Ok(Action::await_change()),
        other => other,
    };
    let metrics = &with.ctx.metrics;
    metrics.reconcile_seconds.with_label_values(&[&*kind]).observe(started.elapsed().as_secs_f64());
    let outcome = match &result {
        Ok(_) => "ok",
        Err(error) => error.kind(),
    };
    metrics.reconciles.with_label_values(&[&*kind, outcome]).inc();
    if result.is_ok() {
        with.failures.lock().remove(&key(object));
    }
    result
}

fn key<K: Resource<DynamicType = ()>>(object: &K) -> String {
    format!("{}/{}/{}", K::kind(&()), object.namespace().unwrap_or_default(), object.name_any())
}

/// Logs the failure here, where it is handled, and tries again with a growing pause.
fn retry<B, K: Resource<DynamicType = ()>>(
    object: Arc<K>,
    error: &Error,
    with: Arc<Reconciler<B>>,
) -> Action {
    let mut failures = with.failures.lock();
    let count = failures.entry(key(object.as_ref())).or_default();
    let pause = RETRY_FIRST.saturating_mul(1 << (*count).min(6)).min(RETRY_LAST);
    *count = count.saturating_add(1);
    tracing::warn!(%error, object = key(object.as_ref()), pause_s = pause.as_secs(), "reconcile failed");
    Action::requeue(pause)
}
