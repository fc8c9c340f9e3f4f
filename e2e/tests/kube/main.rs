//! The operator on a real Kubernetes: chart, kinds, changes, failures. One cluster serves all scenarios; each has its own
//! namespaces, which enforce the pod security level `restricted`.
//!
//! `BOLIDE_KUBE_ONLY=name,name` runs some of the scenarios, in a cluster that may already have the chart (`install`).

mod application;
mod changes;
mod groups;
mod install;
mod leadership;
mod metrics;
mod namespaces;
mod refusals;
mod replicas;
mod topics;

use std::time::{Duration, Instant};

use anyhow::ensure;
use bolide_e2e::{Kube, Result};

/// How long pods of a small set may take to serve, images being on the node.
pub(crate) const READY_WITHIN: Duration = Duration::from_secs(60);
/// How long a change may take to show.
pub(crate) const SOON: Duration = Duration::from_secs(60);

type Scenario = (&'static str, fn(&Kube) -> Result<()>);

/// What all others need.
const FIRST: &[Scenario] = &[("install", install::run)];
/// Scenarios that run beside each other: a list for each of the machine's hands.
const BESIDE: &[&[Scenario]] = &[
    &[("refusals", refusals::run), ("application", application::run), ("metrics", metrics::run)],
    &[("changes", changes::run)],
    &[("topics", topics::run), ("groups", groups::run), ("namespaces", namespaces::run)],
];
/// Scenarios that take the operator or the API server away from all others.
const ALONE: &[Scenario] =
    &[("replicas", replicas::kills), ("replica-changes", replicas::changes), ("leadership", leadership::run)];

#[test]
fn the_operator_does_what_it_says_on_a_real_kubernetes() -> Result<()> {
    let Some(kube) = Kube::start()? else { return Ok(()) };
    let failed = run_all(&kube, FIRST);
    if !failed.is_empty() {
        show(&kube);
    }
    ensure!(failed.is_empty(), "the chart cannot be installed");
    let mut failed = std::thread::scope(|scope| {
        let lanes: Vec<_> = BESIDE.iter().map(|lane| scope.spawn(|| run_all(&kube, lane))).collect();
        lanes.into_iter().flat_map(|lane| lane.join().unwrap_or_else(|_| vec!["a panic"])).collect::<Vec<_>>()
    });
    failed.extend(run_all(&kube, ALONE));
    if !failed.is_empty() {
        show(&kube);
    }
    ensure!(failed.is_empty(), "failed: {}", failed.join(", "));
    Ok(())
}

fn run_all(kube: &Kube, scenarios: &[Scenario]) -> Vec<&'static str> {
    let only = std::env::var("BOLIDE_KUBE_ONLY").unwrap_or_default();
    let wanted = |name: &str| only.is_empty() || only.split(',').any(|one| one == name);
    let mut failed = Vec::new();
    for (name, scenario) in scenarios.iter().filter(|(name, _)| wanted(name)) {
        let started = Instant::now();
        let result = scenario(kube);
        let seconds = started.elapsed().as_secs();
        match result {
            Ok(()) => eprintln!("kube: {name}: ok ({seconds} s)"),
            Err(error) => {
                eprintln!("kube: {name}: FAILED ({seconds} s): {error:#}");
                failed.push(*name);
            }
        }
    }
    failed
}

/// A step of a scenario has been seen to hold.
pub(crate) fn seen(sentence: &str) {
    eprintln!("kube:     {sentence}");
}

/// What a person would look at first.
fn show(kube: &Kube) {
    let logs = [
        "--namespace",
        install::NAMESPACE,
        "logs",
        "--selector",
        "app.kubernetes.io/name=bolide-operator",
        "--tail=60",
    ];
    for arguments in [
        &["get", "brokersets,topics,consumergroups,pods", "--all-namespaces", "--output", "wide"][..],
        &["get", "events", "--all-namespaces", "--field-selector", "type=Warning"],
        &logs,
    ] {
        match kube.kubectl(arguments) {
            Ok(text) => eprintln!("--- kubectl {}\n{text}", arguments.join(" ")),
            Err(error) => eprintln!("{error:#}"),
        }
    }
}
