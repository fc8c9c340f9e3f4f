//! Owns a small set of messages of one queue, kept as distances from the first one.

use serde::{Deserialize, Deserializer, Serialize};

/// Most words of a set: a pop looks at no more messages than this has bits.
pub(crate) const MOST_WORDS: usize = 64;
/// Most distances of a set.
pub(crate) const SPAN: u32 = 64 * MOST_WORDS as u32;

/// A set of distances below [`SPAN`]; the last word is never zero.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub(crate) struct Bits(Vec<u64>);

impl<'de> Deserialize<'de> for Bits {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut bits = Bits(Vec::deserialize(deserializer)?);
        bits.0.truncate(MOST_WORDS);
        bits.trim();
        Ok(bits)
    }
}

fn place(distance: u32) -> Option<(usize, u64)> {
    let word = usize::try_from(distance / 64).ok().filter(|word| *word < MOST_WORDS)?;
    Some((word, 1 << (distance % 64)))
}

impl Bits {
    /// The set of one distance, 0.
    pub(crate) fn one() -> Bits {
        Bits(vec![1])
    }

    /// The set of the distances of `offsets` from `start`; those outside the span are left out.
    pub(crate) fn of(start: i64, offsets: impl IntoIterator<Item = i64>) -> Bits {
        let mut bits = Bits::default();
        for offset in offsets {
            bits.set(distance(start, offset));
        }
        bits
    }

    /// Adds a distance; `None` and what is beyond the span are passed over.
    pub(crate) fn set(&mut self, distance: Option<u32>) {
        let Some((word, mask)) = distance.and_then(place) else { return };
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        if let Some(word) = self.0.get_mut(word) {
            *word |= mask;
        }
    }

    /// Whether the distance is in the set.
    pub(crate) fn has(&self, distance: Option<u32>) -> bool {
        let found = distance.and_then(place).and_then(|(word, mask)| Some(self.0.get(word)? & mask != 0));
        found.unwrap_or(false)
    }

    /// Adds all of another set.
    pub(crate) fn add(&mut self, other: &Bits) {
        if self.0.len() < other.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        for (word, more) in self.0.iter_mut().zip(&other.0) {
            *word |= more;
        }
    }

    /// Takes out all of another set.
    pub(crate) fn remove(&mut self, other: &Bits) {
        for (word, gone) in self.0.iter_mut().zip(&other.0) {
            *word &= !gone;
        }
        self.trim();
    }

    fn trim(&mut self) {
        while self.0.last() == Some(&0) {
            self.0.pop();
        }
    }

    /// Whether nothing is in the set.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Number of distances.
    pub(crate) fn len(&self) -> usize {
        self.0.iter().map(|word| usize::try_from(word.count_ones()).unwrap_or(0)).sum()
    }

    /// The least offset of the set.
    pub(crate) fn first(&self, start: i64) -> Option<i64> {
        self.offsets(start).next()
    }

    /// The offsets of the set, ascending.
    pub(crate) fn offsets(&self, start: i64) -> impl Iterator<Item = i64> + '_ {
        (0_i64..).zip(&self.0).flat_map(move |(index, word)| {
            let base = start.saturating_add(index * 64);
            Ones(*word).map(move |bit| base.saturating_add(i64::from(bit)))
        })
    }
}

/// The bits of a word, ascending.
struct Ones(u64);

impl Iterator for Ones {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        if self.0 == 0 {
            return None;
        }
        let bit = self.0.trailing_zeros();
        self.0 &= self.0 - 1;
        Some(bit)
    }
}

/// How far `offset` is behind `start`.
pub(crate) fn distance(start: i64, offset: i64) -> Option<u32> {
    offset.checked_sub(start).and_then(|distance| u32::try_from(distance).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_gives_back_what_was_put_in() {
        let mut bits = Bits::of(100, [100, 103, 163, 164, 99, 100 + i64::from(SPAN)]);
        assert_eq!(bits.offsets(100).collect::<Vec<_>>(), [100, 103, 163, 164]);
        assert_eq!((bits.len(), bits.first(100)), (4, Some(100)));
        assert!(bits.has(Some(64)) && !bits.has(Some(65)) && !bits.has(None));
        bits.remove(&Bits::of(100, [164, 100]));
        assert_eq!(bits, Bits::of(100, [103, 163]));
        bits.add(&Bits::one());
        assert_eq!(bits.first(100), Some(100));
        bits.remove(&bits.clone());
        assert!(bits.is_empty());
    }

    #[test]
    fn a_set_from_a_record_is_bounded() {
        let many = format!("[{}]", vec!["1"; 200].join(","));
        let bits: Bits = serde_json::from_str(&many).unwrap();
        assert_eq!(bits.len(), MOST_WORDS);
        assert!(serde_json::from_str::<Bits>("[0,0]").unwrap().is_empty());
        assert_eq!(serde_json::to_string(&Bits::of(0, [0, 65])).unwrap(), "[1,2]");
    }
}
