//! Owns the text by which a record says which half message it stands for.

use bolide_wire::ids::{EpochMillis, QueueOffset};
use bolide_wire::properties::names;

use super::HalfId;

/// Property of a copy of a half message, and of a discarded one.
pub(crate) const SOURCE_PROPERTY: &str = names::TRAN_SRC;

/// A half message as it was stored first, and how far its checks are: all that a copy cannot say by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HalfSource {
    /// Name of the transaction.
    pub(crate) id: HalfId,
    /// Offset in the half messages' queue.
    pub(crate) queue_offset: QueueOffset,
    /// When it was stored first.
    pub(crate) stored: EpochMillis,
    /// Checks so far.
    pub(crate) checks: u32,
    /// Time of the last one.
    pub(crate) checked: EpochMillis,
}

impl HalfSource {
    /// Reads the property's text.
    pub(crate) fn parse(text: &str) -> Option<HalfSource> {
        let mut parts = text.split(':');
        let mut next = || parts.next();
        let source = HalfSource {
            id: HalfId(next()?.parse().ok()?),
            queue_offset: QueueOffset(next()?.parse().ok()?),
            stored: EpochMillis(next()?.parse().ok()?),
            checks: next()?.parse().ok()?,
            checked: EpochMillis(next()?.parse().ok()?),
        };
        next().is_none().then_some(source)
    }
}

impl std::fmt::Display for HalfSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let HalfSource { id, queue_offset, stored, checks, checked } = self;
        write!(f, "{}:{}:{}:{checks}:{}", id.0, queue_offset.0, stored.0, checked.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_source_reads_back() {
        let source = HalfSource {
            id: HalfId(7),
            queue_offset: QueueOffset(3),
            stored: EpochMillis(1_000),
            checks: 2,
            checked: EpochMillis(2_000),
        };
        assert_eq!(source.to_string(), "7:3:1000:2:2000");
        assert_eq!(HalfSource::parse(&source.to_string()), Some(source));
        for bad in ["", "1", "1:2:3:4", "1:2:3:4:5:6", "-1:2:3:4:5", "1:2:3:-4:5", "a:2:3:4:5"] {
            assert_eq!(HalfSource::parse(bad), None, "{bad}");
        }
    }
}
