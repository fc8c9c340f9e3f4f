//! One request to one server, and requests to any of several nameservers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bolide_transport::{Client, ClientConfig};
use bolide_wire::{Command, ResponseCode};

use crate::ClientError;

/// The nameservers, the transport and the time limit that all operations of one client share; cheap to clone.
#[derive(Clone, Debug)]
pub struct Remote {
    client: Client,
    namesrv: Arc<Nameservers>,
    timeout: Duration,
}

#[derive(Debug)]
struct Nameservers {
    addresses: Vec<String>,
    /// The one that answered last; asked first.
    preferred: AtomicUsize,
}

/// Settings of a transport whose user waits so long for each step, connecting included.
pub(crate) fn patient(timeout: Duration) -> ClientConfig {
    ClientConfig { connect_timeout: timeout, ..ClientConfig::default() }
}

impl Remote {
    /// `namesrv` is `host:port`, several separated by `;` (or `,`); `timeout` is the limit of each request.
    ///
    /// # Errors
    /// An address is not `host:port`.
    pub fn new(client: Client, namesrv: &str, timeout: Duration) -> Result<Self, ClientError> {
        let addresses = addresses(namesrv)?;
        let namesrv = Arc::new(Nameservers { addresses, preferred: AtomicUsize::new(0) });
        Ok(Self { client, namesrv, timeout })
    }

    /// The nameserver addresses.
    pub fn nameservers(&self) -> &[String] {
        &self.namesrv.addresses
    }

    /// The transport.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The limit of each request.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Calls one server; any response code is an answer.
    pub(crate) async fn call(&self, addr: &str, command: Command) -> Result<Command, ClientError> {
        self.call_within(addr, command, self.timeout).await
    }

    /// As `call`, with another limit.
    pub(crate) async fn call_within(
        &self,
        addr: &str,
        command: Command,
        timeout: Duration,
    ) -> Result<Command, ClientError> {
        let answer = self.client.call(addr, command, timeout).await;
        answer.map_err(|source| ClientError::Call { addr: addr.to_owned(), source })
    }

    /// Calls one server; everything but SUCCESS is an error.
    pub(crate) async fn ask(&self, addr: &str, command: Command) -> Result<Command, ClientError> {
        let request = request_name(&command);
        let answer = self.call(addr, command).await?;
        succeeded(addr, request, answer)
    }

    /// Calls the nameservers in turn, beginning with the one that answered last, until one answers; any response code is an answer.
    /// Returns who it was.
    pub(crate) async fn call_namesrv(&self, command: &Command) -> Result<(String, Command), ClientError> {
        let all = &self.namesrv.addresses;
        let first = self.namesrv.preferred.load(Ordering::Relaxed);
        let mut last = None;
        for step in 0..all.len() {
            let index = (first + step) % all.len();
            let Some(addr) = all.get(index) else { continue };
            match self.client.call(addr, command.clone(), self.timeout).await {
                Ok(answer) => {
                    self.namesrv.preferred.store(index, Ordering::Relaxed);
                    return Ok((addr.clone(), answer));
                }
                Err(error) => last = Some(error),
            }
        }
        match last {
            Some(source) => Err(ClientError::Unreachable { addr: all.join(", "), source }),
            None => Err(ClientError::Address { text: String::new() }),
        }
    }
}

fn request_name(command: &Command) -> &'static str {
    command.request_code().name().unwrap_or("a request")
}

pub(crate) fn succeeded(addr: &str, request: &'static str, answer: Command) -> Result<Command, ClientError> {
    match answer.response_code() {
        ResponseCode::SUCCESS => Ok(answer),
        code => Err(refused(addr, request, code, &answer)),
    }
}

pub(crate) fn refused(
    addr: &str,
    request: &'static str,
    code: ResponseCode,
    answer: &Command,
) -> ClientError {
    let remark = answer.remark.clone().unwrap_or_else(|| "no reason given".to_owned());
    ClientError::Refused { addr: addr.to_owned(), request, code, remark }
}

fn addresses(text: &str) -> Result<Vec<String>, ClientError> {
    let parts = text.split([';', ',']).map(str::trim).filter(|part| !part.is_empty());
    let mut addresses = Vec::new();
    for part in parts {
        let valid =
            part.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
        if !valid {
            return Err(ClientError::Address { text: part.to_owned() });
        }
        addresses.push(part.to_owned());
    }
    if addresses.is_empty() { Err(ClientError::Address { text: text.to_owned() }) } else { Ok(addresses) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_nameservers_are_read() {
        assert_eq!(addresses("a:1; b:2,").unwrap(), ["a:1", "b:2"]);
        assert_eq!(addresses("[::1]:9876").unwrap(), ["[::1]:9876"]);
        for bad in ["", ";", "a", "a:b", ":1", "a:70000"] {
            assert!(matches!(addresses(bad), Err(ClientError::Address { .. })), "{bad}");
        }
    }
}
