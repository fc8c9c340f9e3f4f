//! Sends to a pair of replicas on this machine: what a second copy costs, acknowledged by both or by the master alone.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::compare::{self, Plan};
use crate::goals::{APACHE, BOLIDE};
use crate::load::{self, Spec, Work};
use crate::report::{Goal, Report};
use crate::scenario::Scenario;
use crate::systems::{QUEUES, System, TOPIC, run_script};
use crate::{probe, process};

pub(crate) const SCENARIO: Scenario = Scenario { name: "replication", run, goals };

const START_TIMEOUT: Duration = Duration::from_secs(120);
const STOP_TIMEOUT: Duration = Duration::from_secs(60);
const BODY_BYTES: usize = 1_024;
/// Connections, and requests in flight on each.
const LOADS: [(usize, usize); 3] = [(1, 1), (4, 16), (8, 64)];
/// Where the slave of Apache RocketMQ listens, above the first port.
const SLAVE_PORT: u16 = 30;

/// Whose copy an acknowledgement waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Sync,
    Async,
}

impl Mode {
    fn title(self, connections: usize, inflight: usize) -> String {
        let mode = match self {
            Self::Sync => "sync",
            Self::Async => "async",
        };
        format!("send, two replicas, {mode} replication, {connections} x {inflight}, {BODY_BYTES} B")
    }

    fn bolide(self) -> &'static str {
        match self {
            Self::Sync => "Sync",
            Self::Async => "Async",
        }
    }

    /// Without `inSyncReplicas` its sync master waits for nobody.
    fn apache(self) -> &'static [&'static str] {
        match self {
            Self::Sync => &["brokerRole=SYNC_MASTER", "inSyncReplicas=2"],
            Self::Async => &["brokerRole=ASYNC_MASTER"],
        }
    }
}

fn run(plan: &Plan, system: &System, report: &mut Report) -> anyhow::Result<()> {
    for mode in [Mode::Async, Mode::Sync] {
        let pair = Pair::start(plan, system, mode)?;
        let spec = |connections, inflight| Spec {
            addr: pair.master(),
            connections,
            inflight,
            work: Work::Send {
                topic: TOPIC.to_owned(),
                queues: QUEUES,
                body_bytes: BODY_BYTES,
                numbered: false,
            },
            warm_up: plan.warm_up,
            duration: plan.duration,
            max_requests: None,
        };
        load::run(&Spec { duration: plan.warm_up * 2, ..spec(4, 16) })?;
        for (connections, inflight) in LOADS {
            let title = mode.title(connections, inflight);
            compare::measure(
                report,
                system.name(),
                &title,
                &spec(connections, inflight),
                pair.master_pid()?,
            )?;
        }
        pair.remove()?;
    }
    Ok(())
}

fn goals(report: &Report) -> Vec<Goal> {
    let rate = |mode: Mode, server: &str| {
        report.measure(&mode.title(8, 64), server).map(|measure| measure.messages_per_second)
    };
    let mut goals = Vec::new();
    let mut at_least = |goal: &str, ours: Option<f64>, of: Option<f64>, least: f64| {
        if let (Some(ours), Some(of)) = (ours, of) {
            let found = ours / of;
            goals.push(Goal { goal: goal.to_owned(), found: format!("{found:.2}"), met: found >= least });
        }
    };
    at_least(
        "sync replication 8 x 64, share of the rate of async replication, at least 0.5",
        rate(Mode::Sync, BOLIDE),
        rate(Mode::Async, BOLIDE),
        0.5,
    );
    at_least(
        "sync replication 8 x 64, times Apache's rate, at least 5",
        rate(Mode::Sync, BOLIDE),
        rate(Mode::Sync, APACHE),
        5.0,
    );
    goals
}

/// A master, its slave and a name server in a folder of their own.
struct Pair<'a> {
    system: &'a System,
    folder: PathBuf,
    port_base: u16,
    /// `bolide up`.
    up: Option<Child>,
}

impl<'a> Pair<'a> {
    fn start(plan: &Plan, system: &'a System, mode: Mode) -> anyhow::Result<Self> {
        let prefix = match system {
            System::Bolide { .. } => "bolide",
            System::Apache { .. } => "apache",
        };
        let folder = plan.folder.join(format!("{prefix}-replication"));
        if folder.exists() {
            fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
        }
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let folder = folder.canonicalize()?;
        eprintln!(
            "{}: starting two replicas, {} replication, in {}",
            system.name(),
            mode.bolide(),
            folder.display()
        );
        let mut pair = Self { system, folder, port_base: plan.port_base, up: None };
        match system {
            System::Bolide { program } => {
                let manifest = format!(
                    "apiVersion: bolide.dev/v1alpha1\nkind: BrokerSet\nmetadata: {{name: bench}}\n\
                     spec: {{replicas: 2, replication: {}, autoCreateTopics: true, nameservers: {{replicas: 1}}}}\n",
                    mode.bolide()
                );
                let file = pair.folder.join("bench.yaml");
                fs::write(&file, manifest).with_context(|| format!("cannot write {}", file.display()))?;
                let up = Command::new(program)
                    .args(["up", "--port-base", &plan.port_base.to_string(), "-f"])
                    .arg(&file)
                    .arg("--data")
                    .arg(pair.folder.join("data"))
                    .stdin(Stdio::null())
                    .stdout(Stdio::null())
                    .spawn()
                    .with_context(|| {
                        format!("cannot run {}: build it with 'make build'", program.display())
                    })?;
                pair.up = Some(up);
            }
            System::Apache { script } => {
                let (namesrv, master) = (plan.port_base.to_string(), pair.master().port().to_string());
                let slave = (plan.port_base + SLAVE_PORT).to_string();
                let start = ["start", &pair.folder_text("m"), &namesrv, &master];
                run_script(script, &[&start[..], mode.apache()].concat())?;
                let role = ["brokerId=1", "brokerRole=SLAVE"];
                let start = ["start-broker", &pair.folder_text("s"), &namesrv, &slave];
                run_script(script, &[&start[..], &role[..]].concat())?;
            }
        }
        probe::until_serving(pair.master(), TOPIC, QUEUES, Instant::now(), START_TIMEOUT)?;
        // until both have joined
        std::thread::sleep(Duration::from_secs(5));
        Ok(pair)
    }

    fn master(&self) -> SocketAddr {
        let above = match self.system {
            System::Bolide { .. } => 100,
            System::Apache { .. } => 10,
        };
        SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), self.port_base + above)
    }

    fn master_pid(&self) -> anyhow::Result<u32> {
        match self.system {
            // a new group is led by its first replica
            System::Bolide { .. } => process::pid_in(&self.folder.join("data/run/broker-0-0.pid")),
            System::Apache { .. } => process::pid_in(&self.folder.join("m/broker.pid")),
        }
    }

    fn folder_text(&self, part: &str) -> String {
        self.folder.join(part).display().to_string()
    }

    fn stop(&mut self) -> anyhow::Result<()> {
        if let Some(mut up) = self.up.take() {
            process::terminate(up.id())?;
            let deadline = Instant::now() + STOP_TIMEOUT;
            while up.try_wait()?.is_none() {
                anyhow::ensure!(Instant::now() < deadline, "process {} does not end", up.id());
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        if let System::Apache { script } = self.system {
            for part in ["s", "m"].iter().filter(|part| self.folder.join(part).exists()) {
                run_script(script, &["stop", &self.folder_text(part)])?;
            }
        }
        Ok(())
    }

    fn remove(mut self) -> anyhow::Result<()> {
        self.stop()?;
        fs::remove_dir_all(&self.folder).with_context(|| format!("cannot remove {}", self.folder.display()))
    }
}

/// Leaves nothing running when a measurement fails.
impl Drop for Pair<'_> {
    fn drop(&mut self) {
        if self.folder.exists()
            && let Err(error) = self.stop()
        {
            eprintln!("{error:#}");
        }
    }
}
