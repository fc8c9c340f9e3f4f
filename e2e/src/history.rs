//! The checker of the fault tests: what was acknowledged against what can be read back.
//!
//! Reads the two files that the client programs write: `load --out` (one line per answer: `sender seq status broker queueId
//! queueOffset msgId offsetMsgId`) and `pull --do drain --out` (one line per stored message: `broker queueId queueOffset msgId
//! label crc`, label `s<sender>-<seq>`, queue by queue in order of offset).

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use anyhow::{Context, bail};

use crate::Result;

type Place = (String, u32, u64);
type Message = (u32, u64);

/// What the comparison found. Anything but duplicates is a broken promise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Messages that were acknowledged as stored.
    pub acked: usize,
    /// Messages that can be read back.
    pub stored: usize,
    /// Acknowledged messages that are not stored anywhere.
    pub lost: Vec<String>,
    /// Acknowledged messages whose place holds something else.
    pub moved: Vec<String>,
    /// Stored messages that nobody sent: a label that does not parse, or a gap in a queue's offsets.
    pub phantoms: Vec<String>,
    /// Messages of one sender that stand in one queue before a message that was sent earlier.
    pub disordered: Vec<String>,
    /// Messages stored more than once: the client sent again after an answer that it did not get.
    pub duplicates: usize,
}

impl Verdict {
    /// Whether every promise was kept.
    pub fn kept(&self) -> bool {
        self.lost.is_empty()
            && self.moved.is_empty()
            && self.phantoms.is_empty()
            && self.disordered.is_empty()
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "acked {}, stored {}, lost {}, moved {}, phantoms {}, disordered {}, duplicates {}",
            self.acked,
            self.stored,
            self.lost.len(),
            self.moved.len(),
            self.phantoms.len(),
            self.disordered.len(),
            self.duplicates
        )?;
        for (what, list) in [
            ("lost", &self.lost),
            ("moved", &self.moved),
            ("phantom", &self.phantoms),
            ("disordered", &self.disordered),
        ] {
            for example in list.iter().take(3) {
                write!(f, "\n  {what}: {example}")?;
            }
        }
        Ok(())
    }
}

/// Compares the acknowledgements with what was read back.
///
/// # Errors
/// A line of the acknowledgements has another form.
pub fn check(acknowledged: &str, drained: &str) -> Result<Verdict> {
    let mut verdict = Verdict::default();
    let mut at: HashMap<Place, Message> = HashMap::new();
    let mut copies: HashMap<Message, usize> = HashMap::new();
    let mut latest: HashMap<(String, u32, u32), u64> = HashMap::new();
    let mut next: BTreeMap<(String, u32), u64> = BTreeMap::new();
    for line in drained.lines() {
        let Some((place, message)) = stored(line) else {
            verdict.phantoms.push(line.to_owned());
            continue;
        };
        verdict.stored += 1;
        let queue = (place.0.clone(), place.1);
        let expected = next.entry(queue).or_insert(place.2);
        if *expected != place.2 {
            verdict.phantoms.push(format!("offset {expected} expected: {line}"));
        }
        *expected = place.2 + 1;
        let newest = latest.entry((place.0.clone(), place.1, message.0)).or_insert(message.1);
        if message.1 < *newest && !copies.contains_key(&message) {
            verdict.disordered.push(format!("after seq {newest}: {line}"));
        }
        *newest = (*newest).max(message.1);
        *copies.entry(message).or_default() += 1;
        at.insert(place, message);
    }
    for line in acknowledged.lines() {
        let (place, message) = acked(line).with_context(|| format!("not an acknowledgement: {line}"))?;
        verdict.acked += 1;
        if at.get(&place) == Some(&message) {
            continue;
        }
        let list = if copies.contains_key(&message) { &mut verdict.moved } else { &mut verdict.lost };
        list.push(line.to_owned());
    }
    verdict.duplicates = copies.values().map(|copies| copies - 1).sum();
    Ok(verdict)
}

fn stored(line: &str) -> Option<(Place, Message)> {
    let mut words = line.split_whitespace();
    let place = (words.next()?.to_owned(), words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let label = words.nth(1)?;
    let (sender, seq) = label.strip_prefix('s')?.split_once('-')?;
    Some((place, (sender.parse().ok()?, seq.parse().ok()?)))
}

fn acked(line: &str) -> Result<(Place, Message)> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let &[sender, seq, _status, broker, queue, offset, _msg_id, _offset_msg_id] = words.as_slice() else {
        bail!("{} words", words.len());
    };
    Ok(((broker.to_owned(), queue.parse()?, offset.parse()?), (sender.parse()?, seq.parse()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACKED: &str = "0 1 SEND_OK b 0 10 M1 O1\n0 2 SEND_OK b 0 11 M2 O2\n1 1 SEND_OK b 1 5 M3 O3\n";

    #[test]
    fn everything_read_back_in_place_and_order_is_kept() {
        let verdict = check(ACKED, "b 0 10 M1 s0-1 c\nb 0 11 M2 s0-2 c\nb 1 5 M3 s1-1 c\n").unwrap();
        assert!(verdict.kept(), "{verdict}");
        assert_eq!((verdict.acked, verdict.stored, verdict.duplicates), (3, 3, 0));
    }

    #[test]
    fn a_missing_message_is_lost() {
        let verdict = check(ACKED, "b 0 10 M1 s0-1 c\nb 1 5 M3 s1-1 c\n").unwrap();
        assert_eq!(verdict.lost, ["0 2 SEND_OK b 0 11 M2 O2"]);
    }

    #[test]
    fn another_message_in_the_acknowledged_place_is_seen() {
        let verdict = check(ACKED, "b 0 10 M1 s0-2 c\nb 0 11 M2 s0-1 c\nb 1 5 M3 s1-1 c\n").unwrap();
        assert_eq!(verdict.moved.len(), 2);
        assert_eq!(verdict.disordered.len(), 1);
    }

    #[test]
    fn a_copy_is_a_duplicate_and_no_disorder() {
        let verdict = check("", "b 0 0 M s0-1 c\nb 0 1 M s0-2 c\nb 0 2 M s0-1 c\n").unwrap();
        assert!(verdict.kept(), "{verdict}");
        assert_eq!(verdict.duplicates, 1);
    }

    #[test]
    fn a_gap_in_the_offsets_and_a_strange_label_are_phantoms() {
        let verdict = check("", "b 0 0 M s0-1 c\nb 0 2 M s0-2 c\nb 0 3 M other c\n").unwrap();
        assert_eq!(verdict.phantoms.len(), 2);
    }
}
