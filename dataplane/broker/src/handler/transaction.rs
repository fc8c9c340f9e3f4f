//! Owns the end of transactions: every decision of one read becomes one append, and its replies one write.
//!
//! A commit is one record, the message in its topic, which names its half message; all rollbacks of a read are one state record.
//! Whoever decides first holds the claim until that record is applied, so nothing is decided twice. What cannot be decided on
//! the spot (the half message must be read from disk, is not confirmed yet, or is claimed) comes back through [`end_later`].
//! A decision on a transaction that is not open any more is answered with success, as upstream, and changes nothing.

use std::sync::Arc;
use std::time::Duration;

use bolide_store::{Ack, AppendBatch, AppendError, Placed, Refused, Watermarks};
use bolide_transport::{Conn, Outgoing};
use bolide_wire::Command;
use bolide_wire::header::transaction::EndTransaction;
use bolide_wire::ids::{EpochMillis, LogOffset};
use bolide_wire::message::{RecordRef, sys_flag};
use bolide_wire::properties::names;
use bytes::Bytes;

use crate::broker::Broker;
use crate::error::Failure;
use crate::reply::{self, Reply};
use crate::state::record::StateRecord;
use crate::state::transactions::{Claims, HALF_TOPIC, HalfId, Open};
use crate::transaction;

mod resume;
pub(crate) use resume::resume;

/// How long a decision waits for its half message to be confirmed, or for another decision on it.
const WAIT: Duration = Duration::from_secs(5);

/// What a producer says of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Decision {
    Commit,
    Rollback,
}

impl Decision {
    /// None for "unknown" and anything else.
    fn of(flags: i32) -> Option<Decision> {
        match flags {
            sys_flag::TRANSACTION_COMMIT => Some(Decision::Commit),
            sys_flag::TRANSACTION_ROLLBACK => Some(Decision::Rollback),
            _ => None,
        }
    }
}

/// Why a decision is not in the batch.
enum Stop {
    /// It never will be.
    Refuse(Failure),
    /// Nothing is left to decide.
    Done,
    /// Another is deciding, or the half message is not confirmed yet.
    Wait,
    /// The half message is to be read from disk first.
    Read(LogOffset),
}

impl<T: Into<Failure>> From<T> for Stop {
    fn from(failure: T) -> Stop {
        Stop::Refuse(failure.into())
    }
}

/// One decision until the store has answered.
struct Waiting {
    request: Option<Command>,
    decision: Decision,
    topic: Arc<str>,
    bytes: u32,
    born: EpochMillis,
}

/// The decisions of one read on their way into one append.
pub(crate) struct Ends<'a> {
    broker: &'a Arc<Broker>,
    conn: &'a Conn,
    now: EpochMillis,
    batch: AppendBatch,
    rolled_back: Vec<HalfId>,
    claims: Claims,
    waiting: Vec<Waiting>,
    answered: Vec<Outgoing>,
}

impl<'a> Ends<'a> {
    pub(crate) fn new(broker: &'a Arc<Broker>, conn: &'a Conn) -> Ends<'a> {
        Ends {
            broker,
            conn,
            now: broker.clock.now(),
            batch: AppendBatch::default(),
            rolled_back: Vec::new(),
            claims: Claims::new(broker.state.clone()),
            waiting: Vec::new(),
            answered: Vec::new(),
        }
    }

    /// Takes one request of code 37.
    pub(crate) fn add(&mut self, command: Command) {
        match self.decide(&command, None) {
            Err(Stop::Wait | Stop::Read(_)) => {
                let (broker, conn) = (self.broker.clone(), self.conn.clone());
                let unfinished = conn.unfinished(&command);
                self.conn.spawn(async move {
                    let _unfinished = unfinished;
                    end_later(broker, conn, command).await;
                });
            }
            outcome => self.settle(&command, outcome),
        }
    }

    fn settle(&mut self, command: &Command, outcome: Result<(), Stop>) {
        let outcome = match outcome {
            Ok(()) => return,
            Err(Stop::Done) => Ok(Reply::ok()),
            Err(Stop::Refuse(failure)) => {
                tracing::debug!(error = %failure, peer = %self.conn.peer(), "a transaction is not ended");
                Err(failure)
            }
            Err(Stop::Wait | Stop::Read(_)) => Err(Failure::Busy),
        };
        if !command.is_oneway() {
            self.answered.push(reply::answer(command, outcome));
        }
    }

    /// Adds what the request decides to the batch. `half` is the half message, if it had to be read before.
    fn decide(&mut self, command: &Command, half: Option<(LogOffset, &Bytes)>) -> Result<(), Stop> {
        let header = EndTransaction::decode(&command.ext)?;
        let Some(decision) = Decision::of(header.commit_or_rollback) else {
            // The producer does not know yet: upstream does not answer at all, and it will be asked.
            if !command.is_oneway() {
                self.conn.no_reply(command.opaque);
            }
            return Ok(());
        };
        let id = LogOffset::from_wire(header.commit_log_offset).ok_or_else(missing)?;
        // Before it is looked up: it may come to the projections at any moment.
        let marks = self.broker.store.watermarks();
        let (place, topic) = {
            let transactions = self.broker.state.transactions.lock();
            let Some((place, open)) = transactions.find(HalfId(id.0)) else {
                drop(transactions);
                return Err(self.no_longer_open(&header, id, half, marks));
            };
            check(&header, open, self.now)?;
            if open.claimed {
                return Err(Stop::Wait);
            }
            (place, open.topic.clone())
        };
        let record = match half {
            Some((at, bytes)) if at == place => bytes.clone(),
            _ if self.broker.store.is_cold(place) => return Err(Stop::Read(place)),
            _ => self.broker.store.record_at(place).map_err(Failure::Read)?.ok_or_else(missing)?,
        };
        let record = RecordRef::parse(&record).map_err(|_| missing())?;
        if !self.claims.add(HalfId(id.0)) {
            return Err(Stop::Wait);
        }
        let bytes = match decision {
            Decision::Rollback => {
                self.rolled_back.push(HalfId(id.0));
                0
            }
            Decision::Commit => {
                let broker = self.broker;
                transaction::encode_committed(broker, &record, HalfId(id.0), &mut self.batch)
                    .inspect_err(|_| self.claims.give_back(HalfId(id.0)))?
            }
        };
        let request = (!command.is_oneway()).then(|| command.clone());
        self.waiting.push(Waiting { request, decision, topic, bytes, born: record.born_timestamp() });
        Ok(())
    }

    /// What to say of a transaction that was not open when the log was as `marks` say: it was ended, is not confirmed yet, or never
    /// was.
    fn no_longer_open(
        &self,
        header: &EndTransaction,
        id: LogOffset,
        half: Option<(LogOffset, &Bytes)>,
        marks: Watermarks,
    ) -> Stop {
        if id >= marks.dispatched {
            return if id < marks.appended { Stop::Wait } else { missing().into() };
        }
        let record = match half {
            Some((at, bytes)) if at == id => Ok(Some(bytes.clone())),
            _ if self.broker.store.is_cold(id) => return Stop::Read(id),
            _ => self.broker.store.record_at(id),
        };
        let record = match record {
            Ok(Some(record)) => record,
            Ok(None) => return missing().into(),
            Err(error) => return Failure::Read(error).into(),
        };
        let Ok(record) = RecordRef::parse(&record) else { return missing().into() };
        if record.topic() != HALF_TOPIC {
            return missing().into();
        }
        if record.properties().get(names::PGROUP).unwrap_or_default() != header.producer_group {
            return wrong("The producer group wrong").into();
        }
        if record.queue_offset().0 != header.tran_state_table_offset {
            return wrong("The transaction state table offset wrong").into();
        }
        Stop::Done
    }

    /// Hands everything to the store and answers what needs no append.
    pub(crate) fn finish(mut self) {
        if !self.rolled_back.is_empty() {
            let rolled_back = std::mem::take(&mut self.rolled_back);
            let record = StateRecord::Transactions { checked: Vec::new(), rolled_back };
            if let Err(failure) = self.broker.encode_state(&record, &mut self.batch) {
                // Nothing of this read is appended: the claims go back, and the producers are asked later.
                tracing::error!(error = %failure, "decisions of transactions cannot be written");
                let failed = std::mem::take(&mut self.waiting);
                self.conn.reply_many(refused(failed, || Failure::Internal("the decision cannot be written")));
                self.batch = AppendBatch::default();
            }
        }
        if !self.answered.is_empty() {
            self.conn.reply_many(self.answered);
        }
        if self.waiting.is_empty() {
            return;
        }
        let (broker, conn, claims) = (self.broker.clone(), self.conn.clone(), self.claims);
        let waiting = Arc::new(parking_lot::Mutex::new(self.waiting));
        let later = waiting.clone();
        let done = Box::new(move |placed: Result<Vec<Placed>, AppendError>| {
            let waiting = std::mem::take(&mut *later.lock());
            match placed {
                Ok(_) => {
                    claims.applied();
                    conn.reply_many(ended(&broker, waiting));
                }
                Err(error) => conn.reply_many(refused(waiting, || Failure::Append(error))),
            }
        });
        if let Err(Refused { reason, .. }) = self.broker.store.append(self.batch, Ack::Confirmed, done) {
            let waiting = std::mem::take(&mut *waiting.lock());
            self.conn.reply_many(refused(waiting, || Failure::Refused(reason)));
        }
    }
}

/// The half message is not there.
fn missing() -> Failure {
    wrong("Find prepared transaction message failed")
}

fn wrong(what: &str) -> Failure {
    Failure::Missing(what.to_owned())
}

/// The checks of an open transaction, in upstream's order.
fn check(header: &EndTransaction, open: &Open, now: EpochMillis) -> Result<(), Failure> {
    let age = now.0.saturating_sub(open.stored.0);
    if !header.from_transaction_check && open.immunity_ms.is_some_and(|immunity| age > immunity) {
        return Err(Failure::TooLate("the transaction is older than its immunity time: wait for the check"));
    }
    if *open.group != *header.producer_group {
        return Err(wrong("The producer group wrong"));
    }
    if open.queue_offset.0 != header.tran_state_table_offset {
        return Err(wrong("The transaction state table offset wrong"));
    }
    Ok(())
}

fn ended(broker: &Broker, waiting: Vec<Waiting>) -> Vec<Outgoing> {
    let now = broker.clock.now();
    let mut replies = Vec::new();
    for one in waiting {
        if let Some(topic) = broker.state.topics.find(&one.topic) {
            match one.decision {
                Decision::Commit => {
                    topic.counters.put.add(1);
                    topic.counters.put_bytes.add(u64::from(one.bytes));
                    topic.counters.committed.add(1);
                    broker.metrics.committed(&one.topic, now.0.saturating_sub(one.born.0));
                }
                Decision::Rollback => topic.counters.rolled_back.add(1),
            }
        }
        replies.extend(one.request.map(|request| Reply::ok().answer(&request)));
    }
    replies
}

fn refused(waiting: Vec<Waiting>, failure: impl Fn() -> Failure) -> Vec<Outgoing> {
    let requests = waiting.into_iter().filter_map(|one| one.request);
    requests.map(|request| reply::answer(&request, Err(failure()))).collect()
}

/// Decides one transaction that could not be decided on the spot.
async fn end_later(broker: Arc<Broker>, conn: Conn, command: Command) {
    let give_up = tokio::time::Instant::now() + WAIT;
    let mut read: Option<(LogOffset, Bytes)> = None;
    loop {
        let changed = broker.state.transactions_changed.notified();
        tokio::pin!(changed);
        changed.as_mut().enable();
        let stop = {
            let mut ends = Ends::new(&broker, &conn);
            let half = read.as_ref().map(|(at, bytes)| (*at, bytes));
            match ends.decide(&command, half) {
                Err(stop @ (Stop::Wait | Stop::Read(_))) if tokio::time::Instant::now() < give_up => stop,
                outcome => {
                    ends.settle(&command, outcome);
                    return ends.finish();
                }
            }
        };
        match stop {
            Stop::Read(place) => {
                let found = broker.cold_read(move |store| Ok(store.record_at(place)?.map(touched))).await;
                match found {
                    Ok(Some(bytes)) => read = Some((place, bytes)),
                    Ok(None) | Err(_) => {
                        let mut ends = Ends::new(&broker, &conn);
                        ends.settle(&command, Err(missing().into()));
                        return ends.finish();
                    }
                }
            }
            _ => {
                // Not every wait ends with a change: a half message may be confirmed without being one any more.
                let _ = tokio::time::timeout(Duration::from_millis(50), changed).await;
            }
        }
    }
}

/// Reads every page of a record, so that no network thread waits for the disk.
fn touched(record: Bytes) -> Bytes {
    std::hint::black_box(record.iter().step_by(4096).copied().fold(0_u8, u8::wrapping_add));
    record
}
