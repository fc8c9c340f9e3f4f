//! Which port each process of a local cluster listens on, and whether they are free.
//!
//! Without `--port-base`: nameserver i 9876+i, broker of group g 10911+10g (fast port 2 below, replication port 1 above),
//! admin HTTP 9090+k over all processes. With `--port-base N`: N+i, N+100+10g, N+50+k.

use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};

/// The fast port of a broker is this much below its port, as clients with VIP channels expect.
const FAST_BELOW: u16 = 2;
/// The replication port of a broker is this much above its port.
const REPLICATION_ABOVE: u16 = 1;
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
        self.add(port, REPLICATION_ABOVE, name)?;
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

/// The ports that a broker opens when it is given `port`.
pub(crate) fn of_broker(port: u16) -> [u16; 3] {
    [port.saturating_sub(FAST_BELOW), port, port.saturating_add(REPLICATION_ABOVE)]
}

/// Checks that nothing listens on a port of this machine.
///
/// # Errors
/// The port is taken or may not be opened.
pub(crate) fn check_free(port: u16, name: &str) -> Result<(), PortError> {
    match TcpListener::bind(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port)) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
            Err(PortError::InUse { port, name: name.to_owned() })
        }
        Err(error) => Err(PortError::Refused { port, name: name.to_owned(), reason: error.to_string() }),
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
        assert_eq!(of_broker(22110), [22108, 22110, 22111]);
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
