//! The goals of the comparison, each computed from the figures of the same run.

use crate::compare::{IDLE, LOADED, NULL, PULL, RESTART_CLEAN, RESTART_KILLED, SENDS};
use crate::report::{Goal, Measure, Report};

pub(crate) const BOLIDE: &str = "Bolide";
pub(crate) const APACHE: &str = "Apache RocketMQ 5.3.3";

/// The goal of so many times Apache's rate, when both were measured.
pub(crate) fn times_apache(report: &Report, what: &str, work: &str, least: f64) -> Option<Goal> {
    let rate = |server: &str| report.measure(work, server).map(|measure| measure.messages_per_second);
    let times = rate(BOLIDE)? / rate(APACHE)?;
    Some(Goal {
        goal: format!("{what}, times Apache's rate, at least {least}"),
        found: format!("{times:.2}"),
        met: times >= least,
    })
}

/// Every goal whose figures are there.
pub(crate) fn check(report: &Report) -> Vec<Goal> {
    let [_, medium, large, _, _, sync] = SENDS.map(|send| send.title());
    let rate = |measure: &Measure| measure.messages_per_second;
    let ratio = |work: &str, server: &str, of: &str, figure: &dyn Fn(&Measure) -> f64| {
        Some(figure(report.measure(work, server)?) / figure(report.measure(work, of)?))
    };
    let mut goals = Vec::new();
    let mut at_least = |goal: &str, found: Option<f64>, least: f64, unit: &str| {
        goals.extend(found.map(|found| Goal {
            goal: goal.to_owned(),
            found: format!("{found:.2}{unit}"),
            met: found >= least,
        }));
    };
    at_least(
        "send 8 x 64 async, times Apache's rate, at least 6",
        ratio(&large, BOLIDE, APACHE, &rate),
        6.0,
        "",
    );
    at_least(
        "send 8 x 64 async, share of the null server, aim 0.4",
        ratio(&large, BOLIDE, NULL, &rate),
        0.4,
        "",
    );
    at_least(
        "send 4 x 16 async, Apache's p99 over ours, at least 5",
        ratio(&medium, APACHE, BOLIDE, &|it| it.p99_us),
        5.0,
        "",
    );
    at_least(
        "send 8 x 64 sync, times Apache's rate, at least 4",
        ratio(&sync, BOLIDE, APACHE, &rate),
        4.0,
        "",
    );
    at_least("pull, times Apache's rate, at least 4", ratio(PULL, BOLIDE, APACHE, &rate), 4.0, "");
    let pulled = report.measure(PULL, BOLIDE).map(|measure| measure.answer_bytes_per_second / 1e6);
    at_least("pull, at least 800 MB/s", pulled, 800.0, " MB/s");
    for (goal, what, most, unit) in [
        ("restart after a clean stop under 1 s", RESTART_CLEAN, 1.0, " s"),
        ("restart after kill -9 under 1 s", RESTART_KILLED, 1.0, " s"),
        ("memory idle under 30 MB", IDLE, 30.0, " MB"),
        ("memory after the runs under 300 MB", LOADED, 300.0, " MB"),
    ] {
        let found = report.figure(what, BOLIDE);
        goals.extend(found.map(|found| Goal {
            goal: goal.to_owned(),
            found: format!("{found:.2}{unit}"),
            met: found < most,
        }));
    }
    goals
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measure(rate: f64, p99_us: f64) -> Measure {
        Measure {
            messages_per_second: rate,
            answer_bytes_per_second: 900e6,
            p50_us: 1.0,
            p90_us: 1.0,
            p99_us,
            max_us: 1.0,
            failures: 0,
            first_failure: None,
            server_cores: None,
        }
    }

    #[test]
    fn a_goal_is_met_or_missed_by_the_figures_of_the_run() {
        let mut report = Report::default();
        let [_, medium, large, ..] = SENDS.map(|send| send.title());
        report.add(&large, NULL, measure(100.0, 1.0));
        report.add(&large, BOLIDE, measure(61.0, 1.0));
        report.add(&large, APACHE, measure(10.0, 1.0));
        report.add(&medium, BOLIDE, measure(1.0, 10.0));
        report.add(&medium, APACHE, measure(1.0, 49.0));
        report.add_figure(IDLE, "MB", BOLIDE, 31.0);
        let met: Vec<bool> = check(&report).iter().map(|goal| goal.met).collect();
        assert_eq!(met, [true, true, false, false], "rate, share of null, p99, idle memory");
        let text = Report { goals: check(&report), ..report }.text();
        assert!(text.contains("MISSED memory idle under 30 MB: 31.00 MB"), "{text}");
    }
}
