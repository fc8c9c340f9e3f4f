//! The client programs of `e2e/clients`.

use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rustix::process::Signal;

use crate::process::Process;
use crate::{Cluster, Event, Result, repository, skip, target_dir};

/// How long a program may run in [`Program::run`].
const RUN_WITHIN: Duration = Duration::from_secs(180);
/// How long a program may take to end after it was asked to.
const STOP_WITHIN: Duration = Duration::from_secs(30);

/// One build at a time in this process; between processes the build tools have their own locks.
static BUILD: Mutex<()> = Mutex::new(());

/// An official client, unchanged, behind a small program that prints JSON lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// `rocketmq-client` 5.3.3.
    Java5,
    /// `rocketmq-client` 4.9.8.
    Java4,
    /// `rocketmq-client-go` v2.
    Go,
    /// `ali-ons`.
    Node,
}

impl Client {
    /// Name of the part, as `e2e/clients/build` takes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Java5 => "java5",
            Self::Java4 => "java4",
            Self::Go => "go",
            Self::Node => "node",
        }
    }

    fn tools(self) -> &'static [&'static str] {
        match self {
            Self::Java5 | Self::Java4 => &["java", "mvn"],
            Self::Go => &["go"],
            Self::Node => &["node", "npm"],
        }
    }

    /// The program, built when it is not there. `None`, after a sentence on standard error, when its toolchain is missing.
    ///
    /// # Panics
    /// The build fails, or the toolchain is missing in CI.
    pub fn find(self) -> Option<Program> {
        for tool in self.tools() {
            if !on_path(tool) {
                skip(&format!("the {} client needs `{tool}`, which is not on PATH", self.name()));
                return None;
            }
        }
        let clients = clients_dir();
        let built = match self {
            Self::Java5 | Self::Java4 => clients.join(self.name()),
            Self::Go => clients.join("go/bolide-go-client"),
            Self::Node => clients.join("node/node_modules"),
        };
        if !built.exists() {
            build(self);
        }
        assert!(built.exists(), "e2e/clients/build {} left no {}", self.name(), built.display());
        let command = match self {
            Self::Java5 | Self::Java4 => {
                let jars = format!("{}/*", built.display());
                vec!["java".into(), "-Xmx256m".into(), "-cp".into(), jars, "dev.bolide.e2e.Client".into()]
            }
            Self::Go => vec![built.display().to_string()],
            Self::Node => vec!["node".into(), clients.join("node/client.js").display().to_string()],
        };
        Some(Program { client: self, command })
    }
}

fn build(client: Client) {
    let _one = BUILD.lock().unwrap_or_else(PoisonError::into_inner);
    let status = Command::new(repository().join("e2e/clients/build")).arg(client.name()).status();
    assert!(
        matches!(&status, Ok(status) if status.success()),
        "e2e/clients/build {}: {status:?}",
        client.name()
    );
}

fn clients_dir() -> PathBuf {
    std::env::var_os("CLIENTS_OUT").map_or_else(|| target_dir().join("clients"), PathBuf::from)
}

/// Whether a program of this name is in a folder of `PATH`.
pub fn on_path(tool: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(tool).is_file())
}

/// A client program that can be run.
#[derive(Clone, Debug)]
pub struct Program {
    client: Client,
    command: Vec<String>,
}

impl Program {
    /// Starts the program with `--namesrv` of the cluster after the given arguments (the first is its command).
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(&self, cluster: &Cluster, arguments: &[&str]) -> Result<Running> {
        self.start_at(cluster.namesrv(), arguments)
    }

    /// As [`Program::start`], with any nameserver address.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start_at(&self, namesrv: &str, arguments: &[&str]) -> Result<Running> {
        let (program, first) = self.command.split_first().context("no program")?;
        let mut command = Command::new(program);
        command.args(first).args(arguments).args(["--namesrv", namesrv]);
        let name = format!("{} {}", self.client.name(), arguments.join(" "));
        Ok(Running { process: Process::start(&name, &mut command)?, name, seen: 0, events: Vec::new() })
    }

    /// Runs the program to its end; its events.
    ///
    /// # Errors
    /// It ends with another exit code than 0, or not within three minutes.
    pub fn run(&self, cluster: &Cluster, arguments: &[&str]) -> Result<Vec<Event>> {
        self.start(cluster, arguments)?.finish(RUN_WITHIN)
    }

    /// Runs the program to its end, whatever its exit code; the code and its events.
    ///
    /// # Errors
    /// It does not end within three minutes.
    pub fn run_unchecked(&self, cluster: &Cluster, arguments: &[&str]) -> Result<(i32, Vec<Event>)> {
        self.start(cluster, arguments)?.finish_unchecked(RUN_WITHIN)
    }
}

/// A client program that runs. Dropping it kills it.
#[derive(Debug)]
pub struct Running {
    process: Process,
    name: String,
    seen: usize,
    events: Vec<Event>,
}

impl Running {
    /// All events so far.
    pub fn events(&mut self) -> &[Event] {
        self.read(Instant::now());
        &self.events
    }

    /// The process id, for pausing or killing it.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Waits for the first event of a kind, also among those that have come.
    ///
    /// # Errors
    /// It does not come within `limit`, or the program ends without it.
    pub fn wait_for(&mut self, kind: &str, limit: Duration) -> Result<Event> {
        self.wait_until(&format!("event {kind}"), limit, |events| events.iter().any(|event| event.is(kind)))?;
        self.events.iter().find(|event| event.is(kind)).cloned().context("an event that was there is gone")
    }

    /// Waits until the events so far satisfy a condition; looked at again at each new event.
    ///
    /// # Errors
    /// They do not within `limit`, or the program ends before.
    pub fn wait_until(
        &mut self,
        what: &str,
        limit: Duration,
        done: impl Fn(&[Event]) -> bool,
    ) -> Result<&[Event]> {
        let deadline = Instant::now() + limit;
        loop {
            let ended = self.read(deadline);
            if done(&self.events) {
                return Ok(&self.events);
            }
            if ended || Instant::now() >= deadline {
                let why = if ended { "it ended" } else { "the time is over" };
                bail!("{}: no {what} within {limit:?}, {why}{}", self.name, self.process.tail());
            }
        }
    }

    /// Writes one line to the program, such as `stop` or `suspend` (see `e2e/clients/README.md`).
    ///
    /// # Errors
    /// It has ended.
    pub fn tell(&mut self, line: &str) -> Result<()> {
        self.process.tell(line)
    }

    /// Asks the program to end (SIGTERM) and waits for it; all its events.
    ///
    /// # Errors
    /// It does not end within 30 s.
    pub fn stop(mut self) -> Result<Vec<Event>> {
        if !self.process.ended() {
            self.process.signal(Signal::TERM)?;
        }
        self.process.wait(STOP_WITHIN)?;
        self.read(Instant::now());
        Ok(std::mem::take(&mut self.events))
    }

    /// Waits until the program ends by itself; all its events.
    ///
    /// # Errors
    /// It does not within `limit`, or ends with another exit code than 0.
    pub fn finish(self, limit: Duration) -> Result<Vec<Event>> {
        let name = self.name.clone();
        let (code, events) = self.finish_unchecked(limit)?;
        ensure!(code == 0, "{name}: exit code {code}, last event {:?}", events.last());
        Ok(events)
    }

    /// As [`Running::finish`], whatever the exit code (-1: killed by a signal).
    ///
    /// # Errors
    /// It does not end within `limit`.
    pub fn finish_unchecked(mut self, limit: Duration) -> Result<(i32, Vec<Event>)> {
        let status = self.process.wait(limit)?;
        self.read(Instant::now());
        let code = status.code().unwrap_or(-1);
        if code != 0 {
            eprintln!("{} ended with exit code {code}{}", self.name, self.process.tail());
        }
        Ok((code, std::mem::take(&mut self.events)))
    }

    fn read(&mut self, deadline: Instant) -> bool {
        let (lines, ended) = self.process.out.after(self.seen, deadline);
        self.seen += lines.len();
        self.events.extend(lines.iter().filter_map(|line| Event::parse(line)));
        ended
    }
}
