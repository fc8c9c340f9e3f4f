//! Measures the operator on a real Kubernetes: many Topic objects at once, the time until all are ready, and what that costs in memory and
//! in requests to the API server.

#![forbid(unsafe_code)]

mod operator;
mod report;
mod topics;

use std::time::Duration;

use anyhow::Context;
use bolide_e2e::{Kube, repository};
use clap::Parser;

use crate::operator::Operator;
use crate::report::Report;

/// Namespace of the operator.
const SYSTEM: &str = "bolide-system";
/// Namespace of the topics.
const NAMESPACE: &str = "bench-topics";
/// The cluster that holds them.
const SET: &str = "bench";
/// How long a set may take to serve.
const READY_WITHIN: Duration = Duration::from_secs(120);

/// Measure the operator on a real Kubernetes (that of KUBECONFIG, or one brought up for this run).
#[derive(Debug, Parser)]
#[command(version, max_term_width = 110)]
struct Args {
    /// Topic objects to create
    #[arg(long, default_value_t = 1_000)]
    topics: usize,
    /// Broker groups: each topic is made on each
    #[arg(long, default_value_t = 2)]
    groups: u32,
    /// Create requests in flight
    #[arg(long, default_value_t = 64)]
    inflight: usize,
    /// How long to wait for all to be ready, in seconds
    #[arg(long, default_value_t = 300)]
    limit: u64,
    /// Write the report as JSON to this file
    #[arg(long)]
    json: Option<std::path::PathBuf>,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let Some(kube) = Kube::start()? else { return Ok(()) };
    install(&kube)?;
    let namespace = kube.namespace(NAMESPACE)?;
    namespace.apply(&format!(
        "apiVersion: bolide.dev/v1alpha1\nkind: BrokerSet\nmetadata: {{name: {SET}}}\n\
         spec: {{groups: {}, nameservers: {{replicas: 1}}, storage: {{size: 1Gi}}}}\n",
        args.groups
    ))?;
    namespace.wait_ready("brokerset", SET, READY_WITHIN)?;
    let operator = Operator::find(&kube, SYSTEM)?;
    let before = operator.sample(&kube)?;
    let watched = operator.watch_memory()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let limit = Duration::from_secs(args.limit);
    let made = runtime.block_on(topics::make_all(
        kube.kubeconfig(),
        NAMESPACE,
        SET,
        args.topics,
        args.inflight,
        limit,
    ))?;
    let peak = watched.finish();
    let after = operator.sample(&kube)?;
    let report = Report { topics: args.topics, groups: args.groups, made, before, after, peak };
    print!("{}", report.text());
    if let Some(path) = &args.json {
        let json = serde_json::to_vec_pretty(&report.json())?;
        std::fs::write(path, json).with_context(|| format!("cannot write {}", path.display()))?;
    }
    namespace.delete(READY_WITHIN)
}

fn install(kube: &Kube) -> anyhow::Result<()> {
    kube.namespace(SYSTEM)?;
    let chart = repository().join("charts/bolide").display().to_string();
    let wait = ["--namespace", SYSTEM, "--wait", "--timeout", "90s"];
    kube.helm(&[&["upgrade", "--install", "bolide", &chart], &wait[..]].concat()).map(|_| ())
}
