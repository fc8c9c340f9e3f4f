//! Evaluation, without allocation: values borrow from the expression and from the message.

use std::cmp::Ordering;

use super::Mismatch;
use super::ast::{Comparison, Expr, Literal, Place};

/// Unknown is `None`.
type Truth = Option<bool>;

#[derive(Clone, Copy, Debug)]
enum Value<'a> {
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(&'a str),
}

/// The truth of `expr`. A bare property is a text, hence not true.
pub(super) fn condition<'a>(
    expr: &'a Expr,
    property: &impl Fn(&str) -> Option<&'a str>,
) -> Result<Truth, Mismatch> {
    match expr {
        Expr::And(terms) => all(terms, property, false),
        Expr::Or(terms) => all(terms, property, true),
        Expr::Not(inner) => Ok(condition(inner, property)?.map(|truth| !truth)),
        Expr::Compare(comparison, left, right) => {
            let left = value(left, property)?;
            compare(*comparison, left, value(right, property)?)
        }
        Expr::Between { value: inner, low, high, negated } => {
            let at_least =
                compare(Comparison::GreaterOrEqual, value(inner, property)?, value(low, property)?)?;
            if at_least == Some(false) {
                return Ok(Some(*negated));
            }
            let at_most = compare(Comparison::LessOrEqual, value(inner, property)?, value(high, property)?)?;
            Ok(and(at_least, at_most).map(|within| within != *negated))
        }
        Expr::In { property: name, texts, negated } => {
            Ok(property(name).map(|text| texts.iter().any(|wanted| **wanted == *text) != *negated))
        }
        Expr::Find { place, value: inner, needle, negated } => Ok(Some(match value(inner, property)? {
            Some(Value::Text(text)) if !needle.is_empty() => find(*place, text, needle) != *negated,
            _ => false,
        })),
        Expr::IsNull { value: inner, negated } => Ok(Some(value(inner, property)?.is_none() != *negated)),
        Expr::Literal(_) | Expr::Property(_) | Expr::Negated(_) => {
            Ok(value(expr, property)?.map(|value| matches!(value, Value::Bool(true))))
        }
    }
}

fn and(left: Truth, right: Truth) -> Truth {
    match (left, right) {
        (Some(false), _) | (_, Some(false)) => Some(false),
        (Some(true), Some(true)) => Some(true),
        _ => None,
    }
}

/// AND (`decides` false) or OR (`decides` true): the first term that decides ends it.
fn all<'a>(
    terms: &'a [Expr],
    property: &impl Fn(&str) -> Option<&'a str>,
    decides: bool,
) -> Result<Truth, Mismatch> {
    let mut truth = Some(!decides);
    for term in terms {
        match condition(term, property)? {
            Some(found) if found == decides => return Ok(Some(decides)),
            Some(_) => {}
            None => truth = None,
        }
    }
    Ok(truth)
}

fn value<'a>(
    expr: &'a Expr,
    property: &impl Fn(&str) -> Option<&'a str>,
) -> Result<Option<Value<'a>>, Mismatch> {
    match expr {
        Expr::Literal(literal) => Ok(constant(literal)),
        Expr::Property(name) => Ok(property(name).map(Value::Text)),
        Expr::Negated(inner) => value(inner, property).map(|_| None),
        other => Ok(condition(other, property)?.map(Value::Bool)),
    }
}

fn constant(literal: &Literal) -> Option<Value<'_>> {
    match literal {
        Literal::Null => None,
        Literal::Bool(value) => Some(Value::Bool(*value)),
        Literal::Int(value) => Some(Value::Int(*value)),
        Literal::Float(value) => Some(Value::Float(*value)),
        Literal::Text(text) => Some(Value::Text(text)),
    }
}

pub(super) fn literals_out_of_order(low: &Literal, high: &Literal) -> bool {
    let (Some(low), Some(high)) = (constant(low), constant(high)) else {
        return false;
    };
    matches!(compare(Comparison::Greater, Some(low), Some(high)), Ok(Some(true)))
}

fn find(place: Place, text: &str, needle: &str) -> bool {
    match place {
        Place::Anywhere => text.contains(needle),
        Place::Start => text.starts_with(needle),
        Place::End => text.ends_with(needle),
    }
}

fn compare(
    comparison: Comparison,
    left: Option<Value<'_>>,
    right: Option<Value<'_>>,
) -> Result<Truth, Mismatch> {
    let (Some(left), Some(right)) = (left, right) else {
        return Ok(None);
    };
    let truth = match comparison {
        Comparison::Equal => order(left, right, false)? == Some(Ordering::Equal),
        Comparison::NotEqual => order(left, right, false)? != Some(Ordering::Equal),
        Comparison::Greater => order(left, right, true)? == Some(Ordering::Greater),
        Comparison::GreaterOrEqual => order(left, right, true)?.is_some_and(Ordering::is_ge),
        Comparison::Less => order(left, right, true)? == Some(Ordering::Less),
        Comparison::LessOrEqual => order(left, right, true)?.is_some_and(Ordering::is_le),
    };
    Ok(Some(truth))
}

/// `None`: values of types that never compare. Doubles are ordered as Java does: -0.0 below 0.0, NaN above all.
fn order(left: Value<'_>, right: Value<'_>, texts_as_numbers: bool) -> Result<Option<Ordering>, Mismatch> {
    Ok(match (left, right) {
        (Value::Text(left), Value::Text(right)) if texts_as_numbers => {
            Some(double(left)?.total_cmp(&double(right)?))
        }
        (Value::Text(left), Value::Text(right)) => Some(left.cmp(right)),
        (Value::Text(text), Value::Int(number)) => Some(integer(text)?.cmp(&number)),
        (Value::Int(number), Value::Text(text)) => Some(number.cmp(&integer(text)?)),
        (Value::Text(text), Value::Float(number)) => Some(double(text)?.total_cmp(&number)),
        (Value::Float(number), Value::Text(text)) => Some(number.total_cmp(&double(text)?)),
        (Value::Text(text), Value::Bool(truth)) | (Value::Bool(truth), Value::Text(text)) => {
            Some(text.eq_ignore_ascii_case("true").cmp(&truth))
        }
        (Value::Int(left), Value::Int(right)) => Some(left.cmp(&right)),
        (Value::Float(left), Value::Float(right)) => Some(left.total_cmp(&right)),
        (Value::Int(left), Value::Float(right)) => Some(widen(left).total_cmp(&right)),
        (Value::Float(left), Value::Int(right)) => Some(left.total_cmp(&widen(right))),
        (Value::Bool(left), Value::Bool(right)) => Some(left.cmp(&right)),
        (Value::Bool(_), Value::Int(_) | Value::Float(_))
        | (Value::Int(_) | Value::Float(_), Value::Bool(_)) => None,
    })
}

/// Java's widening of a long to a double, which may round.
fn widen(number: i64) -> f64 {
    number as f64
}

/// Java's `Long.valueOf`: a sign, then digits.
fn integer(text: &str) -> Result<i64, Mismatch> {
    text.parse().map_err(|_| Mismatch)
}

/// Java's `Double.valueOf`, without its hexadecimal form: blanks around are ignored, a type letter may follow.
fn double(text: &str) -> Result<f64, Mismatch> {
    let text = text.trim_matches(|c: char| c <= ' ');
    let number = text.strip_suffix(['d', 'D', 'f', 'F']).unwrap_or(text);
    if number.ends_with(|c: char| c.is_ascii_digit() || c == '.') {
        return number.parse().map_err(|_| Mismatch);
    }
    match text {
        "NaN" | "+NaN" | "-NaN" => Ok(f64::NAN),
        "Infinity" | "+Infinity" => Ok(f64::INFINITY),
        "-Infinity" => Ok(f64::NEG_INFINITY),
        _ => Err(Mismatch),
    }
}
