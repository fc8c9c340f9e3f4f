//! Counts what the operator asks of the API server: a layer around the client, so that no call is left out.

use std::task::{Context, Poll};

use futures::future::{BoxFuture, FutureExt};
use http::{Method, Request, Response};
use prometheus::IntCounterVec;
use tower::{Layer, Service};

/// Counts requests by verb, resource and code.
#[derive(Clone)]
pub(crate) struct CountCalls(pub(crate) IntCounterVec);

impl<S> Layer<S> for CountCalls {
    type Service = Counted<S>;

    fn layer(&self, inner: S) -> Counted<S> {
        Counted { inner, requests: self.0.clone() }
    }
}

/// A client whose requests are counted.
#[derive(Clone)]
pub(crate) struct Counted<S> {
    inner: S,
    requests: IntCounterVec,
}

impl<S, A, B> Service<Request<A>> for Counted<S>
where
    S: Service<Request<A>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: Send,
    B: Send,
{
    type Response = Response<B>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<B>, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let path = request.uri().path();
        let (resource, named) = resource(path);
        let resource = resource.to_owned();
        let verb = verb(request.method(), named, request.uri().query().unwrap_or_default());
        let requests = self.requests.clone();
        let answer = self.inner.call(request);
        async move {
            let answer = answer.await;
            let code = answer.as_ref().map_or("none", |answer| code(answer.status().as_u16()));
            requests.with_label_values(&[verb, &resource, code]).inc();
            answer
        }
        .boxed()
    }
}

/// The resource in a path, with its subresource, and whether an object of it is named.
fn resource(path: &str) -> (String, bool) {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let rest = match parts.as_slice() {
        ["api", _, rest @ ..] | ["apis", _, _, rest @ ..] => rest,
        _ => return ("other".to_owned(), false),
    };
    match rest {
        ["namespaces", _, resource, name @ ..] | [resource, name @ ..] => match name {
            [] => ((*resource).to_owned(), false),
            [_] => ((*resource).to_owned(), true),
            [_, sub, ..] => (format!("{resource}/{sub}"), true),
        },
        [] => ("other".to_owned(), false),
    }
}

/// The word that roles have for a request.
fn verb(method: &Method, named: bool, query: &str) -> &'static str {
    let watches = query.split('&').any(|pair| pair == "watch=true" || pair == "watch=1");
    match *method {
        Method::GET if watches => "watch",
        Method::GET if named => "get",
        Method::GET => "list",
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "other",
    }
}

/// Codes that tell something apart; others by their class.
fn code(status: u16) -> &'static str {
    match status {
        403 => "403",
        404 => "404",
        409 => "409",
        429 => "429",
        200..300 => "2xx",
        400..500 => "4xx",
        500..600 => "5xx",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_its_resource() {
        let of = |path: &str| resource(path);
        assert_eq!(
            of("/apis/bolide.dev/v1alpha1/namespaces/shop/topics/a/status"),
            ("topics/status".into(), true)
        );
        assert_eq!(of("/apis/bolide.dev/v1alpha1/topics"), ("topics".into(), false));
        assert_eq!(of("/api/v1/namespaces/shop/services/demo"), ("services".into(), true));
        assert_eq!(of("/api/v1/namespaces/shop/pods"), ("pods".into(), false));
        assert_eq!(of("/apis/storage.k8s.io/v1/storageclasses/fast"), ("storageclasses".into(), true));
        assert_eq!(of("/version"), ("other".into(), false));
    }

    #[test]
    fn a_request_has_the_verb_of_its_role() {
        assert_eq!(verb(&Method::GET, false, "labelSelector=a&watch=true"), "watch");
        assert_eq!(verb(&Method::GET, false, "limit=500"), "list");
        assert_eq!(verb(&Method::GET, true, ""), "get");
        assert_eq!(verb(&Method::PATCH, true, "force=true"), "patch");
    }

    #[tokio::test]
    async fn every_answer_is_counted_once() {
        let requests =
            IntCounterVec::new(prometheus::Opts::new("n", "n"), &["verb", "resource", "code"]).unwrap();
        let answering = tower::service_fn(|_: Request<()>| async {
            Ok::<_, std::convert::Infallible>(Response::builder().status(404).body(()).unwrap())
        });
        let mut counted = CountCalls(requests.clone()).layer(answering);
        let request = Request::get("/api/v1/namespaces/shop/services/demo").body(()).unwrap();
        counted.call(request).await.unwrap();
        assert_eq!(requests.with_label_values(&["get", "services", "404"]).get(), 1);
    }
}
