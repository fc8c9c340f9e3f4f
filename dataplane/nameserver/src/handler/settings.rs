//! The settings as properties text: 318 changes some of them until the next start, 319 shows all.

use bolide_wire::{Command, ResponseCode};
use serde_json::Value;

use super::{RequestError, Requests};
use crate::config::NameserverConfig;

/// What may be changed while running. Everything else is fixed by the configuration file.
const CHANGEABLE: [&str; 5] = [
    "orderMessageEnable",
    "returnOrderTopicConfigToBroker",
    "deleteTopicWithBrokerRegistration",
    "supportActingMaster",
    "needWaitForService",
];

pub(super) fn get(requests: &Requests, request: &Command) -> Result<Command, RequestError> {
    let Value::Object(settings) = serde_json::to_value(&*requests.config.read())? else {
        return Err(RequestError::NotText);
    };
    let mut text = String::new();
    for (key, value) in settings {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        text.push_str(&format!("{key}={value}\n"));
    }
    Ok(request.response(ResponseCode::SUCCESS).with_body(text))
}

pub(super) fn update(requests: &Requests, request: &Command) -> Result<Command, RequestError> {
    let text = std::str::from_utf8(&request.body).map_err(|_| RequestError::NotText)?;
    let mut config = requests.config.write();
    *config = changed(&config, text)?;
    Ok(request.response(ResponseCode::SUCCESS))
}

/// The settings with the lines of `text` applied; all or none.
fn changed(config: &NameserverConfig, text: &str) -> Result<NameserverConfig, RequestError> {
    let mut settings = serde_json::to_value(config)?;
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (key, value) = line.split_once('=').unwrap_or((line, ""));
        let (key, value) = (key.trim(), value.trim());
        if !CHANGEABLE.contains(&key) {
            return Err(RequestError::Protected);
        }
        let parsed: bool = value.parse().map_err(|_| RequestError::Setting {
            key: key.to_owned(),
            value: value.chars().take(64).collect(),
        })?;
        if let Some(slot) = settings.get_mut(key) {
            *slot = Value::Bool(parsed);
        }
    }
    Ok(serde_json::from_value(settings)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listed_settings_change_and_others_are_protected() {
        let config = NameserverConfig::default();
        let new =
            changed(&config, "# comment\norderMessageEnable=true\nsupportActingMaster = true\n").unwrap();
        assert!(new.order_message_enable && new.support_acting_master);
        assert!(matches!(changed(&config, "kvConfigPath=/etc/passwd"), Err(RequestError::Protected)));
        assert!(matches!(changed(&config, "orderMessageEnable=maybe"), Err(RequestError::Setting { .. })));
    }
}
