//! Owns the statistics that administrators ask for: of topics, of groups, of queues, and the counters by name.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use bolide_store::{Queue, ReadLimits, Store};
use bolide_wire::body::offset::{
    ConsumeStats, ConsumeStatsList, ConsumeTimeSpan, CorrectionOffsets, DelayOffsetTable, OffsetWrapper,
    QueueTimeSpan,
};
use bolide_wire::body::stats::{BrokerStatsData, ConsumeQueueUnit, ConsumeQueueUnits, StatsItem};
use bolide_wire::body::topic::{TopicOffset, TopicStatsTable};
use bolide_wire::header::group::{GetConsumeStats, QueryConsumeTimeSpan, QueryCorrectionOffset};
use bolide_wire::header::stats::{GetBrokerConsumeStats, QueryConsumeQueue, ViewBrokerStatsData};
use bolide_wire::header::topic::TopicOnly;
use bolide_wire::ids::{LogOffset, QueueId, QueueOffset, RETRY_PREFIX};
use bolide_wire::message::stored_properties;

use super::Call;
use super::connections::subscription_data;
use crate::clients::Subscription;
use crate::error::Failure;
use crate::reply::Reply;
use crate::state::groups::Group;
use crate::state::topics::Topic;
use crate::stats::{Counter, Rate};

/// Units that one answer of 321 holds at most.
const MOST_UNITS: usize = 800;

fn topic_of(call: &Call, name: &str) -> Result<Arc<Topic>, Failure> {
    call.broker.state.topics.find(name).ok_or_else(|| Failure::NoTopic(name.to_owned()))
}

fn queues_of(call: &Call, topic: &Topic, count: u32) -> Vec<Arc<Queue>> {
    (0..count).map(|queue| topic.queue(&call.broker.store, QueueId(queue))).collect()
}

/// Store time of the message before `offset`; 0 when there is none, or it is gone.
fn time_before(store: &Store, queue: &Queue, offset: QueueOffset) -> io::Result<i64> {
    let before = QueueOffset(offset.0.saturating_sub(1));
    if before < queue.min() {
        return Ok(0);
    }
    Ok(store.store_time(queue, before)?.map_or(0, |time| time.0))
}

/// Code 202.
pub(crate) async fn topic(call: Call) -> Result<Reply, Failure> {
    let header = TopicOnly::decode(&call.command.ext)?;
    let topic = topic_of(&call, &header.topic)?;
    let queues = queues_of(&call, &topic, topic.queues());
    let rows = call
        .broker
        .cold_read(move |store| {
            let row = |queue: Arc<Queue>| {
                let (min, max) = (queue.min(), queue.max());
                let newest = if max > min { time_before(store, &queue, max)? } else { 0 };
                Ok((
                    queue.id(),
                    TopicOffset { last_update_timestamp: newest, max_offset: max.0, min_offset: min.0 },
                ))
            };
            queues.into_iter().map(row).collect::<io::Result<Vec<_>>>()
        })
        .await?;
    let offset_table =
        rows.into_iter().map(|(queue, row)| (call.broker.message_queue(&topic.name, queue), row)).collect();
    Reply::json(&TopicStatsTable { offset_table, topic_put_tps: topic.counters.put.latest().per_second })
}

/// Code 208.
pub(crate) async fn consume(call: Call) -> Result<Reply, Failure> {
    let header = GetConsumeStats::decode(&call.command.ext)?;
    let asked: Vec<String> = match (&header.topic_list, &header.topic) {
        (Some(list), _) if !list.is_empty() => list.split(';').map(str::to_owned).collect(),
        (_, Some(topic)) if !topic.is_empty() => vec![topic.clone()],
        _ => call
            .broker
            .state
            .offsets
            .lock()
            .topics_of(&header.consumer_group)
            .iter()
            .map(ToString::to_string)
            .collect(),
    };
    let wanted = asked.into_iter().filter(|topic| !topic.is_empty()).collect::<BTreeSet<String>>();
    let mut stats = ConsumeStats::default();
    for name in wanted {
        let Some(topic) = call.broker.state.topics.find(&name) else { continue };
        if unsubscribed(&call, &header.consumer_group, &name) {
            continue;
        }
        let (part, tps) = consume_of(&call, &header.consumer_group, &topic).await?;
        stats.offset_table.extend(part.0);
        stats.consume_tps += tps;
    }
    Reply::json(&stats)
}

/// Whether the group is online and does not subscribe to the topic.
fn unsubscribed(call: &Call, group: &str, topic: &str) -> bool {
    // Who pops a topic gets its retry topic with it, without naming it.
    let pop_retry = topic.strip_prefix(RETRY_PREFIX).and_then(|rest| rest.strip_prefix(group));
    if pop_retry.is_some_and(|rest| rest.starts_with(['_', '+'])) {
        return false;
    }
    let clients = call.broker.clients.read();
    clients
        .consumer_group(group)
        .is_some_and(|online| !online.subscriptions.is_empty() && !online.subscriptions.contains_key(topic))
}

type QueueStats = bolide_wire::body::queue::QueueMap<OffsetWrapper>;

async fn consume_of(call: &Call, group: &str, topic: &Arc<Topic>) -> Result<(QueueStats, f64), Failure> {
    let readable = u32::try_from(topic.config.read_queue_nums).unwrap_or(0);
    let rows: Vec<_> = {
        let offsets = call.broker.state.offsets.lock();
        let row = |queue: Arc<Queue>| {
            let committed = offsets.committed(group, &topic.name, queue.id());
            let pulled = offsets.pulled(group, &topic.name, queue.id());
            (queue, committed.unwrap_or_default(), pulled.unwrap_or_default())
        };
        queues_of(call, topic, readable).into_iter().map(row).collect()
    };
    let rows = call.broker.cold_read(move |store| {
        let row = |(queue, committed, pulled): (Arc<Queue>, QueueOffset, QueueOffset)| {
            let wrapper = OffsetWrapper {
                broker_offset: queue.max().0,
                consumer_offset: committed.0,
                last_timestamp: time_before(store, &queue, committed)?,
                pull_offset: pulled.0,
            };
            Ok((queue.id(), wrapper))
        };
        rows.into_iter().map(row).collect::<io::Result<Vec<_>>>()
    });
    let rows = rows.await?;
    let known = call.broker.state.groups.find(group);
    let tps = known.map_or(0.0, |group| group.counters.topic(&topic.name).reads.got.latest().per_second);
    let table =
        rows.into_iter().map(|(queue, row)| (call.broker.message_queue(&topic.name, queue), row)).collect();
    Ok((table, tps))
}

/// Code 317: every group of users, with its topics of the asked kind.
pub(crate) async fn consume_of_broker(call: Call) -> Result<Reply, Failure> {
    let header = GetBrokerConsumeStats::decode(&call.command.ext)?;
    let mut list =
        ConsumeStatsList { broker_addr: call.broker.store_host.to_string(), ..ConsumeStatsList::default() };
    for group in call.broker.state.groups.all() {
        let topics = call.broker.state.offsets.lock().topics_of(&group.name);
        let mut of_group = Vec::new();
        for topic in topics {
            let Some(topic) =
                call.broker.state.topics.find(&topic).filter(|topic| topic.config.order == header.order)
            else {
                continue;
            };
            let (offset_table, consume_tps) = consume_of(&call, &group.name, &topic).await?;
            for row in offset_table.values() {
                list.total_diff += row.broker_offset.saturating_sub(row.consumer_offset);
                list.total_inflight_diff += row.pull_offset.saturating_sub(row.consumer_offset).max(0);
            }
            of_group.push(ConsumeStats { consume_tps, offset_table });
        }
        if !of_group.is_empty() {
            list.consume_stats_list.push(BTreeMap::from([(group.name.to_string(), of_group)]));
        }
    }
    Reply::json(&list)
}

/// Code 303.
pub(crate) async fn time_span(call: Call) -> Result<Reply, Failure> {
    let header = QueryConsumeTimeSpan::decode(&call.command.ext)?;
    let topic = topic_of(&call, &header.topic)?;
    let readable = u32::try_from(topic.config.read_queue_nums).unwrap_or(0);
    let queues = queues_of(&call, &topic, readable);
    let committed = call.broker.state.offsets.lock().queues_of(&header.group, &topic.name);
    let now = call.broker.clock.now();
    let spans = call.broker.cold_read(move |store| {
        let span = |queue: Arc<Queue>| {
            let committed = committed.get(&queue.id()).copied().unwrap_or_default();
            let time_at = |offset| store.store_time(&queue, offset);
            let min_time = time_at(queue.min())?.map_or(0, |time| time.0);
            let waiting = if committed < queue.max() { time_at(committed)? } else { None };
            let span = QueueTimeSpan {
                consume_time_stamp: if committed.0 > 0 {
                    time_before(store, &queue, committed)?
                } else {
                    min_time
                },
                delay_time: waiting.map_or(0, |time| now.0.saturating_sub(time.0)),
                max_time_stamp: time_before(store, &queue, queue.max())?,
                min_time_stamp: min_time,
                ..QueueTimeSpan::default()
            };
            Ok((queue.id(), span))
        };
        queues.into_iter().map(span).collect::<io::Result<Vec<_>>>()
    });
    let spans = spans.await?.into_iter();
    let consume_time_span_set = spans
        .map(|(queue, span)| QueueTimeSpan {
            message_queue: call.broker.message_queue(&topic.name, queue),
            ..span
        })
        .collect();
    Reply::json(&ConsumeTimeSpan { consume_time_span_set })
}

/// Code 308: per queue the smallest committed offset of the other groups, or "no need" (the largest number) where the
/// compared group is behind it. Upstream drops the offsets of the groups it leaves out; here nothing is changed.
pub(crate) fn correction(call: &Call) -> Result<Reply, Failure> {
    let header = QueryCorrectionOffset::decode(&call.command.ext)?;
    let left_out: Vec<&str> = header.filter_groups.as_deref().unwrap_or_default().split(',').collect();
    let offsets = call.broker.state.offsets.lock();
    let mut correction_offsets: BTreeMap<i32, i64> = BTreeMap::new();
    for group in offsets.groups_of(&header.topic) {
        if left_out.contains(&&*group) {
            continue;
        }
        for (queue, offset) in offsets.queues_of(&group, &header.topic) {
            let smallest = correction_offsets.entry(queue.to_wire()).or_insert(i64::MAX);
            *smallest = offset.0.min(*smallest);
        }
    }
    for (queue, compared) in offsets.queues_of(&header.compare_group, &header.topic) {
        if let Some(smallest) =
            correction_offsets.get_mut(&queue.to_wire()).filter(|smallest| **smallest > compared.0)
        {
            *smallest = i64::MAX;
        }
    }
    Reply::json(&CorrectionOffsets { correction_offsets })
}

/// Code 321.
pub(crate) async fn consume_queue(call: Call) -> Result<Reply, Failure> {
    let header = QueryConsumeQueue::decode(&call.command.ext)?;
    let topic = topic_of(&call, &header.topic)?;
    let illegal = || Failure::Parameter(format!("queueId[{}] is illegal", header.queue_id));
    let id =
        QueueId::from_wire(header.queue_id).filter(|queue| queue.0 < topic.queues()).ok_or_else(illegal)?;
    let queue = topic.queue(&call.broker.store, id);
    let count = usize::try_from(header.count).unwrap_or(0).min(MOST_UNITS);
    let from = QueueOffset(header.index.max(queue.min().0));
    let (min_queue_index, max_queue_index) = (queue.min().0, queue.max().0);
    let group = header.consumer_group.as_deref().filter(|group| !group.is_empty());
    let subscription = group.and_then(|group| {
        let clients = call.broker.clients.read();
        clients.consumer_group(group)?.subscriptions.get(&header.topic).cloned()
    });
    let mut answer = ConsumeQueueUnits { max_queue_index, min_queue_index, ..ConsumeQueueUnits::default() };
    match (group, &subscription) {
        (Some(group), None) => answer.filter_data = Some(format!("{group}@{} is not online!", header.topic)),
        (_, Some(known)) => answer.subscription_data = Some(subscription_data(known)),
        (None, None) => {}
    }
    let units = call.broker.cold_read(move |store| {
        let mut units = Vec::new();
        let limits = ReadLimits { max_messages: 1, max_scan: count.max(1), ..ReadLimits::default() };
        let mut look = |unit: &bolide_store::Unit| {
            if units.len() < count {
                units.push(ConsumeQueueUnit {
                    eval: true,
                    physic_offset: i64::try_from(unit.log_offset.0).unwrap_or(i64::MAX),
                    physic_size: i32::try_from(unit.size).unwrap_or(i32::MAX),
                    tags_code: unit.tags_code,
                    ..ConsumeQueueUnit::default()
                });
            }
            // Only the units are wanted, so no record is taken.
            false
        };
        store.read(&queue, from, &limits, &mut look)?;
        if let Some(subscription) = subscription {
            for unit in &mut units {
                unit.eval = wanted(store, &subscription, unit)?;
            }
        }
        Ok(units)
    });
    answer.queue_data = units.await?;
    Reply::json(&answer)
}

/// Whether the subscription lets the unit's message through.
fn wanted(store: &Store, subscription: &Subscription, unit: &ConsumeQueueUnit) -> io::Result<bool> {
    if !subscription.wants(unit.tags_code) || !subscription.reads_properties() {
        return Ok(subscription.wants(unit.tags_code));
    }
    let Some(offset) = LogOffset::from_wire(unit.physic_offset) else { return Ok(false) };
    let record = store.record_at(offset)?;
    Ok(record.is_some_and(|record| {
        stored_properties(&record).is_some_and(|found| subscription.wants_properties(found))
    }))
}

/// Code 45.
pub(crate) fn delay_offsets(call: &Call) -> Result<Reply, Failure> {
    let delays = call.broker.state.delays.lock();
    let offset_table = delays
        .table()
        .iter()
        .filter_map(|(level, next)| Some((i32::try_from(*level).ok()?, *next)))
        .collect();
    Reply::json(&DelayOffsetTable { data_version: None, offset_table })
}

/// Code 315.
pub(crate) fn by_name(call: &Call) -> Result<Reply, Failure> {
    let header = ViewBrokerStatsData::decode(&call.command.ext)?;
    let unknown =
        || Failure::Missing(format!("The stats <{}> <{}> not exist", header.stats_name, header.stats_key));
    let counters = Counters::find(call, &header.stats_name, &header.stats_key).ok_or_else(unknown)?;
    Reply::json(&BrokerStatsData {
        stats_day: counters.item(Counter::day),
        stats_hour: counters.item(Counter::hour),
        stats_minute: counters.item(Counter::minute),
    })
}

/// The counters that one name and key stand for.
struct Counters(Vec<CounterOf>);

enum CounterOf {
    Topic(Arc<Topic>, fn(&Topic) -> &Counter),
    Group(Arc<Group>, fn(&Group) -> &Counter),
    Read(Arc<crate::state::groups::TopicOfGroup>, fn(&crate::state::groups::TopicOfGroup) -> &Counter),
}

impl CounterOf {
    fn counter(&self) -> &Counter {
        match self {
            Self::Topic(topic, counter) => counter(topic),
            Self::Group(group, counter) => counter(group),
            Self::Read(read, counter) => counter(read),
        }
    }
}

impl Counters {
    fn find(call: &Call, name: &str, key: &str) -> Option<Counters> {
        let state = &call.broker.state;
        let topic = |counter| Some(Counters(vec![CounterOf::Topic(state.topics.find(key)?, counter)]));
        let read = |counter| {
            let (topic, group) = key.split_once('@')?;
            let group = state.groups.find(group)?;
            let (_, read) = group.counters.topics().into_iter().find(|(known, _)| &**known == topic)?;
            Some(Counters(vec![CounterOf::Read(read, counter)]))
        };
        match name {
            "TOPIC_PUT_NUMS" => topic(|topic| &topic.counters.put),
            "TOPIC_PUT_SIZE" => topic(|topic| &topic.counters.put_bytes),
            "GROUP_GET_NUMS" => read(|read| &read.reads.got),
            "GROUP_GET_SIZE" => read(|read| &read.reads.got_bytes),
            "GROUP_GET_LATENCY" => read(|read| &read.reads.latency_ms),
            "SNDBCK_PUT_NUMS" => read(|read| &read.sent_back),
            "DLQ_PUT_NUMS" => {
                let group = key.rsplit_once('@').map_or(key, |(_, group)| group);
                Some(Counters(vec![CounterOf::Group(state.groups.find(group)?, |group| {
                    &group.counters.dead_letters
                })]))
            }
            "BROKER_PUT_NUMS" => {
                let topics = state.topics.all().into_iter();
                Some(Counters(
                    topics.map(|topic| CounterOf::Topic(topic, |topic| &topic.counters.put)).collect(),
                ))
            }
            "BROKER_GET_NUMS" => {
                let reads = state.groups.all().into_iter().flat_map(|group| group.counters.topics());
                Some(Counters(reads.map(|(_, read)| CounterOf::Read(read, |read| &read.reads.got)).collect()))
            }
            _ => None,
        }
    }

    fn item(&self, window: fn(&Counter) -> Rate) -> StatsItem {
        added(self.0.iter().map(|counter| window(counter.counter())))
    }
}

#[expect(clippy::cast_precision_loss, reason = "averages are for people")]
fn added(rates: impl Iterator<Item = Rate>) -> StatsItem {
    let (mut sum, mut tps, mut calls) = (0_u64, 0.0, 0.0);
    for rate in rates {
        sum = sum.saturating_add(rate.sum);
        tps += rate.per_second;
        if rate.per_call > 0.0 {
            calls += rate.sum as f64 / rate.per_call;
        }
    }
    let avgpt = if calls > 0.0 { sum as f64 / calls } else { 0.0 };
    StatsItem { avgpt, sum: i64::try_from(sum).unwrap_or(i64::MAX), tps }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_of_several_counters_add_up() {
        let rates = [
            Rate { sum: 100, per_second: 10.0, per_call: 2.0 },
            Rate { sum: 0, per_second: 0.0, per_call: 0.0 },
            Rate { sum: 50, per_second: 5.0, per_call: 1.0 },
        ];
        let item = added(rates.into_iter());
        assert_eq!((item.sum, item.tps, item.avgpt), (150, 15.0, 1.5));
    }

    #[test]
    fn nothing_counted_is_zero_and_never_nan() {
        assert_eq!(added(std::iter::empty()), StatsItem::default());
    }
}
