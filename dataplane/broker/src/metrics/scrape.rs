//! Owns the values that are looked up when metrics are scraped.

use std::sync::atomic::Ordering;

use bolide_wire::ids::{DLQ_PREFIX, RETRY_PREFIX};
use prometheus::proto::MetricFamily;

use super::{Families, replicas};
use crate::broker::Broker;
use crate::state::{groups, topics};

/// Rows of one metric at most; more would hurt whoever scrapes.
pub(super) const MOST_SERIES: usize = 50_000;

pub(super) fn flag(value: bool) -> &'static str {
    if value { "true" } else { "false" }
}

fn is_derived(topic: &str) -> bool {
    topic.starts_with(RETRY_PREFIX) || topic.starts_with(DLQ_PREFIX)
}

fn count(value: usize) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Every metric that is made at scrape time.
pub(super) fn all(broker: &Broker) -> Result<Vec<MetricFamily>, prometheus::Error> {
    let mut families = Families { broker, made: Vec::new() };
    sizes(broker, &mut families)?;
    timers(broker, &mut families)?;
    stored(broker, &mut families)?;
    given(broker, &mut families)?;
    connections(broker, &mut families)?;
    lag(broker, &mut families)?;
    transactions(broker, &mut families)?;
    pops(broker, &mut families)?;
    replicas::all(broker, &mut families)?;
    Ok(families.made)
}

fn sizes(broker: &Broker, families: &mut Families<'_>) -> Result<(), prometheus::Error> {
    let permission = i64::from(broker.live.load().config.broker_permission);
    families.gauge("rocketmq_broker_permission", "Permission of the broker", permission)?;
    families.gauge("rocketmq_topic_number", "Topics", count(broker.state.topics.len()))?;
    families.gauge("rocketmq_consumer_group_number", "Consumer groups", count(broker.state.groups.len()))?;
    families.gauge(
        "bolide_broker_held_pulls",
        "Pulls that wait for messages",
        count(broker.hold.lock().len()),
    )?;
    let unreadable = i64::try_from(broker.state.unreadable()).unwrap_or(i64::MAX);
    families.gauge("bolide_broker_state_records_unreadable", "State records passed over", unreadable)
}

fn timers(broker: &Broker, families: &mut Families<'_>) -> Result<(), prometheus::Error> {
    let timers = &broker.state.timers;
    let waiting = i64::try_from(timers.index.len()).unwrap_or(i64::MAX);
    families.gauge("rocketmq_timing_messages", "Messages that wait for their time", waiting)?;
    for (name, help, total) in [
        ("rocketmq_timer_enqueue_total", "Messages for a later time and recalls, taken in", &timers.taken),
        ("rocketmq_timer_dequeue_total", "Messages for a later time, delivered", &timers.delivered),
    ] {
        families.counters(name, help, [], &[([], total.load(Ordering::Relaxed))])?;
    }
    Ok(())
}

fn stored(broker: &Broker, families: &mut Families<'_>) -> Result<(), prometheus::Error> {
    let all = broker.state.topics.all();
    let topics = all.iter().filter(|topic| !is_derived(&topic.name) && topic.counters.put.total() > 0);
    let rows: Vec<_> = topics
        .map(|topic| {
            let labels = [topic.name.as_str(), flag(topic.system)];
            (labels, topic.counters.put.total(), topic.counters.put_bytes.total())
        })
        .collect();
    let messages: Vec<_> = rows.iter().map(|(labels, messages, _)| (*labels, *messages)).collect();
    let bytes: Vec<_> = rows.iter().map(|(labels, _, bytes)| (*labels, *bytes)).collect();
    let labels = ["topic", "is_system"];
    families.counters("rocketmq_messages_in_total", "Messages stored", labels, &messages)?;
    families.counters("rocketmq_throughput_in_total", "Bytes stored", labels, &bytes)
}

fn given(broker: &Broker, families: &mut Families<'_>) -> Result<(), prometheus::Error> {
    let all = broker.state.groups.all();
    let rows: Vec<_> = all
        .iter()
        .flat_map(|group| group.counters.topics().into_iter().map(move |(topic, of)| (group, topic, of)))
        .filter(|(_, _, of)| of.reads.got.total() > 0)
        .collect();
    let mut messages = Vec::new();
    let mut bytes = Vec::new();
    for (group, topic, of) in &rows {
        let system = flag(groups::is_system(&group.name) || topics::is_system(topic));
        let labels = [group.name.as_str(), topic.as_str(), system, flag(topic.is_retry())];
        messages.push((labels, of.reads.got.total()));
        bytes.push((labels, of.reads.got_bytes.total()));
    }
    let labels = ["consumer_group", "topic", "is_system", "is_retry"];
    families.counters("rocketmq_messages_out_total", "Messages given to consumers", labels, &messages)?;
    families.counters("rocketmq_throughput_out_total", "Bytes given to consumers", labels, &bytes)?;
    let dead: Vec<_> = all
        .iter()
        .filter(|group| group.counters.dead_letters.total() > 0)
        .map(|group| {
            ([group.name.as_str(), flag(groups::is_system(&group.name))], group.counters.dead_letters.total())
        })
        .collect();
    let labels = ["consumer_group", "is_system"];
    families.counters("rocketmq_send_to_dlq_messages_total", "Messages given up", labels, &dead)
}

fn connections(broker: &Broker, families: &mut Families<'_>) -> Result<(), prometheus::Error> {
    let clients = broker.clients.read();
    let mut producers = Vec::new();
    for (_, members) in clients.producer_groups() {
        for client in members.values() {
            producers.push((client.language, client.version.to_string()));
        }
    }
    let rows: Vec<_> =
        producers.iter().map(|(language, version)| ([language.name(), version.as_str()], 1)).collect();
    families.gauges(
        "rocketmq_producer_connections",
        "Connected producers",
        ["language", "version"],
        &rows,
    )?;
    let mut consumers = Vec::new();
    for (group, members) in clients.consumer_groups() {
        for client in members.members.values() {
            consumers.push((group.clone(), client.language, client.version.to_string(), members.style));
        }
    }
    let rows: Vec<_> = consumers
        .iter()
        .map(|(group, language, version, style)| {
            let system = flag(groups::is_system(group));
            ([group.as_str(), language.name(), version.as_str(), style.consume_type.as_str(), system], 1)
        })
        .collect();
    let labels = ["consumer_group", "language", "version", "consume_mode", "is_system"];
    families.gauges("rocketmq_consumer_connections", "Connected consumers", labels, &rows)
}

fn pops(broker: &Broker, families: &mut Families<'_>) -> Result<(), prometheus::Error> {
    let (checkpoints, due) = {
        let pops = broker.state.pops.lock();
        (count(pops.checkpoints()), pops.next_due())
    };
    let late = due.map_or(0, |due| broker.clock.now().0.saturating_sub(due).max(0));
    let waiting = count(broker.popping.hold.lock().len());
    families.gauge(
        "rocketmq_pop_checkpoint_buffer_size",
        "Pops with messages not acknowledged",
        checkpoints,
    )?;
    families.gauge(
        "rocketmq_pop_revive_latency",
        "Milliseconds that the longest overdue pop is late",
        late,
    )?;
    families.gauge("bolide_broker_held_pops", "Pops and notifications that wait for messages", waiting)?;
    let counters = &broker.popping.counters;
    let rows = [
        (["retry"], counters.again.total()),
        (["dead_letter"], counters.dead.total()),
        (["dropped"], counters.dropped.total()),
    ];
    let help = "Popped messages not acknowledged in time, by what became of them";
    families.counters("rocketmq_pop_revive_out_message_total", help, ["outcome"], &rows)
}

fn transactions(broker: &Broker, families: &mut Families<'_>) -> Result<(), prometheus::Error> {
    let open = broker.state.transactions.lock().by_topic();
    let rows: Vec<_> = open.iter().map(|(topic, open)| ([&**topic], count(*open))).collect();
    families.gauges("rocketmq_half_messages", "Open transactions", ["topic"], &rows)?;
    let all = broker.state.topics.all();
    let mut family = |name: &str, help: &str, of: &dyn Fn(&topics::TopicCounters) -> u64| {
        let rows: Vec<_> = all
            .iter()
            .map(|topic| ([topic.name.as_str()], of(&topic.counters)))
            .filter(|(_, total)| *total > 0)
            .collect();
        families.counters(name, help, ["topic"], &rows)
    };
    family("rocketmq_commit_messages_total", "Transactions committed", &|of| of.committed.total())?;
    family("rocketmq_rollback_messages_total", "Transactions rolled back", &|of| of.rolled_back.total())?;
    family("bolide_broker_transactions_discarded_total", "Transactions given up undecided", &|of| {
        of.discarded.total()
    })
}

fn lag(broker: &Broker, families: &mut Families<'_>) -> Result<(), prometheus::Error> {
    let committed = broker.state.offsets.lock().current();
    let mut rows = Vec::new();
    for (key, queues) in &committed {
        let Some((topic, group)) = key.split_once('@') else { continue };
        let mut behind = 0_i64;
        let mut inflight = 0_i64;
        for (queue, offset) in queues {
            let Some(id) = bolide_wire::ids::QueueId::from_wire(*queue) else { continue };
            let Some(stored) = broker.store.queue(topic, id) else { continue };
            behind = behind.saturating_add(stored.max().0.saturating_sub(*offset).max(0));
            let pulled = broker.state.offsets.lock().pulled(group, topic, id);
            inflight =
                inflight.saturating_add(pulled.map_or(0, |pulled| pulled.0.saturating_sub(*offset).max(0)));
        }
        let system = flag(groups::is_system(group) || topics::is_system(topic));
        rows.push(([group, topic, flag(topic.starts_with(RETRY_PREFIX)), system], behind, inflight));
    }
    let lag: Vec<_> = rows.iter().map(|(labels, behind, _)| (*labels, *behind)).collect();
    let inflight: Vec<_> = rows.iter().map(|(labels, _, inflight)| (*labels, *inflight)).collect();
    let labels = ["consumer_group", "topic", "is_retry", "is_system"];
    families.gauges("rocketmq_consumer_lag_messages", "Messages not yet consumed", labels, &lag)?;
    families.gauges(
        "rocketmq_consumer_inflight_messages",
        "Messages pulled, not yet committed",
        labels,
        &inflight,
    )
}
