//! What the brokers of a set say of themselves.

use std::collections::{BTreeMap, BTreeSet};

use bolide_client::ClientError;
use bolide_resources::{Cluster, Group, names};
use bolide_wire::body::replica::{PeerStatus, ReplicaStatus};

use crate::brokers::Brokers;
use crate::context::Context;

/// What the masters that answer say, by number of the group.
pub(crate) type Seen = BTreeMap<u32, Master>;

/// The master of a group, as clients meet it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Master {
    /// How full its disk is, if it says so.
    pub(crate) disk_percent: Option<u32>,
    /// A nameserver tells clients of it.
    pub(crate) registered: bool,
    /// What it says of its replicas; `None` when it runs as one that has none.
    pub(crate) replicas: Option<ReplicaStatus>,
}

impl Master {
    /// Whether it knows of a replica: one that was added since it started it does not.
    pub(crate) fn knows(&self, pod: &str) -> bool {
        let Some(status) = &self.replicas else { return false };
        status.replica_name == pod || status.replicas.iter().any(|peer| peer.name == pod)
    }

    /// What it says of another replica.
    pub(crate) fn peer(&self, pod: &str) -> Option<&PeerStatus> {
        self.replicas.as_ref()?.replicas.iter().find(|peer| peer.name == pod)
    }
}

/// Asks the master of every group, at the address that clients use, and a nameserver at the address of their Service.
pub(crate) async fn observe<B: Brokers>(
    ctx: &Context<B>,
    cluster: &Cluster,
    namesrv: Option<&str>,
    groups: &[Group],
) -> Seen {
    let registered = match namesrv {
        Some(namesrv) => ctx.brokers.registered(&format!("{namesrv}:{}", names::NAMESERVER_PORT)).await,
        None => Ok(BTreeSet::new()),
    };
    let registered = registered.unwrap_or_else(|error| {
        tracing::debug!(%error, "no nameserver answers");
        BTreeSet::new()
    });
    let asked = groups.iter().map(async |group| {
        let address = address(group)?;
        let said = async {
            let runtime = ctx.brokers.runtime(&address).await?;
            let replicas = if group.replicated { ctx.brokers.replica_status(&address).await? } else { None };
            Ok::<_, ClientError>((runtime, replicas))
        };
        match said.await {
            Ok((runtime, replicas)) => {
                let registered = registered.contains(&names::group(&cluster.name, group.number));
                Some((group.number, Master { disk_percent: disk_percent(&runtime), registered, replicas }))
            }
            Err(error) => {
                tracing::debug!(%error, group = group.number, "the master does not answer");
                None
            }
        }
    });
    futures::future::join_all(asked).await.into_iter().flatten().collect()
}

/// Where the master of a group is reached.
pub(crate) fn address(group: &Group) -> Option<String> {
    group.address.as_ref().map(|address| format!("{address}:{}", names::BROKER_PORT))
}

/// Upstream gives the use of the disk as a fraction of 1.
fn disk_percent(runtime: &BTreeMap<String, String>) -> Option<u32> {
    let ratio: f64 = runtime.get("commitLogDiskRatio")?.parse().ok()?;
    if !(0.0..=1.0).contains(&ratio) {
        return None;
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and 100, as just checked"
    )]
    let percent = (ratio * 100.0).round() as u32;
    Some(percent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_disk_ratio_becomes_percent() {
        let of = |ratio: &str| {
            disk_percent(&BTreeMap::from([("commitLogDiskRatio".to_owned(), ratio.to_owned())]))
        };
        assert_eq!(of("0.414"), Some(41));
        assert_eq!(of("-1.0"), None);
        assert_eq!(of("NaN"), None);
        assert_eq!(disk_percent(&BTreeMap::new()), None);
    }
}
