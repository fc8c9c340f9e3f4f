//! Waiting for a condition with a deadline, never for a fixed time.

use std::time::{Duration, Instant};

use anyhow::bail;

/// How often a condition is looked at.
const STEP: Duration = Duration::from_millis(50);

/// Waits until `ready` gives a value.
///
/// # Errors
/// It did not within `limit`; `what` says in the error what was waited for.
pub fn until<T>(what: &str, limit: Duration, mut ready: impl FnMut() -> Option<T>) -> crate::Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(value) = ready() {
            return Ok(value);
        }
        if Instant::now() >= deadline {
            bail!("waited {limit:?} for {what}");
        }
        std::thread::sleep(STEP);
    }
}

/// Waits until `attempt` succeeds; its last error is the cause of the failure.
///
/// # Errors
/// It did not within `limit`.
pub fn until_ok<T>(
    what: &str,
    limit: Duration,
    mut attempt: impl FnMut() -> crate::Result<T>,
) -> crate::Result<T> {
    let mut last = None;
    let value = until(what, limit, || match attempt() {
        Ok(value) => Some(value),
        Err(error) => {
            last = Some(error);
            None
        }
    });
    match (value, last) {
        (Err(timeout), Some(cause)) => Err(cause.context(timeout.to_string())),
        (value, _) => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_of_the_last_attempt_is_told() {
        let error = until_ok::<()>("rain", Duration::from_millis(1), || anyhow::bail!("dry")).unwrap_err();
        assert_eq!(format!("{error:#}"), "waited 1ms for rain: dry");
    }

    #[test]
    fn a_condition_that_comes_true_ends_the_wait() {
        let mut left = 3;
        let value = until("zero", Duration::from_secs(5), || {
            left -= 1;
            (left == 0).then_some("done")
        });
        assert_eq!(value.unwrap(), "done");
    }
}
