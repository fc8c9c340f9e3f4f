//! Counts of the transport. One instance may serve several servers of a process.

use std::sync::Arc;

use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

use crate::latency::Latency;

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// The peer closed it.
    Peer,
    /// This side asked for it.
    Local,
    /// The server or client is shutting down.
    Shutdown,
    /// A read or write failed.
    Error,
    /// Bytes that are no frame.
    BadFrame,
    /// A frame longer than the limit was announced.
    FrameTooLarge,
    /// A frame did not become complete in time.
    FrameTimeout,
    /// No byte in either direction for the idle time.
    Idle,
    /// The peer does not read what is sent to it.
    SlowReader,
    /// A TLS handshake on a port without TLS.
    Tls,
    /// More connections than allowed.
    TooMany,
}

impl CloseReason {
    const ALL: [Self; 11] = [
        Self::Peer,
        Self::Local,
        Self::Shutdown,
        Self::Error,
        Self::BadFrame,
        Self::FrameTooLarge,
        Self::FrameTimeout,
        Self::Idle,
        Self::SlowReader,
        Self::Tls,
        Self::TooMany,
    ];

    /// The value of the label `reason`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Peer => "peer",
            Self::Local => "local",
            Self::Shutdown => "shutdown",
            Self::Error => "error",
            Self::BadFrame => "bad_frame",
            Self::FrameTooLarge => "frame_too_large",
            Self::FrameTimeout => "frame_timeout",
            Self::Idle => "idle",
            Self::SlowReader => "slow_reader",
            Self::Tls => "tls",
            Self::TooMany => "too_many",
        }
    }
}

/// Counters and gauges; cheap to clone.
#[derive(Clone, Debug)]
pub struct TransportMetrics {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    connections: IntGauge,
    opened: IntCounter,
    closed: IntCounterVec,
    frames_in: IntCounter,
    frames_out: IntCounter,
    bytes_in: IntCounter,
    bytes_out: IntCounter,
    dropped_replies: IntCounter,
    buffered: IntGauge,
    latency: Latency,
}

impl TransportMetrics {
    /// Metrics that nobody collects.
    pub fn unregistered() -> Self {
        Self::register(&Registry::new(), "none").expect("constant names, an empty registry")
    }

    /// Metrics in `registry`; `role` ("server", "client") becomes a label, so that both can be there.
    pub fn register(registry: &Registry, role: &str) -> Result<Self, prometheus::Error> {
        let opts = |name: &str, help: &str| Opts::new(name, help).const_label("role", role);
        let inner = Inner {
            connections: IntGauge::with_opts(opts("bolide_connections", "Open connections."))?,
            opened: IntCounter::with_opts(opts("bolide_connections_opened_total", "Connections opened."))?,
            closed: IntCounterVec::new(
                opts("bolide_connections_closed_total", "Connections ended, by reason."),
                &["reason"],
            )?,
            frames_in: IntCounter::with_opts(opts("bolide_frames_received_total", "Frames received."))?,
            frames_out: IntCounter::with_opts(opts(
                "bolide_frames_sent_total",
                "Frames queued for sending.",
            ))?,
            bytes_in: IntCounter::with_opts(opts("bolide_bytes_received_total", "Bytes received."))?,
            bytes_out: IntCounter::with_opts(opts("bolide_bytes_sent_total", "Bytes sent."))?,
            dropped_replies: IntCounter::with_opts(opts(
                "bolide_replies_dropped_total",
                "Replies to one-way requests, second replies and answers nobody waits for; never sent or passed on.",
            ))?,
            buffered: IntGauge::with_opts(opts(
                "bolide_connection_buffer_bytes",
                "Memory held by the read and write buffers of all connections.",
            ))?,
            latency: Latency::new(role),
        };
        registry.register(Box::new(inner.connections.clone()))?;
        registry.register(Box::new(inner.opened.clone()))?;
        registry.register(Box::new(inner.closed.clone()))?;
        registry.register(Box::new(inner.frames_in.clone()))?;
        registry.register(Box::new(inner.frames_out.clone()))?;
        registry.register(Box::new(inner.bytes_in.clone()))?;
        registry.register(Box::new(inner.bytes_out.clone()))?;
        registry.register(Box::new(inner.dropped_replies.clone()))?;
        registry.register(Box::new(inner.buffered.clone()))?;
        registry.register(Box::new(inner.latency.clone()))?;
        for reason in CloseReason::ALL {
            inner.closed.with_label_values(&[reason.name()]);
        }
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Open connections.
    pub fn connections(&self) -> i64 {
        self.inner.connections.get()
    }

    /// Connections ended for this reason.
    pub fn closed(&self, reason: CloseReason) -> u64 {
        self.inner.closed.with_label_values(&[reason.name()]).get()
    }

    /// Memory held by the read and write buffers of all connections, in bytes.
    pub fn buffered_bytes(&self) -> i64 {
        self.inner.buffered.get()
    }

    /// Replies that were not sent because nobody waits for them.
    pub fn dropped_replies(&self) -> u64 {
        self.inner.dropped_replies.get()
    }

    pub(crate) fn on_open(&self) {
        self.inner.connections.inc();
        self.inner.opened.inc();
    }

    pub(crate) fn on_close(&self, reason: CloseReason) {
        self.inner.connections.dec();
        self.inner.closed.with_label_values(&[reason.name()]).inc();
    }

    pub(crate) fn on_refuse(&self) {
        self.inner.closed.with_label_values(&[CloseReason::TooMany.name()]).inc();
    }

    pub(crate) fn on_read(&self, bytes: usize, frames: usize) {
        self.inner.bytes_in.inc_by(bytes as u64);
        self.inner.frames_in.inc_by(frames as u64);
    }

    pub(crate) fn on_write(&self, bytes: usize) {
        self.inner.bytes_out.inc_by(bytes as u64);
    }

    pub(crate) fn on_queue(&self, frames: usize) {
        self.inner.frames_out.inc_by(frames as u64);
    }

    pub(crate) fn on_drop_reply(&self) {
        self.inner.dropped_replies.inc();
    }

    pub(crate) fn add_buffered(&self, change: i64) {
        if change != 0 {
            self.inner.buffered.add(change);
        }
    }

    pub(crate) fn latency(&self) -> &Latency {
        &self.inner.latency
    }
}
