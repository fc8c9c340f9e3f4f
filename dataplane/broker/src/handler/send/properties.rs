//! Owns the look at a message's properties on their way in, and what the broker adds to and takes from them.

use crate::delay::place::TimerAsked;

use bolide_wire::properties::{NAME_VALUE_SEPARATOR, PROPERTY_SEPARATOR, PropertiesRef, names};

/// What the send path needs to know of a property string, found in one walk.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scan<'a> {
    /// The string as received.
    pub(crate) encoded: &'a str,
    /// Tag.
    pub(crate) tags: Option<&'a str>,
    /// Index keys, separated by spaces.
    pub(crate) keys: Option<&'a str>,
    /// The client's own message id.
    pub(crate) unique: Option<&'a str>,
    /// Delay level as sent; 0 for none.
    pub(crate) delay: i32,
    /// Whether the sender waits for flush and replication.
    pub(crate) wait: bool,
    /// A half message of a transaction.
    pub(crate) transaction: bool,
    /// Producer group as a property.
    pub(crate) group: Option<&'a str>,
    /// A message for an arbitrary time.
    pub(crate) timer: TimerAsked<'a>,
    /// Something must be taken out before storing.
    dirty: bool,
}

impl<'a> Scan<'a> {
    /// Walks the string once.
    pub(crate) fn new(encoded: &'a str) -> Scan<'a> {
        let mut scan = Scan {
            encoded,
            tags: None,
            keys: None,
            unique: None,
            delay: 0,
            wait: true,
            transaction: false,
            group: None,
            timer: TimerAsked::default(),
            dirty: false,
        };
        for (name, value) in PropertiesRef::new(encoded) {
            match name {
                names::TAGS => scan.tags = Some(value),
                names::KEYS => scan.keys = Some(value),
                names::UNIQ_KEY => scan.unique = Some(value),
                names::DELAY => scan.delay = value.parse().unwrap_or(0),
                names::WAIT => scan.wait = !value.eq_ignore_ascii_case("false"),
                names::TRAN_MSG => scan.transaction = value.eq_ignore_ascii_case("true"),
                names::PGROUP => scan.group = Some(value),
                names::TIMER_DELAY_SEC => scan.timer.seconds = Some(value),
                names::TIMER_DELAY_MS => scan.timer.millis = Some(value),
                names::TIMER_DELIVER_MS => scan.timer.at = Some(value),
                _ => scan.dirty |= not_from_clients(name),
            }
        }
        scan
    }

    /// Takes out the timer properties: a delay level comes before them.
    pub(crate) fn without_timer(&mut self) {
        self.dirty |= self.timer.any();
        self.timer = TimerAsked::default();
    }

    /// Tag hash of the message.
    pub(crate) fn tags_code(&self) -> i64 {
        self.tags.map_or(0, bolide_wire::properties::tags_code)
    }

    /// Appends the properties, without those that clients may not send or that the broker sets itself.
    pub(crate) fn write(&self, out: &mut String) {
        if self.dirty {
            for (name, value) in PropertiesRef::new(self.encoded) {
                if !not_from_clients(name) && (self.timer.any() || !is_timer(name)) {
                    push(out, name, value);
                }
            }
        } else {
            out.push_str(self.encoded);
            if !self.encoded.is_empty() && !self.encoded.ends_with(PROPERTY_SEPARATOR) {
                out.push(PROPERTY_SEPARATOR);
            }
        }
    }
}

/// Appends one property.
pub(crate) fn push(out: &mut String, name: &str, value: &str) {
    if value.is_empty() {
        return;
    }
    out.push_str(name);
    out.push(NAME_VALUE_SEPARATOR);
    out.push_str(value);
    out.push(PROPERTY_SEPARATOR);
}

fn is_timer(name: &str) -> bool {
    matches!(name, names::TIMER_DELAY_SEC | names::TIMER_DELAY_MS | names::TIMER_DELIVER_MS)
}

fn not_from_clients(name: &str) -> bool {
    let broker_sets = [
        names::POP_CK,
        names::MSG_REGION,
        names::TRACE_ON,
        names::CLUSTER,
        names::DELAY_SRC,
        names::TRAN_SRC,
        names::TIMER_OUT_MS,
        names::TIMER_ENQUEUE_MS,
        names::TIMER_DEQUEUE_MS,
        names::TIMER_ROLL_TIMES,
        names::TIMER_DEL_UNIQKEY,
        names::POP_SRC,
        names::REAL_TOPIC,
        names::REAL_QID,
    ];
    broker_sets.contains(&name) || name.starts_with(names::TRANSIENT_PREFIX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_walk_finds_everything() {
        let text =
            "TAGS\u{1}A\u{2}KEYS\u{1}k1 k2\u{2}UNIQ_KEY\u{1}U\u{2}DELAY\u{1}3\u{2}WAIT\u{1}false\u{2}x\u{1}y";
        let scan = Scan::new(text);
        assert_eq!((scan.tags, scan.keys, scan.unique), (Some("A"), Some("k1 k2"), Some("U")));
        assert_eq!((scan.delay, scan.wait, scan.transaction, scan.timer.any()), (3, false, false, false));
        assert_eq!(scan.tags_code(), 65);
        let mut out = String::new();
        scan.write(&mut out);
        assert_eq!(out, format!("{text}\u{2}"));
    }

    #[test]
    fn a_client_cannot_send_what_the_broker_sets() {
        let scan = Scan::new(
            "POP_CK\u{1}1\u{2}a\u{1}b\u{2}DELAY_SRC\u{1}3:9\u{2}CLUSTER\u{1}x\u{2}__RMQ.TRANSIENT.a\u{1}1\u{2}",
        );
        let mut out = String::new();
        scan.write(&mut out);
        assert_eq!(out, "a\u{1}b\u{2}");
    }

    #[test]
    fn timer_properties_give_way_to_a_delay_level() {
        let mut scan = Scan::new("a\u{1}b\u{2}TIMER_DELAY_MS\u{1}5\u{2}TIMER_OUT_MS\u{1}7\u{2}");
        let mut out = String::new();
        scan.write(&mut out);
        assert_eq!(out, "a\u{1}b\u{2}TIMER_DELAY_MS\u{1}5\u{2}");
        scan.without_timer();
        out.clear();
        scan.write(&mut out);
        assert_eq!((out.as_str(), scan.timer.any()), ("a\u{1}b\u{2}", false));
    }

    #[test]
    fn no_properties_are_no_bytes() {
        let mut out = String::new();
        Scan::new("").write(&mut out);
        assert!(out.is_empty());
    }
}
