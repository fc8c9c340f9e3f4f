//! The listening sockets of a broker group, held here and inherited by each of its replicas.
//!
//! Only the replica that has a role accepts from the socket of that role. So the address stays when the role moves: a process that
//! is stopped or dies does not take the port with it, and who connects meanwhile waits for the next holder instead of being refused.

use command_fds::{CommandFdExt, FdMapping};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::os::fd::{OwnedFd, RawFd};
use std::sync::Arc;
use tokio::process::Command;

use super::ports::PortError;

/// Where inherited sockets begin, by the convention of systemd.
const FIRST_FD: RawFd = 3;
/// Says how many sockets there are.
const COUNT: &str = "LISTEN_FDS";

/// Sockets in the order in which the child expects them. Clones share them; they close with the last.
#[derive(Clone, Debug, Default)]
pub(crate) struct Listeners {
    sockets: Arc<Vec<TcpListener>>,
}

impl Listeners {
    /// Listens on loopback on each port.
    ///
    /// # Errors
    /// A port is taken or may not be opened.
    pub(crate) fn bind(ports: &[u16], name: &str) -> Result<Self, PortError> {
        let sockets = ports.iter().map(|port| {
            TcpListener::bind(SocketAddrV4::new(Ipv4Addr::LOCALHOST, *port))
                .map_err(|error| PortError::of(*port, name, &error))
        });
        Ok(Self { sockets: Arc::new(sockets.collect::<Result<_, _>>()?) })
    }

    /// Makes the sockets part of the process that `command` starts.
    ///
    /// # Errors
    /// A socket cannot be duplicated.
    pub(crate) fn hand_to(&self, command: &mut Command) -> std::io::Result<()> {
        if self.sockets.is_empty() {
            return Ok(());
        }
        let mut mappings = Vec::new();
        for (child_fd, socket) in (FIRST_FD..).zip(self.sockets.iter()) {
            mappings.push(FdMapping { parent_fd: OwnedFd::from(socket.try_clone()?), child_fd });
        }
        command.env(COUNT, mappings.len().to_string());
        command.fd_mappings(mappings).map_err(std::io::Error::other)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_child_has_the_sockets_at_the_agreed_numbers() {
        let listeners = Listeners {
            sockets: Arc::new(vec![
                TcpListener::bind("127.0.0.1:0").unwrap(),
                TcpListener::bind("127.0.0.1:0").unwrap(),
            ]),
        };
        let mut command = Command::new("sh");
        command.args(["-c", "readlink /proc/self/fd/3 /proc/self/fd/4; echo $LISTEN_FDS"]);
        listeners.hand_to(&mut command).unwrap();
        let output = command.output().await.unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert!(
            lines.len() == 3 && lines[0].starts_with("socket:") && lines[1].starts_with("socket:"),
            "{text}"
        );
        assert_eq!(lines[2], "2");
    }
}
