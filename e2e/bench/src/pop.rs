//! Consumption by pop: each of some consumers pops 32 messages, acknowledges every one of them by a request of its own, as the
//! official push consumer does, and pops again.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use memchr::memmem;

use crate::compare::{self, Plan};
use crate::goals;
use crate::load::Outcome;
use crate::report::{Goal, Measure, Report};
use crate::scenario::Scenario;
use crate::systems::{Flush, System};
use crate::{frame, process};

pub(crate) const SCENARIO: Scenario = Scenario { name: "pop", run, goals };

const TOPIC: &str = "bench-pop";
const GROUP: &str = "bench-pop";
const MESSAGES: u64 = 1_500_000;
const BODY_BYTES: usize = 256;
const CONSUMERS: usize = 8;
const BATCH: u32 = 32;
const POP: &str = "pop of 32 and 32 acknowledgements, 8 consumers";
/// Pops in a row that find nothing before a consumer takes the topic as consumed.
const EMPTY: u32 = 3;
const READ_BYTES: usize = 256 * 1024;
const TIMEOUT: Duration = Duration::from_secs(30);

const POP_MESSAGE: u32 = 200_050;
const ACK_MESSAGE: u32 = 200_051;
const FOUND: i64 = 0;
const POLLING_TIMEOUT: i64 = 210;

fn run(plan: &Plan, system: &System, report: &mut Report) -> anyhow::Result<()> {
    let cluster = compare::fresh(plan, system, "pop", Flush::Async, &[])?;
    compare::fill_topic(plan, &cluster, TOPIC, MESSAGES, BODY_BYTES, false)?;
    eprintln!("{}: {POP}", system.name());
    let pid = cluster.broker_pid()?;
    let begun = Instant::now();
    let cpu = process::cpu_time(pid)?;
    let outcome = consume(cluster.broker_addr(), plan.warm_up, plan.duration)?;
    let cores = process::cpu_time(pid)?.saturating_sub(cpu).as_secs_f64() / begun.elapsed().as_secs_f64();
    report.add(POP, system.name(), Measure::new(&outcome, Some(cores)));
    cluster.remove()
}

/// Consumes until the time is over or the topic is consumed. A message counts once its acknowledgement is answered.
fn consume(addr: SocketAddr, warm_up: Duration, duration: Duration) -> anyhow::Result<Outcome> {
    let from = Instant::now() + warm_up;
    let parts: Vec<anyhow::Result<(Outcome, Instant)>> = std::thread::scope(|scope| {
        let consumers: Vec<_> = (0..CONSUMERS)
            .map(|_| scope.spawn(move || Consumer::open(addr)?.consume(from, from + duration)))
            .collect();
        let ended = consumers.into_iter().map(|consumer| match consumer.join() {
            Ok(part) => part,
            Err(_) => Err(anyhow::anyhow!("a consumer panicked")),
        });
        ended.collect()
    });
    let mut whole = Outcome::new()?;
    let mut last = from;
    for part in parts {
        let (part, ended) = part?;
        last = last.max(ended);
        whole.succeeded += part.succeeded;
        whole.messages += part.messages;
        whole.bytes_in += part.bytes_in;
        whole.latency_ns.add(&part.latency_ns)?;
        whole.first_failure = whole.first_failure.or(part.first_failure);
        for (code, count) in part.codes {
            *whole.codes.entry(code).or_default() += count;
        }
    }
    anyhow::ensure!(last > from, "everything was consumed before the measured time began");
    whole.elapsed = last - from;
    Ok(whole)
}

/// One connection that pops and acknowledges.
struct Consumer {
    stream: TcpStream,
    received: Vec<u8>,
    used: usize,
}

/// An answer without its body.
struct Answer {
    header: Vec<u8>,
    bytes: usize,
}

impl Consumer {
    fn open(addr: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(addr).with_context(|| format!("cannot connect to {addr}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        Ok(Self { stream, received: Vec::new(), used: 0 })
    }

    fn consume(mut self, from: Instant, end: Instant) -> anyhow::Result<(Outcome, Instant)> {
        let mut outcome = Outcome::new()?;
        let mut counted = false;
        let mut empty = 0;
        let mut frames = Vec::new();
        loop {
            let begun = Instant::now();
            if begun >= end || empty >= EMPTY {
                return Ok((outcome, begun));
            }
            if !counted && begun >= from {
                (outcome, counted) = (Outcome::new()?, true);
            }
            frames.clear();
            pop(&mut frames);
            self.stream.write_all(&frames)?;
            let popped = self.answer()?;
            outcome.bytes_in += popped.bytes as u64;
            match frame::code(&popped.header).context("an answer without code")? {
                FOUND => empty = 0,
                POLLING_TIMEOUT => {
                    empty += 1;
                    continue;
                }
                code => anyhow::bail!("a pop was answered with {code}: {}", frame::remark(&popped.header)),
            }
            frames.clear();
            let count = acknowledge(&popped.header, &mut frames).context("the offsets of a pop")?;
            self.stream.write_all(&frames)?;
            for _ in 0..count {
                let acked = self.answer()?;
                let code = frame::code(&acked.header).context("an answer without code")?;
                *outcome.codes.entry(code).or_default() += 1;
                if code == FOUND {
                    outcome.messages += 1;
                    outcome.succeeded += 1;
                } else if outcome.first_failure.is_none() {
                    outcome.first_failure = Some(format!("code {code}: {}", frame::remark(&acked.header)));
                }
            }
            let elapsed = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
            outcome.latency_ns.saturating_record(elapsed);
        }
    }

    /// Reads one answer.
    fn answer(&mut self) -> anyhow::Result<Answer> {
        loop {
            let waiting = self.received.get(self.used..).unwrap_or_default();
            if let Some(lengths) = frame::lengths(waiting)? {
                let bytes = 8 + lengths.header + lengths.body;
                if let Some(whole) = waiting.get(..bytes) {
                    let header = whole.get(8..8 + lengths.header).unwrap_or_default().to_vec();
                    self.used += bytes;
                    return Ok(Answer { header, bytes });
                }
            }
            self.received.drain(..self.used);
            self.used = 0;
            let before = self.received.len();
            self.received.resize(before + READ_BYTES, 0);
            let count = self.stream.read(self.received.get_mut(before..).unwrap_or_default())?;
            self.received.truncate(before + count);
            anyhow::ensure!(count > 0, "the server closed a connection");
        }
    }
}

fn request(out: &mut Vec<u8>, code: u32, fields: std::fmt::Arguments<'_>) {
    let header = format!(
        r#"{{"code":{code},"extFields":{{{fields}}},"flag":0,"language":"JAVA","opaque":1,"serializeTypeCurrentRPC":"JSON","version":479}}"#
    );
    let length = u32::try_from(header.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&(length + 4).to_be_bytes());
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(header.as_bytes());
}

fn pop(out: &mut Vec<u8>) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    request(
        out,
        POP_MESSAGE,
        format_args!(
            concat!(
                r#""bname":"broker-a","bornTime":"{now}","consumerGroup":"{group}","exp":"*","expType":"TAG","initMode":"0","#,
                r#""invisibleTime":"60000","maxMsgNums":"{batch}","order":"false","pollTime":"0","queueId":"-1","topic":"{topic}""#
            ),
            now = now,
            group = GROUP,
            batch = BATCH,
            topic = TOPIC,
        ),
    );
}

/// Adds an acknowledgement of each message that the header of a pop names; returns their number.
fn acknowledge(header: &[u8], out: &mut Vec<u8>) -> Option<usize> {
    let text = |name: &str| {
        let start = memmem::find(header, name.as_bytes())? + name.len();
        let rest = header.get(start..)?;
        std::str::from_utf8(rest.get(..memchr::memchr(b'"', rest)?)?).ok()
    };
    let (pop_time, revive) = (text(r#""popTime":""#)?, text(r#""reviveQid":""#)?);
    let mut starts = BTreeMap::new();
    for item in text(r#""startOffsetInfo":""#)?.split(';') {
        let (queue, start) = item.rsplit_once(' ')?;
        starts.insert(queue, start);
    }
    let mut count = 0;
    for item in text(r#""msgOffsetInfo":""#)?.split(';') {
        let (source, offsets) = item.rsplit_once(' ')?;
        let (retry, queue) = source.split_once(' ')?;
        let start = starts.get(source)?;
        // A message that came again is in another topic; in a measured run none does.
        (retry == "0").then_some(())?;
        for offset in offsets.split(',') {
            request(
                out,
                ACK_MESSAGE,
                format_args!(
                    concat!(
                        r#""bname":"broker-a","consumerGroup":"{group}","extraInfo":"{start} {pop_time} 60000 {revive} 0 broker-a {queue} {offset}","#,
                        r#""offset":"{offset}","queueId":"{queue}","topic":"{topic}""#
                    ),
                    group = GROUP,
                    start = start,
                    pop_time = pop_time,
                    revive = revive,
                    queue = queue,
                    offset = offset,
                    topic = TOPIC,
                ),
            );
            count += 1;
        }
    }
    Some(count)
}

fn goals(report: &Report) -> Vec<Goal> {
    goals::times_apache(report, "pop and acknowledge", POP, 5.0).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use bolide_wire::header::pop::{AckMessage, PopMessage};
    use bolide_wire::pop::Handle;
    use bytes::BytesMut;

    use super::*;

    #[test]
    fn a_pop_is_a_request_that_the_codec_reads() {
        let mut frame = Vec::new();
        pop(&mut frame);
        let command = bolide_wire::decode(&mut BytesMut::from(&frame[..]), usize::MAX).unwrap().unwrap();
        let header = PopMessage::decode(&command.ext).unwrap();
        assert_eq!((header.max_msg_nums, header.queue_id, header.order), (32, -1, false));
    }

    #[test]
    fn every_message_of_a_pop_is_acknowledged_by_its_handle() {
        let header = br#"{"code":0,"extFields":{"popTime":"1700","reviveQid":"3","startOffsetInfo":"0 1 10;0 2 20","msgOffsetInfo":"0 1 10,12;0 2 20"}}"#;
        let mut frames = Vec::new();
        assert_eq!(acknowledge(header, &mut frames), Some(3));
        let mut frames = BytesMut::from(&frames[..]);
        let mut acked = Vec::new();
        while let Some(command) = bolide_wire::decode(&mut frames, usize::MAX).unwrap() {
            let ack = AckMessage::decode(&command.ext).unwrap();
            let handle = Handle::parse(&ack.extra_info).unwrap();
            assert_eq!(handle.offset.map(|offset| offset.0), Some(ack.offset));
            acked.push((ack.queue_id, handle.start.0, ack.offset));
        }
        assert_eq!(acked, [(1, 10, 10), (1, 10, 12), (2, 20, 20)]);
    }
}
