//! The settings of a nameserver process. Keys that exist upstream keep their name; unknown keys are refused.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Settings of a nameserver process, as its YAML file has them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct NameserverConfig {
    /// Address to listen on.
    pub bind_address: IpAddr,
    /// Port of the remoting protocol; 0 chooses one.
    pub listen_port: u16,
    /// Address of the port for probes and metrics.
    pub admin_address: IpAddr,
    /// Port for probes and metrics; 0 chooses one.
    pub admin_port: u16,
    /// File of the key-value table; its folder is made if it is not there.
    pub kv_config_path: PathBuf,
    /// Milliseconds between two looks for brokers that have gone silent.
    pub scan_not_active_broker_interval: u64,
    /// Milliseconds of silence after which a broker is removed, unless it asked for another time when it registered.
    pub broker_timeout_millis: u64,
    /// Put the order configuration of a topic (key-value namespace `ORDER_TOPIC_CONFIG`) into its route.
    pub order_message_enable: bool,
    /// Give brokers the order configuration when they register.
    pub return_order_topic_config_to_broker: bool,
    /// Remove topics of a broker that its full registration no longer has.
    pub delete_topic_with_broker_registration: bool,
    /// Show a group without a master, whose members asked for it, with its lowest member as a master that takes no messages.
    pub support_acting_master: bool,
    /// Refuse route queries for a while after the start, so that brokers have registered before clients look.
    pub need_wait_for_service: bool,
    /// How long, in seconds.
    pub wait_seconds_for_service: u64,
    /// Seconds without a byte after which a connection is closed.
    pub server_channel_max_idle_time_seconds: u64,
    /// Open connections; further ones are closed at once.
    pub max_connections: usize,
}

impl Default for NameserverConfig {
    fn default() -> Self {
        Self {
            bind_address: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            listen_port: 9876,
            admin_address: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            admin_port: 9090,
            kv_config_path: PathBuf::from("namesrv/kvConfig.json"),
            scan_not_active_broker_interval: 5_000,
            broker_timeout_millis: 120_000,
            order_message_enable: false,
            return_order_topic_config_to_broker: true,
            delete_topic_with_broker_registration: true,
            support_acting_master: false,
            need_wait_for_service: false,
            wait_seconds_for_service: 45,
            server_channel_max_idle_time_seconds: 120,
            max_connections: 20_000,
        }
    }
}

/// A setting whose value cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key} must be {expected}")]
pub struct ConfigError {
    /// The key as it is in the file.
    pub key: &'static str,
    /// What it must be.
    pub expected: &'static str,
}

impl NameserverConfig {
    /// Checks what the types alone do not.
    ///
    /// # Errors
    /// The first [`ConfigError`] found.
    pub fn check(&self) -> Result<(), ConfigError> {
        let positive: [(&'static str, bool); 4] = [
            ("scanNotActiveBrokerInterval", self.scan_not_active_broker_interval > 0),
            ("brokerTimeoutMillis", self.broker_timeout_millis > 0),
            ("serverChannelMaxIdleTimeSeconds", self.server_channel_max_idle_time_seconds > 0),
            ("maxConnections", self.max_connections > 0),
        ];
        if let Some((key, _)) = positive.into_iter().find(|(_, is_right)| !is_right) {
            return Err(ConfigError { key, expected: "greater than 0" });
        }
        if self.kv_config_path.file_name().is_none() {
            return Err(ConfigError { key: "kvConfigPath", expected: "the path of a file" });
        }
        Ok(())
    }

    pub(crate) fn listen_addr(&self) -> SocketAddr {
        SocketAddr::new(self.bind_address, self.listen_port)
    }

    pub(crate) fn admin_addr(&self) -> SocketAddr {
        SocketAddr::new(self.admin_address, self.admin_port)
    }

    pub(crate) fn scan_interval(&self) -> Duration {
        Duration::from_millis(self.scan_not_active_broker_interval)
    }

    pub(crate) fn broker_timeout(&self) -> Duration {
        Duration::from_millis(self.broker_timeout_millis)
    }

    pub(crate) fn idle_timeout(&self) -> Duration {
        Duration::from_secs(self.server_channel_max_idle_time_seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_keys_are_refused_and_upstream_names_are_read() {
        let read: NameserverConfig = serde_json::from_str(
            r#"{"listenPort": 19876, "kvConfigPath": "/x/kvConfig.json", "orderMessageEnable": true}"#,
        )
        .unwrap();
        assert_eq!((read.listen_port, read.order_message_enable), (19876, true));
        let unknown = serde_json::from_str::<NameserverConfig>(r#"{"listenPrt": 1}"#).unwrap_err();
        assert!(unknown.to_string().contains("listenPrt"), "{unknown}");
    }

    #[test]
    fn a_bad_value_names_its_key() {
        let config = NameserverConfig { broker_timeout_millis: 0, ..NameserverConfig::default() };
        assert_eq!(config.check().unwrap_err().key, "brokerTimeoutMillis");
        assert!(NameserverConfig::default().check().is_ok());
    }
}
