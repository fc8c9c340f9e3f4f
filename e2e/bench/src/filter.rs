//! Consumption through an SQL92 filter that one message in a hundred passes: how many messages a second are looked at.

use std::time::Duration;

use crate::compare::{self, Plan};
use crate::goals::{APACHE, BOLIDE};
use crate::load::{self, Filter, Spec, Work};
use crate::report::{Goal, Report};
use crate::scenario::Scenario;
use crate::systems::{Cluster, Flush, QUEUES, System};

pub(crate) const SCENARIO: Scenario = Scenario { name: "filter", run, goals };

const TOPIC: &str = "bench-filter";
const MESSAGES: u64 = 1_000_000;
const BODY_BYTES: usize = 256;
/// The load numbers its messages from 00 to 99 in the property `n`.
const ONE_IN_A_HUNDRED: Filter =
    Filter { kind: "SQL92", expression: "n = 42 AND (colour = 'red' OR colour IS NULL)" };
const SQL: &str = "pull of 8 queues, SQL92, 1 % match: messages looked at";
/// What upstream calls the switch; Bolide has it under the same name.
const SETTINGS: &[(&str, &str)] = &[("enablePropertyFilter", "true")];

fn run(plan: &Plan, system: &System, report: &mut Report) -> anyhow::Result<()> {
    let cluster = compare::fresh(plan, system, "filter", Flush::Async, SETTINGS)?;
    fill(plan, &cluster)?;
    let pull = Spec {
        addr: cluster.broker_addr(),
        connections: usize::try_from(QUEUES)?,
        inflight: 1,
        work: Work::Pull {
            topic: TOPIC.to_owned(),
            queues: QUEUES,
            batch: compare::PULL_BATCH,
            filter: ONE_IN_A_HUNDRED,
        },
        warm_up: plan.warm_up,
        duration: plan.duration,
        max_requests: None,
    };
    compare::measure(report, system.name(), SQL, &pull, cluster.broker_pid()?)?;
    cluster.remove()
}

/// Stores the messages, numbered.
fn fill(plan: &Plan, cluster: &Cluster<'_>) -> anyhow::Result<()> {
    eprintln!("{}: storing {MESSAGES} messages", cluster.name());
    let outcome = load::run(&Spec {
        addr: cluster.broker_addr(),
        connections: 8,
        inflight: 64,
        work: Work::Send { topic: TOPIC.to_owned(), queues: QUEUES, body_bytes: BODY_BYTES, numbered: true },
        warm_up: Duration::ZERO,
        duration: Duration::from_secs(300).max(plan.duration),
        max_requests: Some(MESSAGES),
    })?;
    anyhow::ensure!(
        outcome.succeeded * 10 > MESSAGES * 9,
        "only {} messages were stored: {}",
        outcome.succeeded,
        outcome.first_failure.unwrap_or_default()
    );
    Ok(())
}

fn goals(report: &Report) -> Vec<Goal> {
    let rate = |server: &str| report.measure(SQL, server).map(|measure| measure.messages_per_second);
    let (Some(ours), Some(theirs)) = (rate(BOLIDE), rate(APACHE)) else { return Vec::new() };
    vec![Goal {
        goal: "SQL92 filter with 1 % matches, times Apache's rate, at least 5".to_owned(),
        found: format!("{:.2}", ours / theirs),
        met: ours >= 5.0 * theirs,
    }]
}
