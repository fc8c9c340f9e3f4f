//! Server and client over loopback: what goes in one write, what is refused, and what one bad peer costs the others.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "the lint tells tests by their attribute, and these helpers have none"
)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bolide_transport::{
    CallError, Client, ClientConfig, CloseReason, Conn, Handler, Limits, Outgoing, Server, ServerConfig,
    TransportMetrics,
};
use bolide_wire::{Command, RequestCode, ResponseCode, decode, encode};
use bytes::{Bytes, BytesMut};
use prometheus::Registry;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

const ECHO: RequestCode = RequestCode(9_001);
/// Answers with a body of as many zeros as the request's ext `size` says, as slices.
const PRODUCE: RequestCode = RequestCode(9_002);
/// Answers after asking the client.
const ASK_BACK: RequestCode = RequestCode(9_003);
/// Never answers.
const HOLD: RequestCode = RequestCode(9_004);
const DEADLINE: Duration = Duration::from_secs(10);

#[derive(Default)]
struct Echo {
    batches: AtomicUsize,
    requests: AtomicUsize,
    opened: AtomicUsize,
    closed: AtomicUsize,
    kept: std::sync::Mutex<Vec<bolide_transport::Unfinished>>,
}

impl Handler for Echo {
    fn handle(&self, conn: &Conn, requests: Vec<Command>) {
        self.batches.fetch_add(1, Ordering::SeqCst);
        self.requests.fetch_add(requests.len(), Ordering::SeqCst);
        let mut replies: Vec<Outgoing> = Vec::new();
        for request in requests {
            let reply = request.response(ResponseCode::SUCCESS);
            match request.request_code() {
                PRODUCE => {
                    let size: usize = request.ext.get("size").unwrap().parse().unwrap();
                    let half = Bytes::from(vec![0; size / 2]);
                    replies.push(Outgoing::with_slices(reply, vec![half.clone(), half]));
                }
                ASK_BACK => {
                    let asking = conn.clone();
                    conn.spawn(async move {
                        let answer =
                            asking.request(Command::request(ECHO).with_body("back"), DEADLINE).await.unwrap();
                        asking.reply(reply.with_body(answer.body));
                    });
                }
                HOLD => {
                    // A two-way one counts until it is answered, which is never.
                    if let Some(unfinished) = conn.unfinished(&request) {
                        self.kept.lock().unwrap().push(unfinished);
                    }
                }
                // Also for one-way requests: the transport must not send it.
                _ => replies.push(reply.with_body(request.body).into()),
            }
        }
        conn.reply_many(replies);
    }

    fn opened(&self, _: &Conn) {
        self.opened.fetch_add(1, Ordering::SeqCst);
    }

    fn closed(&self, _: &Conn) {
        self.closed.fetch_add(1, Ordering::SeqCst);
    }
}

struct Running {
    server: Server,
    echo: Arc<Echo>,
    metrics: TransportMetrics,
    shutdown: CancellationToken,
}

fn start(config: ServerConfig) -> Running {
    let echo = Arc::new(Echo::default());
    let metrics = TransportMetrics::register(&Registry::new(), "server").unwrap();
    let shutdown = CancellationToken::new();
    let addr = "127.0.0.1:0".parse().unwrap();
    let server = Server::bind(addr, config, echo.clone(), metrics.clone(), shutdown.clone()).unwrap();
    Running { server, echo, metrics, shutdown }
}

fn start_on(listener: &std::net::TcpListener) -> Running {
    let echo = Arc::new(Echo::default());
    let metrics = TransportMetrics::register(&Registry::new(), "server").unwrap();
    let shutdown = CancellationToken::new();
    let listener = listener.try_clone().unwrap();
    let config = ServerConfig::default();
    let server = Server::on(listener, config, echo.clone(), metrics.clone(), shutdown.clone()).unwrap();
    Running { server, echo, metrics, shutdown }
}

fn with_limits(change: impl FnOnce(&mut Limits)) -> ServerConfig {
    let mut config = ServerConfig::default();
    change(&mut config.limits);
    config
}

impl Running {
    fn addr(&self) -> SocketAddr {
        self.server.local_addr()
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.addr()).await.unwrap()
    }

    async fn until(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        let waiting = async {
            while !condition(self) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(DEADLINE, waiting).await.unwrap_or_else(|_| panic!("never: {what}"));
    }
}

fn frame(code: RequestCode, opaque: i32, body: &[u8]) -> BytesMut {
    let mut command = Command::request(code).with_body(Bytes::copy_from_slice(body));
    command.opaque = opaque;
    let mut out = BytesMut::new();
    encode(&command, &mut out).unwrap();
    out
}

async fn read_frame(stream: &mut TcpStream, buf: &mut BytesMut) -> Command {
    let reading = async {
        loop {
            if let Some(command) = decode(buf, usize::MAX).unwrap() {
                return command;
            }
            assert!(stream.read_buf(buf).await.unwrap() > 0, "closed by the server");
        }
    };
    tokio::time::timeout(DEADLINE, reading).await.expect("an answer")
}

/// Reads until the server closes the connection.
async fn until_closed(stream: &mut TcpStream) {
    let reading = async {
        let mut scratch = vec![0; 65_536];
        while !matches!(stream.read(&mut scratch).await, Ok(0) | Err(_)) {}
    };
    tokio::time::timeout(DEADLINE, reading).await.expect("the server closes the connection");
}

#[tokio::test]
async fn a_frame_may_arrive_byte_by_byte() {
    let running = start(ServerConfig::default());
    let mut stream = running.connect().await;
    stream.set_nodelay(true).unwrap();
    for byte in frame(ECHO, 5, b"slow").iter() {
        stream.write_all(&[*byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    let answer = read_frame(&mut stream, &mut BytesMut::new()).await;
    assert_eq!((answer.opaque, &answer.body[..]), (5, &b"slow"[..]));
}

#[tokio::test]
async fn pipelined_frames_come_to_the_handler_together_and_are_all_answered() {
    let running = start(ServerConfig::default());
    let mut stream = running.connect().await;
    let mut out = BytesMut::new();
    for opaque in 0..500 {
        out.extend_from_slice(&frame(ECHO, opaque, &[7; 100]));
    }
    stream.write_all(&out).await.unwrap();
    let mut buf = BytesMut::new();
    for opaque in 0..500 {
        assert_eq!(read_frame(&mut stream, &mut buf).await.opaque, opaque);
    }
    assert_eq!(running.echo.requests.load(Ordering::SeqCst), 500);
    assert!(running.echo.batches.load(Ordering::SeqCst) < 100, "many frames of one read are one call");
}

#[tokio::test]
async fn a_one_way_request_is_never_answered() {
    let running = start(ServerConfig::default());
    let mut stream = running.connect().await;
    let mut oneway = Command::request(ECHO).oneway();
    oneway.opaque = 1;
    let mut out = BytesMut::new();
    encode(&oneway, &mut out).unwrap();
    out.extend_from_slice(&frame(ECHO, 2, b""));
    stream.write_all(&out).await.unwrap();
    assert_eq!(read_frame(&mut stream, &mut BytesMut::new()).await.opaque, 2);
    assert_eq!(running.metrics.dropped_replies(), 1);
}

#[tokio::test]
async fn requests_go_both_ways_on_one_connection() {
    let running = start(ServerConfig::default());
    let client = Client::with_handler(
        ClientConfig::default(),
        Arc::new(Echo::default()),
        TransportMetrics::unregistered(),
    );
    let answer =
        client.call(&running.addr().to_string(), Command::request(ASK_BACK), DEADLINE).await.unwrap();
    assert_eq!(&answer.body[..], b"back");
    client.close(Duration::from_secs(1)).await;
}

#[tokio::test]
async fn a_client_connects_again_after_its_server_came_back() {
    let running = start(ServerConfig::default());
    let addr = running.addr();
    let client = Client::new(ClientConfig::default());
    let call = |client: Client| async move {
        client.call(&addr.to_string(), Command::request(ECHO).with_body("x"), DEADLINE).await
    };
    assert!(call(client.clone()).await.is_ok());
    running.shutdown.cancel();
    running.server.stopped().await;
    assert!(matches!(call(client.clone()).await, Err(CallError::Connect { .. } | CallError::Closed { .. })));
    let echo = Arc::new(Echo::default());
    let shutdown = CancellationToken::new();
    let again =
        Server::bind(addr, ServerConfig::default(), echo, TransportMetrics::unregistered(), shutdown.clone())
            .unwrap();
    assert!(call(client).await.is_ok());
    shutdown.cancel();
    again.stopped().await;
}

#[tokio::test]
async fn calls_fail_when_the_answer_is_late_or_the_connection_ends() {
    let running = start(ServerConfig { drain_timeout: Duration::from_millis(50), ..ServerConfig::default() });
    let addr = running.addr().to_string();
    let client = Client::new(ClientConfig::default());
    let late = client.call(&addr, Command::request(HOLD), Duration::from_millis(50)).await;
    assert!(matches!(late, Err(CallError::Timeout { .. })), "{late:?}");
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { client.call(&addr, Command::request(HOLD), DEADLINE).await }
    });
    running.until("both held", |it| it.echo.requests.load(Ordering::SeqCst) == 2).await;
    running.shutdown.cancel();
    assert!(matches!(waiting.await.unwrap(), Err(CallError::Closed { .. })));
    running.server.stopped().await;
    assert_eq!(running.echo.opened.load(Ordering::SeqCst), running.echo.closed.load(Ordering::SeqCst));
}

#[tokio::test]
async fn a_shutdown_answers_what_was_asked_before() {
    let running = start(ServerConfig::default());
    let client = Client::with_handler(
        ClientConfig::default(),
        Arc::new(Echo::default()),
        TransportMetrics::unregistered(),
    );
    let addr = running.addr().to_string();
    let asking = tokio::spawn(async move { client.call(&addr, Command::request(ASK_BACK), DEADLINE).await });
    running.until("asked", |it| it.echo.requests.load(Ordering::SeqCst) == 1).await;
    running.shutdown.cancel();
    // The answer needs an answer of the client, which the draining server no longer reads: it ends by the drain time.
    let outcome = asking.await.unwrap();
    assert!(outcome.is_ok() || matches!(outcome, Err(CallError::Closed { .. })), "{outcome:?}");
    running.server.stopped().await;
    assert_eq!(running.metrics.connections(), 0);
}

async fn assert_closed_for(running: &Running, bytes: &[u8], reason: CloseReason) {
    let mut bystander = running.connect().await;
    bystander.write_all(&frame(ECHO, 1, b"before")).await.unwrap();
    let mut buf = BytesMut::new();
    read_frame(&mut bystander, &mut buf).await;

    let mut bad = running.connect().await;
    bad.write_all(bytes).await.unwrap();
    until_closed(&mut bad).await;
    running.until(reason.name(), |it| it.metrics.closed(reason) == 1).await;

    bystander.write_all(&frame(ECHO, 2, b"after")).await.unwrap();
    assert_eq!(read_frame(&mut bystander, &mut buf).await.opaque, 2);
}

#[tokio::test]
async fn garbage_closes_only_its_own_connection() {
    let mut not_json = vec![0, 0, 0, 14, 0, 0, 0, 10];
    not_json.extend_from_slice(b"not a json");
    assert_closed_for(&start(ServerConfig::default()), &not_json, CloseReason::BadFrame).await;
}

#[tokio::test]
async fn absurd_lengths_are_refused_before_anything_is_read_of_them() {
    for length in [[0x7F, 0xFF, 0xFF, 0xFF], [0xFF, 0xFF, 0xFF, 0xFF], [0x01, 0x00, 0x00, 0x01]] {
        let running = start(ServerConfig::default());
        assert_closed_for(&running, &length, CloseReason::FrameTooLarge).await;
    }
}

#[tokio::test]
async fn a_tls_handshake_is_refused() {
    let running = start(ServerConfig::default());
    assert_closed_for(&running, &[0x16, 0x03, 0x01, 0x02, 0x00, 0x01], CloseReason::Tls).await;
}

#[tokio::test]
async fn half_a_frame_is_closed_after_the_frame_time_and_silence_after_the_idle_time() {
    let running = start(with_limits(|limits| {
        limits.frame_timeout = Duration::from_millis(100);
        limits.idle_timeout = Duration::from_millis(600);
    }));
    let mut half = running.connect().await;
    half.write_all(&frame(ECHO, 1, b"cut")[..20]).await.unwrap();
    let mut silent = running.connect().await;
    until_closed(&mut half).await;
    running.until("frame timeout", |it| it.metrics.closed(CloseReason::FrameTimeout) == 1).await;
    assert_eq!(running.metrics.closed(CloseReason::Idle), 0);
    until_closed(&mut silent).await;
    running.until("idle", |it| it.metrics.closed(CloseReason::Idle) == 1).await;
}

#[tokio::test]
async fn a_peer_that_reads_nothing_is_closed_at_the_backlog_bound() {
    let running = start(with_limits(|limits| {
        limits.max_backlog_slice_bytes = 4 * 1024 * 1024;
    }));
    let mut stream = running.connect().await;
    let mut out = BytesMut::new();
    for opaque in 0..64 {
        let mut command = Command::request(PRODUCE).with_ext("size", "1048576");
        command.opaque = opaque;
        encode(&command, &mut out).unwrap();
    }
    stream.write_all(&out).await.unwrap();
    running.until("slow reader", |it| it.metrics.closed(CloseReason::SlowReader) == 1).await;
    running.until("buffers given back", |it| it.metrics.buffered_bytes() == 0).await;
}

#[tokio::test]
async fn a_peer_that_stops_reading_is_closed_after_the_stall_time() {
    let running = start(with_limits(|limits| limits.stall_timeout = Duration::from_millis(200)));
    let mut stream = running.connect().await;
    let mut out = BytesMut::new();
    for opaque in 0..16 {
        let mut command = Command::request(PRODUCE).with_ext("size", "1048576");
        command.opaque = opaque;
        encode(&command, &mut out).unwrap();
    }
    stream.write_all(&out).await.unwrap();
    running.until("stalled", |it| it.metrics.closed(CloseReason::SlowReader) == 1).await;
}

#[tokio::test]
async fn reading_stops_while_too_much_is_unanswered() {
    let running = start(with_limits(|limits| limits.max_unanswered = 100));
    let mut stream = running.connect().await;
    let sending = tokio::spawn(async move {
        let held = frame(HOLD, 1, &[0; 4096]);
        for _ in 0..20_000 {
            if stream.write_all(&held).await.is_err() {
                break;
            }
        }
    });
    running.until("some are held", |it| it.echo.requests.load(Ordering::SeqCst) > 100).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    // What one read takes may come on top of the bound.
    assert!(
        running.echo.requests.load(Ordering::SeqCst) < 300,
        "{}",
        running.echo.requests.load(Ordering::SeqCst)
    );
    assert!(!sending.is_finished(), "the sender is held back by TCP");
    sending.abort();
}

#[tokio::test]
async fn reading_stops_while_too_many_one_way_requests_are_unfinished_and_goes_on_after() {
    let running = start(with_limits(|limits| limits.max_unanswered = 100));
    let mut stream = running.connect().await;
    let mut held = BytesMut::new();
    encode(&Command::request(HOLD).oneway().with_body(vec![0; 4096]), &mut held).unwrap();
    let sending = tokio::spawn(async move {
        for _ in 0..20_000 {
            stream.write_all(&held).await.unwrap();
        }
        stream
    });
    running.until("some are kept", |it| it.echo.requests.load(Ordering::SeqCst) > 100).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let kept = running.echo.kept.lock().unwrap().len();
    assert!(kept < 300, "what one read takes may come on top of the bound: {kept}");
    assert!(!sending.is_finished(), "the sender is held back by TCP");
    running
        .until("all came through", |it| {
            drop(std::mem::take(&mut *it.echo.kept.lock().unwrap()));
            it.echo.requests.load(Ordering::SeqCst) == 20_000
        })
        .await;
    drop(sending.await.unwrap());
}

#[tokio::test]
async fn large_frames_share_a_budget_and_all_get_through() {
    let mut config = ServerConfig::default();
    config.limits.max_frame_bytes = 2 * 1024 * 1024;
    config.large_frame_budget_bytes = 2 * 1024 * 1024;
    let running = start(config);
    let mut tasks = Vec::new();
    for n in 0..8_u8 {
        let mut stream = running.connect().await;
        tasks.push(tokio::spawn(async move {
            let body = vec![n; 1_500_000];
            let (mut reader, mut writer) = stream.split();
            let out = frame(ECHO, 1, &body);
            let mut buf = BytesMut::new();
            let reading = async {
                loop {
                    if let Some(answer) = decode(&mut buf, usize::MAX).unwrap() {
                        return answer;
                    }
                    assert!(reader.read_buf(&mut buf).await.unwrap() > 0);
                }
            };
            let (written, answer) = tokio::join!(writer.write_all(&out), reading);
            written.unwrap();
            assert_eq!(answer.body, body);
        }));
    }
    for task in tasks {
        tokio::time::timeout(DEADLINE, task).await.expect("no connection starves").unwrap();
    }
}

#[tokio::test]
async fn idle_connections_hold_no_buffers() {
    let running = start(ServerConfig::default());
    let mut streams = Vec::new();
    for _ in 0..500 {
        let mut stream = running.connect().await;
        stream.write_all(&frame(ECHO, 1, &[1; 2000])).await.unwrap();
        read_frame(&mut stream, &mut BytesMut::new()).await;
        streams.push(stream);
    }
    assert_eq!(running.metrics.connections(), 500);
    assert!(
        running.metrics.buffered_bytes() > 0,
        "the accounting sees the buffers of a connection just used"
    );
    running.until("buffers of idle connections go", |it| it.metrics.buffered_bytes() == 0).await;
}

#[tokio::test]
async fn connections_over_the_limit_are_closed_and_the_others_stay() {
    let running = start(ServerConfig { max_connections: 2, ..ServerConfig::default() });
    let mut first = running.connect().await;
    let _second = running.connect().await;
    running.until("two open", |it| it.metrics.connections() == 2).await;
    until_closed(&mut running.connect().await).await;
    first.write_all(&frame(ECHO, 9, b"")).await.unwrap();
    assert_eq!(read_frame(&mut first, &mut BytesMut::new()).await.opaque, 9);
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_take_turns_on_one_listening_socket_and_open_connections_stay() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (first, mut buf) = (start_on(&listener), BytesMut::new());
    let mut old = first.connect().await;
    old.write_all(&frame(ECHO, 1, b"a")).await.unwrap();
    assert_eq!(read_frame(&mut old, &mut buf).await.opaque, 1);
    first.server.stop_accepting();
    tokio::time::sleep(Duration::from_millis(20)).await;
    let mut waiting = first.connect().await;
    waiting.write_all(&frame(ECHO, 2, b"b")).await.unwrap();
    old.write_all(&frame(ECHO, 3, b"c")).await.unwrap();
    assert_eq!(read_frame(&mut old, &mut buf).await.opaque, 3);
    assert_eq!(first.server.connections().len(), 1);
    let second = start_on(&listener);
    assert_eq!(read_frame(&mut waiting, &mut buf).await.opaque, 2);
    assert_eq!(second.echo.opened.load(Ordering::SeqCst), 1);
    first.shutdown.cancel();
    first.server.stopped().await;
    until_closed(&mut old).await;
}
