//! A pod whose node this machine is, with its network cut: packets vanish, as when its node is gone.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};

use crate::Result;

/// A pod that nothing gets to or from. Ends when dropped.
#[derive(Debug)]
pub struct CutPod {
    pid: String,
}

impl CutPod {
    /// Cuts off the pod in which `program` runs with the environment variable `POD_NAME`. `None` when its node is another machine.
    ///
    /// # Errors
    /// The rules cannot be made.
    pub fn cut(pod: &str, program: &str) -> Result<Option<Self>> {
        let Some(pid) = process(pod, program)? else { return Ok(None) };
        let cut = Self { pid };
        cut.rules("-I")?;
        Ok(Some(cut))
    }

    /// Lets packets pass again.
    ///
    /// # Errors
    /// The rules cannot be removed.
    pub fn heal(self) -> Result<()> {
        let result = self.rules("-D");
        std::mem::forget(self);
        result
    }

    fn rules(&self, change: &str) -> Result<()> {
        for (chain, interface) in [("INPUT", "-i"), ("OUTPUT", "-o")] {
            let net = format!("--net=/proc/{}/ns/net", self.pid);
            let rule = ["iptables", "-w", change, chain, "!", interface, "lo", "-j", "DROP"];
            let status =
                Command::new("nsenter").arg(net).args(rule).status().context("cannot run nsenter")?;
            ensure!(status.success(), "iptables {change} {chain} in the pod: {status}");
        }
        Ok(())
    }
}

impl Drop for CutPod {
    fn drop(&mut self) {
        if let Err(error) = self.rules("-D") {
            eprintln!("kube: a pod stays cut off: {error:#}");
        }
    }
}

/// The newest process of a program in a pod, by its environment: that of a pod which was just replaced may still be ending.
fn process(pod: &str, program: &str) -> Result<Option<String>> {
    let wanted = format!("POD_NAME={pod}");
    let mut newest: Option<(u64, String)> = None;
    for process in std::fs::read_dir("/proc").context("cannot read /proc")?.flatten() {
        let environment = std::fs::read(process.path().join("environ")).unwrap_or_default();
        let name = std::fs::read_to_string(process.path().join("comm")).unwrap_or_default();
        let ours = environment.split(|byte| *byte == 0).any(|variable| variable == wanted.as_bytes());
        if ours && name.trim() == program {
            let started = started(&process.path());
            if newest.as_ref().is_none_or(|(before, _)| *before <= started) {
                newest = Some((started, process.file_name().to_string_lossy().into_owned()));
            }
        }
    }
    Ok(newest.map(|(_, pid)| pid))
}

/// When a process began, in ticks since the machine's start; 0 when it is gone.
fn started(process: &Path) -> u64 {
    // the name of the program, in brackets, may have spaces; field 22 is the twentieth after it
    let stat = std::fs::read_to_string(process.join("stat")).unwrap_or_default();
    let after = stat.rsplit_once(')').map_or("", |(_, after)| after);
    after.split_whitespace().nth(19).and_then(|ticks| ticks.parse().ok()).unwrap_or(0)
}
