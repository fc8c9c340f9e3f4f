//! Owns the retry policy of a consumer group: how long a failed message waits when the client leaves it to the broker.
//!
//! Upstream's brokers use the delay levels whatever the group says; only its proxy reads the policy. Here a policy that was set
//! counts for every client, and a group without one has the levels, as ever.

use bolide_wire::body::group::{GroupRetryPolicy, RetryPolicyType};

/// More retries than this wait no longer.
const MOST_STEPS: i32 = 32;
/// The list counts like the delay levels, whose first retry is the third.
const FIRST_OF_LIST: usize = 2;

/// Milliseconds before the retry of a message that was consumed in vain `times` times before; `None` when the group has no
/// policy. The numbers are those of upstream's `nextDelayDuration`.
pub(crate) fn retry_delay_ms(policy: &GroupRetryPolicy, times: i32) -> Option<i64> {
    let times = times.clamp(0, MOST_STEPS);
    match policy.kind {
        RetryPolicyType::Exponential => {
            let policy = policy.exponential_retry_policy.as_ref()?;
            let factor = policy.multiplier.saturating_pow(times.unsigned_abs());
            Some(policy.initial.saturating_mul(factor).min(policy.max).max(0))
        }
        RetryPolicyType::Customized => {
            let list = &policy.customized_retry_policy.as_ref()?.next;
            let index = usize::try_from(times).unwrap_or(0).saturating_add(FIRST_OF_LIST);
            list.get(index).or(list.last()).map(|ms| (*ms).max(0))
        }
    }
}

#[cfg(test)]
mod tests {
    use bolide_wire::body::group::{CustomizedRetryPolicy, ExponentialRetryPolicy};

    use super::*;

    #[test]
    fn a_group_without_a_policy_has_none() {
        assert_eq!(retry_delay_ms(&GroupRetryPolicy::default(), 3), None);
        let kind = RetryPolicyType::Exponential;
        assert_eq!(retry_delay_ms(&GroupRetryPolicy { kind, ..GroupRetryPolicy::default() }, 3), None);
    }

    #[test]
    fn an_exponential_policy_grows_up_to_its_limit() {
        let exponential = ExponentialRetryPolicy { initial: 500, max: 60_000, multiplier: 3 };
        let policy = GroupRetryPolicy {
            kind: RetryPolicyType::Exponential,
            exponential_retry_policy: Some(exponential),
            ..GroupRetryPolicy::default()
        };
        let delays: Vec<_> =
            [-1, 0, 1, 2, 4, 5, i32::MAX].map(|times| retry_delay_ms(&policy, times)).to_vec();
        assert_eq!(delays, [500, 500, 1_500, 4_500, 40_500, 60_000, 60_000].map(Some));
    }

    #[test]
    fn a_list_begins_at_its_third_entry_and_its_last_one_repeats() {
        let list = |next: &[i64]| GroupRetryPolicy {
            kind: RetryPolicyType::Customized,
            customized_retry_policy: Some(CustomizedRetryPolicy { next: next.to_vec() }),
            ..GroupRetryPolicy::default()
        };
        let policy = list(&[1, 2, 30, 40]);
        assert_eq!([0, 1, 2, 9].map(|times| retry_delay_ms(&policy, times)), [30, 40, 40, 40].map(Some));
        assert_eq!(retry_delay_ms(&list(&[700]), 0), Some(700));
        assert_eq!(retry_delay_ms(&list(&[]), 0), None);
    }
}
