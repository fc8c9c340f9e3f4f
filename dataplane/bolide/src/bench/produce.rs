//! `bolide bench produce`: a closed loop of sends over several connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use bolide_client::{Message, Producer, ProducerConfig};
use bytes::Bytes;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::report::{Counts, finish};
use crate::args::{Connect, Print, duration};

#[derive(Debug, clap::Args)]
pub(crate) struct ProduceArgs {
    /// Topic to send to
    #[arg(long, default_value = "bench")]
    topic: String,
    /// Bytes of each body
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=4_194_304))]
    size: u32,
    /// Connections to each broker
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=1024))]
    connections: u16,
    /// Sends in flight on each connection
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=4096))]
    in_flight: u16,
    /// How long
    #[arg(long, default_value = "10s", value_name = "TIME", value_parser = duration)]
    duration: Duration,
    /// Stop after this many messages
    #[arg(long)]
    count: Option<u64>,
    #[command(flatten)]
    connect: Connect,
    #[command(flatten)]
    print: Print,
}

pub(crate) async fn run(args: ProduceArgs) -> anyhow::Result<()> {
    let size = usize::try_from(args.size).context("a body of that size does not fit into memory")?;
    let body = Bytes::from(vec![b'x'; size]);
    let message = Arc::new(Message::new(&args.topic, body));
    let config = ProducerConfig { timeout: args.connect.timeout, retries: 0, ..ProducerConfig::default() };
    let mut producers = Vec::new();
    for _ in 0..args.connections {
        let producer = Producer::new(&args.connect.namesrv, config.clone())?;
        // the first send finds the route, makes the topic where that is allowed, and tells early what is wrong
        producer.send(&message).await?;
        producers.push(producer);
    }
    let counts = Counts::new()?;
    let stop = CancellationToken::new();
    let left = Arc::new(AtomicU64::new(args.count.unwrap_or(u64::MAX)));
    let mut workers = JoinSet::new();
    for producer in producers {
        for _ in 0..args.in_flight {
            let (producer, message, counts) = (producer.clone(), message.clone(), counts.clone());
            let (stop, left) = (stop.clone(), left.clone());
            workers.spawn(async move {
                while !stop.is_cancelled() && take(&left) {
                    let begun = Instant::now();
                    match producer.send(&message).await {
                        Ok(_) => counts.done(1, message.body.len() as u64, begun.elapsed()),
                        Err(error) => {
                            counts.failed(&error);
                            // a cluster that refuses is not asked again at once
                            tokio::time::sleep(Duration::from_millis(100)).await;
                        }
                    }
                }
            });
        }
    }
    let progress = tokio::spawn(counts.clone().progress());
    let all = async { while workers.join_next().await.is_some() {} };
    tokio::select! {
        () = all => {}
        () = tokio::time::sleep(args.duration) => stop.cancel(),
        _ = tokio::signal::ctrl_c() => stop.cancel(),
    }
    let outcome = counts.outcome();
    progress.abort();
    while workers.join_next().await.is_some() {}
    finish(args.print.output, "sent", &outcome)
}

/// Takes one of the messages that are left to send.
fn take(left: &AtomicU64) -> bool {
    left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_taken_than_there_is() {
        let left = AtomicU64::new(2);
        assert_eq!([take(&left), take(&left), take(&left)], [true, true, false]);
    }
}
