//! A Prometheus on this machine that scrapes the pods of a cluster.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{eventually, text};
use crate::client::on_path;
use crate::process::Process;
use crate::{Result, skip};

/// How long it may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// A running Prometheus. Dropping it ends it.
#[derive(Debug)]
pub struct Prometheus {
    address: SocketAddr,
    _process: Process,
    folder: TempDir,
}

impl Prometheus {
    /// Loads `rules` and scrapes nothing yet. `None`, after a sentence, when there is no `prometheus` here.
    ///
    /// # Errors
    /// It does not start.
    ///
    /// # Panics
    /// It is missing in CI.
    pub fn start(rules: &Path) -> Result<Option<Self>> {
        if !on_path("prometheus") {
            skip("metrics are not scraped: there is no `prometheus` on PATH");
            return Ok(None);
        }
        let folder = tempfile::tempdir().context("cannot make a folder")?;
        let config = folder.path().join("prometheus.yaml");
        let targets = folder.path().join("targets.json");
        std::fs::write(&targets, "[]").context("cannot write the targets")?;
        let (rules, file) = (text(rules)?, text(&targets)?);
        let settings = format!(
            "global: {{scrape_interval: 2s, evaluation_interval: 5s}}
rule_files: [{rules}]
scrape_configs:
  - job_name: pods
    file_sd_configs: [{{files: [{file}], refresh_interval: 1s}}]
"
        );
        std::fs::write(&config, settings).context("cannot write the settings")?;
        let address = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr())?;
        let mut command = Command::new("prometheus");
        command
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"));
        let process = Process::start("prometheus", &mut command)?;
        let prometheus = Self { address, _process: process, folder };
        eventually("Prometheus to answer", Duration::from_secs(30), || {
            prometheus.get("/api/v1/status/runtimeinfo")
        })?;
        Ok(Some(prometheus))
    }

    /// Scrapes the `admin` port of these pods, with the labels that the chart's pod monitors give. Debian's Prometheus is built
    /// without a Kubernetes client, so that it has to be told.
    ///
    /// # Errors
    /// The list cannot be written.
    pub fn scrape(&self, pods: &Value) -> Result<()> {
        let items = pods["items"].as_array().context("no list of pods")?;
        let targets: Vec<Value> = items
            .iter()
            .filter_map(|pod| {
                let (metadata, address) = (&pod["metadata"], pod["status"]["podIP"].as_str()?);
                let labels = json!({
                    "namespace": metadata["namespace"],
                    "pod": metadata["name"],
                    "bolide_dev_cluster": metadata["labels"]["bolide.dev/cluster"].as_str().unwrap_or_default(),
                });
                Some(json!({ "targets": [format!("{address}:9090")], "labels": labels }))
            })
            .collect();
        // under another name first: Prometheus must not read half a list
        let (made, name) = (self.folder.path().join("targets.new"), self.folder.path().join("targets.json"));
        std::fs::write(&made, Value::from(targets).to_string()).context("cannot write the targets")?;
        std::fs::rename(&made, &name).context("cannot replace the targets")
    }

    /// The series of an instant query.
    ///
    /// # Errors
    /// It does not answer, or the query is wrong.
    pub fn query(&self, query: &str) -> Result<Value> {
        let encoded: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
        Ok(self.get(&format!("/api/v1/query?query={encoded}"))?["result"].clone())
    }

    /// The data of an answer of the HTTP API.
    ///
    /// # Errors
    /// It does not answer, or not with success.
    pub fn get(&self, path: &str) -> Result<Value> {
        let mut socket =
            TcpStream::connect_timeout(&self.address, ANSWER_WITHIN).context("Prometheus is not there")?;
        socket.set_read_timeout(Some(ANSWER_WITHIN))?;
        // version 1.0: no chunks, and the connection ends with the answer
        write!(socket, "GET {path} HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer).context("Prometheus does not answer")?;
        let (_, body) = answer.split_once("\r\n\r\n").context("not an HTTP answer")?;
        let answer: Value = serde_json::from_str(body).with_context(|| format!("not JSON: {body}"))?;
        ensure!(answer["status"] == "success", "{path}: {answer}");
        Ok(answer["data"].clone())
    }
}
