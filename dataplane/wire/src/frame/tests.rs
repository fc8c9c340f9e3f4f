use super::*;

fn round(command: &Command) -> Command {
    let mut bytes = BytesMut::new();
    encode(command, &mut bytes).expect("a command that fits");
    let decoded = decode(&mut bytes, DEFAULT_MAX_FRAME).expect("our own frame").expect("a whole frame");
    assert!(bytes.is_empty());
    decoded
}

fn frame(header: &str, body: &[u8]) -> BytesMut {
    let mut bytes = BytesMut::new();
    bytes.put_i32(i32::try_from(4 + header.len() + body.len()).expect("short"));
    bytes.put_i32(i32::try_from(header.len()).expect("short"));
    bytes.put_slice(header.as_bytes());
    bytes.put_slice(body);
    bytes
}

fn decode_text(header: &str) -> Result<Command, FrameError> {
    decode(&mut frame(header, b""), DEFAULT_MAX_FRAME).map(|command| command.expect("a whole frame"))
}

#[test]
fn a_command_survives_both_header_forms() {
    for serialize in [SerializeType::Json, SerializeType::Rocketmq] {
        let mut command = Command::request(RequestCode::SEND_MESSAGE_V2)
            .with_ext("i", "KEYS\u{1}k\"1\\\u{2}")
            .with_ext("b", "Tö\n")
            .with_remark("naïve \u{7}")
            .with_body(&b"body"[..]);
        command.opaque = -7;
        command.serialize = serialize;
        assert_eq!(round(&command), command);
        let reply = command.response(ResponseCode::SUCCESS);
        assert!(reply.is_response() && !reply.is_oneway());
        assert_eq!((reply.opaque, reply.serialize, reply.version), (-7, serialize, 479));
        assert_eq!(round(&reply), reply);
    }
}

#[test]
fn a_response_always_carries_ext_fields() {
    let mut bytes = BytesMut::new();
    encode(&Command::request(RequestCode::HEART_BEAT).response(ResponseCode::SUCCESS), &mut bytes)
        .expect("fits");
    let text = String::from_utf8_lossy(&bytes[8..]);
    assert_eq!(
        text,
        r#"{"code":0,"extFields":{},"flag":1,"language":"JAVA","opaque":0,"serializeTypeCurrentRPC":"JSON","version":479}"#
    );
}

#[test]
fn members_come_in_any_order_with_spaces_and_unknown_ones() {
    let command = decode_text(
        " { \"more\" : [1,{\"x\":[]}] , \"extFields\" : { \"e\" : 3 , \"m\" : true, \"z\": null } ,\"version\":121,\n\"language\":\"NODE_JS\",\"opaque\":9,\"flag\":2,\"code\":310 } ",
    )
    .expect("legal");
    assert_eq!((command.code, command.version, command.opaque), (310, 121, 9));
    assert_eq!(command.language, Language::NodeJs);
    assert!(command.is_oneway());
    assert_eq!(command.ext, [("e", "3"), ("m", "true")].into_iter().collect());
}

#[test]
fn a_missing_or_null_map_is_empty() {
    assert!(decode_text(r#"{"code":34}"#).expect("legal").ext.is_empty());
    assert!(decode_text(r#"{"code":34,"extFields":null,"remark":null}"#).expect("legal").ext.is_empty());
}

#[test]
fn broken_headers_are_refused() {
    for header in [
        "",
        "[]",
        "{}",
        r#"{"code":34"#,
        r#"{"code":34}}"#,
        r#"{"code":"x"}"#,
        r#"{"code":99999999999}"#,
        r#"{"code":1,"extFields":[]}"#,
        r#"{"code":1,"extFields":{"a":{}}}"#,
        r#"{"code":1,"extFields":{"a":"\q"}}"#,
        r#"{"code":1 "flag":0}"#,
    ] {
        assert!(decode_text(header).is_err(), "{header}");
    }
}

#[test]
fn an_incomplete_frame_waits_and_reserves_nothing() {
    let whole = frame(r#"{"code":34}"#, b"abc");
    for len in 0..whole.len() {
        let mut part = BytesMut::from(&whole[..len]);
        assert_eq!(decode(&mut part, DEFAULT_MAX_FRAME), Ok(None));
        assert_eq!(part.len(), len);
        assert!(part.capacity() <= 256);
    }
}

#[test]
fn impossible_lengths_are_refused() {
    let cases: [(&[u8], &str); 5] = [
        (&[0xFF, 0, 0, 0], "negative"),
        (&[0, 0, 0, 3], "too short for a header length"),
        (&[0x7F, 0, 0, 0], "over the limit"),
        (&[0, 0, 0, 4, 0, 0, 0, 1], "header longer than the frame"),
        (&[0, 0, 0, 4, 9, 0, 0, 0], "unknown type"),
    ];
    for (bytes, what) in cases {
        assert!(decode(&mut BytesMut::from(bytes), DEFAULT_MAX_FRAME).is_err(), "{what}");
    }
}

#[test]
fn the_limit_counts_the_whole_frame() {
    let whole = frame(r#"{"code":34}"#, b"");
    assert!(decode(&mut whole.clone(), whole.len()).is_ok());
    assert!(matches!(decode(&mut whole.clone(), whole.len() - 1), Err(FrameError::TooLarge { .. })));
}

#[test]
fn a_truncated_pop_code_of_the_binary_header_is_widened() {
    let mut command = Command::request(RequestCode::POP_MESSAGE);
    command.serialize = SerializeType::Rocketmq;
    assert_eq!(round(&command).request_code(), RequestCode::POP_MESSAGE);
}

#[test]
fn a_binary_header_may_end_after_the_remark() {
    let header: &[u8] = &[0, 34, 0, 1, 223, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0];
    let mut bytes = BytesMut::new();
    bytes.put_i32(i32::try_from(4 + header.len()).expect("short"));
    bytes.put_u8(1);
    bytes.put_slice(&[0, 0, u8::try_from(header.len()).expect("short")]);
    bytes.put_slice(header);
    let command = decode(&mut bytes, DEFAULT_MAX_FRAME).expect("legal").expect("whole");
    assert_eq!((command.code, command.version, command.opaque), (34, 479, 5));
    assert!(command.ext.is_empty());
}

#[test]
fn a_map_of_any_size_is_read() {
    for entries in [0usize, 1, 19, 20, 21, 60] {
        let members: Vec<_> = (0..entries).map(|index| format!(r#""k{index}":"v\"{index}""#)).collect();
        let command =
            decode_text(&format!(r#"{{"code":1,"extFields":{{{}}}}}"#, members.join(","))).expect("legal");
        assert_eq!(command.ext.iter().count(), entries);
        for index in 0..entries {
            assert_eq!(command.ext.get(&format!("k{index}")), Some(format!("v\"{index}").into()));
        }
    }
    let long = "x".repeat(40_000);
    let command = decode_text(&format!(r#"{{"code":1,"extFields":{{"a":"{long}","b":"1","c":"{long}"}}}}"#));
    let command = command.expect("legal");
    assert_eq!(command.ext.get("b").as_deref(), Some("1"));
    assert_eq!(command.ext.get("c").as_deref(), Some(long.as_str()));
}
