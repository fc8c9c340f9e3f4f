//! The official clients and `mqadmin`, unchanged, against `bolide up`.
//!
//! What each client has to see is written once, in `e2e/clients/checks`, and was proved right against Apache RocketMQ 5.3.3
//! (`e2e/clients/selftest` without arguments). Here the same checks run against Bolide.

use std::process::Command;

use anyhow::ensure;
use bolide_e2e::{Client, Cluster, Mqadmin, Result, repository, skip};

/// The cluster that the checks want: topics and groups made on first use, every feature on, short intervals.
const MANIFEST: &str = include_str!("manifests/clients.yaml");

fn checks_pass(part: &str, only: &str) -> Result<()> {
    if !bolide_e2e::client::on_path("python3") {
        skip("the client checks need `python3`, which is not on PATH");
        return Ok(());
    }
    let cluster = Cluster::builder().manifest(MANIFEST).start()?;
    let status = Command::new(repository().join("e2e/clients/selftest"))
        .args(["--namesrv", cluster.namesrv(), "--cluster", "clients", "--part", part, "--only", only])
        .status()?;
    ensure!(status.success(), "checks of {part} {only} failed: {status}");
    cluster.stop()
}

#[test]
fn java_5_client_passes_every_check() -> Result<()> {
    if Client::Java5.find().is_none() {
        return Ok(());
    }
    checks_pass("java", "java5")
}

#[test]
fn java_4_client_passes_every_check() -> Result<()> {
    if Client::Java4.find().is_none() {
        return Ok(());
    }
    checks_pass("java", "java4")
}

#[test]
fn go_client_passes_every_check() -> Result<()> {
    if Client::Go.find().is_none() {
        return Ok(());
    }
    checks_pass("go", "")
}

#[test]
fn node_client_passes_every_check() -> Result<()> {
    if Client::Node.find().is_none() {
        return Ok(());
    }
    checks_pass("node", "")
}

/// A part that the Java clients alone can run: 5.3.3 with every check, 4.9 with those it can do.
fn java_clients_pass(part: &str) -> Result<()> {
    if Client::Java5.find().is_none() || Client::Java4.find().is_none() {
        return Ok(());
    }
    checks_pass(part, "")
}

#[test]
fn filters_requests_and_traces_work() -> Result<()> {
    java_clients_pass("query")
}

#[test]
fn timers_and_recalls_work() -> Result<()> {
    if Client::Java5.find().is_none() {
        return Ok(());
    }
    checks_pass("timers", "")
}

#[test]
fn transactions_work() -> Result<()> {
    java_clients_pass("transactions")
}

#[test]
fn pop_consumers_share_and_get_again_what_is_not_acknowledged() -> Result<()> {
    if Client::Java5.find().is_none() || Mqadmin::find().is_none() {
        return Ok(());
    }
    checks_pass("pop", "")
}

#[test]
fn mqadmin_commands_work() -> Result<()> {
    if Client::Java5.find().is_none() || Mqadmin::find().is_none() {
        return Ok(());
    }
    checks_pass("java", "mqadmin")?;
    checks_pass("mqadmin", "")
}
