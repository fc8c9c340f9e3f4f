//! Owns the connections between replicas: dialing, accepting, and for each connection one task that reads messages and one
//! that writes them and parts of the log.
//!
//! A part of the log goes from its mapped pages to the socket without being copied. `Event::LogSent` follows the write, so a
//! peer that does not read slows down only itself.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bolide_replication::codec;
use bolide_replication::{Batch, Epoch, Event, LinkId, Message, ReplicaName, SendFailure, Session};
use bolide_store::Store;
use bolide_wire::LogOffset;
use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::owner::Input;
use super::snapshot;
use crate::broker::Broker;

/// How long a peer may take to answer a connection attempt.
const DIAL_TIMEOUT: Duration = Duration::from_secs(1);
/// Messages that may wait to be written. A peer that lets more pile up does not read.
const WAITING: usize = 4_096;
/// Connections of other replicas at a time.
const MAX_ACCEPTED: usize = 64;
/// How long what is queued may take to be written when a connection is closed.
const LINGER: Duration = Duration::from_millis(500);
const READ_BYTES: usize = 256 * 1024;
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// What leaves on a connection.
pub(super) enum Out {
    /// A message.
    Message(Message),
    /// A part of the log, see `Effect::SendLog`.
    Log {
        /// For the batch.
        epoch: Epoch,
        /// For the batch.
        session: Session,
        /// Where it begins.
        from: LogOffset,
        /// Its largest size.
        max_bytes: u32,
        /// For the batch.
        confirm: LogOffset,
    },
}

/// The writing end of a connection. It is closed, after what is queued, when this is dropped.
pub(super) struct Link {
    out: mpsc::Sender<Out>,
}

impl Link {
    /// Queues something; false when the peer does not read and the connection has to go.
    pub(super) fn send(&self, out: Out) -> bool {
        self.out.try_send(out).is_ok()
    }

    /// For work that sends by itself.
    pub(super) fn sender(&self) -> mpsc::Sender<Out> {
        self.out.clone()
    }
}

/// Makes connections and runs them.
#[derive(Clone)]
pub(super) struct Links {
    pub(super) broker: Arc<Broker>,
    pub(super) inputs: mpsc::Sender<Input>,
    pub(super) tasks: TaskTracker,
    pub(super) stop: CancellationToken,
    next: Arc<AtomicU64>,
}

impl Links {
    pub(super) fn new(broker: Arc<Broker>, inputs: mpsc::Sender<Input>, stop: CancellationToken) -> Links {
        Links { broker, inputs, tasks: TaskTracker::new(), stop, next: Arc::new(AtomicU64::new(1)) }
    }

    /// Connects to a peer.
    pub(super) fn dial(&self, peer: ReplicaName, address: String) {
        let links = self.clone();
        self.spawn(async move {
            let failed = match tokio::time::timeout(DIAL_TIMEOUT, TcpStream::connect(&address)).await {
                Ok(Ok(stream)) => {
                    let link = links.number();
                    return links.run(stream, link, Event::Dialed { peer, link }).await;
                }
                Ok(Err(error)) => Some(error),
                Err(_) => None,
            };
            let refused = failed.is_some_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
            // The owner is gone only when all of this ends.
            let _ = links.inputs.send(Input::Event(Event::DialFailed { peer, refused })).await;
        });
    }

    /// Takes connections of the other replicas.
    pub(super) fn accept(&self, listener: TcpListener) {
        let links = self.clone();
        let slots = Arc::new(Semaphore::new(MAX_ACCEPTED));
        self.spawn(async move {
            loop {
                let Ok(slot) = slots.clone().acquire_owned().await else { return };
                match listener.accept().await {
                    Ok((stream, _)) => {
                        let (links, link) = (links.clone(), links.number());
                        links.clone().spawn(async move {
                            links.run(stream, link, Event::Accepted { link }).await;
                            drop(slot);
                        });
                    }
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept a connection of another replica");
                        tokio::time::sleep(ACCEPT_RETRY).await;
                    }
                }
            }
        });
    }

    /// Runs work until it is done or everything ends.
    pub(super) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = work => {}
                () = stop.cancelled() => {}
            }
        });
    }

    fn number(&self) -> LinkId {
        LinkId(self.next.fetch_add(1, Ordering::Relaxed))
    }

    async fn run(&self, stream: TcpStream, link: LinkId, opened: Event) {
        let peer = stream.peer_addr().ok();
        let outcome = match stream.set_nodelay(true) {
            Ok(()) => self.carry(stream, link, opened).await,
            Err(error) => Err(error),
        };
        if let Err(error) = outcome {
            tracing::debug!(link = link.0, ?peer, %error, "a connection between replicas ended");
        }
        // The owner is gone only when all of this ends.
        let _ = self.inputs.send(Input::Event(Event::LinkDown { link })).await;
    }

    async fn carry(&self, stream: TcpStream, link: LinkId, opened: Event) -> io::Result<()> {
        let (out, queued) = mpsc::channel(WAITING);
        let gone = || io::Error::from(io::ErrorKind::BrokenPipe);
        self.inputs.send(Input::Opened(opened, link, Link { out })).await.map_err(|_| gone())?;
        let (read, write) = stream.into_split();
        let mut reading = std::pin::pin!(self.read(read, link));
        let mut writing = std::pin::pin!(self.write(write, link, queued));
        tokio::select! {
            ended = &mut reading => ended,
            ended = &mut writing => ended,
        }
    }

    async fn read(&self, mut stream: OwnedReadHalf, link: LinkId) -> io::Result<()> {
        let mut buf = BytesMut::new();
        let mut snapshots = snapshot::Incoming::default();
        loop {
            buf.reserve(READ_BYTES);
            if stream.read_buf(&mut buf).await? == 0 {
                return Ok(());
            }
            while let Some(message) = codec::decode(&mut buf).map_err(io::Error::other)? {
                let input = match message {
                    Message::Shell(bytes) => match snapshots.take(&self.broker, bytes).await? {
                        Some(got) => Input::Snapshot(link, got),
                        // What it holds is not for the state machine, only that it came.
                        None => Input::Event(Event::Received { link, message: Message::Shell(Bytes::new()) }),
                    },
                    message => Input::Event(Event::Received { link, message }),
                };
                if self.inputs.send(input).await.is_err() {
                    return Ok(());
                }
            }
        }
    }

    /// Writes until the queue ends.
    async fn write(
        &self,
        mut stream: OwnedWriteHalf,
        link: LinkId,
        mut queued: mpsc::Receiver<Out>,
    ) -> io::Result<()> {
        let mut small = BytesMut::new();
        while let Some(first) = queued.recv().await {
            let mut next = Some(first);
            while let Some(out) = next {
                match out {
                    Out::Message(message) => {
                        let (head, payload) = codec::encode(&message);
                        small.extend_from_slice(&head);
                        small.extend_from_slice(&payload);
                    }
                    Out::Log { epoch, session, from, max_bytes, confirm } => {
                        stream.write_all_buf(&mut small).await?;
                        let sent = match slice(&self.broker.store, from, max_bytes).await {
                            // It may have waited for long: these may be another master's bytes by now.
                            Ok(_) if !leads(&self.broker.store, epoch) => Err(SendFailure::Failed),
                            Ok(bytes) if bytes.is_empty() => Ok(from),
                            Ok(bytes) => {
                                let end = from.0.saturating_add(u64::try_from(bytes.len()).unwrap_or(0));
                                let batch = Batch { epoch, session, offset: from, confirm, bytes };
                                let (head, payload) = codec::encode(&Message::Batch(batch));
                                stream.write_all_buf(&mut head.chain(payload)).await?;
                                Ok(LogOffset(end))
                            }
                            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(SendFailure::Gone),
                            Err(_) => Err(SendFailure::Failed),
                        };
                        let event = Event::LogSent { link, session, result: sent };
                        if self.inputs.send(Input::Event(event)).await.is_err() {
                            return Ok(());
                        }
                    }
                }
                next = queued.try_recv().ok();
            }
            let written =
                tokio::time::timeout(if queued.is_closed() { LINGER } else { Duration::MAX }, async {
                    stream.write_all_buf(&mut small).await
                });
            written.await.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut)))?;
        }
        stream.shutdown().await
    }
}

/// Whether the log is still this replica's own of that epoch. An epoch is led once, so what was read before is of it too.
fn leads(store: &Store, epoch: Epoch) -> bool {
    store.leads() && store.epochs().last().is_some_and(|newest| newest.epoch == epoch.0)
}

async fn slice(store: &Store, from: LogOffset, max_bytes: u32) -> io::Result<Bytes> {
    let most = usize::try_from(max_bytes).unwrap_or(usize::MAX);
    if !store.is_cold(from) {
        return store.log_slice(from, most);
    }
    let store = store.clone();
    tokio::task::spawn_blocking(move || store.log_slice(from, most)).await.map_err(io::Error::other)?
}

/// Listens for the other replicas; a port that is taken is waited for, since a process that has just ended may hold it.
pub(super) async fn listen(address: SocketAddr, stop: &CancellationToken) -> Option<TcpListener> {
    let mut said = false;
    loop {
        let socket =
            if address.is_ipv4() { tokio::net::TcpSocket::new_v4() } else { tokio::net::TcpSocket::new_v6() };
        let bound = socket.and_then(|socket| {
            socket.set_reuseaddr(true)?;
            socket.bind(address)?;
            socket.listen(64)
        });
        match bound {
            Ok(listener) => return Some(listener),
            Err(error) if !std::mem::replace(&mut said, true) => {
                tracing::warn!(%address, %error, "cannot listen for the other replicas; it is tried again");
            }
            Err(_) => {}
        }
        tokio::select! {
            () = tokio::time::sleep(ACCEPT_RETRY) => {}
            () = stop.cancelled() => return None,
        }
    }
}
