//! Writes to the API server: server-side apply with one field manager, deletes that do not mind a missing object.

use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use kube::core::NamespaceResourceScope;
use kube::{Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use std::fmt::Debug;

use crate::error::Error;

/// The field manager of everything the operator writes.
pub(crate) const MANAGER: &str = "bolide-operator";

/// Applies `object`, whose metadata names its namespace, and returns it as stored.
pub(crate) async fn apply<K>(client: &Client, object: &K) -> Result<K, Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + Serialize
        + DeserializeOwned,
{
    let name = object.name_any();
    let api: Api<K> = Api::namespaced(client.clone(), &object.namespace().unwrap_or_default());
    api.patch(&name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(object))
        .await
        .map_err(Error::api(format!("apply {} {name}", K::kind(&()))))
}

/// Writes the status of one of our kinds.
pub(crate) async fn apply_status<K, S>(client: &Client, object: &K, status: &S) -> Result<(), Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    S: Serialize,
{
    let name = object.name_any();
    let api: Api<K> = Api::namespaced(client.clone(), &object.namespace().unwrap_or_default());
    let patch = json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        "metadata": { "name": name },
        "status": status,
    });
    let params = PatchParams::apply(MANAGER).force();
    let written = api.patch_status(&name, &params, &Patch::Apply(&patch)).await;
    match written {
        // deleted in between: there is nobody left to tell
        Err(kube::Error::Api(answer)) if answer.code == 404 => Ok(()),
        other => other.map(|_| ()).map_err(Error::api(format!("status of {} {name}", K::kind(&())))),
    }
}

/// Deletes an object; it is fine when it is not there.
pub(crate) async fn delete<K>(client: &Client, namespace: &str, name: &str) -> Result<(), Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    match api.delete(name, &DeleteParams::background()).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(answer)) if answer.code == 404 => Ok(()),
        Err(error) => Err(Error::api(format!("delete {} {name}", K::kind(&())))(error)),
    }
}

/// All objects of a kind with the given labels.
pub(crate) async fn list<K>(client: &Client, namespace: &str, labels: &str) -> Result<Vec<K>, Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    let found = api.list(&ListParams::default().labels(labels)).await;
    found.map(|list| list.items).map_err(Error::api(format!("list {}", K::plural(&()))))
}

/// Writes the finalizers of an object, if nobody else has written it since it was read.
pub(crate) async fn set_finalizers<K>(client: &Client, object: &K, finalizers: &[String]) -> Result<(), Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
{
    let name = object.name_any();
    let api: Api<K> = Api::namespaced(client.clone(), &object.namespace().unwrap_or_default());
    let patch =
        json!({ "metadata": { "finalizers": finalizers, "resourceVersion": object.resource_version() } });
    match api.patch(&name, &PatchParams::default(), &Patch::Merge(&patch)).await {
        Err(kube::Error::Api(answer)) if answer.code == 404 => Ok(()),
        other => other.map(|_| ()).map_err(Error::api(format!("finalizers of {} {name}", K::kind(&())))),
    }
}

/// The finalizer of topics and groups: something outside Kubernetes is to be cleaned up.
pub(crate) const FINALIZER: &str = "bolide.dev/brokers";

/// The finalizers that `object` should have; `None` when it has them already.
pub(crate) fn finalizers<K: Resource>(object: &K, wanted: bool) -> Option<Vec<String>> {
    let held = object.finalizers();
    let has = held.iter().any(|name| name == FINALIZER);
    if has == wanted {
        return None;
    }
    let mut all: Vec<String> = held.iter().filter(|name| *name != FINALIZER).cloned().collect();
    if wanted {
        all.push(FINALIZER.to_owned());
    }
    Some(all)
}
