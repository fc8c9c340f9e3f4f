//! Every message comes back, and no bytes do harm.

use proptest::prelude::*;

use super::*;

fn standing_of(seen: bool) -> Standing {
    Standing {
        member: "a-0@1f".parse().expect("a member"),
        seen: seen.then_some(Seen { epoch: Epoch(4), revision: 9 }),
        leads: seen.then_some(Epoch(5)),
        last_epoch: Epoch(3),
        end: LogOffset(1 << 40),
    }
}

fn samples() -> Vec<Message> {
    let entry = |epoch, start| EpochStart { epoch: Epoch(epoch), start: LogOffset(start) };
    let (epoch, session) = (Epoch(7), Session(8));
    vec![
        Message::Hello(Hello {
            protocol: 1,
            cluster: "c".into(),
            group: "broker-a".into(),
            segment_bytes: 1 << 30,
            standing: standing_of(true),
            session,
            follows: epoch,
            epochs: vec![entry(1, 0), entry(3, 500)],
            min: LogOffset(3),
        }),
        Message::Welcome(Welcome { protocol: 1, standing: standing_of(false) }),
        Message::TruncateTo(TruncateTo { epoch, session, offset: LogOffset(1) }),
        Message::NeedSnapshot { epoch, min: LogOffset(5) },
        Message::Batch(Batch {
            epoch,
            session,
            offset: LogOffset(10),
            confirm: LogOffset(9),
            bytes: Bytes::from_static(b"records"),
        }),
        Message::Heartbeat(Heartbeat {
            standing: standing_of(true),
            confirm: LogOffset(1),
            stamp: 2,
            echo: 3,
        }),
        Message::Ack(Ack { epoch, session, written: LogOffset(4), flushed: LogOffset(3), echo: 2 }),
        Message::Lead { epoch, end: LogOffset(77) },
        Message::Resign { epoch },
        Message::Refuse { epoch },
        Message::Shell(Bytes::from_static(b"for the shell")),
    ]
}

fn wire(message: &Message) -> BytesMut {
    let (head, payload) = encode(message);
    let mut bytes = BytesMut::from(&head[..]);
    bytes.extend_from_slice(&payload);
    bytes
}

#[test]
fn every_message_comes_back_however_it_is_cut() {
    let mut stream = BytesMut::new();
    let mut got = Vec::new();
    for byte in samples().iter().flat_map(wire) {
        stream.extend_from_slice(&[byte]);
        got.extend(decode(&mut stream).expect("well formed"));
    }
    assert_eq!(got, samples());
    assert!(stream.is_empty());
}

#[test]
fn unknown_kinds_and_fields_are_skipped() {
    let mut stream = BytesMut::from(&[0, 0, 0, 7, 200, 1, 0, 0, 0, 1, 9][..]);
    let mut frame = wire(&Message::Refuse { epoch: Epoch(1) });
    frame.extend_from_slice(&[99, 0, 0, 0, 2, 1, 2]);
    let len = u32::try_from(frame.len() - 4).expect("short");
    frame[..4].copy_from_slice(&len.to_be_bytes());
    stream.extend_from_slice(&frame);
    assert_eq!(decode(&mut stream), Ok(Some(Message::Refuse { epoch: Epoch(1) })));
}

#[test]
fn a_changed_batch_a_long_frame_and_a_shrinking_table_are_refused() {
    let mut batch = wire(&samples()[4]);
    let last = batch.len() - 1;
    batch[last] ^= 1;
    assert_eq!(decode(&mut batch), Err(CodecError::Checksum));
    let mut long = BytesMut::from(&[0xff; 8][..]);
    assert!(matches!(decode(&mut long), Err(CodecError::TooLong { .. })));
    let Message::Hello(mut hello) = samples().remove(0) else { unreachable!("the first sample") };
    hello.epochs.reverse();
    assert!(matches!(decode(&mut wire(&Message::Hello(hello))), Err(CodecError::Malformed { .. })));
}

proptest! {
    #[test]
    fn any_bytes_are_decoded_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut stream = BytesMut::from(&bytes[..]);
        while let Ok(Some(_)) = decode(&mut stream) {}
    }

    #[test]
    fn a_damaged_message_never_panics(which in 0..11_usize, at in any::<prop::sample::Index>(), flip in 1..=255_u8) {
        let mut stream = wire(&samples()[which]);
        let at = at.index(stream.len());
        stream[at] ^= flip;
        while let Ok(Some(_)) = decode(&mut stream) {}
    }
}
