//! The command line.

use std::net::SocketAddr;

/// Reconciles BrokerSets, Topics and ConsumerGroups.
#[derive(Debug, clap::Parser)]
#[command(name = "bolide-operator", version, about)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Run the operator
    Run(RunArgs),
    /// Print the custom resource definitions, or write them into a folder
    Crd {
        /// Folder to write one file per kind into
        #[arg(long, value_name = "FOLDER")]
        out: Option<std::path::PathBuf>,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct RunArgs {
    /// Image of clusters that name none: the one that holds `bolide`
    #[arg(long, env = "BOLIDE_IMAGE", value_name = "IMAGE")]
    pub(crate) image: String,
    /// Look after this namespace only; without it, after all
    #[arg(long, env = "WATCH_NAMESPACE", value_name = "NAMESPACE")]
    pub(crate) watch_namespace: Option<String>,
    /// Address for probes and metrics
    #[arg(long, default_value = "0.0.0.0:9090", value_name = "ADDRESS")]
    pub(crate) admin: SocketAddr,
    /// Namespace of the operator itself, where replicas elect their leader
    #[arg(long, env = "POD_NAMESPACE", default_value = "default", value_name = "NAMESPACE")]
    pub(crate) namespace: String,
    /// Name of this pod
    #[arg(long, env = "POD_NAME", value_name = "NAME")]
    pub(crate) pod: Option<String>,
    /// Write the log as one JSON object a line
    #[arg(long, env = "BOLIDE_LOG_JSON")]
    pub(crate) log_json: bool,
}
