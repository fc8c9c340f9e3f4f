//! Owns the broker's settings: one checked struct from one YAML file.
//!
//! Keys that exist upstream keep their upstream name. Nothing here opens a port or a file: `check` runs before
//! anything does. Keys that may change while the broker runs are listed in [`hot`].

use std::net::IpAddr;
use std::path::PathBuf;

use bolide_store::Ack;
use bolide_wire::body::assignment::MessageRequestMode;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::delay::DelayLevels;

pub mod hot;
pub mod replica;

use replica::{ReplicaAddress, ReplicationMode};

/// Longest `timerMaxDelaySec`: a leap year.
pub(crate) const LONGEST_TIMER_SEC: u64 = 366 * 86_400;

/// What a `SEND_OK` waits for on this broker's own disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum FlushDiskType {
    /// Acknowledge after the write; the disk follows in the background.
    AsyncFlush,
    /// Acknowledge after `fdatasync`.
    SyncFlush,
}

/// Settings of one broker process. Sizes are bytes, times are milliseconds unless the name says otherwise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct BrokerConfig {
    /// Cluster that the broker registers in.
    pub broker_cluster_name: String,
    /// Name of the broker group.
    pub broker_name: String,
    /// 0 is the master of the group.
    pub broker_id: u64,
    /// Address that the listeners bind.
    pub bind_address: IpAddr,
    /// Port of the remoting protocol. 0 takes any free one, which clients cannot find; only tests want that.
    pub listen_port: u16,
    /// Second port for everything but pulls ("VIP channel"); `listenPort - 2` when absent, 0 for none.
    pub fast_listen_port: Option<u16>,
    /// Address that clients reach the broker at; also stored in every message. Found out when absent.
    #[serde(rename = "brokerIP1")]
    pub broker_ip1: Option<IpAddr>,
    /// Nameservers, `host:port` separated by `;`. A name with several addresses means all of them.
    pub namesrv_addr: String,
    /// How often the broker tells each nameserver that it lives: 10,000 to 60,000.
    pub register_name_server_period: u64,
    /// Folder of the store.
    pub store_path_root_dir: PathBuf,
    /// Size of one commit log file.
    pub mapped_file_size_commit_log: u64,
    /// What an acknowledgement waits for.
    pub flush_disk_type: FlushDiskType,
    /// Hours that a full commit log file is kept.
    pub file_reserved_time: u64,
    /// Percent of the disk above which old files go before their time.
    pub disk_max_used_space_ratio: u8,
    /// Largest message body.
    pub max_message_size: u32,
    /// Largest frame accepted from a client.
    pub frame_max_length: u32,
    /// Make topics on first send.
    pub auto_create_topic_enable: bool,
    /// Make groups on first use.
    pub auto_create_subscription_group: bool,
    /// Queues of the template topic.
    pub default_topic_queue_nums: u32,
    /// 6 read and write, 4 read only, 2 write only.
    pub broker_permission: u32,
    /// Whether the cluster's name is a topic that may be sent to.
    pub cluster_topic_enable: bool,
    /// Whether the broker's name is a topic that may be sent to.
    pub broker_topic_enable: bool,
    /// Make the topic that traces are sent to.
    pub trace_topic_enable: bool,
    /// Told to clients: whether they should trace.
    pub trace_on: bool,
    /// Region told to clients and stored with messages.
    pub region_id: String,
    /// Keep a copy of every reply to a request in the topic `<cluster>_REPLY_TOPIC`.
    pub store_reply_message_enable: bool,
    /// Filter by SQL92 expressions.
    pub enable_property_filter: bool,
    /// Hold a pull that finds nothing.
    pub long_polling_enable: bool,
    /// How long a pull is held when `longPollingEnable` is off.
    pub short_polling_time_mills: u64,
    /// Pulls that may be held at once.
    pub max_held_pulls: u32,
    /// Pops that may be held at once for one queue, or for all queues, of one topic and group.
    pub pop_polling_size: u32,
    /// Pops that may be held at once.
    pub max_pop_polling_size: u32,
    /// Checkpoints of one queue and group; a pop finds nothing there while there are so many.
    pub pop_ck_offset_max_queue_size: u32,
    /// Checkpoints in all; a pop finds nothing while there are so many.
    pub pop_ck_max_buffer_size: u32,
    /// Name pop retry topics in the second form, `%RETRY%group+topic`. Both are read.
    #[serde(rename = "enableRetryTopicV2")]
    pub enable_retry_topic_v2: bool,
    /// How consumers that let the broker assign queues get messages, where nothing else was set.
    pub default_message_request_mode: MessageRequestMode,
    /// Queues shared with each other consumer of a group that pops, where nothing else was set; below 1: all.
    pub default_pop_share_queue_num: i32,
    /// Most bytes of one pull answered from memory.
    pub max_transfer_bytes_on_message_in_memory: u32,
    /// Most messages of one pull answered from memory.
    pub max_transfer_count_on_message_in_memory: u32,
    /// Most bytes of one pull answered from disk.
    pub max_transfer_bytes_on_message_in_disk: u32,
    /// Most messages of one pull answered from disk.
    pub max_transfer_count_on_message_in_disk: u32,
    /// Pulls of old data that may be read at once.
    pub cold_read_threads: u32,
    /// Most messages of one query by key.
    pub default_query_max_num: u32,
    /// Delays of the levels, from level 1 on; units `s m h d`.
    pub message_delay_level: String,
    /// Refuse half messages of transactions.
    pub reject_transaction_message: bool,
    /// Age in ms of a half message at which its producers are asked first, unless the producer says another.
    pub transaction_time_out: u64,
    /// How often an undecided transaction is asked for after that.
    pub transaction_check_interval: u64,
    /// A transaction that was asked for so many times in vain is discarded at the next.
    pub transaction_check_max: u32,
    /// Transactions that may be open at once; beyond it half messages are answered "busy".
    pub max_open_transactions: u32,
    /// Take messages for an arbitrary delivery time.
    pub timer_wheel_enable: bool,
    /// Seconds that such a time may lie ahead at most: 1 to 31,622,400, a year.
    pub timer_max_delay_sec: u64,
    /// Let producers take such messages back.
    pub recall_message_enable: bool,
    /// ... even while the broker refuses sends.
    pub allow_recall_when_broker_not_writeable: bool,
    /// A client that is silent for so long is forgotten.
    pub channel_expired_timeout: u64,
    /// How often silent clients are looked for.
    pub client_scan_interval: u64,
    /// How often committed offsets are written to the log.
    pub flush_consumer_offset_interval: u64,
    /// How often changed state is written to `config/`.
    pub snapshot_interval: u64,
    /// Bytes of log after which changed state is written earlier.
    pub snapshot_log_bytes: u64,
    /// A reset offset is given to the next pull rather than sent to the clients.
    pub use_server_side_reset_offset: bool,
    /// Address of the admin HTTP server.
    pub admin_address: IpAddr,
    /// Port of the admin HTTP server: `/metrics`, `/livez`, `/readyz`. None when absent.
    pub admin_port: Option<u16>,
    /// Which of `replicas` this process is; empty for a broker without replicas.
    pub replica_name: String,
    /// Every replica of the group with its address for the others; empty for a broker without replicas. The order decides
    /// which slave has which id, see [`replica::slave_id`], so it must be the same everywhere.
    pub replicas: Vec<ReplicaAddress>,
    /// What a `SEND_OK` waits for on the other replicas.
    pub replication_mode: ReplicationMode,
    /// Sends are refused while fewer replicas than this are in sync, the master included.
    pub min_in_sync: u32,
    /// File that says who leads the group, for replicas on one machine.
    pub group_state_file: Option<PathBuf>,
    /// Client port of slave id 1, 2 and so on. When empty, a slave uses `listenPort`, as pods do that share no address.
    pub slave_listen_ports: Vec<u16>,
    /// Address that clients reach slave id 1, 2 and so on at; `brokerIP1` when absent.
    #[serde(rename = "slaveBrokerIPs")]
    pub slave_broker_ips: Vec<IpAddr>,
    /// Bytes a second that a replica which has fallen behind is given at most.
    pub max_ha_transfer_byte_in_second: u64,
    /// Whether consumers that are far behind the master are sent to a slave.
    pub slave_read_enable: bool,
    /// Percent of the machine's memory, 0 to 100: what was appended within so many bytes counts as being in memory, and a
    /// consumer is far behind when more log than this lies before it.
    pub access_message_in_memory_max_ratio: u8,
    /// The slave that such consumers are sent to.
    pub which_broker_when_consume_slowly: u64,
}

impl Default for BrokerConfig {
    fn default() -> Self {
        BrokerConfig {
            broker_cluster_name: "DefaultCluster".into(),
            broker_name: "broker-a".into(),
            broker_id: 0,
            bind_address: IpAddr::from([0, 0, 0, 0]),
            listen_port: 10911,
            fast_listen_port: None,
            broker_ip1: None,
            namesrv_addr: String::new(),
            register_name_server_period: 30_000,
            store_path_root_dir: PathBuf::from("store"),
            mapped_file_size_commit_log: 1 << 30,
            flush_disk_type: FlushDiskType::AsyncFlush,
            file_reserved_time: 72,
            disk_max_used_space_ratio: 75,
            max_message_size: 4 * 1024 * 1024,
            frame_max_length: 16_777_216,
            auto_create_topic_enable: true,
            auto_create_subscription_group: true,
            default_topic_queue_nums: 8,
            broker_permission: 6,
            cluster_topic_enable: true,
            broker_topic_enable: true,
            trace_topic_enable: false,
            trace_on: true,
            region_id: "DefaultRegion".into(),
            store_reply_message_enable: true,
            enable_property_filter: false,
            long_polling_enable: true,
            short_polling_time_mills: 1_000,
            max_held_pulls: 200_000,
            pop_polling_size: 1_024,
            max_pop_polling_size: 100_000,
            pop_ck_offset_max_queue_size: 20_000,
            pop_ck_max_buffer_size: 200_000,
            enable_retry_topic_v2: false,
            default_message_request_mode: MessageRequestMode::Pull,
            default_pop_share_queue_num: -1,
            max_transfer_bytes_on_message_in_memory: 262_144,
            max_transfer_count_on_message_in_memory: 32,
            max_transfer_bytes_on_message_in_disk: 65_536,
            max_transfer_count_on_message_in_disk: 8,
            cold_read_threads: 4,
            default_query_max_num: 32,
            message_delay_level: "1s 5s 10s 30s 1m 2m 3m 4m 5m 6m 7m 8m 9m 10m 20m 30m 1h 2h".into(),
            reject_transaction_message: false,
            transaction_time_out: 6_000,
            transaction_check_interval: 30_000,
            transaction_check_max: 15,
            max_open_transactions: 2_000_000,
            timer_wheel_enable: true,
            timer_max_delay_sec: 259_200,
            recall_message_enable: true,
            allow_recall_when_broker_not_writeable: true,
            channel_expired_timeout: 120_000,
            client_scan_interval: 10_000,
            flush_consumer_offset_interval: 200,
            snapshot_interval: 30_000,
            snapshot_log_bytes: 64 * 1024 * 1024,
            use_server_side_reset_offset: true,
            admin_address: IpAddr::from([0, 0, 0, 0]),
            admin_port: None,
            replica_name: String::new(),
            replicas: Vec::new(),
            replication_mode: ReplicationMode::Sync,
            min_in_sync: 1,
            group_state_file: None,
            slave_listen_ports: Vec::new(),
            slave_broker_ips: Vec::new(),
            max_ha_transfer_byte_in_second: 100 * 1024 * 1024,
            slave_read_enable: true,
            access_message_in_memory_max_ratio: 40,
            which_broker_when_consume_slowly: 1,
        }
    }
}

/// A setting that cannot be used.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ConfigError {
    /// The value of a key is outside its range.
    #[error("{key}: {reason}")]
    Bad {
        /// Key as written in the file.
        key: &'static str,
        /// What is allowed.
        reason: &'static str,
    },
    /// An update names a key that does not exist or cannot change while the broker runs.
    #[error("{key} cannot be changed while the broker runs")]
    NotHot {
        /// Key as sent.
        key: String,
    },
    /// An update's text cannot be read as the key's type.
    #[error("{key}: cannot use the value {value:?}")]
    BadValue {
        /// Key as sent.
        key: String,
        /// Text as sent.
        value: String,
    },
}

impl BrokerConfig {
    /// Checks every key that has a range. The first bad one is returned.
    pub fn check(&self) -> Result<(), ConfigError> {
        let bad = |key, reason| Err(ConfigError::Bad { key, reason });
        for (key, name) in
            [("brokerClusterName", &self.broker_cluster_name), ("brokerName", &self.broker_name)]
        {
            if name.is_empty() || name.len() > 127 || !name.bytes().all(is_name_byte) {
                return bad(key, "1 to 127 characters of %|a-zA-Z0-9_-");
            }
        }
        if matches!(self.listen_port, 1 | 2) {
            return bad("listenPort", "at least 3");
        }
        if self.store_path_root_dir.as_os_str().is_empty() {
            return bad("storePathRootDir", "a folder");
        }
        if !(64 * 1024..=4 << 30).contains(&self.mapped_file_size_commit_log) {
            return bad("mappedFileSizeCommitLog", "65536 bytes to 4 GiB");
        }
        if !(10..=512 * 1024 * 1024).contains(&self.max_message_size) {
            return bad("maxMessageSize", "10 bytes to 512 MiB");
        }
        if self.frame_max_length < 1024 {
            return bad("frameMaxLength", "at least 1024");
        }
        if u64::from(self.max_message_size) + 65_536 + 8 > self.mapped_file_size_commit_log
            && self.max_message_size != BrokerConfig::default().max_message_size
        {
            return bad("maxMessageSize", "a message must fit into one commit log file");
        }
        if !(1..=95).contains(&self.disk_max_used_space_ratio) {
            return bad("diskMaxUsedSpaceRatio", "1 to 95");
        }
        if !(1..=1024).contains(&self.default_topic_queue_nums) {
            return bad("defaultTopicQueueNums", "1 to 1024");
        }
        if !matches!(self.broker_permission, 0 | 2 | 4 | 6) {
            return bad("brokerPermission", "6 (read and write), 4 (read), 2 (write) or 0");
        }
        if !(10_000..=60_000).contains(&self.register_name_server_period) {
            return bad("registerNameServerPeriod", "10000 to 60000");
        }
        if self.region_id.is_empty() || self.region_id.bytes().any(|b| b < 0x20) {
            return bad("regionId", "text without control characters");
        }
        for (key, value) in [
            ("clientScanInterval", self.client_scan_interval),
            ("channelExpiredTimeout", self.channel_expired_timeout),
            ("flushConsumerOffsetInterval", self.flush_consumer_offset_interval),
            ("snapshotInterval", self.snapshot_interval),
            ("shortPollingTimeMills", self.short_polling_time_mills),
            ("transactionTimeOut", self.transaction_time_out),
            ("transactionCheckInterval", self.transaction_check_interval),
        ] {
            if !(10..=86_400_000).contains(&value) {
                return bad(key, "10 to 86400000 ms");
            }
        }
        for (key, value) in [
            ("maxTransferCountOnMessageInMemory", self.max_transfer_count_on_message_in_memory),
            ("maxTransferCountOnMessageInDisk", self.max_transfer_count_on_message_in_disk),
            ("maxTransferBytesOnMessageInMemory", self.max_transfer_bytes_on_message_in_memory),
            ("maxTransferBytesOnMessageInDisk", self.max_transfer_bytes_on_message_in_disk),
            ("coldReadThreads", self.cold_read_threads),
            ("maxHeldPulls", self.max_held_pulls),
            ("popPollingSize", self.pop_polling_size),
            ("maxPopPollingSize", self.max_pop_polling_size),
            ("popCkOffsetMaxQueueSize", self.pop_ck_offset_max_queue_size),
            ("popCkMaxBufferSize", self.pop_ck_max_buffer_size),
            ("defaultQueryMaxNum", self.default_query_max_num),
            ("transactionCheckMax", self.transaction_check_max),
            ("maxOpenTransactions", self.max_open_transactions),
        ] {
            if value == 0 {
                return bad(key, "at least 1");
            }
        }
        if DelayLevels::parse(&self.message_delay_level).is_err() {
            return bad("messageDelayLevel", "delays such as `1s 5s 1m`, at most 64 of them");
        }
        if !(1..=LONGEST_TIMER_SEC).contains(&self.timer_max_delay_sec) {
            return bad("timerMaxDelaySec", "1 to 31622400 seconds");
        }
        if self.access_message_in_memory_max_ratio > 100 {
            return bad("accessMessageInMemoryMaxRatio", "0 to 100");
        }
        replica::check(self)
    }

    /// The second port, if one is wanted.
    pub fn fast_port(&self) -> Option<u16> {
        match self.fast_listen_port {
            Some(0) => None,
            Some(port) => Some(port),
            None => self.listen_port.checked_sub(2),
        }
    }

    /// What a promise to a client waits for.
    pub(crate) fn ack(&self) -> Ack {
        match self.flush_disk_type {
            _ if self.replicated() && self.replication_mode == ReplicationMode::Sync => Ack::Confirmed,
            FlushDiskType::SyncFlush => Ack::Flushed,
            FlushDiskType::AsyncFlush => Ack::Appended,
        }
    }

    /// Whether clients may send to this broker.
    pub fn writable(&self) -> bool {
        self.broker_permission & 2 != 0
    }

    /// Whether clients may read from this broker.
    pub fn readable(&self) -> bool {
        self.broker_permission & 4 != 0
    }
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'%' | b'|' | b'_' | b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_good() {
        assert_eq!(BrokerConfig::default().check(), Ok(()));
    }

    #[test]
    fn an_unknown_key_is_refused() {
        assert!(serde_json::from_str::<BrokerConfig>(r#"{"listenport":1}"#).is_err());
        let read: BrokerConfig =
            serde_json::from_str(r#"{"brokerIP1":"10.0.0.1","flushDiskType":"SYNC_FLUSH"}"#).unwrap();
        assert_eq!(read.broker_ip1, Some(IpAddr::from([10, 0, 0, 1])));
        assert_eq!(read.flush_disk_type, FlushDiskType::SyncFlush);
    }

    #[test]
    fn a_bad_value_names_its_key() {
        let config = BrokerConfig { broker_permission: 3, ..BrokerConfig::default() };
        assert!(matches!(config.check(), Err(ConfigError::Bad { key: "brokerPermission", .. })));
        let config = BrokerConfig { timer_max_delay_sec: LONGEST_TIMER_SEC + 1, ..BrokerConfig::default() };
        assert!(matches!(config.check(), Err(ConfigError::Bad { key: "timerMaxDelaySec", .. })));
        let config = BrokerConfig { message_delay_level: "1y".into(), ..BrokerConfig::default() };
        assert!(matches!(config.check(), Err(ConfigError::Bad { key: "messageDelayLevel", .. })));
    }

    #[test]
    fn the_fast_port_is_two_below_unless_said() {
        assert_eq!(BrokerConfig::default().fast_port(), Some(10909));
        assert_eq!(BrokerConfig { fast_listen_port: Some(0), ..BrokerConfig::default() }.fast_port(), None);
    }
}
