//! The HTTP port for probes and Prometheus.
//!
//! `/livez` answers 200 while the process can answer at all; `/readyz` 200 or 503 with the reason; `/metrics` the registry as text.
//! Bounds: [`MAX_CONNECTIONS`] at a time, [`HEADER_TIMEOUT`] for a request's header, nothing is read of a body.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus::{Registry, TextEncoder};
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

/// Connections served at a time; further ones wait to be accepted.
const MAX_CONNECTIONS: usize = 64;

/// How long a client may take to send a request's header, or stay silent between requests.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a shutdown waits for pages that are being sent.
const STOP_TIMEOUT: Duration = Duration::from_secs(1);

/// Pause after a failed accept, such as when file descriptors have run out.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Whether the process can do its work now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// It can.
    Ready,
    /// It cannot, and why, in a sentence for people.
    NotReady(String),
}

/// Asked at each `/readyz`; must not block.
pub type ReadinessCheck = Arc<dyn Fn() -> Readiness + Send + Sync>;

/// The admin address cannot be listened on.
#[derive(Debug, Error)]
#[error("cannot listen on {addr}")]
pub struct AdminError {
    /// As asked for.
    pub addr: SocketAddr,
    /// What the system said.
    pub source: std::io::Error,
}

/// The listening admin server. It ends with its shutdown token, not when this is dropped.
#[derive(Debug)]
pub struct AdminServer {
    local_addr: SocketAddr,
    tracker: TaskTracker,
}

impl AdminServer {
    /// Listens on `addr` (port 0 chooses one) and serves until `shutdown` is cancelled.
    ///
    /// # Errors
    /// [`AdminError`] if the address is taken or not ours.
    pub async fn bind(
        addr: SocketAddr,
        registry: Registry,
        readiness: ReadinessCheck,
        shutdown: CancellationToken,
    ) -> Result<Self, AdminError> {
        let listener = TcpListener::bind(addr).await.map_err(|source| AdminError { addr, source })?;
        let local_addr = listener.local_addr().map_err(|source| AdminError { addr, source })?;
        let tracker = TaskTracker::new();
        tracker.spawn(serve(listener, Pages { registry, readiness }, shutdown, tracker.clone()));
        Ok(Self { local_addr, tracker })
    }

    /// The address listened on.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Completes when the shutdown token is cancelled and all connections have ended.
    pub async fn stopped(&self) {
        self.tracker.wait().await;
    }
}

#[derive(Clone)]
struct Pages {
    registry: Registry,
    readiness: ReadinessCheck,
}

async fn serve(listener: TcpListener, pages: Pages, shutdown: CancellationToken, tracker: TaskTracker) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = async {
                let slot = slots.clone().acquire_owned().await.ok()?;
                Some(listener.accept().await.map(|(stream, _)| (stream, slot)))
            } => accepted,
        };
        match accepted {
            Some(Ok((stream, slot))) => {
                let serving = serve_connection(stream, pages.clone(), shutdown.clone());
                tracker.spawn(async move {
                    serving.await;
                    drop(slot);
                });
            }
            Some(Err(error)) => {
                warn!(%error, "cannot accept an admin connection");
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
            None => break,
        }
    }
    tracker.close();
}

async fn serve_connection(stream: TcpStream, pages: Pages, shutdown: CancellationToken) {
    let service = service_fn(move |request| {
        let page = pages.answer(&request);
        async move { Ok::<_, Infallible>(page) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let outcome = tokio::select! {
        outcome = connection.as_mut() => outcome,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            tokio::time::timeout(STOP_TIMEOUT, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = outcome {
        debug!(%error, "admin connection ended badly");
    }
}

impl Pages {
    fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n".to_owned());
        }
        match request.uri().path() {
            "/livez" => text(StatusCode::OK, "ok\n".to_owned()),
            "/readyz" => match (self.readiness)() {
                Readiness::Ready => text(StatusCode::OK, "ok\n".to_owned()),
                Readiness::NotReady(reason) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
            },
            "/metrics" => match TextEncoder::new().encode_to_string(&self.registry.gather()) {
                Ok(metrics) => {
                    let mut page = text(StatusCode::OK, metrics);
                    page.headers_mut().insert(
                        CONTENT_TYPE,
                        HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"),
                    );
                    page
                }
                Err(error) => {
                    text(StatusCode::INTERNAL_SERVER_ERROR, format!("cannot write the metrics: {error}\n"))
                }
            },
            _ => text(StatusCode::NOT_FOUND, "try /metrics, /livez or /readyz\n".to_owned()),
        }
    }
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut page = Response::new(Full::new(Bytes::from(body)));
    *page.status_mut() = status;
    page.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    page
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn fetch(addr: SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut page = String::new();
        stream.read_to_string(&mut page).await.unwrap();
        page
    }

    #[tokio::test]
    async fn probes_and_metrics_say_what_the_process_says() {
        let registry = Registry::new();
        crate::register_build_info(&registry, "test").unwrap();
        let ready = Arc::new(AtomicBool::new(false));
        let seen = ready.clone();
        let check: ReadinessCheck = Arc::new(move || match seen.load(Ordering::Relaxed) {
            true => Readiness::Ready,
            false => Readiness::NotReady("recovering".to_owned()),
        });
        let shutdown = CancellationToken::new();
        let addr = "127.0.0.1:0".parse().unwrap();
        let server = AdminServer::bind(addr, registry, check, shutdown.clone()).await.unwrap();

        assert!(fetch(server.local_addr(), "/livez").await.starts_with("HTTP/1.1 200"));
        let page = fetch(server.local_addr(), "/readyz").await;
        assert!(page.starts_with("HTTP/1.1 503") && page.contains("recovering"), "{page}");
        ready.store(true, Ordering::Relaxed);
        assert!(fetch(server.local_addr(), "/readyz").await.starts_with("HTTP/1.1 200"));
        let page = fetch(server.local_addr(), "/metrics").await;
        assert!(page.contains("bolide_build_info{") && page.contains("component=\"test\""), "{page}");
        assert!(fetch(server.local_addr(), "/other").await.starts_with("HTTP/1.1 404"));

        shutdown.cancel();
        server.stopped().await;
    }

    #[tokio::test]
    async fn a_port_in_use_is_an_error_that_names_the_address() {
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = taken.local_addr().unwrap();
        let check: ReadinessCheck = Arc::new(|| Readiness::Ready);
        let error =
            AdminServer::bind(addr, Registry::new(), check, CancellationToken::new()).await.unwrap_err();
        assert_eq!(error.source.kind(), std::io::ErrorKind::AddrInUse);
        assert!(error.to_string().contains(&addr.to_string()));
    }
}
