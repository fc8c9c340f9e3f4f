//! What every builder needs to know of a set.

use bolide_api::{BrokerSet, BrokerSetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::core::ObjectMeta;
use kube::{Resource, ResourceExt};

use crate::labels::{self, Labels};

/// A set that has been checked, with what the spec leaves open filled in.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// Namespace of the set and all of its objects.
    pub namespace: String,
    /// Name of the set.
    pub name: String,
    /// The set as the owner of its objects.
    pub owner: OwnerReference,
    /// Image of all pods.
    pub image: String,
    /// What is wanted.
    pub spec: BrokerSetSpec,
}

impl Cluster {
    /// The cluster that `set` asks for; `default_image` where the spec names none. `None` for an object that has not
    /// come from an API server: it has no namespace or no uid.
    pub fn new(set: &BrokerSet, default_image: &str) -> Option<Self> {
        Some(Self {
            namespace: set.namespace()?,
            name: set.name_any(),
            owner: set.controller_owner_ref(&())?,
            image: set.spec.image.clone().unwrap_or_else(|| default_image.to_owned()),
            spec: set.spec.clone(),
        })
    }

    /// Metadata of an object of this set.
    pub(crate) fn metadata(&self, name: String, labels: Labels) -> ObjectMeta {
        ObjectMeta {
            name: Some(name),
            namespace: Some(self.namespace.clone()),
            labels: Some(labels),
            owner_references: Some(vec![self.owner.clone()]),
            ..ObjectMeta::default()
        }
    }

    /// Labels of pods: the set's own and those that a person added.
    pub(crate) fn pod_labels(&self, own: Labels) -> Labels {
        let mut all = self.spec.pods.labels.clone();
        all.extend(own);
        all
    }

    /// Labels of the nameservers.
    pub(crate) fn nameserver_labels(&self) -> Labels {
        labels::of(&self.name, labels::NAMESERVER)
    }

    /// Labels of the brokers of all groups.
    pub(crate) fn broker_labels(&self) -> Labels {
        labels::of(&self.name, labels::BROKER)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A set called `demo` in the namespace `shop`, as an API server hands it out.
    pub(crate) fn cluster(spec: BrokerSetSpec) -> Cluster {
        let mut set = BrokerSet::new("demo", spec);
        set.metadata.namespace = Some("shop".into());
        set.metadata.uid = Some("11111111-2222-3333-4444-555555555555".into());
        Cluster::new(&set, "bolide:test").expect("namespace and uid are there")
    }

    #[test]
    fn an_object_that_was_never_stored_is_no_cluster() {
        assert!(Cluster::new(&BrokerSet::new("demo", BrokerSetSpec::default()), "bolide:test").is_none());
    }
}
