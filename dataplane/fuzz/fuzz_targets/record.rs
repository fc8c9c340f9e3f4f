//! Stored records, batch bodies and property strings.
#![no_main]

use bolide_wire::message::{BatchMessages, OffsetMessageId, records};
use bolide_wire::properties::{Properties, PropertiesRef};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    for record in records(data).flatten() {
        let _ = record.verify_crc();
        let _ = record.properties().tags_code();
        let id = record.offset_message_id();
        assert_eq!(id.to_string().parse::<OffsetMessageId>().ok(), Some(id));
    }
    for message in BatchMessages::new(data).flatten() {
        let _ = message.properties().iter().count();
    }
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = PropertiesRef::new(text).iter().count();
        let mut properties = Properties::from_encoded(text.to_owned());
        properties.set("TAGS", "x");
        assert_eq!(properties.get("TAGS"), Some("x"));
    }
});
