//! Owns the question to a producer: what became of this transaction?

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bolide_transport::Conn;
use bolide_wire::header::transaction::CheckTransactionState;
use bolide_wire::ids::{LogOffset, QueueId};
use bolide_wire::message::{NewRecord, OffsetMessageId, RecordRef, encode_record, stamp};
use bolide_wire::properties::names;
use bolide_wire::{Command, RequestCode};

use super::encode::check_properties;
use super::{HalfError, RoundError, read};
use crate::broker::Broker;
use crate::state::record::StateRecord;
use crate::state::transactions::{HALF_TOPIC, Open};

/// Notes a check of each transaction that fits the round, then asks a live producer of its group, where there is one.
pub(super) async fn ask(broker: &Arc<Broker>, due: Vec<(LogOffset, Open)>) -> Result<(), RoundError> {
    let (mut reached, silent): (Vec<_>, Vec<_>) = {
        let clients = broker.clients.read();
        due.into_iter().partition(|(_, open)| clients.producers_of(&open.group).next().is_some())
    };
    let found = read(broker, reached.iter().map(|(place, _)| *place).collect()).await?;
    reached.truncate(found.len());
    let both = reached.iter().chain(&silent);
    let checked = both.map(|(_, open)| (open.id, open.checks.saturating_add(1))).collect();
    let noted = broker.append_state(&StateRecord::Transactions { checked, rolled_back: Vec::new() })?;
    broker.applied(noted).await?;
    silent.iter().for_each(|_| broker.metrics.transaction_checked(false));
    for ((_, open), bytes) in reached.iter().zip(&found) {
        // Decided meanwhile, or lost: then it is given up in its turn.
        let Some(bytes) = bytes.as_ref().filter(|_| still_open(broker, open)) else { continue };
        match RecordRef::parse(bytes).map_err(HalfError::from).and_then(|half| question(broker, &half, open))
        {
            Ok(command) => broker.metrics.transaction_checked(send(broker, &open.group, command)),
            Err(error) => tracing::error!(offset = open.id.0, %error, "a half message cannot be checked"),
        }
    }
    Ok(())
}

fn still_open(broker: &Broker, open: &Open) -> bool {
    broker.state.transactions.lock().place_of(open.id).is_some()
}

/// Sends to one of the group's producers, another each time; the next one when a connection has just ended. False without any.
fn send(broker: &Broker, group: &str, command: Command) -> bool {
    let producers: Vec<Conn> =
        broker.clients.read().producers_of(group).map(|producer| producer.channel.clone()).collect();
    if producers.is_empty() {
        return false;
    }
    let from = broker.check_turn.fetch_add(1, Ordering::Relaxed);
    let mut tried = producers.iter().cycle().skip(from % producers.len()).take(producers.len());
    tried.any(|producer| !producer.is_closed() && producer.oneway(command.clone()).is_ok())
}

/// The request: it names the transaction as the producer knows it, and carries the message as it would be in its topic.
fn question(broker: &Broker, half: &RecordRef<'_>, open: &Open) -> Result<Command, HalfError> {
    let properties = half.properties();
    let topic = properties.get(names::REAL_TOPIC).ok_or(HalfError::Target)?;
    let queue =
        properties.get(names::REAL_QID).and_then(|queue| queue.parse().ok()).ok_or(HalfError::Target)?;
    let unique = properties.get(names::UNIQ_KEY).unwrap_or_default();
    let place = LogOffset(open.id.0);
    let new = NewRecord {
        topic,
        queue_id: QueueId(queue),
        flag: half.flag(),
        sys_flag: half.sys_flag(),
        born_timestamp: half.born_timestamp(),
        born_host: half.born_host(),
        store_host: half.store_host(),
        reconsume_times: half.reconsume_times(),
        prepared_transaction_offset: 0,
        body: half.body(),
        properties: &check_properties(half, open.checks.saturating_add(1)),
    };
    let mut message = Vec::new();
    encode_record(&new, &mut message)?;
    stamp(&mut message, open.queue_offset, place, open.stored)?;
    let header = CheckTransactionState {
        topic: Some(HALF_TOPIC.into()),
        tran_state_table_offset: open.queue_offset.0,
        commit_log_offset: place.to_wire(),
        msg_id: Some(unique.into()),
        transaction_id: Some(unique.into()),
        offset_msg_id: Some(OffsetMessageId { host: half.store_host(), offset: place }.to_string()),
        broker_name: Some(broker.names.broker.to_string()),
    };
    Ok(Command::request(RequestCode::CHECK_TRANSACTION_STATE).with_header(&header).with_body(message))
}
