//! One JSON line of a client program.

use serde_json::Value;

/// An event: an object with a member `event` and members that depend on it (listed in `e2e/clients/README.md`).
#[derive(Clone, Debug, PartialEq)]
pub struct Event(pub Value);

impl Event {
    /// Parses one line; lines that are not JSON objects are not events.
    pub fn parse(line: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(line).ok()?;
        value.is_object().then_some(Self(value))
    }

    /// The kind of event.
    pub fn kind(&self) -> &str {
        self.text("event")
    }

    /// Whether the event is of this kind.
    pub fn is(&self, kind: &str) -> bool {
        self.kind() == kind
    }

    /// A member as text; empty when it is absent or not a string.
    pub fn text(&self, name: &str) -> &str {
        self.0.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    /// A member as a whole number; `None` when it is absent or something else.
    pub fn number(&self, name: &str) -> Option<i64> {
        self.0.get(name).and_then(Value::as_i64)
    }

    /// A member as a list; empty when it is absent or not a list.
    pub fn list(&self, name: &str) -> &[Value] {
        self.0.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
    }

    /// Any member.
    pub fn member(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_read_by_type() {
        let event = Event::parse(r#"{"event":"sent","queue":3,"ids":["a"],"ok":true}"#).unwrap();
        assert!(event.is("sent"));
        assert_eq!(event.number("queue"), Some(3));
        assert_eq!(event.list("ids").len(), 1);
        assert_eq!(event.text("queue"), "");
        assert_eq!(event.member("ok"), Some(&Value::Bool(true)));
    }

    #[test]
    fn other_lines_are_not_events() {
        assert_eq!(Event::parse("WARN something"), None);
        assert_eq!(Event::parse("[1]"), None);
    }
}
