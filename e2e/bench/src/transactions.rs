//! Transactions: half message and commit, one after the other on each of the requests in flight; a transaction counts when its commit
//! is answered.

use std::time::Instant;

use crate::compare::{self, Plan};
use crate::goals;
use crate::load::{self, Spec, Work};
use crate::probe;
use crate::report::{Goal, Report};
use crate::scenario::Scenario;
use crate::systems::{Cluster, Flush, QUEUES, START_TIMEOUT, System};

pub(crate) const SCENARIO: Scenario = Scenario { name: "transactions", run, goals };

const TOPIC: &str = "bench-transactions";
const BODY_BYTES: usize = 1_024;
/// Connections, and transactions in flight on each.
const LOADS: [(usize, usize); 3] = [(1, 1), (4, 16), (8, 64)];

fn title(connections: usize, inflight: usize) -> String {
    format!("transactions, async flush, {connections} x {inflight}, {BODY_BYTES} B")
}

fn run(plan: &Plan, system: &System, report: &mut Report) -> anyhow::Result<()> {
    let cluster = compare::fresh(plan, system, "transactions", Flush::Async, &[])?;
    probe::until_serving(cluster.broker_addr(), TOPIC, QUEUES, Instant::now(), START_TIMEOUT)?;
    load::run(&Spec { duration: plan.warm_up * 2, ..spec(plan, &cluster, 4, 16) })?;
    for (connections, inflight) in LOADS {
        let spec = spec(plan, &cluster, connections, inflight);
        compare::measure(report, system.name(), &title(connections, inflight), &spec, cluster.broker_pid()?)?;
    }
    cluster.remove()
}

fn spec(plan: &Plan, cluster: &Cluster<'_>, connections: usize, inflight: usize) -> Spec {
    Spec {
        addr: cluster.broker_addr(),
        connections,
        inflight,
        work: Work::Transactions { topic: TOPIC.to_owned(), queues: QUEUES, body_bytes: BODY_BYTES },
        warm_up: plan.warm_up,
        duration: plan.duration,
        max_requests: None,
    }
}

fn goals(report: &Report) -> Vec<Goal> {
    goals::times_apache(report, "transactions 8 x 64", &title(8, 64), 5.0).into_iter().collect()
}
