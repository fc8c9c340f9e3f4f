//! The chart without a cluster: it renders with every option, refuses values that do not exist, and its alerts fire when they
//! should and only then.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, ensure};
use bolide_e2e::client::on_path;
use bolide_e2e::{Result, repository, skip, target_dir};

fn chart() -> PathBuf {
    repository().join("charts/bolide")
}

/// `helm`, from PATH or as the cluster's tools have it.
fn helm() -> Option<PathBuf> {
    let built = target_dir().join("cluster/bin/helm");
    if on_path("helm") {
        return Some("helm".into());
    }
    if !built.is_file() {
        skip("the chart is not rendered: there is no `helm`; e2e/cluster/cluster build makes one");
        return None;
    }
    Some(built)
}

fn run(program: &Path, folder: &Path, arguments: &[&str]) -> Result<Output> {
    let output = Command::new(program).args(arguments).current_dir(folder).output();
    output.with_context(|| format!("cannot run {}", program.display()))
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn render(helm: &Path, sets: &[&str]) -> Result<Output> {
    let mut arguments =
        vec!["template", "bolide", ".", "--namespace", "somewhere", "--kube-version", "1.33.0"];
    for set in sets {
        arguments.extend(["--set", set]);
    }
    run(helm, &chart(), &arguments)
}

#[test]
fn alerts_fire_when_they_should_and_only_then() -> Result<()> {
    if !on_path("promtool") {
        skip("the alerts are not tested: there is no `promtool`");
        return Ok(());
    }
    let promtool = Path::new("promtool");
    let check = run(promtool, &chart(), &["check", "rules", "files/rules/bolide.yaml"])?;
    ensure!(check.status.success(), "{}", text(&check));
    let test = run(promtool, &chart().join("tests"), &["test", "rules", "rules_test.yaml"])?;
    ensure!(test.status.success(), "{}", text(&test));
    Ok(())
}

#[test]
fn every_option_renders() -> Result<()> {
    let Some(helm) = helm() else { return Ok(()) };
    let all = render(
        &helm,
        &[
            "metrics.podMonitor.enabled=true",
            "metrics.prometheusRule.enabled=true",
            "metrics.dashboard.enabled=true",
            "networkPolicy.enabled=true",
            "watchNamespace=shop",
        ],
    )?;
    ensure!(all.status.success(), "{}", text(&all));
    let rendered = text(&all);
    for kind in
        ["PodMonitor", "PrometheusRule", "NetworkPolicy", "CustomResourceDefinition", "Role", "Deployment"]
    {
        ensure!(rendered.contains(&format!("kind: {kind}\n")), "no {kind} is rendered");
    }
    ensure!(
        rendered.contains("helm.sh/resource-policy: keep"),
        "an uninstall would take every cluster with it"
    );
    ensure!(
        rendered.contains("alert: BolideStorePoisoned") && rendered.contains("bolide.json"),
        "files are left out"
    );
    let dashboard = std::fs::read_to_string(chart().join("files/dashboards/bolide.json"))?;
    serde_json::from_str::<serde_json::Value>(&dashboard).context("the dashboard is not JSON")?;
    Ok(())
}

#[test]
fn values_that_do_not_exist_are_refused() -> Result<()> {
    let Some(helm) = helm() else { return Ok(()) };
    for (wrong, named) in [
        ("operator.replica=3", "replica"),
        ("operator.replicas=0", "replicas"),
        ("image.repository=", "repository"),
    ] {
        let refused = render(&helm, &[wrong])?;
        ensure!(!refused.status.success() && text(&refused).contains(named), "{wrong}: {}", text(&refused));
    }
    Ok(())
}

#[test]
fn the_plain_manifest_is_what_the_chart_says() -> Result<()> {
    if helm().is_none() {
        return Ok(());
    }
    let check = run(&repository().join("charts/write-manifests"), &repository(), &["--check"])?;
    ensure!(check.status.success(), "{}", text(&check));
    Ok(())
}
