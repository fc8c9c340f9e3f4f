//! Owns the second chance of a transaction that was given up: its message becomes a half message again.

use bolide_store::{AppendBatch, Refused};
use bolide_wire::header::transaction::ResumeCheckHalfMessage;
use bolide_wire::message::{OffsetMessageId, RecordRef};
use tokio::sync::oneshot;

use super::wrong;
use crate::error::Failure;
use crate::handler::Call;
use crate::reply::Reply;
use crate::state::transactions::DISCARD_TOPIC;
use crate::transaction::encode_resumed;

/// Code 323. The message is named by its offset id in the discard topic.
pub(crate) async fn resume(call: Call) -> Result<Reply, Failure> {
    let header = ResumeCheckHalfMessage::decode(&call.command.ext)?;
    let id = header.msg_id.as_deref().unwrap_or_default();
    let id: OffsetMessageId =
        id.parse().map_err(|_| Failure::Parameter(format!("[{id}] is no offset message id")))?;
    let bytes = call.record(id.offset.to_wire()).await?;
    let unreadable = || wrong("Put message back to RMQ_SYS_TRANS_HALF_TOPIC failed.");
    let record = RecordRef::parse(&bytes).map_err(|_| unreadable())?;
    if record.topic() != DISCARD_TOPIC {
        return Err(Failure::Parameter(format!("the message is not in {DISCARD_TOPIC}")));
    }
    let mut batch = AppendBatch::default();
    encode_resumed(&call.broker, &record, &mut batch).map_err(|_| unreadable())?;
    let (sender, receiver) = oneshot::channel();
    // Nobody listening any more is no failure of the append.
    let done = Box::new(move |placed| drop(sender.send(placed)));
    let appended = call.broker.store.append(batch, call.broker.full_ack(), done);
    appended.map_err(|Refused { reason, .. }| Failure::Refused(reason))?;
    receiver.await.map_err(|_| Failure::Stopping)??;
    Ok(Reply::ok())
}
