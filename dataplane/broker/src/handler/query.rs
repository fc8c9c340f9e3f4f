//! Owns the search for single messages: by key and by place. Both may read old data, so both run on the pool of threads
//! for cold reads.

use std::io;
use std::sync::Arc;

use bolide_store::Store;
use bolide_wire::header::query::{QueryMessage, QueryMessageResponse, ViewMessage};
use bolide_wire::ids::LogOffset;
use bytes::Bytes;

use super::Call;
use crate::broker::Broker;
use crate::error::Failure;
use crate::reply::Reply;

impl Broker {
    /// Runs a read that may wait for the disk.
    pub(crate) async fn cold_read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Store) -> io::Result<T> + Send + 'static,
    ) -> Result<T, Failure> {
        let permit = self.cold_reads.clone().acquire_owned().await.map_err(|_| Failure::Stopping)?;
        let store = self.store.clone();
        let task = tokio::task::spawn_blocking(move || {
            let found = read(&store);
            drop(permit);
            found
        });
        task.await.map_err(|_| Failure::Internal("the read failed"))?.map_err(Failure::Read)
    }
}

/// Code 12.
pub(crate) async fn by_key(call: Call) -> Result<Reply, Failure> {
    let header = QueryMessage::decode(&call.command.ext)?;
    let most = i32::try_from(call.broker.live.load().config.default_query_max_num).unwrap_or(i32::MAX);
    let wanted = if header.unique_key_query { most } else { header.max_num.clamp(1, most.max(64)) };
    let wanted = usize::try_from(wanted).unwrap_or(1);
    let topic = call.broker.state.topics.find(&header.topic).map(|topic| topic.name.clone());
    let none = || Failure::NotFound("can not find message, maybe time range not correct".into());
    let topic = topic.ok_or_else(none)?;
    let (begin, end) = (header.begin_timestamp, header.end_timestamp);
    let key = header.key;
    let found: Vec<Bytes> = call
        .broker
        .cold_read(move |store| store.query(&topic, &key, wanted, begin, end).map(touched))
        .await?;
    if found.is_empty() {
        return Err(none());
    }
    let (offset, time) = call.broker.store.index_position();
    let header = QueryMessageResponse {
        index_last_update_timestamp: time,
        index_last_update_phyoffset: offset.to_wire(),
    };
    Ok(Reply::header(&header).with_slices(found))
}

/// Code 33.
pub(crate) async fn by_offset(call: Call) -> Result<Reply, Failure> {
    let header = ViewMessage::decode(&call.command.ext)?;
    let missing = || Failure::Missing(format!("can not find message by the offset, {}", header.offset));
    let offset = LogOffset::from_wire(header.offset).ok_or_else(missing)?;
    let found = call.broker.cold_read(move |store| store.record_at(offset)).await?;
    Ok(Reply::ok().with_slices(vec![found.ok_or_else(missing)?]))
}

fn touched(records: Vec<Bytes>) -> Vec<Bytes> {
    for record in &records {
        std::hint::black_box(record.iter().step_by(4096).copied().fold(0_u8, u8::wrapping_add));
    }
    records
}

impl Call {
    /// The stored record at an offset.
    pub(crate) async fn record(&self, offset: i64) -> Result<Bytes, Failure> {
        let failed = || Failure::Missing(format!("look message by offset failed, {offset}"));
        let place = LogOffset::from_wire(offset).ok_or_else(failed)?;
        let broker: &Arc<Broker> = &self.broker;
        broker.cold_read(move |store| store.record_at(place)).await?.ok_or_else(failed)
    }
}
