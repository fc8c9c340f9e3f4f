//! The operator is ended in the middle of changes, and its replicas take over from each other.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bolide_e2e::kube::{Namespace, eventually};
use bolide_e2e::{Kube, Result, skip};
use rustix::process::Signal;
use serde_json::json;

use crate::install;
use crate::{READY_WITHIN, SOON, seen};

/// A killed leader's lease runs for 15 s, and the others look every two.
const TAKEN_OVER_WITHIN: Duration = Duration::from_secs(40);
/// A leader that ends in good order gives the lease back.
const HANDED_OVER_WITHIN: Duration = Duration::from_secs(15);

const OBJECTS: &str = "apiVersion: bolide.dev/v1alpha1
kind: BrokerSet
metadata: {name: calm}
spec: {nameservers: {replicas: 1}, storage: {size: 1Gi}}
---
apiVersion: bolide.dev/v1alpha1
kind: Topic
metadata: {name: orders}
spec: {clusterRef: {name: calm}, queues: 2}
";

pub(crate) fn run(kube: &Kube) -> Result<()> {
    let system = kube.namespace(install::NAMESPACE)?;
    let namespace = kube.namespace("leadership")?;
    namespace.apply(OBJECTS)?;
    // at moments when a new set is half made, and when a group is half added
    for pause_ms in [0, 150, 500, 1500] {
        std::thread::sleep(Duration::from_millis(pause_ms));
        take_away(&system)?;
    }
    namespace.wait_ready("brokerset", "calm", READY_WITHIN + SOON)?;
    namespace.wait_ready("topic", "orders", SOON)?;
    namespace.patch("brokerset", "calm", &json!({ "spec": { "groups": 2, "flush": "Sync" } }))?;
    for pause_ms in [300, 1500, 3000] {
        std::thread::sleep(Duration::from_millis(pause_ms));
        take_away(&system)?;
    }
    namespace.wait_settled("brokerset", "calm", "True", READY_WITHIN + SOON)?;
    namespace
        .wait_for("topic", "orders", "to be on both groups", SOON, |topic| topic["status"]["queues"] == 4)?;
    seen("taken away at seven moments of two changes, the operator brings both to their end");

    system.kubectl(&["rollout", "status", "deployment", install::RELEASE, "--timeout=60s"])?;
    let first = leader(&system)?;
    system.kubectl(&["delete", "pod", &first, "--wait=false"])?;
    let (second, took) = next_leader(&system, &first, HANDED_OVER_WITHIN)?;
    seen(&format!("a leader that ends hands over to the other replica in {took:.1?}"));
    system.kubectl(&["rollout", "status", "deployment", install::RELEASE, "--timeout=60s"])?;
    namespace.patch("topic", "orders", &json!({ "spec": { "queues": 3 } }))?;
    if kill_process(&second)? {
        let (_, took) = next_leader(&system, &second, TAKEN_OVER_WITHIN)?;
        seen(&format!("a leader killed with SIGKILL is followed by the other replica in {took:.1?}"));
    } else {
        skip("the leader cannot be killed with SIGKILL: its node is another machine");
    }
    namespace.wait_for("topic", "orders", "to be wider", SOON, |topic| topic["status"]["queues"] == 6)?;
    namespace.delete(SOON)
}

/// Kills the operator's process in a pod, if the node of the pod is this machine.
fn kill_process(pod: &str) -> Result<bool> {
    let wanted = format!("POD_NAME={pod}");
    for process in std::fs::read_dir("/proc").context("cannot read /proc")?.flatten() {
        let environment = std::fs::read(process.path().join("environ")).unwrap_or_default();
        let program = std::fs::read_to_string(process.path().join("comm")).unwrap_or_default();
        let ours = environment.split(|byte| *byte == 0).any(|variable| variable == wanted.as_bytes());
        if ours && program.trim() == "bolide-operator" {
            let pid = process.file_name().to_string_lossy().parse().context("not a process id")?;
            bolide_e2e::cluster::signal_pid(pid, Signal::KILL)?;
            return Ok(true);
        }
    }
    Ok(false)
}

fn take_away(system: &Namespace) -> Result<()> {
    let pods = ["delete", "pods", "--selector", "app.kubernetes.io/name=bolide-operator"];
    system.kubectl(&[&pods[..], &["--grace-period=0", "--force"]].concat()).map(|_| ())
}

/// The pod that holds the lease.
fn leader(system: &Namespace) -> Result<String> {
    eventually("a leader that runs", TAKEN_OVER_WITHIN, || {
        let lease = system.get(&["lease", "bolide-operator"])?;
        let holder = lease["spec"]["holderIdentity"].as_str().unwrap_or_default();
        let (pod, _) = holder.split_once('_').with_context(|| format!("held by {holder:?}"))?;
        ensure!(system.exists("pod", pod)?, "the holder {pod} is gone");
        Ok(pod.to_owned())
    })
}

fn next_leader(system: &Namespace, before: &str, limit: Duration) -> Result<(String, Duration)> {
    let started = Instant::now();
    let next = eventually("another leader", limit, || {
        let now = leader(system)?;
        ensure!(now != before, "{now} leads");
        Ok(now)
    })?;
    Ok((next, started.elapsed()))
}
