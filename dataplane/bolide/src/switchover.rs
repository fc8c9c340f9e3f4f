//! `bolide switchover`: another replica of a broker group leads, without a failed send.

use anyhow::Context;
use bolide_api::broker_set::broker_name;
use bolide_client::Admin;
use serde::Serialize;

use crate::args::{Connect, Print};
use crate::failure::usage;
use crate::output;

/// Broker id of a master.
const MASTER: i64 = 0;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  bolide switchover ha 0          the best prepared slave of broker group 0 leads
  bolide switchover ha 0 1        its replica 1 leads
  bolide switchover ha ha-broker-0 ha-broker-0-1

Sends wait meanwhile, less than a second; none fails.")]
pub(crate) struct SwitchoverArgs {
    /// Name of the cluster: of its BrokerSet
    set: String,
    /// Number of the broker group, or its broker's name
    group: String,
    /// Number or name of the replica that shall lead
    replica: Option<String>,
    #[command(flatten)]
    connect: Connect,
    #[command(flatten)]
    print: Print,
}

/// What was done.
#[derive(Debug, Serialize)]
struct Done {
    broker: String,
    /// Name of the replica that leads now.
    master: String,
}

pub(crate) async fn run(args: SwitchoverArgs) -> anyhow::Result<()> {
    let broker = match args.group.parse() {
        Ok(number) => broker_name(&args.set, number),
        Err(_) => args.group.clone(),
    };
    let replica = args.replica.as_ref().map(|replica| match replica.parse::<u32>() {
        Ok(number) => format!("{broker}-{number}"),
        Err(_) => replica.clone(),
    });
    let admin = Admin::new(&args.connect.namesrv, args.connect.timeout)?;
    let info = admin.cluster_info().await?;
    let data = info
        .broker_addr_table
        .get(&broker)
        .filter(|data| data.cluster == args.set)
        .ok_or_else(|| usage(format!("cluster {} has no broker group {}", args.set, args.group)))?;
    let address = data.broker_addrs.get(&MASTER).with_context(|| format!("nobody leads {broker} now"))?;
    let master = admin.switchover(address, replica.as_deref()).await?;
    output::print(args.print.output, &Done { broker, master }, |done| {
        format!("{} is led by {}\n", done.broker, done.master)
    })?;
    Ok(())
}
