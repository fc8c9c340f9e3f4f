//! Owns the look at messages without taking them.

use bolide_store::{ReadLimits, ReadStatus};
use bolide_wire::ResponseCode;
use bolide_wire::header::pop::{PeekMessage, PopMessageResponse};
use bolide_wire::ids::QueueOffset;

use super::sources;
use crate::error::Failure;
use crate::handler::Call;
use crate::handler::pull::cold;
use crate::pop::MOST_MESSAGES;
use crate::reply::Reply;

/// Code 200052.
pub(crate) async fn peek(call: Call) -> Result<Reply, Failure> {
    let header = PeekMessage::decode(&call.command.ext)?;
    let broker = &call.broker;
    let target = super::target(broker, &header.consumer_group, &header.topic, header.queue_id)?;
    let most = u32::try_from(header.max_msg_nums).unwrap_or(1).clamp(1, MOST_MESSAGES);
    let max_bytes = broker.live.load().config.max_transfer_bytes_on_message_in_memory;
    let sources = sources::all(broker, &target, broker.popping.turn());
    let read = move |store: &bolide_store::Store| {
        let mut room = usize::try_from(most).unwrap_or(1);
        let mut bytes = usize::try_from(max_bytes).unwrap_or(usize::MAX);
        let mut slices = Vec::new();
        let mut rest = 0_i64;
        for source in sources {
            rest = rest.saturating_add(source.waiting());
            if room == 0 || bytes == 0 || source.waiting() == 0 {
                continue;
            }
            let limits = ReadLimits { max_messages: room, max_bytes: bytes, ..ReadLimits::default() };
            let from = QueueOffset(source.standing.from).max(source.queue.min());
            let found = store.read(&source.queue, from, &limits, &mut |_| true)?;
            if found.status == ReadStatus::Found {
                room = room.saturating_sub(found.messages);
                bytes = bytes.saturating_sub(found.bytes);
                rest = rest.saturating_sub(i64::try_from(found.messages).unwrap_or(0));
                cold::touch(&found.slices);
                slices.extend(found.slices);
            }
        }
        Ok((slices, rest.max(0)))
    };
    let (slices, rest_num) = broker.cold_read(read).await?;
    let code = if slices.is_empty() { ResponseCode::PULL_NOT_FOUND } else { ResponseCode::SUCCESS };
    let header = PopMessageResponse {
        pop_time: broker.clock.now(),
        invisible_time: 0,
        revive_qid: 0,
        rest_num,
        start_offset_info: None,
        msg_offset_info: None,
        order_count_info: None,
    };
    Ok(Reply::code(code).with_header(&header).with_slices(slices))
}
