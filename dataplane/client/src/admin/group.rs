//! Consumer groups on a broker: definitions, members, progress.

use bolide_wire::body::connection::{ConsumerConnection, ProducerConnection};
use bolide_wire::body::group::{SubscriptionGroupConfig, SubscriptionGroupTable};
use bolide_wire::body::offset::ConsumeStats;
use bolide_wire::body::topic::TopicList;
use bolide_wire::{Command, RequestCode, ResponseCode};

use super::{Admin, body};
use crate::ClientError;
use crate::remote::refused;

/// Progress of a group in one queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumedQueue {
    /// Name of the topic.
    pub topic: String,
    /// Name of the broker group.
    pub broker: String,
    /// Number of the queue.
    pub queue: i32,
    /// Offset that the next message gets.
    pub broker_offset: i64,
    /// Offset of the next message to consume.
    pub consumer_offset: i64,
    /// When the last consumed message was stored, in milliseconds since 1970; 0 for none.
    pub last_timestamp: i64,
}

impl ConsumedQueue {
    /// Messages not yet consumed; never negative.
    pub fn lag(&self) -> i64 {
        self.broker_offset.saturating_sub(self.consumer_offset).max(0)
    }
}

impl Admin {
    /// All groups of a broker, those of the system too.
    ///
    /// # Errors
    /// The broker does not answer, or refuses.
    pub async fn groups(&self, addr: &str) -> Result<Vec<SubscriptionGroupConfig>, ClientError> {
        let command = Command::request(RequestCode::GET_ALL_SUBSCRIPTIONGROUP_CONFIG);
        let answer = self.remote.ask(addr, command).await?;
        let table: SubscriptionGroupTable = body(addr, &answer)?;
        Ok(table.subscription_group_table.into_values().collect())
    }

    /// One group of a broker; `None` when it does not have it.
    ///
    /// # Errors
    /// The broker does not answer, or refuses.
    pub async fn group(
        &self,
        addr: &str,
        group: &str,
    ) -> Result<Option<SubscriptionGroupConfig>, ClientError> {
        let command = Command::request(RequestCode::GET_SUBSCRIPTIONGROUP_CONFIG).with_ext("group", group);
        let answer = self.remote.call(addr, command).await?;
        match answer.response_code() {
            ResponseCode::SUCCESS => Ok(Some(body(addr, &answer)?)),
            ResponseCode::SUBSCRIPTION_GROUP_NOT_EXIST => Ok(None),
            code => Err(refused(addr, "GET_SUBSCRIPTIONGROUP_CONFIG", code, &answer)),
        }
    }

    /// Makes a group, or changes it.
    ///
    /// # Errors
    /// The broker does not answer, or refuses.
    pub async fn put_group(&self, addr: &str, config: &SubscriptionGroupConfig) -> Result<(), ClientError> {
        let command = Command::request(RequestCode::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP)
            .with_body(serde_json::to_vec(config)?);
        self.remote.ask(addr, command).await.map(|_| ())
    }

    /// Deletes a group from a broker, and its offsets when `clean_offsets`.
    ///
    /// # Errors
    /// The broker does not answer, or refuses.
    pub async fn delete_group(
        &self,
        addr: &str,
        group: &str,
        clean_offsets: bool,
    ) -> Result<(), ClientError> {
        let command = Command::request(RequestCode::DELETE_SUBSCRIPTIONGROUP)
            .with_ext("groupName", group)
            .with_ext("cleanOffset", &clean_offsets.to_string());
        self.remote.ask(addr, command).await.map(|_| ())
    }

    /// Progress of a group in every queue on a broker, of one topic or of all that it consumes, in order of topic and queue.
    ///
    /// # Errors
    /// The broker does not answer, or refuses.
    pub async fn consume_stats(
        &self,
        addr: &str,
        group: &str,
        topic: Option<&str>,
    ) -> Result<Vec<ConsumedQueue>, ClientError> {
        let mut command = Command::request(RequestCode::GET_CONSUME_STATS).with_ext("consumerGroup", group);
        if let Some(topic) = topic {
            command = command.with_ext("topic", topic);
        }
        let answer = self.remote.ask(addr, command).await?;
        let stats: ConsumeStats = body(addr, &answer)?;
        let mut queues: Vec<ConsumedQueue> = stats
            .offset_table
            .0
            .into_iter()
            .map(|(queue, offset)| ConsumedQueue {
                topic: queue.topic,
                broker: queue.broker_name,
                queue: queue.queue_id,
                broker_offset: offset.broker_offset,
                consumer_offset: offset.consumer_offset,
                last_timestamp: offset.last_timestamp,
            })
            .collect();
        queues.sort_by(|a, b| (&a.topic, a.queue).cmp(&(&b.topic, b.queue)));
        Ok(queues)
    }

    /// Members of a group that are connected to a broker; `None` when there is none.
    ///
    /// # Errors
    /// The broker does not answer, or refuses.
    pub async fn consumer_connection(
        &self,
        addr: &str,
        group: &str,
    ) -> Result<Option<ConsumerConnection>, ClientError> {
        let command =
            Command::request(RequestCode::GET_CONSUMER_CONNECTION_LIST).with_ext("consumerGroup", group);
        let answer = self.remote.call(addr, command).await?;
        match answer.response_code() {
            ResponseCode::SUCCESS => Ok(Some(body(addr, &answer)?)),
            ResponseCode::CONSUMER_NOT_ONLINE => Ok(None),
            code => Err(refused(addr, "GET_CONSUMER_CONNECTION_LIST", code, &answer)),
        }
    }

    /// Producers of a group that are connected to a broker.
    ///
    /// # Errors
    /// The broker does not answer, or there is none (brokers answer that with SYSTEM_ERROR).
    pub async fn producer_connection(
        &self,
        addr: &str,
        group: &str,
    ) -> Result<ProducerConnection, ClientError> {
        let command =
            Command::request(RequestCode::GET_PRODUCER_CONNECTION_LIST).with_ext("producerGroup", group);
        body(addr, &self.remote.ask(addr, command).await?)
    }

    /// Topics that a group has consumed on a broker.
    ///
    /// # Errors
    /// The broker does not answer, or refuses.
    pub async fn topics_of_group(&self, addr: &str, group: &str) -> Result<Vec<String>, ClientError> {
        let command = Command::request(RequestCode::QUERY_TOPICS_BY_CONSUMER).with_ext("group", group);
        let answer = self.remote.ask(addr, command).await?;
        Ok(body::<TopicList>(addr, &answer)?.topic_list)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lag_is_never_negative() {
        let mut queue = ConsumedQueue {
            topic: "t".to_owned(),
            broker: "b".to_owned(),
            queue: 0,
            broker_offset: 5,
            consumer_offset: 2,
            last_timestamp: 0,
        };
        assert_eq!(queue.lag(), 3);
        queue.consumer_offset = 9;
        assert_eq!(queue.lag(), 0);
    }
}
