//! `bolide produce`: send messages from arguments, a file or standard input.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use bolide_client::{Message, Producer, ProducerConfig, Sent};
use bytes::Bytes;
use serde::Serialize;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::task::JoinSet;

use crate::args::{Connect, Print, duration};
use crate::output::{self, Format};

/// Sends in flight: enough for a fast pipe, few enough to stop soon after an error.
const IN_FLIGHT: usize = 256;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  bolide produce orders --body hello --tag new --key 4711
  seq 1000 | bolide produce orders
  bolide produce orders --file picture.png
  bolide produce orders --body later --delay-level 2")]
pub(crate) struct ProduceArgs {
    /// Topic to send to
    topic: String,
    /// Body of the message; without it, and without --file, each line of standard input is one message
    #[arg(short, long)]
    body: Option<String>,
    /// Send a whole file as one message
    #[arg(short, long, value_name = "FILE", conflicts_with = "body")]
    file: Option<PathBuf>,
    /// Send the message this many times; by default once, with --every until the command is stopped
    #[arg(short, long, value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Wait this long after each message
    #[arg(long, value_name = "TIME", value_parser = duration)]
    every: Option<Duration>,
    /// Tag, for consumers that filter
    #[arg(short, long)]
    tag: Option<String>,
    /// Key, for finding the message later; may be given several times
    #[arg(short, long)]
    key: Vec<String>,
    /// Property; may be given several times
    #[arg(short, long, value_name = "NAME=VALUE", value_parser = property)]
    property: Vec<(String, String)>,
    /// Deliver later: level 1 to 18 (1s 5s 10s 30s 1m 2m ... 10m 20m 30m 1h 2h)
    #[arg(long, value_name = "LEVEL", value_parser = clap::value_parser!(u8).range(1..=18))]
    delay_level: Option<u8>,
    #[command(flatten)]
    connect: Connect,
    #[command(flatten)]
    print: Print,
}

fn property(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() && !value.is_empty() => {
            Ok((name.to_owned(), value.to_owned()))
        }
        _ => Err("expected NAME=VALUE".to_owned()),
    }
}

impl ProduceArgs {
    fn message(&self, body: Bytes) -> Message {
        let mut message = Message::new(&self.topic, body);
        message.tag.clone_from(&self.tag);
        message.keys.clone_from(&self.key);
        message.delay_level = self.delay_level;
        message.properties = self.property.iter().cloned().collect::<BTreeMap<_, _>>();
        message
    }
}

#[derive(Debug, Serialize)]
struct Shown {
    message_id: String,
    broker: String,
    queue: i32,
    offset: i64,
}

/// What has been sent so far; prints as it goes in JSON, a sum at the end for people.
struct Report {
    format: Format,
    sent: u64,
    last: Option<Sent>,
}

impl Report {
    fn add(&mut self, sent: Sent) -> anyhow::Result<()> {
        if self.format == Format::Json {
            output::print_line(&Shown {
                message_id: sent.message_id.clone(),
                broker: sent.broker.clone(),
                queue: sent.queue,
                offset: sent.offset,
            })?;
        }
        self.sent += 1;
        self.last = Some(sent);
        Ok(())
    }
}

pub(crate) async fn run(args: ProduceArgs) -> anyhow::Result<()> {
    let config = ProducerConfig { timeout: args.connect.timeout, ..ProducerConfig::default() };
    let producer = Producer::new(&args.connect.namesrv, config)?;
    let mut report = Report { format: args.print.output, sent: 0, last: None };
    let outcome = match (&args.body, &args.file) {
        (Some(body), _) => {
            repeat(&producer, &args, Bytes::from(body.clone().into_bytes()), &mut report).await
        }
        (None, Some(file)) => {
            let body =
                tokio::fs::read(file).await.with_context(|| format!("cannot read {}", file.display()))?;
            repeat(&producer, &args, body.into(), &mut report).await
        }
        (None, None) => lines(&producer, &args, &mut report).await,
    };
    if report.format == Format::Table {
        match &report.last {
            Some(last) if report.sent == 1 => output::write(&format!(
                "sent {} to {} queue {} offset {}\n",
                last.message_id, last.broker, last.queue, last.offset
            ))?,
            _ => output::write(&format!("sent {} messages to {}\n", report.sent, args.topic))?,
        }
    }
    outcome
}

async fn repeat(
    producer: &Producer,
    args: &ProduceArgs,
    body: Bytes,
    report: &mut Report,
) -> anyhow::Result<()> {
    let mut flying = JoinSet::new();
    let count = args.count.unwrap_or(if args.every.is_some() { u64::MAX } else { 1 });
    for _ in 0..count {
        send(producer, args.message(body.clone()), &mut flying, report).await?;
        if let Some(pause) = args.every {
            finish(&mut flying, report).await?;
            tokio::time::sleep(pause).await;
        }
    }
    finish(&mut flying, report).await
}

async fn lines(producer: &Producer, args: &ProduceArgs, report: &mut Report) -> anyhow::Result<()> {
    if args.count.is_some() || args.every.is_some() {
        return Err(crate::failure::usage("--count and --every go with --body or --file"));
    }
    let mut input = BufReader::new(tokio::io::stdin()).lines();
    let mut flying = JoinSet::new();
    while let Some(line) = input.next_line().await.context("cannot read standard input")? {
        if !line.is_empty() {
            send(producer, args.message(line.into_bytes().into()), &mut flying, report).await?;
        }
    }
    finish(&mut flying, report).await
}

type Flying = JoinSet<Result<Sent, bolide_client::ClientError>>;

async fn send(
    producer: &Producer,
    message: Message,
    flying: &mut Flying,
    report: &mut Report,
) -> anyhow::Result<()> {
    if flying.len() >= IN_FLIGHT
        && let Some(done) = flying.join_next().await
    {
        report.add(done.context("a send was interrupted")??)?;
    }
    let producer = producer.clone();
    flying.spawn(async move { producer.send(&message).await });
    Ok(())
}

async fn finish(flying: &mut Flying, report: &mut Report) -> anyhow::Result<()> {
    while let Some(done) = flying.join_next().await {
        report.add(done.context("a send was interrupted")??)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_property_is_name_and_value() {
        assert_eq!(property("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert!(property("a").is_err());
        assert!(property("=b").is_err());
        assert!(property("a=").is_err());
    }
}
