//! Results as rows: for people as a table and a list of goals, for programs as JSON.

use std::fmt::Write;

use serde::Serialize;

use crate::load::Outcome;

/// One load on one server.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Measure {
    pub(crate) messages_per_second: f64,
    /// Bytes of the answers, so of the messages where they are pulled.
    pub(crate) answer_bytes_per_second: f64,
    pub(crate) p50_us: f64,
    pub(crate) p90_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) max_us: f64,
    pub(crate) failures: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) first_failure: Option<String>,
    /// Processors kept busy by the server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) server_cores: Option<f64>,
}

impl Measure {
    pub(crate) fn new(outcome: &Outcome, server_cores: Option<f64>) -> Self {
        let us = |share: f64| outcome.latency_ns.value_at_quantile(share) as f64 / 1e3;
        Self {
            messages_per_second: outcome.messages_per_second(),
            answer_bytes_per_second: outcome.bytes_in as f64 / outcome.elapsed.as_secs_f64().max(1e-9),
            p50_us: us(0.5),
            p90_us: us(0.9),
            p99_us: us(0.99),
            max_us: outcome.latency_ns.max() as f64 / 1e3,
            failures: outcome.failures(),
            first_failure: outcome.first_failure.clone(),
            server_cores,
        }
    }

    fn line(&self) -> String {
        let cores = self.server_cores.map_or_else(|| "-".to_owned(), |cores| format!("{cores:.2}"));
        format!(
            "{:>10} {:>8.1} {:>9} {:>9} {:>9} {:>9} {:>6} {:>7}",
            thousands(self.messages_per_second),
            self.answer_bytes_per_second / 1e6,
            micros(self.p50_us),
            micros(self.p90_us),
            micros(self.p99_us),
            micros(self.max_us),
            cores,
            self.failures,
        )
    }
}

/// One load on all servers.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) work: String,
    /// (server, measure) in order of running.
    pub(crate) measures: Vec<(String, Measure)>,
}

/// What is not a rate: seconds, bytes.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figure {
    pub(crate) what: String,
    pub(crate) unit: &'static str,
    pub(crate) values: Vec<(String, f64)>,
}

/// A goal and how it came out.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Goal {
    pub(crate) goal: String,
    pub(crate) found: String,
    pub(crate) met: bool,
}

/// Everything of one run.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Report {
    /// Machine and lengths.
    pub(crate) setting: String,
    pub(crate) rows: Vec<Row>,
    pub(crate) figures: Vec<Figure>,
    pub(crate) goals: Vec<Goal>,
}

impl Report {
    pub(crate) fn add(&mut self, work: &str, server: &str, measure: Measure) {
        match self.rows.iter_mut().find(|row| row.work == work) {
            Some(row) => row.measures.push((server.to_owned(), measure)),
            None => {
                self.rows.push(Row { work: work.to_owned(), measures: vec![(server.to_owned(), measure)] })
            }
        }
    }

    pub(crate) fn add_figure(&mut self, what: &str, unit: &'static str, server: &str, value: f64) {
        match self.figures.iter_mut().find(|figure| figure.what == what) {
            Some(figure) => figure.values.push((server.to_owned(), value)),
            None => {
                self.figures.push(Figure {
                    what: what.to_owned(),
                    unit,
                    values: vec![(server.to_owned(), value)],
                });
            }
        }
    }

    pub(crate) fn measure(&self, work: &str, server: &str) -> Option<&Measure> {
        let row = self.rows.iter().find(|row| row.work == work)?;
        row.measures.iter().find(|(name, _)| name == server).map(|(_, measure)| measure)
    }

    pub(crate) fn figure(&self, what: &str, server: &str) -> Option<f64> {
        let figure = self.figures.iter().find(|figure| figure.what == what)?;
        figure.values.iter().find(|(name, _)| name == server).map(|(_, value)| *value)
    }

    /// The tables.
    pub(crate) fn text(&self) -> String {
        let mut out = String::new();
        let mut line = |text: String| {
            out.push_str(text.trim_end());
            out.push('\n');
        };
        line(self.setting.clone());
        line(String::new());
        line(format!(
            "{:<52}{:>10} {:>8} {:>9} {:>9} {:>9} {:>9} {:>6} {:>7}",
            "work (C x W: connections x requests in flight)",
            "msg/s",
            "MB/s in",
            "p50",
            "p90",
            "p99",
            "max",
            "cores",
            "failed"
        ));
        for row in &self.rows {
            line(row.work.clone());
            for (server, measure) in &row.measures {
                line(format!("    {server:<48}{}", measure.line()));
                if let Some(failure) = &measure.first_failure {
                    line(format!("        first failure: {failure}"));
                }
            }
        }
        for figure in &self.figures {
            let mut text = format!("{} ({}):", figure.what, figure.unit);
            for (server, value) in &figure.values {
                let _ = write!(text, "  {server} {value:.3}");
            }
            line(text);
        }
        if !self.goals.is_empty() {
            line(String::new());
            line("goals".to_owned());
        }
        for goal in &self.goals {
            line(format!("    {:<7}{}: {}", if goal.met { "met" } else { "MISSED" }, goal.goal, goal.found));
        }
        out
    }
}

fn thousands(rate: f64) -> String {
    if rate >= 100_000.0 { format!("{:.0} k", rate / 1e3) } else { format!("{rate:.0}") }
}

fn micros(us: f64) -> String {
    match us {
        us if us < 1_000.0 => format!("{us:.0} us"),
        us if us < 1_000_000.0 => format!("{:.2} ms", us / 1e3),
        us => format!("{:.2} s", us / 1e6),
    }
}
