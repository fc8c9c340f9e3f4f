//! Owns what a slave does beside following: consumer offsets that were committed here go to the master, and the queues of
//! topics that were deleted there are removed.
//!
//! While there is no master, offsets are kept: they go to the next one, or into the log when this replica leads.

use std::sync::Arc;
use std::time::Duration;

use bolide_transport::{CallError, Client, ClientConfig};
use bolide_wire::header::consumer::UpdateConsumerOffset;
use bolide_wire::{Command, RequestCode, ResponseCode};
use tokio_util::sync::CancellationToken;

use crate::broker::Broker;
use crate::run::drop_deleted_queues;
use crate::state::record::OffsetTable;

const EVERY: Duration = Duration::from_millis(500);
const TIMEOUT: Duration = Duration::from_secs(2);
/// Queues told of at once.
const AT_ONCE: usize = 500;

/// Works until `stop`.
pub(super) async fn serve(broker: Arc<Broker>, stop: CancellationToken) {
    let client = Client::new(ClientConfig::default());
    let master = broker.store_host.to_string();
    loop {
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = stop.cancelled() => break,
        }
        drop_deleted_queues(&broker).await;
        let offsets = broker.state.offsets.lock().take_dirty(AT_ONCE);
        if offsets.is_empty() {
            continue;
        }
        let told = tokio::select! {
            told = tell(&client, &master, &offsets) => told,
            () = stop.cancelled() => {
                broker.state.offsets.lock().again(&offsets);
                break;
            }
        };
        if let Err(error) = told {
            tracing::debug!(%error, "offsets are kept for the next master");
            broker.state.offsets.lock().again(&offsets);
        }
    }
    client.close(Duration::ZERO).await;
}

/// Commits at the master what was committed here. What it refuses for good is dropped: its topic or group is gone.
async fn tell(client: &Client, master: &str, offsets: &OffsetTable) -> Result<(), CallError> {
    for (key, queues) in offsets {
        let Some((topic, group)) = key.split_once('@') else { continue };
        for (queue, offset) in queues {
            let header = UpdateConsumerOffset {
                consumer_group: group.into(),
                topic: topic.into(),
                queue_id: *queue,
                commit_offset: *offset,
                broker_name: None,
            };
            let command = Command::request(RequestCode::UPDATE_CONSUMER_OFFSET).with_header(&header);
            let answer = client.call(master, command, TIMEOUT).await?;
            if answer.response_code() != ResponseCode::SUCCESS {
                tracing::debug!(topic, group, queue, code = %answer.response_code(), "an offset was refused");
            }
        }
    }
    Ok(())
}
