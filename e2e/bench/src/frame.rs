//! Requests byte for byte as the Java client 5.3.3 writes them, and the little of an answer that the load looks at.

use std::ops::Range;

use memchr::memmem;

use crate::load::Filter;

/// Code of a response to a pull that found nothing.
pub(crate) const PULL_NOT_FOUND: i64 = 19;
/// Code of a response to a pull that should go on at another offset.
pub(crate) const PULL_RETRY_IMMEDIATELY: i64 = 20;
/// Code of a response to a pull outside the queue.
pub(crate) const PULL_OFFSET_MOVED: i64 = 21;

/// Hexadecimal digits of a unique key that differ from message to message.
const COUNTER_DIGITS: usize = 8;
/// Decimal digits of the property `n`.
const NUMBER_DIGITS: usize = 2;

/// Puts lengths in front of a header and a body.
fn seal(header: &str, body: &[u8]) -> Vec<u8> {
    let header_len = u32::try_from(header.len()).unwrap_or(u32::MAX);
    let rest = u32::try_from(4 + header.len() + body.len()).unwrap_or(u32::MAX);
    let mut frame = Vec::with_capacity(8 + header.len() + body.len());
    frame.extend_from_slice(&rest.to_be_bytes());
    frame.extend_from_slice(&header_len.to_be_bytes());
    frame.extend_from_slice(header.as_bytes());
    frame.extend_from_slice(body);
    frame
}

/// Where in a frame the digits are that differ from message to message.
#[derive(Clone, Debug)]
pub(crate) struct Counters {
    /// Of the unique key, hexadecimal.
    unique: Range<usize>,
    /// Of the property `n`, decimal: empty without it.
    number: Range<usize>,
}

/// A SEND_MESSAGE_V2 and where in it the counters are. A `numbered` message has the property `n`, from `00` to `99`.
pub(crate) fn send(
    topic: &str,
    queues: u32,
    queue: u32,
    opaque: usize,
    body: &[u8],
    numbered: bool,
) -> (Vec<u8>, Counters) {
    const NUMBER: &str = r"n\u000100";
    let properties = if numbered { format!(r"{NUMBER}\u0002") } else { String::new() };
    let (frame, unique) = message(topic, queues, queue, opaque, body, 0, &properties);
    let number = if numbered {
        memmem::find(&frame, NUMBER.as_bytes()).map_or(0, |start| start + NUMBER.len())
    } else {
        0
    };
    (frame, Counters { unique, number: number.saturating_sub(NUMBER_DIGITS)..number })
}

/// A half message of a transaction and where in it the counter is.
pub(crate) fn half(topic: &str, queues: u32, queue: u32, opaque: usize, body: &[u8]) -> (Vec<u8>, Counters) {
    let properties = r"TRAN_MSG\u0001true\u0002PGROUP\u0001bench\u0002";
    let (frame, unique) = message(topic, queues, queue, opaque, body, 4, properties);
    (frame, Counters { unique, number: 0..0 })
}

/// The commit of the transaction whose half message was answered with `header`, as a request that is answered.
pub(crate) fn commit(topic: &str, header: &[u8], opaque: usize) -> Option<Vec<u8>> {
    const ID: &[u8] = b"\"msgId\":\"";
    const QUEUE_OFFSET: &[u8] = b"\"queueOffset\":\"";
    let id = header.get(memmem::find(header, ID)? + ID.len()..)?;
    let id = std::str::from_utf8(id.get(..memchr::memchr(b'"', id)?)?).ok()?;
    // Address, port, log offset, in hexadecimal.
    let log_offset = u64::from_str_radix(id.get(id.len().checked_sub(16)?..)?, 16).ok()?;
    let queue_offset = number_after(header, memmem::find(header, QUEUE_OFFSET), QUEUE_OFFSET)?;
    let header = format!(
        concat!(
            r#"{{"code":37,"extFields":{{"bname":"broker-a","commitLogOffset":"{log_offset}","commitOrRollback":"8","#,
            r#""fromTransactionCheck":"false","msgId":"{id}","producerGroup":"bench","topic":"{topic}","#,
            r#""tranStateTableOffset":"{queue_offset}"}},"flag":0,"language":"JAVA","opaque":{opaque},"#,
            r#""serializeTypeCurrentRPC":"JSON","version":479}}"#
        ),
        log_offset = log_offset,
        queue_offset = queue_offset,
        id = id,
        topic = topic,
        opaque = opaque,
    );
    Some(seal(&header, &[]))
}

/// A SEND_MESSAGE_V2 and where in it the counter of its unique key is.
fn message(
    topic: &str,
    queues: u32,
    queue: u32,
    opaque: usize,
    body: &[u8],
    sys_flag: u32,
    properties: &str,
) -> (Vec<u8>, Range<usize>) {
    let unique = "7F0000010CA42A139A5519E59C000000";
    let header = format!(
        concat!(
            r#"{{"code":310,"extFields":{{"a":"bench","b":"{topic}","c":"TBW102","d":"{queues}","e":"{queue}","f":"{sys_flag}","#,
            r#""g":"1795433132853","h":"0","i":"UNIQ_KEY\u0001{unique}\u0002WAIT\u0001true\u0002{properties}","j":"0","k":"false","#,
            r#""m":"false","n":"broker-a"}},"flag":0,"language":"JAVA","opaque":{opaque},"#,
            r#""serializeTypeCurrentRPC":"JSON","version":479}}"#
        ),
        topic = topic,
        queues = queues,
        queue = queue,
        unique = unique,
        sys_flag = sys_flag,
        properties = properties,
        opaque = opaque,
    );
    let frame = seal(&header, body);
    let end = memmem::find(&frame, unique.as_bytes()).map_or(0, |start| start + unique.len());
    (frame, end.saturating_sub(COUNTER_DIGITS)..end)
}

/// Digits of the due time at the front of a body of [`timer`].
pub(crate) const DUE_DIGITS: usize = 13;

/// A SEND_MESSAGE_V2 for a later time, which is in its properties and at the front of its body.
pub(crate) fn timer(topic: &str, queue: u32, number: u64, due_ms: i64, body_bytes: usize) -> Vec<u8> {
    let header = format!(
        concat!(
            r#"{{"code":310,"extFields":{{"a":"bench","b":"{topic}","c":"TBW102","d":"8","e":"{queue}","f":"0","#,
            r#""g":"1795433132853","h":"0","i":"UNIQ_KEY\u0001{due:016X}{number:016X}\u0002WAIT\u0001true\u0002"#,
            r#"TIMER_DELIVER_MS\u0001{due}\u0002","j":"0","k":"false","m":"false","n":"broker-a"}},"flag":0,"#,
            r#""language":"JAVA","opaque":1,"serializeTypeCurrentRPC":"JSON","version":479}}"#
        ),
        topic = topic,
        queue = queue,
        number = number,
        due = due_ms,
    );
    let mut body = format!("{due_ms:0width$}", width = DUE_DIGITS).into_bytes();
    body.resize(body_bytes.max(DUE_DIGITS), b'x');
    seal(&header, &body)
}

/// The little of a stored record that is looked at.
pub(crate) struct Record<'a> {
    /// Store time in milliseconds.
    pub(crate) stored: i64,
    pub(crate) body: &'a [u8],
}

/// The records of a pull's body; those of hosts with IPv4 addresses, as all of the comparison are.
pub(crate) fn records(mut bytes: &[u8]) -> impl Iterator<Item = Record<'_>> {
    const STORED_AT: usize = 56;
    const BODY_LEN_AT: usize = 84;
    std::iter::from_fn(move || {
        let len = u32::from_be_bytes(*bytes.first_chunk::<4>()?) as usize;
        let (record, rest) = bytes.split_at_checked(len)?;
        bytes = rest;
        let stored = i64::from_be_bytes(*record.get(STORED_AT..)?.first_chunk::<8>()?);
        let (body_len, body) = record.get(BODY_LEN_AT..)?.split_first_chunk::<4>()?;
        Some(Record { stored, body: body.get(..u32::from_be_bytes(*body_len) as usize)? })
    })
}

/// Writes `counter` into the unique key and the number of a frame of [`send`].
pub(crate) fn set_counter(frame: &mut [u8], places: &Counters, mut counter: u32) {
    if let Some([tens, units]) = frame.get_mut(places.number.clone()) {
        let number = u8::try_from(counter % 100).unwrap_or(0);
        (*tens, *units) = (b'0' + number / 10, b'0' + number % 10);
    }
    let Some(digits) = frame.get_mut(places.unique.clone()) else { return };
    for digit in digits.iter_mut().rev() {
        let nibble = u8::try_from(counter & 0xF).unwrap_or(0);
        *digit = if nibble < 10 { b'0' + nibble } else { b'A' + nibble - 10 };
        counter >>= 4;
    }
}

/// A PULL_MESSAGE with its subscription inline, so that no heartbeat is needed, and without waiting for messages.
pub(crate) fn pull(
    topic: &str,
    queue: u32,
    offset: i64,
    batch: u32,
    opaque: usize,
    filter: Filter,
) -> Vec<u8> {
    let header = format!(
        concat!(
            r#"{{"code":11,"extFields":{{"bname":"broker-a","commitOffset":"0","consumerGroup":"bench","expressionType":"{kind}","#,
            r#""maxMsgBytes":"2147483647","maxMsgNums":"{batch}","queueId":"{queue}","queueOffset":"{offset}","#,
            r#""requestSource":"-1","subVersion":"1795433132853","subscription":"{expression}","suspendTimeoutMillis":"15000","#,
            r#""sysFlag":"4","topic":"{topic}"}},"flag":0,"language":"JAVA","opaque":{opaque},"#,
            r#""serializeTypeCurrentRPC":"JSON","version":479}}"#
        ),
        batch = batch,
        queue = queue,
        offset = offset,
        topic = topic,
        opaque = opaque,
        kind = filter.kind,
        expression = filter.expression,
    );
    seal(&header, &[])
}

/// The answer of the null server: as long as a broker's.
pub(crate) fn push_send_response(out: &mut Vec<u8>, opaque: i64) {
    const BEFORE: &[u8] = concat!(
        r#"{"code":0,"extFields":{"MSG_REGION":"DefaultRegion","TRACE_ON":"true","#,
        r#""msgId":"7F00000100002A9F0000000012345678","queueId":"0","queueOffset":"12345678"},"flag":1,"#,
        r#""language":"JAVA","opaque":"#
    )
    .as_bytes();
    const AFTER: &[u8] = br#","serializeTypeCurrentRPC":"JSON","version":479}"#;
    let mut digits = itoa::Buffer::new();
    let digits = digits.format(opaque).as_bytes();
    let header = u32::try_from(BEFORE.len() + digits.len() + AFTER.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&(header + 4).to_be_bytes());
    out.extend_from_slice(&header.to_be_bytes());
    out.extend_from_slice(BEFORE);
    out.extend_from_slice(digits);
    out.extend_from_slice(AFTER);
}

/// Lengths at the front of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lengths {
    /// Header bytes, after the eight bytes of lengths.
    pub(crate) header: usize,
    /// Body bytes after the header.
    pub(crate) body: usize,
}

/// Reads the lengths of a JSON frame; `None` if they are not all here, an error if it is no JSON frame.
pub(crate) fn lengths(bytes: &[u8]) -> anyhow::Result<Option<Lengths>> {
    let Some([a, b, c, d, kind, h1, h2, h3]) = bytes.first_chunk::<8>() else { return Ok(None) };
    let rest = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
    let header = u32::from_be_bytes([0, *h1, *h2, *h3]) as usize;
    anyhow::ensure!(*kind == 0, "a frame that is not JSON (kind {kind})");
    let body = rest.checked_sub(4 + header);
    let body = body.ok_or_else(|| anyhow::anyhow!("a header of {header} bytes in a frame of {rest}"))?;
    Ok(Some(Lengths { header, body }))
}

/// The number after `name`, which ends in a colon or a quote.
fn number_after(header: &[u8], found: Option<usize>, name: &[u8]) -> Option<i64> {
    let digits = header.get(found? + name.len()..)?;
    let (negative, digits) = match digits.split_first() {
        Some((b'-', rest)) => (true, rest),
        _ => (false, digits),
    };
    let end = digits.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(digits.len());
    let value: i64 = std::str::from_utf8(digits.get(..end)?).ok()?.parse().ok()?;
    Some(if negative { -value } else { value })
}

/// The opaque of a header. It stands near the end in what Java writes.
pub(crate) fn opaque(header: &[u8]) -> Option<i64> {
    const NAME: &[u8] = b"\"opaque\":";
    number_after(header, memmem::rfind(header, NAME), NAME)
}

/// The code of a header.
pub(crate) fn code(header: &[u8]) -> Option<i64> {
    const NAME: &[u8] = b"\"code\":";
    let found =
        if header.get(1..1 + NAME.len()) == Some(NAME) { Some(1) } else { memmem::find(header, NAME) };
    number_after(header, found, NAME)
}

/// Where a pull goes on.
pub(crate) fn next_begin_offset(header: &[u8]) -> Option<i64> {
    const NAME: &[u8] = b"\"nextBeginOffset\":\"";
    number_after(header, memmem::find(header, NAME), NAME)
}

/// The remark, for an error message.
pub(crate) fn remark(header: &[u8]) -> String {
    const NAME: &[u8] = b"\"remark\":\"";
    let text = memmem::find(header, NAME).and_then(|at| header.get(at + NAME.len()..)).unwrap_or_default();
    let end = memchr::memchr(b'"', text).unwrap_or(text.len());
    String::from_utf8_lossy(text.get(..end).unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use bolide_wire::header::pull::PullMessage;
    use bolide_wire::header::send::SendMessageV2;
    use bolide_wire::header::transaction::EndTransaction;
    use bytes::BytesMut;

    use super::*;

    #[test]
    fn a_send_is_a_request_that_the_codec_reads() {
        let (mut frame, place) = send("T", 8, 3, 17, b"body", false);
        set_counter(&mut frame, &place, 0xABCD_0123);
        let command = bolide_wire::decode(&mut BytesMut::from(&frame[..]), usize::MAX).unwrap().unwrap();
        let header = SendMessageV2::decode(&command.ext).unwrap();
        assert_eq!((command.code, command.opaque, &command.body[..]), (310, 17, &b"body"[..]));
        assert_eq!((&*header.topic, header.queue_id), ("T", 3));
        let properties = header.properties.unwrap();
        assert_eq!(&*properties, "UNIQ_KEY\u{1}7F0000010CA42A139A5519E5ABCD0123\u{2}WAIT\u{1}true\u{2}");
    }

    #[test]
    fn a_numbered_send_says_which_of_a_hundred_it_is() {
        let (mut frame, places) = send("T", 8, 3, 17, b"body", true);
        set_counter(&mut frame, &places, 1_042);
        let command = bolide_wire::decode(&mut BytesMut::from(&frame[..]), usize::MAX).unwrap().unwrap();
        let properties = SendMessageV2::decode(&command.ext).unwrap().properties.unwrap();
        assert!(properties.ends_with("\u{2}n\u{1}42\u{2}"), "{properties:?}");
        assert!(properties.contains("00000412"), "{properties:?}");
    }

    #[test]
    fn a_timer_is_a_request_that_the_codec_reads() {
        let frame = timer("T", 3, 7, 1_795_433_132_853, 20);
        let command = bolide_wire::decode(&mut BytesMut::from(&frame[..]), usize::MAX).unwrap().unwrap();
        assert_eq!(&command.body[..], b"1795433132853xxxxxxx");
        let header = SendMessageV2::decode(&command.ext).unwrap();
        let properties = header.properties.unwrap();
        assert!(
            properties.ends_with("WAIT\u{1}true\u{2}TIMER_DELIVER_MS\u{1}1795433132853\u{2}"),
            "{properties:?}"
        );
    }

    #[test]
    fn stored_records_are_read_one_after_the_other() {
        use bolide_wire::message::{NewRecord, RecordRef, encode_record};
        let host = "127.0.0.1:1".parse().unwrap();
        let new = |body: &'static [u8]| NewRecord {
            topic: "T",
            queue_id: bolide_wire::QueueId(0),
            flag: 0,
            sys_flag: 0,
            born_timestamp: bolide_wire::EpochMillis(5),
            born_host: host,
            store_host: host,
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body,
            properties: "",
        };
        let mut bytes = Vec::new();
        encode_record(&new(b"first"), &mut bytes).unwrap();
        encode_record(&new(b"second"), &mut bytes).unwrap();
        let stored = RecordRef::parse(&bytes).unwrap().store_timestamp().0;
        let found: Vec<_> = records(&bytes).map(|record| (record.stored, record.body)).collect();
        assert_eq!(found, [(stored, &b"first"[..]), (stored, &b"second"[..])]);
    }

    #[test]
    fn a_transaction_is_two_requests_that_the_codec_reads() {
        let (mut frame, places) = half("T", 8, 3, 17, b"body");
        set_counter(&mut frame, &places, 7);
        let command = bolide_wire::decode(&mut BytesMut::from(&frame[..]), usize::MAX).unwrap().unwrap();
        let header = SendMessageV2::decode(&command.ext).unwrap();
        let properties = header.properties.unwrap();
        let properties = bolide_wire::properties::PropertiesRef::new(&properties);
        assert_eq!((properties.get("TRAN_MSG"), properties.get("PGROUP")), (Some("true"), Some("bench")));
        assert_eq!(properties.get("UNIQ_KEY"), Some("7F0000010CA42A139A5519E500000007"));
        let mut answer = Vec::new();
        push_send_response(&mut answer, 17);
        let frame = commit("T", &answer[8..], 17).unwrap();
        let command = bolide_wire::decode(&mut BytesMut::from(&frame[..]), usize::MAX).unwrap().unwrap();
        let header = EndTransaction::decode(&command.ext).unwrap();
        assert_eq!((command.code, command.opaque, header.commit_or_rollback), (37, 17, 8));
        assert_eq!((header.commit_log_offset, header.tran_state_table_offset), (0x1234_5678, 12_345_678));
        assert_eq!(commit("T", b"{}", 1), None);
    }

    #[test]
    fn a_pull_is_a_request_that_the_codec_reads() {
        let frame = pull("T", 3, 99, 32, 5, Filter::ALL);
        let command = bolide_wire::decode(&mut BytesMut::from(&frame[..]), usize::MAX).unwrap().unwrap();
        let header = PullMessage::decode(&command.ext).unwrap();
        assert_eq!(
            (command.opaque, header.queue_id, header.queue_offset, header.max_msg_nums),
            (5, 3, 99, 32)
        );
    }

    #[test]
    fn an_answer_is_read_without_parsing_all_of_it() {
        let mut out = Vec::new();
        push_send_response(&mut out, 4711);
        let lengths = lengths(&out).unwrap().unwrap();
        assert_eq!((8 + lengths.header, lengths.body), (out.len(), 0));
        let header = &out[8..];
        assert_eq!((code(header), opaque(header)), (Some(0), Some(4711)));
        let other = br#"{"remark":"no","opaque":-7,"code":17,"extFields":{"nextBeginOffset":"88"}}"#;
        assert_eq!((code(other), opaque(other), next_begin_offset(other)), (Some(17), Some(-7), Some(88)));
        assert_eq!(remark(other), "no");
    }
}
