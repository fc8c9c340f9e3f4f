//! Owns the table of texts by which administrators judge a broker (code 28). Keys and forms are those of the original,
//! whose tools fail on a missing one; what does not exist here, such as queues before thread pools, is 0.

use std::collections::BTreeMap;

use bolide_wire::body::stats::KvTable;
use bolide_wire::ids::{QueueId, QueueOffset};

use super::Call;
use crate::broker::Broker;
use crate::error::Failure;
use crate::reply::Reply;
use crate::stats::Rate;

/// What this program says it is: 5.3.3.
const VERSION_NAME: &str = "V5_3_3";
/// Keys that stand for parts of the original which this broker does not have.
const ABSENT: &[&str] = &[
    "EndTransactionQueueSize",
    "ackThreadPoolQueueHeadWaitTimeMills",
    "ackThreadPoolQueueSize",
    "dispatchMaxBuffer",
    "litePullThreadPoolQueueHeadWaitTimeMills",
    "litePullThreadPoolQueueSize",
    "pageCacheLockTimeMills",
    "pullThreadPoolQueueHeadWaitTimeMills",
    "pullThreadPoolQueueSize",
    "queryThreadPoolQueueHeadWaitTimeMills",
    "queryThreadPoolQueueSize",
    "remainHowManyDataToCommit",
    "remainTransientStoreBufferNumbs",
    "sendThreadPoolQueueHeadWaitTimeMills",
    "sendThreadPoolQueueSize",
    "startAcceptSendRequestTimeStamp",
    "timerCongestNum",
    "timerDequeueTps",
    "timerEnqueueTps",
    "timerOffsetBehind",
    "timerReadBehind",
];
/// Their capacities: the bounds of this broker's own queues are per connection.
const CAPACITIES: &[&str] = &[
    "EndTransactionThreadPoolQueueCapacity",
    "ackThreadPoolQueueCapacity",
    "litePullThreadPoolQueueCapacity",
    "pullThreadPoolQueueCapacity",
    "queryThreadPoolQueueCapacity",
    "sendThreadPoolQueueCapacity",
];

/// Code 28.
pub(crate) async fn info(call: Call) -> Result<Reply, Failure> {
    let mut table: BTreeMap<String, String> =
        ABSENT.iter().chain(CAPACITIES).map(|key| ((*key).to_owned(), "0".to_owned())).collect();
    let mut put = |key: &str, value: String| {
        table.insert(key.to_owned(), value);
    };
    let broker = &call.broker;
    let now = broker.clock.now();
    put("brokerVersionDesc", VERSION_NAME.into());
    put("brokerVersion", bolide_wire::frame::VERSION.to_string());
    put("bootTimestamp", broker.started.0.to_string());
    put("runtime", age(now.0.saturating_sub(broker.started.0)));
    put("brokerActive", "true".into());
    traffic(broker, &mut put);
    let marks = broker.store.watermarks();
    put("commitLogMinOffset", marks.min.0.to_string());
    put("commitLogMaxOffset", marks.appended.0.to_string());
    put("dispatchBehindBytes", marks.appended.0.saturating_sub(marks.dispatched.0).to_string());
    put("remainHowManyDataToFlush", format!("{} B", marks.appended.0.saturating_sub(marks.flushed.0)));
    let oldest = broker.cold_read(move |store| {
        // A log that is empty or begins with a filler has no first record.
        let first = store.record_at(marks.min)?;
        let time = first.and_then(|bytes| {
            bolide_wire::message::RecordRef::parse(&bytes).ok().map(|record| record.store_timestamp())
        });
        Ok((time, store.disk_usage()?))
    });
    let (oldest, disk) = oldest.await?;
    put("earliestMessageTimeStamp", oldest.map_or(-1, |time| time.0).to_string());
    put("commitLogDiskRatio", format!("{:.4}", disk.ratio));
    put("consumeQueueDiskRatio", format!("{:.4}", disk.ratio));
    put("commitLogDirCapacity", format!("Total : {} B, Free : {} B.", disk.total, disk.available));
    for level in 1..=broker.levels.count() {
        let next = broker.state.delays.lock().next(level);
        let max = broker.schedule.queue(&broker.store, QueueId(level.saturating_sub(1))).max();
        if max > QueueOffset(0) {
            put(&format!("scheduleMessageOffset_{level}"), format!("{},{}", next.0, max.0));
        }
    }
    Reply::json(&KvTable { table })
}

fn traffic(broker: &Broker, put: &mut impl FnMut(&str, String)) {
    let mut stored = [Rate::default(); 3];
    let (mut messages, mut bytes) = (0_u64, 0_u64);
    for topic in broker.state.topics.all() {
        let counter = &topic.counters.put;
        messages = messages.saturating_add(counter.total());
        bytes = bytes.saturating_add(topic.counters.put_bytes.total());
        add(&mut stored, [counter.latest(), counter.minute(), counter.ten_minutes()]);
    }
    let mut given = [Rate::default(); 3];
    let mut read = 0_u64;
    for group in broker.state.groups.all() {
        for (_, of) in group.counters.topics() {
            let counter = &of.reads.got;
            read = read.saturating_add(counter.total());
            add(&mut given, [counter.latest(), counter.minute(), counter.ten_minutes()]);
        }
    }
    put("putTps", three(stored));
    for key in ["getTotalTps", "getFoundTps", "getTransferredTps", "getTransferedTps"] {
        put(key, three(given));
    }
    put("getMissTps", three([Rate::default(); 3]));
    put("putMessageTimesTotal", messages.to_string());
    put("putMessageSizeTotal", bytes.to_string());
    put("putMessageAverageSize", bytes.checked_div(messages).unwrap_or(0).to_string());
    put("putMessageFailedTimes", broker.metrics.refused_sends().to_string());
    for key in ["putMessageEntireTimeMax", "getMessageEntireTimeMax", "putLatency99", "putLatency999"] {
        put(key, "0".into());
    }
    put("putMessageDistributeTime", String::new());
    // The process does not remember yesterday: what it counted since its start counts as today's.
    put("msgPutTotalTodayNow", messages.to_string());
    put("msgGetTotalTodayNow", read.to_string());
    for key in [
        "msgPutTotalTodayMorning",
        "msgPutTotalYesterdayMorning",
        "msgGetTotalTodayMorning",
        "msgGetTotalYesterdayMorning",
    ] {
        put(key, "0".into());
    }
}

fn add(sums: &mut [Rate; 3], rates: [Rate; 3]) {
    for (sum, rate) in sums.iter_mut().zip(rates) {
        sum.per_second += rate.per_second;
    }
}

/// Three rates, as the dashboards split them.
fn three(rates: [Rate; 3]) -> String {
    let [ten_seconds, minute, ten_minutes] = rates.map(|rate| rate.per_second);
    format!("{ten_seconds:.4} {minute:.4} {ten_minutes:.4}")
}

fn age(ms: i64) -> String {
    let seconds = ms / 1_000;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    format!("[ {days} days, {hours} hours, {minutes} minutes, {} seconds ]", seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_reads_as_the_original_writes_it() {
        assert_eq!(age(93_784_000), "[ 1 days, 2 hours, 3 minutes, 4 seconds ]");
    }

    #[test]
    fn rates_are_three_numbers_with_spaces() {
        let rate = |per_second| Rate { per_second, ..Rate::default() };
        assert_eq!(three([rate(1.0), rate(2.5), rate(0.0)]), "1.0000 2.5000 0.0000");
    }
}
