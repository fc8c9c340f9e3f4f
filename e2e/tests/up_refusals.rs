//! What `bolide up` refuses: one line that says what to do, an exit code that is not 0, and nothing changed.

use std::net::TcpListener;
use std::path::Path;

use anyhow::ensure;
use bolide_e2e::cluster::run_bolide;
use bolide_e2e::{Cluster, Result, ports};

const SET: &str = "apiVersion: bolide.dev/v1alpha1
kind: BrokerSet
metadata: {name: demo}
spec: {nameservers: {replicas: 1}}
";

/// Runs `bolide up` on a manifest that must be refused; checks that it is one line, with these words, and that no folder is left.
fn refused(manifest: &str, port_base: u16, words: &[&str]) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("cluster.yaml");
    std::fs::write(&file, manifest)?;
    let data = dir.path().join("data");
    let (file, data_text, base) = (text(&file), text(&data), port_base.to_string());
    let output = run_bolide(&["up", "-f", &file, "--data", &data_text, "--port-base", &base], &[])?;
    ensure!(output.code != 0, "accepted: {manifest}");
    ensure!(output.stderr.lines().count() == 1, "more than one line: {}", output.stderr);
    for word in words {
        ensure!(output.stderr.contains(word), "{word} is not in: {}", output.stderr);
    }
    ensure!(!data.exists(), "the refused start left {}", data.display());
    Ok(())
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[test]
fn a_port_in_use_is_named() -> Result<()> {
    let block = ports::Block::take()?;
    let taken = block.base() + 100;
    let listener = TcpListener::bind(("127.0.0.1", taken))?;
    refused(SET, block.base(), &[&taken.to_string(), "--port-base"])?;
    drop(listener);
    Ok(())
}

#[test]
fn a_bad_field_is_named() -> Result<()> {
    let block = ports::Block::take()?;
    let bad = |from: &str, to: &str, words: &[&str]| refused(&SET.replace(from, to), block.base(), words);
    bad("nameservers", "nameserver", &["spec.nameserver: no such field"])?;
    bad("replicas: 1", "replicas: 0", &["spec.nameservers.replicas"])?;
    bad("spec: {", "spec: {replicas: 5, ", &["spec.replicas"])?;
    bad("spec: {", "spec: {brokerConfig: {maxMesageSize: 1}, ", &["maxMesageSize"])?;
    bad("spec: {", "spec: {brokerConfig: {listenPort: 1}, ", &["listenPort"])?;
    bad("kind: BrokerSet", "kind: BrokerSett", &["BrokerSett"])?;
    bad("spec: {", "spec: {{", &["cluster.yaml"])
}

#[test]
fn a_missing_file_is_named() -> Result<()> {
    let output = run_bolide(&["up", "-f", "/nowhere/cluster.yaml"], &[])?;
    ensure!(output.code == 2 && output.stderr.contains("/nowhere/cluster.yaml"), "{output:?}");
    Ok(())
}

#[test]
fn a_folder_held_by_another_instance_is_refused_and_that_one_goes_on() -> Result<()> {
    let cluster = Cluster::start()?;
    let block = ports::Block::take()?;
    let (file, data, base) = (text(&cluster.manifest()), text(&cluster.data()), block.base().to_string());
    let output = run_bolide(&["up", "-f", &file, "--data", &data, "--port-base", &base], &[])?;
    ensure!(output.code != 0 && output.stderr.lines().count() == 1, "{output:?}");
    ensure!(
        output.stderr.contains("in use by another `bolide up`") && output.stderr.contains("--data"),
        "{output:?}"
    );
    cluster.cli(&["produce", "orders", "--body", "still here"])?;
    cluster.stop()
}

#[test]
fn a_server_refuses_an_unknown_key_by_name() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("broker.yaml");
    std::fs::write(&file, "brokerName: a\nlistenPrt: 1\n")?;
    for server in ["broker", "nameserver"] {
        let output = run_bolide(&[server, "--config", &text(&file)], &[])?;
        ensure!(output.code == 2 && output.stderr.lines().count() == 1, "{output:?}");
    }
    let output = run_bolide(&["broker", "--config", &text(&file)], &[])?;
    ensure!(output.stderr.contains("listenPrt"), "{output:?}");
    Ok(())
}
