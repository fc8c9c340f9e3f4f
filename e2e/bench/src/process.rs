//! Processes of the comparison: what they use, and how they end.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

/// Resident anonymous memory in bytes: heap and stacks, without the pages of mapped files (`RssAnon` of the system).
pub(crate) fn anonymous_bytes(pid: u32) -> anyhow::Result<u64> {
    let path = format!("/proc/{pid}/status");
    let status = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).context("no RssAnon")?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().context("RssAnon is no number")?;
    Ok(kib * 1024)
}

/// Processor time used so far, user and system.
pub(crate) fn cpu_time(pid: u32) -> anyhow::Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let stat = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    // The name in the second field may hold blanks; the rest starts after its closing bracket with field 3.
    let (_, rest) = stat.rsplit_once(')').context("no process name")?;
    let ticks: u64 =
        rest.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Ok(Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64))
}

/// The pid in a file.
pub(crate) fn pid_in(path: &Path) -> anyhow::Result<u32> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    text.trim().parse().with_context(|| format!("{} holds no pid", path.display()))
}

/// Asks a process to end.
pub(crate) fn terminate(pid: u32) -> anyhow::Result<()> {
    Ok(kill_process(handle(pid)?, Signal::TERM)?)
}

/// Waits until a process that is not our child is gone.
pub(crate) fn wait_gone(pid: u32, timeout: Duration) -> anyhow::Result<()> {
    let deadline = Instant::now() + timeout;
    while test_kill_process(handle(pid)?).is_ok() {
        anyhow::ensure!(
            Instant::now() < deadline,
            "process {pid} is still there after {} s",
            timeout.as_secs()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn handle(pid: u32) -> anyhow::Result<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw).with_context(|| format!("{pid} is no pid"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_memory_and_time() {
        let pid = std::process::id();
        assert!(anonymous_bytes(pid).unwrap() > 4096);
        let before = cpu_time(pid).unwrap();
        let started = Instant::now();
        while started.elapsed() < Duration::from_millis(60) {}
        assert!(cpu_time(pid).unwrap() > before);
    }
}
