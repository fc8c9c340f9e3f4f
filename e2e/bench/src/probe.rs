//! Single requests over a blocking socket: to make the topic, and to see when a server serves again.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::frame;

const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// An answer to one of many requests at once.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
const RETRY_EVERY: Duration = Duration::from_millis(5);

/// A blocking connection: requests go out as they are, answers come back whole.
pub(crate) struct Asking {
    stream: TcpStream,
}

impl Asking {
    pub(crate) fn connect(addr: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect_timeout(&addr, REQUEST_TIMEOUT)
            .with_context(|| format!("cannot connect to {addr}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        Ok(Self { stream })
    }

    pub(crate) fn write(&mut self, frames: &[u8]) -> anyhow::Result<()> {
        Ok(self.stream.write_all(frames)?)
    }

    /// The next answer: header and body.
    pub(crate) fn read(&mut self) -> anyhow::Result<(Vec<u8>, Vec<u8>)> {
        let mut front = [0; 8];
        self.stream.read_exact(&mut front)?;
        let lengths = frame::lengths(&front)?.context("eight bytes are enough")?;
        let (mut header, mut body) = (vec![0; lengths.header], vec![0; lengths.body]);
        self.stream.read_exact(&mut header)?;
        self.stream.read_exact(&mut body)?;
        Ok((header, body))
    }

    /// The next answer has to be a success.
    pub(crate) fn read_success(&mut self) -> anyhow::Result<()> {
        let (header, _) = self.read()?;
        let code = frame::code(&header);
        anyhow::ensure!(code == Some(0), "an answer with code {code:?}: {}", frame::remark(&header));
        Ok(())
    }
}

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
