//! The chart is installed with Helm and its default values, and the operator works from two pods.

use anyhow::ensure;
use bolide_e2e::kube::eventually;
use bolide_e2e::{Kube, Result, repository};

use crate::{SOON, seen};

/// Where the operator is.
pub(crate) const NAMESPACE: &str = "bolide-system";
/// Name of the release, and of the Deployment.
pub(crate) const RELEASE: &str = "bolide";

pub(crate) fn run(kube: &Kube) -> Result<()> {
    let namespace = kube.namespace(NAMESPACE)?;
    let chart = repository().join("charts/bolide");
    let chart = chart.display().to_string();
    let install =
        ["upgrade", "--install", RELEASE, &chart, "--namespace", NAMESPACE, "--wait", "--timeout", "90s"];
    let printed = kube.helm(&install)?;
    ensure!(printed.contains("kubectl wait --for=condition=Ready brokerset/demo"), "{printed}");
    let deployment = namespace.get(&["deployment", RELEASE])?;
    ensure!(deployment["status"]["readyReplicas"] == 2, "{}", deployment["status"]);
    eventually("a leader", SOON, || {
        let lease = namespace.get(&["lease", "bolide-operator"])?;
        let holder = lease["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned();
        ensure!(holder.starts_with(RELEASE), "held by {holder:?}");
        Ok(())
    })?;
    // a second time is an upgrade, the definitions included
    kube.helm(&install)?;
    seen("the chart is installed and upgraded, two pods of the operator are ready, one leads");
    Ok(())
}
