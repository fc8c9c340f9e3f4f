//! Owns the encoding of one ordinary message into the batch.

use std::sync::Arc;

use bolide_store::Tags;
use bolide_wire::Command;
use bolide_wire::header::send::SendMessageV2;
use bolide_wire::ids::QueueId;
use bolide_wire::message::{NewRecord, encode_record, sys_flag};
use bolide_wire::properties::names;

use super::complete::Waiting;
use super::half::Hidden;
use super::properties::{Scan, push};
use super::{Sends, Stop};
use crate::delay::place::{Place, When};
use crate::error::Failure;
use crate::rewrite::{check_room, index_keys};
use crate::state::topics::Topic;
use crate::timers::handle;

/// Bits of a client's system flag that are stored: compression and multiple tags.
pub(crate) fn stored_flags(sent: i32) -> i32 {
    sent & !(sys_flag::TRANSACTION_MASK
        | sys_flag::BORN_HOST_V6
        | sys_flag::STORE_HOST_V6
        | sys_flag::NEED_UNWRAP
        | sys_flag::INNER_BATCH)
}

impl Sends<'_> {
    pub(super) fn encode_one(
        &mut self,
        command: &Command,
        header: &SendMessageV2<'_>,
        topic: Arc<Topic>,
        queue: QueueId,
    ) -> Result<(), Stop> {
        let mut scan = Scan::new(header.properties.as_deref().unwrap_or_default());
        let half = self.half_topic(header, &scan)?;
        let (topic, queue, delay) = self.dead_letter(command, header, &scan, topic, queue)?;
        let when = self.when(delay, &mut scan)?;
        let mut properties = std::mem::take(&mut self.scratch);
        properties.clear();
        scan.write(&mut properties);
        properties.push_str(&self.live.added_properties);
        let made = scan.unique.is_none().then(|| self.broker.unique_ids.next(self.now));
        if let Some(made) = &made {
            push(&mut properties, names::UNIQ_KEY, made);
        }
        let unique = scan.unique.or(made.as_deref());
        let place = if half.is_some() {
            let hidden = Hidden { topic: &topic.name, queue, group: &header.producer_group, unique };
            hidden.write(&scan, &mut properties);
            Place { queue: self.broker.half_queue(), tags: Tags::Hash(scan.tags_code()), state: true }
        } else {
            let target = topic.queue(&self.broker.store, queue);
            let mut say = |name: &str, value: &str| push(&mut properties, name, value);
            self.broker.place(when, target, scan.tags_code(), &mut say)
        };
        if half.is_some() || when != When::Now {
            check_room(&properties)?;
        }
        let stored = &place.queue;
        let record = NewRecord {
            topic: stored.topic(),
            queue_id: stored.id(),
            flag: header.flag,
            sys_flag: stored_flags(header.sys_flag),
            born_timestamp: header.born_timestamp,
            born_host: self.conn.peer(),
            store_host: self.broker.store_host,
            reconsume_times: header.reconsume_times.unwrap_or(0),
            prepared_transaction_offset: 0,
            body: &command.body,
            properties: &properties,
        };
        let mut reply = self.reply(command, queue, unique);
        if let (When::At(due), Some(reply), None, false) = (when, &mut reply, &half, topic.name.is_retry()) {
            let handle =
                handle::encode(&topic.name, &self.broker.names.broker, due, unique.unwrap_or_default());
            reply.ext.append("recallHandle", |text| text.push_str(&handle));
        }
        // Its producer names a half message by its place from now on, so that must be known before it is told.
        let part = self.part(scan.wait || half.is_some());
        let encoded = encode_record(&record, &mut part.batch.buf);
        let outcome = encoded.map(|len| {
            let mut entry = place.entry(len);
            entry.client = true;
            let indexed = stored.topic();
            index_keys(&mut entry, indexed, unique, scan.keys);
            part.batch.entries.push(entry);
            part.waiting.push(Waiting { reply, topic: half.unwrap_or(topic), records: 1, bytes: len });
        });
        self.scratch = properties;
        outcome.map_err(|_| Failure::MessageIllegal("msg properties length limit 32767").into())
    }

    /// When the message is to be delivered; of a half message it is only checked.
    fn when(&self, delay: i32, scan: &mut Scan<'_>) -> Result<When, Stop> {
        match self.broker.levels.clamp(delay) {
            Some(level) => {
                scan.without_timer();
                Ok(When::Level(level))
            }
            None if scan.timer.any() => Ok(scan.timer.when(&self.live.config, self.now)?),
            None => Ok(When::Now),
        }
    }
}
