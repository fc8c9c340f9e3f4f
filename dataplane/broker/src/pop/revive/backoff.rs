//! Owns the least time between two deliveries of a message, where the group's own retry policy names one.

use bolide_wire::body::group::{GroupRetryPolicy, RetryPolicyType};

/// Milliseconds that a message which was given `times` times before waits at least after it was popped. `None` for a group
/// without a policy of its own: the invisible time that the consumer chose is all.
pub(super) fn pause_ms(policy: &GroupRetryPolicy, times: i32) -> Option<i64> {
    let times = u32::try_from(times.max(0)).unwrap_or(0);
    match policy.kind {
        RetryPolicyType::Customized => {
            let next = &policy.customized_retry_policy.as_ref()?.next;
            let index = usize::try_from(times).unwrap_or(usize::MAX);
            next.get(index).or(next.last()).copied()
        }
        RetryPolicyType::Exponential => {
            let policy = policy.exponential_retry_policy.as_ref()?;
            let factor = policy.multiplier.max(1).checked_pow(times).unwrap_or(i64::MAX);
            Some(policy.initial.saturating_mul(factor).min(policy.max))
        }
    }
}

#[cfg(test)]
mod tests {
    use bolide_wire::body::group::{CustomizedRetryPolicy, ExponentialRetryPolicy};

    use super::*;

    #[test]
    fn a_group_without_a_policy_of_its_own_waits_for_nothing() {
        assert_eq!(pause_ms(&GroupRetryPolicy::default(), 3), None);
    }

    #[test]
    fn a_list_repeats_its_last_and_a_factor_stops_at_the_limit() {
        let list = GroupRetryPolicy {
            customized_retry_policy: Some(CustomizedRetryPolicy { next: vec![10, 20] }),
            ..GroupRetryPolicy::default()
        };
        assert_eq!(
            [0, 1, 2, -1].map(|times| pause_ms(&list, times)),
            [Some(10), Some(20), Some(20), Some(10)]
        );
        let factor = GroupRetryPolicy {
            kind: RetryPolicyType::Exponential,
            exponential_retry_policy: Some(ExponentialRetryPolicy { initial: 5, max: 40, multiplier: 2 }),
            ..GroupRetryPolicy::default()
        };
        assert_eq!(
            [0, 1, 3, 99].map(|times| pause_ms(&factor, times)),
            [Some(5), Some(10), Some(40), Some(40)]
        );
    }
}
