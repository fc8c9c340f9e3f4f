//! A child process whose output is collected line by line while it runs, and which never outlives its handle.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};

/// Lines kept of each stream; older ones are dropped from standard error only.
const ERRORS_KEPT: usize = 400;

/// Lines of one stream, with a signal for each new one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lines {
    inner: Arc<(Mutex<Kept>, Condvar)>,
}

#[derive(Debug, Default)]
struct Kept {
    lines: Vec<String>,
    ended: bool,
}

impl Lines {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.inner.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn collect(&self, stream: impl Read + Send + 'static, most: usize) -> JoinHandle<()> {
        let lines = self.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stream).lines() {
                let Ok(line) = line else { break };
                let mut kept = lines.lock();
                if kept.lines.len() >= most {
                    kept.lines.remove(0);
                }
                kept.lines.push(line);
                lines.inner.1.notify_all();
            }
            lines.lock().ended = true;
            lines.inner.1.notify_all();
        })
    }

    /// A copy of what has come so far.
    pub(crate) fn all(&self) -> Vec<String> {
        self.lock().lines.clone()
    }

    /// The lines from `from` on; waits for more, up to the deadline, when there is none. Also says whether the stream has ended.
    pub(crate) fn after(&self, from: usize, deadline: Instant) -> (Vec<String>, bool) {
        let mut kept = self.lock();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if kept.lines.len() > from || kept.ended || left.is_zero() {
                return (kept.lines.get(from..).unwrap_or_default().to_vec(), kept.ended);
            }
            kept = self.inner.1.wait_timeout(kept, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// A running program. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    child: Child,
    pub(crate) out: Lines,
    pub(crate) err: Lines,
    readers: Vec<JoinHandle<()>>,
}

impl Process {
    pub(crate) fn start(name: &str, command: &mut Command) -> crate::Result<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("cannot start {name}: {command:?}"))?;
        let (out, err) = (Lines::default(), Lines::default());
        let mut readers = Vec::new();
        if let Some(stream) = child.stdout.take() {
            readers.push(out.collect(stream, usize::MAX));
        }
        if let Some(stream) = child.stderr.take() {
            readers.push(err.collect(stream, ERRORS_KEPT));
        }
        Ok(Self { name: name.to_owned(), child, out, err, readers })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Writes one line to its standard input.
    pub(crate) fn tell(&mut self, line: &str) -> crate::Result<()> {
        let stdin = self.child.stdin.as_mut().context("no standard input")?;
        writeln!(stdin, "{line}").with_context(|| format!("cannot write to {}", self.name))
    }

    pub(crate) fn signal(&self, signal: Signal) -> crate::Result<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).context("no process id")?;
        kill_process(pid, signal).with_context(|| format!("cannot signal {}", self.name))
    }

    /// Waits for the end, and until its output is read.
    pub(crate) fn wait(&mut self, limit: Duration) -> crate::Result<ExitStatus> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) =
                self.child.try_wait().with_context(|| format!("cannot wait for {}", self.name))?
            {
                for reader in self.readers.drain(..) {
                    // a reader has nothing to return; a grandchild that holds the pipe must not hold us
                    while !reader.is_finished() && Instant::now() < deadline {
                        std::thread::sleep(Duration::from_millis(5));
                    }
                }
                return Ok(status);
            }
            if Instant::now() >= deadline {
                bail!("{} still runs after {limit:?}{}", self.name, self.tail());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn ended(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)))
    }

    /// The last lines of both streams, for an error message.
    pub(crate) fn tail(&self) -> String {
        let mut text = String::new();
        for (stream, lines) in [("output", self.out.all()), ("errors", self.err.all())] {
            if !lines.is_empty() {
                text.push_str(&format!("\n--- last {stream} of {}\n", self.name));
                text.push_str(&lines[lines.len().saturating_sub(20)..].join("\n"));
            }
        }
        text
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.ended() {
            // the end of a test: nothing can be done about a process that cannot be killed
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
