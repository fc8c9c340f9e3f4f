//! Epochs: who was master when. Each one begins with a record in the log, and the table is a projection of those.
//!
//! Invariants: epochs and their starts both grow; the table covers the whole appended log, also what is not confirmed yet,
//! and is cut with it. Entries below a checkpoint are kept in the checkpoint, later ones are found again by recovery. The
//! entry that covers the log's first byte stays when the entries before it go.

use bolide_wire::{
    EpochMillis, LogOffset, QueueId,
    message::{EncodeError, NewRecord, RecordRef, encode_record, sys_flag},
};
use serde::{Deserialize, Serialize};

/// Topic of the records that begin an epoch. Only the store itself appends to it.
pub const EPOCH_TOPIC: &str = "rmq_sys_bolide_epoch";

/// Where an epoch begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EpochStart {
    /// Grows by at least one with every change of master and every start of a master process.
    pub epoch: u64,
    /// First byte of the record that begins it.
    pub start: LogOffset,
}

/// Body of an epoch record.
#[derive(Debug, Serialize, Deserialize)]
struct Body {
    epoch: u64,
    /// Name of the replica that leads.
    master: String,
}

/// All epochs of the log, oldest first.
#[derive(Debug, Default)]
pub(crate) struct EpochTable {
    entries: Vec<EpochStart>,
}

impl EpochTable {
    /// Recovery: what the checkpoint knows.
    pub(crate) fn new(entries: Vec<EpochStart>) -> Self {
        Self { entries }
    }

    pub(crate) fn entries(&self) -> &[EpochStart] {
        &self.entries
    }

    /// The epoch of the last record; 0 when there never was one.
    pub(crate) fn newest(&self) -> u64 {
        self.entries.last().map_or(0, |last| last.epoch)
    }

    /// Adds an epoch that begins at the log's end. One that is not newer than the last is left out, and false returned.
    pub(crate) fn push(&mut self, entry: EpochStart) -> bool {
        let grows =
            self.entries.last().is_none_or(|last| last.epoch < entry.epoch && last.start < entry.start);
        if grows {
            self.entries.push(entry);
        }
        grows
    }

    /// The log ends at `to` from now on.
    pub(crate) fn truncate(&mut self, to: u64) {
        self.entries.retain(|entry| entry.start.0 < to);
    }

    /// The log begins at `min` from now on.
    pub(crate) fn prune(&mut self, min: u64) {
        let later = self.entries.iter().skip(1);
        let gone = later.take_while(|entry| entry.start.0 <= min).count();
        self.entries.drain(..gone);
    }

    /// The entries of the log below `offset`.
    pub(crate) fn below(&self, offset: u64) -> Vec<EpochStart> {
        self.entries.iter().filter(|entry| entry.start.0 < offset).copied().collect()
    }
}

/// The record that begins an epoch, ready to be appended. It counts as rolled back, and so is in no queue and in no index,
/// neither here nor in the original.
pub(crate) fn record(epoch: u64, master: &str, now: EpochMillis) -> Result<Vec<u8>, EncodeError> {
    let body = Body { epoch, master: master.to_owned() };
    let body = serde_json::to_vec(&body).unwrap_or_default();
    let host = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let record = NewRecord {
        topic: EPOCH_TOPIC,
        queue_id: QueueId(0),
        flag: 0,
        sys_flag: sys_flag::TRANSACTION_ROLLBACK,
        born_timestamp: now,
        born_host: host,
        store_host: host,
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body: &body,
        properties: "",
    };
    let mut out = Vec::new();
    encode_record(&record, &mut out)?;
    Ok(out)
}

/// What a record says of epochs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// It is none that begins an epoch.
    Other,
    /// This epoch begins here.
    Start(EpochStart),
    /// It should begin an epoch, but does not say which.
    Unreadable,
}

pub(crate) fn find(record: &RecordRef<'_>) -> Found {
    if record.topic() != EPOCH_TOPIC {
        return Found::Other;
    }
    match serde_json::from_slice::<Body>(record.body()) {
        Ok(body) => Found::Start(EpochStart { epoch: body.epoch, start: record.log_offset() }),
        Err(_) => Found::Unreadable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(epoch: u64, start: u64) -> EpochStart {
        EpochStart { epoch, start: LogOffset(start) }
    }

    fn table(entries: &[(u64, u64)]) -> EpochTable {
        EpochTable::new(entries.iter().map(|(epoch, start)| entry(*epoch, *start)).collect())
    }

    #[test]
    fn an_epoch_must_grow_with_its_start() {
        let mut table = EpochTable::default();
        assert_eq!(table.newest(), 0);
        assert!(table.push(entry(2, 0)) && table.push(entry(5, 100)));
        assert!(!table.push(entry(5, 200)), "the same epoch twice");
        assert!(!table.push(entry(6, 100)), "two epochs in one place");
        assert_eq!((table.newest(), table.entries().len()), (5, 2));
    }

    #[test]
    fn a_cut_log_loses_the_epochs_that_began_after_its_end() {
        let mut cut = table(&[(1, 0), (2, 100), (3, 200)]);
        cut.truncate(200);
        assert_eq!(cut.entries(), table(&[(1, 0), (2, 100)]).entries());
        cut.truncate(0);
        assert_eq!(cut.entries(), []);
    }

    #[test]
    fn the_entry_that_covers_the_first_byte_stays() {
        let mut pruned = table(&[(1, 0), (2, 100), (3, 200)]);
        pruned.prune(99);
        assert_eq!(pruned.entries().len(), 3);
        pruned.prune(150);
        assert_eq!(pruned.entries(), table(&[(2, 100), (3, 200)]).entries());
        pruned.prune(200);
        assert_eq!(pruned.entries(), table(&[(3, 200)]).entries());
        pruned.prune(5000);
        assert_eq!(pruned.entries(), table(&[(3, 200)]).entries());
    }

    #[test]
    fn an_epoch_record_says_its_epoch_and_is_in_no_queue() {
        let bytes = record(7, "orders-0-\"a\"", EpochMillis(5)).expect("small");
        let found = RecordRef::parse(&bytes).expect("a record");
        assert_eq!(find(&found), Found::Start(entry(7, 0)));
        assert_eq!(sys_flag::transaction(found.sys_flag()), sys_flag::TRANSACTION_ROLLBACK);
        assert_eq!(std::str::from_utf8(found.body()), Ok(r#"{"epoch":7,"master":"orders-0-\"a\""}"#));
    }
}
