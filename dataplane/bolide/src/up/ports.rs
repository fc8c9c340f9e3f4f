//! Which port each process of a local cluster listens on, and whether they are free.
//!
//! Without `--port-base`: nameserver i 9876+i, master of group g 10911+10g (fast port 2 below), admin HTTP 9090+k over all
//! processes. With `--port-base N`: N+i, N+100+10g, N+50+k. Above the master's port: replica r replicates at 1+2r, the slave
//! with id s serves at 2s. Ports of master and slaves belong to the role, not to a process.

use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};

/// The fast port of a broker is this much below its port, as clients with VIP channels expect.
const FAST_BELOW: u16 = 2;
/// Distance between the replication ports of two replicas, and between the ports of two slaves.
const REPLICA_STEP: u16 = 2;
/// The replication port of the first replica is this much above the master's port.
const REPLICATION_ABOVE: u16 = 1;
/// Most replicas whose ports fit between those of two groups.
pub(crate) const MOST_REPLICAS: u32 = 4;
/// Distance between the ports of two broker groups.
const GROUP_STEP: u16 = 10;
/// Between `--port-base` and the first admin port, so also the number of nameservers and of processes that fit.
const ROOM: u16 = 50;

/// Why ports cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum PortError {
    #[error(
        "port {port} for {name} is in use; stop what listens there, or choose other ports with --port-base N"
    )]
    InUse { port: u16, name: String },
    #[error("cannot listen on port {port} for {name}: {reason}; choose other ports with --port-base N")]
    Refused { port: u16, name: String, reason: String },
    #[error("--port-base {base} leaves no room for {name} below port 65536; choose a lower one")]
    TooHigh { base: u16, name: String },
    #[error("{count} processes do not fit into the {ROOM} ports that --port-base gives them")]
    TooMany { count: usize },
}

impl PortError {
    /// What a failed bind means.
    pub(crate) fn of(port: u16, name: &str, error: &std::io::Error) -> Self {
        let name = name.to_owned();
        match error.kind() {
            std::io::ErrorKind::AddrInUse => Self::InUse { port, name },
            _ => Self::Refused { port, name, reason: error.to_string() },
        }
    }
}

/// The numbering in use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ports {
    base: Option<u16>,
}

impl Ports {
    pub(crate) fn new(base: Option<u16>) -> Self {
        Self { base }
    }

    /// Checks that `count` processes fit the numbering.
    pub(crate) fn fits(self, count: usize) -> Result<(), PortError> {
        if self.base.is_some() && count > usize::from(ROOM) {
            Err(PortError::TooMany { count })
        } else {
            Ok(())
        }
    }

    pub(crate) fn nameserver(self, index: u16, name: &str) -> Result<u16, PortError> {
        self.add(self.base.unwrap_or(9876), index, name)
    }

    pub(crate) fn broker(self, group: u16, name: &str) -> Result<u16, PortError> {
        let first = match self.base {
            Some(base) => self.add(base, 2 * ROOM, name)?,
            None => 10911,
        };
        let offset = group.checked_mul(GROUP_STEP).ok_or_else(|| self.too_high(name))?;
        let port = self.add(first, offset, name)?;
        self.add(port, GROUP_STEP, name)?;
        Ok(port)
    }

    pub(crate) fn admin(self, process: u16, name: &str) -> Result<u16, PortError> {
        let first = match self.base {
            Some(base) => self.add(base, ROOM, name)?,
            None => 9090,
        };
        self.add(first, process, name)
    }

    fn add(self, port: u16, offset: u16, name: &str) -> Result<u16, PortError> {
        port.checked_add(offset).ok_or_else(|| self.too_high(name))
    }

    fn too_high(self, name: &str) -> PortError {
        PortError::TooHigh { base: self.base.unwrap_or(0), name: name.to_owned() }
    }
}

/// The fast port of the master at `port`.
pub(crate) fn fast(port: u16) -> u16 {
    port.saturating_sub(FAST_BELOW)
}

/// Where replica `replica` of the group of the master at `port` takes the connections of the others.
pub(crate) fn replication(port: u16, replica: u16) -> u16 {
    port.saturating_add(REPLICATION_ABOVE).saturating_add(replica.saturating_mul(REPLICA_STEP))
}

/// Where the slave with this id (from 1) of the master at `port` serves.
pub(crate) fn slave(port: u16, id: u16) -> u16 {
    port.saturating_add(id.saturating_mul(REPLICA_STEP))
}

/// Checks that nothing listens on a port of this machine.
///
/// # Errors
/// The port is taken or may not be opened.
pub(crate) fn check_free(port: u16, name: &str) -> Result<(), PortError> {
    match TcpListener::bind(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port)) {
        Ok(_) => Ok(()),
        Err(error) => Err(PortError::of(port, name, &error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_ports_are_the_ones_every_client_knows() {
        let ports = Ports::new(None);
        assert_eq!(ports.nameserver(0, "n"), Ok(9876));
        assert_eq!(ports.broker(0, "b"), Ok(10911));
        assert_eq!(ports.broker(2, "b"), Ok(10931));
        assert_eq!(ports.admin(1, "b"), Ok(9091));
    }

    #[test]
    fn a_base_moves_all_of_them() {
        let ports = Ports::new(Some(22000));
        assert_eq!(ports.nameserver(1, "n"), Ok(22001));
        assert_eq!(ports.admin(3, "b"), Ok(22053));
        assert_eq!(ports.broker(1, "b"), Ok(22110));
        assert_eq!((fast(22110), slave(22110, 1), slave(22110, 3)), (22108, 22112, 22116));
        assert_eq!((replication(22110, 0), replication(22110, 3)), (22111, 22117));
    }

    #[test]
    fn ports_beyond_the_range_are_refused() {
        assert!(matches!(Ports::new(Some(65500)).broker(0, "b"), Err(PortError::TooHigh { .. })));
        assert!(matches!(Ports::new(Some(65435)).broker(0, "b"), Err(PortError::TooHigh { .. })));
        assert!(matches!(Ports::new(None).broker(6000, "b"), Err(PortError::TooHigh { .. })));
        assert_eq!(Ports::new(Some(1)).fits(51), Err(PortError::TooMany { count: 51 }));
    }

    #[test]
    fn a_taken_port_is_found() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let error = check_free(port, "broker-a").unwrap_err().to_string();
        assert!(error.contains(&port.to_string()) && error.contains("--port-base"), "{error}");
        drop(listener);
        check_free(port, "broker-a").unwrap();
    }
}
