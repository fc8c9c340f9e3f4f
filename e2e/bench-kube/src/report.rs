//! The figures, for people and for programs.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::operator::{Memory, Sample};
use crate::topics::Made;

/// All topics ready within this time.
const READY_GOAL: Duration = Duration::from_secs(60);
/// Bytes of the operator's memory.
const MEMORY_GOAL: u64 = 60_000_000;

/// One run.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) topics: usize,
    pub(crate) groups: u32,
    pub(crate) made: Made,
    pub(crate) before: Sample,
    pub(crate) after: Sample,
    /// The most memory seen in between.
    pub(crate) peak: Option<Memory>,
}

impl Report {
    /// Requests made during the run, by verb, resource and code; the most frequent first.
    fn requests(&self) -> Vec<(String, u64)> {
        let before = |key: &String| self.before.requests.get(key).copied().unwrap_or(0);
        let mut all: Vec<(String, u64)> = self
            .after
            .requests
            .iter()
            .map(|(key, value)| (key.clone(), value.saturating_sub(before(key))))
            .filter(|(_, count)| *count > 0)
            .collect();
        all.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        all
    }

    fn total(&self) -> u64 {
        self.requests().iter().map(|(_, count)| count).sum()
    }

    fn cpu(&self) -> Option<Duration> {
        self.after.cpu?.checked_sub(self.before.cpu?)
    }

    /// For people.
    pub(crate) fn text(&self) -> String {
        let mut out = String::new();
        let mut line = |text: String| {
            out.push_str(&text);
            out.push('\n');
        };
        let seconds = |time: Duration| format!("{:.1} s", time.as_secs_f64());
        line(format!("{} Topic objects at once, on {} broker groups", self.topics, self.groups));
        line(format!("    all created after           {}", seconds(self.made.created)));
        line(format!("    half of them ready after    {}", seconds(self.made.half_ready)));
        line(format!("    all ready after             {}", seconds(self.made.all_ready)));
        for (when, memory) in
            [("before", self.before.memory), ("at most", self.peak), ("after", self.after.memory)]
        {
            line(match memory {
                Some(memory) => format!(
                    "    operator memory {when:<8}    {} MB anonymous, {} MB resident",
                    megabytes(memory.anonymous),
                    megabytes(memory.resident)
                ),
                None => format!("    operator memory {when:<8}    unknown: it runs on another machine"),
            });
        }
        if let Some(cpu) = self.cpu() {
            line(format!("    operator processor time     {}", seconds(cpu)));
        }
        line(format!("    requests to the API server  {}", self.total()));
        for (what, count) in self.requests() {
            line(format!("        {count:>6}  {what}"));
        }
        for (goal, met) in self.goals() {
            line(format!("{} {goal}", if met { "met   " } else { "MISSED" }));
        }
        out
    }

    fn goals(&self) -> Vec<(String, bool)> {
        let mut goals =
            vec![(format!("all ready within {} s", READY_GOAL.as_secs()), self.made.all_ready < READY_GOAL)];
        if let Some(peak) = self.peak {
            let mut memory = |what: &str, bytes: u64| {
                let text = format!("{what} under {} MB: {} MB", megabytes(MEMORY_GOAL), megabytes(bytes));
                goals.push((text, bytes < MEMORY_GOAL));
            };
            memory("anonymous memory", peak.anonymous);
            memory("resident memory", peak.resident);
        }
        goals
    }

    /// For programs.
    pub(crate) fn json(&self) -> Value {
        let memory = |memory: Option<Memory>| {
            memory.map(|memory| json!({ "anonymous": memory.anonymous, "resident": memory.resident }))
        };
        json!({
            "topics": self.topics,
            "groups": self.groups,
            "createdSeconds": self.made.created.as_secs_f64(),
            "halfReadySeconds": self.made.half_ready.as_secs_f64(),
            "allReadySeconds": self.made.all_ready.as_secs_f64(),
            "memoryBytes": {
                "before": memory(self.before.memory), "peak": memory(self.peak), "after": memory(self.after.memory),
            },
            "processorSeconds": self.cpu().map(|cpu| cpu.as_secs_f64()),
            "requests": self.requests().into_iter().collect::<BTreeMap<_, _>>(),
            "goals": self.goals().into_iter().collect::<BTreeMap<_, _>>(),
        })
    }
}

fn megabytes(bytes: u64) -> String {
    format!("{}.{}", bytes / 1_000_000, bytes / 100_000 % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(requests: &[(&str, u64)], anonymous: u64) -> Sample {
        Sample {
            requests: requests.iter().map(|(key, count)| ((*key).to_owned(), *count)).collect(),
            memory: Some(Memory { anonymous, resident: anonymous + 30_000_000 }),
            cpu: Some(Duration::from_secs(1)),
        }
    }

    #[test]
    fn requests_of_the_run_are_told_apart_from_those_before_and_goals_are_judged() {
        let report = Report {
            topics: 10,
            groups: 1,
            made: Made {
                created: Duration::from_secs(1),
                half_ready: Duration::from_secs(2),
                all_ready: Duration::from_secs(61),
            },
            before: sample(&[("patch topics/status 2xx", 5), ("list pods 2xx", 7)], 20_000_000),
            after: sample(&[("patch topics/status 2xx", 15), ("list pods 2xx", 7)], 40_000_000),
            peak: Some(Memory { anonymous: 40_000_000, resident: 70_000_000 }),
        };
        assert_eq!(report.requests(), [("patch topics/status 2xx".to_owned(), 10)]);
        assert_eq!(report.goals().iter().map(|goal| goal.1).collect::<Vec<_>>(), [false, true, false]);
        assert!(report.text().contains("MISSED all ready within 60 s"), "{}", report.text());
    }
}
