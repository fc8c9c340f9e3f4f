//! A Prometheus on this machine that scrapes the pods of a cluster.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::Value;
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
    _folder: TempDir,
}

impl Prometheus {
    /// Scrapes every pod that has a port called `admin`, with the labels that the chart's pod monitors give, and loads `rules`.
    /// `None`, after a sentence, when there is no `prometheus` here.
    ///
    /// # Errors
    /// It does not start.
    ///
    /// # Panics
    /// It is missing in CI.
    pub fn start(kubeconfig: &Path, rules: &Path) -> Result<Option<Self>> {
        if !on_path("prometheus") {
            skip("metrics are not scraped: there is no `prometheus` on PATH");
            return Ok(None);
        }
        let folder = tempfile::tempdir().context("cannot make a folder")?;
        let config = folder.path().join("prometheus.yaml");
        let (kubeconfig, rules) = (text(kubeconfig)?, text(rules)?);
        let settings = format!(
            "global: {{scrape_interval: 2s, evaluation_interval: 5s}}
rule_files: [{rules}]
scrape_configs:
  - job_name: pods
    kubernetes_sd_configs: [{{role: pod, kubeconfig_file: {kubeconfig}}}]
    relabel_configs:
      - {{source_labels: [__meta_kubernetes_pod_container_port_name], regex: admin, action: keep}}
      - {{source_labels: [__meta_kubernetes_namespace], target_label: namespace}}
      - {{source_labels: [__meta_kubernetes_pod_name], target_label: pod}}
      - {{source_labels: [__meta_kubernetes_pod_container_name], target_label: container}}
      - {{source_labels: [__meta_kubernetes_pod_label_bolide_dev_cluster], target_label: bolide_dev_cluster}}
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
        let prometheus = Self { address, _process: process, _folder: folder };
        eventually("Prometheus to answer", Duration::from_secs(30), || prometheus.get("/api/v1/status/runtimeinfo"))?;
        Ok(Some(prometheus))
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
        let mut socket = TcpStream::connect_timeout(&self.address, ANSWER_WITHIN).context("Prometheus is not there")?;
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
