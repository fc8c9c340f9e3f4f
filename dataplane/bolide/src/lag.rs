//! `bolide lag`: how far consumer groups are behind.

use bolide_client::Admin;

use crate::args::{Connect, Print};
use crate::group;
use crate::output;

#[derive(Debug, clap::Args)]
pub(crate) struct LagArgs {
    /// Name of the group
    group: String,
    /// Only this topic
    #[arg(long)]
    topic: Option<String>,
    #[command(flatten)]
    connect: Connect,
    #[command(flatten)]
    print: Print,
}

pub(crate) async fn run(args: LagArgs) -> anyhow::Result<()> {
    let admin = Admin::new(&args.connect.namesrv, args.connect.timeout)?;
    let queues = group::queues(&admin, &args.group, args.topic.as_deref()).await?;
    output::print(args.print.output, &queues, |queues| {
        let total: i64 = queues.iter().map(|queue| queue.lag).sum();
        format!("{}\n{} messages behind\n", group::queue_table(queues), total)
    })?;
    Ok(())
}
