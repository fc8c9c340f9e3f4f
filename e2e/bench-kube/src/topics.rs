//! Creates the Topic objects, and watches until all are ready.

use std::collections::HashSet;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bolide_api::common::ClusterRef;
use bolide_api::status::{ConditionStatus, READY, condition};
use bolide_api::{Topic, TopicSpec};
use futures::{StreamExt, TryStreamExt};
use kube::api::PostParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Config, ResourceExt};

/// Times since the first create.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Made {
    /// The API server has taken all objects.
    pub(crate) created: Duration,
    /// Half of them are ready.
    pub(crate) half_ready: Duration,
    /// All are ready.
    pub(crate) all_ready: Duration,
}

/// Creates `count` topics of `set`, `inflight` at a time, and waits for all of them.
///
/// # Errors
/// A create is refused, or not all are ready within `limit`.
pub(crate) async fn make_all(
    kubeconfig: &Path,
    namespace: &str,
    set: &str,
    count: usize,
    inflight: usize,
    limit: Duration,
) -> anyhow::Result<Made> {
    let file = Kubeconfig::read_from(kubeconfig).context("cannot read the kubeconfig")?;
    let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?;
    let api: Api<Topic> = Api::namespaced(Client::try_from(config)?, namespace);
    let begun = Instant::now();
    let creating = async {
        futures::stream::iter(0..count)
            .map(|index| create(&api, set, index))
            .buffer_unordered(inflight)
            .try_collect::<Vec<()>>()
            .await?;
        anyhow::Ok(begun.elapsed())
    };
    let watching = tokio::time::timeout(limit, all_ready(&api, count, begun));
    let (created, watched) = tokio::join!(creating, watching);
    let (half_ready, all_ready) =
        watched.with_context(|| format!("not all {count} topics are ready after {limit:?}"))??;
    Ok(Made { created: created?, half_ready, all_ready })
}

async fn create(api: &Api<Topic>, set: &str, index: usize) -> anyhow::Result<()> {
    let spec =
        TopicSpec { cluster_ref: ClusterRef { name: set.to_owned() }, queues: 4, ..TopicSpec::default() };
    let topic = Topic::new(&format!("topic-{index:04}"), spec);
    api.create(&PostParams::default(), &topic).await.map(|_| ()).context("a Topic is refused")
}

/// When half of the topics, and all of them, were ready.
async fn all_ready(api: &Api<Topic>, count: usize, begun: Instant) -> anyhow::Result<(Duration, Duration)> {
    let mut ready: HashSet<String> = HashSet::new();
    let mut half = None;
    let mut changes =
        std::pin::pin!(watcher(api.clone(), watcher::Config::default()).default_backoff().touched_objects());
    while let Some(topic) = changes.try_next().await? {
        let conditions = topic.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
        if condition(conditions, READY).is_some_and(|ready| ready.status == ConditionStatus::True) {
            ready.insert(topic.name_any());
        }
        if half.is_none() && ready.len() * 2 >= count {
            half = Some(begun.elapsed());
        }
        if ready.len() >= count {
            let all = begun.elapsed();
            return Ok((half.unwrap_or(all), all));
        }
    }
    ensure!(ready.len() >= count, "the watch ended with {} of {count} topics ready", ready.len());
    Ok((begun.elapsed(), begun.elapsed()))
}
