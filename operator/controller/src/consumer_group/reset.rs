//! Moves a group's offsets, once for each token; the offsets before are kept in the status.

use std::collections::BTreeSet;

use bolide_api::ConsumerGroup;
use bolide_api::consumer_group::{LastReset, QueueOffset, ResetOffset, ResetTarget};
use bolide_client::{ClientError, ResetTo};
use jiff::Timestamp;

use crate::brokers::Brokers;
use crate::context::Context;
use crate::target::Broker;

/// Offsets kept at most.
const PREVIOUS_KEPT: usize = 1024;

/// What has to be written before offsets move; `None` when there is nothing to reset.
pub(crate) async fn begin<B: Brokers>(
    ctx: &Context<B>,
    group: &ConsumerGroup,
    brokers: &[Broker],
    last: Option<&LastReset>,
) -> Result<Option<LastReset>, ClientError> {
    let Some(order) = &group.spec.reset_offset else { return Ok(None) };
    match last.filter(|last| last.token == order.token) {
        Some(last) if last.complete => return Ok(None),
        // begun earlier: its record of offsets is the true one
        Some(last) => return Ok(Some(last.clone())),
        None => {}
    }
    let mut previous = Vec::new();
    for broker in brokers {
        for queue in ctx.brokers.progress(&broker.address, group.group_name(), None).await? {
            if is_named(order, &queue.topic) && previous.len() < PREVIOUS_KEPT {
                previous.push(QueueOffset {
                    topic: queue.topic,
                    broker: broker.name.clone(),
                    queue: u32::try_from(queue.queue).unwrap_or(0),
                    offset: queue.consumer_offset,
                });
            }
        }
    }
    Ok(Some(LastReset {
        token: order.token.clone(),
        complete: false,
        time: ctx.time(),
        message: String::new(),
        previous,
    }))
}

/// Moves the offsets on every broker. Doing it twice is the same as doing it once. Returns the record to write, complete or
/// with what went wrong.
pub(crate) async fn carry_out<B: Brokers>(
    ctx: &Context<B>,
    group: &ConsumerGroup,
    brokers: &[Broker],
    begun: Option<LastReset>,
) -> Option<LastReset> {
    let order = group.spec.reset_offset.as_ref()?;
    let mut record = begun?;
    let result = match target(order) {
        Ok(to) => everywhere(ctx, group, order, brokers, to).await.map_err(ResetError::from),
        Err(error) => Err(error),
    };
    match result {
        Ok(()) => {
            record.complete = true;
            record.message = String::new();
        }
        Err(error) => record.message = error.to_string(),
    }
    Some(record)
}

async fn everywhere<B: Brokers>(
    ctx: &Context<B>,
    group: &ConsumerGroup,
    order: &ResetOffset,
    brokers: &[Broker],
    to: ResetTo,
) -> Result<(), ClientError> {
    for broker in brokers {
        let progress = ctx.brokers.progress(&broker.address, group.group_name(), None).await?;
        let mut topics: BTreeSet<String> = progress.into_iter().map(|queue| queue.topic).collect();
        for named in order.topics.iter().flatten() {
            if ctx.brokers.topic(&broker.address, named).await?.is_some() {
                topics.insert(named.clone());
            }
        }
        for topic in topics.iter().filter(|topic| is_named(order, topic)) {
            ctx.brokers.reset(&broker.address, group.group_name(), topic, to).await?;
        }
    }
    Ok(())
}

fn is_named(order: &ResetOffset, topic: &str) -> bool {
    match &order.topics {
        Some(topics) => topics.iter().any(|named| named == topic),
        None => true,
    }
}

fn target(order: &ResetOffset) -> Result<ResetTo, ResetError> {
    match order.to {
        ResetTarget::Earliest => Ok(ResetTo::Earliest),
        ResetTarget::Latest => Ok(ResetTo::Latest),
        ResetTarget::Time => {
            let text = order.time.as_deref().unwrap_or_default();
            let time: Timestamp =
                text.parse().map_err(|source| ResetError::Time { text: text.to_owned(), source })?;
            Ok(ResetTo::Time(time.as_millisecond()))
        }
    }
}

/// Why a reset is not complete.
#[derive(Debug, thiserror::Error)]
enum ResetError {
    #[error("resetOffset.time \"{text}\" is not a moment: {source}")]
    Time { text: String, source: jiff::Error },
    #[error(transparent)]
    Broker(#[from] ClientError),
}
