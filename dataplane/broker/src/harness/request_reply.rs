//! Replies to requests: pushed to the requester, stored on the side.

use std::sync::mpsc;

use bolide_transport::{Conn, Handler, TransportMetrics};
use bolide_wire::body::heartbeat::ProducerData;
use bolide_wire::header::reply::PushReplyMessage;
use parking_lot::Mutex;

use super::*;

const REPLY_TOPIC: &str = "DefaultCluster_REPLY_TOPIC";

/// A requester: accepts what is pushed, with the given code.
struct Requester {
    pushed: Mutex<mpsc::Sender<Command>>,
    answer: i32,
}

impl Handler for Requester {
    fn handle(&self, conn: &Conn, requests: Vec<Command>) {
        for request in requests {
            conn.reply(request.response(self.answer.into()));
            self.pushed.lock().send(request).unwrap();
        }
    }
}

async fn requester(lab: &Harness, id: &str, answer: i32) -> (Client, mpsc::Receiver<Command>) {
    let (sender, receiver) = mpsc::channel();
    let handler = Arc::new(Requester { pushed: Mutex::new(sender), answer });
    let client = Client::with_handler(ClientConfig::default(), handler, TransportMetrics::unregistered());
    let heartbeat = HeartbeatData {
        client_id: id.into(),
        producer_data_set: vec![ProducerData { group_name: "requesters".into() }],
        ..HeartbeatData::default()
    };
    let body = json::to_vec(&heartbeat, IntegerKeys::Quoted).unwrap();
    let registered =
        client.call(&lab.address, Command::request(RequestCode::HEART_BEAT).with_body(body), TIMEOUT);
    assert_eq!(registered.await.unwrap().code, 0);
    (client, receiver)
}

fn reply(properties: &str) -> Command {
    Command::request(RequestCode::SEND_REPLY_MESSAGE_V2)
        .with_header(&send_header(REPLY_TOPIC, 0, properties))
        .with_body("the answer")
}

const TO_ASKER: &str = "CORRELATION_ID\u{1}c1\u{2}REPLY_TO_CLIENT\u{1}asker\u{2}MSG_TYPE\u{1}reply\u{2}";

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_reaches_the_client_that_asked_and_a_copy_is_stored() {
    let lab = Harness::start().await;
    let (_asker, pushed) = requester(&lab, "asker", 0).await;
    let answer = sent(&lab.call(reply(TO_ASKER)).await);
    assert_eq!((answer.msg_id.as_str(), answer.queue_offset), ("0", 0));
    let got = pushed.recv_timeout(TIMEOUT).unwrap();
    assert_eq!(
        (got.request_code(), &got.body[..]),
        (RequestCode::PUSH_REPLY_MESSAGE_TO_CLIENT, &b"the answer"[..])
    );
    let header = PushReplyMessage::decode(&got.ext).unwrap();
    let properties = header.properties.unwrap();
    let properties = bolide_wire::properties::PropertiesRef::new(&properties);
    assert_eq!(properties.get("CORRELATION_ID"), Some("c1"));
    assert!(properties.get("PUSH_REPLY_TIME").is_some());
    assert_eq!(header.topic, REPLY_TOPIC);
    assert_eq!(lab.pull(REPLY_TOPIC, 0, 0, "*", 5_000).await.bodies(), ["the answer"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_that_nobody_takes_is_an_error_for_the_replier() {
    let lab = Harness::start_with(|config| config.store_reply_message_enable = false).await;
    let absent = lab.call(reply(TO_ASKER)).await;
    assert_eq!(absent.code, 1);
    assert_eq!(absent.remark.as_deref(), Some("push reply message fail, channel of <asker> not found."));
    assert_eq!(lab.call(reply("CORRELATION_ID\u{1}c1\u{2}")).await.code, 1);
    let (_asker, pushed) = requester(&lab, "asker", 1).await;
    let refused = lab.call(reply(TO_ASKER)).await;
    assert_eq!((refused.code, refused.remark.as_deref()), (1, Some("push reply message to asker fail.")));
    assert_eq!(pushed.recv_timeout(TIMEOUT).unwrap().body, "the answer");
    assert_eq!(
        lab.pull(REPLY_TOPIC, 0, 0, "*", 0).await.code,
        19,
        "nothing is stored when that is switched off"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_inner_batch_is_refused_in_words() {
    let lab = Harness::start().await;
    let header = SendMessageV2 { sys_flag: 0x80, ..send_header("orders", 0, "") };
    let answer =
        lab.call(Command::request(RequestCode::SEND_MESSAGE_V2).with_header(&header).with_body("x")).await;
    assert_eq!(answer.code, 13);
    assert!(answer.remark.unwrap().contains("inner batch"));
}
