//! From a BrokerSet to the settings of its brokers, by their upstream names.
//!
//! Owns the table of which field decides which setting, and which settings a person may not give in `brokerConfig`.

use std::collections::BTreeMap;

use crate::broker_set::{BrokerSetSpec, Flush, Replication};
use crate::common::Setting;

/// Settings that follow from a field of the spec: giving them in `brokerConfig` too is refused.
const DECIDED_BY: &[(&str, &str)] = &[
    ("flushDiskType", "spec.flush"),
    ("brokerRole", "spec.replication"),
    ("replicationMode", "spec.replication"),
    ("minInSync", "spec.minInSync"),
    ("inSyncReplicas", "spec.minInSync"),
    ("minInSyncReplicas", "spec.minInSync"),
    ("autoCreateTopicEnable", "spec.autoCreateTopics"),
    ("autoCreateSubscriptionGroup", "spec.autoCreateGroups"),
    ("fileReservedTime", "spec.storage.retention.hours"),
    ("diskMaxUsedSpaceRatio", "spec.storage.retention.diskPercent"),
];

/// Settings that say who and where a broker is: only the one who starts the broker can know them.
const IDENTITY: &[&str] = &[
    "brokerClusterName",
    "brokerName",
    "brokerId",
    "brokerIP1",
    "brokerIP2",
    "listenPort",
    "haListenPort",
    "namesrvAddr",
    "storePathRootDir",
    "storePathCommitLog",
    "rocketmqHome",
    "adminPort",
    "adminAddress",
    "bindAddress",
    "fastListenPort",
    "replicaName",
    "replicas",
    "groupStateFile",
    "slaveListenPorts",
    "slaveBrokerIPs",
];

/// Settings that a running broker takes over when it is told, with the values that they have when nobody gives any: a broker
/// has to be told those too when a setting is taken out of the spec. Any other change needs a new process.
pub const HOT: &[(&str, Setting)] = &[
    ("allowRecallWhenBrokerNotWriteable", Setting::Bool(true)),
    ("autoCreateSubscriptionGroup", Setting::Bool(true)),
    ("autoCreateTopicEnable", Setting::Bool(true)),
    ("brokerPermission", Setting::Int(6)),
    ("channelExpiredTimeout", Setting::Int(120_000)),
    ("defaultPopShareQueueNum", Setting::Int(-1)),
    ("defaultQueryMaxNum", Setting::Int(32)),
    ("defaultTopicQueueNums", Setting::Int(8)),
    ("enablePropertyFilter", Setting::Bool(false)),
    ("enableRetryTopicV2", Setting::Bool(false)),
    ("longPollingEnable", Setting::Bool(true)),
    ("maxHeldPulls", Setting::Int(200_000)),
    ("maxMessageSize", Setting::Int(4 * 1024 * 1024)),
    ("maxOpenTransactions", Setting::Int(2_000_000)),
    ("maxPopPollingSize", Setting::Int(100_000)),
    ("maxTransferBytesOnMessageInDisk", Setting::Int(65_536)),
    ("maxTransferBytesOnMessageInMemory", Setting::Int(262_144)),
    ("maxTransferCountOnMessageInDisk", Setting::Int(8)),
    ("maxTransferCountOnMessageInMemory", Setting::Int(32)),
    ("popCkMaxBufferSize", Setting::Int(200_000)),
    ("popCkOffsetMaxQueueSize", Setting::Int(20_000)),
    ("popPollingSize", Setting::Int(1_024)),
    ("recallMessageEnable", Setting::Bool(true)),
    ("rejectTransactionMessage", Setting::Bool(false)),
    ("shortPollingTimeMills", Setting::Int(1_000)),
    ("storeReplyMessageEnable", Setting::Bool(true)),
    ("timerMaxDelaySec", Setting::Int(259_200)),
    ("timerWheelEnable", Setting::Bool(true)),
    ("traceOn", Setting::Bool(true)),
    ("transactionCheckInterval", Setting::Int(30_000)),
    ("transactionCheckMax", Setting::Int(15)),
    ("transactionTimeOut", Setting::Int(6_000)),
    ("useServerSideResetOffset", Setting::Bool(true)),
];

/// Whether a running broker takes the setting over.
pub fn is_hot(key: &str) -> bool {
    HOT.iter().any(|(hot, _)| *hot == key)
}

/// Why `key` may not stand in `brokerConfig`, as a sentence; `None` when it may.
pub fn refusal(key: &str) -> Option<String> {
    if let Some((_, field)) = DECIDED_BY.iter().find(|(setting, _)| *setting == key) {
        return Some(format!("brokerConfig.{key} is decided by {field}: set that instead"));
    }
    if IDENTITY.contains(&key) {
        return Some(format!(
            "brokerConfig.{key} is the identity of a broker and set for each broker: leave it out"
        ));
    }
    None
}

/// The settings of every broker of the set; identity (name, ports, folders) is added by the one who starts it.
pub fn broker_settings(spec: &BrokerSetSpec) -> BTreeMap<String, Setting> {
    let mut settings = BTreeMap::new();
    let mut set = |key: &str, value: Setting| settings.insert(key.to_owned(), value);
    let flush = match spec.flush {
        Flush::Sync => "SYNC_FLUSH",
        Flush::Async => "ASYNC_FLUSH",
    };
    set("flushDiskType", flush.into());
    set("autoCreateTopicEnable", spec.auto_create_topics.into());
    set("autoCreateSubscriptionGroup", spec.auto_create_groups.into());
    if spec.replicas > 1 {
        let mode = match spec.replication {
            Replication::Sync => "Sync",
            Replication::Async => "Async",
        };
        set("replicationMode", mode.into());
        set("minInSync", i64::from(spec.min_in_sync).into());
    }
    let retention = &spec.storage.retention;
    set("fileReservedTime", i64::from(retention.hours).into());
    set("diskMaxUsedSpaceRatio", i64::from(retention.disk_percent).into());
    if let Some(bytes) = spec.storage.size.bytes() {
        set("mappedFileSizeCommitLog", commit_log_file_bytes(bytes).into());
    }
    for (key, value) in &spec.broker_config {
        if refusal(key).is_none() {
            settings.insert(key.clone(), value.clone());
        }
    }
    settings
}

/// Size of one commit log file on a volume of `volume` bytes: upstream's 1 GiB, less on a volume that holds fewer than 16 of them.
fn commit_log_file_bytes(volume: u64) -> i64 {
    const MIB: u64 = 1 << 20;
    let files = (volume / 16 / MIB).next_power_of_two().clamp(16, 1024);
    i64::try_from(files * MIB).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::Quantity;

    #[test]
    fn fields_become_upstream_settings() {
        let spec = BrokerSetSpec { flush: Flush::Sync, auto_create_topics: true, ..BrokerSetSpec::default() };
        let settings = broker_settings(&spec);
        assert_eq!(settings.get("flushDiskType"), Some(&"SYNC_FLUSH".into()));
        assert_eq!(settings.get("autoCreateTopicEnable"), Some(&true.into()));
        assert_eq!(settings.get("mappedFileSizeCommitLog"), Some(&(1_i64 << 30).into()));
    }

    #[test]
    fn small_volumes_get_small_commit_log_files() {
        let mut spec = BrokerSetSpec::default();
        spec.storage.size = Quantity("1Gi".into());
        assert_eq!(broker_settings(&spec).get("mappedFileSizeCommitLog"), Some(&(64_i64 << 20).into()));
        spec.broker_config.insert("mappedFileSizeCommitLog".into(), (128_i64 << 20).into());
        assert_eq!(broker_settings(&spec).get("mappedFileSizeCommitLog"), Some(&(128_i64 << 20).into()));
    }

    #[test]
    fn a_setting_that_a_field_decides_is_refused_and_ignored() {
        let mut spec = BrokerSetSpec::default();
        spec.broker_config.insert("flushDiskType".into(), "SYNC_FLUSH".into());
        assert!(refusal("flushDiskType").is_some_and(|text| text.contains("spec.flush")));
        assert!(refusal("brokerName").is_some());
        assert!(refusal("maxMessageSize").is_none());
        assert_eq!(broker_settings(&spec).get("flushDiskType"), Some(&"ASYNC_FLUSH".into()));
    }
}
