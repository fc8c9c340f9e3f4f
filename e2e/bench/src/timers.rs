//! Messages for a later time: a million of them pending (memory, restart), how far from their time they come while other
//! messages are sent, and how fast those of one instant come.

use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context;

use crate::compare::{self, Plan};
use crate::frame;
use crate::goals::{APACHE, BOLIDE};
use crate::load::{self, Filter, Spec, Work};
use crate::probe::Asking;
use crate::process;
use crate::report::{Goal, Report};
use crate::scenario::Scenario;
use crate::systems::{Cluster, Flush, QUEUES, System};

pub(crate) const SCENARIO: Scenario = Scenario { name: "timers", run, goals };

const SETTINGS: &[(&str, &str)] = &[("timerWheelEnable", "true")];
/// Apache RocketMQ refuses what has waited for 200 ms; the million is stored faster than it takes it.
const PATIENT: &[(&str, &str)] = &[("timerWheelEnable", "true"), ("waitTimeMillsInSendQueue", "60000")];
const CONNECTIONS: u64 = 8;
/// Requests that a connection sends before it reads their answers.
const AT_ONCE: u64 = 64;
const BODY_BYTES: usize = 256;

const PENDING: u64 = 1_000_000;
/// Due times of the million: within the three days that both take by default.
const FAR: std::ops::Range<i64> = 2 * HOUR_MS..60 * HOUR_MS;
const HOUR_MS: i64 = 3_600_000;
/// How long both are left alone after the million and after the restart.
const SETTLE: Duration = Duration::from_secs(15);

const PRECISE: u64 = 50_000;
const PRECISE_MS: i64 = 20_000;
const BURST: u64 = 100_000;
/// Time to store the messages of a measurement before the first is due.
const LEAD_MS: i64 = 25_000;
/// No message more for this long ends a measurement with an error.
const PATIENCE: Duration = Duration::from_secs(120);

const STORED: &str = "timers, 1,000,000 stored, a second";
const MEMORY: &str = "timers, memory with 1,000,000 pending";
const RESTART: &str = "timers, restart after kill -9 with 1,000,000 pending";
const OFF: [(&str, f64); 3] = [
    ("timers, 2,500/s among other sends, off their time, p50", 0.5),
    ("timers, 2,500/s among other sends, off their time, p99", 0.99),
    ("timers, 2,500/s among other sends, off their time, max", 1.0),
];
const EARLY: &str = "timers, 2,500/s among other sends, earliest before its time";
const BURST_RATE: &str = "timers, 100,000 of one instant, delivered a second";

fn run(plan: &Plan, system: &System, report: &mut Report) -> anyhow::Result<()> {
    let settings = match system {
        System::Bolide { .. } => SETTINGS,
        System::Apache { .. } => PATIENT,
    };
    let mut cluster = compare::fresh(plan, system, "timers", Flush::Async, settings)?;
    let name = cluster.name();
    let addr = cluster.broker_addr();
    eprintln!("{name}: {STORED}");
    let step = (FAR.end - FAR.start) / i64::try_from(PENDING)?;
    let begin = now_ms() + FAR.start;
    // A prime step visits the whole range in no order.
    let due = |number: u64| begin + (i64::try_from(number).unwrap_or(0) * 7_919 % 1_000_000) * step;
    let took = store(addr, "bench-far", PENDING, due)?;
    note(report, STORED, "messages", name, PENDING as f64 / took.as_secs_f64());
    std::thread::sleep(SETTLE);
    note(report, MEMORY, "MB", name, process::anonymous_bytes(cluster.broker_pid()?)? as f64 / 1e6);
    eprintln!("{name}: {RESTART}");
    cluster.kill()?;
    note(report, RESTART, "s", name, cluster.start_again()?.as_secs_f64());
    std::thread::sleep(SETTLE);
    precision(&cluster, report)?;
    burst(&cluster, report)?;
    cluster.remove()
}

/// Timers spread over some seconds, while other messages are sent.
fn precision(cluster: &Cluster<'_>, report: &mut Report) -> anyhow::Result<()> {
    let (name, addr) = (cluster.name(), cluster.broker_addr());
    eprintln!("{name}: timers among other sends");
    let begin = now_ms() + LEAD_MS;
    let due = |number: u64| {
        begin + i64::try_from(number).unwrap_or(0) * PRECISE_MS / i64::try_from(PRECISE).unwrap_or(1)
    };
    store(addr, "bench-precise", PRECISE, due)?;
    anyhow::ensure!(now_ms() < begin, "{name}: {PRECISE} timers were not stored within {LEAD_MS} ms");
    let other = Spec {
        addr,
        connections: 2,
        inflight: 8,
        work: Work::Send { topic: "bench".to_owned(), queues: QUEUES, body_bytes: 1_024, numbered: false },
        warm_up: Duration::ZERO,
        duration: Duration::from_millis(u64::try_from(begin + PRECISE_MS - now_ms()).unwrap_or(0)),
        max_requests: None,
    };
    let sent = load::run(&other)?;
    let mut off: Vec<i64> =
        arrivals(addr, "bench-precise", PRECISE)?.iter().map(|it| it.stored - it.due).collect();
    off.sort_unstable();
    let earliest = off.first().copied().unwrap_or(0).min(0).abs();
    off.iter_mut().for_each(|off| *off = off.abs());
    off.sort_unstable();
    for (what, share) in OFF {
        note(report, what, "ms", name, quantile(&off, share));
    }
    note(report, EARLY, "ms", name, earliest as f64);
    eprintln!("{name}: {:.0} other messages a second meanwhile", sent.messages_per_second());
    Ok(())
}

/// Timers of one instant.
fn burst(cluster: &Cluster<'_>, report: &mut Report) -> anyhow::Result<()> {
    let (name, addr) = (cluster.name(), cluster.broker_addr());
    eprintln!("{name}: {BURST_RATE}");
    let instant = now_ms() + LEAD_MS;
    store(addr, "bench-burst", BURST, |_| instant)?;
    anyhow::ensure!(now_ms() < instant, "{name}: {BURST} timers were not stored within {LEAD_MS} ms");
    std::thread::sleep(Duration::from_millis(u64::try_from(instant - now_ms()).unwrap_or(0)));
    let arrivals = arrivals(addr, "bench-burst", BURST)?;
    let first = arrivals.iter().map(|it| it.stored).min().unwrap_or(0);
    let last = arrivals.iter().map(|it| it.stored).max().unwrap_or(0);
    note(report, BURST_RATE, "messages", name, BURST as f64 * 1e3 / (last - first).max(1) as f64);
    Ok(())
}

/// Adds a figure, and says it at once: the whole takes minutes.
fn note(report: &mut Report, what: &str, unit: &'static str, name: &str, value: f64) {
    eprintln!("{name}: {what}: {value:.3} {unit}");
    report.add_figure(what, unit, name, value);
}

fn quantile(sorted: &[i64], share: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    sorted.get((last as f64 * share).round() as usize).map_or(f64::NAN, |value| *value as f64)
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Stores `count` messages, each due when `due` says; returns how long that took.
fn store(
    addr: SocketAddr,
    topic: &str,
    count: u64,
    due: impl Fn(u64) -> i64 + Sync,
) -> anyhow::Result<Duration> {
    crate::probe::until_serving(addr, topic, QUEUES, Instant::now(), Duration::from_secs(30))?;
    let started = Instant::now();
    std::thread::scope(|scope| {
        let due = &due;
        let senders: Vec<_> = (0..CONNECTIONS)
            .map(|first| {
                scope.spawn(move || -> anyhow::Result<()> {
                    let mut asking = Asking::connect(addr)?;
                    let numbers: Vec<u64> =
                        (first..count).step_by(usize::try_from(CONNECTIONS).unwrap_or(1)).collect();
                    for part in numbers.chunks(usize::try_from(AT_ONCE).unwrap_or(1)) {
                        let frames = part.iter().map(|number| {
                            let queue = u32::try_from(number % u64::from(QUEUES)).unwrap_or(0);
                            frame::timer(topic, queue, *number, due(*number), BODY_BYTES)
                        });
                        asking.write(&frames.collect::<Vec<_>>().concat())?;
                        for _ in part {
                            asking.read_success()?;
                        }
                    }
                    Ok(())
                })
            })
            .collect();
        senders.into_iter().try_for_each(|sender| {
            sender.join().map_err(|_| anyhow::anyhow!("a sender of timers has panicked"))?
        })
    })?;
    Ok(started.elapsed())
}

/// When a message was due and when it came.
struct Arrival {
    due: i64,
    stored: i64,
}

/// All messages of a topic but the probes, once there are `count`.
fn arrivals(addr: SocketAddr, topic: &str, count: u64) -> anyhow::Result<Vec<Arrival>> {
    let wanted = usize::try_from(count)?;
    let mut asking = Asking::connect(addr)?;
    let mut found = Vec::new();
    let mut offsets = vec![0_i64; usize::try_from(QUEUES)?];
    let mut last = Instant::now();
    while found.len() < wanted {
        let before = found.len();
        for (queue, offset) in offsets.iter_mut().enumerate() {
            let pull =
                frame::pull(topic, u32::try_from(queue)?, *offset, compare::PULL_BATCH, 0, Filter::ALL);
            asking.write(&pull)?;
            let (header, body) = asking.read()?;
            if frame::code(&header) == Some(0) {
                *offset = frame::next_begin_offset(&header).context("a pull without next offset")?;
                found.extend(frame::records(&body).filter_map(|record| {
                    let digits = record.body.get(..frame::DUE_DIGITS)?;
                    let due = std::str::from_utf8(digits).ok()?.parse().ok()?;
                    Some(Arrival { due, stored: record.stored })
                }));
            }
        }
        if found.len() > before {
            last = Instant::now();
        } else {
            std::thread::sleep(Duration::from_millis(20));
        }
        anyhow::ensure!(
            last.elapsed() < PATIENCE,
            "{topic}: only {} of {wanted} timers came within {} s",
            found.len(),
            PATIENCE.as_secs()
        );
    }
    anyhow::ensure!(found.len() == wanted, "{topic}: {} timers came, {wanted} were sent", found.len());
    Ok(found)
}

fn goals(report: &Report) -> Vec<Goal> {
    let [_, (p99, _), _] = OFF;
    let mut goals = Vec::new();
    if let Some(ours) = report.figure(p99, BOLIDE) {
        goals.push(Goal {
            goal: "timers within 100 ms of their time under load, p99".to_owned(),
            found: format!("{ours:.0} ms"),
            met: ours <= 100.0,
        });
        if let Some(theirs) = report.figure(p99, APACHE) {
            goals.push(Goal {
                goal: "timers, Apache's p99 off their time over ours, at least 5".to_owned(),
                found: format!("{:.1}", theirs / ours.max(1.0)),
                met: theirs >= 5.0 * ours.max(1.0),
            });
        }
    }
    if let (Some(ours), Some(theirs)) = (report.figure(BURST_RATE, BOLIDE), report.figure(BURST_RATE, APACHE))
    {
        goals.push(Goal {
            goal: "timers of one instant, times Apache's rate, at least 5".to_owned(),
            found: format!("{:.2}", ours / theirs),
            met: ours >= 5.0 * theirs,
        });
    }
    if let Some(seconds) = report.figure(RESTART, BOLIDE) {
        goals.push(Goal {
            goal: "restart after kill -9 with 1,000,000 timers pending under 2 s".to_owned(),
            found: format!("{seconds:.2} s"),
            met: seconds < 2.0,
        });
    }
    goals
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_goals_follow_from_the_figures() {
        let mut report = Report::default();
        let [_, (p99, _), _] = OFF;
        report.add_figure(p99, "ms", BOLIDE, 4.0);
        report.add_figure(p99, "ms", APACHE, 1_000.0);
        report.add_figure(BURST_RATE, "messages", BOLIDE, 49.0);
        report.add_figure(BURST_RATE, "messages", APACHE, 10.0);
        report.add_figure(RESTART, "s", BOLIDE, 2.5);
        let met: Vec<bool> = goals(&report).iter().map(|goal| goal.met).collect();
        assert_eq!(met, [true, true, false, false]);
    }

    #[test]
    fn a_quantile_is_one_of_the_values() {
        let values: Vec<i64> = (0..=100).collect();
        assert_eq!([0.0, 0.5, 0.99, 1.0].map(|share| quantile(&values, share)), [0.0, 50.0, 99.0, 100.0]);
    }
}
