//! `bolide bench consume`: pulls of all queues of a topic, one loop for each queue.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bolide_client::{PullStatus, Puller, Queue};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::report::{Counts, finish};
use crate::args::{Connect, Print, duration};

#[derive(Debug, clap::Args)]
pub(crate) struct ConsumeArgs {
    /// Topic to read, from its start
    #[arg(long, default_value = "bench")]
    topic: String,
    /// Messages asked for in each pull
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=1024))]
    batch: u16,
    /// How long; reading ends earlier at the end of the topic, unless --again
    #[arg(long, default_value = "10s", value_name = "TIME", value_parser = duration)]
    duration: Duration,
    /// Begin again at the start when the end is reached
    #[arg(long)]
    again: bool,
    #[command(flatten)]
    connect: Connect,
    #[command(flatten)]
    print: Print,
}

pub(crate) async fn run(args: ConsumeArgs) -> anyhow::Result<()> {
    let puller = Puller::new(&args.connect.namesrv, args.connect.timeout)?;
    let queues = puller.queues(&args.topic).await?;
    let counts = Counts::new()?;
    let stop = CancellationToken::new();
    let reading = Arc::new(AtomicUsize::new(queues.len()));
    let mut workers = JoinSet::new();
    for queue in queues {
        // a connection for each queue, as consumers on many machines would have
        let puller = Puller::new(&args.connect.namesrv, args.connect.timeout)?;
        let (counts, stop, reading) = (counts.clone(), stop.clone(), reading.clone());
        let (batch, again) = (args.batch, args.again);
        workers.spawn(async move {
            if let Err(error) = drain(&puller, &queue, batch, again, &counts, &stop).await {
                counts.failed(&error);
            }
            if reading.fetch_sub(1, Ordering::Relaxed) == 1 {
                stop.cancel();
            }
        });
    }
    let progress = tokio::spawn(counts.clone().progress());
    tokio::select! {
        () = stop.cancelled() => {}
        () = tokio::time::sleep(args.duration) => stop.cancel(),
        _ = tokio::signal::ctrl_c() => stop.cancel(),
    }
    let outcome = counts.outcome();
    progress.abort();
    while workers.join_next().await.is_some() {}
    if counts.messages() == 0 && outcome.last_error.is_none() {
        anyhow::bail!(
            "topic {} is empty; fill it with `bolide bench produce --topic {}`",
            args.topic,
            args.topic
        );
    }
    finish(args.print.output, "read", &outcome)
}

async fn drain(
    puller: &Puller,
    queue: &Queue,
    batch: u16,
    again: bool,
    counts: &Counts,
    stop: &CancellationToken,
) -> Result<(), bolide_client::ClientError> {
    let mut offset = 0;
    while !stop.is_cancelled() {
        let begun = Instant::now();
        let pulled = puller.pull(queue, offset, batch, None, "*").await?;
        match pulled.status {
            PullStatus::Found => {
                let messages = u64::try_from(pulled.next.saturating_sub(offset)).unwrap_or_default();
                counts.done(messages, pulled.body.len() as u64, begun.elapsed());
                offset = pulled.next;
            }
            PullStatus::Moved | PullStatus::NoMatch => offset = pulled.next,
            PullStatus::NotFound if again && pulled.max > pulled.min => offset = pulled.min,
            PullStatus::NotFound => return Ok(()),
        }
    }
    Ok(())
}
