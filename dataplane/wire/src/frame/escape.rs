//! Escapes of JSON strings, written into text that grows.

fn is_special(byte: u8) -> bool {
    byte < 0x20 || matches!(byte, b'"' | b'\\')
}

/// Appends `text` as a JSON string, quotes included.
pub(crate) fn push_quoted(out: &mut String, text: &str) {
    out.push('"');
    let start = out.len();
    out.push_str(text);
    escape_from(out, start);
    out.push('"');
}

/// Escapes what stands in `out` from the byte `start` on, a place between characters.
pub(crate) fn escape_from(out: &mut String, start: usize) {
    let Some(added) = out.get(start..) else { return };
    if !added.bytes().any(is_special) {
        return;
    }
    let raw = added.to_owned();
    out.truncate(start);
    for character in raw.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            control if control < ' ' => push_code(out, control),
            other => out.push(other),
        }
    }
}

fn push_code(out: &mut String, control: char) {
    out.push_str("\\u00");
    for nibble in [u32::from(control) >> 4, u32::from(control) & 0xF] {
        out.push(char::from_digit(nibble, 16).unwrap_or('0'));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_characters_are_escaped_and_the_rest_is_kept() {
        let mut out = String::from("x");
        push_quoted(&mut out, "a\"b\\c\n\r\t\u{1}\u{1f}\u{7f}é");
        assert_eq!(out, "x\"a\\\"b\\\\c\\n\\r\\t\\u0001\\u001f\u{7f}é\"");
        let back: String = serde_json::from_str(&out[1..]).unwrap();
        assert_eq!(back, "a\"b\\c\n\r\t\u{1}\u{1f}\u{7f}é");
    }
}
