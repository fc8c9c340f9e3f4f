//! A run of the Java client inside the cluster: a pod whose log is the client's events.

use std::time::Duration;

use anyhow::{Context, bail, ensure};

use super::{JAVA_IMAGE, Namespace, eventually};
use crate::{Event, Result};

/// A pod with the Java client. Dropping it leaves the pod to its namespace.
#[derive(Debug)]
pub struct JavaPod<'a> {
    namespace: Namespace<'a>,
    name: String,
}

impl<'a> JavaPod<'a> {
    pub(super) fn start(namespace: Namespace<'a>, name: &str, set: &str, arguments: &[&str]) -> Result<Self> {
        let fixed = ["-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "dev.bolide.e2e.Client"];
        let namesrv = format!("{set}-nameserver:9876");
        // several start at once here: the first answer of a nameserver may come late to a Java that is still loading
        let connect = ["--namesrv", namesrv.as_str(), "--api-timeout-ms", "15000"];
        let all = [&fixed[..], arguments, &connect].concat();
        let all = serde_json::to_string(&all).context("arguments are text")?;
        namespace.apply(&format!(
            "apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{app: java}}}}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 5
  automountServiceAccountToken: false
  securityContext: {{runAsNonRoot: true, runAsUser: 65532, seccompProfile: {{type: RuntimeDefault}}}}
  containers:
    - name: java
      image: {JAVA_IMAGE}
      imagePullPolicy: IfNotPresent
      args: {all}
      volumeMounts: [{{name: tmp, mountPath: /tmp}}]
      securityContext: {{allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {{drop: [ALL]}}}}
  volumes: [{{name: tmp, emptyDir: {{}}}}]
"
        ))?;
        Ok(Self { namespace, name: name.to_owned() })
    }

    /// The events so far.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn events(&self) -> Result<Vec<Event>> {
        let log = self.namespace.kubectl(&["logs", &self.name])?;
        Ok(log.lines().filter_map(Event::parse).collect())
    }

    /// Waits until the events satisfy `done`; all of them then.
    ///
    /// # Errors
    /// They do not in time; the last ones are in the error.
    pub fn wait_until(
        &self,
        what: &str,
        limit: Duration,
        done: impl Fn(&[Event]) -> bool,
    ) -> Result<Vec<Event>> {
        eventually(&format!("{}: {what}", self.name), limit, || {
            let events = self.events()?;
            ensure!(done(&events), "{} events, the last ones {:?}", events.len(), tail(&events));
            Ok(events)
        })
    }

    /// Waits until the client has ended well; all its events.
    ///
    /// # Errors
    /// It ends with another exit code than 0, or not in time.
    pub fn finish(&self, limit: Duration) -> Result<Vec<Event>> {
        let phase = eventually(&format!("{} to end", self.name), limit, || {
            let pod = self.namespace.get(&["pod", &self.name])?;
            let phase = pod["status"]["phase"].as_str().unwrap_or_default().to_owned();
            ensure!(phase == "Succeeded" || phase == "Failed", "{}", pod["status"]);
            Ok(phase)
        })?;
        let events = self.events()?;
        if phase != "Succeeded" {
            bail!("{} failed: {:?}", self.name, tail(&events));
        }
        Ok(events)
    }

    /// Ends the client and removes the pod; its events up to now.
    ///
    /// # Errors
    /// The pod is gone already.
    pub fn stop(self) -> Result<Vec<Event>> {
        let events = self.events()?;
        self.namespace.kubectl(&["delete", "pod", &self.name, "--wait=false"])?;
        Ok(events)
    }
}

fn tail(events: &[Event]) -> &[Event] {
    &events[events.len().saturating_sub(5)..]
}
