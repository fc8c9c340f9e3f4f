//! Owns the encoding of a client's batch: one request, several records with consecutive queue offsets in one log file.

use std::sync::Arc;

use bolide_store::{Entry, Tags};
use bolide_wire::Command;
use bolide_wire::header::send::SendMessageV2;
use bolide_wire::ids::QueueId;
use bolide_wire::message::{BatchMessage, BatchMessages, NewRecord, encode_record};
use bolide_wire::properties::{PropertiesRef, names};

use super::complete::Waiting;
use super::one::stored_flags;
use super::properties::{Scan, push};
use super::{Sends, Stop};
use crate::error::Failure;
use crate::rewrite::index_keys;
use crate::state::topics::Topic;

const TOPIC_MAX_BYTES: usize = 127;

impl Sends<'_> {
    pub(super) fn encode_batch(
        &mut self,
        command: &Command,
        header: &SendMessageV2<'_>,
        topic: Arc<Topic>,
        queue: QueueId,
    ) -> Result<(), Stop> {
        if topic.name.is_retry() {
            return Err(Failure::MessageIllegal("batch request does not support retry group").into());
        }
        if topic.name.len() > TOPIC_MAX_BYTES {
            return Err(Failure::MessageIllegal("message topic length is above 127 bytes").into());
        }
        let sent = header.properties.as_deref().unwrap_or_default();
        let outer = Scan::new(sent);
        let common = common_properties(sent, &self.live.added_properties);
        let reply = self.reply(command, queue, outer.unique);
        let stored = topic.queue(&self.broker.store, queue);
        let (now, conn, broker) = (self.now, self.conn, self.broker);
        let part = self.part(outer.wait);
        let (bytes_before, entries_before) = (part.batch.buf.len(), part.batch.entries.len());
        let mut encode = |message: BatchMessage<'_>| -> Result<(), Stop> {
            let scan = Scan::new(message.properties);
            if scan.delay > 0 || scan.transaction || scan.timer.any() {
                return Err(
                    Failure::MessageIllegal("a batch holds a delayed or transactional message").into()
                );
            }
            let mut properties = String::with_capacity(message.properties.len() + common.len() + 48);
            scan.write(&mut properties);
            properties.push_str(&common);
            let made = scan.unique.is_none().then(|| broker.unique_ids.next(now));
            if let Some(made) = &made {
                push(&mut properties, names::UNIQ_KEY, made);
            }
            let record = NewRecord {
                topic: &topic.name,
                queue_id: queue,
                flag: message.flag,
                sys_flag: stored_flags(header.sys_flag),
                born_timestamp: header.born_timestamp,
                born_host: conn.peer(),
                store_host: broker.store_host,
                reconsume_times: header.reconsume_times.unwrap_or(0),
                prepared_transaction_offset: 0,
                body: message.body,
                properties: &properties,
            };
            let len = encode_record(&record, &mut part.batch.buf)
                .map_err(|_| Failure::MessageIllegal("msg properties length limit 32767"))?;
            let mut entry = Entry::new(len, stored.clone());
            entry.tags = Tags::Hash(scan.tags_code());
            let unique = scan.unique.or(made.as_deref());
            index_keys(&mut entry, &topic.name, unique, scan.keys);
            part.batch.entries.push(entry);
            Ok(())
        };
        let outcome = BatchMessages::new(&command.body).try_for_each(|message| match message {
            Ok(message) => encode(message),
            Err(_) => Err(Failure::MessageIllegal("the batch body cannot be read").into()),
        });
        let records = part.batch.entries.len() - entries_before;
        let outcome = outcome.and_then(|()| match (records, u16::try_from(records)) {
            (0, _) => Err(Failure::MessageIllegal("the batch is empty").into()),
            (_, Err(_)) => Err(Failure::MessageIllegal("the batch holds more than 65535 messages").into()),
            (_, Ok(group_len)) => Ok(group_len),
        });
        match outcome {
            Ok(group_len) => {
                if let Some(first) = part.batch.entries.get_mut(entries_before) {
                    first.group_len = group_len;
                }
                let bytes = u32::try_from(part.batch.buf.len() - bytes_before).unwrap_or(u32::MAX);
                part.waiting.push(Waiting { reply, topic: topic.clone(), records, bytes });
                Ok(())
            }
            Err(stop) => {
                part.batch.buf.truncate(bytes_before);
                part.batch.entries.truncate(entries_before);
                Err(stop)
            }
        }
    }
}

/// What every message of the batch gets: the batch's own properties, except those that name one message, and the broker's.
fn common_properties(sent: &str, added: &str) -> String {
    let mut common = String::with_capacity(sent.len() + added.len());
    for (name, value) in PropertiesRef::new(sent) {
        let of_one =
            matches!(name, names::UNIQ_KEY | names::TAGS | names::KEYS | names::DELAY | names::TRAN_MSG);
        if !of_one && !name.starts_with(names::TRANSIENT_PREFIX) {
            push(&mut common, name, value);
        }
    }
    let mut checked = String::with_capacity(common.len() + added.len());
    Scan::new(&common).write(&mut checked);
    checked.push_str(added);
    checked
}
