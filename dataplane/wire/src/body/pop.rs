//! BATCH_ACK_MESSAGE (200151).

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

body! {
    /// Acknowledged messages of one pop from one queue.
    pub struct BatchAck {
        /// Base64 of a little-endian bit set: bit i is the message at start offset + i.
        #[serde(rename = "b", alias = "bitSet")]
        pub bit_set: String,
        #[serde(rename = "c", alias = "consumerGroup")]
        pub consumer_group: String,
        /// Milliseconds.
        #[serde(rename = "it", alias = "invisibleTime")]
        pub invisible_time: i64,
        /// Milliseconds since 1970.
        #[serde(rename = "pt", alias = "popTime")]
        pub pop_time: i64,
        #[serde(rename = "q", alias = "queueId")]
        pub queue_id: i32,
        /// `0` normal topic, `1` and `2` pop retry topic of the first and second kind.
        #[serde(rename = "r", alias = "retry")]
        pub retry: String,
        #[serde(rename = "rq", alias = "reviveQueueId")]
        pub revive_queue_id: i32,
        #[serde(rename = "so", alias = "startOffset")]
        pub start_offset: i64,
        /// The normal topic, whatever `retry` says.
        #[serde(rename = "t", alias = "topic")]
        pub topic: String,
    }
}

body! {
    /// The body of BATCH_ACK_MESSAGE.
    pub struct BatchAckRequest {
        pub acks: Vec<BatchAck>,
        pub broker_name: String,
    }
}

impl BatchAck {
    /// The bit set of these distances from the start offset.
    #[must_use]
    pub fn bits_of(distances: &[u32]) -> String {
        let mut bytes: Vec<u8> = Vec::new();
        for distance in distances {
            let index = usize::try_from(distance / 8).unwrap_or(usize::MAX);
            if bytes.len() <= index {
                bytes.resize(index.saturating_add(1), 0);
            }
            if let Some(byte) = bytes.get_mut(index) {
                *byte |= 1 << (distance % 8);
            }
        }
        BASE64.encode(bytes)
    }

    /// Distances from the start offset, ascending; `None` when the text is no Base64.
    #[must_use]
    pub fn distances(&self) -> Option<Vec<u32>> {
        let bytes = BASE64.decode(&self.bit_set).ok()?;
        let bits = (0_u32..).step_by(8).zip(&bytes).flat_map(|(base, byte)| {
            (0..8_u32).filter(move |bit| byte & (1 << bit) != 0).map(move |bit| base.saturating_add(bit))
        });
        Some(bits.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_those_of_java() {
        // java.util.BitSet {0, 2} and {9, 63} through toByteArray and Base64, OpenJDK 17.
        for (text, distances) in [("BQ==", vec![0, 2]), ("AAIAAAAAAIA=", vec![9, 63]), ("", vec![])] {
            let ack = BatchAck { bit_set: text.into(), ..BatchAck::default() };
            assert_eq!(ack.distances(), Some(distances.clone()));
            assert_eq!(BatchAck::bits_of(&distances), text);
        }
        assert_eq!(BatchAck { bit_set: "!".into(), ..BatchAck::default() }.distances(), None);
    }
}
