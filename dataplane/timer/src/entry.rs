//! Owns one entry of the index: its order and its 24 bytes.

use bolide_wire::{EpochMillis, LogOffset};

/// Bytes of an entry in a file.
pub(crate) const ENTRY_BYTES: usize = 24;

/// Set in the place of a message, so that the recalls of an instant come before its messages.
const MESSAGE: u64 = 1 << 63;

/// What an entry stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A message due at this time is not to be delivered.
    Recall,
    /// A message.
    Message,
}

/// Where an entry stands in the order of delivery: by time, recalls before messages, then by the order of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    due: EpochMillis,
    place: u64,
}

impl Key {
    /// The key of a message.
    #[must_use]
    pub fn message(due: EpochMillis, at: LogOffset) -> Key {
        Key { due, place: at.0 | MESSAGE }
    }

    /// The key of a recall.
    #[must_use]
    pub fn recall(due: EpochMillis, at: LogOffset) -> Key {
        Key { due, place: at.0 & !MESSAGE }
    }

    /// Before every message that is due later than `due`, and after all that is due then.
    #[must_use]
    pub fn after(due: EpochMillis) -> Key {
        Key { due: EpochMillis(due.0.saturating_add(1)), place: 0 }
    }

    /// When it is due.
    #[must_use]
    pub fn due(self) -> EpochMillis {
        self.due
    }

    /// Log offset of its record.
    #[must_use]
    pub fn at(self) -> LogOffset {
        LogOffset(self.place & !MESSAGE)
    }

    /// What it stands for.
    #[must_use]
    pub fn kind(self) -> Kind {
        if self.place & MESSAGE == 0 { Kind::Recall } else { Kind::Message }
    }

    /// As two numbers, for a manifest or a property.
    #[must_use]
    pub fn parts(self) -> (i64, u64) {
        (self.due.0, self.place)
    }

    /// From two numbers.
    #[must_use]
    pub fn from_parts(due: i64, place: u64) -> Key {
        Key { due: EpochMillis(due), place }
    }
}

/// One timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Entry {
    /// Its place in the order.
    pub key: Key,
    /// [`identity`] of the message, or of the message that is recalled.
    pub identity: u64,
}

impl Entry {
    pub(crate) fn encode(&self) -> [u8; ENTRY_BYTES] {
        let mut bytes = [0; ENTRY_BYTES];
        let (due, place) = self.key.parts();
        for (slot, part) in bytes.chunks_exact_mut(8).zip([
            due.to_be_bytes(),
            place.to_be_bytes(),
            self.identity.to_be_bytes(),
        ]) {
            slot.copy_from_slice(&part);
        }
        bytes
    }

    pub(crate) fn decode(bytes: &[u8; ENTRY_BYTES]) -> Entry {
        let mut parts = bytes.chunks_exact(8).map(|part| part.try_into().map_or(0, u64::from_be_bytes));
        let mut next = || parts.next().unwrap_or(0);
        let due = next().cast_signed();
        let place = next();
        Entry { key: Key::from_parts(due, place), identity: next() }
    }
}

/// Hash of what names a message in a recall: FNV-1a of the parts of the text `topic+uniqueKey`. Only a hint: two messages may
/// share it.
#[must_use]
pub fn identity(parts: &[&str]) -> u64 {
    parts.iter().flat_map(|part| part.bytes()).fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_reads_back() {
        for key in [
            Key::message(EpochMillis(-5), LogOffset(7)),
            Key::recall(EpochMillis(i64::MAX), LogOffset(u64::MAX >> 1)),
        ] {
            let entry = Entry { key, identity: identity(&["t+u"]) };
            assert_eq!(Entry::decode(&entry.encode()), entry);
        }
    }

    #[test]
    fn recalls_come_before_the_messages_of_their_instant() {
        let (early, late) = (EpochMillis(5), EpochMillis(6));
        let mut keys = [
            Key::message(late, LogOffset(1)),
            Key::after(early),
            Key::message(early, LogOffset(9)),
            Key::message(early, LogOffset(2)),
            Key::recall(early, LogOffset(50)),
        ];
        keys.sort();
        let order: Vec<_> = keys.iter().map(|key| (key.due().0, key.kind(), key.at().0)).collect();
        assert_eq!(
            order,
            [
                (5, Kind::Recall, 50),
                (5, Kind::Message, 2),
                (5, Kind::Message, 9),
                (6, Kind::Recall, 0),
                (6, Kind::Message, 1)
            ]
        );
    }

    #[test]
    fn the_identity_is_fnv() {
        assert_eq!(identity(&[]), 0xcbf2_9ce4_8422_2325);
        assert_eq!(identity(&["a"]), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(identity(&["topic", "+", "u"]), identity(&["topic+u"]));
    }
}
