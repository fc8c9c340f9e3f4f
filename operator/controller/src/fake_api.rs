//! An API server in memory for tests: stores objects by path, merges what is applied, and lets somebody look before
//! each write. [`FakeApi::settle`] does what Kubernetes' own controllers, the kubelet and the brokers would do.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use bolide_resources::hash::fnv1a;
use http::{Method, Request, Response, StatusCode};
use kube::Client;
use kube::client::Body;
use parking_lot::Mutex;
use serde_json::{Map, Value, json};

mod replicas;

type Look = Box<dyn FnMut() + Send>;

/// The writes to the API server and to brokers together: somebody may look before each.
#[derive(Clone, Default)]
pub(crate) struct Writes(Arc<Mutex<Option<Look>>>);

impl Writes {
    /// From now on `look` is called before each write.
    pub(crate) fn look_before_each(&self, look: impl FnMut() + Send + 'static) {
        *self.0.lock() = Some(Box::new(look));
    }

    /// A write is about to happen.
    pub(crate) fn begin(&self) {
        if let Some(look) = self.0.lock().as_mut() {
            look();
        }
    }
}

#[derive(Clone, Default)]
pub(crate) struct FakeApi {
    objects: Arc<Mutex<BTreeMap<String, Value>>>,
    pub(crate) writes: Writes,
}

/// A request's path, taken apart.
struct Target {
    /// Path of the collection.
    collection: String,
    name: Option<String>,
    sub: Option<String>,
}

impl Target {
    fn of(path: &str) -> Self {
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        // /api/v1/... or /apis/group/version/..., then maybe namespaces/NAME, then the resource
        let root = if parts.first() == Some(&"api") { 2 } else { 3 };
        let at =
            if parts.get(root) == Some(&"namespaces") && parts.len() > root + 2 { root + 2 } else { root };
        Self {
            collection: parts[..=at].join("/"),
            name: parts.get(at + 1).map(ToString::to_string),
            sub: parts.get(at + 2).map(ToString::to_string),
        }
    }
}

impl FakeApi {
    pub(crate) fn client(&self) -> Client {
        Client::new(self.clone(), "default")
    }

    /// The object at `collection/name`, as `api/v1/namespaces/shop/services/demo-nameserver`.
    pub(crate) fn object(&self, path: &str) -> Option<Value> {
        self.objects.lock().get(path).cloned()
    }

    pub(crate) fn typed<K: serde::de::DeserializeOwned>(&self, path: &str) -> K {
        serde_json::from_value(self.object(path).unwrap_or_else(|| panic!("no {path}")))
            .expect("the kind asked for")
    }

    pub(crate) fn put(&self, path: &str, object: Value) {
        let collection = path.rsplit_once('/').expect("a path").0.to_owned();
        let mut objects = self.objects.lock();
        let stored = completed(&collection, objects.get(path), object);
        objects.insert(path.to_owned(), stored);
    }

    pub(crate) fn remove(&self, path: &str) {
        self.objects.lock().remove(path);
    }

    /// A server with the same objects.
    pub(crate) fn copy(&self) -> Self {
        let copy = Self::default();
        copy.take_state_of(self);
        copy
    }

    /// The same objects as another server.
    pub(crate) fn take_state_of(&self, other: &FakeApi) {
        let objects = other.objects.lock().clone();
        *self.objects.lock() = objects;
    }

    pub(crate) fn paths(&self) -> Vec<String> {
        self.objects.lock().keys().cloned().collect()
    }

    /// Everything stored, without what counts writes.
    pub(crate) fn state(&self) -> BTreeMap<String, Value> {
        let mut state = self.objects.lock().clone();
        for object in state.values_mut() {
            if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
                metadata.remove("resourceVersion");
                metadata.remove("generation");
            }
            if let Some(status) = object.get_mut("status").and_then(Value::as_object_mut) {
                status.remove("observedGeneration");
            }
        }
        state
    }

    /// Deployments and StatefulSets get their pods, pods get ready, claims are made, brokers point the Services of masters.
    pub(crate) fn settle(&self) {
        let all = self.objects.lock().clone();
        for (path, mut object) in all {
            let replicas = object.pointer("/spec/replicas").cloned().unwrap_or(json!(1));
            if path.contains("/deployments/") {
                object["status"] = json!({ "readyReplicas": replicas, "replicas": replicas });
                self.settle_nameservers(&object, replicas.as_u64().unwrap_or(0));
                self.objects.lock().insert(path, object);
            } else if path.contains("/statefulsets/") {
                self.settle_stateful_set(&path, object);
            }
        }
    }

    fn settle_nameservers(&self, deployment: &Value, replicas: u64) {
        let name = deployment["metadata"]["name"].as_str().expect("a name");
        let namespace = deployment["metadata"]["namespace"].as_str().expect("a namespace");
        for index in 0..9 {
            let path = format!("api/v1/namespaces/{namespace}/pods/{name}-{index}");
            if index >= replicas {
                self.objects.lock().remove(&path);
            } else if self.object(&path).is_none() {
                let labels = deployment["spec"]["template"]["metadata"]["labels"].clone();
                let ready = json!({ "type": "Ready", "status": "True" });
                let pod = json!({
                    "metadata": { "name": format!("{name}-{index}"), "namespace": namespace, "labels": labels },
                    "status": { "podIP": format!("10.244.0.{}", 10 + index), "conditions": [ready] },
                });
                self.put(&path, pod);
            }
        }
    }

    fn settle_stateful_set(&self, path: &str, mut set: Value) {
        let name = set["metadata"]["name"].as_str().expect("a name").to_owned();
        let namespace = set["metadata"]["namespace"].as_str().expect("a namespace").to_owned();
        let revision = fnv1a(&set["spec"]["template"].to_string());
        set["status"] = json!({
            "observedGeneration": set["metadata"]["generation"],
            "updateRevision": revision,
            "replicas": set["spec"]["replicas"],
        });
        let mut labels = set["spec"]["template"]["metadata"]["labels"].clone();
        labels["controller-revision-hash"] = json!(revision);
        let replicas = set["spec"]["replicas"].as_u64().unwrap_or(0);
        let claim_labels = set["spec"]["volumeClaimTemplates"][0]["metadata"]["labels"].clone();
        let claim_spec = set["spec"]["volumeClaimTemplates"][0]["spec"].clone();
        let arguments = set["spec"]["template"]["spec"]["containers"][0]["args"].clone();
        self.objects.lock().insert(path.to_owned(), set);
        // before new pods come: whoever is away does not lead
        replicas::settle(self, &namespace, &name);
        for ordinal in 0..5 {
            let pod = format!("api/v1/namespaces/{namespace}/pods/{name}-{ordinal}");
            if ordinal >= replicas {
                self.objects.lock().remove(&pod);
                continue;
            }
            if self.object(&pod).is_some() {
                continue;
            }
            let (_, group) = name.rsplit_once('-').expect("a number at the end");
            self.put(
                &pod,
                json!({
                    "metadata": { "name": format!("{name}-{ordinal}"), "namespace": namespace, "labels": labels },
                    "spec": { "containers": [{ "args": arguments }] },
                    "status": {
                        "podIP": format!("10.244.{}.{ordinal}", group.parse::<u8>().expect("a number") + 1),
                        "conditions": [{ "type": "Ready", "status": "True" }],
                    },
                }),
            );
            let claim = format!("api/v1/namespaces/{namespace}/persistentvolumeclaims/data-{name}-{ordinal}");
            if self.object(&claim).is_none() {
                self.put(&claim, json!({
                    "metadata": { "name": format!("data-{name}-{ordinal}"), "namespace": namespace, "labels": claim_labels },
                    "spec": claim_spec,
                }));
            }
        }
        if replicas > 0 {
            replicas::point(self, &namespace, &name);
        }
    }

    fn answer(
        &self,
        method: &Method,
        path: &str,
        query: &str,
        content: &str,
        body: &Value,
    ) -> (StatusCode, Value) {
        let target = Target::of(path);
        if target.collection.ends_with("/events") {
            return (StatusCode::CREATED, body.clone());
        }
        let key = target.name.as_ref().map(|name| format!("{}/{name}", target.collection));
        if method != Method::GET {
            self.writes.begin();
        }
        match (method.as_str(), key) {
            ("GET", Some(key)) => match self.object(&key) {
                Some(object) => (StatusCode::OK, object),
                None => failure(StatusCode::NOT_FOUND),
            },
            ("GET", None) => (StatusCode::OK, self.listed(&target.collection, query)),
            ("POST", None) => {
                let name = body["metadata"]["name"].as_str().unwrap_or_default();
                let key = format!("{}/{name}", target.collection);
                if self.object(&key).is_some() {
                    return failure(StatusCode::CONFLICT);
                }
                self.put(&key, body.clone());
                (StatusCode::CREATED, body.clone())
            }
            ("DELETE", Some(key)) => match self.objects.lock().remove(&key) {
                Some(_) => (StatusCode::OK, json!({ "kind": "Status", "status": "Success" })),
                None => failure(StatusCode::NOT_FOUND),
            },
            ("PATCH", Some(key)) => {
                let mut objects = self.objects.lock();
                let held = objects.get(&key).cloned();
                if held.is_none() && !content.contains("apply-patch") {
                    return failure(StatusCode::NOT_FOUND);
                }
                let version = &body["metadata"]["resourceVersion"];
                if !version.is_null()
                    && held.as_ref().is_some_and(|held| held["metadata"]["resourceVersion"] != *version)
                {
                    return failure(StatusCode::CONFLICT);
                }
                let mut merged = held.clone().unwrap_or_else(|| json!({}));
                if target.sub.as_deref() == Some("status") {
                    merged["status"] = body["status"].clone();
                } else {
                    merge(&mut merged, body);
                }
                let stored = completed(&target.collection, held.as_ref(), merged);
                // an object whose last finalizer goes while it is being deleted is gone
                let finalizers = stored["metadata"]["finalizers"].as_array().is_none_or(Vec::is_empty);
                if finalizers && !stored["metadata"]["deletionTimestamp"].is_null() {
                    objects.remove(&key);
                } else {
                    objects.insert(key, stored.clone());
                }
                (StatusCode::OK, stored)
            }
            _ => failure(StatusCode::METHOD_NOT_ALLOWED),
        }
    }

    fn listed(&self, collection: &str, query: &str) -> Value {
        let selector = query
            .split('&')
            .find_map(|pair| pair.strip_prefix("labelSelector="))
            .map(|text| text.replace("%2F", "/").replace("%3D", "=").replace("%2C", ","))
            .unwrap_or_default();
        let wanted: Vec<(&str, &str)> = selector.split(',').filter_map(|pair| pair.split_once('=')).collect();
        let inside = format!("{collection}/");
        let objects = self.objects.lock();
        let items: Vec<Value> = objects
            .iter()
            .filter(|(path, _)| path.starts_with(&inside))
            .filter(|(_, object)| {
                wanted.iter().all(|(key, value)| object["metadata"]["labels"][*key].as_str() == Some(value))
            })
            .map(|(_, object)| object.clone())
            .collect();
        json!({ "kind": "List", "apiVersion": "v1", "metadata": {}, "items": items })
    }
}

/// What the API server adds to an object.
fn completed(collection: &str, held: Option<&Value>, mut object: Value) -> Value {
    let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    if let Some(namespace) = collection.split("namespaces/").nth(1).and_then(|rest| rest.split('/').next()) {
        object["metadata"]["namespace"] = json!(namespace);
    }
    object["metadata"]["uid"] = json!(fnv1a(&format!("{collection}/{name}")));
    let number = |pointer: &str| {
        held.and_then(|held| held.pointer(pointer)).and_then(|value| match value {
            Value::String(text) => text.parse::<u64>().ok(),
            other => other.as_u64(),
        })
    };
    if held != Some(&object) {
        object["metadata"]["resourceVersion"] =
            json!((number("/metadata/resourceVersion").unwrap_or(0) + 1).to_string());
    }
    let same_spec = held.is_some_and(|held| held["spec"] == object["spec"]);
    let generation = number("/metadata/generation").unwrap_or(0) + u64::from(!same_spec);
    object["metadata"]["generation"] = json!(generation);
    if collection.ends_with("/services") && object["spec"]["clusterIP"].is_null() {
        let last = u64::from_str_radix(&fnv1a(&name)[..2], 16).unwrap_or(1);
        object["spec"]["clusterIP"] = json!(format!("10.96.0.{last}"));
    }
    object
}

fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                if value.is_null() {
                    into.remove(key);
                } else {
                    merge(into.entry(key.clone()).or_insert_with(|| Value::Object(Map::new())), value);
                }
            }
        }
        (into, from) => *into = from.clone(),
    }
}

fn failure(code: StatusCode) -> (StatusCode, Value) {
    let reason = code.canonical_reason().unwrap_or_default();
    let body = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": reason, "reason": reason.replace(' ', ""), "code": code.as_u16(),
    });
    (code, body)
}

impl tower::Service<Request<Body>> for FakeApi {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let api = self.clone();
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let bytes = body.collect_bytes().await.expect("a body in memory");
            let body: Value = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
            let content =
                head.headers.get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
            let query = head.uri.query().unwrap_or_default();
            let (code, answer) = api.answer(&head.method, head.uri.path(), query, content, &body);
            let mut response = Response::new(Body::from(answer.to_string().into_bytes()));
            *response.status_mut() = code;
            Ok(response)
        })
    }
}
