//! Owns one subscription of a group and its filter: on tag hashes, then, for SQL92, on the properties of the record.
//!
//! The filter of every way to consume: pulls, held pulls and pops read the store through [`Subscription::filter`]. An
//! expression is compiled once, when the subscription is made; nothing is allocated for a message that is looked at.

use std::collections::BTreeSet;
use std::sync::Arc;

use bolide_filter::sql::SyntaxError;
use bolide_filter::{Selector, TagFilter};
use bolide_store::{RecordFilter, Unit};
use bolide_wire::message::stored_properties;
use bolide_wire::properties::{PropertiesRef, java_hash, names};

/// Which messages of a topic a group wants.
#[derive(Debug, Clone, PartialEq)]
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
    codes: TagFilter,
    selector: Option<Compiled>,
}

/// An expression after the compiler has seen it.
pub(crate) type Compiled = Result<Arc<Selector>, SyntaxError>;

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
        let codes = TagFilter::from_codes(tags.iter().map(|tag| java_hash(tag)));
        let expression = if all { "*".into() } else { expression.to_owned() };
        let kind = ExpressionKind::Tag;
        Subscription { topic: topic.into(), expression, kind, tags, version, codes, selector: None }
    }

    /// An SQL92 subscription. One whose expression did not compile wants nothing. Where every match must have one of a few
    /// tags, their hashes are looked at before the record.
    pub(crate) fn sql(topic: &str, expression: &str, version: i64, compiled: Compiled) -> Subscription {
        let tags = compiled.as_ref().ok().and_then(|selector| selector.required_texts(names::TAGS));
        let codes = TagFilter::from_codes(tags.into_iter().flatten().map(java_hash));
        Subscription {
            topic: topic.into(),
            expression: expression.into(),
            kind: ExpressionKind::Sql92,
            tags: BTreeSet::new(),
            version,
            codes,
            selector: Some(compiled),
        }
    }

    /// Why the expression did not compile.
    pub(crate) fn fault(&self) -> Option<&SyntaxError> {
        self.selector.as_ref().and_then(|compiled| compiled.as_ref().err())
    }

    /// Whether a message with this tag hash may be wanted. Equal hashes of unequal tags pass: clients compare again.
    pub(crate) fn wants(&self, tags_code: i64) -> bool {
        self.codes.matches(tags_code)
    }

    /// Whether [`Subscription::wants_properties`] has anything to say.
    pub(crate) fn reads_properties(&self) -> bool {
        self.selector.is_some()
    }

    /// Whether a message with these properties is wanted.
    pub(crate) fn wants_properties(&self, properties: PropertiesRef<'_>) -> bool {
        match &self.selector {
            None => true,
            Some(Ok(selector)) => selector.matches(|name| properties.get(name)),
            Some(Err(_)) => false,
        }
    }

    /// The subscription as the store takes it.
    pub(crate) fn filter(&self) -> Filter<'_> {
        Filter(self)
    }
}

/// A subscription that decides which records a read returns.
pub(crate) struct Filter<'a>(&'a Subscription);

impl RecordFilter for Filter<'_> {
    fn wants_unit(&mut self, unit: &Unit) -> bool {
        self.0.wants(unit.tags_code)
    }

    fn reads_records(&self) -> bool {
        self.0.reads_properties()
    }

    fn wants_record(&mut self, record: &[u8]) -> bool {
        stored_properties(record).is_some_and(|properties| self.0.wants_properties(properties))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sql(expression: &str) -> Subscription {
        Subscription::sql("t", expression, 1, Selector::compile(expression).map(Arc::new))
    }

    #[test]
    fn a_star_wants_everything_and_tags_want_their_hashes() {
        let all = Subscription::tags("t", " * ", 1);
        assert!(all.wants(0) && all.wants(65));
        let some = Subscription::tags("t", "A || B||", 1);
        assert!(some.wants(65) && some.wants(66));
        assert!(!some.wants(0));
        assert!(!some.reads_properties());
    }

    #[test]
    fn an_absent_kind_is_a_tag_expression() {
        assert_eq!(ExpressionKind::parse(None), Some(ExpressionKind::Tag));
        assert_eq!(ExpressionKind::parse(Some("SQL92")), Some(ExpressionKind::Sql92));
        assert_eq!(ExpressionKind::parse(Some("XPATH")), None);
    }

    #[test]
    fn an_expression_is_tested_on_the_properties() {
        let red = sql("colour = 'red' AND n > 3");
        assert!(red.wants(0) && red.reads_properties());
        let wants = |text: &str| red.wants_properties(PropertiesRef::new(text));
        assert!(wants("colour\u{1}red\u{2}n\u{1}4\u{2}"));
        assert!(!wants("colour\u{1}red\u{2}"));
        assert!(!wants("colour\u{1}blue\u{2}n\u{1}4\u{2}"));
    }

    #[test]
    fn tags_that_every_match_must_have_are_looked_at_first() {
        let tagged = sql("TAGS IN ('A', 'B') AND n > 3");
        assert!(tagged.wants(65) && tagged.wants(66));
        assert!(!tagged.wants(0) && !tagged.wants(67));
    }

    #[test]
    fn what_does_not_compile_wants_nothing_and_says_where() {
        let broken = sql("n > ");
        assert_eq!(broken.fault().unwrap().column, 5);
        assert!(!broken.wants_properties(PropertiesRef::new("n\u{1}4\u{2}")));
    }
}
