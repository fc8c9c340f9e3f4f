//! Owns the progress of the delay levels: the next queue offset of each level that has not been delivered.
//!
//! A projection: a delivered message names its source in the property `DELAY_SRC`, so progress is exactly what the log
//! holds. It only grows, which makes applying a record twice harmless.

use std::collections::BTreeMap;

use bolide_wire::ids::QueueOffset;

/// Property of a delivered message: `level:queueOffset` of the scheduled one.
pub(crate) const SOURCE_PROPERTY: &str = "DELAY_SRC";

/// Where a delivered message came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DelaySource {
    /// Delay level, 1 or more.
    pub(crate) level: u32,
    /// Offset in the level's queue.
    pub(crate) offset: QueueOffset,
}

impl DelaySource {
    /// Reads the property's text.
    pub(crate) fn parse(text: &str) -> Option<DelaySource> {
        let (level, offset) = text.split_once(':')?;
        Some(DelaySource { level: level.parse().ok()?, offset: QueueOffset(offset.parse().ok()?) })
    }
}

impl std::fmt::Display for DelaySource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.level, self.offset.0)
    }
}

/// Progress of every level.
#[derive(Debug, Default, Clone)]
pub(crate) struct Delays {
    next: BTreeMap<u32, i64>,
}

impl Delays {
    /// Next offset of a level to deliver.
    pub(crate) fn next(&self, level: u32) -> QueueOffset {
        QueueOffset(self.next.get(&level).copied().unwrap_or(0))
    }

    /// A message of the level was delivered, or given up for good.
    pub(crate) fn delivered(&mut self, source: DelaySource) {
        self.advance(source.level, source.offset.0.saturating_add(1));
    }

    /// Everything of the level before `next` is done.
    pub(crate) fn advance(&mut self, level: u32, next: i64) {
        let known = self.next.entry(level).or_insert(0);
        *known = next.max(*known);
    }

    /// Level to next offset.
    pub(crate) fn table(&self) -> &BTreeMap<u32, i64> {
        &self.next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_source_reads_back() {
        let source = DelaySource { level: 3, offset: QueueOffset(42) };
        assert_eq!(DelaySource::parse(&source.to_string()), Some(source));
        for bad in ["", "3", "3:", ":1", "a:1", "3:x"] {
            assert_eq!(DelaySource::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn progress_only_grows() {
        let mut delays = Delays::default();
        assert_eq!(delays.next(2), QueueOffset(0));
        delays.delivered(DelaySource { level: 2, offset: QueueOffset(5) });
        delays.delivered(DelaySource { level: 2, offset: QueueOffset(3) });
        assert_eq!(delays.next(2), QueueOffset(6));
        assert_eq!(delays.next(1), QueueOffset(0));
    }
}
