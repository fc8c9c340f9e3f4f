//! `bolide nameserver` and `bolide broker`: one process by hand, or as a child of `bolide up`.

use std::fmt::Display;
use std::io::Read;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bolide_broker::{BrokerConfig, Environment};
use bolide_election::{GroupLease, RoleService};
use bolide_nameserver::NameserverConfig;
use serde::de::DeserializeOwned;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::failure::usage;
use crate::kubernetes::{Addresses, LeaseState};
use crate::yaml;

/// How long a process may take to end after its parent is gone, before it ends itself the hard way.
const ORPHAN_STOP_WITHIN: Duration = Duration::from_secs(20);

#[derive(Debug, clap::Args)]
pub(crate) struct ServerArgs {
    /// Configuration in YAML; an unknown key is refused
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Write the log as one JSON object a line, as in pods
    #[arg(long, env = "BOLIDE_LOG_JSON")]
    log_json: bool,
    /// End when standard input ends: `bolide up` holds the other end of it
    #[arg(long, hide = true)]
    stop_with_parent: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct BrokerArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// In Kubernetes: the Service that this broker points at its own pod as master of its group
    #[arg(long, value_name = "SERVICE", requires_all = ["pod", "namespace"])]
    group_service: Option<String>,
    /// In Kubernetes: the Lease with the state of this broker's group, when that has several replicas
    #[arg(long, value_name = "LEASE", requires_all = ["group_service", "pod", "namespace"])]
    group_lease: Option<String>,
    /// In Kubernetes: the Service of a slave; repeated, by broker id from 1
    #[arg(long, value_name = "SERVICE", requires = "group_lease")]
    slave_service: Vec<String>,
    /// Name of the pod
    #[arg(long, env = "POD_NAME", value_name = "NAME")]
    pod: Option<String>,
    /// Namespace of the pod
    #[arg(long, env = "POD_NAMESPACE", value_name = "NAMESPACE")]
    namespace: Option<String>,
}

/// Runs a nameserver until SIGTERM or Ctrl-C.
pub(crate) fn nameserver(args: &ServerArgs) -> anyhow::Result<()> {
    let config: NameserverConfig = read(args)?;
    check(args, config.check())?;
    serve(args, async |shutdown| Ok(bolide_nameserver::run(config, shutdown).await?))
}

/// Runs a broker until SIGTERM or Ctrl-C.
pub(crate) fn broker(args: &BrokerArgs) -> anyhow::Result<()> {
    let mut config: BrokerConfig = read(&args.server)?;
    if config.replicated() && config.replica_name.is_empty() {
        // one file serves all pods of a group
        config.replica_name = args.pod.clone().unwrap_or_default();
    }
    check(&args.server, config.check())?;
    let mut environment = Environment { listeners: inherited_listeners()?, ..Environment::default() };
    let pod = args.group_service.clone().zip(args.pod.clone()).zip(args.namespace.clone());
    serve(&args.server, async |shutdown| {
        let Some(((service, pod), namespace)) = pod else {
            return Ok(bolide_broker::run(config, environment, shutdown).await?);
        };
        if let Some(lease) = args.group_lease.as_ref().filter(|_| config.replicated()) {
            let lease = GroupLease::connect(&namespace, lease).await?;
            environment.group_state = Some(Arc::new(LeaseState(lease)));
            let addresses = Addresses::connect(&namespace, &service, &args.slave_service, &pod).await?;
            let serving = environment.serving.subscribe();
            let following = tokio::spawn({
                let shutdown = shutdown.clone();
                async move { addresses.follow(serving, shutdown).await }
            });
            let result = bolide_broker::run(config, environment, shutdown).await;
            following.abort();
            return Ok(result?);
        }
        let role = RoleService::connect(&namespace, &service, &pod).await?;
        tokio::select! {
            result = bolide_broker::run(config, environment, shutdown.clone()) => Ok(result?),
            // only a later claim ends the hold: another process leads the group, so this one must not
            Err(lost) = role.hold(None, &shutdown) => Err(lost.into()),
        }
    })
}

/// The listening sockets that a supervisor handed to this process (`LISTEN_FDS`), in its order.
fn inherited_listeners() -> anyhow::Result<Vec<TcpListener>> {
    let mut handed = listenfd::ListenFd::from_env();
    let mut listeners = Vec::with_capacity(handed.len());
    for index in 0..handed.len() {
        let listener = handed.take_tcp_listener(index);
        let listener =
            listener.with_context(|| format!("socket {index} of LISTEN_FDS is no TCP listener"))?;
        listeners.extend(listener);
    }
    Ok(listeners)
}

fn read<T: DeserializeOwned>(args: &ServerArgs) -> anyhow::Result<T> {
    yaml::from_file(&args.config).map_err(|error| usage(error.to_string()))
}

fn check<E: Display>(args: &ServerArgs, checked: Result<(), E>) -> anyhow::Result<()> {
    checked.map_err(|error| usage(format!("{}: {error}", args.config.display())))?;
    Ok(())
}

fn serve(
    args: &ServerArgs,
    server: impl AsyncFnOnce(CancellationToken) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    bolide_telemetry::init_logging(args.log_json)?;
    let shutdown = CancellationToken::new();
    if args.stop_with_parent {
        watch_parent(shutdown.clone())?;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("bolide").build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
        let asked = async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            shutdown.cancel();
            // a second signal changes nothing: the server is on its way out
            std::future::pending::<()>().await;
        };
        tokio::select! {
            result = server(shutdown.clone()) => result,
            () = asked => Ok(()),
        }
    })
}

/// Cancels `shutdown` when standard input ends, that is when the parent is gone; a process that does not end then is ended.
fn watch_parent(shutdown: CancellationToken) -> std::io::Result<()> {
    std::thread::Builder::new().name("parent-watch".to_owned()).spawn(move || {
        let mut buffer = [0; 64];
        let mut input = std::io::stdin().lock();
        loop {
            match input.read(&mut buffer) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        tracing::info!("the parent process has ended, so this one ends too");
        shutdown.cancel();
        std::thread::sleep(ORPHAN_STOP_WITHIN);
        std::process::exit(1);
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operator_knows_the_hot_settings_of_the_broker_and_their_defaults() {
        let defaults = serde_json::to_value(BrokerConfig::default()).expect("settings are JSON");
        let told: Vec<&str> = bolide_api::broker_settings::HOT.iter().map(|(key, _)| *key).collect();
        assert_eq!(told, bolide_broker::config::hot::HOT_KEYS);
        for (key, default) in bolide_api::broker_settings::HOT {
            assert_eq!(serde_json::to_value(default).ok().as_ref(), defaults.get(*key), "{key}");
        }
    }
}
