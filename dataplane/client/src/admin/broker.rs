//! A broker itself: what it is doing, and its settings.

use std::collections::BTreeMap;

use bolide_wire::body::stats::KvTable;
use bolide_wire::{Command, RequestCode};

use super::{Admin, body};
use crate::ClientError;

impl Admin {
    /// Runtime information of a broker: rates, totals, disk use, all as text (keys as in Apache RocketMQ).
    ///
    /// # Errors
    /// The broker does not answer, or refuses.
    pub async fn runtime_info(&self, addr: &str) -> Result<BTreeMap<String, String>, ClientError> {
        let answer = self.remote.ask(addr, Command::request(RequestCode::GET_BROKER_RUNTIME_INFO)).await?;
        Ok(body::<KvTable>(addr, &answer)?.table)
    }

    /// Settings of a broker, as text.
    ///
    /// # Errors
    /// The broker does not answer, or refuses.
    pub async fn broker_config(&self, addr: &str) -> Result<BTreeMap<String, String>, ClientError> {
        let answer = self.remote.ask(addr, Command::request(RequestCode::GET_BROKER_CONFIG)).await?;
        let text = std::str::from_utf8(&answer.body)
            .map_err(|error| ClientError::Body { addr: addr.to_owned(), reason: error.to_string() })?;
        Ok(properties(text))
    }

    /// Changes settings of a running broker; settings that are not named keep their value.
    ///
    /// # Errors
    /// The broker does not answer, or refuses: a setting is unknown, or cannot change while it runs.
    pub async fn update_broker_config(
        &self,
        addr: &str,
        settings: &BTreeMap<String, String>,
    ) -> Result<(), ClientError> {
        let text: String = settings.iter().map(|(key, value)| format!("{key}={value}\n")).collect();
        let command = Command::request(RequestCode::UPDATE_BROKER_CONFIG).with_body(text.into_bytes());
        self.remote.ask(addr, command).await.map(|_| ())
    }
}

/// Reads `key=value` lines; empty lines and comments are left out.
fn properties(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_text_is_read() {
        let found = properties("# a comment\na=1\n b = x=y \n\nnonsense\n");
        assert_eq!(found.len(), 2);
        assert_eq!(found.get("b").map(String::as_str), Some("x=y"));
    }
}
