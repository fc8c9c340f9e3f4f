//! A pair of replicas in pods, from the sample as it is: its master is killed, cut off, replaced and handed over while unmodified
//! Java clients send. Every acknowledged message is read back; addresses never change.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bolide_e2e::kube::{CutPod, NEXT_IMAGE, Namespace, condition, eventually};
use bolide_e2e::replicas::{Acknowledged, Leading};
use bolide_e2e::{Client, Kube, Program, Result, Running, history, repository, skip};
use serde_json::{Value, json};

use crate::{READY_WITHIN, SOON, install, seen};

const SET: &str = "ha";
const GROUP: &str = "ha-broker-0";
/// How long a pod may take to come back and be in sync, on a busy machine.
const BACK_WITHIN: Duration = Duration::from_secs(120);
/// Longer than anybody waits for a silent replica.
const SILENT: Duration = Duration::from_secs(10);
/// Acknowledgements that were on their way when a fault struck arrive within this time.
const ON_THEIR_WAY: Duration = Duration::from_millis(20);
/// How long the API server is away.
const OUTAGE: Duration = Duration::from_secs(60);

/// Pods of masters deleted under load, with and without an operator.
pub(crate) fn kills(kube: &Kube) -> Result<()> {
    with_pair(kube, |pair| {
        the_status_says_who_leads(pair)?;
        kills_lose_nothing(pair)
    })
}

/// A master's network cut, planned changes, no API server, more and fewer replicas, a lost group state.
pub(crate) fn changes(kube: &Kube) -> Result<()> {
    with_pair(kube, |pair| {
        a_master_that_is_cut_off_is_replaced(pair)?;
        no_send_fails_in_planned_changes(pair)?;
        replicas_come_and_go(pair)
    })
}

/// Runs `scenario` on the sample's pair, and looks at its addresses before and after.
fn with_pair(kube: &Kube, scenario: impl FnOnce(&Pair<'_>) -> Result<()>) -> Result<()> {
    let Some(java) = Client::Java5.find() else { return Ok(()) };
    let namespace = kube.namespace("replicas")?;
    let sample = repository().join("manifests/samples/ha.yaml").display().to_string();
    namespace.kubectl(&["apply", "--filename", &sample])?;
    namespace.wait_ready("brokerset", SET, READY_WITHIN)?;
    namespace.wait_ready("topic", "transfers", SOON)?;
    let dir = tempfile::tempdir().context("cannot make a folder")?;
    let pair = Pair {
        namespace: &namespace,
        java,
        namesrv: namesrv(&namespace)?,
        dir: dir.path(),
        loads: Cell::new(0),
    };
    pair.in_sync(2, BACK_WITHIN)?;
    let addresses = service_addresses(&namespace)?;
    scenario(&pair)?;
    ensure!(service_addresses(&namespace)? == addresses, "addresses of Services changed: {addresses}");
    seen("the Services have the addresses that they had at the beginning");
    a_lost_group_state_is_said(&pair)?;
    namespace.delete(BACK_WITHIN)
}

struct Pair<'a> {
    namespace: &'a Namespace<'a>,
    java: Program,
    namesrv: String,
    dir: &'a Path,
    loads: Cell<u32>,
}

/// Senders, and the file of their acknowledgements.
struct Load {
    running: Running,
    acks: PathBuf,
}

impl Pair<'_> {
    fn leading(&self) -> Result<Leading> {
        let lease = self.namespace.get(&["lease", GROUP])?;
        let state = lease["metadata"]["annotations"]["bolide.dev/group-state"].as_str();
        Leading::parse(state.context("no group state")?)
    }

    fn in_sync(&self, count: usize, limit: Duration) -> Result<Leading> {
        eventually(&format!("{count} replicas in sync"), limit, || {
            let now = self.leading()?;
            ensure!(now.in_sync.len() == count && now.in_sync.contains(&now.master), "{now:?}");
            Ok(now)
        })
    }

    /// Waits until another replica leads than before.
    fn changed(&self, before: &Leading) -> Result<Leading> {
        eventually("another master", SOON, || {
            let now = self.leading()?;
            ensure!(now.epoch > before.epoch && now.master != before.master, "{before:?} {now:?}");
            Ok(now)
        })
    }

    /// Waits until somebody leads in a later epoch than before.
    fn epoch_after(&self, before: &Leading) -> Result<Leading> {
        eventually("a later epoch", SOON, || {
            let now = self.leading()?;
            ensure!(now.epoch > before.epoch && !now.master.is_empty(), "{before:?} {now:?}");
            Ok(now)
        })
    }

    fn load(&self, name: &str, more: &[&str]) -> Result<Load> {
        let acks = self.dir.join(name);
        let out = acks.to_str().context("not UTF-8")?;
        let load = ["load", "--topic", "transfers", "--senders", "4", "--seconds", "1500", "--size", "64"];
        // the messages of each load have senders of their own: all loads are read back together
        let first = (4 * self.loads.replace(self.loads.get() + 1)).to_string();
        let ours = ["--first-sender", &first, "--out", out, "--timeout-s", "1600"];
        let arguments = [&load[..], more, &ours].concat();
        let mut running = self.java.start_at(&self.namesrv, &arguments)?;
        running.wait_for("progress", SOON)?;
        Acknowledged::new(&acks).wait_flowing(SOON)?;
        Ok(Load { running, acks })
    }

    /// Ends the load and reads everything back; the number of failed sends and the longest time without an acknowledgement.
    fn finish(&self, mut load: Load) -> Result<(i64, i64)> {
        load.running.tell("stop")?;
        let events = load.running.finish(SOON)?;
        let summary = events.iter().find(|event| event.is("summary")).context("no summary")?;
        let back = self.dir.join("drained");
        let out = back.to_str().context("not UTF-8")?;
        let drain = ["pull", "--topic", "transfers", "--group", "all", "--do", "drain", "--out", out];
        self.java.start_at(&self.namesrv, &drain)?.finish(BACK_WITHIN)?;
        let drained = std::fs::read_to_string(&back)?;
        let verdict = history::check(&std::fs::read_to_string(&load.acks)?, &drained)?;
        seen(&format!("read back: {verdict}"));
        ensure!(
            verdict.lost.is_empty() && verdict.moved.is_empty() && verdict.disordered.is_empty(),
            "{verdict}"
        );
        ensure!(verdict.acked > 1000, "only {} acknowledgements", verdict.acked);
        let number = |name| summary.number(name).with_context(|| format!("no {name} in {summary:?}"));
        Ok((number("failed")?, number("longestGapMs")?))
    }
}

fn namesrv(namespace: &Namespace) -> Result<String> {
    let service = namespace.get(&["service", "ha-nameserver"])?;
    Ok(format!("{}:9876", service["spec"]["clusterIP"].as_str().context("no address")?))
}

/// Addresses of the Services of nameservers and master, by name.
fn service_addresses(namespace: &Namespace) -> Result<Value> {
    let services =
        namespace.get(&["service", "ha-nameserver", "ha-broker-0-master", "ha-broker-0-slave-1"])?;
    let items = services["items"].as_array().context("no list")?;
    Ok(items.iter().map(|one| json!([one["metadata"]["name"], one["spec"]["clusterIP"]])).collect())
}

fn the_status_says_who_leads(pair: &Pair<'_>) -> Result<()> {
    let now = pair.leading()?;
    pair.namespace.wait_for("brokerset", SET, "replicas in its status", SOON, |set| {
        let group = &set["status"]["groups"][0];
        set["status"]["inSync"] == "2/2"
            && group["master"] == now.master.as_str()
            && group["epoch"] == now.epoch
            && condition(set, "InSync")["status"] == "True"
    })?;
    let columns = pair.namespace.kubectl(&["get", "brokersets"])?;
    ensure!(columns.contains("2/2") && columns.contains(&now.master), "{columns}");
    let lease = pair.namespace.get(&["lease", GROUP])?;
    ensure!(lease["metadata"]["ownerReferences"].is_null(), "the Lease has an owner");
    for (service, pod) in [("ha-broker-0-master", 0), ("ha-broker-0-slave-1", 1)] {
        let found = pair.namespace.get(&["service", service])?["spec"]["selector"].to_string();
        ensure!(found.contains(&format!("{GROUP}-{pod}")), "{service} points at {found}");
    }
    seen("a pair is ready; its Services point at master and slave, and the status names both");
    Ok(())
}

fn kills_lose_nothing(pair: &Pair<'_>) -> Result<()> {
    let load = pair.load("kills", &[])?;
    let acked = Acknowledged::new(&load.acks);
    let kill = |what: &str| -> Result<()> {
        let before = pair.in_sync(2, BACK_WITHIN)?;
        acked.wait_flowing(SOON)?;
        let since = Instant::now();
        pair.namespace.kubectl(&[
            "delete",
            "pod",
            &before.master,
            "--force",
            "--grace-period=0",
            "--wait=false",
        ])?;
        let gap = acked.next(since, ON_THEIR_WAY, BACK_WITHIN)?;
        // a pod that is back before its silence is noticed may lead again
        let now = pair.epoch_after(&before)?;
        seen(&format!(
            "{what}: acknowledged again {} ms after the command; {} leads in epoch {}",
            gap.as_millis(),
            now.master,
            now.epoch
        ));
        Ok(())
    };
    for round in 1..=3 {
        kill(&format!("the master's pod is deleted by force ({round})"))?;
    }
    let operator = pair.namespace.kube().namespace(install::NAMESPACE)?;
    operator.kubectl(&["scale", "deployment", install::RELEASE, "--replicas=0"])?;
    let killed = kill("the same without an operator");
    operator.kubectl(&["scale", "deployment", install::RELEASE, "--replicas=2"])?;
    killed?;

    let (failed, gap) = pair.finish(load)?;
    seen(&format!(
        "nothing acknowledged is lost; {failed} calls failed in four faults, longest time without an acknowledgement {gap} ms"
    ));
    Ok(())
}

fn a_master_that_is_cut_off_is_replaced(pair: &Pair<'_>) -> Result<()> {
    let load = pair.load("cut", &[])?;
    let acked = Acknowledged::new(&load.acks);
    let before = pair.in_sync(2, BACK_WITHIN)?;
    acked.wait_flowing(SOON)?;
    let since = Instant::now();
    match CutPod::cut(&before.master, "bolide")? {
        None => skip("no pod is cut off: its node is another machine"),
        Some(cut) => {
            let gap = acked.next(since, ON_THEIR_WAY, BACK_WITHIN)?;
            let now = pair.changed(&before)?;
            std::thread::sleep(SILENT.saturating_sub(since.elapsed()));
            cut.heal()?;
            pair.in_sync(2, BACK_WITHIN)?;
            seen(&format!(
                "the master is cut off: acknowledged again after {} ms; {} leads in epoch {}",
                gap.as_millis(),
                now.master,
                now.epoch
            ));
        }
    }
    pair.finish(load)?;
    let events =
        pair.namespace.kubectl(&["get", "events", "--field-selector", "involvedObject.kind=BrokerSet"])?;
    ensure!(events.contains("MasterChanged") && events.contains("OutOfSync"), "{events}");
    Ok(())
}

fn no_send_fails_in_planned_changes(pair: &Pair<'_>) -> Result<()> {
    pair.in_sync(2, BACK_WITHIN)?;
    pair.namespace.wait_settled("brokerset", SET, "True", BACK_WITHIN)?;
    // a client that chooses the queue itself sends only once
    let load = pair.load("planned", &["--one-queue-each"])?;
    let acked = Acknowledged::new(&load.acks);
    let before = pair.leading()?;
    let printed = pair.namespace.bolide(SET, &["switchover", SET, "0"])?;
    let now = pair.changed(&before)?;
    ensure!(printed.contains(&now.master), "{printed}");
    for (what, change) in [
        ("a setting that needs new processes", json!({ "flush": "Sync" })),
        ("a new image", json!({ "image": NEXT_IMAGE })),
    ] {
        let before = pair.in_sync(2, BACK_WITHIN)?;
        acked.wait_flowing(SOON)?;
        pair.namespace.wait_settled("brokerset", SET, "True", BACK_WITHIN)?;
        pair.namespace.patch("brokerset", SET, &json!({ "spec": change }))?;
        let now = pair.changed(&before)?;
        pair.namespace.wait_settled("brokerset", SET, "True", BACK_WITHIN)?;
        ensure!(now.epoch == before.epoch + 1, "{what}: {before:?} {now:?}");
        seen(&format!("{what}: rolled out with one hand-over, {} leads", now.master));
    }
    if pair.namespace.kube().without_api(OUTAGE)? {
        acked.wait_flowing(SOON)?;
        seen("the API server was away for a minute, and the senders went on");
    } else {
        skip("the API server is not stopped: it is not of this run");
    }
    let (failed, gap) = pair.finish(load)?;
    seen(&format!(
        "{failed} calls failed in a switchover, two rolling changes and without an API server; longest time without an acknowledgement {gap} ms"
    ));
    ensure!(failed == 0, "{failed} calls failed");
    let events =
        pair.namespace.kubectl(&["get", "events", "--field-selector", "involvedObject.kind=BrokerSet"])?;
    ensure!(events.contains("HandedOver"), "{events}");
    Ok(())
}

fn replicas_come_and_go(pair: &Pair<'_>) -> Result<()> {
    pair.namespace.wait_settled("brokerset", SET, "True", BACK_WITHIN)?;
    let stored = pair.namespace.stored(SET, "transfers")?;
    pair.namespace.patch("brokerset", SET, &json!({ "spec": { "replicas": 3 } }))?;
    pair.in_sync(3, BACK_WITHIN)?;
    pair.namespace.wait_settled("brokerset", SET, "True", BACK_WITHIN)?;
    pair.namespace.bolide(SET, &["switchover", SET, "0", "2"])?;
    pair.namespace.patch("brokerset", SET, &json!({ "spec": { "replicas": 2 } }))?;
    eventually("the third replica to hand over and go", BACK_WITHIN, || {
        let now = pair.leading()?;
        ensure!(now.in_sync.len() == 2 && !now.in_sync.contains(&format!("{GROUP}-2")), "{now:?}");
        ensure!(!pair.namespace.exists("pod", &format!("{GROUP}-2"))?, "its pod is there");
        Ok(())
    })?;
    pair.namespace.wait_settled("brokerset", SET, "True", BACK_WITHIN)?;
    ensure!(pair.namespace.exists("persistentvolumeclaim", &format!("data-{GROUP}-2"))?, "its claim is gone");
    ensure!(pair.namespace.stored(SET, "transfers")? == stored, "messages were lost");
    seen("a third replica came, led, handed over and went; its claim stays");
    Ok(())
}

fn a_lost_group_state_is_said(pair: &Pair<'_>) -> Result<()> {
    pair.namespace.kubectl(&["delete", "lease", GROUP])?;
    pair.namespace.wait_for("brokerset", SET, "a lost group state", SOON, |set| {
        let in_sync = condition(set, "InSync");
        in_sync["reason"] == "GroupStateLost"
            && in_sync["message"].as_str().is_some_and(|text| text.contains("bolide group-state force"))
    })?;
    std::thread::sleep(Duration::from_secs(5));
    ensure!(!pair.namespace.exists("lease", GROUP)?, "it was made anew");
    seen("a group state that is lost is said, and not made anew");
    Ok(())
}
