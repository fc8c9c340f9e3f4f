//! The leading operator's process: its memory, and the requests it has made.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, ensure};
use bolide_e2e::Kube;
use bolide_e2e::kube::eventually;

/// How often memory is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long it may take until one leads.
const LEADS_WITHIN: Duration = Duration::from_secs(60);

/// The pod that leads.
#[derive(Debug)]
pub(crate) struct Operator {
    namespace: String,
    pod: String,
    /// Its folder in /proc, where its node is this machine.
    process: Option<PathBuf>,
}

/// Memory of a process, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memory {
    /// Anonymous pages: what it has allocated.
    pub(crate) anonymous: u64,
    /// Everything resident, the program's own pages included.
    pub(crate) resident: u64,
}

/// What the operator has asked and holds at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sample {
    /// Requests by `verb resource code`.
    pub(crate) requests: BTreeMap<String, u64>,
    pub(crate) memory: Option<Memory>,
    /// Processor time since its start.
    pub(crate) cpu: Option<Duration>,
}

impl Operator {
    /// The holder of the lease.
    pub(crate) fn find(kube: &Kube, namespace: &str) -> anyhow::Result<Self> {
        let path = format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/bolide-operator");
        let pod = eventually("a leader", LEADS_WITHIN, || {
            let lease: serde_json::Value = serde_json::from_str(&kube.kubectl(&["get", "--raw", &path])?)?;
            let holder = lease["spec"]["holderIdentity"].as_str().unwrap_or_default();
            let (pod, _) = holder.split_once('_').with_context(|| format!("held by {holder:?}"))?;
            kube.kubectl(&["--namespace", namespace, "get", "pod", pod])?;
            Ok(pod.to_owned())
        })?;
        Ok(Self { namespace: namespace.to_owned(), process: process_of(&pod)?, pod })
    }

    /// What it has asked and holds now.
    pub(crate) fn sample(&self, kube: &Kube) -> anyhow::Result<Sample> {
        let path = format!("/api/v1/namespaces/{}/pods/{}:9090/proxy/metrics", self.namespace, self.pod);
        let requests = requests(&kube.kubectl(&["get", "--raw", &path])?);
        ensure!(!requests.is_empty(), "{} counts no requests to the API server", self.pod);
        let (memory, cpu) = match &self.process {
            Some(process) => (Some(memory(process)?), Some(cpu(process)?)),
            None => (None, None),
        };
        Ok(Sample { requests, memory, cpu })
    }

    /// Looks at its memory until told to finish.
    pub(crate) fn watch_memory(&self) -> anyhow::Result<Watched> {
        let done = Arc::new(AtomicBool::new(false));
        let Some(process) = self.process.clone() else { return Ok(Watched { done, thread: None }) };
        let until = done.clone();
        let look = move || {
            let mut peak = Memory::default();
            while !until.load(Ordering::Relaxed) {
                if let Ok(now) = memory(&process) {
                    peak.anonymous = peak.anonymous.max(now.anonymous);
                    peak.resident = peak.resident.max(now.resident);
                }
                std::thread::sleep(LOOK_EVERY);
            }
            peak
        };
        let thread = std::thread::Builder::new().name("memory".to_owned()).spawn(look)?;
        Ok(Watched { done, thread: Some(thread) })
    }
}

/// A look at memory that is under way.
#[derive(Debug)]
pub(crate) struct Watched {
    done: Arc<AtomicBool>,
    thread: Option<JoinHandle<Memory>>,
}

impl Watched {
    /// The most that was seen; `None` when the process is on another machine.
    pub(crate) fn finish(self) -> Option<Memory> {
        self.done.store(true, Ordering::Relaxed);
        self.thread.and_then(|thread| thread.join().ok())
    }
}

/// The operator's process in a pod, if the pod's node is this machine.
fn process_of(pod: &str) -> anyhow::Result<Option<PathBuf>> {
    let wanted = format!("POD_NAME={pod}");
    for process in std::fs::read_dir("/proc").context("cannot read /proc")?.flatten() {
        let environment = std::fs::read(process.path().join("environ")).unwrap_or_default();
        let program = std::fs::read_to_string(process.path().join("comm")).unwrap_or_default();
        let ours = environment.split(|byte| *byte == 0).any(|variable| variable == wanted.as_bytes());
        if ours && program.trim() == "bolide-operator" {
            return Ok(Some(process.path()));
        }
    }
    Ok(None)
}

fn memory(process: &std::path::Path) -> anyhow::Result<Memory> {
    let status = std::fs::read_to_string(process.join("status")).context("the operator has ended")?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        let kilobytes: u64 = line.trim_start_matches(':').split_whitespace().next()?.parse().ok()?;
        Some(kilobytes * 1024)
    };
    let anonymous = field("RssAnon").context("/proc has no RssAnon")?;
    let resident = field("VmRSS").context("/proc has no VmRSS")?;
    Ok(Memory { anonymous, resident })
}

/// Time in user and kernel mode; the kernel counts in hundredths of a second for programs.
fn cpu(process: &std::path::Path) -> anyhow::Result<Duration> {
    let stat = std::fs::read_to_string(process.join("stat")).context("the operator has ended")?;
    let (_, fields) = stat.rsplit_once(')').context("/proc/PID/stat has no program name")?;
    let ticks: u64 =
        fields.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Ok(Duration::from_millis(ticks * 10))
}

/// The counters of requests in the text form of Prometheus.
fn requests(text: &str) -> BTreeMap<String, u64> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("bolide_operator_api_requests_total{"));
    let parsed = lines.filter_map(|line| {
        let (labels, value) = line.split_once("} ")?;
        let label = |name: &str| {
            let (_, rest) = labels.split_once(&format!("{name}=\""))?;
            rest.split_once('"').map(|(value, _)| value)
        };
        let key = format!("{} {} {}", label("verb")?, label("resource")?, label("code")?);
        Some((key, value.trim().parse().ok()?))
    });
    parsed.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read_by_their_labels() {
        let text = "# HELP x y\nbolide_operator_leader 1\n\
            bolide_operator_api_requests_total{code=\"2xx\",resource=\"topics/status\",verb=\"patch\"} 12\n";
        assert_eq!(requests(text), BTreeMap::from([("patch topics/status 2xx".to_owned(), 12)]));
    }

    #[test]
    fn memory_and_time_of_a_process_are_read() {
        let own = std::path::Path::new("/proc/self");
        let memory = memory(own).unwrap();
        assert!(memory.anonymous > 0 && memory.resident >= memory.anonymous, "{memory:?}");
        assert!(cpu(own).is_ok());
    }
}
