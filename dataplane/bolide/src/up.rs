//! `bolide up`: a cluster on this machine from the manifests that Kubernetes would get.
//!
//! Order of things: read and check everything, take the data folder, check the ports, start the processes, wait until every
//! nameserver knows every broker, make topics and groups, say `ready`; then keep the processes running and apply edits until told to
//! end. Whatever is refused is refused before anything is started or written.

mod apply;
mod folder;
mod group;
mod listeners;
mod live;
mod manifest;
mod plan;
mod ports;
mod supervisor;
mod watch;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bolide_client::Admin;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use self::apply::Applied;
use self::folder::{Folder, Held};
use self::live::Live;
use self::manifest::Wanted;
use self::plan::Plan;
use self::ports::Ports;
use self::supervisor::{Event, Supervised};
use self::watch::Watch;
use crate::failure::usage;

/// How long the processes may take until every nameserver knows every broker.
const READY_WITHIN: Duration = Duration::from_secs(180);
/// How often that is asked.
const READY_STEP: Duration = Duration::from_millis(50);
/// How long each request to the own cluster may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);
/// How often the manifests are looked at for edits, and the live status is drawn.
const TICK: Duration = Duration::from_secs(1);
/// When something could not be applied yet, how long until the next attempt.
const APPLY_AGAIN: Duration = Duration::from_secs(5);
/// Events of children that may wait to be printed.
const EVENTS: usize = 256;

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  bolide up -f manifests/samples/quickstart.yaml

The last line printed is `ready NAMESRV_ADDR=127.0.0.1:9876`: give that address to any RocketMQ client.
Ctrl-C ends the cluster; the next start in the same folder carries on with the data.
Edits to the manifests are applied while it runs.

Ports:                      nameservers    brokers           health and metrics
  by default                9876, 9877     10911, 10921      9090, 9091
  with --port-base N        N, N+1         N+100, N+110      N+50, N+51
With several replicas a group's port is its master's, whichever replica that is, and its slave with id S is 2 x S above.")]
pub(crate) struct UpArgs {
    /// Manifest file, or folder of manifests (*.yaml): one BrokerSet, its Topics and ConsumerGroups
    #[arg(short, long, value_name = "FILE|FOLDER", value_parser = crate::args::existing)]
    file: PathBuf,
    /// Folder for messages, logs, process ids and generated configuration
    #[arg(long, value_name = "DIR", default_value = "bolide-data")]
    data: PathBuf,
    /// First of the ports to use
    #[arg(long, value_name = "N")]
    port_base: Option<u16>,
}

/// Runs the cluster until Ctrl-C or SIGTERM.
pub(crate) fn run(args: UpArgs) -> anyhow::Result<()> {
    let wanted = manifest::load(&args.file).map_err(refused)?;
    let root = std::path::absolute(&args.data).context("cannot tell where the data folder is")?;
    let folder = Folder::new(root);
    let mut plan = Plan::new(&wanted.set, Ports::new(args.port_base), &folder).map_err(refused)?;
    let held = prepare(&folder, &plan)?;
    plan.adopt(&folder).map_err(refused)?;
    plan.listen()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(cluster(&args.file, &wanted, &folder, &plan, held))
}

fn refused(error: impl std::fmt::Display) -> anyhow::Error {
    usage(error.to_string())
}

/// Takes the folder and checks the ports; a folder that was never used is only made when the ports are free.
fn prepare(folder: &Folder, plan: &Plan) -> anyhow::Result<Held> {
    if folder.used() {
        let held = folder.hold()?;
        folder.wait_for_leftovers(&held)?;
        plan.check_ports()?;
        return Ok(held);
    }
    plan.check_ports()?;
    Ok(folder.hold()?)
}

/// Prints a line; a closed standard output must not end the cluster.
fn say(line: &str) {
    let _ = crate::output::write(&format!("{line}\n"));
}

async fn cluster(
    file: &Path,
    wanted: &Wanted,
    folder: &Folder,
    plan: &Plan,
    _held: Held,
) -> anyhow::Result<()> {
    plan.write()?;
    let mut asked = Asked::new()?;
    let exe = std::env::current_exe().context("cannot tell which program this is")?;
    let tracker = TaskTracker::new();
    let (events, mut told) = mpsc::channel(EVENTS);
    say(&format!("cluster {} in {}", wanted.set.cluster_name(), folder.root().display()));
    let children: Vec<Supervised> = plan
        .processes
        .iter()
        .map(|process| supervisor::supervise(&tracker, exe.clone(), process.spec.clone(), events.clone()))
        .collect();
    drop(events);
    let admin = Admin::new(&plan.namesrv, ANSWER_WITHIN);
    let result = match admin {
        Ok(admin) => serve(file, wanted, plan, &admin, &children, &mut told, &mut asked).await,
        Err(error) => Err(error.into()),
    };
    if result.is_ok() {
        say("stopping");
    }
    told.close();
    stop(plan, children).await;
    tracker.close();
    tracker.wait().await;
    if result.is_ok() {
        say("stopped; the next start carries on with the data");
    }
    result
}

/// Slaves first, so that none takes over from a master that ends; then masters, so that they can still say goodbye to the
/// nameservers.
async fn stop(plan: &Plan, children: Vec<Supervised>) {
    let leading: Vec<String> = plan.groups.iter().filter_map(group::Group::leader).collect();
    let (brokers, nameservers): (Vec<_>, Vec<_>) =
        children.into_iter().partition(|child| child.name.starts_with("broker"));
    let (masters, slaves): (Vec<_>, Vec<_>) =
        brokers.into_iter().partition(|child| leading.contains(&child.name));
    for group in [slaves, masters, nameservers] {
        let mut stopping = tokio::task::JoinSet::new();
        for child in group {
            stopping.spawn(child.stop());
        }
        stopping.join_all().await;
    }
}

async fn serve(
    file: &Path,
    wanted: &Wanted,
    plan: &Plan,
    admin: &Admin,
    children: &[Supervised],
    told: &mut mpsc::Receiver<Event>,
    asked: &mut Asked,
) -> anyhow::Result<()> {
    // taken before the first look, so that an edit made meanwhile is seen
    let mut watch = Watch::new(file);
    tokio::select! {
        ready = ready(plan, admin, told) => ready?,
        () = asked.end() => return Ok(()),
    }
    let made = tokio::select! {
        made = apply::apply(admin, wanted) => made.context("cannot make topics and groups")?,
        () = asked.end() => return Ok(()),
    };
    for line in made.lines {
        say(&line);
    }
    say(&format!("ready NAMESRV_ADDR={}", plan.namesrv));
    let mut live = Live::new(plan);
    let mut again = Again::after(made.waiting);
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            () = asked.end() => {
                live.clear();
                return Ok(());
            }
            Some(event) = told.recv() => {
                if let Some(line) = describe(&event) {
                    live.say(&line);
                }
            }
            _ = tick.tick() => {
                if watch.changed() || again.due() {
                    let done = edited(file, wanted, admin).await;
                    for line in done.lines.iter().filter(|line| !again.said.contains(*line)) {
                        live.say(line);
                    }
                    again = Again { said: done.lines, ..Again::after(done.waiting) };
                }
                live.draw(admin, children).await;
            }
        }
    }
}

/// Waits until every nameserver knows every broker. A child that dies meanwhile ends the start: its reason is in its log.
async fn ready(plan: &Plan, admin: &Admin, told: &mut mpsc::Receiver<Event>) -> anyhow::Result<()> {
    let deadline = Instant::now() + READY_WITHIN;
    let mut step = tokio::time::interval(READY_STEP);
    loop {
        tokio::select! {
            Some(event) = told.recv() => match event {
                Event::Died { name, status, last_line, log, .. } => {
                    let said = if last_line.is_empty() { String::new() } else { format!(": {last_line}") };
                    bail!("{name} ended at its start ({status}){said}; its log is {}", log.display());
                }
                Event::Broken { name, reason, .. } => bail!("cannot start {name}: {reason}"),
                Event::Started { name, pid, .. } => say(&format!("started {name} (process {pid})")),
            },
            _ = step.tick() => {
                let missing = missing(plan, admin).await;
                if missing.is_empty() {
                    return Ok(());
                }
                if Instant::now() > deadline {
                    bail!("after {READY_WITHIN:?} the nameservers still miss {}; see the logs", missing.join(", "));
                }
            }
        }
    }
}

/// Broker groups that some nameserver does not know.
async fn missing(plan: &Plan, admin: &Admin) -> Vec<String> {
    let wanted: Vec<&String> = plan.groups.iter().map(|group| &group.name).collect();
    let mut missing: Vec<String> = Vec::new();
    for address in plan.namesrv.split(';') {
        let known =
            admin.cluster_info_of(address).await.map(|info| info.broker_addr_table).unwrap_or_default();
        for broker in &wanted {
            if !known.contains_key(broker.as_str()) && !missing.contains(broker) {
                missing.push((*broker).clone());
            }
        }
    }
    missing
}

/// Applies the manifests as they are now; says what was done, or what is wrong with them.
async fn edited(file: &Path, started_with: &Wanted, admin: &Admin) -> Applied {
    let wanted = match manifest::load(file) {
        Ok(wanted) => wanted,
        Err(error) => return Applied { lines: vec![format!("edit not applied: {error}")], waiting: false },
    };
    let mut lines = Vec::new();
    if wanted.set != started_with.set {
        lines.push(format!(
            "BrokerSet {}: its change takes effect at the next start of `bolide up`; topics and groups are applied now",
            wanted.set.cluster_name()
        ));
    }
    match apply::apply(admin, &Wanted { set: started_with.set.clone(), ..wanted }).await {
        Ok(done) => {
            lines.extend(done.lines);
            Applied { lines, waiting: done.waiting }
        }
        Err(error) => {
            lines.push(format!("edit not applied yet: {error:#}"));
            Applied { lines, waiting: true }
        }
    }
}

/// When to apply again without an edit: something waits for consumers, or a broker was away.
struct Again {
    at: Option<Instant>,
    /// What has been printed of it already.
    said: Vec<String>,
}

impl Again {
    fn after(waiting: bool) -> Self {
        Self { at: waiting.then(|| Instant::now() + APPLY_AGAIN), said: Vec::new() }
    }

    fn due(&self) -> bool {
        self.at.is_some_and(|at| Instant::now() >= at)
    }
}

fn describe(event: &Event) -> Option<String> {
    match event {
        Event::Started { restarts: 0, .. } => None,
        Event::Started { name, pid, restarts } => {
            Some(format!("{name} runs again (process {pid}, restart {restarts})"))
        }
        Event::Died { name, status, restart_in, .. } => {
            Some(format!("{name} died ({status}); starting it again in {restart_in:?}"))
        }
        Event::Broken { name, reason, restart_in } => {
            Some(format!("cannot start {name}: {reason}; next attempt in {restart_in:?}"))
        }
    }
}

/// The wish of the user to end.
struct Asked {
    signals: [Signal; 3],
}

impl Asked {
    fn new() -> std::io::Result<Self> {
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        let [interrupt, terminate, hangup] = kinds.map(signal);
        Ok(Self { signals: [interrupt?, terminate?, hangup?] })
    }

    /// Completes when Ctrl-C, SIGTERM or a closed terminal asks for the end.
    async fn end(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.signals;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}
