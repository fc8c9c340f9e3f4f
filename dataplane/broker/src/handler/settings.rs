//! Owns the broker's settings as administrators read and change them, as Java properties text.

use std::sync::Arc;

use bolide_wire::header::topic::GetBrokerConfigResponse;

use super::Call;
use crate::broker::Live;
use crate::config::{ConfigError, hot};
use crate::error::Failure;
use crate::reply::Reply;

/// Code 25. All or nothing; a change lives until the process ends.
pub(crate) async fn update(call: Call) -> Result<Reply, Failure> {
    let text = std::str::from_utf8(&call.command.body)
        .map_err(|_| ConfigError::BadValue { key: "body".into(), value: "not UTF-8".into() })?;
    let broker = &call.broker;
    let _one_at_a_time = broker.making.lock().await;
    let before = broker.live();
    let changed = hot::apply(&before.config, text)?;
    if changed == before.config {
        return Ok(Reply::ok());
    }
    let permission_changed = changed.broker_permission != before.config.broker_permission;
    broker.live.store(Arc::new(Live::new(changed)));
    tracing::info!(peer = %call.conn.peer(), settings = text, "settings changed");
    if !broker.leads() {
        return Ok(Reply::ok());
    }
    broker.make_predefined().await?;
    if permission_changed {
        // A new version of the same topics: nameservers take the permission over with it.
        broker.change_topics(Vec::new()).await?;
    }
    Ok(Reply::ok())
}

/// Code 26.
pub(crate) fn show(call: &Call) -> Result<Reply, Failure> {
    let version = serde_json::to_string(&call.broker.state.topics.version())?;
    let text = hot::to_properties(&call.broker.live.load().config);
    Ok(Reply::header(&GetBrokerConfigResponse { version }).with_body(text))
}
