//! One namespace of a cluster, asked and changed with `kubectl`.

use std::io::Write;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::Value;

use super::{JavaPod, Kube, eventually};
use crate::Result;
use crate::cluster::Output;

/// A namespace; what it is called is in every command.
#[derive(Clone, Debug)]
pub struct Namespace<'a> {
    kube: &'a Kube,
    name: String,
}

impl<'a> Namespace<'a> {
    pub(super) fn new(kube: &'a Kube, name: &str) -> Self {
        Self { kube, name: name.to_owned() }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The cluster that it is in.
    pub fn kube(&self) -> &'a Kube {
        self.kube
    }

    /// Runs `kubectl` in the namespace; what it printed.
    ///
    /// # Errors
    /// It ends with another exit code than 0.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        self.kube.kubectl(&[&["--namespace", &self.name], arguments].concat())
    }

    /// Runs `kubectl` in the namespace, whatever its exit code.
    ///
    /// # Errors
    /// It cannot be run.
    pub fn kubectl_unchecked(&self, arguments: &[&str]) -> Result<Output> {
        self.kube.kubectl_unchecked(&[&["--namespace", &self.name], arguments].concat())
    }

    /// `kubectl apply` of some YAML.
    ///
    /// # Errors
    /// It is refused.
    pub fn apply(&self, yaml: &str) -> Result<()> {
        let output = self.apply_unchecked(yaml)?;
        ensure!(output.code == 0, "kubectl apply: {}", output.stderr.trim());
        // a namespace that warns about the level it enforces: a warning is a pod that could not run
        ensure!(!output.stderr.contains("would violate PodSecurity"), "{}", output.stderr.trim());
        Ok(())
    }

    /// `kubectl apply` of some YAML, which must be refused; what was said.
    ///
    /// # Errors
    /// It is not refused.
    pub fn refused(&self, yaml: &str) -> Result<String> {
        let output = self.apply_unchecked(yaml)?;
        ensure!(output.code != 0, "this was not refused:\n{yaml}");
        Ok(output.stderr)
    }

    fn apply_unchecked(&self, yaml: &str) -> Result<Output> {
        let mut file = tempfile::NamedTempFile::new().context("cannot make a file")?;
        file.write_all(yaml.as_bytes()).context("cannot write a file")?;
        let path = file.path().to_str().context("a temporary path that is not UTF-8")?;
        self.kubectl_unchecked(&["apply", "--filename", path])
    }

    /// An object, or with several names or a selector a list, as JSON.
    ///
    /// # Errors
    /// There is none.
    pub fn get(&self, what: &[&str]) -> Result<Value> {
        let text = self.kubectl(&[&["get", "--output", "json"], what].concat())?;
        serde_json::from_str(&text).with_context(|| format!("not JSON: {text}"))
    }

    /// Whether there is such an object.
    ///
    /// # Errors
    /// The API server does not answer.
    pub fn exists(&self, kind: &str, name: &str) -> Result<bool> {
        let text = self.kubectl(&["get", kind, name, "--ignore-not-found", "--output", "name"])?;
        Ok(!text.trim().is_empty())
    }

    /// Merges `change` into an object.
    ///
    /// # Errors
    /// It is refused.
    pub fn patch(&self, kind: &str, name: &str, change: &Value) -> Result<()> {
        self.kubectl(&["patch", kind, name, "--type", "merge", "--patch", &change.to_string()]).map(|_| ())
    }

    /// Waits with `kubectl wait` for the condition `Ready`.
    ///
    /// # Errors
    /// It does not become true in time; the object's conditions are in the error.
    pub fn wait_ready(&self, kind: &str, name: &str, limit: Duration) -> Result<()> {
        let timeout = format!("--timeout={}s", limit.as_secs());
        let waited = self.kubectl(&["wait", "--for=condition=Ready", kind, name, &timeout]);
        waited.map(|_| ()).map_err(|error| {
            let conditions = self.get(&[kind, name]).map(|object| object["status"]["conditions"].to_string());
            error.context(format!("{kind}/{name}: {}", conditions.unwrap_or_default()))
        })
    }

    /// Waits until the status speaks of the newest spec and `Ready` is as given; the object then.
    ///
    /// # Errors
    /// It does not become so in time.
    pub fn wait_settled(&self, kind: &str, name: &str, ready: &str, limit: Duration) -> Result<Value> {
        eventually(&format!("{kind}/{name} to be settled with Ready={ready}"), limit, || {
            let object = self.get(&[kind, name])?;
            let (status, generation) = (&object["status"], &object["metadata"]["generation"]);
            ensure!(
                &status["observedGeneration"] == generation,
                "generation {generation} is not observed: {status}"
            );
            let found = condition(&object, "Ready");
            ensure!(found["status"] == ready, "{status}");
            ensure!(condition(&object, "Progressing")["status"] != "True", "{status}");
            Ok(object)
        })
    }

    /// Waits until an object satisfies `done`; the object then.
    ///
    /// # Errors
    /// It does not in time; the object's status is in the error.
    pub fn wait_for(
        &self,
        kind: &str,
        name: &str,
        what: &str,
        limit: Duration,
        done: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        eventually(&format!("{kind}/{name}: {what}"), limit, || {
            let object = self.get(&[kind, name])?;
            ensure!(done(&object), "{}", object["status"]);
            Ok(object)
        })
    }

    /// Runs the program `bolide` in a nameserver pod of a set, against that set; what it printed.
    ///
    /// # Errors
    /// It ends with another exit code than 0.
    pub fn bolide(&self, set: &str, arguments: &[&str]) -> Result<String> {
        let output = self.bolide_unchecked(set, arguments)?;
        ensure!(output.code == 0, "bolide {}: {}", arguments.join(" "), output.stderr.trim());
        Ok(output.stdout)
    }

    /// As [`Namespace::bolide`], against the nameserver at `namesrv` alone.
    ///
    /// # Errors
    /// It ends with another exit code than 0.
    pub fn bolide_at(&self, set: &str, namesrv: &str, arguments: &[&str]) -> Result<String> {
        let deployment = format!("deployment/{set}-nameserver");
        let exec = ["exec", &deployment, "--", "/usr/local/bin/bolide"];
        self.kubectl(&[&exec, arguments, &["--namesrv", namesrv]].concat())
    }

    /// As [`Namespace::bolide`], whatever the exit code.
    ///
    /// # Errors
    /// It cannot be run.
    pub fn bolide_unchecked(&self, set: &str, arguments: &[&str]) -> Result<Output> {
        let deployment = format!("deployment/{set}-nameserver");
        let namesrv = format!("{set}-nameserver:9876");
        let exec = ["exec", &deployment, "--", "/usr/local/bin/bolide"];
        // a name in a pod may be looked up a second time after five seconds, when the machine is busy
        let connect = ["--namesrv", namesrv.as_str(), "--timeout", "15s"];
        self.kubectl_unchecked(&[&exec, arguments, &connect].concat())
    }

    /// As [`Namespace::bolide`], with JSON output.
    ///
    /// # Errors
    /// As [`Namespace::bolide`], or what was printed is not JSON.
    pub fn bolide_json(&self, set: &str, arguments: &[&str]) -> Result<Value> {
        let text = self.bolide(set, &[arguments, &["--output", "json"]].concat())?;
        serde_json::from_str(&text).with_context(|| format!("not JSON: {text}"))
    }

    /// How many messages a topic of a set holds.
    ///
    /// # Errors
    /// As [`Namespace::bolide`].
    pub fn stored(&self, set: &str, topic: &str) -> Result<i64> {
        let found = self.bolide_json(set, &["topic", "describe", topic])?;
        let queues = found["queues"].as_array().with_context(|| format!("no queues: {found}"))?;
        Ok(queues.iter().filter_map(|queue| queue["messages"].as_i64()).sum())
    }

    /// Starts the Java client in a pod called `name`, with `--namesrv` of the Service of `set` after the given arguments.
    ///
    /// # Errors
    /// The pod is refused.
    pub fn java(&self, name: &str, set: &str, arguments: &[&str]) -> Result<JavaPod<'a>> {
        JavaPod::start(self.clone(), name, set, arguments)
    }

    /// Deletes the namespace and waits until it and everything in it is gone.
    ///
    /// # Errors
    /// It is not gone in time.
    pub fn delete(&self, limit: Duration) -> Result<()> {
        let timeout = format!("--timeout={}s", limit.as_secs());
        self.kube.kubectl(&["delete", "namespace", &self.name, "--wait=true", &timeout]).map(|_| ())
    }
}

/// A condition of an object; `null` when it has none of that type.
pub fn condition(object: &Value, type_: &str) -> Value {
    let conditions = object["status"]["conditions"].as_array();
    conditions.into_iter().flatten().find(|one| one["type"] == type_).cloned().unwrap_or(Value::Null)
}
