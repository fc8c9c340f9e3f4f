//! Volumes grow where their class allows it, and never shrink. Anything else about them is left to people.

use std::collections::BTreeMap;

use bolide_resources::Cluster;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::{Api, Patch, PatchParams};
use kube::{Client, ResourceExt};
use serde_json::json;

use super::fetch::{Found, claimed};
use crate::error::Error;

/// How the volumes stand to the wanted size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Volumes {
    /// All have it.
    AsWanted,
    /// Growth is under way.
    Growing(String),
    /// They cannot become what is wanted, for the reason given; everything else goes on.
    Refused {
        /// One word.
        reason: &'static str,
        /// A sentence.
        message: String,
    },
}

/// Asks for more where the wanted size is larger than the claimed one.
pub(crate) async fn expand(client: &Client, cluster: &Cluster, found: &Found) -> Result<Volumes, Error> {
    let wanted = &cluster.spec.storage.size;
    let Some(wanted_bytes) = wanted.bytes() else { return Ok(Volumes::AsWanted) };
    let mut classes: BTreeMap<String, bool> = BTreeMap::new();
    let mut result = Volumes::AsWanted;
    for claim in &found.claims {
        let name = claim.name_any();
        let Some(held) = claimed(claim) else { continue };
        let held_bytes = held.bytes().unwrap_or(wanted_bytes);
        if held_bytes > wanted_bytes {
            let message =
                format!("claim {name} has {held}, the spec asks for {wanted}: volumes cannot shrink");
            return Ok(Volumes::Refused { reason: "ShrinkRefused", message });
        }
        if held_bytes < wanted_bytes {
            let class =
                claim.spec.as_ref().and_then(|spec| spec.storage_class_name.clone()).unwrap_or_default();
            if !is_expandable(client, &class, &mut classes).await? {
                let message = format!(
                    "claim {name} has {held}, the spec asks for {wanted}: storage class {class:?} does not allow expansion"
                );
                return Ok(Volumes::Refused { reason: "ExpansionNotSupported", message });
            }
            let api: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), &cluster.namespace);
            let patch = json!({ "spec": { "resources": { "requests": { "storage": wanted.0 } } } });
            api.patch(&name, &PatchParams::default(), &Patch::Merge(&patch))
                .await
                .map_err(Error::api(format!("expand PersistentVolumeClaim {name}")))?;
            result = Volumes::Growing(format!("claim {name} grows from {held} to {wanted}"));
        } else if capacity(claim).is_some_and(|capacity| capacity < wanted_bytes) {
            result = Volumes::Growing(format!("claim {name} is growing to {wanted}"));
        }
    }
    Ok(result)
}

/// The size that a volume really has.
fn capacity(claim: &PersistentVolumeClaim) -> Option<u64> {
    let capacity = claim.status.as_ref()?.capacity.as_ref()?.get("storage")?;
    bolide_api::common::Quantity(capacity.0.clone()).bytes()
}

async fn is_expandable(
    client: &Client,
    class: &str,
    known: &mut BTreeMap<String, bool>,
) -> Result<bool, Error> {
    if class.is_empty() {
        return Ok(false);
    }
    if let Some(answer) = known.get(class) {
        return Ok(*answer);
    }
    let api: Api<StorageClass> = Api::all(client.clone());
    let found = api.get_opt(class).await.map_err(Error::api(format!("get StorageClass {class}")))?;
    let answer = found.and_then(|class| class.allow_volume_expansion).unwrap_or(false);
    known.insert(class.to_owned(), answer);
    Ok(answer)
}
