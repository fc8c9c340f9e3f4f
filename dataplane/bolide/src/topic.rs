//! `bolide topic`: list, create, describe, delete.

use std::collections::BTreeMap;

use anyhow::Context;
use bolide_client::desired::order_change;
use bolide_client::{Admin, Master};
use bolide_wire::TopicName;
use bolide_wire::body::topic::TopicConfig;
use serde::Serialize;

use crate::args::{Connect, Print};
use crate::failure::usage;
use crate::output::{self, Table};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum TopicCommand {
    /// List topics
    List(ListArgs),
    /// Make a topic, or change the queues or permission of one
    Create(CreateArgs),
    /// Show the queues of a topic: offsets, messages, last write
    Describe(DescribeArgs),
    /// Delete a topic and its messages
    Delete(DeleteArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct ListArgs {
    /// Also list topics that the system keeps for itself, retry and dead letter topics
    #[arg(short, long)]
    all: bool,
    #[command(flatten)]
    connect: Connect,
    #[command(flatten)]
    print: Print,
}

#[derive(Debug, clap::Args)]
pub(crate) struct CreateArgs {
    /// Name: letters, digits, `_`, `-`, `%`, `|`; at most 127
    topic: String,
    /// Queues on each broker group
    #[arg(short, long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1024))]
    queues: u32,
    /// What clients may do
    #[arg(long, value_enum, default_value_t)]
    permission: Permission,
    /// What kind of messages it takes
    #[arg(long = "type", value_enum, default_value_t)]
    kind: Kind,
    /// Only on these broker groups
    #[arg(long, value_name = "NAME")]
    broker: Vec<String>,
    #[command(flatten)]
    connect: Connect,
    #[command(flatten)]
    print: Print,
}

#[derive(Debug, clap::Args)]
pub(crate) struct DescribeArgs {
    /// Name of the topic
    topic: String,
    #[command(flatten)]
    connect: Connect,
    #[command(flatten)]
    print: Print,
}

#[derive(Debug, clap::Args)]
pub(crate) struct DeleteArgs {
    /// Name of the topic
    topic: String,
    #[command(flatten)]
    connect: Connect,
    #[command(flatten)]
    print: Print,
}

#[derive(Clone, Copy, Debug, Default, clap::ValueEnum)]
enum Permission {
    #[default]
    ReadWrite,
    ReadOnly,
    WriteOnly,
    None,
}

impl Permission {
    fn bits(self) -> i32 {
        match self {
            Self::ReadWrite => 6,
            Self::ReadOnly => 4,
            Self::WriteOnly => 2,
            Self::None => 0,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, clap::ValueEnum)]
enum Kind {
    #[default]
    Normal,
    Ordered,
    Delay,
    Transaction,
}

impl Kind {
    fn message_type(self) -> &'static str {
        match self {
            Self::Normal => "NORMAL",
            Self::Ordered => "FIFO",
            Self::Delay => "DELAY",
            Self::Transaction => "TRANSACTION",
        }
    }
}

pub(crate) async fn run(command: TopicCommand) -> anyhow::Result<()> {
    match command {
        TopicCommand::List(args) => list(args).await,
        TopicCommand::Create(args) => create(args).await,
        TopicCommand::Describe(args) => describe(args).await,
        TopicCommand::Delete(args) => delete(args).await,
    }
}

#[derive(Debug, Serialize)]
struct Listed {
    topic: String,
    write_queues: i32,
    read_queues: i32,
    permission: String,
    #[serde(rename = "type")]
    kind: String,
    brokers: Vec<String>,
}

async fn list(args: ListArgs) -> anyhow::Result<()> {
    let admin = Admin::new(&args.connect.namesrv, args.connect.timeout)?;
    let masters = admin.masters().await?;
    let hidden = if args.all { Vec::new() } else { system_topics(&admin, &masters).await? };
    let mut topics: BTreeMap<String, Listed> = BTreeMap::new();
    for master in &masters {
        for config in admin.topics(&master.address).await? {
            let name = config.topic_name.clone();
            if hidden.contains(&name) || (!args.all && name.starts_with('%')) {
                continue;
            }
            let listed = topics.entry(name.clone()).or_insert_with(|| Listed {
                topic: name,
                write_queues: 0,
                read_queues: 0,
                permission: permission(config.perm),
                kind: config.attributes.get("message.type").cloned().unwrap_or_else(|| "NORMAL".to_owned()),
                brokers: Vec::new(),
            });
            listed.write_queues += config.write_queue_nums;
            listed.read_queues += config.read_queue_nums;
            listed.brokers.push(master.broker.clone());
        }
    }
    let topics: Vec<Listed> = topics.into_values().collect();
    output::print(args.print.output, &topics, |topics| {
        let mut table = Table::new(&["TOPIC", "QUEUES", "PERMISSION", "TYPE", "BROKERS"]);
        for topic in topics {
            table.row([
                topic.topic.clone(),
                topic.write_queues.to_string(),
                topic.permission.clone(),
                topic.kind.clone(),
                topic.brokers.join(","),
            ]);
        }
        table.render()
    })?;
    Ok(())
}

/// Names that brokers keep for themselves; a cluster and its brokers have topics of their names too.
async fn system_topics(admin: &Admin, masters: &[Master]) -> anyhow::Result<Vec<String>> {
    let mut names = Vec::new();
    for master in masters {
        let replies = format!("{}_REPLY_TOPIC", master.cluster);
        names.extend([master.cluster.clone(), master.broker.clone(), replies]);
        names.extend(admin.system_topics(&master.address).await?);
    }
    Ok(names)
}

pub(crate) fn permission(bits: i32) -> String {
    match bits & 6 {
        6 => "read-write",
        4 => "read-only",
        2 => "write-only",
        _ => "none",
    }
    .to_owned()
}

#[derive(Debug, Serialize)]
struct Created {
    topic: String,
    queues: u32,
    brokers: Vec<String>,
}

async fn create(args: CreateArgs) -> anyhow::Result<()> {
    let name = TopicName::new(&args.topic).map_err(|error| usage(error.to_string()))?;
    let admin = Admin::new(&args.connect.namesrv, args.connect.timeout)?;
    let masters = chosen(admin.masters().await?, &args.broker)?;
    let queues = i32::try_from(args.queues).context("too many queues")?;
    let mut config = TopicConfig::new(&name, queues);
    config.perm = args.permission.bits();
    config.order = matches!(args.kind, Kind::Ordered);
    config.attributes.insert("message.type".to_owned(), args.kind.message_type().to_owned());
    for master in &masters {
        admin
            .put_topic(&master.address, &config)
            .await
            .with_context(|| format!("broker {}", master.broker))?;
    }
    let brokers: Vec<String> = masters.into_iter().map(|master| master.broker).collect();
    // Clients of an ordered topic see all its queues even while a broker is away: the nameservers know their number.
    let order =
        brokers.iter().map(|broker| format!("{broker}:{}", args.queues)).collect::<Vec<_>>().join(";");
    tell_order(&admin, &args.topic, config.order.then_some(order.as_str())).await?;
    let created = Created { topic: args.topic, queues: args.queues, brokers };
    output::print(args.print.output, &created, |created| {
        format!("topic {}: {} queues on {}\n", created.topic, created.queues, created.brokers.join(", "))
    })?;
    Ok(())
}

/// Gives a topic the wanted order configuration on every nameserver, or takes it away.
pub(crate) async fn tell_order(admin: &Admin, topic: &str, wanted: Option<&str>) -> anyhow::Result<()> {
    for namesrv in admin.remote().nameservers() {
        let found = admin.order_of(namesrv, topic).await?;
        if let Some(change) = order_change(wanted, found.as_deref()) {
            admin.change_order(namesrv, topic, &change).await?;
        }
    }
    Ok(())
}

fn chosen(masters: Vec<Master>, names: &[String]) -> anyhow::Result<Vec<Master>> {
    if let Some(unknown) = names.iter().find(|name| masters.iter().all(|master| master.broker != **name)) {
        return Err(usage(format!("there is no broker group {unknown}; `bolide status` lists them")));
    }
    Ok(masters.into_iter().filter(|master| names.is_empty() || names.contains(&master.broker)).collect())
}

#[derive(Debug, Serialize)]
struct Described {
    topic: String,
    permission: String,
    /// The order configuration that the nameserver tells clients of an ordered topic.
    order: Option<String>,
    queues: Vec<DescribedQueue>,
    groups: Vec<String>,
}

#[derive(Debug, Serialize)]
struct DescribedQueue {
    broker: String,
    queue: i32,
    min_offset: i64,
    max_offset: i64,
    messages: i64,
    /// RFC 3339, or nothing when the queue is empty.
    last_write: Option<String>,
}

async fn describe(args: DescribeArgs) -> anyhow::Result<()> {
    let admin = Admin::new(&args.connect.namesrv, args.connect.timeout)?;
    let route = admin.route_of(&args.topic).await?;
    let mut described = Described {
        topic: args.topic.clone(),
        permission: String::new(),
        order: route.order_topic_conf.clone(),
        queues: Vec::new(),
        groups: Vec::new(),
    };
    if let Some(queues) = route.queue_datas.first() {
        described.permission = permission(queues.perm);
    }
    for (_, address) in bolide_client::masters_of(&route) {
        for stats in admin.topic_stats(&address, &args.topic).await? {
            described.queues.push(DescribedQueue {
                broker: stats.broker,
                queue: stats.queue,
                min_offset: stats.min_offset,
                max_offset: stats.max_offset,
                messages: stats.max_offset.saturating_sub(stats.min_offset),
                last_write: crate::time::shown(stats.last_update_timestamp),
            });
        }
        described.groups.extend(admin.consumers_of(&address, &args.topic).await?);
    }
    described.queues.sort_by(|a, b| (&a.broker, a.queue).cmp(&(&b.broker, b.queue)));
    described.groups.sort();
    described.groups.dedup();
    output::print(args.print.output, &described, |described| {
        let mut table = Table::new(&["BROKER", "QUEUE", "MIN", "MAX", "MESSAGES", "LAST WRITE"]);
        for queue in &described.queues {
            table.row([
                queue.broker.clone(),
                queue.queue.to_string(),
                queue.min_offset.to_string(),
                queue.max_offset.to_string(),
                queue.messages.to_string(),
                queue.last_write.clone().unwrap_or_else(|| "-".to_owned()),
            ]);
        }
        let groups =
            if described.groups.is_empty() { "none".to_owned() } else { described.groups.join(", ") };
        let order = described.order.as_ref().map(|order| format!("Order:       {order}\n"));
        format!(
            "Topic:       {}\nPermission:  {}\n{}Consumed by: {groups}\n\n{}",
            described.topic,
            described.permission,
            order.unwrap_or_default(),
            table.render()
        )
    })?;
    Ok(())
}

#[derive(Debug, Serialize)]
struct Deleted {
    topic: String,
    brokers: Vec<String>,
}

async fn delete(args: DeleteArgs) -> anyhow::Result<()> {
    let admin = Admin::new(&args.connect.namesrv, args.connect.timeout)?;
    let route = admin.route_of(&args.topic).await?;
    let mut brokers = Vec::new();
    for (broker, address) in bolide_client::masters_of(&route) {
        admin.delete_topic(&address, &args.topic).await.with_context(|| format!("broker {broker}"))?;
        brokers.push(broker);
    }
    admin.forget_topic(&args.topic, None).await?;
    tell_order(&admin, &args.topic, None).await?;
    output::print(args.print.output, &Deleted { topic: args.topic, brokers }, |deleted| {
        format!("topic {} deleted from {}\n", deleted.topic, deleted.brokers.join(", "))
    })?;
    Ok(())
}
