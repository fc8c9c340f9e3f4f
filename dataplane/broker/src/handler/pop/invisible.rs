//! Owns the change of the time for which a popped message stays invisible.

use bolide_wire::header::pop::{ChangeInvisibleTime, ChangeInvisibleTimeResponse};
use bolide_wire::ids::EpochMillis;
use bolide_wire::pop::Handle;

use super::ack;
use crate::error::Failure;
use crate::handler::Call;
use crate::handler::pull::refuse;
use crate::reply::{self, Reply};
use crate::state::pops::Acked;
use crate::state::pops::change::{CheckpointId, Moved};

/// Code 200053. The message gets a checkpoint of its own from now on, in one step with leaving the one it was in. A message
/// that is not out any more gets none: it was acknowledged, or has come again already.
pub(crate) fn change(call: Call) {
    if let Err(failure) = begin(&call) {
        refuse(&call.conn, &call.command, failure);
    }
}

fn begin(call: &Call) -> Result<(), Failure> {
    let header = ChangeInvisibleTime::decode(&call.command.ext)?;
    let broker = &call.broker;
    let handle = Handle::parse(&header.extra_info)?;
    let (key, min, max) = ack::queue(broker, &header.consumer_group, &header.topic, header.queue_id)?;
    if header.offset < min || header.offset >= max {
        return Err(Failure::NoMessage(format!("offset {} is not in {min}~{max}", header.offset)));
    }
    let now = broker.clock.now();
    let visible_at = now.0.saturating_add(header.invisible_time.max(0));
    let (pop_time, invisible_time) = if handle.ordered() {
        (handle.pop_time, visible_at.saturating_sub(handle.pop_time.0))
    } else {
        (EpochMillis(now.0), header.invisible_time.max(0))
    };
    let reply = Reply::header(&ChangeInvisibleTimeResponse {
        pop_time,
        invisible_time,
        revive_qid: handle.revive_queue,
    });
    let mut pops = broker.state.pops.lock();
    pops.journal.check()?;
    let acked = if handle.ordered() {
        pops.settle_ordered(&key, handle.pop_time.0, header.offset, Some(visible_at))
    } else {
        let from = CheckpointId(handle.start.0, handle.pop_time.0);
        pops.delay(&key, Moved(from, header.offset, now.0, visible_at))
    };
    match acked {
        Acked::Illegal => Err(Failure::MessageIllegal("it was not given in this batch")),
        Acked::NotOut => {
            drop(pops);
            call.conn.reply(reply.answer(&call.command));
            Ok(())
        }
        Acked::Journaled => {
            let (conn, command) = (call.conn.clone(), call.command.clone());
            pops.journal.wait(Box::new(move |logged| {
                conn.reply(reply::answer(&command, logged.map(|()| reply).map_err(Failure::from)));
            }));
            drop(pops);
            broker.popping.journal.notify_one();
            Ok(())
        }
    }
}
