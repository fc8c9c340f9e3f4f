//! Clusters and namespaces go, in whatever order; nothing holds anything back.

use std::time::Duration;

use anyhow::ensure;
use bolide_e2e::kube::{Namespace, eventually};
use bolide_e2e::{Kube, Result};

use crate::{READY_WITHIN, SOON, seen};

/// Pods take a while to end; finalizers may add next to nothing.
const GONE_WITHIN: Duration = Duration::from_secs(60);

const OBJECTS: &str = "apiVersion: bolide.dev/v1alpha1
kind: BrokerSet
metadata: {name: brief}
spec: {nameservers: {replicas: 1}, storage: {size: 1Gi, claimRetention: Delete}}
---
apiVersion: bolide.dev/v1alpha1
kind: Topic
metadata: {name: orders}
spec: {clusterRef: {name: brief}}
---
apiVersion: bolide.dev/v1alpha1
kind: ConsumerGroup
metadata: {name: readers}
spec: {clusterRef: {name: brief}}
";

pub(crate) fn run(kube: &Kube) -> Result<()> {
    let all: Vec<_> = ["gone-at-once", "gone-set-first", "gone-pods-first"]
        .into_iter()
        .map(|name| kube.namespace(name))
        .collect::<Result<_>>()?;
    for namespace in &all {
        namespace.apply(OBJECTS)?;
    }
    for namespace in &all {
        namespace.wait_ready("brokerset", "brief", READY_WITHIN + SOON)?;
        namespace.wait_ready("topic", "orders", SOON)?;
        namespace.wait_ready("consumergroup", "readers", SOON)?;
        let finalizers = namespace.get(&["topic", "orders"])?["metadata"]["finalizers"].to_string();
        ensure!(finalizers.contains("bolide.dev"), "nothing to show: {finalizers}");
    }
    let [at_once, set_first, pods_first] = all.as_slice() else {
        anyhow::bail!("three namespaces were made")
    };
    at_once.delete(GONE_WITHIN)?;
    seen("a namespace with everything in it is gone at once");
    set_first_then_the_rest(set_first)?;
    let kill = ["delete", "statefulsets,deployments", "--all", "--wait=false", "--cascade=foreground"];
    pods_first.kubectl(&kill)?;
    pods_first.delete(GONE_WITHIN)?;
    seen("a namespace whose brokers went first is gone as well");
    Ok(())
}

fn set_first_then_the_rest(namespace: &Namespace) -> Result<()> {
    namespace.kubectl(&["delete", "brokerset", "brief", "--timeout=60s"])?;
    eventually("pods and volumes to be gone", GONE_WITHIN, || {
        let left = namespace.kubectl(&[
            "get",
            "pods,services,persistentvolumeclaims,configmaps",
            "--output",
            "name",
        ])?;
        let left: Vec<_> = left.lines().filter(|name| name.contains("brief")).collect();
        ensure!(left.is_empty(), "{left:?}");
        Ok(())
    })?;
    seen("a deleted set leaves nothing behind, its volumes included where the spec says so");
    namespace.kubectl(&["delete", "topic/orders", "consumergroup/readers", "--timeout=30s"])?;
    namespace.delete(GONE_WITHIN)?;
    seen("topics and groups whose cluster is gone go without it");
    Ok(())
}
