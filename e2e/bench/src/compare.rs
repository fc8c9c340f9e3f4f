//! The comparison: null server, Bolide and Apache RocketMQ under the same loads on this machine, in one run.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::load::{self, Filter, Outcome, Spec, Work};
use crate::report::{Measure, Report};
use crate::systems::{Cluster, Flush, QUEUES, System, TOPIC};
use crate::{goals, probe, process, scenario};

/// Messages of one pull, the most a broker gives by default.
pub(crate) const PULL_BATCH: u32 = 32;
/// How long a broker is left alone before its idle memory is read.
const SETTLE: Duration = Duration::from_secs(3);
/// How much is added between the clean restart and the kill.
const RESTART_MORE_BYTES: u64 = 100 * 1024 * 1024;
/// A stored record of a message with 1,024 bytes and the load's properties.
const RECORD_BYTES: u64 = 1_024 + 230;

pub(crate) const NULL: &str = "null server";
pub(crate) const PULL: &str = "pull of 8 queues, batches of 32, page cache";
pub(crate) const IDLE: &str = "anonymous memory (RssAnon) idle";
pub(crate) const LOADED: &str = "anonymous memory (RssAnon) after the async runs";
pub(crate) const RESTART_CLEAN: &str = "restart to serving after a clean stop";
pub(crate) const RESTART_KILLED: &str = "restart to serving after kill -9";

const SMALL_TOPIC: &str = "bench-small";

/// A send load: flush of the broker, connections, in flight, body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Send {
    pub(crate) flush: Flush,
    pub(crate) connections: usize,
    pub(crate) inflight: usize,
    pub(crate) body_bytes: usize,
}

/// The send loads, in order.
pub(crate) const SENDS: [Send; 6] = [
    Send { flush: Flush::Async, connections: 1, inflight: 1, body_bytes: 1_024 },
    Send { flush: Flush::Async, connections: 4, inflight: 16, body_bytes: 1_024 },
    Send { flush: Flush::Async, connections: 8, inflight: 64, body_bytes: 1_024 },
    Send { flush: Flush::Async, connections: 8, inflight: 64, body_bytes: 128 },
    Send { flush: Flush::Sync, connections: 1, inflight: 1, body_bytes: 1_024 },
    Send { flush: Flush::Sync, connections: 8, inflight: 64, body_bytes: 1_024 },
];

impl Send {
    pub(crate) fn title(&self) -> String {
        let flush = match self.flush {
            Flush::Async => "async",
            Flush::Sync => "sync",
        };
        format!("send, {flush} flush, {} x {}, {} B", self.connections, self.inflight, self.body_bytes)
    }

    /// Pulls are measured on messages of one size.
    fn topic(&self) -> &'static str {
        if self.body_bytes == 1_024 { TOPIC } else { SMALL_TOPIC }
    }

    fn spec(&self, addr: SocketAddr, plan: &Plan) -> Spec {
        Spec {
            addr,
            connections: self.connections,
            inflight: self.inflight,
            work: Work::Send {
                topic: self.topic().to_owned(),
                queues: QUEUES,
                body_bytes: self.body_bytes,
                numbered: false,
            },
            warm_up: plan.warm_up,
            duration: plan.duration,
            max_requests: None,
        }
    }
}

/// What to run, and where.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) systems: Vec<System>,
    pub(crate) folder: PathBuf,
    pub(crate) port_base: u16,
    pub(crate) warm_up: Duration,
    pub(crate) duration: Duration,
    /// The log that restarts are measured with; 0 leaves them out.
    pub(crate) restart_log_bytes: u64,
    /// What to run of [`scenario::ALL`] and [`scenario::LOADS`]; everything when empty.
    pub(crate) scenarios: Vec<String>,
}

impl Plan {
    fn wants(&self, name: &str) -> bool {
        self.scenarios.is_empty() || self.scenarios.iter().any(|wanted| wanted == name)
    }
}

/// Runs the plan.
pub(crate) fn run(plan: &Plan) -> anyhow::Result<Report> {
    let mut report = Report { setting: setting(plan), ..Report::default() };
    if plan.wants(scenario::LOADS) {
        null_server(plan, &mut report)?;
        for system in &plan.systems {
            async_loads(plan, system, &mut report)?;
            sync_loads(plan, system, &mut report)?;
            if plan.restart_log_bytes > 0 {
                restarts(plan, system, &mut report)?;
            }
        }
    }
    report.goals = goals::check(&report);
    for scenario in scenario::ALL.iter().filter(|scenario| plan.wants(scenario.name)) {
        for system in &plan.systems {
            (scenario.run)(plan, system, &mut report)?;
        }
        report.goals.extend((scenario.goals)(&report));
    }
    Ok(report)
}

fn null_server(plan: &Plan, report: &mut Report) -> anyhow::Result<()> {
    let addr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), plan.port_base + 40);
    let server = Command::new(std::env::current_exe()?)
        .args(["null", "--addr", &addr.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .context("cannot start the null server")?;
    let server = Ended(server);
    probe::until_serving(addr, TOPIC, QUEUES, Instant::now(), Duration::from_secs(10))?;
    for send in SENDS.iter().filter(|send| send.flush == Flush::Async) {
        measure(report, NULL, &send.title(), &send.spec(addr, plan), server.0.id())?;
    }
    Ok(())
}

/// A child that ends with this value.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        if let Err(error) = self.0.kill().and_then(|()| self.0.wait()) {
            eprintln!("process {} could not be ended: {error}", self.0.id());
        }
    }
}

fn async_loads(plan: &Plan, system: &System, report: &mut Report) -> anyhow::Result<()> {
    let cluster = fresh(plan, system, "async", Flush::Async, &[])?;
    std::thread::sleep(SETTLE);
    memory(report, IDLE, system, &cluster)?;
    probe::until_serving(
        cluster.broker_addr(),
        SMALL_TOPIC,
        QUEUES,
        Instant::now(),
        Duration::from_secs(10),
    )?;
    warm(plan, &cluster)?;
    for send in SENDS.iter().filter(|send| send.flush == Flush::Async) {
        measure(
            report,
            system.name(),
            &send.title(),
            &send.spec(cluster.broker_addr(), plan),
            cluster.broker_pid()?,
        )?;
    }
    let pull = Spec {
        addr: cluster.broker_addr(),
        connections: usize::try_from(QUEUES)?,
        inflight: 1,
        work: Work::Pull { topic: TOPIC.to_owned(), queues: QUEUES, batch: PULL_BATCH, filter: Filter::ALL },
        warm_up: plan.warm_up,
        duration: plan.duration,
        max_requests: None,
    };
    measure(report, system.name(), PULL, &pull, cluster.broker_pid()?)?;
    memory(report, LOADED, system, &cluster)?;
    cluster.remove()
}

fn sync_loads(plan: &Plan, system: &System, report: &mut Report) -> anyhow::Result<()> {
    let cluster = fresh(plan, system, "sync", Flush::Sync, &[])?;
    warm(plan, &cluster)?;
    for send in SENDS.iter().filter(|send| send.flush == Flush::Sync) {
        measure(
            report,
            system.name(),
            &send.title(),
            &send.spec(cluster.broker_addr(), plan),
            cluster.broker_pid()?,
        )?;
    }
    cluster.remove()
}

fn restarts(plan: &Plan, system: &System, report: &mut Report) -> anyhow::Result<()> {
    let mut cluster = fresh(plan, system, "restart", Flush::Async, &[])?;
    fill(plan, &cluster, plan.restart_log_bytes)?;
    eprintln!("{}: {RESTART_CLEAN}", system.name());
    cluster.stop()?;
    let took = cluster.start_again()?;
    report.add_figure(RESTART_CLEAN, "s", system.name(), took.as_secs_f64());
    fill(plan, &cluster, RESTART_MORE_BYTES)?;
    eprintln!("{}: {RESTART_KILLED}", system.name());
    cluster.kill()?;
    let took = cluster.start_again()?;
    report.add_figure(RESTART_KILLED, "s", system.name(), took.as_secs_f64());
    cluster.remove()
}

/// Starts a system in an empty folder, with broker settings that both systems know by the same name.
pub(crate) fn fresh<'a>(
    plan: &Plan,
    system: &'a System,
    name: &str,
    flush: Flush,
    settings: &'static [(&'static str, &'static str)],
) -> anyhow::Result<Cluster<'a>> {
    let prefix = match system {
        System::Bolide { .. } => "bolide",
        System::Apache { .. } => "apache",
    };
    let folder = plan.folder.join(format!("{prefix}-{name}"));
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    settle_disk();
    eprintln!("{}: starting in {}", system.name(), folder.display());
    Cluster::start(system, &folder, plan.port_base, flush, settings)
}

/// Brings a just started broker to its usual speed, which for Java means compiled.
fn warm(plan: &Plan, cluster: &Cluster<'_>) -> anyhow::Result<()> {
    let send = Send { flush: Flush::Async, connections: 4, inflight: 16, body_bytes: 1_024 };
    load::run(&Spec { duration: plan.warm_up * 2, ..send.spec(cluster.broker_addr(), plan) })?;
    Ok(())
}

/// Stores this many bytes of log.
fn fill(plan: &Plan, cluster: &Cluster<'_>, bytes: u64) -> anyhow::Result<()> {
    let send = Send { flush: Flush::Async, connections: 8, inflight: 64, body_bytes: 1_024 };
    let spec = Spec {
        warm_up: Duration::ZERO,
        duration: Duration::from_secs(600),
        max_requests: Some(bytes / RECORD_BYTES),
        ..send.spec(cluster.broker_addr(), plan)
    };
    let outcome = load::run(&spec)?;
    anyhow::ensure!(
        outcome.succeeded * RECORD_BYTES * 10 > bytes * 9,
        "only {} messages were stored",
        outcome.succeeded
    );
    Ok(())
}

/// Stores messages of one size in a topic; with `numbered` each has its number in a property.
pub(crate) fn fill_topic(
    plan: &Plan,
    cluster: &Cluster<'_>,
    topic: &str,
    messages: u64,
    body_bytes: usize,
    numbered: bool,
) -> anyhow::Result<()> {
    eprintln!("{}: storing {messages} messages", cluster.name());
    let outcome = load::run(&Spec {
        addr: cluster.broker_addr(),
        connections: 8,
        inflight: 64,
        work: Work::Send { topic: topic.to_owned(), queues: QUEUES, body_bytes, numbered },
        warm_up: Duration::ZERO,
        duration: Duration::from_secs(300).max(plan.duration),
        max_requests: Some(messages),
    })?;
    anyhow::ensure!(
        outcome.succeeded * 10 > messages * 9,
        "only {} messages were stored: {}",
        outcome.succeeded,
        outcome.first_failure.unwrap_or_default()
    );
    Ok(())
}

/// Runs a load and adds its row.
pub(crate) fn measure(
    report: &mut Report,
    server: &str,
    work: &str,
    spec: &Spec,
    pid: u32,
) -> anyhow::Result<()> {
    settle_disk();
    eprintln!("{server}: {work}");
    let cpu_before = process::cpu_time(pid)?;
    let started = Instant::now();
    let outcome: Outcome = load::run(spec).with_context(|| format!("{server}: {work}"))?;
    let cores =
        (process::cpu_time(pid)?.saturating_sub(cpu_before)).as_secs_f64() / started.elapsed().as_secs_f64();
    report.add(work, server, Measure::new(&outcome, Some(cores)));
    Ok(())
}

/// Lets no load pay for the pages that the one before it left to write.
fn settle_disk() {
    rustix::fs::sync();
    std::thread::sleep(Duration::from_millis(500));
}

fn memory(report: &mut Report, what: &str, system: &System, cluster: &Cluster<'_>) -> anyhow::Result<()> {
    let bytes = process::anonymous_bytes(cluster.broker_pid()?)?;
    report.add_figure(what, "MB", system.name(), bytes as f64 / 1e6);
    Ok(())
}

fn setting(plan: &Plan) -> String {
    let read = |path: &Path| fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read(Path::new("/proc/cpuinfo"));
    let model =
        cpuinfo.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or(": unknown processor");
    let cores = cpuinfo.lines().filter(|line| line.starts_with("processor")).count();
    let load = read(Path::new("/proc/loadavg"));
    let load = load.split_whitespace().next().unwrap_or("?");
    format!(
        "{cores} x {}, load average before the run {load}; loads of {} s after {} s; restarts with {} MiB of log",
        model.trim_start_matches([' ', '\t', ':']),
        plan.duration.as_secs_f64(),
        plan.warm_up.as_secs_f64(),
        plan.restart_log_bytes >> 20,
    )
}
