//! Moments in time: as the wire has them (milliseconds since 1970), and as people write them.

use std::time::{SystemTime, UNIX_EPOCH};

use jiff::{SignedDuration, Timestamp};

/// Milliseconds since 1970 now.
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// The moment as RFC 3339 in UTC, to the second; nothing for 0 and less, which stand for "never".
pub(crate) fn shown(ms: i64) -> Option<String> {
    let moment = Timestamp::from_millisecond(ms).ok().filter(|_| ms > 0)?;
    Some(moment.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

/// A moment as a person writes it: `2026-11-23T10:00:00Z`, or `-1h` for an hour ago, or milliseconds since 1970.
///
/// # Errors
/// The text is none of these.
pub(crate) fn moment(text: &str) -> Result<i64, String> {
    if let Ok(timestamp) = text.parse::<Timestamp>() {
        return Ok(timestamp.as_millisecond());
    }
    if let Some(ago) = text.strip_prefix('-')
        && let Ok(ago) = ago.parse::<SignedDuration>()
    {
        let ago = i64::try_from(ago.as_millis()).map_err(|_| format!("{text} is too long ago"))?;
        return Ok(now_ms().saturating_sub(ago));
    }
    text.parse().map_err(|_| format!("{text} is not a time such as 2026-11-23T10:00:00Z or -1h"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_in_three_forms() {
        assert_eq!(moment("1970-01-01T00:00:01Z"), Ok(1000));
        assert_eq!(moment("1500"), Ok(1500));
        let hour = moment("-1h").unwrap();
        assert!((now_ms() - hour - 3_600_000).abs() < 10_000, "{hour}");
        assert!(moment("yesterday").is_err());
    }

    #[test]
    fn never_is_not_shown() {
        assert_eq!(shown(0), None);
        assert_eq!(shown(-1), None);
        assert_eq!(shown(1000).as_deref(), Some("1970-01-01T00:00:01Z"));
    }
}
