//! `bolide consume`: read a topic, alone or as a member of a consumer group.

use std::collections::BTreeMap;
use std::time::Duration;

use bolide_client::{GroupConsumer, GroupConsumerConfig, Puller, Received, StartAt};
use serde::Serialize;

use crate::args::{Connect, Print, duration};
use crate::group::{Position, position};
use crate::output::{self, Format};
use crate::time;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Without --group the topic is read from --from up to its present end, and nothing is remembered.
With --group the command is a member of the group: it shares the queues with the other members and remembers what it read.

Examples:
  bolide consume orders
  bolide consume orders --follow --from end
  bolide consume orders --group billing --count 100 -o json"
)]
pub(crate) struct ConsumeArgs {
    /// Topic to read
    topic: String,
    /// Join this consumer group
    #[arg(short, long)]
    group: Option<String>,
    /// Where to begin: `start`, `end`, a time (2026-11-23T10:00:00Z) or how long ago (-1h); in a group only if it is new
    #[arg(long, value_name = "WHERE", default_value = "start", allow_hyphen_values = true, value_parser = position)]
    from: Position,
    /// Only messages with one of these tags: `a || b`
    #[arg(short, long, default_value = "*", value_name = "TAGS")]
    tag: String,
    /// Stop after this many messages
    #[arg(short, long, value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Wait for more messages at the end
    #[arg(long)]
    follow: bool,
    /// In a group without --follow: stop when nothing has come for this long
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = duration)]
    idle: Duration,
    #[command(flatten)]
    connect: Connect,
    #[command(flatten)]
    print: Print,
}

#[derive(Debug, Serialize)]
struct Shown<'a> {
    topic: &'a str,
    broker: &'a str,
    queue: i32,
    offset: i64,
    message_id: &'a str,
    stored: Option<String>,
    tag: Option<&'a str>,
    keys: Option<&'a str>,
    properties: &'a BTreeMap<String, String>,
    /// The body when it is UTF-8.
    body: Option<&'a str>,
    /// The body in hexadecimal when it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    body_hex: Option<String>,
}

fn print(format: Format, message: &Received) -> anyhow::Result<()> {
    let body = std::str::from_utf8(&message.body).ok();
    let property = |name: &str| message.properties.get(name).map(String::as_str);
    match format {
        Format::Json => output::print_line(&Shown {
            topic: &message.topic,
            broker: &message.broker,
            queue: message.queue,
            offset: message.offset,
            message_id: &message.message_id,
            stored: time::shown(message.stored_ms),
            tag: property("TAGS"),
            keys: property("KEYS"),
            properties: &message.properties,
            body,
            body_hex: body.is_none().then(|| hex(&message.body)),
        })?,
        Format::Table => match body {
            Some(body) => output::write(&format!("{body}\n"))?,
            None => output::write(&format!("({} bytes that are not text)\n", message.body.len()))?,
        },
    }
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) async fn run(args: ConsumeArgs) -> anyhow::Result<()> {
    let start = match args.from {
        Position::Start => StartAt::Earliest,
        Position::End => StartAt::Latest,
        Position::Time(ms) => StartAt::Time(ms),
    };
    match &args.group {
        Some(group) => member(&args, group, start).await,
        None => alone(&args, start).await,
    }
}

async fn alone(args: &ConsumeArgs, start: StartAt) -> anyhow::Result<()> {
    let puller = Puller::new(&args.connect.namesrv, args.connect.timeout)?;
    let mut reader = puller.read(&args.topic, &args.tag, start, args.follow).await?;
    let mut left = args.count.unwrap_or(u64::MAX);
    let interrupted = tokio::signal::ctrl_c();
    tokio::pin!(interrupted);
    while left > 0 {
        let message = tokio::select! {
            message = reader.next() => message?,
            _ = &mut interrupted => break,
        };
        let Some(message) = message else { break };
        print(args.print.output, &message)?;
        left -= 1;
    }
    Ok(())
}

async fn member(args: &ConsumeArgs, group: &str, start: StartAt) -> anyhow::Result<()> {
    let config = GroupConsumerConfig {
        group: group.to_owned(),
        topic: args.topic.clone(),
        tags: args.tag.clone(),
        start,
        timeout: args.connect.timeout,
    };
    let mut consumer = GroupConsumer::join(&args.connect.namesrv, config).await?;
    let mut left = args.count.unwrap_or(u64::MAX);
    let interrupted = tokio::signal::ctrl_c();
    tokio::pin!(interrupted);
    let mut failed = None;
    while left > 0 {
        let idle = async {
            if args.follow {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(args.idle).await;
        };
        let message = tokio::select! {
            message = consumer.next() => message,
            () = idle => break,
            _ = &mut interrupted => break,
        };
        let Some(message) = message else { break };
        if let Err(error) = print(args.print.output, &message) {
            failed = Some(error);
            break;
        }
        consumer.done(&message);
        left -= 1;
    }
    consumer.leave().await?;
    failed.map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_shown_in_hexadecimal() {
        assert_eq!(hex(&[0, 255, 16]), "00ff10");
    }
}
