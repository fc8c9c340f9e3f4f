//! Offsets of queues and of groups.

use bolide_wire::body::offset::ResetOffset;
use bolide_wire::{Command, RequestCode, ResponseCode};

use super::{Admin, body, number};
use crate::ClientError;
use crate::remote::refused;

/// Where a group's offsets are moved to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResetTo {
    /// The oldest message.
    Earliest,
    /// Behind the newest message.
    Latest,
    /// The first message stored at or after this moment, in milliseconds since 1970.
    Time(i64),
}

impl ResetTo {
    /// The request's timestamp: -1 means the end, 0 is before every message.
    fn timestamp(self) -> i64 {
        match self {
            Self::Earliest => 0,
            Self::Latest => -1,
            Self::Time(ms) => ms.max(0),
        }
    }
}

impl Admin {
    /// Offset that the next message of a queue gets.
    ///
    /// # Errors
    /// The broker does not answer, or refuses.
    pub async fn max_offset(&self, addr: &str, topic: &str, queue: i32) -> Result<i64, ClientError> {
        self.queue_offset(addr, of_queue(RequestCode::GET_MAX_OFFSET, topic, queue)).await
    }

    /// Offset of the oldest message of a queue.
    ///
    /// # Errors
    /// The broker does not answer, or refuses.
    pub async fn min_offset(&self, addr: &str, topic: &str, queue: i32) -> Result<i64, ClientError> {
        self.queue_offset(addr, of_queue(RequestCode::GET_MIN_OFFSET, topic, queue)).await
    }

    /// Offset of the first message of a queue stored at or after a moment (milliseconds since 1970).
    ///
    /// # Errors
    /// The broker does not answer, or refuses.
    pub async fn offset_by_time(
        &self,
        addr: &str,
        topic: &str,
        queue: i32,
        ms: i64,
    ) -> Result<i64, ClientError> {
        let command = of_queue(RequestCode::SEARCH_OFFSET_BY_TIMESTAMP, topic, queue)
            .with_ext("timestamp", &ms.to_string());
        self.queue_offset(addr, command).await
    }

    async fn queue_offset(&self, addr: &str, command: Command) -> Result<i64, ClientError> {
        number(addr, &self.remote.ask(addr, command).await?, "offset")
    }

    /// Offset of a group in a queue; `None` when it has none.
    ///
    /// # Errors
    /// The broker does not answer, or refuses.
    pub async fn group_offset(
        &self,
        addr: &str,
        group: &str,
        topic: &str,
        queue: i32,
    ) -> Result<Option<i64>, ClientError> {
        let command = of_queue(RequestCode::QUERY_CONSUMER_OFFSET, topic, queue)
            .with_ext("consumerGroup", group)
            .with_ext("setZeroIfNotFound", "false");
        let answer = self.remote.call(addr, command).await?;
        match answer.response_code() {
            ResponseCode::SUCCESS => number(addr, &answer, "offset").map(Some),
            ResponseCode::QUERY_NOT_FOUND => Ok(None),
            code => Err(refused(addr, "QUERY_CONSUMER_OFFSET", code, &answer)),
        }
    }

    /// Sets the offset of a group in a queue, and waits until the broker has it.
    ///
    /// # Errors
    /// The broker does not answer, or refuses.
    pub async fn commit_offset(
        &self,
        addr: &str,
        group: &str,
        topic: &str,
        queue: i32,
        offset: i64,
    ) -> Result<(), ClientError> {
        let command = of_queue(RequestCode::UPDATE_CONSUMER_OFFSET, topic, queue)
            .with_ext("consumerGroup", group)
            .with_ext("commitOffset", &offset.to_string());
        self.remote.ask(addr, command).await.map(|_| ())
    }

    /// Moves a group in all queues of a topic on a broker; its members notice at their next pull. Returns the new offset of each
    /// queue, in order of number.
    ///
    /// # Errors
    /// The broker does not answer, or refuses.
    pub async fn reset_offset(
        &self,
        addr: &str,
        group: &str,
        topic: &str,
        to: ResetTo,
    ) -> Result<Vec<(i32, i64)>, ClientError> {
        let command = Command::request(RequestCode::INVOKE_BROKER_TO_RESET_OFFSET)
            .with_ext("group", group)
            .with_ext("topic", topic)
            .with_ext("timestamp", &to.timestamp().to_string())
            .with_ext("isForce", "true")
            .with_ext("queueId", "-1");
        let answer = self.remote.ask(addr, command).await?;
        let table: ResetOffset = body(addr, &answer)?;
        Ok(table.offset_table.0.into_iter().map(|(queue, offset)| (queue.queue_id, offset)).collect())
    }
}

fn of_queue(code: RequestCode, topic: &str, queue: i32) -> Command {
    Command::request(code).with_ext("topic", topic).with_ext("queueId", &queue.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_of_a_topic_have_their_own_timestamps() {
        assert_eq!(ResetTo::Earliest.timestamp(), 0);
        assert_eq!(ResetTo::Latest.timestamp(), -1);
        assert_eq!(ResetTo::Time(-5).timestamp(), 0);
        assert_eq!(ResetTo::Time(7).timestamp(), 7);
    }
}
