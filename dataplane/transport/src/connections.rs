//! The live connections of a server or client, and the look-over that closes silent ones.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::Mutex;

use crate::conn::{Common, Conn, ConnId};
use crate::metrics::CloseReason;

/// A connection quiet for this long gives its buffers back.
const TRIM_AFTER: Duration = Duration::from_secs(2);

#[derive(Debug, Default)]
pub(crate) struct Connections {
    live: Mutex<HashMap<ConnId, Conn>>,
}

impl Connections {
    pub(crate) fn insert(&self, conn: Conn) {
        self.live.lock().insert(conn.id(), conn);
    }

    pub(crate) fn remove(&self, id: ConnId) {
        self.live.lock().remove(&id);
    }

    pub(crate) fn len(&self) -> usize {
        self.live.lock().len()
    }

    pub(crate) fn all(&self) -> Vec<Conn> {
        self.live.lock().values().cloned().collect()
    }

    /// Looks the connections over until the server or client stops.
    pub(crate) async fn sweep(self: Arc<Self>, common: Arc<Common>) {
        let mut ticks = tokio::time::interval(common.limits.sweep_interval());
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = common.stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            let now_ms = common.now_ms();
            for conn in self.all() {
                look_over(&common, &conn, now_ms);
            }
        }
    }
}

fn look_over(common: &Common, conn: &Conn, now_ms: u64) {
    let shared = &conn.shared;
    let quiet_for = |since_ms: u64| Duration::from_millis(now_ms.saturating_sub(since_ms));
    let last_read_ms = shared.last_read_ms.load(Ordering::Relaxed);
    let last_write_ms = shared.last_write_ms.load(Ordering::Relaxed);
    let quiet = quiet_for(last_read_ms.max(last_write_ms));
    let limits = &common.limits;
    if quiet >= limits.idle_timeout {
        return conn.close_for(CloseReason::Idle);
    }
    let partial_since_ms = shared.partial_since_ms.load(Ordering::Relaxed);
    if partial_since_ms > 0 && quiet_for(partial_since_ms) >= limits.frame_timeout {
        return conn.close_for(CloseReason::FrameTimeout);
    }
    let mut outbox = shared.outbox.lock();
    match outbox.stalled_since_ms(now_ms, last_write_ms) {
        Some(since_ms) if quiet_for(since_ms) >= limits.stall_timeout => {
            drop(outbox);
            conn.close_for(CloseReason::SlowReader);
        }
        None if quiet >= TRIM_AFTER && shared.accounted_bytes.load(Ordering::Relaxed) > 0 => {
            outbox.trim_wanted = true;
            let waker = outbox.waker.take();
            drop(outbox);
            if let Some(waker) = waker {
                waker.wake();
            }
        }
        _ => {}
    }
}
