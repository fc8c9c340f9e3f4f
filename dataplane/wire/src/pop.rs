//! The strings of pop consumption: what the response of a pop says about the offsets in its body, and the handle that
//! clients make of it and give back with every acknowledgement (`ExtraInfoUtil` and `ReceiptHandle` of the original).
//!
//! Items are separated by `;`, fields by one space. Clients refuse a response in which a pair of source and queue comes
//! twice in one string.

use std::fmt::{self, Display, Write};

use crate::ids::{EpochMillis, GroupName, NameError, QueueId, QueueOffset, TopicName};

/// The number of the revive queue that stands for ordered consumption.
pub const ORDERED: i32 = 999;

/// Where popped messages come from, as the first field of each item says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PopSource {
    /// The topic asked for.
    Topic,
    /// Its retry topic, named `%RETRY%group_topic`.
    RetryV1,
    /// Its retry topic, named `%RETRY%group+topic`.
    RetryV2,
}

impl PopSource {
    /// The field's text.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Topic => "0",
            Self::RetryV1 => "1",
            Self::RetryV2 => "2",
        }
    }

    /// Reads the field's text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "0" => Some(Self::Topic),
            "1" => Some(Self::RetryV1),
            "2" => Some(Self::RetryV2),
            _ => None,
        }
    }

    /// The topic that the messages are in.
    pub fn topic(self, topic: &TopicName, group: &GroupName) -> Result<TopicName, NameError> {
        match self {
            Self::Topic => Ok(topic.clone()),
            Self::RetryV1 => TopicName::pop_retry_v1(group, topic),
            Self::RetryV2 => TopicName::pop_retry_v2(group, topic),
        }
    }
}

/// The handle of a popped message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handle<'a> {
    /// First offset of the pop in the queue.
    pub start: QueueOffset,
    /// When the pop was.
    pub pop_time: EpochMillis,
    /// How long the message is invisible to others, in milliseconds.
    pub invisible_ms: i64,
    /// [`ORDERED`], or any other number.
    pub revive_queue: i32,
    /// Where the message came from.
    pub source: PopSource,
    /// The broker.
    pub broker: &'a str,
    /// The queue.
    pub queue: QueueId,
    /// The message's own offset.
    pub offset: Option<QueueOffset>,
}

/// A text is no handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("field {field} of the pop handle is missing or cannot be read")]
pub struct HandleError {
    /// Number of the field, from 0.
    pub field: usize,
}

impl<'a> Handle<'a> {
    /// Reads a handle: seven fields or more; fields after the eighth are passed over.
    pub fn parse(text: &'a str) -> Result<Self, HandleError> {
        fn read<'t, T>(
            fields: &mut impl Iterator<Item = (usize, &'t str)>,
            number: usize,
            parse: impl Fn(&'t str) -> Option<T>,
        ) -> Result<T, HandleError> {
            fields.next().and_then(|(_, text)| parse(text)).ok_or(HandleError { field: number })
        }
        let mut fields = text.split(' ').enumerate();
        let fields = &mut fields;
        let number = |text: &str| text.parse::<i64>().ok();
        let handle = Handle {
            start: QueueOffset(read(fields, 0, number)?),
            pop_time: EpochMillis(read(fields, 1, number)?),
            invisible_ms: read(fields, 2, number)?,
            revive_queue: read(fields, 3, |text| text.parse().ok())?,
            source: read(fields, 4, PopSource::parse)?,
            broker: read(fields, 5, Some)?,
            queue: read(fields, 6, |text| QueueId::from_wire(text.parse().ok()?))?,
            offset: None,
        };
        let offset = match fields.next() {
            Some((field, text)) => Some(QueueOffset(number(text).ok_or(HandleError { field })?)),
            None => None,
        };
        Ok(Handle { offset, ..handle })
    }

    /// Whether the message was popped in order.
    #[must_use]
    pub fn ordered(&self) -> bool {
        self.revive_queue == ORDERED
    }
}

impl Display for Handle<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Handle { start, pop_time, invisible_ms, revive_queue, source, broker, queue, offset } = self;
        let source = source.as_str();
        write!(f, "{start} {pop_time} {invisible_ms} {revive_queue} {source} {broker} {queue}")?;
        offset.map_or(Ok(()), |offset| write!(f, " {offset}"))
    }
}

/// The strings of a response, as they are built up queue by queue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OffsetInfo {
    /// `startOffsetInfo`: `source queue start`.
    pub starts: String,
    /// `msgOffsetInfo`: `source queue offset,offset,...`.
    pub messages: String,
    /// `orderCountInfo`: `source queue times` and `source qo<queue>%<offset> times`.
    pub order_counts: String,
}

fn item(text: &mut String, source: PopSource, rest: fmt::Arguments<'_>) {
    if !text.is_empty() {
        text.push(';');
    }
    text.push_str(source.as_str());
    text.push(' ');
    // Writing to a string does not fail.
    let _ = text.write_fmt(rest);
}

impl OffsetInfo {
    /// Adds what was popped from one queue: offsets ascending, each of a message in the body.
    pub fn add(&mut self, source: PopSource, queue: QueueId, start: QueueOffset, offsets: &[i64]) {
        item(&mut self.starts, source, format_args!("{queue} {start}"));
        item(&mut self.messages, source, format_args!("{queue} "));
        for (index, offset) in offsets.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            let _ = write!(self.messages, "{comma}{offset}");
        }
    }

    /// Adds how often the messages of one queue were given before: the offsets given more than never, and the least of all.
    pub fn add_order_counts(&mut self, source: PopSource, queue: QueueId, times: &[(i64, i32)], least: i32) {
        for (offset, times) in times {
            item(&mut self.order_counts, source, format_args!("qo{queue}%{offset} {times}"));
        }
        item(&mut self.order_counts, source, format_args!("{queue} {least}"));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_handle_has_the_fields_of_the_original() {
        // The example of ReceiptHandle's layout in 5.3.3, without the commit log offset.
        let text = "100 1700000000000 60000 3 0 broker-a 2 103";
        let handle = Handle::parse(text).unwrap();
        assert_eq!((handle.start, handle.pop_time), (QueueOffset(100), EpochMillis(1_700_000_000_000)));
        assert_eq!((handle.source, handle.broker, handle.ordered()), (PopSource::Topic, "broker-a", false));
        assert_eq!((handle.queue, handle.offset), (QueueId(2), Some(QueueOffset(103))));
        assert_eq!(handle.to_string(), text);
        assert_eq!(Handle::parse("1 2 3 999 1 b 0").unwrap().offset, None);
        assert_eq!(Handle::parse("1 2 3 999 1 b 0 9 77").unwrap().offset, Some(QueueOffset(9)));
    }

    #[test]
    fn a_bad_handle_names_its_field() {
        for (text, field) in
            [("", 0), ("1", 1), ("1 2 3 4 7 b 0", 4), ("1 2 3 4 0 b -1", 6), ("1 2 3 4 0 b 0 x", 7)]
        {
            assert_eq!(Handle::parse(text), Err(HandleError { field }), "{text:?}");
        }
    }

    #[test]
    fn strings_are_built_as_clients_split_them() {
        let mut info = OffsetInfo::default();
        info.add(PopSource::Topic, QueueId(2), QueueOffset(100), &[100, 103]);
        info.add(PopSource::RetryV1, QueueId(0), QueueOffset(7), &[7]);
        info.add_order_counts(PopSource::Topic, QueueId(2), &[(100, 1)], 0);
        assert_eq!(info.starts, "0 2 100;1 0 7");
        assert_eq!(info.messages, "0 2 100,103;1 0 7");
        assert_eq!(info.order_counts, "0 qo2%100 1;0 2 0");
    }

    #[test]
    fn a_source_names_its_topic() {
        let (topic, group) = (TopicName::new("orders").unwrap(), GroupName::new("workers").unwrap());
        let name = |source: PopSource| source.topic(&topic, &group).unwrap().to_string();
        assert_eq!(name(PopSource::Topic), "orders");
        assert_eq!(name(PopSource::RetryV1), "%RETRY%workers_orders");
        assert_eq!(name(PopSource::RetryV2), "%RETRY%workers+orders");
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in any::<String>()) {
            if let Ok(handle) = Handle::parse(&text) {
                let again = handle.to_string();
                prop_assert_eq!(Handle::parse(&again), Ok(handle));
            }
        }
    }
}
