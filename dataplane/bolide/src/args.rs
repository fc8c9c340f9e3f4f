//! The command line: what `bolide --help` says, and which module each command goes to.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};

use crate::output::Format;
use crate::{
    bench, consume, group, group_state, lag, produce, request_codes, server, status, switchover, topic, up,
};

/// Messaging that speaks the Apache RocketMQ protocol: a local cluster, the servers, and the commands beside them.
#[derive(Debug, Parser)]
#[command(
    version,
    propagate_version = true,
    max_term_width = 110,
    after_help = "Start here:
  bolide up -f manifests/samples/quickstart.yaml     a cluster on this machine; leave it running
  echo hello | bolide produce greetings              send a line
  bolide consume greetings                           read it back

Client commands find the cluster through NAMESRV_ADDR or --namesrv (default 127.0.0.1:9876).
Exit codes: 0 done; 1 failed; 2 wrong arguments, manifest or configuration; 3 nothing answered at the address."
)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a cluster on this machine from the same YAML that Kubernetes gets
    Up(up::UpArgs),
    /// Run one nameserver
    Nameserver(server::ServerArgs),
    /// Run one broker
    Broker(server::BrokerArgs),
    /// Show the brokers of the cluster
    Status(status::StatusArgs),
    /// Let another replica of a broker group lead
    Switchover(switchover::SwitchoverArgs),
    /// Show what decides who leads a broker group; overrule it in an emergency
    #[command(subcommand)]
    GroupState(group_state::GroupStateCommand),
    /// List, make, show and delete topics
    #[command(subcommand)]
    Topic(topic::TopicCommand),
    /// List, show, reset and delete consumer groups
    #[command(subcommand)]
    Group(group::GroupCommand),
    /// Show how far consumer groups are behind
    Lag(lag::LagArgs),
    /// Send messages: from arguments, a file or standard input
    Produce(produce::ProduceArgs),
    /// Read messages
    Consume(consume::ConsumeArgs),
    /// Measure the cluster
    #[command(subcommand)]
    Bench(bench::BenchCommand),
    /// Print the table of request codes, for docs/request-codes.md
    #[command(hide = true)]
    RequestCodes,
}

impl Args {
    /// Runs the chosen command to its end.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        match self.command {
            Command::Up(args) => up::run(args),
            Command::Nameserver(args) => server::nameserver(&args),
            Command::Broker(args) => server::broker(&args),
            Command::Status(args) => client(status::run(args)),
            Command::Switchover(args) => client(switchover::run(args)),
            Command::GroupState(command) => client(group_state::run(command)),
            Command::Topic(command) => client(topic::run(command)),
            Command::Group(command) => client(group::run(command)),
            Command::Lag(args) => client(lag::run(args)),
            Command::Produce(args) => client(produce::run(args)),
            Command::Consume(args) => client(consume::run(args)),
            Command::Bench(command) => bench::run(command),
            Command::RequestCodes => request_codes::print(),
        }
    }
}

/// Runs a client command on one thread; more would only take processor time from the servers beside it.
fn client(command: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(command)
}

/// Where the cluster is, and how to print; part of every client command.
#[derive(Debug, clap::Args)]
pub(crate) struct Connect {
    /// Nameservers, separated by `;`
    #[arg(long, env = "NAMESRV_ADDR", default_value = "127.0.0.1:9876", value_name = "HOST:PORT")]
    pub(crate) namesrv: String,
    /// How long to wait for each connection and each answer
    #[arg(long, default_value = "5s", value_name = "TIME", value_parser = duration)]
    pub(crate) timeout: Duration,
}

/// How a command prints; flattened beside [`Connect`].
#[derive(Debug, clap::Args)]
pub(crate) struct Print {
    /// Print for people or for scripts
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub(crate) output: Format,
}

/// A length of time as a person writes it: `10s`, `1m30s`, `250ms`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let span: jiff::SignedDuration =
        text.parse().map_err(|_| format!("{text} is not a length of time such as 10s, 1m30s or 250ms"))?;
    Duration::try_from(span).map_err(|_| "a length of time cannot be negative".to_owned())
}

/// An existing file or folder.
pub(crate) fn existing(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    if path.exists() { Ok(path) } else { Err("there is no such file or folder".to_owned()) }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn lengths_of_time_are_read() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("1m30s"), Ok(Duration::from_secs(90)));
        assert!(duration("-1s").is_err());
        assert!(duration("soon").is_err());
    }
}
