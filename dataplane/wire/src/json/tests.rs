use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::body::{MessageQueue, QueueMap};

fn strict(text: &str) -> Option<String> {
    normalize(text.as_bytes()).ok().and_then(|bytes| String::from_utf8(bytes).ok())
}

#[test]
fn the_dialect_becomes_strict() {
    for (dialect, expected) in [
        ("{0:\"a\",-1:{2:3}}", r#"{"0":"a","-1":{"2":3}}"#),
        (r#"{ "a" : null , "b" : [ null , 1 ] , "c" : null }"#, r#"{"b":[null,1]}"#),
        (r#"{"a":null}"#, "{}"),
        (r#"{"a":null,"b":{"c":null}}"#, r#"{"b":{}}"#),
        (r#"{{"t":"a\"b"}:5}"#, r#"{"\u0001{\"t\":\"a\\\"b\"}":5}"#),
        (r#"{"nullable":"null"}"#, r#"{"nullable":"null"}"#),
    ] {
        assert_eq!(strict(dialect).as_deref(), Some(expected), "{dialect}");
    }
}

#[test]
fn what_is_not_the_dialect_is_refused() {
    let deep = "[".repeat(100);
    for text in
        ["", "{", "{1}", "{\"a\":1 \"b\":2}", "[1,2", "\"open", "{{[]}:1}", "{}{}", "{1:}", "\"\\", &deep]
    {
        assert_eq!(strict(text), None, "{text}");
    }
}

#[test]
fn integer_keys_are_quoted_on_request() {
    let map = BTreeMap::from([(0i64, BTreeMap::from([(1i32, -2i64)]))]);
    assert_eq!(to_vec(&map, IntegerKeys::Unquoted).expect("a map"), br#"{0:{1:-2}}"#);
    assert_eq!(to_vec(&map, IntegerKeys::Quoted).expect("a map"), br#"{"0":{"1":-2}}"#);
}

#[test]
fn text_keys_and_values_are_escaped() {
    let map = BTreeMap::from([("", "\u{1}x\n"), ("k\"\\\u{2}", "")]);
    let written = to_vec(&map, IntegerKeys::Unquoted).expect("a map");
    assert_eq!(String::from_utf8_lossy(&written), r#"{"":"\u0001x\n","k\"\\\u0002":""}"#);
    assert_eq!(from_slice::<BTreeMap<String, String>>(&written).expect("strict").len(), 2);
}

proptest! {
    #[test]
    fn any_bytes_are_rewritten_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(strict) = normalize(&bytes) {
            prop_assert!(strict.len() <= bytes.len() * 8 + 8);
        }
    }

    #[test]
    fn any_bracketed_text_is_rewritten_without_a_panic(text in "[{}\\[\\],:\"\\\\a0 n-]{0,60}") {
        let _ = from_slice::<serde_json::Value>(text.as_bytes());
    }

    #[test]
    fn maps_keyed_by_a_queue_round_trip(entries in prop::collection::btree_map((any::<String>(), any::<i32>(), any::<String>()), any::<i64>(), 0..5)) {
        let map: QueueMap<i64> = entries
            .into_iter()
            .map(|((broker_name, queue_id, topic), value)| (MessageQueue { broker_name, queue_id, topic }, value))
            .collect();
        let written = to_vec(&map, IntegerKeys::Unquoted).expect("a map");
        prop_assert_eq!(from_slice::<QueueMap<i64>>(&written).expect("the dialect"), map);
    }

    #[test]
    fn maps_keyed_by_integers_round_trip(map in prop::collection::btree_map(any::<i64>(), any::<String>(), 0..5), quoted in any::<bool>()) {
        let keys = if quoted { IntegerKeys::Quoted } else { IntegerKeys::Unquoted };
        let written = to_vec(&map, keys).expect("a map");
        prop_assert_eq!(from_slice::<BTreeMap<i64, String>>(&written).expect("the dialect"), map);
    }
}
