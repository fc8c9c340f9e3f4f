//! Topics on a broker.

use bolide_wire::body::group::GroupList;
use bolide_wire::body::topic::{TopicConfig, TopicConfigTable, TopicList, TopicStatsTable};
use bolide_wire::{Command, RequestCode, ResponseCode};

use super::{Admin, body};
use crate::ClientError;
use crate::remote::refused;

/// Offsets of one queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueStats {
    /// Name of the broker group.
    pub broker: String,
    /// Number of the queue.
    pub queue: i32,
    /// Offset of the oldest message.
    pub min_offset: i64,
    /// Offset that the next message gets.
    pub max_offset: i64,
    /// When the newest message was stored, in milliseconds since 1970; 0 for none.
    pub last_update_timestamp: i64,
}

impl Admin {
    /// All topics of a broker, those of the system too.
    ///
    /// # Errors
    /// The broker does not answer, or refuses.
    pub async fn topics(&self, addr: &str) -> Result<Vec<TopicConfig>, ClientError> {
        let answer = self.remote.ask(addr, Command::request(RequestCode::GET_ALL_TOPIC_CONFIG)).await?;
        let table: TopicConfigTable = body(addr, &answer)?;
        Ok(table.topic_config_table.into_values().collect())
    }

    /// One topic of a broker; `None` when it does not have it.
    ///
    /// # Errors
    /// The broker does not answer, or refuses.
    pub async fn topic(&self, addr: &str, topic: &str) -> Result<Option<TopicConfig>, ClientError> {
        let command = Command::request(RequestCode::GET_TOPIC_CONFIG).with_ext("topic", topic);
        let answer = self.remote.call(addr, command).await?;
        match answer.response_code() {
            ResponseCode::SUCCESS => Ok(Some(body(addr, &answer)?)),
            ResponseCode::TOPIC_NOT_EXIST => Ok(None),
            code => Err(refused(addr, "GET_TOPIC_CONFIG", code, &answer)),
        }
    }

    /// Names of the topics that a broker keeps for itself.
    ///
    /// # Errors
    /// The broker does not answer, or refuses.
    pub async fn system_topics(&self, addr: &str) -> Result<Vec<String>, ClientError> {
        let answer =
            self.remote.ask(addr, Command::request(RequestCode::GET_SYSTEM_TOPIC_LIST_FROM_BROKER)).await?;
        Ok(body::<TopicList>(addr, &answer)?.topic_list)
    }

    /// Makes a topic, or changes it. Attributes are added to those it has.
    ///
    /// # Errors
    /// The broker does not answer, or refuses.
    pub async fn put_topic(&self, addr: &str, config: &TopicConfig) -> Result<(), ClientError> {
        let mut command = Command::request(RequestCode::UPDATE_AND_CREATE_TOPIC)
            .with_ext("topic", &config.topic_name)
            .with_ext("defaultTopic", "TBW102")
            .with_ext("readQueueNums", &config.read_queue_nums.to_string())
            .with_ext("writeQueueNums", &config.write_queue_nums.to_string())
            .with_ext("perm", &config.perm.to_string())
            .with_ext("topicFilterType", config.topic_filter_type.as_str())
            .with_ext("topicSysFlag", &config.topic_sys_flag.to_string())
            .with_ext("order", &config.order.to_string());
        let attributes = attributes(config);
        if !attributes.is_empty() {
            command = command.with_ext("attributes", &attributes);
        }
        self.remote.ask(addr, command).await.map(|_| ())
    }

    /// Deletes a topic and its messages from a broker. [`Admin::forget_topic`] tells the nameservers.
    ///
    /// # Errors
    /// The broker does not answer, or refuses.
    pub async fn delete_topic(&self, addr: &str, topic: &str) -> Result<(), ClientError> {
        let command = Command::request(RequestCode::DELETE_TOPIC_IN_BROKER).with_ext("topic", topic);
        self.remote.ask(addr, command).await.map(|_| ())
    }

    /// Offsets of each queue of a topic on a broker, in order of number.
    ///
    /// # Errors
    /// The broker does not answer, or refuses.
    pub async fn topic_stats(&self, addr: &str, topic: &str) -> Result<Vec<QueueStats>, ClientError> {
        let command = Command::request(RequestCode::GET_TOPIC_STATS_INFO).with_ext("topic", topic);
        let answer = self.remote.ask(addr, command).await?;
        let table: TopicStatsTable = body(addr, &answer)?;
        let stats = table.offset_table.0.into_iter().map(|(queue, offset)| QueueStats {
            broker: queue.broker_name,
            queue: queue.queue_id,
            min_offset: offset.min_offset,
            max_offset: offset.max_offset,
            last_update_timestamp: offset.last_update_timestamp,
        });
        Ok(stats.collect())
    }

    /// Groups that consume a topic on a broker.
    ///
    /// # Errors
    /// The broker does not answer, or refuses.
    pub async fn consumers_of(&self, addr: &str, topic: &str) -> Result<Vec<String>, ClientError> {
        let command = Command::request(RequestCode::QUERY_TOPIC_CONSUME_BY_WHO).with_ext("topic", topic);
        let answer = self.remote.ask(addr, command).await?;
        Ok(body::<GroupList>(addr, &answer)?.group_list.into_iter().collect())
    }
}

/// `+key=value,...`, as the request header has them.
fn attributes(config: &TopicConfig) -> String {
    let each = config.attributes.iter().map(|(key, value)| format!("+{key}={value}"));
    each.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_written_as_additions() {
        let mut config = TopicConfig::new("t", 4);
        assert_eq!(attributes(&config), "");
        config.attributes.insert("message.type".to_owned(), "FIFO".to_owned());
        config.attributes.insert("a".to_owned(), "b".to_owned());
        assert_eq!(attributes(&config), "+a=b,+message.type=FIFO");
    }
}
