//! A cluster of real processes: `bolide up` in a folder and on ports of its own.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::ports::Block;
use crate::process::Process;
use crate::{Result, repository, target_dir, wait};

/// How long a cluster may take to say `ready`.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// How long it may take to end.
const STOP_WITHIN: Duration = Duration::from_secs(60);
/// How long one command may take.
const COMMAND_WITHIN: Duration = Duration::from_secs(60);
/// Lines of each log printed after a failure.
const LOG_LINES: usize = 60;

/// How a cluster is started.
#[derive(Debug, Default)]
pub struct Builder {
    manifest: Option<String>,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
}

impl Builder {
    /// YAML of the cluster; by default the quick start's.
    pub fn manifest(mut self, yaml: &str) -> Self {
        self.manifest = Some(yaml.to_owned());
        self
    }

    /// One more argument for `bolide up`.
    pub fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// An environment variable of `bolide up`.
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Starts the cluster and waits until it is ready.
    ///
    /// # Errors
    /// It does not become ready within a minute, or ends before.
    pub fn start(self) -> Result<Cluster> {
        let dir = tempfile::Builder::new().prefix("bolide-e2e-").tempdir().context("cannot make a folder")?;
        let manifest = match &self.manifest {
            Some(text) => text.clone(),
            None => {
                let path = repository().join("manifests/samples/quickstart.yaml");
                std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?
            }
        };
        std::fs::write(dir.path().join("cluster.yaml"), manifest).context("cannot write the manifest")?;
        let mut cluster = Cluster {
            builder: self,
            dir: Some(dir),
            ports: Block::take()?,
            up: None,
            namesrv: String::new(),
        };
        cluster.begin()?;
        Ok(cluster)
    }
}

/// A running cluster. Dropping it before [`Cluster::stop`] kills it; the logs are printed and the folder is kept when the test fails.
#[derive(Debug)]
pub struct Cluster {
    builder: Builder,
    dir: Option<TempDir>,
    ports: Block,
    up: Option<Process>,
    namesrv: String,
}

/// A broker process that was killed.
#[derive(Clone, Debug)]
pub struct Died {
    /// Name of the process, as in its pid file.
    pub name: String,
    /// The process id it had.
    pub pid: u32,
}

/// What a command printed. It ended with exit code 0 unless [`Cluster::cli_unchecked`] was asked.
#[derive(Clone, Debug)]
pub struct Output {
    /// Exit code; -1 when it was killed by a signal.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Output {
    /// The standard output as one JSON document.
    ///
    /// # Errors
    /// It is not JSON.
    pub fn json(&self) -> Result<serde_json::Value> {
        serde_json::from_str(&self.stdout).with_context(|| format!("not JSON: {}", self.stdout))
    }
}

impl Cluster {
    /// Starts the quick start's cluster.
    ///
    /// # Errors
    /// As [`Builder::start`].
    pub fn start() -> Result<Self> {
        Self::builder().start()
    }

    /// A cluster that differs from the quick start's.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Address of the nameserver, `127.0.0.1:port`; several are separated by `;`.
    pub fn namesrv(&self) -> &str {
        &self.namesrv
    }

    /// First of the ports of this cluster; see [`crate::ports::BLOCK`].
    pub fn port_base(&self) -> u16 {
        self.ports.base()
    }

    /// Folder of the test: `cluster.yaml`, and `data` with everything that `bolide up` writes.
    pub fn dir(&self) -> &Path {
        self.dir.as_ref().map_or(Path::new("."), TempDir::path)
    }

    /// Data folder of `bolide up`.
    pub fn data(&self) -> PathBuf {
        self.dir().join("data")
    }

    /// The manifest in use; a running `bolide up` applies changes.
    pub fn manifest(&self) -> PathBuf {
        self.dir().join("cluster.yaml")
    }

    /// What `bolide up` has printed so far.
    pub fn printed(&self) -> Vec<String> {
        self.up.as_ref().map(|up| up.out.all()).unwrap_or_default()
    }

    /// Names and process ids of the brokers that run now, in order of name.
    ///
    /// # Errors
    /// The folder of pid files cannot be read.
    pub fn brokers(&self) -> Result<Vec<(String, u32)>> {
        self.processes("broker")
    }

    /// Names and process ids of the nameservers that run now, in order of name.
    ///
    /// # Errors
    /// The folder of pid files cannot be read.
    pub fn nameservers(&self) -> Result<Vec<(String, u32)>> {
        self.processes("nameserver")
    }

    fn processes(&self, prefix: &str) -> Result<Vec<(String, u32)>> {
        let run = self.data().join("run");
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&run).with_context(|| format!("cannot read {}", run.display()))? {
            let path = entry?.path();
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            // a file that has just gone or is not yet written is a process that does not run
            let pid = std::fs::read_to_string(&path).ok().and_then(|text| text.trim().parse().ok());
            if let (true, Some(pid)) = (name.starts_with(prefix), pid) {
                found.push((name, pid));
            }
        }
        found.sort();
        Ok(found)
    }

    /// Kills a broker with SIGKILL; an empty name means the first one.
    ///
    /// # Errors
    /// It does not run.
    pub fn kill_broker(&self, name: &str) -> Result<Died> {
        self.signal_broker(name, Signal::KILL)
    }

    /// Sends any signal to a broker (`Signal::STOP` and `Signal::CONT` pause it); an empty name means the first one.
    ///
    /// # Errors
    /// It does not run.
    pub fn signal_broker(&self, name: &str, signal: Signal) -> Result<Died> {
        let mut brokers = self.brokers()?.into_iter();
        let (name, pid) = brokers
            .find(|(found, _)| name.is_empty() || found == name)
            .with_context(|| format!("no broker {name} runs"))?;
        signal_pid(pid, signal)?;
        Ok(Died { name, pid })
    }

    /// Waits until a killed process runs again, under another process id, and the cluster shows it.
    ///
    /// # Errors
    /// It does not within `limit`.
    pub fn wait_restarted(&self, died: &Died, limit: Duration) -> Result<u32> {
        let pid = wait::until(&format!("{} to run again", died.name), limit, || {
            let found = self.processes(&died.name).ok()?;
            found.into_iter().find(|(name, pid)| *name == died.name && *pid != died.pid).map(|(_, pid)| pid)
        })?;
        wait::until_ok("the cluster to be whole again", limit, || self.cli(&["status"]).map(|_| ()))?;
        Ok(pid)
    }

    /// Runs `bolide` with `NAMESRV_ADDR` set to this cluster.
    ///
    /// # Errors
    /// It ends with another exit code than 0, or not within a minute.
    pub fn cli(&self, arguments: &[&str]) -> Result<Output> {
        let output = self.cli_unchecked(arguments)?;
        ensure!(
            output.code == 0,
            "bolide {}: exit code {}: {}{}",
            arguments.join(" "),
            output.code,
            output.stdout,
            output.stderr
        );
        Ok(output)
    }

    /// As [`Cluster::cli`], with `-o json`, its output parsed.
    ///
    /// # Errors
    /// As [`Cluster::cli`], or the output is not JSON.
    pub fn json(&self, arguments: &[&str]) -> Result<serde_json::Value> {
        let mut all = arguments.to_vec();
        all.extend(["-o", "json"]);
        self.cli(&all)?.json()
    }

    /// Runs `bolide` whatever exit code it ends with.
    ///
    /// # Errors
    /// It cannot be started, or does not end within a minute.
    pub fn cli_unchecked(&self, arguments: &[&str]) -> Result<Output> {
        run_bolide(arguments, &[("NAMESRV_ADDR", &self.namesrv)])
    }

    /// Ends `bolide up` with SIGTERM and waits for it; the data stays, so that [`Cluster::restart`] carries on with it.
    ///
    /// # Errors
    /// It does not end within a minute, or not with exit code 0.
    pub fn halt(&mut self) -> Result<()> {
        let Some(mut up) = self.up.take() else { return Ok(()) };
        up.signal(Signal::TERM)?;
        let status = up.wait(STOP_WITHIN)?;
        ensure!(status.success(), "bolide up ended with {status}{}", up.tail());
        Ok(())
    }

    /// Kills `bolide up` itself with SIGKILL; its children must end by themselves.
    ///
    /// # Errors
    /// It does not run.
    pub fn kill_up(&mut self) -> Result<()> {
        let mut up = self.up.take().context("bolide up does not run")?;
        up.signal(Signal::KILL)?;
        up.wait(STOP_WITHIN)?;
        Ok(())
    }

    /// Starts `bolide up` again on the same folder and ports, after [`Cluster::halt`] or [`Cluster::kill_up`].
    ///
    /// # Errors
    /// As [`Builder::start`].
    pub fn restart(&mut self) -> Result<()> {
        ensure!(self.up.is_none(), "bolide up still runs");
        self.begin()
    }

    /// Ends the cluster cleanly and removes its folder.
    ///
    /// # Errors
    /// As [`Cluster::halt`]; the folder is then kept.
    pub fn stop(mut self) -> Result<()> {
        self.halt()?;
        if let Some(dir) = self.dir.take() {
            dir.close().context("cannot remove the folder of the test")?;
        }
        Ok(())
    }

    fn begin(&mut self) -> Result<()> {
        let mut command = Command::new(bolide()?);
        command.arg("up").arg("-f").arg(self.manifest()).arg("--data").arg(self.data());
        command.arg("--port-base").arg(self.ports.base().to_string()).args(&self.builder.arguments);
        command.envs(self.builder.environment.iter().map(|(name, value)| (name, value)));
        let up = self.up.insert(Process::start("bolide up", &mut command)?);
        let line = wait::until("`bolide up` to say ready", READY_WITHIN, || {
            let ready = up.out.all().into_iter().find(|line| line.starts_with("ready NAMESRV_ADDR="));
            ready.map(Some).or_else(|| up.ended().then_some(None))
        });
        match line {
            Ok(Some(line)) => {
                self.namesrv = line.trim_start_matches("ready NAMESRV_ADDR=").trim().to_owned();
                Ok(())
            }
            Ok(None) => bail!("bolide up ended before it was ready{}", up.tail()),
            Err(error) => bail!("{error}{}", up.tail()),
        }
    }

    fn print_logs(&self) {
        if let Some(up) = &self.up {
            eprintln!("{}", up.tail());
        }
        let logs = self.data().join("log");
        for entry in std::fs::read_dir(&logs).into_iter().flatten().flatten() {
            let text = std::fs::read(entry.path()).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            let lines: Vec<&str> = text.lines().collect();
            eprintln!("--- end of {}", entry.path().display());
            eprintln!("{}", lines[lines.len().saturating_sub(LOG_LINES)..].join("\n"));
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.dir.is_none() {
            return;
        }
        self.print_logs();
        // the children end by themselves when `bolide up` is gone
        drop(self.up.take());
        if let Some(dir) = self.dir.take() {
            eprintln!("the folder of the failed test is kept: {}", dir.keep().display());
        }
    }
}

/// Sends a signal to a process.
///
/// # Errors
/// There is no such process.
pub fn signal_pid(pid: u32, signal: Signal) -> Result<()> {
    let raw =
        i32::try_from(pid).ok().and_then(Pid::from_raw).with_context(|| format!("{pid} is no process id"))?;
    kill_process(raw, signal).with_context(|| format!("cannot signal process {pid}"))
}

/// Runs `bolide` with arguments and environment variables, whatever exit code it ends with.
///
/// # Errors
/// It cannot be started, or does not end within a minute.
pub fn run_bolide(arguments: &[&str], environment: &[(&str, &str)]) -> Result<Output> {
    let mut command = Command::new(bolide()?);
    command.args(arguments).envs(environment.iter().copied());
    let name = format!("bolide {}", arguments.join(" "));
    let mut process = Process::start(&name, &mut command)?;
    let status = process.wait(COMMAND_WITHIN)?;
    let text = |lines: Vec<String>| lines.into_iter().map(|line| line + "\n").collect();
    Ok(Output {
        code: status.code().unwrap_or(-1),
        stdout: text(process.out.all()),
        stderr: text(process.err.all()),
    })
}

/// The program under test: `BOLIDE_BIN`, else `target/release/bolide`.
///
/// # Errors
/// It is not there.
pub fn bolide() -> Result<PathBuf> {
    let path = match std::env::var_os("BOLIDE_BIN") {
        Some(path) => PathBuf::from(path),
        None => target_dir().join("release/bolide"),
    };
    ensure!(path.is_file(), "{} is not there; build it with `make build`, or set BOLIDE_BIN", path.display());
    Ok(path)
}
