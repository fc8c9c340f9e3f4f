//! Brings one group on all brokers to what is wanted, by the same difference that `bolide up` uses.

use bolide_api::ConsumerGroup;
use bolide_client::ClientError;
use bolide_client::desired::{Change, WantedGroup, group_change};
use bolide_desired::wanted_group;

use crate::brokers::Brokers;
use crate::context::Context;
use crate::target::Broker;

/// What came of it, over all brokers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Applied {
    /// What was changed, for people.
    pub(crate) done: Vec<String>,
    /// Brokers that did not do what they were asked.
    pub(crate) failures: Vec<String>,
}

/// Every broker is tried, whatever happens on others.
pub(crate) async fn apply<B: Brokers>(
    ctx: &Context<B>,
    group: &ConsumerGroup,
    brokers: &[Broker],
) -> Applied {
    let wanted = wanted_group(group);
    let mut applied = Applied::default();
    for broker in brokers {
        match on_broker(ctx, &wanted, broker).await {
            Ok(Some(done)) => applied.done.push(format!("{}: {done}", broker.name)),
            Ok(None) => {}
            Err(error) => applied.failures.push(format!("{}: {error}", broker.name)),
        }
    }
    applied
}

async fn on_broker<B: Brokers>(
    ctx: &Context<B>,
    wanted: &WantedGroup,
    broker: &Broker,
) -> Result<Option<String>, ClientError> {
    let found = ctx.brokers.group(&broker.address, &wanted.name).await?;
    let change = group_change(wanted, found.as_ref());
    if let Some(Change::MakeGroup(to) | Change::ChangeGroup { to, .. }) = &change {
        ctx.brokers.put_group(&broker.address, to).await?;
    }
    Ok(change.map(|change| change.to_string()))
}
