//! A server that reads each frame as far as its opaque and answers at once: the ceiling of machine and load.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;

use anyhow::Context;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

use crate::frame;

const LISTENER: Token = Token(0);
const READ_BYTES: usize = 256 * 1024;
/// A header longer than this is no header.
const MAX_HEADER_BYTES: usize = 1024 * 1024;

struct Peer {
    stream: TcpStream,
    /// Bytes that are not a whole header yet.
    carry: Vec<u8>,
    /// Body bytes still to be passed over.
    skip: usize,
    out: Vec<u8>,
    sent: usize,
}

/// Serves until the process is ended.
pub(crate) fn serve(addr: SocketAddr) -> anyhow::Result<()> {
    let mut listener = TcpListener::bind(addr).with_context(|| format!("cannot listen on {addr}"))?;
    let mut poll = Poll::new()?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    println!("null server on {}", listener.local_addr()?);
    let mut events = Events::with_capacity(256);
    let mut peers: HashMap<Token, Peer> = HashMap::new();
    let mut next = 1;
    let mut buf = vec![0; READ_BYTES];
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            outcome => outcome?,
        }
        for event in &events {
            if event.token() == LISTENER {
                while let Ok((mut stream, _)) = listener.accept() {
                    stream.set_nodelay(true)?;
                    let token = Token(next);
                    next += 1;
                    poll.registry().register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
                    peers
                        .insert(token, Peer { stream, carry: Vec::new(), skip: 0, out: Vec::new(), sent: 0 });
                }
            } else if let Some(peer) = peers.get_mut(&event.token())
                && peer.turn(&mut buf).is_err()
            {
                peers.remove(&event.token());
            }
        }
    }
}

impl Peer {
    fn turn(&mut self, buf: &mut [u8]) -> anyhow::Result<()> {
        loop {
            match self.stream.read(buf) {
                Ok(0) => anyhow::bail!("closed"),
                Ok(count) => {
                    self.take(buf.get(..count).unwrap_or_default())?;
                    if count < buf.len() {
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        self.write()
    }

    fn take(&mut self, received: &[u8]) -> anyhow::Result<()> {
        let skipped = self.skip.min(received.len());
        self.skip -= skipped;
        let received = received.get(skipped..).unwrap_or_default();
        if self.carry.is_empty() {
            let used = self.answer(received)?;
            self.carry.extend_from_slice(received.get(used..).unwrap_or_default());
        } else {
            let mut joined = std::mem::take(&mut self.carry);
            joined.extend_from_slice(received);
            let used = self.answer(&joined)?;
            joined.drain(..used);
            self.carry = joined;
        }
        Ok(())
    }

    /// Answers the frames whose headers are whole; returns how many bytes are done with.
    fn answer(&mut self, bytes: &[u8]) -> anyhow::Result<usize> {
        let mut at = 0;
        loop {
            let rest = bytes.get(at..).unwrap_or_default();
            let Some(lengths) = frame::lengths(rest)? else { return Ok(at) };
            anyhow::ensure!(lengths.header <= MAX_HEADER_BYTES, "a header of {} bytes", lengths.header);
            let Some(header) = rest.get(8..8 + lengths.header) else { return Ok(at) };
            let opaque = frame::opaque(header).context("a header without opaque")?;
            frame::push_send_response(&mut self.out, opaque);
            let whole = 8 + lengths.header + lengths.body;
            let here = whole.min(rest.len());
            self.skip = whole - here;
            at += here;
        }
    }

    fn write(&mut self) -> anyhow::Result<()> {
        while self.sent < self.out.len() {
            match self.stream.write(self.out.get(self.sent..).unwrap_or_default()) {
                Ok(0) => anyhow::bail!("closed"),
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        self.out.clear();
        self.sent = 0;
        Ok(())
    }
}
