//! Checks a value against the schema of its kind, as the API server does before it looks at any rule: unknown fields,
//! missing fields, types, ranges, lengths, allowed words.

use serde_json::Value;

use crate::check::Invalid;

/// Everything in `value` that `schema` (openAPIV3Schema as JSON) does not allow.
pub(crate) fn violations(schema: &Value, value: &Value, path: &str) -> Vec<Invalid> {
    let mut found = Vec::new();
    walk(schema, value, path, &mut found);
    found
}

fn walk(schema: &Value, value: &Value, path: &str, found: &mut Vec<Invalid>) {
    let mut report = |sentence: String| found.push(Invalid::new(path, sentence));
    if let Some(allowed) = schema.get("enum").and_then(Value::as_array) {
        if !allowed.contains(value) {
            let words: Vec<String> = allowed.iter().filter_map(Value::as_str).map(str::to_owned).collect();
            report(format!("{} is not one of {}", short(value), words.join(", ")));
        }
        return;
    }
    match schema.get("type").and_then(Value::as_str) {
        Some("object") => match value {
            Value::Object(_) => object(schema, value, path, found),
            _ => report(format!("{} is not a map of fields", short(value))),
        },
        Some("array") => match value {
            Value::Array(items) => {
                length(schema, "Items", items.len(), "entries", &mut report);
                if let Some(item) = schema.get("items") {
                    for (at, value) in items.iter().enumerate() {
                        walk(item, value, &format!("{path}[{at}]"), found);
                    }
                }
            }
            _ => report(format!("{} is not a list", short(value))),
        },
        Some("integer") => match value.as_i64() {
            Some(number) => range(schema, number, &mut report),
            None => report(format!("{} is not a whole number", short(value))),
        },
        Some("string") => match value.as_str() {
            Some(text) => length(schema, "Length", text.chars().count(), "characters", &mut report),
            None => report(format!("{} is not text; put it in quotes", short(value))),
        },
        Some("boolean") if !value.is_boolean() => {
            report(format!("{} is neither true nor false", short(value)))
        }
        _ => {}
    }
}

fn object(schema: &Value, value: &Value, path: &str, found: &mut Vec<Invalid>) {
    let Some(fields) = value.as_object() else { return };
    let properties = schema.get("properties").and_then(Value::as_object);
    let others = schema.get("additionalProperties");
    for (name, value) in fields {
        let path = format!("{path}.{name}");
        match (properties.and_then(|known| known.get(name)), others) {
            (Some(field), _) if value.is_null() && field.get("nullable") == Some(&Value::Bool(true)) => {}
            (Some(field), _) | (None, Some(field)) => walk(field, value, &path, found),
            (None, None) if schema.get("x-kubernetes-preserve-unknown-fields").is_some() => {}
            (None, None) => found.push(Invalid::new(&path, unknown_field(name, properties))),
        }
    }
    let required = schema.get("required").and_then(Value::as_array);
    for name in required.into_iter().flatten().filter_map(Value::as_str) {
        if !fields.contains_key(name) {
            found.push(Invalid::new(&format!("{path}.{name}"), "is missing".to_owned()));
        }
    }
}

fn unknown_field(name: &str, known: Option<&serde_json::Map<String, Value>>) -> String {
    let folded = name.replace(['_', '-'], "").to_lowercase();
    let alike = known.into_iter().flat_map(|known| known.keys()).find(|key| key.to_lowercase() == folded);
    match alike {
        Some(alike) => format!("no such field; did you mean {alike}?"),
        None => {
            let names: Vec<&str> =
                known.into_iter().flat_map(|known| known.keys()).map(String::as_str).collect();
            format!("no such field; there are {}", names.join(", "))
        }
    }
}

fn range(schema: &Value, number: i64, report: &mut impl FnMut(String)) {
    let bound = |key: &str| schema.get(key).and_then(Value::as_f64);
    #[expect(
        clippy::cast_precision_loss,
        reason = "bounds of the schema are small; a huge number is out of range anyway"
    )]
    let number = number as f64;
    if let Some(least) = bound("minimum").filter(|least| number < *least) {
        report(format!("{number} is less than {least}"));
    }
    if let Some(most) = bound("maximum").filter(|most| number > *most) {
        report(format!("{number} is more than {most}"));
    }
}

fn length(schema: &Value, what: &str, len: usize, unit: &str, report: &mut impl FnMut(String)) {
    let bound = |key: &str| {
        let number = schema.get(format!("{key}{what}")).and_then(Value::as_u64)?;
        usize::try_from(number).ok()
    };
    if let Some(least) = bound("min").filter(|least| len < *least) {
        report(format!("has {len} {unit}, fewer than {least}"));
    }
    if let Some(most) = bound("max").filter(|most| len > *most) {
        report(format!("has {len} {unit}, more than {most}"));
    }
}

fn short(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(40) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}
