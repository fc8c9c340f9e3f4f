//! `bolide group`: list, describe, reset-offset, delete.

use std::collections::BTreeMap;

use anyhow::{Context, bail};
use bolide_client::{Admin, ConsumedQueue, ResetTo};
use serde::Serialize;

use crate::args::{Connect, Print};
use crate::output::{self, Table};
use crate::time;

/// Groups that every broker has for its own tools.
const SYSTEM_GROUPS: &[&str] =
    &["TOOLS_CONSUMER", "FILTERSRV_CONSUMER", "SELF_TEST_C_GROUP", "DEFAULT_CONSUMER", "SCHEDULE_CONSUMER"];

#[derive(Debug, clap::Subcommand)]
pub(crate) enum GroupCommand {
    /// List consumer groups with their members and how far they are behind
    List(ListArgs),
    /// Show the members of a group and its position in each queue
    Describe(DescribeArgs),
    /// Move a group to another position
    ResetOffset(ResetArgs),
    /// Delete a group and its positions
    Delete(DeleteArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct ListArgs {
    /// Also list groups that the system keeps for itself
    #[arg(short, long)]
    all: bool,
    #[command(flatten)]
    connect: Connect,
    #[command(flatten)]
    print: Print,
}

#[derive(Debug, clap::Args)]
pub(crate) struct DescribeArgs {
    /// Name of the group
    group: String,
    #[command(flatten)]
    connect: Connect,
    #[command(flatten)]
    print: Print,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ResetArgs {
    /// Name of the group
    group: String,
    /// Topic whose position is moved
    #[arg(long)]
    topic: String,
    /// `start`, `end`, a time (2026-11-23T10:00:00Z) or how long ago (-1h)
    #[arg(long, value_name = "WHERE", allow_hyphen_values = true, value_parser = position)]
    to: Position,
    #[command(flatten)]
    connect: Connect,
    #[command(flatten)]
    print: Print,
}

#[derive(Debug, clap::Args)]
pub(crate) struct DeleteArgs {
    /// Name of the group
    group: String,
    #[command(flatten)]
    connect: Connect,
    #[command(flatten)]
    print: Print,
}

/// A place in a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Position {
    Start,
    End,
    /// The first message stored at or after these milliseconds since 1970.
    Time(i64),
}

/// Reads a [`Position`].
pub(crate) fn position(text: &str) -> Result<Position, String> {
    match text {
        "start" | "earliest" => Ok(Position::Start),
        "end" | "latest" => Ok(Position::End),
        other => time::moment(other)
            .map(Position::Time)
            .map_err(|_| format!("{other} is none of start, end, 2026-11-23T10:00:00Z, -1h")),
    }
}

pub(crate) async fn run(command: GroupCommand) -> anyhow::Result<()> {
    match command {
        GroupCommand::List(args) => list(args).await,
        GroupCommand::Describe(args) => describe(args).await,
        GroupCommand::ResetOffset(args) => reset(args).await,
        GroupCommand::Delete(args) => delete(args).await,
    }
}

/// A group as `list` and `lag` show it.
#[derive(Debug, Serialize)]
pub(crate) struct Summary {
    pub(crate) group: String,
    pub(crate) members: usize,
    pub(crate) topics: Vec<String>,
    /// Messages not yet consumed.
    pub(crate) lag: i64,
    pub(crate) max_retries: i32,
    pub(crate) enabled: bool,
}

async fn list(args: ListArgs) -> anyhow::Result<()> {
    let admin = Admin::new(&args.connect.namesrv, args.connect.timeout)?;
    let groups = summaries(&admin, args.all).await?;
    output::print(args.print.output, &groups, |groups| {
        let mut table = Table::new(&["GROUP", "MEMBERS", "LAG", "RETRIES", "TOPICS"]);
        for group in groups {
            table.row([
                if group.enabled { group.group.clone() } else { format!("{} (paused)", group.group) },
                group.members.to_string(),
                group.lag.to_string(),
                group.max_retries.to_string(),
                group.topics.join(","),
            ]);
        }
        table.render()
    })?;
    Ok(())
}

async fn summaries(admin: &Admin, all: bool) -> anyhow::Result<Vec<Summary>> {
    let mut groups: BTreeMap<String, Summary> = BTreeMap::new();
    for master in admin.masters().await? {
        for config in admin.groups(&master.address).await? {
            let name = config.group_name.clone();
            if !all
                && (SYSTEM_GROUPS.contains(&name.as_str())
                    || name.starts_with("CID_ON")
                    || name.starts_with("CID_RMQ_SYS"))
            {
                continue;
            }
            let members = admin.consumer_connection(&master.address, &name).await?;
            let queues = admin.consume_stats(&master.address, &name, None).await?;
            let summary = groups.entry(name.clone()).or_insert_with(|| Summary {
                group: name,
                members: 0,
                topics: Vec::new(),
                lag: 0,
                max_retries: config.retry_max_times,
                enabled: config.consume_enable,
            });
            // each member is connected to every broker
            summary.members = summary.members.max(members.map_or(0, |members| members.connection_set.len()));
            for queue in queues {
                summary.lag = summary.lag.saturating_add(queue.lag());
                if !queue.topic.starts_with('%') && !summary.topics.contains(&queue.topic) {
                    summary.topics.push(queue.topic);
                }
            }
        }
    }
    Ok(groups.into_values().collect())
}

#[derive(Debug, Serialize)]
struct Described {
    group: String,
    model: Option<String>,
    members: Vec<Member>,
    queues: Vec<ShownQueue>,
}

#[derive(Debug, Serialize)]
struct Member {
    client: String,
    address: String,
    language: String,
    version: i32,
}

/// The position of a group in a queue.
#[derive(Debug, Serialize)]
pub(crate) struct ShownQueue {
    pub(crate) topic: String,
    pub(crate) broker: String,
    pub(crate) queue: i32,
    pub(crate) max_offset: i64,
    pub(crate) offset: i64,
    pub(crate) lag: i64,
    /// When the last consumed message was stored, RFC 3339.
    pub(crate) consumed_until: Option<String>,
}

impl From<ConsumedQueue> for ShownQueue {
    fn from(queue: ConsumedQueue) -> Self {
        Self {
            lag: queue.lag(),
            topic: queue.topic,
            broker: queue.broker,
            queue: queue.queue,
            max_offset: queue.broker_offset,
            offset: queue.consumer_offset,
            consumed_until: time::shown(queue.last_timestamp),
        }
    }
}

/// The positions of a group in all queues of all brokers, in order. An unknown group is an error.
pub(crate) async fn queues(
    admin: &Admin,
    group: &str,
    topic: Option<&str>,
) -> anyhow::Result<Vec<ShownQueue>> {
    let mut found = Vec::new();
    let mut known = false;
    for master in admin.masters().await? {
        if admin.group(&master.address, group).await?.is_none() {
            continue;
        }
        known = true;
        found.extend(
            admin.consume_stats(&master.address, group, topic).await?.into_iter().map(ShownQueue::from),
        );
    }
    if !known {
        bail!("there is no consumer group {group}; `bolide group list` shows them");
    }
    found.sort_by(|a, b| (&a.topic, &a.broker, a.queue).cmp(&(&b.topic, &b.broker, b.queue)));
    Ok(found)
}

pub(crate) fn queue_table(queues: &[ShownQueue]) -> String {
    let mut table = Table::new(&["TOPIC", "BROKER", "QUEUE", "MAX", "OFFSET", "LAG", "CONSUMED UNTIL"]);
    for queue in queues {
        table.row([
            queue.topic.clone(),
            queue.broker.clone(),
            queue.queue.to_string(),
            queue.max_offset.to_string(),
            queue.offset.to_string(),
            queue.lag.to_string(),
            queue.consumed_until.clone().unwrap_or_else(|| "-".to_owned()),
        ]);
    }
    table.render()
}

async fn describe(args: DescribeArgs) -> anyhow::Result<()> {
    let admin = Admin::new(&args.connect.namesrv, args.connect.timeout)?;
    let queues = queues(&admin, &args.group, None).await?;
    let mut described = Described { group: args.group, model: None, members: Vec::new(), queues };
    let mut members: BTreeMap<String, Member> = BTreeMap::new();
    for master in admin.masters().await? {
        let Some(online) = admin.consumer_connection(&master.address, &described.group).await? else {
            continue;
        };
        described.model = Some(online.message_model.as_str().to_owned());
        for connection in online.connection_set {
            members.entry(connection.client_id.clone()).or_insert_with(|| Member {
                client: connection.client_id,
                address: connection.client_addr,
                language: connection.language,
                version: connection.version,
            });
        }
    }
    described.members = members.into_values().collect();
    output::print(args.print.output, &described, |described| {
        let model = described.model.as_deref().unwrap_or("no member is connected");
        let mut text = format!("Group:    {}\nConsumes: {}\n", described.group, model.to_lowercase());
        if !described.members.is_empty() {
            let mut table = Table::new(&["MEMBER", "ADDRESS", "LANGUAGE", "VERSION"]);
            for member in &described.members {
                table.row([&member.client, &member.address, &member.language, &member.version.to_string()]);
            }
            text.push_str(&format!("\n{}", table.render()));
        }
        text.push_str(&format!("\n{}", queue_table(&described.queues)));
        text
    })?;
    Ok(())
}

#[derive(Debug, Serialize)]
struct Reset {
    topic: String,
    broker: String,
    queue: i32,
    offset: i64,
}

async fn reset(args: ResetArgs) -> anyhow::Result<()> {
    let admin = Admin::new(&args.connect.namesrv, args.connect.timeout)?;
    let route = admin.route_of(&args.topic).await?;
    let to = match args.to {
        Position::Start => ResetTo::Earliest,
        Position::End => ResetTo::Latest,
        Position::Time(ms) => ResetTo::Time(ms),
    };
    let mut moved = Vec::new();
    for (broker, address) in bolide_client::masters_of(&route) {
        let offsets = admin
            .reset_offset(&address, &args.group, &args.topic, to)
            .await
            .with_context(|| format!("broker {broker}"))?;
        for (queue, offset) in offsets {
            moved.push(Reset { topic: args.topic.clone(), broker: broker.clone(), queue, offset });
        }
    }
    moved.sort_by(|a, b| (&a.broker, a.queue).cmp(&(&b.broker, b.queue)));
    output::print(args.print.output, &moved, |moved| {
        let mut table = Table::new(&["TOPIC", "BROKER", "QUEUE", "OFFSET"]);
        for queue in moved {
            table.row([&queue.topic, &queue.broker, &queue.queue.to_string(), &queue.offset.to_string()]);
        }
        table.render()
    })?;
    Ok(())
}

#[derive(Debug, Serialize)]
struct Deleted {
    group: String,
    brokers: Vec<String>,
}

async fn delete(args: DeleteArgs) -> anyhow::Result<()> {
    let admin = Admin::new(&args.connect.namesrv, args.connect.timeout)?;
    let mut brokers = Vec::new();
    for master in admin.masters().await? {
        if admin.group(&master.address, &args.group).await?.is_some() {
            admin.delete_group(&master.address, &args.group, true).await?;
            brokers.push(master.broker);
        }
    }
    if brokers.is_empty() {
        bail!("there is no consumer group {}; `bolide group list` shows them", args.group);
    }
    output::print(args.print.output, &Deleted { group: args.group, brokers }, |deleted| {
        format!("group {} deleted from {}\n", deleted.group, deleted.brokers.join(", "))
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_read() {
        assert_eq!(position("start"), Ok(Position::Start));
        assert_eq!(position("latest"), Ok(Position::End));
        assert_eq!(position("1970-01-01T00:00:01Z"), Ok(Position::Time(1000)));
        assert!(position("middle").unwrap_err().contains("start, end"));
    }
}
