use proptest::prelude::*;

use super::*;

fn fault(expression: &str) -> (usize, String) {
    let error = Selector::compile(expression).expect_err(expression);
    (error.column, error.fault)
}

fn matches(expression: &str, properties: &[(&'static str, &'static str)]) -> bool {
    let selector = Selector::compile(expression).expect(expression);
    // The properties outlive the selector; the closure's result must live as long as it.
    selector.matches(|name| properties.iter().find(|(found, _)| *found == name).map(|(_, value)| *value))
}

#[test]
fn faults_say_where_they_are() {
    for (expression, column, part) in [
        ("", 1, "the expression ends"),
        ("a = ", 5, "the expression ends"),
        ("a = 1 b", 7, "found `b`"),
        ("größe = 1", 3, "`ö`"),
        ("a = 'ö' AND b ! 1", 15, "`!`"),
        ("a = 'open", 5, "does not end"),
        ("a /* open", 3, "comment"),
        ("a IN ('x', 1)", 12, "text in quotes"),
        ("a BETWEEN 2 AND 1", 11, "lower limit"),
        ("a > 'x'", 5, "compared by size"),
        ("TRUE < a", 1, "compared by size"),
        ("a = NULL", 5, "IS NULL"),
        ("a IS 1", 6, "NULL"),
        ("a NOT 1", 7, "BETWEEN"),
        ("'x' IN ('x')", 1, "property"),
        ("a = 1 AND 2", 11, "true or false"),
        ("a > 1e999", 5, "too large"),
        ("a > 1e", 5, "exponent"),
        ("a = 9223372036854775808", 5, "too large"),
        ("a = 007", 5, "leading zeros"),
    ] {
        let (found, text) = fault(expression);
        assert_eq!(found, column, "{expression}: {text}");
        assert!(text.contains(part), "{expression}: {text}");
    }
}

#[test]
fn numbers_the_original_refuses_work() {
    assert!(matches("a = 0.0", &[("a", "0")]));
    assert!(matches("a >= 1e-320", &[("a", "1")]));
    assert!(matches("a > 1E-400", &[("a", "1e-300")]));
    assert!(matches("a = -9223372036854775808", &[("a", "-9223372036854775808")]));
}

#[test]
fn an_absent_property_is_unknown() {
    assert!(!matches("a <> 'x'", &[]));
    assert!(!matches("NOT (a = 'x')", &[]));
    assert!(!matches("a = b", &[]));
    assert!(!matches("NOT (1 = a)", &[]));
    assert!(matches("a IS NULL", &[]));
    assert!(matches("a = 1 OR b = 2", &[("b", "2")]));
    assert!(!matches("a = 1 AND b = 2", &[("b", "2")]));
}

#[test]
fn a_truth_value_may_stand_on_either_side() {
    assert!(matches("TRUE = a", &[("a", "True")]));
    assert!(matches("(a = 1) = (b = 1)", &[("a", "2"), ("b", "3")]));
}

#[test]
fn long_and_deep_expressions_are_refused() {
    let deep = format!("{}a = 1{}", "(".repeat(100), ")".repeat(100));
    assert!(fault(&deep).1.contains("nested"));
    assert!(fault(&format!("{}a", "NOT ".repeat(200))).1.contains("nested"));
    assert!(fault(&format!("a = 1{}", " = TRUE".repeat(200))).1.contains("nested"));
    assert!(fault(&format!("a{}", " IS NULL".repeat(200))).1.contains("nested"));
    assert!(fault(&format!("a = '{}'", "x".repeat(MAX_BYTES))).1.contains("longer"));
    let wide = vec!["a = 1"; 2_000].join(" OR ");
    assert!(matches(&wide, &[("a", "1")]));
    let beside = vec!["(((a = 1)))"; 100].join(" AND ");
    assert!(matches(&beside, &[("a", "1")]));
}

proptest! {
    #[test]
    fn any_text_is_compiled_without_a_panic(text in any::<String>()) {
        if let Err(error) = Selector::compile(&text) {
            prop_assert!(error.at <= text.len() && text.is_char_boundary(error.at));
        }
    }

    #[test]
    fn any_words_are_compiled_and_evaluated_without_a_panic(
        words in prop::collection::vec(prop::sample::select(vec![
            "a", "b", "=", "<>", "<", ">=", "(", ")", "NOT", "AND", "OR", "IN", "BETWEEN", "IS", "NULL", "TRUE", "'x'",
            "1", "0.5", "-", "+", ",", "CONTAINS", "--", "/*", "*/", "'", "\n", ".5", "9223372036854775808", "1e5",
        ]), 0..14),
        a in prop::option::of(prop::sample::select(vec!["1", "x", "true", "", "0.5"])),
    ) {
        let text = words.join(" ");
        if let Ok(selector) = Selector::compile(&text) {
            let _ = selector.evaluate(|name| if name == "a" { a } else { None });
        }
    }
}
