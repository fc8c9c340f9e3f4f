//! Owns the table of delay levels: text to milliseconds, and the level of the n-th retry.

use thiserror::Error;

/// Most levels that fit the schedule topic.
const MAX_LEVELS: usize = 64;

/// Delays of the levels 1, 2, ... in milliseconds; at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DelayLevels(Vec<i64>);

/// The text is not a list of delays.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum LevelsError {
    /// No level at all, or more than 64.
    #[error("1 to 64 delay levels are needed, found {0}")]
    Count(usize),
    /// One entry is not a number with one of the units `s m h d`.
    #[error("{0:?} is not a delay such as 5s, 10m, 2h or 1d")]
    Entry(String),
}

impl DelayLevels {
    /// Reads `1s 5s 10m ...`.
    pub fn parse(text: &str) -> Result<DelayLevels, LevelsError> {
        let mut levels = Vec::new();
        for entry in text.split_whitespace() {
            let bad = || LevelsError::Entry(entry.into());
            let unit_ms: i64 = match entry.bytes().last() {
                Some(b's') => 1_000,
                Some(b'm') => 60_000,
                Some(b'h') => 3_600_000,
                Some(b'd') => 86_400_000,
                _ => return Err(bad()),
            };
            let number = entry.get(..entry.len().saturating_sub(1)).ok_or_else(bad)?;
            let number: u32 = number.parse().map_err(|_| bad())?;
            levels.push(i64::from(number).saturating_mul(unit_ms));
        }
        if levels.is_empty() || levels.len() > MAX_LEVELS {
            return Err(LevelsError::Count(levels.len()));
        }
        Ok(DelayLevels(levels))
    }

    /// Number of levels.
    pub fn count(&self) -> u32 {
        u32::try_from(self.0.len()).unwrap_or(u32::MAX)
    }

    /// The level that a message with `DELAY=level` waits in: `None` for no delay, the last level for a larger number.
    pub fn clamp(&self, level: i32) -> Option<u32> {
        u32::try_from(level).ok().filter(|level| *level > 0).map(|level| level.min(self.count()))
    }

    /// Delay of a level in milliseconds; 0 outside the table.
    pub fn delay_ms(&self, level: u32) -> i64 {
        let index = usize::try_from(level).unwrap_or(usize::MAX);
        index.checked_sub(1).and_then(|index| self.0.get(index)).copied().unwrap_or(0)
    }

    /// Longest delay in milliseconds.
    pub fn longest_ms(&self) -> i64 {
        self.0.iter().copied().max().unwrap_or(0)
    }
}

/// Level of a message that was consumed in vain `reconsume_times` times before, when the client leaves it to the broker.
pub(crate) fn retry_level(reconsume_times: i32) -> i32 {
    reconsume_times.saturating_add(3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_table_reads() {
        let levels = DelayLevels::parse(&crate::config::BrokerConfig::default().message_delay_level).unwrap();
        assert_eq!(levels.count(), 18);
        assert_eq!(levels.delay_ms(1), 1_000);
        assert_eq!(levels.delay_ms(5), 60_000);
        assert_eq!(levels.delay_ms(18), 7_200_000);
        assert_eq!(levels.delay_ms(19), 0);
        assert_eq!(levels.longest_ms(), 7_200_000);
    }

    #[test]
    fn levels_beyond_the_table_use_the_last_one() {
        let levels = DelayLevels::parse("1s 2d").unwrap();
        assert_eq!(levels.clamp(0), None);
        assert_eq!(levels.clamp(-1), None);
        assert_eq!(levels.clamp(1), Some(1));
        assert_eq!(levels.clamp(99), Some(2));
        assert_eq!(levels.delay_ms(2), 172_800_000);
    }

    #[test]
    fn text_that_is_no_table_is_refused() {
        assert_eq!(DelayLevels::parse(" "), Err(LevelsError::Count(0)));
        for bad in ["1", "s", "1x", "-1s", "1.5s", "1ß"] {
            assert!(matches!(DelayLevels::parse(bad), Err(LevelsError::Entry(_))), "{bad}");
        }
    }

    #[test]
    fn retries_begin_at_level_three() {
        assert_eq!(retry_level(0), 3);
        assert_eq!(retry_level(i32::MAX), i32::MAX);
    }
}
