//! A real Kubernetes for a test: the one of `KUBECONFIG`, else one made by `e2e/cluster/cluster` for this run.
//!
//! Owns bringing the cluster up with the images of this build, and taking it down again. What is in it is asked and changed with
//! `kubectl` and `helm`, as a person would: see [`Namespace`].

mod cut;
mod namespace;
mod pod;
mod prometheus;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

pub use cut::CutPod;
pub use namespace::{Namespace, condition};
pub use pod::JavaPod;
pub use prometheus::Prometheus;

use crate::client::on_path;
use crate::cluster::Output;
use crate::{Client, Result, repository, skip, target_dir};

/// Image of operator, nameservers and brokers: the name that chart and samples have, so that they are tested as they are.
pub const IMAGE: &str = "bolide-dev/bolide:0.1.0";
/// The same programs under another name, for tests that change the image.
pub const NEXT_IMAGE: &str = "bolide-dev/bolide:0.1.0-next";
/// Image of the Java client of `e2e/clients`; its arguments are a class and its arguments.
pub const JAVA_IMAGE: &str = "bolide-e2e/java5:test";

/// Seconds that one command may take.
const COMMAND_WITHIN: &str = "150";
/// How often a condition is looked at: each look is a process.
const STEP: Duration = Duration::from_millis(300);

/// A cluster that can be used. Dropping it takes down what was brought up for it; logs stay in `target/kube/log`.
#[derive(Debug)]
pub struct Kube {
    kubectl: PathBuf,
    helm: PathBuf,
    kubeconfig: PathBuf,
    /// Folder of the cluster that was brought up for this run.
    own: Option<PathBuf>,
}

impl Kube {
    /// The cluster of `KUBECONFIG`, whose nodes must have the three images, or a new one. `None`, after a sentence on standard
    /// error, when this machine cannot run one.
    ///
    /// # Errors
    /// The cluster does not come up.
    ///
    /// # Panics
    /// Something is missing in CI.
    pub fn start() -> Result<Option<Self>> {
        let bin = std::env::var_os("BOLIDE_CLUSTER_BIN")
            .map_or_else(|| target_dir().join("cluster/bin"), PathBuf::from);
        if let Some(given) = std::env::var_os("KUBECONFIG") {
            let found = |tool: &str| if on_path(tool) { tool.into() } else { bin.join(tool) };
            let kube =
                Self { kubectl: found("kubectl"), helm: found("helm"), kubeconfig: given.into(), own: None };
            return Ok(Some(kube));
        }
        if !rustix::process::geteuid().is_root() {
            skip("a cluster of its own needs root; or set KUBECONFIG");
            return Ok(None);
        }
        for tool in ["go", "python3"] {
            if !on_path(tool) {
                skip(&format!(
                    "a cluster of its own needs `{tool}`, which is not on PATH; or set KUBECONFIG"
                ));
                return Ok(None);
            }
        }
        if Client::Java5.find().is_none() {
            return Ok(None);
        }
        let dir = target_dir().join("kube");
        std::fs::create_dir_all(&dir)?;
        let kube = Self {
            kubectl: bin.join("kubectl"),
            helm: bin.join("helm"),
            kubeconfig: dir.join("kubeconfig"),
            own: Some(dir.clone()),
        };
        script("cluster/cluster", &["build"])?;
        // what a killed run may have left
        script("cluster/cluster", &["down", text(&dir)?])?;
        script("cluster/cluster", &["up", text(&dir)?])?;
        kube.load_images(&dir)?;
        Ok(Some(kube))
    }

    fn load_images(&self, dir: &Path) -> Result<()> {
        let programs =
            std::env::var_os("BOLIDE_BIN").map_or_else(|| target_dir().join("release/bolide"), PathBuf::from);
        let operator = programs.with_file_name("bolide-operator");
        for program in [&programs, &operator] {
            ensure!(program.is_file(), "{} is not there: `make build` first", program.display());
        }
        let jars = std::env::var_os("CLIENTS_OUT")
            .map_or_else(|| target_dir().join("clients"), PathBuf::from)
            .join("java5");
        let out = dir.join("image.tar");
        for image in [IMAGE, NEXT_IMAGE] {
            let programs = ["--binary", text(&programs)?, "--binary", text(&operator)?];
            script(
                "cluster/image",
                &[&["build", "--name", image, "--out", text(&out)?], &programs[..]].concat(),
            )?;
            script("cluster/cluster", &["load-image", text(dir)?, text(&out)?])?;
        }
        let arguments = ["build-java", "--name", JAVA_IMAGE, "--jars", text(&jars)?, "--out", text(&out)?];
        script("cluster/image", &arguments)?;
        script("cluster/cluster", &["load-image", text(dir)?, text(&out)?])?;
        std::fs::remove_file(&out).context("cannot remove the image file")
    }

    /// The file that says how to reach the API server.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Takes the API server away for that long; false in a cluster that was given.
    ///
    /// # Errors
    /// It does not end, or does not come back.
    pub fn without_api(&self, length: Duration) -> Result<bool> {
        let Some(dir) = &self.own else { return Ok(false) };
        script("cluster/cluster", &["stop-api", text(dir)?])?;
        std::thread::sleep(length);
        script("cluster/cluster", &["start-api", text(dir)?])?;
        Ok(true)
    }

    /// Makes a namespace that enforces the pod security level `restricted`, and warns of nothing less.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn namespace(&self, name: &str) -> Result<Namespace<'_>> {
        let namespace = Namespace::new(self, name);
        namespace.apply(&format!(
            "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {name}\n  labels:\n    \
             pod-security.kubernetes.io/enforce: restricted\n    pod-security.kubernetes.io/warn: restricted\n"
        ))?;
        Ok(namespace)
    }

    /// Runs `kubectl`; what it printed.
    ///
    /// # Errors
    /// It ends with another exit code than 0.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        checked("kubectl", arguments, self.kubectl_unchecked(arguments)?)
    }

    /// Runs `kubectl`, whatever its exit code.
    ///
    /// # Errors
    /// It cannot be run.
    pub fn kubectl_unchecked(&self, arguments: &[&str]) -> Result<Output> {
        run(&self.kubectl, &["--kubeconfig", text(&self.kubeconfig)?], arguments)
    }

    /// Runs `helm`; what it printed.
    ///
    /// # Errors
    /// It ends with another exit code than 0.
    pub fn helm(&self, arguments: &[&str]) -> Result<String> {
        let output = run(&self.helm, &["--kubeconfig", text(&self.kubeconfig)?], arguments)?;
        checked("helm", arguments, output)
    }
}

impl Drop for Kube {
    fn drop(&mut self) {
        let Some(dir) = &self.own else { return };
        let down = text(dir).and_then(|dir| script("cluster/cluster", &["down", dir]));
        if let Err(error) = down {
            eprintln!("kube: the cluster could not be taken down: {error:#}");
        }
    }
}

/// Waits until `attempt` succeeds, looking a few times a second; the last error is the cause of the failure.
///
/// # Errors
/// It did not within `limit`.
pub fn eventually<T>(what: &str, limit: Duration, mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        match attempt() {
            Ok(value) => return Ok(value),
            Err(error) if Instant::now() >= deadline => {
                return Err(error.context(format!("waited {limit:?} for {what}")));
            }
            Err(_) => std::thread::sleep(STEP),
        }
    }
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))
}

/// Runs one of the scripts of `e2e`; its output goes where the test's goes.
fn script(name: &str, arguments: &[&str]) -> Result<()> {
    let path = repository().join("e2e").join(name);
    let status = Command::new(&path).args(arguments).stdin(Stdio::null()).status();
    let status = status.with_context(|| format!("cannot run {}", path.display()))?;
    ensure!(status.success(), "e2e/{name} {}: {status}", arguments.join(" "));
    Ok(())
}

fn run(program: &Path, first: &[&str], arguments: &[&str]) -> Result<Output> {
    let mut command = Command::new("timeout");
    command.arg(COMMAND_WITHIN).arg(program).args(first).args(arguments).stdin(Stdio::null());
    let output = command.output().with_context(|| format!("cannot run {}", program.display()))?;
    Ok(Output {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

fn checked(tool: &str, arguments: &[&str], output: Output) -> Result<String> {
    if output.code != 0 {
        bail!("{tool} {}: exit code {}: {}", arguments.join(" "), output.code, output.stderr.trim());
    }
    Ok(output.stdout)
}
