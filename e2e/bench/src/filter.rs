//! Consumption through an SQL92 filter that one message in a hundred passes: how many messages a second are looked at.

use crate::compare::{self, Plan};
use crate::goals;
use crate::load::{Filter, Spec, Work};
use crate::report::{Goal, Report};
use crate::scenario::Scenario;
use crate::systems::{Flush, QUEUES, System};

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
    compare::fill_topic(plan, &cluster, TOPIC, MESSAGES, BODY_BYTES, true)?;
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

fn goals(report: &Report) -> Vec<Goal> {
    goals::times_apache(report, "SQL92 filter with 1 % matches", SQL, 5.0).into_iter().collect()
}
