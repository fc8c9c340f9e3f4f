//! The bounds of one connection, and of the large frames of all connections together.

use std::time::Duration;

/// Bounds on what a peer can make this process hold or wait for.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Longest frame accepted, in bytes, its length field included. A longer one closes the connection.
    pub max_frame_bytes: usize,
    /// Reading stops while requests of more than this many bytes (frame plus a fixed overhead each) are unanswered.
    pub max_unanswered_bytes: usize,
    /// Reading stops while more than this many requests are unanswered.
    pub max_unanswered: usize,
    /// Reading stops while more than this many bytes of replies wait to be written.
    pub pause_backlog_bytes: usize,
    /// Replies held in memory beyond this close the connection: its peer does not read.
    pub max_backlog_bytes: usize,
    /// The same for bodies passed as slices, which may be pages of a file and not memory of this process.
    pub max_backlog_slice_bytes: usize,
    /// Requests of ours that may wait for an answer on one connection.
    pub max_calls: usize,
    /// A connection without a byte in either direction for this long is closed.
    pub idle_timeout: Duration,
    /// A frame that is not complete this long after its first byte closes the connection.
    pub frame_timeout: Duration,
    /// Output that makes no progress for this long closes the connection.
    pub stall_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_frame_bytes: 16 * 1024 * 1024,
            max_unanswered_bytes: 16 * 1024 * 1024,
            max_unanswered: 16_384,
            pause_backlog_bytes: 8 * 1024 * 1024,
            max_backlog_bytes: 32 * 1024 * 1024,
            max_backlog_slice_bytes: 512 * 1024 * 1024,
            max_calls: 16_384,
            idle_timeout: Duration::from_secs(120),
            frame_timeout: Duration::from_secs(60),
            stall_timeout: Duration::from_secs(30),
        }
    }
}

impl Limits {
    /// How often connections are looked over for the three timeouts.
    pub(crate) fn sweep_interval(&self) -> Duration {
        let shortest = self.idle_timeout.min(self.frame_timeout).min(self.stall_timeout);
        (shortest / 4).clamp(Duration::from_millis(10), Duration::from_secs(1))
    }
}
