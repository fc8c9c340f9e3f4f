//! What there is of a set in Kubernetes.

use std::collections::BTreeMap;

use bolide_api::common::Quantity;
use bolide_resources::{Cluster, labels, names};
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Service};
use kube::core::NamespaceResourceScope;
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use std::fmt::Debug;

use crate::apply::list;
use crate::error::Error;

/// The objects of a set, as the API server has them now.
#[derive(Clone, Debug, Default)]
pub(crate) struct Found {
    pub(crate) nameservers: Option<Deployment>,
    /// By number of the group.
    pub(crate) stateful_sets: BTreeMap<u32, StatefulSet>,
    /// By name.
    pub(crate) services: BTreeMap<String, Service>,
    /// Leases with group states, by number of the group; they have no owner.
    pub(crate) leases: BTreeMap<u32, Lease>,
    /// Nameserver pods.
    pub(crate) nameserver_pods: Vec<Pod>,
    /// Broker pods.
    pub(crate) pods: Vec<Pod>,
    /// Claims of broker pods.
    pub(crate) claims: Vec<PersistentVolumeClaim>,
}

impl Found {
    pub(crate) async fn fetch(client: &Client, cluster: &Cluster) -> Result<Self, Error> {
        let of = |component: &str| {
            format!("{}={},{}={component}", labels::CLUSTER, cluster.name, labels::COMPONENT)
        };
        let all = format!("{}={}", labels::CLUSTER, cluster.name);
        let deployments: Vec<Deployment> = owned(client, cluster, &of(labels::NAMESERVER)).await?;
        let stateful_sets: Vec<StatefulSet> = owned(client, cluster, &of(labels::BROKER)).await?;
        let services: Vec<Service> = owned(client, cluster, &all).await?;
        let pods: Vec<Pod> = list(client, &cluster.namespace, &all).await?;
        // before the claims: where there is none, nobody can have written this state since
        let stateful_sets: BTreeMap<u32, StatefulSet> =
            stateful_sets.into_iter().filter_map(|set| Some((group_of(&set)?, set))).collect();
        let mut leases = BTreeMap::new();
        for number in (0..cluster.spec.groups).chain(stateful_sets.keys().copied()) {
            // by name: one that a person has made has no labels
            let name = names::group(&cluster.name, number);
            let api: Api<Lease> = Api::namespaced(client.clone(), &cluster.namespace);
            let lease = api.get_opt(&name).await.map_err(Error::api(format!("get Lease {name}")))?;
            leases.extend(lease.map(|lease| (number, lease)));
        }
        let (pods, nameserver_pods) = pods.into_iter().partition(|pod| group_of(pod).is_some());
        Ok(Self {
            nameserver_pods,
            nameservers: deployments.into_iter().next(),
            stateful_sets,
            services: services.into_iter().map(|service| (service.name_any(), service)).collect(),
            leases,
            pods,
            claims: list(client, &cluster.namespace, &of(labels::BROKER)).await?,
        })
    }

    /// The size in the claim template of a group's StatefulSet.
    pub(crate) fn claim_size(&self, group: u32) -> Option<Quantity> {
        let templates = self.stateful_sets.get(&group)?.spec.as_ref()?.volume_claim_templates.as_ref()?;
        claimed(templates.first()?)
    }

    pub(crate) fn cluster_ip(&self, service: &str) -> Option<String> {
        self.services.get(service).and_then(cluster_ip)
    }

    /// The pods of a group.
    pub(crate) fn pods_of(&self, group: u32) -> impl Iterator<Item = &Pod> {
        self.pods.iter().filter(move |pod| group_of(*pod) == Some(group))
    }

    /// The claims of a group.
    pub(crate) fn claims_of(&self, group: u32) -> impl Iterator<Item = &PersistentVolumeClaim> {
        self.claims.iter().filter(move |claim| group_of(*claim) == Some(group))
    }
}

/// The number of a pod in its group, from the name of the pod or of its claim.
pub(crate) fn ordinal(name: &str) -> u32 {
    name.rsplit('-').next().and_then(|number| number.parse().ok()).unwrap_or(u32::MAX)
}

/// Objects with these labels that belong to this set and are not being deleted.
async fn owned<K>(client: &Client, cluster: &Cluster, labels: &str) -> Result<Vec<K>, Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
{
    let ours = |object: &K| object.owner_references().iter().any(|owner| owner.uid == cluster.owner.uid);
    let found: Vec<K> = list(client, &cluster.namespace, labels).await?;
    Ok(found.into_iter().filter(ours).filter(|object| object.meta().deletion_timestamp.is_none()).collect())
}

/// The number of the group that an object belongs to.
pub(crate) fn group_of(object: &impl ResourceExt) -> Option<u32> {
    object.labels().get(labels::GROUP)?.parse().ok()
}

/// The stable address of a Service.
pub(crate) fn cluster_ip(service: &Service) -> Option<String> {
    let address = service.spec.as_ref()?.cluster_ip.as_deref()?;
    (!address.is_empty() && address != "None").then(|| address.to_owned())
}

/// The size that a claim asks for.
pub(crate) fn claimed(claim: &PersistentVolumeClaim) -> Option<Quantity> {
    let requests = claim.spec.as_ref()?.resources.as_ref()?.requests.as_ref()?;
    requests.get("storage").map(|size| Quantity(size.0.clone()))
}

/// Whether a pod is ready and not on its way out.
pub(crate) fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    pod.metadata.deletion_timestamp.is_none()
        && conditions
            .into_iter()
            .flatten()
            .any(|condition| condition.type_ == "Ready" && condition.status == "True")
}
