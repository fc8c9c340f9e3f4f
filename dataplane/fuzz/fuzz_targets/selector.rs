//! The SQL filter: any text compiles or is refused with a position inside it, and evaluates.
#![no_main]

use bolide_filter::Selector;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Selector::compile(text) {
        Ok(selector) => {
            let _ = selector.evaluate(|name| if name.len() % 2 == 0 { Some("1") } else { None });
        }
        Err(error) => assert!(text.is_char_boundary(error.at)),
    }
});
