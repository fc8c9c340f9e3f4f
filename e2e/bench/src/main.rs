//! Measures brokers of the remoting protocol: one load, or the whole comparison of Bolide, Apache RocketMQ and a server that does
//! nothing, in one run on one machine.

#![forbid(unsafe_code)]

mod compare;
mod filter;
mod frame;
mod goals;
mod load;
mod null;
mod pop;
mod probe;
mod process;
mod replication;
mod report;
mod scenario;
mod systems;
mod timers;
mod transactions;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::{Parser, Subcommand, ValueEnum};

use crate::compare::Plan;
use crate::load::{Filter, Spec, Work};
use crate::report::{Measure, Report};
use crate::systems::System;

/// Measure brokers of the remoting protocol.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 110)]
struct Args {
    #[command(subcommand)]
    command: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Serve sends by answering at once, storing nothing
    Null {
        /// Address to listen on
        #[arg(long, default_value = "127.0.0.1:30040")]
        addr: SocketAddr,
    },
    /// Run one load against one broker
    Load(LoadArgs),
    /// Run every load against the null server, Bolide and Apache RocketMQ, and print the table
    Run(RunArgs),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    Send,
    Pull,
}

#[derive(Debug, clap::Args)]
struct LoadArgs {
    /// Address of the broker
    #[arg(long)]
    addr: SocketAddr,
    /// What to ask
    #[arg(long, value_enum, default_value = "send")]
    kind: Kind,
    /// Connections
    #[arg(long, default_value_t = 8)]
    connections: usize,
    /// Requests in flight on each connection
    #[arg(long, default_value_t = 64)]
    inflight: usize,
    /// Measured time
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Time before that
    #[arg(long, default_value_t = 1.0)]
    warm_up: f64,
    /// Bytes of each body
    #[arg(long, default_value_t = 1_024)]
    size: usize,
    /// Topic; made on first send where the broker does so
    #[arg(long, default_value = systems::TOPIC)]
    topic: String,
    /// Queues to send to, or to pull
    #[arg(long, default_value_t = systems::QUEUES)]
    queues: u32,
    /// Messages of one pull
    #[arg(long, default_value_t = 32)]
    batch: u32,
}

#[derive(Debug, clap::Args)]
struct RunArgs {
    /// The bolide program
    #[arg(long, default_value = "target/release/bolide")]
    bolide: PathBuf,
    /// The script that runs Apache RocketMQ
    #[arg(long, default_value = "e2e/apache/apache")]
    apache: PathBuf,
    /// Measure only these
    #[arg(long, value_enum)]
    only: Option<Only>,
    /// Run only this: `loads` (plain sends, pulls and restarts) or a scenario; may be repeated
    #[arg(long = "scenario")]
    scenarios: Vec<String>,
    /// Folder for the stores: needs 20 GB; each is removed after its loads
    #[arg(long, default_value = "target/bench")]
    data: PathBuf,
    /// First of 60 ports to use
    #[arg(long, default_value_t = 30_000)]
    port_base: u16,
    /// Measured time of each load
    #[arg(long, default_value_t = 6.0)]
    seconds: f64,
    /// Time before that
    #[arg(long, default_value_t = 2.0)]
    warm_up: f64,
    /// MiB of log that restarts are measured with; 0 leaves them out
    #[arg(long, default_value_t = 2_662)]
    restart_log_mib: u64,
    /// Also write the results as JSON
    #[arg(long)]
    json: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Only {
    Null,
    Bolide,
    Apache,
}

fn main() -> anyhow::Result<()> {
    match Args::parse().command {
        Action::Null { addr } => null::serve(addr),
        Action::Load(args) => run_load(&args),
        Action::Run(args) => run_comparison(&args),
    }
}

fn seconds(text: f64) -> anyhow::Result<Duration> {
    Duration::try_from_secs_f64(text).with_context(|| format!("{text} s is no duration"))
}

fn run_load(args: &LoadArgs) -> anyhow::Result<()> {
    let work = match args.kind {
        Kind::Send => {
            let timeout = Duration::from_secs(10);
            probe::until_serving(args.addr, &args.topic, args.queues, Instant::now(), timeout)?;
            Work::Send {
                topic: args.topic.clone(),
                queues: args.queues,
                body_bytes: args.size,
                numbered: false,
            }
        }
        Kind::Pull => Work::Pull {
            topic: args.topic.clone(),
            queues: args.queues,
            batch: args.batch,
            filter: Filter::ALL,
        },
    };
    let spec = Spec {
        addr: args.addr,
        connections: args.connections,
        inflight: args.inflight,
        work,
        warm_up: seconds(args.warm_up)?,
        duration: seconds(args.seconds)?,
        max_requests: None,
    };
    let outcome = load::run(&spec)?;
    let mut report =
        Report { setting: format!("{} s after {} s", args.seconds, args.warm_up), ..Report::default() };
    let title = format!("{:?} {} x {}", args.kind, args.connections, args.inflight).to_lowercase();
    report.add(&title, &args.addr.to_string(), Measure::new(&outcome, None));
    print!("{}", report.text());
    println!("answers by code: {:?}", outcome.codes);
    anyhow::ensure!(outcome.failures() == 0, "{} requests failed", outcome.failures());
    Ok(())
}

fn run_comparison(args: &RunArgs) -> anyhow::Result<()> {
    let wanted = |only: Only| args.only.is_none_or(|chosen| chosen == only);
    if let Some(unknown) = args.scenarios.iter().find(|name| !scenario::exists(name)) {
        anyhow::bail!("there is no scenario {unknown}; there are {}", scenario::names());
    }
    let mut systems = Vec::new();
    if wanted(Only::Bolide) {
        systems.push(System::Bolide { program: args.bolide.clone() });
    }
    if wanted(Only::Apache) {
        let script = args.apache.canonicalize().with_context(|| format!("no {}", args.apache.display()))?;
        systems.push(System::Apache { script });
    }
    let plan = Plan {
        systems,
        folder: args.data.clone(),
        port_base: args.port_base,
        warm_up: seconds(args.warm_up)?,
        duration: seconds(args.seconds)?,
        restart_log_bytes: args.restart_log_mib << 20,
        scenarios: args.scenarios.clone(),
    };
    let report = compare::run(&plan)?;
    print!("{}", report.text());
    if let Some(path) = &args.json {
        let json = serde_json::to_vec_pretty(&report)?;
        std::fs::write(path, json).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}
