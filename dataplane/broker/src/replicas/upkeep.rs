//! Owns what a slave does beside following: consumer offsets that were committed here go to the master, and the queues of
//! topics that were deleted there are removed.
//!
//! While there is no master, offsets are kept: they go to the next one, or into the log when this replica leads. They are newer than
//! what clients sent to the master while it was away, which has waited at its address: so a master that is back gets that first.

use std::sync::Arc;
use std::time::Duration;

use bolide_transport::{CallError, Client, ClientConfig};
use bolide_wire::header::consumer::UpdateConsumerOffset;
use bolide_wire::{Command, RequestCode, ResponseCode};
use tokio_util::sync::CancellationToken;

use crate::broker::Broker;
use crate::state::record::OffsetTable;

const EVERY: Duration = Duration::from_millis(500);
const TIMEOUT: Duration = Duration::from_secs(2);
/// Time for a master that is back to take what has waited for it.
const SETTLE: Duration = Duration::from_secs(1);
/// Queues told of at once.
const AT_ONCE: usize = 500;

/// Works until `stop`.
pub(super) async fn serve(broker: Arc<Broker>, stop: CancellationToken) {
    let client = Client::new(ClientConfig::default());
    let master = broker.store_host.to_string();
    let mut away = false;
    loop {
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = stop.cancelled() => break,
        }
        broker.delete_queues().await;
        if away && broker.state.offsets.lock().has_dirty() {
            let back = tokio::select! {
                back = is_back(&client, &master) => back,
                () = stop.cancelled() => break,
            };
            if !back {
                continue;
            }
        }
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
        away = told.is_err();
        if let Err(error) = told {
            tracing::debug!(%error, "offsets are kept for the next master");
            broker.state.offsets.lock().again(&offsets);
        }
    }
    client.close(Duration::ZERO).await;
}

/// Whether the master answers again; true only when it has had the time to answer others before.
async fn is_back(client: &Client, master: &str) -> bool {
    let asked = client.call(master, Command::request(RequestCode::BOLIDE_REPLICA_STATUS), TIMEOUT).await;
    if asked.is_ok() {
        tokio::time::sleep(SETTLE).await;
    }
    asked.is_ok()
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
