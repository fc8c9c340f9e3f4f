//! Owns the recall handle: what a producer gets for a timer, and gives back to recall it. Upstream's form, which clients read
//! to find the broker.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use bolide_wire::ids::EpochMillis;

/// Only this one exists.
const VERSION: &str = "v1";

/// What a handle says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct RecallHandle {
    /// Topic of the message.
    pub(crate) topic: String,
    /// Broker that holds it.
    pub(crate) broker: String,
    /// When it is due.
    pub(crate) due: EpochMillis,
    /// The client's message id.
    pub(crate) unique_key: String,
}

/// The text of a handle.
pub(crate) fn encode(topic: &str, broker: &str, due: EpochMillis, unique_key: &str) -> String {
    URL_SAFE.encode(format!("{VERSION} {topic} {broker} {} {unique_key}", due.0))
}

impl RecallHandle {
    /// Reads a handle; `None` when it is none. A time that is no number is the distant past.
    pub(crate) fn decode(text: &str) -> Option<RecallHandle> {
        let raw = String::from_utf8(URL_SAFE.decode(text).ok()?).ok()?;
        let mut parts = raw.split(' ');
        if parts.next() != Some(VERSION) {
            return None;
        }
        let (topic, broker) = (parts.next()?.to_owned(), parts.next()?.to_owned());
        let due = EpochMillis(parts.next()?.parse().unwrap_or(-1));
        Some(RecallHandle { topic, broker, due, unique_key: parts.next()?.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_reads_back_and_has_the_form_of_the_original() {
        let text = encode("orders", "broker-a", EpochMillis(1_700_000_000_001), "0A0B");
        assert_eq!(text, "djEgb3JkZXJzIGJyb2tlci1hIDE3MDAwMDAwMDAwMDEgMEEwQg==");
        let handle = RecallHandle::decode(&text).unwrap();
        assert_eq!((handle.topic.as_str(), handle.broker.as_str()), ("orders", "broker-a"));
        assert_eq!((handle.due, handle.unique_key.as_str()), (EpochMillis(1_700_000_000_001), "0A0B"));
    }

    #[test]
    fn what_is_no_handle_is_refused() {
        for bad in ["", "????", "djI=", &URL_SAFE.encode("v1 t b 5"), &URL_SAFE.encode("v2 t b 5 u")] {
            assert_eq!(RecallHandle::decode(bad), None, "{bad}");
        }
        let odd = RecallHandle::decode(&URL_SAFE.encode("v1 t b soon u")).unwrap();
        assert_eq!(odd.due, EpochMillis(-1));
    }
}
