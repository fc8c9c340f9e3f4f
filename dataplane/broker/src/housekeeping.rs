//! Owns what happens by the clock: silent clients are forgotten, counters sampled, offsets logged, the state saved.

use std::sync::Arc;
use std::time::Duration;

use bolide_wire::ids::LogOffset;
use tokio_util::sync::CancellationToken;

use crate::broker::Broker;
use crate::error::Failure;
use crate::state::record::StateRecord;
use crate::state::snapshot::{Snapshot, SnapshotError};
use crate::stats::SAMPLE_MS;

/// Most offsets in one record.
const OFFSETS_PER_RECORD: usize = 5_000;
/// Time at the beginning of a term in which everything comes in that waited for a master.
const OFFSETS_SETTLE: Duration = Duration::from_secs(5);
/// How often it is looked whether a snapshot is due.
const SNAPSHOT_TICK: Duration = Duration::from_secs(1);

/// Runs `work` every `period` until `stop`.
async fn every(
    broker: Arc<Broker>,
    period: Duration,
    stop: CancellationToken,
    mut work: impl FnMut(&Arc<Broker>) + Send,
) {
    let mut ticks = tokio::time::interval(period);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ticks.tick().await;
    loop {
        tokio::select! {
            _ = ticks.tick() => work(&broker),
            () = stop.cancelled() => return,
        }
    }
}

/// Forgets silent clients and tells their groups, and frees expired locks.
pub(crate) async fn scan_clients(broker: Arc<Broker>) {
    let period = Duration::from_millis(broker.live.load().config.client_scan_interval);
    let stop = broker.shutdown.clone();
    every(broker, period, stop, |broker| {
        let now = broker.clock.now();
        let timeout = i64::try_from(broker.live.load().config.channel_expired_timeout).unwrap_or(i64::MAX);
        let (silent, groups) = broker.clients.write().expire(now, timeout);
        for conn in silent {
            tracing::warn!(peer = %conn.peer(), "client is silent and is forgotten");
            conn.close();
        }
        broker.notify_groups(&groups);
        broker.locks.lock().sweep(now);
    })
    .await;
}

/// Samples the counters of topics and groups.
pub(crate) async fn sample_counters(broker: Arc<Broker>) {
    let period = Duration::from_millis(SAMPLE_MS.unsigned_abs());
    let stop = broker.shutdown.clone();
    every(broker, period, stop, |broker| {
        let now = broker.clock.now();
        for topic in broker.state.topics.all() {
            topic.counters.put.sample(now);
            topic.counters.put_bytes.sample(now);
        }
        for group in broker.state.groups.all() {
            group.counters.dead_letters.sample(now);
            for (_, of) in group.counters.topics() {
                of.reads.got.sample(now);
                of.reads.got_bytes.sample(now);
                of.reads.latency_ms.sample(now);
                of.sent_back.sample(now);
            }
        }
    })
    .await;
}

/// Writes committed offsets to the log.
pub(crate) async fn log_offsets(broker: Arc<Broker>, stop: CancellationToken) {
    let period = Duration::from_millis(broker.live.load().config.flush_consumer_offset_interval);
    every(broker, period, stop, |broker| {
        if let Err(error) = broker.log_dirty_offsets() {
            tracing::debug!(%error, "offsets are logged later");
        }
    })
    .await;
}

/// Ends the time in which commits may come that were made before the term.
pub(crate) async fn settle_offsets(broker: Arc<Broker>, stop: CancellationToken) {
    tokio::select! {
        () = tokio::time::sleep(OFFSETS_SETTLE) => broker.state.offsets.lock().settled(),
        () = stop.cancelled() => {}
    }
}

/// Saves the state when it changed and enough time or log has passed.
pub(crate) async fn save_snapshots(broker: Arc<Broker>) {
    let mut last = Saved { changes: 0, covers: broker.state.replayed_from(), at_ms: broker.monotonic_ms() };
    let mut ticks = tokio::time::interval(SNAPSHOT_TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = broker.shutdown.cancelled() => return,
        }
        if !last.is_due(&broker) {
            continue;
        }
        let task = broker.clone();
        match tokio::task::spawn_blocking(move || task.save_snapshot()).await {
            Ok(Ok(saved)) => last = saved,
            Ok(Err(error)) => {
                tracing::error!(%error, "the state could not be saved; it is tried again");
                last.at_ms = broker.monotonic_ms();
            }
            Err(error) => tracing::error!(%error, "the state could not be saved"),
        }
    }
}

/// What the newest snapshot stands for.
pub(crate) struct Saved {
    changes: u64,
    covers: LogOffset,
    at_ms: u64,
}

impl Saved {
    fn is_due(&self, broker: &Broker) -> bool {
        let live = broker.live.load();
        let log_bytes = broker.store.watermarks().dispatched.0.saturating_sub(self.covers.0);
        let aged = broker.monotonic_ms().saturating_sub(self.at_ms) >= live.config.snapshot_interval;
        (aged && broker.state.changes() != self.changes) || log_bytes >= live.config.snapshot_log_bytes
    }
}

impl Broker {
    /// Appends the offsets committed since the last call.
    pub(crate) fn log_dirty_offsets(&self) -> Result<(), Failure> {
        loop {
            let offsets = self.state.offsets.lock().take_dirty(OFFSETS_PER_RECORD);
            if offsets.is_empty() {
                return Ok(());
            }
            let record = StateRecord::Offsets { offsets };
            if let Err(failure) = self.append_state(&record) {
                if let StateRecord::Offsets { offsets } = &record {
                    self.state.offsets.lock().again(offsets);
                }
                return Err(failure);
            }
        }
    }

    /// Makes a durable snapshot. Blocks for the disk, and for whoever else makes one.
    pub(crate) fn save_snapshot(&self) -> Result<Saved, SnapshotError> {
        let _one_at_a_time = self.saving.lock();
        let changes = self.state.changes();
        let timers = &self.state.timers.index;
        if let Err(error) = timers.tidy() {
            tracing::warn!(%error, "the files of the timers stay as they are");
        }
        let covers = self.store.watermarks().dispatched;
        let checkpoint = timers.begin_checkpoint(covers);
        let snapshot = Snapshot::of(&self.state, covers);
        // What the snapshot holds must not be lost while the snapshot is not.
        if self.store.flush_now() {
            // Without it the timers are replayed from an older place, which retention keeps.
            if let Err(error) = timers.finish_checkpoint(checkpoint) {
                tracing::error!(%error, "the index of timers could not be saved; it is tried again");
            }
            snapshot.save(self.disk.as_ref(), &self.live.load().config.store_path_root_dir)?;
            self.state.covered(covers);
        }
        Ok(Saved { changes, covers, at_ms: self.monotonic_ms() })
    }
}
