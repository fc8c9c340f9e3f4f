//! Whole brokers on a disk that goes down at every step, and a model of what producers were told.

use std::collections::BTreeMap;

use bolide_store::disk::{Crash, Fault, FaultyDisk};
use bolide_store::{Observer, SystemClock};
use bolide_wire::header::transaction::EndTransaction;
use bolide_wire::ids::LogOffset;
use bolide_wire::message::OffsetMessageId;
use bolide_wire::{Command, RequestCode};

use super::*;
use crate::config::{BrokerConfig, FlushDiskType};
use crate::harness::crashing::{self, Lab};
use crate::harness::{send, sent};
use crate::state::transactions::HalfId;

const COMMIT: i32 = 8;
const ROLLBACK: i32 = 12;

/// The disk goes down within so many of its changing calls.
const STEPS: u64 = 64;
/// More transactions than so many steps take.
const TRANSACTIONS_MAX: usize = 2_000;

/// What became of a transaction, as far as its producer knows.
#[derive(Debug, Clone)]
struct Known {
    id: OffsetMessageId,
    queue_offset: i64,
    /// The decision, and whether it was answered.
    decided: Option<(i32, bool)>,
}

fn config(flush: FlushDiskType) -> BrokerConfig {
    BrokerConfig {
        transaction_time_out: 10,
        transaction_check_interval: 10,
        transaction_check_max: 2,
        ..crashing::config(flush, 256 << 10)
    }
}

async fn up(disk: &FaultyDisk, config: &BrokerConfig) -> Lab {
    Lab::up(disk, config, Arc::new(SystemClock::new())).await
}

impl Lab {
    async fn call(&self, command: Command) -> Option<Command> {
        let answer = self.client.call(&self.address, command, Duration::from_secs(10)).await.ok()?;
        (answer.code == 0).then_some(answer)
    }

    async fn half(&self, body: &str) -> Option<Known> {
        let properties = "TRAN_MSG\u{1}true\u{2}PGROUP\u{1}pg\u{2}";
        let answer = sent(&self.call(send("orders", 0, body, properties)).await?);
        Some(Known { id: answer.msg_id.parse().unwrap(), queue_offset: answer.queue_offset, decided: None })
    }

    async fn end(&self, known: &Known, decision: i32) -> bool {
        let header = EndTransaction {
            topic: None,
            producer_group: "pg".into(),
            tran_state_table_offset: known.queue_offset,
            commit_log_offset: known.id.offset.to_wire(),
            commit_or_rollback: decision,
            from_transaction_check: true,
            msg_id: "U".into(),
            transaction_id: None,
            broker_name: None,
        };
        let request = Command::request(RequestCode::END_TRANSACTION).with_header(&header);
        self.call(request).await.is_some()
    }

    fn is_open(&self, known: &Known) -> bool {
        self.broker.state.transactions.lock().place_of(HalfId(known.id.offset.0)).is_some()
    }
}

/// Transactions until the disk goes down: some committed, some rolled back, some left to be discarded, all of them moved.
async fn work(lab: &Lab, told: &mut BTreeMap<String, Known>) {
    for number in 0..TRANSACTIONS_MAX {
        if number % 8 == 7 {
            // With asynchronous flush the disk's steps are the flushes, and this must not wait for the clock's.
            let _ = lab.broker.store.flush_now();
        }
        let body = format!("m-{number}");
        let Some(known) = lab.half(&body).await else { return };
        told.insert(body.clone(), known.clone());
        if number % 4 == 1 {
            // As retention does: every half message is asked to move, and the duty moves it.
            lab.broker.state.release(LogOffset(u64::MAX));
        }
        let decision = match number % 3 {
            0 => COMMIT,
            1 => ROLLBACK,
            _ => continue,
        };
        told.insert(body.clone(), Known { decided: Some((decision, false)), ..known.clone() });
        if !lab.end(&known, decision).await {
            return;
        }
        told.insert(body, Known { decided: Some((decision, true)), ..known });
    }
}

/// Every transaction is open, or ended as decided, or discarded: one of them, once.
fn check(lab: &Lab, told: &BTreeMap<String, Known>, when: &str) {
    let (committed, discarded) = (lab.stored("orders"), lab.stored(DISCARD_TOPIC));
    for (body, known) in told {
        let seen = committed.get(body).copied().unwrap_or(0);
        let given_up = discarded.get(body).copied().unwrap_or(0);
        let open = usize::from(lab.is_open(known));
        let context = format!("{when}: {body} {known:?} seen {seen}, open {open}, discarded {given_up}");
        assert!(seen + open + given_up <= 1, "{context}");
        match known.decided {
            // Whoever decided first, the producer or the clock: it is ended.
            Some((COMMIT, true)) => assert_eq!(seen + given_up, 1, "{context}"),
            Some((_, true)) => assert_eq!((seen, open), (0, 0), "{context}"),
            Some((COMMIT, false)) | None => assert_eq!(seen + open + given_up, 1, "{context}"),
            Some((_, false)) => assert_eq!(seen, 0, "{context}"),
        }
    }
    assert!(committed.keys().all(|body| told.contains_key(body)), "{when}: a message that nobody sent");
}

async fn goes_down_at_every_step(flush: FlushDiskType, crash: Crash, seed: u64) {
    let config = config(flush);
    let mut step = 1;
    while step <= STEPS {
        let disk = FaultyDisk::new(seed + step);
        let lab = up(&disk, &config).await;
        lab.call(send("orders", 1, "makes the topic", "")).await.unwrap();
        let mut told = BTreeMap::new();
        disk.fault_after(Some((step, Fault::Crash)));
        work(&lab, &mut told).await;
        assert!(disk.is_down(), "the work ended before step {step} of the disk");
        lab.down().await;

        let disk = disk.restart(crash);
        let lab = up(&disk, &config).await;
        check(&lab, &told, &format!("{crash:?} at step {step}"));
        for (body, known) in &mut told {
            let open = lab.is_open(known);
            assert!(lab.end(known, COMMIT).await, "{body}");
            assert!(lab.end(known, COMMIT).await, "{body}");
            if open {
                known.decided = Some((COMMIT, true));
            }
        }
        check(&lab, &told, &format!("decided again after {crash:?} at step {step}"));
        lab.down().await;

        let lab = up(&disk.restart(Crash::Process), &config).await;
        check(&lab, &told, &format!("up again after {crash:?} at step {step}"));
        assert!(told.values().all(|known| !lab.is_open(known)));
        lab.down().await;
        // Every step at first, then further and further apart: the work repeats itself.
        step += 1 + step / 4;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_goes_down_at_any_step_decides_nothing_twice_and_loses_nothing() {
    goes_down_at_every_step(FlushDiskType::AsyncFlush, Crash::Process, 100).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_goes_down_at_any_step_decides_nothing_twice_and_loses_nothing_with_sync_flush() {
    goes_down_at_every_step(FlushDiskType::SyncFlush, Crash::Machine, 900).await;
}
