//! The SQL filter against a second, slow evaluator that shares nothing with it: random expressions are rendered as text
//! for the filter and walked as trees, with owned values, for the reference.

use std::collections::BTreeMap;

use bolide_filter::Selector;
use bolide_filter::sql::Mismatch;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Operand {
    Property(&'static str),
    Int(i64),
    Float(f64),
    Text(&'static str),
    Bool(bool),
}

#[derive(Clone, Debug)]
enum Condition {
    Same(Operand, Operand, bool),
    Ordered(Operand, Operand, &'static str),
    Between(Operand, Operand, Operand, bool),
    In(&'static str, Vec<&'static str>, bool),
    Find(Operand, &'static str, &'static str, bool),
    IsNull(Operand, bool),
    Not(Box<Condition>),
    And(Box<Condition>, Box<Condition>),
    Or(Box<Condition>, Box<Condition>),
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

impl Operand {
    fn sql(&self) -> String {
        match self {
            Self::Property(name) => (*name).to_owned(),
            Self::Int(value) => value.to_string(),
            Self::Float(value) => format!("{value:?}"),
            Self::Text(text) => quoted(text),
            Self::Bool(value) => value.to_string(),
        }
    }
}

fn not(negated: bool) -> &'static str {
    if negated { "NOT " } else { "" }
}

impl Condition {
    fn sql(&self) -> String {
        match self {
            Self::Same(left, right, negated) => {
                format!("{} {} {}", left.sql(), if *negated { "<>" } else { "=" }, right.sql())
            }
            Self::Ordered(left, right, symbol) => format!("{} {symbol} {}", left.sql(), right.sql()),
            Self::Between(value, low, high, negated) => {
                format!("{} {}BETWEEN {} AND {}", value.sql(), not(*negated), low.sql(), high.sql())
            }
            Self::In(name, texts, negated) => {
                let texts: Vec<_> = texts.iter().map(|text| quoted(text)).collect();
                format!("{name} {}in ({})", not(*negated), texts.join(", "))
            }
            Self::Find(value, how, needle, negated) => {
                format!("{} {}{how} {}", value.sql(), not(*negated), quoted(needle))
            }
            Self::IsNull(value, negated) => format!("{} IS {}NULL", value.sql(), not(*negated)),
            Self::Not(inner) => format!("NOT ({})", inner.sql()),
            Self::And(left, right) => format!("({}) AND ({})", left.sql(), right.sql()),
            Self::Or(left, right) => format!("({}) OR ({})", left.sql(), right.sql()),
        }
    }
}

type Properties = BTreeMap<&'static str, &'static str>;

/// Everything a value can be read as; `None` for the whole is unknown.
fn number(operand: &Operand, properties: &Properties) -> Option<Result<f64, ()>> {
    match operand {
        Operand::Property(name) => properties.get(name).map(|text| text.parse::<f64>().map_err(|_| ())),
        Operand::Int(value) => Some(Ok(*value as f64)),
        Operand::Float(value) => Some(Ok(*value)),
        Operand::Text(_) | Operand::Bool(_) => Some(Err(())),
    }
}

fn text(operand: &Operand, properties: &Properties) -> Option<String> {
    match operand {
        Operand::Property(name) => properties.get(name).map(|text| (*text).to_owned()),
        Operand::Text(text) => Some((*text).to_owned()),
        Operand::Int(value) => Some(value.to_string()),
        Operand::Float(value) => Some(value.to_string()),
        Operand::Bool(value) => Some(value.to_string()),
    }
}

/// An integer literal wants an integer on the other side.
fn converts(operand: &Operand, beside: &Operand, properties: &Properties) -> bool {
    match (operand, beside) {
        (Operand::Property(name), Operand::Int(_)) => {
            properties.get(name).is_none_or(|text| text.parse::<i64>().is_ok())
        }
        (Operand::Text(text), Operand::Int(_)) => text.parse::<i64>().is_ok(),
        (Operand::Text(text), Operand::Float(_)) => text.parse::<f64>().is_ok(),
        _ => true,
    }
}

fn is_number(operand: &Operand) -> bool {
    matches!(operand, Operand::Int(_) | Operand::Float(_))
}

fn numeric(left: &Operand, right: &Operand, properties: &Properties) -> Result<Option<(f64, f64)>, Mismatch> {
    let (Some(first), Some(second)) = (number(left, properties), number(right, properties)) else {
        return Ok(None);
    };
    if !converts(left, right, properties) || !converts(right, left, properties) {
        return Err(Mismatch);
    }
    let parse = |operand: &Operand, read: Result<f64, ()>| match operand {
        Operand::Text(text) => text.parse().map_err(|_| Mismatch),
        _ => read.map_err(|()| Mismatch),
    };
    Ok(Some((parse(left, first)?, parse(right, second)?)))
}

fn same(left: &Operand, right: &Operand, properties: &Properties) -> Result<Option<bool>, Mismatch> {
    let (Some(first), Some(second)) = (text(left, properties), text(right, properties)) else {
        return Ok(None);
    };
    Ok(Some(match (left, right) {
        (Operand::Bool(a), Operand::Bool(b)) => a == b,
        (Operand::Bool(_), other) | (other, Operand::Bool(_)) if is_number(other) => false,
        (Operand::Bool(value), _) => second.eq_ignore_ascii_case("true") == *value,
        (_, Operand::Bool(value)) => first.eq_ignore_ascii_case("true") == *value,
        (a, b) if is_number(a) || is_number(b) => numeric(a, b, properties)?.is_some_and(|(a, b)| a == b),
        _ => first == second,
    }))
}

fn ordered(
    left: &Operand,
    right: &Operand,
    symbol: &str,
    properties: &Properties,
) -> Result<Option<bool>, Mismatch> {
    Ok(numeric(left, right, properties)?.map(|(left, right)| match symbol {
        ">" => left > right,
        ">=" => left >= right,
        "<" => left < right,
        _ => left <= right,
    }))
}

fn slow(condition: &Condition, properties: &Properties) -> Result<Option<bool>, Mismatch> {
    Ok(match condition {
        Condition::Same(left, right, negated) => {
            same(left, right, properties)?.map(|truth| truth != *negated)
        }
        Condition::Ordered(left, right, symbol) => ordered(left, right, symbol, properties)?,
        Condition::Between(value, low, high, negated) => {
            let within = Condition::And(
                Box::new(Condition::Ordered(value.clone(), low.clone(), ">=")),
                Box::new(Condition::Ordered(value.clone(), high.clone(), "<=")),
            );
            slow(&within, properties)?.map(|truth| truth != *negated)
        }
        Condition::In(name, texts, negated) => properties
            .get(name)
            .map(|text| (texts.iter().filter(|wanted| *wanted == text).count() > 0) != *negated),
        Condition::Find(value, how, needle, negated) => {
            let searchable = matches!(value, Operand::Property(_) | Operand::Text(_)) && !needle.is_empty();
            match text(value, properties).filter(|_| searchable) {
                None => Some(false),
                Some(text) => {
                    let found = match *how {
                        "CONTAINS" => text.matches(needle).next().is_some(),
                        "STARTSWITH" => text.strip_prefix(needle).is_some(),
                        _ => text.strip_suffix(needle).is_some(),
                    };
                    Some(found != *negated)
                }
            }
        }
        Condition::IsNull(value, negated) => Some(text(value, properties).is_none() != *negated),
        Condition::Not(inner) => slow(inner, properties)?.map(|truth| !truth),
        Condition::And(left, right) => match slow(left, properties)? {
            Some(false) => Some(false),
            left => match (left, slow(right, properties)?) {
                (_, Some(false)) => Some(false),
                (Some(true), right) => right,
                _ => None,
            },
        },
        Condition::Or(left, right) => match slow(left, properties)? {
            Some(true) => Some(true),
            left => match (left, slow(right, properties)?) {
                (_, Some(true)) => Some(true),
                (Some(false), right) => right,
                _ => None,
            },
        },
    })
}

const TEXTS: [&str; 8] = ["", "x", "xyx", "it's", "1", "2.5", "true", "-3"];

fn property() -> impl Strategy<Value = Operand> {
    prop::sample::select(vec!["a", "b", "missing"]).prop_map(Operand::Property)
}

fn small_number() -> impl Strategy<Value = Operand> {
    prop_oneof![
        (-3i64..4).prop_map(Operand::Int),
        prop::sample::select(vec![-2.5, -1.0, 0.25, 1.0, 2.5]).prop_map(Operand::Float),
    ]
}

fn operand() -> impl Strategy<Value = Operand> {
    prop_oneof![
        4 => property(),
        3 => small_number(),
        2 => prop::sample::select(TEXTS.to_vec()).prop_map(Operand::Text),
        1 => any::<bool>().prop_map(Operand::Bool),
    ]
}

/// What may be compared by size.
fn sized() -> impl Strategy<Value = Operand> {
    prop_oneof![property(), small_number()]
}

fn condition() -> impl Strategy<Value = Condition> {
    let name = || prop::sample::select(vec!["a", "b", "missing"]);
    let texts = || prop::sample::select(TEXTS.to_vec());
    let leaf = prop_oneof![
        (operand(), operand(), any::<bool>()).prop_map(|(l, r, n)| Condition::Same(l, r, n)),
        (sized(), sized(), prop::sample::select(vec![">", ">=", "<", "<="]))
            .prop_map(|(l, r, symbol)| Condition::Ordered(l, r, symbol)),
        (sized(), sized(), sized(), any::<bool>()).prop_map(|(v, l, h, n)| Condition::Between(v, l, h, n)),
        (name(), prop::collection::vec(texts(), 1..4), any::<bool>())
            .prop_map(|(p, t, n)| Condition::In(p, t, n)),
        (operand(), prop::sample::select(vec!["CONTAINS", "STARTSWITH", "ENDSWITH"]), texts(), any::<bool>())
            .prop_map(|(v, how, needle, n)| Condition::Find(v, how, needle, n)),
        (operand(), any::<bool>()).prop_map(|(v, n)| Condition::IsNull(v, n)),
    ];
    leaf.prop_recursive(4, 24, 2, |inner| {
        prop_oneof![
            inner.clone().prop_map(|c| Condition::Not(Box::new(c))),
            (inner.clone(), inner.clone()).prop_map(|(l, r)| Condition::And(Box::new(l), Box::new(r))),
            (inner.clone(), inner).prop_map(|(l, r)| Condition::Or(Box::new(l), Box::new(r))),
        ]
    })
}

fn limits_out_of_order(condition: &Condition) -> bool {
    match condition {
        Condition::Between(_, low, high, _) if is_number(low) && is_number(high) => {
            let none = Properties::new();
            matches!(numeric(low, high, &none), Ok(Some((low, high))) if low > high)
        }
        Condition::Not(inner) => limits_out_of_order(inner),
        Condition::And(left, right) | Condition::Or(left, right) => {
            limits_out_of_order(left) || limits_out_of_order(right)
        }
        _ => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn the_filter_agrees_with_the_reference(
        condition in condition(),
        a in prop::option::of(prop::sample::select(TEXTS.to_vec())),
        b in prop::option::of(prop::sample::select(TEXTS.to_vec())),
    ) {
        let sql = condition.sql();
        let compiled = Selector::compile(&sql);
        if limits_out_of_order(&condition) {
            prop_assert!(compiled.is_err(), "{}", sql);
            return Ok(());
        }
        let selector = compiled.map_err(|error| TestCaseError::fail(format!("{sql}: {error}")))?;
        let properties: Properties = [("a", a), ("b", b)].into_iter().filter_map(|(name, text)| Some((name, text?))).collect();
        let expected = slow(&condition, &properties);
        prop_assert_eq!(selector.evaluate(|name| properties.get(name).copied()), expected, "{}", sql);
    }
}
