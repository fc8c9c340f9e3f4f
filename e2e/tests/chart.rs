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
fn the_flow_of_group_state_is_told_by_namespace_and_can_be_left_out() -> Result<()> {
    let Some(helm) = helm() else { return Ok(()) };
    let everywhere = text(&render(&helm, &[])?);
    ensure!(everywhere.contains("kind: FlowSchema") && everywhere.contains("name: system:serviceaccounts\n"));
    let narrow =
        text(&render(&helm, &["flowSchema.namespaces={shop,post}", "flowSchema.priorityLevel=mine"])?);
    for part in
        ["system:serviceaccounts:shop", "system:serviceaccounts:post", "name: mine", r#"["shop","post"]"#]
    {
        ensure!(narrow.contains(part), "{part} is missing in:\n{narrow}");
    }
    ensure!(!text(&render(&helm, &["flowSchema.enabled=false"])?).contains("FlowSchema"));
    Ok(())
}

#[test]
fn releases_of_one_name_in_two_namespaces_share_no_object() -> Result<()> {
    let Some(helm) = helm() else { return Ok(()) };
    let kinds = ["ClusterRole", "ClusterRoleBinding", "FlowSchema"];
    let global = |namespace: &str| -> Result<Vec<String>> {
        let arguments = ["template", "bolide", ".", "--kube-version", "1.33.0", "--namespace", namespace];
        let rendered = text(&run(&helm, &chart(), &arguments)?);
        let objects = rendered.split("\n---\n").filter(|object| {
            kinds.iter().any(|kind| object.lines().any(|line| line == format!("kind: {kind}")))
        });
        let name =
            |object: &str| object.lines().find_map(|line| line.strip_prefix("  name: ").map(str::to_owned));
        Ok(objects.filter_map(name).collect())
    };
    let (one, other) = (global("one")?, global("other")?);
    ensure!(one.len() >= 7 && one.len() == other.len(), "{one:?}");
    ensure!(!one.iter().any(|name| other.contains(name)), "shared: {one:?} {other:?}");
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
