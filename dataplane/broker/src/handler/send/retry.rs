//! Owns what happens to a message that a client itself sends to a retry topic: retried, or dead.

use std::sync::Arc;

use bolide_wire::Command;
use bolide_wire::header::send::SendMessageV2;
use bolide_wire::ids::{QueueId, RETRY_PREFIX, TopicName};

use super::properties::Scan;
use super::{MakeTopic, Sends, Stop};
use crate::error::Failure;
use crate::state::topics::Topic;

/// First version whose clients say themselves how often to retry: 3.4.9.
pub(crate) const SAYS_MAX_RECONSUME_TIMES: i32 = 121;

impl Sends<'_> {
    /// Where a message goes and with which delay level: to its topic, or, when it was retried too often, to the
    /// dead-letter topic without delay.
    ///
    /// Upstream sends every retry of a group that holds a queue lock to the dead letters. Only ordered consumers, which
    /// give up on reaching the maximum rather than on passing it, need that; so here a lock only lowers the limit by one.
    pub(super) fn dead_letter(
        &self,
        command: &Command,
        header: &SendMessageV2<'_>,
        scan: &Scan<'_>,
        topic: Arc<Topic>,
        queue: QueueId,
    ) -> Result<(Arc<Topic>, QueueId, i32), Stop> {
        let Some(name) = topic.name.strip_prefix(RETRY_PREFIX) else { return Ok((topic, queue, scan.delay)) };
        let Some(group) = self.broker.state.groups.find(name) else {
            return Err(Failure::NoGroup(name.into()).into());
        };
        let said = header.max_reconsume_times.filter(|_| command.version >= SAYS_MAX_RECONSUME_TIMES);
        let most = said.unwrap_or(group.config.retry_max_times);
        let times = header.reconsume_times.unwrap_or(0);
        let ordered = times >= most && self.broker.locks.lock().any_held(name, self.now);
        if times <= most && !ordered {
            return Ok((topic, queue, scan.delay));
        }
        let dead = TopicName::dlq_of(&group.name);
        let Some(dead_topic) = self.broker.state.topics.find(&dead) else {
            return Err(Stop::Make(MakeTopic::DeadLetter(dead)));
        };
        group.counters.dead_letters.add(1);
        let queue = dead_topic.any_write_queue();
        Ok((dead_topic, queue, 0))
    }
}
