//! The tag filter: membership of a tag's hash. Hashes may collide, so a match here is a "perhaps"; clients compare the
//! tag itself.

/// A subscription by tags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TagFilter {
    /// `*`: everything, messages without a tag too.
    All,
    /// Only these hashes, sorted. An untagged message (hash 0) never matches.
    Codes(Box<[i64]>),
}

impl TagFilter {
    /// A filter by the hashes of the wanted tags; none means everything, as an empty tag set does in a subscription.
    pub fn from_codes(codes: impl IntoIterator<Item = i32>) -> Self {
        let mut codes: Vec<i64> = codes.into_iter().map(i64::from).collect();
        codes.sort_unstable();
        codes.dedup();
        if codes.is_empty() { Self::All } else { Self::Codes(codes.into_boxed_slice()) }
    }

    /// True when a message with this hash may be wanted. `code` is the consume queue's number: the hash of the tag, 0
    /// without a tag.
    #[must_use]
    pub fn matches(&self, code: i64) -> bool {
        match self {
            Self::All => true,
            // Most subscriptions name a handful of tags.
            Self::Codes(codes) if codes.len() <= 8 => codes.contains(&code),
            Self::Codes(codes) => codes.binary_search(&code).is_ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn no_tags_means_everything() {
        assert!(TagFilter::from_codes([]).matches(0));
        assert!(TagFilter::from_codes([]).matches(65));
    }

    #[test]
    fn an_untagged_message_matches_no_tag() {
        assert!(!TagFilter::from_codes([65]).matches(0));
    }

    proptest! {
        #[test]
        fn membership_is_that_of_a_set(codes in prop::collection::vec(-20i32..20, 1..30), code in -20i64..20) {
            let filter = TagFilter::from_codes(codes.iter().copied());
            prop_assert_eq!(filter.matches(code), codes.iter().any(|wanted| i64::from(*wanted) == code));
        }
    }
}
