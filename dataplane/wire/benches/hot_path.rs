//! Measures what each send costs the codec: decode the frame, read its header, encode the record; and the reply.
//!
//! `cargo bench -p bolide-wire` prints nanoseconds an operation, the best of several rounds.

use std::hint::black_box;
use std::time::Instant;

use bolide_wire::frame::DEFAULT_MAX_FRAME;
use bolide_wire::header::send::{SendMessageResponse, SendMessageV2};
use bolide_wire::message::{NewRecord, OffsetMessageId, encode_record};
use bolide_wire::{Command, EpochMillis, LogOffset, QueueId, RequestCode, ResponseCode};
use bytes::BytesMut;

const FRAMES: usize = 64;
const ROUNDS: usize = 400;
const BODY_BYTES: usize = 1024;

fn frames() -> BytesMut {
    let header = SendMessageV2 {
        producer_group: "bench-producers".into(),
        topic: "bench-topic".into(),
        default_topic: "TBW102".into(),
        default_topic_queue_nums: 4,
        queue_id: 3,
        sys_flag: 0,
        born_timestamp: EpochMillis(1_795_433_132_853),
        flag: 0,
        properties: Some("KEYS\u{1}order-17\u{2}UNIQ_KEY\u{1}7F000001000118B4AAC2\u{2}WAIT\u{1}true\u{2}TAGS\u{1}paid\u{2}".into()),
        reconsume_times: Some(0),
        unit_mode: Some(false),
        max_reconsume_times: None,
        batch: false,
        broker_name: Some("broker-0".into()),
    };
    let command =
        Command::request(RequestCode::SEND_MESSAGE_V2).with_header(&header).with_body(vec![b'x'; BODY_BYTES]);
    let mut bytes = BytesMut::new();
    for _ in 0..FRAMES {
        bolide_wire::encode(&command, &mut bytes).expect("fits");
    }
    bytes
}

/// Best time of one operation in nanoseconds; `round` does `FRAMES` of them.
fn best(mut prepare: impl FnMut() -> BytesMut, mut round: impl FnMut(BytesMut)) -> f64 {
    let mut best = f64::INFINITY;
    for _ in 0..ROUNDS {
        let input = prepare();
        let start = Instant::now();
        round(input);
        let spent = start.elapsed().as_secs_f64() * 1e9;
        best = best.min(spent / FRAMES as f64);
    }
    best
}

fn main() {
    let input = frames();
    let host = "10.0.0.1:10911".parse().expect("an address");
    let decode = |stream: &mut BytesMut| bolide_wire::decode(stream, DEFAULT_MAX_FRAME).expect("legal");

    let frame = best(
        || input.clone(),
        |mut stream| {
            while let Some(command) = decode(&mut stream) {
                black_box(command.opaque);
            }
        },
    );
    let header = best(
        || input.clone(),
        |mut stream| {
            while let Some(command) = decode(&mut stream) {
                black_box(SendMessageV2::decode(&command.ext).expect("a send header").queue_id);
            }
        },
    );
    let mut records = Vec::with_capacity(FRAMES * 2 * BODY_BYTES);
    let whole = best(
        || input.clone(),
        |mut stream| {
            records.clear();
            while let Some(command) = decode(&mut stream) {
                let header = SendMessageV2::decode(&command.ext).expect("a send header");
                let record = NewRecord {
                    topic: &header.topic,
                    queue_id: QueueId(3),
                    flag: header.flag,
                    sys_flag: header.sys_flag,
                    born_timestamp: header.born_timestamp,
                    born_host: host,
                    store_host: host,
                    reconsume_times: 0,
                    prepared_transaction_offset: 0,
                    body: &command.body,
                    properties: header.properties.as_deref().unwrap_or_default(),
                };
                encode_record(&record, &mut records).expect("fits");
            }
            black_box(records.len());
        },
    );

    let request = Command::request(RequestCode::SEND_MESSAGE_V2);
    let mut out = BytesMut::with_capacity(FRAMES * 512);
    let reply = best(BytesMut::new, |_| {
        out.clear();
        for index in 0..FRAMES {
            let offset = LogOffset(u64::try_from(index).expect("small"));
            let header = SendMessageResponse {
                msg_id: OffsetMessageId { host, offset }.to_string(),
                queue_id: 3,
                queue_offset: 1_234_567,
                transaction_id: Some("7F000001000118B4AAC2".to_owned()),
                batch_uniq_id: None,
                recall_handle: None,
                region: Some("DefaultRegion".to_owned()),
                trace_on: Some(true),
            };
            let response = request.response(ResponseCode::SUCCESS).with_header(&header);
            bolide_wire::encode(&response, &mut out).expect("fits");
        }
        black_box(out.len());
    });

    println!("decode frame                                {frame:7.0} ns");
    println!("decode frame + send header                  {header:7.0} ns");
    println!("decode frame + send header + record 1 KiB   {whole:7.0} ns");
    println!("build + encode send response                {reply:7.0} ns");
}
