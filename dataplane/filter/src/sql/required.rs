//! What a message must have for an expression to be true, as far as that can be said without the message.
//!
//! Invariant: a message whose property is not among the texts found here never matches: the comparison that named them is then
//! false or unknown, and AND and OR of such terms are never true.

use super::ast::{Comparison, Expr, Literal};

/// The texts of which `property` must be one, sorted, each once; `None` when there is no such list.
pub(super) fn texts<'a>(expr: &'a Expr, property: &str) -> Option<Vec<&'a str>> {
    let mut found = match expr {
        Expr::Compare(Comparison::Equal, left, right) => vec![equal(left, right, property)?],
        Expr::In { property: name, texts, negated: false } if **name == *property => {
            texts.iter().map(|text| &**text).collect()
        }
        Expr::And(terms) => terms.iter().filter_map(|term| texts(term, property)).min_by_key(Vec::len)?,
        Expr::Or(terms) => {
            terms.iter().map(|term| texts(term, property)).collect::<Option<Vec<_>>>()?.concat()
        }
        Expr::Literal(_)
        | Expr::Property(_)
        | Expr::Not(_)
        | Expr::Negated(_)
        | Expr::Compare(..)
        | Expr::Between { .. }
        | Expr::In { .. }
        | Expr::Find { .. }
        | Expr::IsNull { .. } => return None,
    };
    found.sort_unstable();
    found.dedup();
    Some(found)
}

fn equal<'a>(left: &'a Expr, right: &'a Expr, property: &str) -> Option<&'a str> {
    match (left, right) {
        (Expr::Property(name), Expr::Literal(Literal::Text(text)))
        | (Expr::Literal(Literal::Text(text)), Expr::Property(name))
            if **name == *property =>
        {
            Some(text)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use crate::Selector;

    fn tags(expression: &str) -> Option<Vec<String>> {
        let selector = Selector::compile(expression).unwrap();
        let found = selector.required_texts("TAGS")?;
        Some(found.into_iter().map(String::from).collect())
    }

    #[test]
    fn only_what_every_match_must_have_is_required() {
        assert_eq!(tags("TAGS = 'A'").unwrap(), ["A"]);
        assert_eq!(tags("'A' = TAGS AND n > 3").unwrap(), ["A"]);
        assert_eq!(tags("TAGS IS NOT NULL AND TAGS IN ('B', 'A', 'B')").unwrap(), ["A", "B"]);
        assert_eq!(tags("(TAGS = 'A' AND n = 1) OR TAGS = 'B'").unwrap(), ["A", "B"]);
        assert_eq!(tags("TAGS IN ('A', 'B', 'C') AND TAGS IN ('A', 'D')").unwrap(), ["A", "D"]);
    }

    #[test]
    fn what_may_match_without_it_requires_nothing() {
        for expression in [
            "n = 'A'",
            "TAGS = 'A' OR n = 1",
            "NOT TAGS = 'A'",
            "TAGS NOT IN ('A')",
            "TAGS <> 'A'",
            "TAGS IS NULL",
            "TAGS STARTSWITH 'A'",
            "TAGS = 1",
        ] {
            assert_eq!(tags(expression), None, "{expression}");
        }
    }
}
