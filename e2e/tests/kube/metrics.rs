//! A real Prometheus scrapes every pod, and the chart's rules find the metrics that they speak of.

use std::collections::BTreeSet;
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, ensure};
use bolide_e2e::kube::{Prometheus, eventually};
use bolide_e2e::{Kube, Result, repository, skip};
use serde_json::Value;

use crate::{SOON, seen};

/// A metric for each kind of pod and each part of a broker; the alerts are built on these.
const THERE: &[&str] = &[
    "bolide_build_info",
    "bolide_operator_leader == 1",
    "bolide_operator_reconciles_total",
    "bolide_nameserver_entries{kind=\"group\"} > 0",
    "bolide_nameserver_entries{kind=\"topic\"} > 0",
    "bolide_store_poisoned == 0",
    "bolide_store_appended_records_total > 0",
    "bolide_store_flush_seconds_bucket",
    "bolide_broker_state_records_unreadable == 0",
    "rocketmq_storage_flush_behind_bytes",
    "rocketmq_messages_in_total{topic=\"orders\"} > 0",
    "rocketmq_consumer_lag_messages{consumer_group=\"billing\"}",
    "rocketmq_consumer_connections{consumer_group=\"billing\"}",
    "rocketmq_rpc_latency_bucket{request_code=~\"send_message.*\"}",
];

pub(crate) fn run(kube: &Kube) -> Result<()> {
    let application = kube.namespace("application")?;
    let pod = application.get(&["pod", "demo-broker-0-0"])?;
    let address = format!("{}:9090", pod["status"]["podIP"].as_str().unwrap_or_default());
    if TcpStream::connect_timeout(&address.parse()?, Duration::from_secs(3)).is_err() {
        skip(&format!("a Prometheus on this machine cannot reach the pods of the cluster ({address})"));
        return Ok(());
    }
    let rules = repository().join("charts/bolide/files/rules/bolide.yaml");
    let Some(prometheus) = Prometheus::start(&rules)? else { return Ok(()) };
    eventually("every pod to be scraped", SOON, || {
        let all = [
            "get",
            "pods",
            "--all-namespaces",
            "--selector",
            "app.kubernetes.io/name in (bolide, bolide-operator)",
        ];
        let all = kube.kubectl(&[&all[..], &["--output", "json"]].concat())?;
        prometheus.scrape(&serde_json::from_str(&all)?)?;
        let wanted = pods(&application.get(&["pods", "--selector", "app.kubernetes.io/name=bolide"])?)?;
        ensure!(!wanted.is_empty());
        let up = pods_up(&prometheus.query("up{namespace=\"application\"} == 1")?)?;
        ensure!(wanted == up, "pods {wanted:?}, scraped {up:?}");
        let operators = pods_up(&prometheus.query("up{namespace=\"bolide-system\"} == 1")?)?;
        ensure!(operators.len() == 2, "{operators:?}");
        Ok(())
    })?;
    seen("Prometheus scrapes every nameserver, broker and operator");
    for query in THERE {
        eventually(query, SOON, || {
            let found = prometheus.query(query)?;
            ensure!(found.as_array().is_some_and(|found| !found.is_empty()), "nothing");
            Ok(())
        })?;
    }
    seen("the metrics behind the alerts are there");
    eventually("all rules to be evaluated", SOON + Duration::from_secs(30), || {
        let rules = prometheus.get("/api/v1/rules")?;
        let rules: Vec<_> = rules["groups"]
            .as_array()
            .context("no groups")?
            .iter()
            .flat_map(|group| group["rules"].as_array())
            .flatten()
            .collect();
        ensure!(rules.len() >= 15 && rules.iter().all(|rule| rule["health"] == "ok"), "{rules:?}");
        Ok(())
    })?;
    let firing = prometheus
        .query("ALERTS{alertstate=\"firing\", severity=\"critical\", namespace=\"application\"}")?;
    ensure!(firing.as_array().is_some_and(Vec::is_empty), "{firing}");
    seen("the rules load and are evaluated, and none cries over a healthy cluster");
    Ok(())
}

fn pods(list: &Value) -> Result<BTreeSet<String>> {
    let items = list["items"].as_array().context("no list")?;
    Ok(items.iter().filter_map(|pod| pod["metadata"]["name"].as_str()).map(str::to_owned).collect())
}

fn pods_up(result: &Value) -> Result<BTreeSet<String>> {
    let series = result.as_array().context("no series")?;
    Ok(series.iter().filter_map(|one| one["metric"]["pod"].as_str()).map(str::to_owned).collect())
}
