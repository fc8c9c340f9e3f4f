//! Owns where this process stands in its broker group: what handlers ask before they answer, and what nameservers are told.

use std::net::{IpAddr, SocketAddr};

use crate::config::BrokerConfig;
use crate::config::replica::slave_id;

/// What a process does in its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// It takes messages. A broker without replicas always does.
    Master,
    /// It gives out what it has, under this broker id.
    Slave(usize),
    /// It serves nobody.
    Waiting,
}

/// Whom a replica serves clients as; whoever moves addresses watches it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Serving {
    /// It serves nobody.
    #[default]
    Nobody,
    /// The master of its group.
    Master {
        /// In which epoch it became so.
        epoch: u64,
    },
    /// A slave.
    Slave {
        /// Its broker id, from 1.
        id: usize,
        /// Epoch of the master that it follows.
        epoch: u64,
    },
}

impl From<Standing> for Serving {
    fn from(Standing { role, epoch }: Standing) -> Serving {
        match role {
            Role::Master => Serving::Master { epoch },
            Role::Slave(id) => Serving::Slave { id, epoch },
            Role::Waiting => Serving::Nobody,
        }
    }
}

/// The role, and the epoch in which it was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Role.
    pub(crate) role: Role,
    /// Grows with each change of master; 0 in a group without replicas.
    pub(crate) epoch: u64,
}

impl Standing {
    /// A broker without replicas.
    pub(crate) const ALONE: Standing = Standing { role: Role::Master, epoch: 0 };
    /// A replica that does not know its role yet.
    pub(crate) const WAITING: Standing = Standing { role: Role::Waiting, epoch: 0 };

    /// Whether this process takes messages.
    pub(crate) fn leads(self) -> bool {
        self.role == Role::Master
    }
}

/// How nameservers and clients know a process in its role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// Broker id.
    pub(crate) id: u64,
    /// Address that clients reach it at.
    pub(crate) address: SocketAddr,
    /// Epoch of the group.
    pub(crate) epoch: u64,
}

impl BrokerConfig {
    /// The place that a role has; `own` is the address that the group's master is reached at. None for no role.
    pub(crate) fn place(&self, standing: Standing, own: SocketAddr) -> Option<Place> {
        let epoch = standing.epoch;
        match standing.role {
            Role::Master => Some(Place { id: self.broker_id, address: own, epoch }),
            Role::Slave(id) => {
                let ip = id.checked_sub(1).and_then(|index| self.slave_broker_ips.get(index));
                let ip: IpAddr = ip.copied().unwrap_or(own.ip());
                let id_number = u64::try_from(id).unwrap_or(u64::MAX);
                Some(Place { id: id_number, address: SocketAddr::new(ip, self.slave_port(id)), epoch })
            }
            Role::Waiting => None,
        }
    }

    /// The slave that this replica is while `master` leads, or id 1 at least while nobody is known to.
    pub(crate) fn own_slave_id(&self, master: Option<&str>) -> usize {
        let own = self.replica_number(&self.replica_name).unwrap_or(0);
        let master = master.and_then(|name| self.replica_number(name));
        slave_id(own, master.unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_belongs_to_a_role_and_not_to_a_process() {
        let config = BrokerConfig {
            slave_listen_ports: vec![11_911, 12_911],
            slave_broker_ips: vec![[10, 0, 0, 1].into(), [10, 0, 0, 2].into()],
            ..BrokerConfig::default()
        };
        let own: SocketAddr = "10.0.0.9:10911".parse().unwrap();
        let place = |role| config.place(Standing { role, epoch: 3 }, own);
        assert_eq!(place(Role::Master), Some(Place { id: 0, address: own, epoch: 3 }));
        let second = Place { id: 2, address: "10.0.0.2:12911".parse().unwrap(), epoch: 3 };
        assert_eq!(place(Role::Slave(2)), Some(second));
        assert_eq!(place(Role::Waiting), None);
        let bare = BrokerConfig::default();
        let first = bare.place(Standing { role: Role::Slave(1), epoch: 1 }, own);
        assert_eq!(first, Some(Place { id: 1, address: "10.0.0.9:10911".parse().unwrap(), epoch: 1 }));
    }
}
