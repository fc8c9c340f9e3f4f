//! Owns the settings of a broker that is one of several replicas.

use serde::{Deserialize, Serialize};

use super::{BrokerConfig, ConfigError};

/// Most replicas of a group.
const MAX_REPLICAS: usize = 9;

/// What a `SEND_OK` waits for on the other replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReplicationMode {
    /// Every replica in sync has the message; flushed where `flushDiskType` says so.
    Sync,
    /// Nothing: a failover may lose the last moments.
    Async,
}

/// One replica of the group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReplicaAddress {
    /// Name, the same in the group's state.
    pub name: String,
    /// `host:port` that the other replicas reach it at. The replica itself listens on this port of `bindAddress`.
    pub address: String,
}

impl ReplicaAddress {
    /// The port of the address.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        let (host, port) = self.address.rsplit_once(':')?;
        port.parse().ok().filter(|_| !host.is_empty())
    }
}

/// The broker id of replica number `own` as a slave while replica number `master` leads: its own number, but replica 0 takes
/// the number of the master. So a promotion moves two addresses and no others.
#[must_use]
pub fn slave_id(own: usize, master: usize) -> usize {
    match own {
        0 => master.max(1),
        own => own,
    }
}

impl BrokerConfig {
    /// Whether this process is one of several replicas, or may become so: roles then follow the group's state.
    #[must_use]
    pub fn replicated(&self) -> bool {
        !self.replicas.is_empty()
    }

    /// Number of a replica in `replicas`.
    #[must_use]
    pub fn replica_number(&self, name: &str) -> Option<usize> {
        self.replicas.iter().position(|replica| replica.name == name)
    }

    /// The client port of slave `id`.
    #[must_use]
    pub fn slave_port(&self, id: usize) -> u16 {
        let listed = id.checked_sub(1).and_then(|index| self.slave_listen_ports.get(index));
        listed.copied().unwrap_or(self.listen_port)
    }
}

/// Checks the keys of this module against each other.
pub(super) fn check(config: &BrokerConfig) -> Result<(), ConfigError> {
    let bad = |key, reason| Err(ConfigError::Bad { key, reason });
    let replicas = &config.replicas;
    if replicas.is_empty() {
        if !config.replica_name.is_empty() {
            return bad("replicaName", "only with replicas");
        }
        return Ok(());
    }
    if replicas.len() > MAX_REPLICAS {
        return bad("replicas", "at most 9");
    }
    let named = |name: &str| replicas.iter().filter(|replica| replica.name == name).count();
    if replicas.iter().any(|replica| {
        replica.name.is_empty()
            || replica.name.len() > 253
            || named(&replica.name) != 1
            || replica.port().is_none()
    }) {
        return bad("replicas", "a list of different names (1 to 253 characters) with addresses host:port");
    }
    if named(&config.replica_name) != 1 {
        return bad("replicaName", "one of replicas");
    }
    if config.broker_id != 0 {
        return bad("brokerId", "0 with replicas: the id follows the role");
    }
    if config.min_in_sync == 0 || usize::try_from(config.min_in_sync).map_or(true, |min| min > replicas.len())
    {
        return bad("minInSync", "1 to the number of replicas");
    }
    let slaves = replicas.len() - 1;
    if !config.slave_listen_ports.is_empty() && config.slave_listen_ports.len() != slaves {
        return bad("slaveListenPorts", "one port for each slave, or none");
    }
    if !config.slave_broker_ips.is_empty() && config.slave_broker_ips.len() != slaves {
        return bad("slaveBrokerIPs", "one address for each slave, or none");
    }
    if config.max_ha_transfer_byte_in_second < 1024 {
        return bad("maxHaTransferByteInSecond", "at least 1024");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> BrokerConfig {
        let replica = |name: &str, port: u16| ReplicaAddress {
            name: name.into(),
            address: format!("127.0.0.1:{port}"),
        };
        BrokerConfig {
            replica_name: "a-1".into(),
            replicas: vec![replica("a-0", 1000), replica("a-1", 1001)],
            slave_listen_ports: vec![11_911],
            ..BrokerConfig::default()
        }
    }

    #[test]
    fn the_keys_are_checked_against_each_other() {
        assert_eq!(pair().check(), Ok(()));
        assert_eq!(pair().slave_port(1), 11_911);
        let bad = |config: BrokerConfig, wanted| match config.check() {
            Err(ConfigError::Bad { key, .. }) => assert_eq!(key, wanted),
            other => unreachable!("{other:?}"),
        };
        bad(BrokerConfig { replica_name: "a-2".into(), ..pair() }, "replicaName");
        bad(BrokerConfig { min_in_sync: 3, ..pair() }, "minInSync");
        bad(BrokerConfig { broker_id: 1, ..pair() }, "brokerId");
        bad(BrokerConfig { slave_listen_ports: vec![1, 2], ..pair() }, "slaveListenPorts");
        bad(BrokerConfig { replicas: Vec::new(), ..pair() }, "replicaName");
        let mut twice = pair();
        twice.replicas[0].name = "a-1".into();
        bad(twice, "replicas");
    }

    #[test]
    fn the_slaves_of_a_master_have_different_ids_from_one_on() {
        for count in 2..6 {
            for master in 0..count {
                let mut ids: Vec<usize> =
                    (0..count).filter(|own| *own != master).map(|own| slave_id(own, master)).collect();
                ids.sort_unstable();
                assert_eq!(ids, (1..count).collect::<Vec<_>>(), "{count} replicas, {master} leads");
            }
        }
    }
}
