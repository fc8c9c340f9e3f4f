//! The two brokers that are compared: how each is started in a folder, ended, killed, and started again.

use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::{probe, process};

/// How long a broker may take to serve after its start, with a full store.
pub(crate) const START_TIMEOUT: Duration = Duration::from_secs(180);
const STOP_TIMEOUT: Duration = Duration::from_secs(60);

/// The topic of all loads.
pub(crate) const TOPIC: &str = "bench";
/// Its queues: what a template topic of Apache RocketMQ gives at most.
pub(crate) const QUEUES: u32 = 8;

/// When a broker acknowledges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flush {
    Async,
    Sync,
}

impl Flush {
    fn setting(self) -> &'static str {
        match self {
            Self::Async => "ASYNC_FLUSH",
            Self::Sync => "SYNC_FLUSH",
        }
    }
}

/// Where the programs are.
#[derive(Clone, Debug)]
pub(crate) enum System {
    /// The `bolide` binary.
    Bolide { program: PathBuf },
    /// The script that runs Apache RocketMQ.
    Apache { script: PathBuf },
}

/// A broker and its name server in a folder of their own.
pub(crate) struct Cluster<'a> {
    system: &'a System,
    folder: PathBuf,
    port_base: u16,
    flush: Flush,
    /// Broker settings beyond those that every run has.
    settings: &'static [(&'static str, &'static str)],
    /// Of Bolide: name server, then broker.
    children: Vec<Child>,
}

impl System {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Bolide { .. } => "Bolide",
            Self::Apache { .. } => "Apache RocketMQ 5.3.3",
        }
    }
}

impl<'a> Cluster<'a> {
    /// Starts in an empty `folder`; returns when a message has been stored.
    pub(crate) fn start(
        system: &'a System,
        folder: &Path,
        port_base: u16,
        flush: Flush,
        settings: &'static [(&'static str, &'static str)],
    ) -> anyhow::Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let folder = folder.canonicalize()?;
        let mut cluster = Self { system, folder, port_base, flush, settings, children: Vec::new() };
        cluster.start_again()?;
        Ok(cluster)
    }

    /// Starts with the data that is there; returns the time from the broker's start to the first message stored.
    pub(crate) fn start_again(&mut self) -> anyhow::Result<Duration> {
        let started = match self.system {
            System::Bolide { program } => {
                let program = program.clone();
                self.start_bolide(&program)?
            }
            System::Apache { script } => {
                let namesrv_port = self.namesrv_port().to_string();
                run_script(script, &["start-namesrv", &self.folder_text(), &namesrv_port])?;
                let started = Instant::now();
                let broker_port = self.broker_addr().port().to_string();
                let flush = format!("flushDiskType={}", self.flush.setting());
                let mut starting = Command::new(script)
                    .args(["start-broker", &self.folder_text(), &namesrv_port, &broker_port, &flush])
                    .args(self.settings.iter().map(|(key, value)| format!("{key}={value}")))
                    .stdout(Stdio::null())
                    .spawn()
                    .with_context(|| format!("cannot run {}", script.display()))?;
                let took = probe::until_serving(self.broker_addr(), TOPIC, QUEUES, started, START_TIMEOUT)?;
                let status = starting.wait()?;
                anyhow::ensure!(status.success(), "{} start-broker failed: {status}", script.display());
                return Ok(took);
            }
        };
        probe::until_serving(self.broker_addr(), TOPIC, QUEUES, started, START_TIMEOUT)
    }

    fn start_bolide(&mut self, program: &Path) -> anyhow::Result<Instant> {
        let folder = self.folder_text();
        let base = self.port_base;
        let nameserver = format!(
            "bindAddress: 127.0.0.1\nlistenPort: {}\nadminAddress: 127.0.0.1\nadminPort: {}\nkvConfigPath: {folder}/kvConfig.json\n",
            self.namesrv_port(),
            base + 50,
        );
        let mut broker = format!(
            "brokerClusterName: DefaultCluster\nbrokerName: broker-a\nbrokerId: 0\nbindAddress: 127.0.0.1\nbrokerIP1: 127.0.0.1\n\
             listenPort: {}\nnamesrvAddr: 127.0.0.1:{}\nadminAddress: 127.0.0.1\nadminPort: {}\n\
             storePathRootDir: {folder}/store\nflushDiskType: {}\nautoCreateTopicEnable: true\n",
            self.broker_addr().port(),
            self.namesrv_port(),
            base + 51,
            self.flush.setting(),
        );
        for (key, value) in self.settings {
            broker.push_str(&format!("{key}: {value}\n"));
        }
        self.children.clear();
        let mut started = Instant::now();
        for (name, config) in [("nameserver", nameserver), ("broker", broker)] {
            let path = self.folder.join(format!("{name}.yaml"));
            fs::write(&path, config).with_context(|| format!("cannot write {}", path.display()))?;
            let log = File::create(self.folder.join(format!("{name}.log")))?;
            started = Instant::now();
            let child = Command::new(program)
                .arg(name)
                .arg("--config")
                .arg(&path)
                .stdin(Stdio::null())
                .stdout(log.try_clone()?)
                .stderr(log)
                .spawn()
                .with_context(|| format!("cannot run {}: build it with 'make build'", program.display()))?;
            self.children.push(child);
        }
        Ok(started)
    }

    /// Ends broker and name server in order.
    pub(crate) fn stop(&mut self) -> anyhow::Result<()> {
        match self.system {
            System::Bolide { .. } => {
                for mut child in self.children.drain(..).rev() {
                    process::terminate(child.id())?;
                    let deadline = Instant::now() + STOP_TIMEOUT;
                    while child.try_wait()?.is_none() {
                        anyhow::ensure!(Instant::now() < deadline, "process {} does not end", child.id());
                        std::thread::sleep(Duration::from_millis(5));
                    }
                }
                Ok(())
            }
            System::Apache { script } => run_script(script, &["stop", &self.folder_text()]),
        }
    }

    /// Ends both with SIGKILL.
    pub(crate) fn kill(&mut self) -> anyhow::Result<()> {
        match self.system {
            System::Bolide { .. } => {
                for mut child in self.children.drain(..).rev() {
                    child.kill()?;
                    child.wait()?;
                }
                Ok(())
            }
            System::Apache { script } => {
                let pid = self.broker_pid()?;
                run_script(script, &["kill", &self.folder_text()])?;
                process::wait_gone(pid, STOP_TIMEOUT)
            }
        }
    }

    /// Ends both and removes the folder.
    pub(crate) fn remove(mut self) -> anyhow::Result<()> {
        self.stop()?;
        fs::remove_dir_all(&self.folder).with_context(|| format!("cannot remove {}", self.folder.display()))
    }

    pub(crate) fn broker_addr(&self) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), self.port_base + 10)
    }

    pub(crate) fn name(&self) -> &'static str {
        self.system.name()
    }

    pub(crate) fn broker_pid(&self) -> anyhow::Result<u32> {
        match self.system {
            System::Bolide { .. } => self.children.last().map(Child::id).context("the broker does not run"),
            System::Apache { .. } => process::pid_in(&self.folder.join("broker.pid")),
        }
    }

    fn namesrv_port(&self) -> u16 {
        self.port_base
    }

    fn folder_text(&self) -> String {
        self.folder.display().to_string()
    }
}

/// Leaves nothing running when a measurement fails.
impl Drop for Cluster<'_> {
    fn drop(&mut self) {
        for child in &mut self.children {
            let ended = child.kill().and_then(|()| child.wait());
            if let Err(error) = ended {
                eprintln!("process {} could not be ended: {error}", child.id());
            }
        }
        if let System::Apache { script } = self.system
            && self.folder.join("broker.pid").exists()
            && let Err(error) = run_script(script, &["kill", &self.folder_text()])
        {
            eprintln!("{error:#}");
        }
    }
}

/// Runs the script to its end.
pub(crate) fn run_script(script: &Path, args: &[&str]) -> anyhow::Result<()> {
    let status = Command::new(script).args(args).stdout(Stdio::null()).status();
    let status = status.with_context(|| format!("cannot run {}", script.display()))?;
    anyhow::ensure!(status.success(), "{} {} failed: {status}", script.display(), args.join(" "));
    Ok(())
}
