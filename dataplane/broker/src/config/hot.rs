//! Owns the change of settings while the broker runs, and their form as Java properties text.
//!
//! A change lives until the process ends: the YAML file is the truth at the next start.

use serde_json::{Map, Value};

use super::{BrokerConfig, ConfigError};

/// Keys that take effect at once. Every other key is refused.
pub const HOT_KEYS: &[&str] = &[
    "allowRecallWhenBrokerNotWriteable",
    "autoCreateSubscriptionGroup",
    "autoCreateTopicEnable",
    "brokerPermission",
    "channelExpiredTimeout",
    "defaultPopShareQueueNum",
    "defaultQueryMaxNum",
    "defaultTopicQueueNums",
    "enablePropertyFilter",
    "enableRetryTopicV2",
    "longPollingEnable",
    "maxHeldPulls",
    "maxMessageSize",
    "maxOpenTransactions",
    "maxPopPollingSize",
    "maxTransferBytesOnMessageInDisk",
    "maxTransferBytesOnMessageInMemory",
    "maxTransferCountOnMessageInDisk",
    "maxTransferCountOnMessageInMemory",
    "popCkMaxBufferSize",
    "popCkOffsetMaxQueueSize",
    "popPollingSize",
    "recallMessageEnable",
    "rejectTransactionMessage",
    "shortPollingTimeMills",
    "storeReplyMessageEnable",
    "timerMaxDelaySec",
    "timerWheelEnable",
    "traceOn",
    "transactionCheckInterval",
    "transactionCheckMax",
    "transactionTimeOut",
    "useServerSideResetOffset",
];

fn as_map(config: &BrokerConfig) -> Map<String, Value> {
    match serde_json::to_value(config) {
        Ok(Value::Object(map)) => map,
        _ => Map::new(),
    }
}

/// The configuration as `key=value` lines, sorted by key; absent values are left out.
pub fn to_properties(config: &BrokerConfig) -> String {
    let mut text = String::new();
    for (key, value) in &as_map(config) {
        let value = match value {
            Value::Null => continue,
            Value::String(value) => value.clone(),
            other => other.to_string(),
        };
        text.push_str(key);
        text.push('=');
        text.push_str(&value);
        text.push('\n');
    }
    text
}

/// Applies `key=value` lines (`#` and `!` begin comments) to a copy of `config`. A line that repeats the present value of
/// any key is fine; a line that changes a key outside [`HOT_KEYS`] refuses the whole update.
pub fn apply(config: &BrokerConfig, text: &str) -> Result<BrokerConfig, ConfigError> {
    let mut map = as_map(config);
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with(['#', '!']) {
            continue;
        }
        let (key, text) = line.split_once(['=', ':']).unwrap_or((line, ""));
        let (key, text) = (key.trim(), text.trim());
        let Some(value) = map.get_mut(key) else { return Err(ConfigError::NotHot { key: key.into() }) };
        let bad = || ConfigError::BadValue { key: key.into(), value: text.into() };
        let wanted = match &*value {
            Value::Bool(_) => Value::Bool(text.parse().map_err(|_| bad())?),
            Value::Number(_) => Value::Number(text.parse::<u64>().map_err(|_| bad())?.into()),
            Value::Array(_) => serde_json::from_str(text).map_err(|_| bad())?,
            _ => Value::String(text.into()),
        };
        if *value != wanted {
            if !HOT_KEYS.contains(&key) {
                return Err(ConfigError::NotHot { key: key.into() });
            }
            *value = wanted;
        }
    }
    let changed: BrokerConfig = serde_json::from_value(Value::Object(map))
        .map_err(|_| ConfigError::BadValue { key: "configuration".into(), value: text.into() })?;
    changed.check()?;
    Ok(changed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hot_key_changes_and_shows() {
        let changed = apply(&BrokerConfig::default(), "# maintenance\nbrokerPermission=4\n").unwrap();
        assert_eq!(changed.broker_permission, 4);
        assert!(to_properties(&changed).contains("brokerPermission=4\n"));
    }

    #[test]
    fn every_hot_key_exists() {
        let map = as_map(&BrokerConfig::default());
        for key in HOT_KEYS {
            assert!(map.contains_key(*key), "{key}");
        }
    }

    #[test]
    fn a_cold_key_or_a_bad_value_refuses_the_whole_update() {
        let config = BrokerConfig::default();
        assert!(
            matches!(apply(&config, "traceOn=false\nlistenPort=1234"), Err(ConfigError::NotHot { key }) if key == "listenPort")
        );
        assert!(apply(&config, "listenPort=10911\nreplicas=[]").is_ok());
        assert!(apply(&config, "slaveListenPorts=[1]").is_err());
        assert!(matches!(apply(&config, "maxMessageSize=much"), Err(ConfigError::BadValue { .. })));
        assert!(matches!(apply(&config, "brokerPermission=3"), Err(ConfigError::Bad { .. })));
    }
}
