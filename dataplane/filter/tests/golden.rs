//! The SQL filter against what the original answers; `golden/README.md` says how that was recorded.

use bolide_filter::Selector;
use bolide_filter::sql::Mismatch;

const PROPERTIES: [&[(&str, &str)]; 15] = [
    &[],
    &[("a", "1")],
    &[("a", "x")],
    &[("a", "true")],
    &[("a", "2"), ("b", "1")],
    &[("a", "1"), ("b", "x")],
    &[("a", "xyzx"), ("b", "xyzx")],
    &[("a", "-0.0")],
    &[("a", "1.5"), ("b", "1.50")],
    &[("a", " 1 ")],
    &[("a", "NaN")],
    &[("a", "1"), ("b", "2"), ("c", "3")],
    &[("a", "it's")],
    &[("a", "größe")],
    &[("a", "1d")],
];

/// The original stops reading where a complete expression could end; here the rest is a fault.
const REFUSED_HERE: [&str; 6] = ["a > 01", "a = 1.5f", "a LIKE 'x'", "a + 1 = 2", "a = 1)", "a = 1 b"];

/// Numbers the original has no place for.
const REFUSED_THERE: [&str; 3] = ["a = -9223372036854775808", "a = 0.0", "a > 1E-400"];

/// In the original two absent values are equal and an absent right side is unequal; here both are unknown. In the
/// original a truth value on the left compares with nothing; here the sides may be swapped.
const UNKNOWN_HERE: [&str; 11] = [
    "1 = a",
    "- - 1 = a",
    "TRUE = a",
    "a = b",
    "a <> b",
    "(a = 1) = (b = 1)",
    "TRUE = (a = 1)",
    "(a > 1) = b",
    "a = 1 = b",
    "a = -'x'",
    "a = (b)",
];

fn ours(selector: &Selector, properties: &[(&'static str, &'static str)]) -> &'static str {
    let property = |name: &str| properties.iter().find(|(found, _)| *found == name).map(|(_, value)| *value);
    match selector.evaluate(property) {
        Ok(Some(true)) => "T",
        Ok(Some(false)) => "F",
        Ok(None) => "null",
        Err(Mismatch) => "!",
    }
}

#[test]
fn expressions_are_judged_as_by_the_original() {
    let mut compared = 0;
    for line in include_str!("golden/sql.tsv").lines() {
        let (expression, theirs) = line.split_once('\t').expect("two columns");
        let compiled = Selector::compile(&expression.replace("\\n", "\n"));
        match compiled {
            Err(error) => {
                assert!(theirs == "refused" || REFUSED_HERE.contains(&expression), "{expression}: {error}")
            }
            Ok(_) if theirs == "refused" => {
                assert!(REFUSED_THERE.contains(&expression), "{expression}: accepted")
            }
            Ok(selector) => {
                let ours: Vec<_> = PROPERTIES.iter().map(|properties| ours(&selector, properties)).collect();
                let agrees = ours.join(",") == theirs;
                assert_eq!(
                    agrees,
                    !UNKNOWN_HERE.contains(&expression),
                    "{expression}: {ours:?} beside {theirs}"
                );
                compared += 1;
            }
        }
    }
    assert!(compared > 90, "only {compared} expressions were compared");
}
