//! Single requests over a blocking socket: to make the topic, and to see when a server serves again.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::frame;

const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
const RETRY_EVERY: Duration = Duration::from_millis(5);

/// Sends one message; the answer's code and remark.
fn send_once(addr: SocketAddr, topic: &str, queues: u32, queue: u32) -> anyhow::Result<(i64, String)> {
    let mut stream = TcpStream::connect_timeout(&addr, REQUEST_TIMEOUT)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(REQUEST_TIMEOUT))?;
    let (request, _) = frame::send(topic, queues, queue, 1, b"probe", false);
    stream.write_all(&request)?;
    let mut front = [0; 8];
    stream.read_exact(&mut front)?;
    let lengths = frame::lengths(&front)?.context("eight bytes are enough")?;
    let mut header = vec![0; lengths.header];
    stream.read_exact(&mut header)?;
    Ok((frame::code(&header).context("an answer without code")?, frame::remark(&header)))
}

/// Waits until a message to the topic is stored, which makes the topic where servers make topics on first send. Returns how long
/// it took since `since`.
pub(crate) fn until_serving(
    addr: SocketAddr,
    topic: &str,
    queues: u32,
    since: Instant,
    timeout: Duration,
) -> anyhow::Result<Duration> {
    loop {
        let outcome = send_once(addr, topic, queues, 0);
        if matches!(outcome, Ok((0, _))) {
            return Ok(since.elapsed());
        }
        if since.elapsed() > timeout {
            let (code, remark) = outcome.with_context(|| format!("{addr} does not serve"))?;
            anyhow::bail!("{addr} answers a send with code {code} {remark}");
        }
        std::thread::sleep(RETRY_EVERY);
    }
}
