//! Child processes: start, watch, start again with a growing delay, end.
//!
//! One task owns one child: its pid file exists exactly while it runs. A child holds the reading end of a pipe as its standard
//! input and ends when the pipe closes, so no child outlives this process, however it dies.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::listeners::Listeners;

/// First delay before the restart of a process that nobody stands in for.
pub(crate) const RESTART_SOON: Duration = Duration::from_millis(100);
/// First delay before the restart of a replica: long enough for another one to lead.
pub(crate) const RESTART_REPLICA: Duration = Duration::from_secs(1);
/// Longest delay before a restart.
const RESTART_MOST: Duration = Duration::from_secs(10);
/// A child that ran this long starts again with the first delay.
const RAN_WELL: Duration = Duration::from_secs(3);
/// How long a child may take to end after SIGTERM before it is killed.
const STOP_WITHIN: Duration = Duration::from_secs(30);
/// A log larger than this is put aside when its process starts.
const LOG_MOST_BYTES: u64 = 16 * 1024 * 1024;
/// How much of a log's end is searched for its last line.
const LOG_TAIL_BYTES: u64 = 4096;

/// What runs as a child, and the files that belong to it.
#[derive(Clone, Debug)]
pub(crate) struct Spec {
    pub(crate) name: String,
    /// `nameserver` or `broker`.
    pub(crate) subcommand: &'static str,
    pub(crate) config: PathBuf,
    pub(crate) log: PathBuf,
    pub(crate) pid: PathBuf,
    /// First delay before a restart. A replica waits longer, so that another can take its role first.
    pub(crate) restart_first: Duration,
    /// Sockets that the child inherits, from file descriptor 3 on, announced as systemd does.
    pub(crate) listeners: Listeners,
}

/// What a child does now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Starting,
    Running { pid: u32 },
    Waiting,
    Ended,
}

/// Something a person wants to read about a child.
#[derive(Debug)]
pub(crate) enum Event {
    Started { name: String, pid: u32, restarts: u32 },
    Died { name: String, status: String, last_line: String, log: PathBuf, restart_in: Duration },
    Broken { name: String, reason: String, restart_in: Duration },
}

/// A child under supervision.
#[derive(Debug)]
pub(crate) struct Supervised {
    pub(crate) name: String,
    pub(crate) state: watch::Receiver<State>,
    stop: CancellationToken,
}

impl Supervised {
    /// Asks the child to end and waits until it has; it is killed after 30 s.
    pub(crate) async fn stop(mut self) {
        self.stop.cancel();
        // an error means that the task is gone, and the child with it
        let _ = self.state.wait_for(|state| *state == State::Ended).await;
    }
}

/// Starts a child and keeps it running until [`Supervised::stop`].
pub(crate) fn supervise(
    tracker: &TaskTracker,
    exe: PathBuf,
    spec: Spec,
    events: mpsc::Sender<Event>,
) -> Supervised {
    let (state, seen) = watch::channel(State::Starting);
    let stop = CancellationToken::new();
    let supervised = Supervised { name: spec.name.clone(), state: seen, stop: stop.clone() };
    tracker.spawn(keep_running(exe, spec, state, stop, events));
    supervised
}

async fn keep_running(
    exe: PathBuf,
    spec: Spec,
    state: watch::Sender<State>,
    stop: CancellationToken,
    events: mpsc::Sender<Event>,
) {
    let mut delay = Delay::new(spec.restart_first);
    let mut restarts = 0;
    while !stop.is_cancelled() {
        let begun = Instant::now();
        let ended = run_once(&exe, &spec, restarts, &state, &stop, &events).await;
        if stop.is_cancelled() {
            break;
        }
        state.send_replace(State::Waiting);
        let restart_in = delay.after(begun.elapsed());
        let event = match ended {
            Ok(status) => Event::Died {
                name: spec.name.clone(),
                status,
                last_line: last_line(&spec.log),
                log: spec.log.clone(),
                restart_in,
            },
            Err(error) => Event::Broken { name: spec.name.clone(), reason: error.to_string(), restart_in },
        };
        if events.send(event).await.is_err() {
            break;
        }
        restarts += 1;
        tokio::select! {
            () = tokio::time::sleep(restart_in) => {}
            () = stop.cancelled() => {}
        }
    }
    state.send_replace(State::Ended);
}

/// Runs the child until it ends or is told to; says how it ended.
async fn run_once(
    exe: &Path,
    spec: &Spec,
    restarts: u32,
    state: &watch::Sender<State>,
    stop: &CancellationToken,
    events: &mpsc::Sender<Event>,
) -> std::io::Result<String> {
    let mut child = start(exe, spec)?;
    // waiting for a child closes its input, which would end it: so the pipe is held here
    let _pipe = child.stdin.take();
    let pid = child.id().unwrap_or_default();
    std::fs::write(&spec.pid, format!("{pid}\n"))?;
    state.send_replace(State::Running { pid });
    if events.send(Event::Started { name: spec.name.clone(), pid, restarts }).await.is_err() {
        stop.cancel();
    }
    let status = tokio::select! {
        status = child.wait() => status,
        () = stop.cancelled() => end(&mut child).await,
    };
    // it may be gone already when the folder was removed under us; nothing depends on it any more
    let _ = std::fs::remove_file(&spec.pid);
    Ok(describe(status?))
}

fn start(exe: &Path, spec: &Spec) -> std::io::Result<Child> {
    if std::fs::metadata(&spec.log).is_ok_and(|log| log.len() > LOG_MOST_BYTES) {
        std::fs::rename(&spec.log, spec.log.with_extension("log.1"))?;
    }
    let log = File::options().create(true).append(true).open(&spec.log)?;
    let mut command = Command::new(exe);
    spec.listeners.hand_to(&mut command)?;
    command
        .arg(spec.subcommand)
        .arg("--config")
        .arg(&spec.config)
        .arg("--stop-with-parent")
        .stdin(Stdio::piped())
        .stdout(log.try_clone()?)
        .stderr(log)
        // a group of its own: Ctrl-C on the terminal reaches only the parent, which ends its children in order
        .process_group(0)
        // its log is a file
        .env("NO_COLOR", "1")
        .kill_on_drop(true)
        .spawn()
}

async fn end(child: &mut Child) -> std::io::Result<ExitStatus> {
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    if let Some(pid) = pid {
        // not yet waited for, so the id is still its own; an error means that it has just ended
        let _ = kill_process(pid, Signal::TERM);
    }
    match tokio::time::timeout(STOP_WITHIN, child.wait()).await {
        Ok(status) => status,
        Err(_) => {
            child.start_kill()?;
            child.wait().await
        }
    }
}

fn describe(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("killed by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

/// The last line of a log that is not empty, or nothing when it cannot be read.
pub(crate) fn last_line(log: &Path) -> String {
    let tail = || -> std::io::Result<String> {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.take(LOG_TAIL_BYTES).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let text = tail().unwrap_or_default();
    text.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default().to_owned()
}

/// The growing delay before a restart.
#[derive(Debug)]
struct Delay {
    first: Duration,
    next: Duration,
}

impl Delay {
    fn new(first: Duration) -> Self {
        Self { first, next: first }
    }

    /// The delay after a run of the given length.
    fn after(&mut self, ran: Duration) -> Duration {
        let delay = if ran >= RAN_WELL { self.first } else { self.next };
        self.next = (delay * 2).min(RESTART_MOST);
        delay
    }
}

#[cfg(test)]
mod tests;
