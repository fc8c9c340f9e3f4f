//! The operator: watches BrokerSets, Topics and ConsumerGroups, and makes Kubernetes and the brokers what they say.

#![forbid(unsafe_code)]

mod api_calls;
mod apply;
mod args;
mod broker_set;
mod brokers;
mod consumer_group;
mod context;
mod error;
mod events;
mod leader;
mod metrics;
mod run;
mod target;
mod topic;

#[cfg(test)]
mod fake_api;
#[cfg(test)]
mod test_bed;

use std::io::Write;

use anyhow::Context;
use clap::Parser;

use args::{Args, Command};

fn main() -> anyhow::Result<()> {
    match Args::parse().command {
        Command::Crd { out } => write_definitions(out.as_deref()),
        Command::Run(args) => {
            bolide_telemetry::init_logging(args.log_json)?;
            let runtime =
                tokio::runtime::Builder::new_multi_thread().enable_all().worker_threads(2).build()?;
            runtime.block_on(run::run(args))
        }
    }
}

fn write_definitions(folder: Option<&std::path::Path>) -> anyhow::Result<()> {
    for (file, definition) in bolide_api::crd::all() {
        let text = bolide_api::crd::to_yaml(&definition)?;
        match folder {
            Some(folder) => {
                let path = folder.join(file);
                std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
            }
            None => write!(std::io::stdout(), "---\n{text}")?,
        }
    }
    Ok(())
}
