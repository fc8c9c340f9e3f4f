//! Owns the question when a message is to be delivered, and where it waits until then: the delay levels have a topic with one
//! queue each, any other time has the timer topic.

use std::sync::Arc;

use bolide_store::{Entry, Queue, Tags};
use bolide_wire::ids::{EpochMillis, QueueId, TopicName};
use bolide_wire::properties::names;

use crate::broker::Broker;
use crate::config::BrokerConfig;
use crate::error::Failure;

/// When a message is to be delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    /// At once.
    Now,
    /// With a delay level of the table.
    Level(u32),
    /// At a time.
    At(EpochMillis),
}

/// The timer properties of a message as they were sent; the first one that is there counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct TimerAsked<'a> {
    /// `TIMER_DELAY_SEC`.
    pub(crate) seconds: Option<&'a str>,
    /// `TIMER_DELAY_MS`.
    pub(crate) millis: Option<&'a str>,
    /// `TIMER_DELIVER_MS`.
    pub(crate) at: Option<&'a str>,
}

impl TimerAsked<'_> {
    /// Whether there is any.
    pub(crate) fn any(&self) -> bool {
        self.seconds.or(self.millis).or(self.at).is_some()
    }

    /// The time asked for; `None` when it is no number.
    fn due(&self, now: EpochMillis) -> Option<EpochMillis> {
        let after = |text: &str, unit_ms: i64| -> Option<EpochMillis> {
            let delay: i64 = text.parse().ok()?;
            Some(EpochMillis(now.0.saturating_add(delay.saturating_mul(unit_ms))))
        };
        match (self.seconds, self.millis, self.at) {
            (Some(seconds), ..) => after(seconds, 1_000),
            (None, Some(millis), _) => after(millis, 1),
            (None, None, Some(at)) => at.parse().ok().map(EpochMillis),
            (None, None, None) => None,
        }
    }

    /// When a message with these properties is to be delivered. A time that has passed is now; upstream has the same
    /// refusals (`HookUtils.transformTimerMessage`).
    pub(crate) fn when(&self, config: &BrokerConfig, now: EpochMillis) -> Result<When, Failure> {
        if !config.timer_wheel_enable {
            return Err(Failure::TimersDisabled);
        }
        let max_ms = horizon_ms(config);
        let due = self.due(now).ok_or(Failure::TimerIllegal { max_ms })?;
        if due <= now {
            Ok(When::Now)
        } else if due.0.saturating_sub(now.0) > max_ms {
            Err(Failure::TimerIllegal { max_ms })
        } else {
            Ok(When::At(due))
        }
    }
}

/// How far ahead a time may lie, in milliseconds.
pub(crate) fn horizon_ms(config: &BrokerConfig) -> i64 {
    i64::try_from(config.timer_max_delay_sec).unwrap_or(i64::MAX).saturating_mul(1_000)
}

/// Where a message is stored.
pub(crate) struct Place {
    /// Queue.
    pub(crate) queue: Arc<Queue>,
    /// Third field of its consume queue unit.
    pub(crate) tags: Tags,
    /// The record is part of the state.
    pub(crate) state: bool,
}

impl Place {
    /// The entry of its record.
    pub(crate) fn entry(&self, len: u32) -> Entry {
        let mut entry = Entry::new(len, self.queue.clone());
        (entry.tags, entry.state) = (self.tags, self.state);
        entry
    }
}

impl Broker {
    /// Where a message for `target` waits; `push` is told what it has to say of itself there.
    pub(crate) fn place(
        &self,
        when: When,
        target: Arc<Queue>,
        tags_code: i64,
        push: &mut dyn FnMut(&str, &str),
    ) -> Place {
        let mut numbers = itoa::Buffer::new();
        let mut hide = |topic: &TopicName, queue: QueueId, push: &mut dyn FnMut(&str, &str)| {
            push(names::REAL_TOPIC, topic);
            push(names::REAL_QID, numbers.format(queue.0));
        };
        match when {
            When::Now => Place { queue: target, tags: Tags::Hash(tags_code), state: false },
            When::Level(level) => {
                hide(target.topic(), target.id(), push);
                let queue = self.schedule.queue(&self.store, QueueId(level.saturating_sub(1)));
                Place { queue, tags: Tags::DeliverAfter(self.levels.delay_ms(level)), state: false }
            }
            When::At(due) => {
                push(names::TIMER_OUT_MS, itoa::Buffer::new().format(due.0));
                hide(target.topic(), target.id(), push);
                Place { queue: self.timer_queue.clone(), tags: Tags::Hash(tags_code), state: true }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: EpochMillis = EpochMillis(1_000_000);

    fn when(asked: TimerAsked<'_>) -> Result<When, i32> {
        asked.when(&BrokerConfig::default(), NOW).map_err(|failure| crate::reply::code_of(&failure).0)
    }

    #[test]
    fn seconds_come_before_milliseconds_and_these_before_a_time() {
        let all = TimerAsked { seconds: Some("2"), millis: Some("5"), at: Some("7") };
        assert_eq!(when(all), Ok(When::At(EpochMillis(1_002_000))));
        assert_eq!(when(TimerAsked { seconds: None, ..all }), Ok(When::At(EpochMillis(1_000_005))));
        assert_eq!(when(TimerAsked { seconds: None, millis: None, ..all }), Ok(When::Now), "long ago");
    }

    #[test]
    fn a_time_too_far_ahead_or_no_number_is_refused() {
        let max = BrokerConfig::default().timer_max_delay_sec;
        let seconds = |text: &str| when(TimerAsked { seconds: Some(text), ..TimerAsked::default() });
        assert!(matches!(seconds(&max.to_string()), Ok(When::At(_))));
        assert_eq!(seconds(&(max + 1).to_string()), Err(13));
        assert_eq!(seconds("9223372036854775807"), Err(13));
        assert_eq!(seconds("soon"), Err(13));
        assert_eq!(seconds("-1"), Ok(When::Now));
        let off = BrokerConfig { timer_wheel_enable: false, ..BrokerConfig::default() };
        let asked = TimerAsked { seconds: Some("1"), ..TimerAsked::default() };
        assert!(matches!(asked.when(&off, NOW), Err(Failure::TimersDisabled)));
    }
}
