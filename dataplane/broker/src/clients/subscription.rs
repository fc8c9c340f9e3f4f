//! Owns one subscription of a group and its filter on tag hashes.

use std::collections::BTreeSet;

use bolide_wire::properties::java_hash;

/// Which messages of a topic a group wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Subscription {
    /// Topic.
    pub(crate) topic: String,
    /// The expression as the client wrote it.
    pub(crate) expression: String,
    /// Kind of the expression.
    pub(crate) kind: ExpressionKind,
    /// Tags of a tag expression; empty for all.
    pub(crate) tags: BTreeSet<String>,
    /// The client's clock when it subscribed.
    pub(crate) version: i64,
    codes: Vec<i64>,
}

/// Language of an expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ExpressionKind {
    /// `A || B`, or `*`.
    Tag,
    /// SQL92 over properties.
    Sql92,
}

impl ExpressionKind {
    /// Text on the wire; absent or empty means tags, unknown text is no expression.
    pub(crate) fn parse(text: Option<&str>) -> Option<ExpressionKind> {
        match text {
            None | Some("" | "TAG") => Some(ExpressionKind::Tag),
            Some("SQL92") => Some(ExpressionKind::Sql92),
            Some(_) => None,
        }
    }

    /// Text on the wire.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            ExpressionKind::Tag => "TAG",
            ExpressionKind::Sql92 => "SQL92",
        }
    }
}

impl Subscription {
    /// A tag subscription from its expression: empty or `*` is everything.
    pub(crate) fn tags(topic: &str, expression: &str, version: i64) -> Subscription {
        let all = expression.trim().is_empty() || expression.trim() == "*";
        let tags: BTreeSet<String> = if all {
            BTreeSet::new()
        } else {
            expression.split("||").map(str::trim).filter(|tag| !tag.is_empty()).map(String::from).collect()
        };
        let codes = tags.iter().map(|tag| i64::from(java_hash(tag))).collect();
        let expression = if all { "*".into() } else { expression.to_owned() };
        Subscription { topic: topic.into(), expression, kind: ExpressionKind::Tag, tags, version, codes }
    }

    /// An SQL92 subscription; whether the expression compiles is another matter.
    pub(crate) fn sql(topic: &str, expression: &str, version: i64) -> Subscription {
        Subscription {
            topic: topic.into(),
            expression: expression.into(),
            kind: ExpressionKind::Sql92,
            tags: BTreeSet::new(),
            version,
            codes: Vec::new(),
        }
    }

    /// Whether a message with this tag hash may be wanted. Equal hashes of unequal tags pass: clients compare again.
    pub(crate) fn wants(&self, tags_code: i64) -> bool {
        self.codes.is_empty() || self.codes.contains(&tags_code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_wants_everything_and_tags_want_their_hashes() {
        let all = Subscription::tags("t", " * ", 1);
        assert!(all.wants(0) && all.wants(65));
        let some = Subscription::tags("t", "A || B||", 1);
        assert_eq!(some.codes, [65, 66]);
        assert!(some.wants(66));
        assert!(!some.wants(0));
    }

    #[test]
    fn an_absent_kind_is_a_tag_expression() {
        assert_eq!(ExpressionKind::parse(None), Some(ExpressionKind::Tag));
        assert_eq!(ExpressionKind::parse(Some("SQL92")), Some(ExpressionKind::Sql92));
        assert_eq!(ExpressionKind::parse(Some("XPATH")), None);
    }
}
