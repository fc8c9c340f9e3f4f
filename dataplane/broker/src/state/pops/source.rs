//! Owns the property by which a message that comes again names the checkpoint that it leaves.

use std::fmt::{self, Display};

use bolide_wire::ids::{GroupName, QueueId, TopicName};

use super::change::{CheckpointId, PopKey};

/// Where a message that came again was before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Source {
    /// The queue.
    pub(crate) key: PopKey,
    /// The checkpoint.
    pub(crate) id: CheckpointId,
    /// The message's offset.
    pub(crate) offset: i64,
}

impl Source {
    /// Reads the property's text: `offset:start:popTime:queue:group:topic`.
    pub(crate) fn parse(text: &str) -> Option<Source> {
        let mut fields = text.splitn(6, ':');
        let mut number = || fields.next()?.parse::<i64>().ok();
        let (offset, start, pop_time) = (number()?, number()?, number()?);
        let queue = QueueId::from_wire(i32::try_from(number()?).ok()?)?;
        let group = GroupName::internal(fields.next()?).ok()?;
        let topic = TopicName::internal(fields.next()?).ok()?;
        Some(Source { key: PopKey { group, topic, queue }, id: CheckpointId(start, pop_time), offset })
    }
}

impl Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Source { key: PopKey { group, topic, queue }, id: CheckpointId(start, pop_time), offset } = self;
        write!(f, "{offset}:{start}:{pop_time}:{queue}:{group}:{topic}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_source_reads_back() {
        let topic = TopicName::internal("%RETRY%g+t").unwrap();
        let key = PopKey { group: GroupName::new("g").unwrap(), topic, queue: QueueId(3) };
        let source = Source { key, id: CheckpointId(100, 1_700_000_000_000), offset: 104 };
        assert_eq!(source.to_string(), "104:100:1700000000000:3:g:%RETRY%g+t");
        assert_eq!(Source::parse(&source.to_string()), Some(source));
        for bad in ["", "1:2:3:4:g", "1:2:3:-4:g:t", "x:2:3:4:g:t", "1:2:3:4::t"] {
            assert_eq!(Source::parse(bad), None, "{bad}");
        }
    }
}
