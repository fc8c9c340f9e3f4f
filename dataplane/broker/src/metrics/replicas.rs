//! Owns the metrics of a broker that is one of several replicas.

use bolide_replication::{RoleName, Status};

use super::Families;
use super::scrape::flag;
use crate::broker::Broker;

fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Role, epoch, and how far the others are; nothing for a broker without replicas.
pub(super) fn all(broker: &Broker, families: &mut Families<'_>) -> Result<(), prometheus::Error> {
    let Some(replication) = broker.replication.get() else { return Ok(()) };
    let status = replication.status();
    roles(&status, families)?;
    families.gauge("bolide_replica_epoch", "Epoch of the group", number(status.epoch.0))?;
    let in_sync = i64::try_from(status.in_sync.len()).unwrap_or(i64::MAX);
    families.gauge("bolide_replica_in_sync", "Replicas that hold all that was acknowledged", in_sync)?;
    families.gauge("bolide_replica_log_end", "End of the log here", number(status.end))?;
    families.gauge("bolide_replica_confirmed", "Log up to here is shown", number(status.confirmed))?;
    let mut bytes = Vec::new();
    let mut ages = Vec::new();
    let mut connected = Vec::new();
    for peer in &status.peers {
        let labels = [peer.name.as_str(), flag(peer.in_sync)];
        connected.push((labels, i64::from(peer.connected)));
        bytes.extend(peer.lag_bytes.map(|lag| (labels, number(lag))));
        ages.extend(peer.lag_ms.map(|lag| (labels, number(lag))));
    }
    let labels = ["replica", "in_sync"];
    families.gauges("bolide_replica_connected", "Whether another replica is heard of", labels, &connected)?;
    families.gauges("bolide_replica_lag_bytes", "Bytes that another replica lacks", labels, &bytes)?;
    families.gauges("bolide_replica_lag_milliseconds", "Age of the oldest of them", labels, &ages)
}

fn roles(status: &Status, families: &mut Families<'_>) -> Result<(), prometheus::Error> {
    let rows = [
        ("master", RoleName::Master),
        ("starting", RoleName::Starting),
        ("slave", RoleName::Slave),
        ("waiting", RoleName::Waiting),
    ]
    .map(|(name, role)| ([name], i64::from(status.role == role)));
    families.gauges("bolide_replica_role", "1 for the role that this replica has", ["role"], &rows)
}
