//! A byte stream through the frame decoder; what is read is written and read again, and must not change.
#![no_main]

use bolide_wire::header::pull::PullMessage;
use bolide_wire::header::send::{SendMessage, SendMessageV2};
use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut stream = BytesMut::from(data);
    while let Ok(Some(command)) = bolide_wire::decode(&mut stream, 1 << 20) {
        let _ = SendMessageV2::decode(&command.ext);
        let _ = SendMessage::decode(&command.ext);
        let _ = PullMessage::decode(&command.ext);
        let mut written = BytesMut::new();
        if bolide_wire::encode(&command, &mut written).is_ok() {
            let again =
                bolide_wire::decode(&mut written, 1 << 24).expect("our own frame").expect("a whole frame");
            assert_eq!(
                (again.opaque, again.flag, &again.ext, &again.body),
                (command.opaque, command.flag, &command.ext, &command.body)
            );
        }
    }
});
