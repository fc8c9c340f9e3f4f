//! `bolide bench`: rates and latencies of sending and reading.

mod consume;
mod produce;
mod report;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum BenchCommand {
    /// Send as fast as the cluster takes it
    Produce(produce::ProduceArgs),
    /// Read a topic as fast as the cluster gives it
    Consume(consume::ConsumeArgs),
}

pub(crate) fn run(command: BenchCommand) -> anyhow::Result<()> {
    // measuring must not be slower than what is measured, so it gets all processors
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        match command {
            BenchCommand::Produce(args) => produce::run(args).await,
            BenchCommand::Consume(args) => consume::run(args).await,
        }
    })
}
