//! Whole brokers on a disk that goes down at every step of a burst of timers, so that it goes down between two batches of which
//! the second was made before the first was in the log.

use std::collections::BTreeMap;

use bolide_store::Clock;
use bolide_store::disk::{Crash, Fault, FaultyDisk};
use bolide_wire::header::send::RecallMessage;
use bolide_wire::properties::names;
use bolide_wire::{Command, RequestCode};

use super::*;
use crate::config::{BrokerConfig, FlushDiskType};
use crate::harness::clock::JumpingClock;
use crate::harness::crashing::{self, Lab};
use crate::harness::{send, sent};

const HOUR_MS: i64 = 3_600_000;
/// Several batches, and less than recalls wait for.
const TIMERS: usize = 80;
/// Every so many of them is recalled.
const RECALLED: usize = 30;
const PATIENCE: Duration = Duration::from_secs(30);

fn config(flush: FlushDiskType) -> BrokerConfig {
    // A burst goes over the end of a file.
    crashing::config(flush, 32 << 10)
}

impl Lab {
    /// The answer, which is no refusal.
    async fn done(&self, command: Command) -> Command {
        let answer = self.client.call(&self.address, command, PATIENCE).await.unwrap();
        assert_eq!(answer.code, 0, "{:?}", answer.remark);
        answer
    }

    /// Timers of one instant, some of which are recalled; returns the bodies of those that are to come.
    async fn burst(&self, due: i64) -> Vec<String> {
        let mut wanted = Vec::new();
        for number in 0..TIMERS {
            let body = format!("m-{number}");
            let properties = format!("{}\u{1}{due}\u{2}UNIQ_KEY\u{1}{body}\u{2}", names::TIMER_DELIVER_MS);
            let handle = sent(&self.done(send("orders", 0, &body, &properties)).await).recall_handle;
            if number % RECALLED == 0 {
                let header = RecallMessage {
                    topic: "orders".into(),
                    recall_handle: handle.unwrap(),
                    producer_group: None,
                };
                self.done(Command::request(RequestCode::RECALL_MESSAGE).with_header(&header)).await;
            } else {
                wanted.push(body);
            }
        }
        wanted
    }

    fn is_over(&self) -> bool {
        self.broker.state.timers.index.is_empty()
    }
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !holds() {
        assert!(tokio::time::Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Returns the number of steps that a burst took at least.
async fn at_every_step(fault: Fault, flush: FlushDiskType, crash: Crash, seed: u64) -> u64 {
    let config = config(flush);
    let mut step = 1;
    loop {
        let when = format!("{fault:?} at step {step}, then {crash:?}");
        let clock = Arc::new(JumpingClock::new());
        let disk = FaultyDisk::new(seed + step);
        let lab = Lab::up(&disk, &config, clock.clone()).await;
        lab.done(send("orders", 1, "makes the topic", "")).await;
        let wanted = lab.burst(clock.now().0 + HOUR_MS).await;
        let before = disk.steps();
        disk.fault_after(Some((step, fault)));
        clock.jump(HOUR_MS + 1);
        until(&when, || disk.is_down() || lab.broker.store.poisoned() || lab.is_over()).await;
        let was_over = lab.is_over();
        let steps = disk.steps() - before;
        lab.down().await;

        let disk = disk.restart(crash);
        let lab = Lab::up(&disk, &config, clock.clone()).await;
        until(&when, || lab.is_over()).await;
        check(&lab, &wanted, &when);
        lab.down().await;

        let lab = Lab::up(&disk.restart(Crash::Process), &config, clock.clone()).await;
        assert!(lab.is_over(), "{when}: something is due again");
        check(&lab, &wanted, &format!("up again after {when}"));
        lab.down().await;
        if was_over && steps < step {
            return steps;
        }
        step += 1 + step / 6;
    }
}

/// Every timer came once, and none of those that were recalled.
fn check(lab: &Lab, wanted: &[String], when: &str) {
    let expected: BTreeMap<String, usize> = wanted.iter().map(|body| (body.clone(), 1)).collect();
    assert_eq!(lab.stored("orders"), expected, "{when}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_goes_down_at_any_step_of_a_burst_delivers_each_timer_once() {
    let steps = at_every_step(Fault::Crash, FlushDiskType::AsyncFlush, Crash::Process, 100).await;
    assert!(steps >= 8, "{steps} steps");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_goes_down_at_any_step_of_a_burst_delivers_each_timer_once() {
    let steps = at_every_step(Fault::Crash, FlushDiskType::SyncFlush, Crash::Machine, 900).await;
    assert!(steps >= 8, "{steps} steps");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fails_once_in_a_burst_makes_no_batch_overtake_another() {
    let steps = at_every_step(Fault::Fail, FlushDiskType::AsyncFlush, Crash::Process, 1_700).await;
    assert!(steps >= 8, "{steps} steps");
}
