//! `mqadmin` of the published RocketMQ tools, run from the jars that `e2e/apache/apache fetch` gets from Maven Central.

use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::ensure;

use crate::client::on_path;
use crate::process::Process;
use crate::{Cluster, Result, repository, skip, target_dir, wait};

/// How long one command may take.
const RUN_WITHIN: Duration = Duration::from_secs(120);

/// One fetch at a time.
static FETCH: Mutex<()> = Mutex::new(());

/// The admin tool of Apache RocketMQ, unchanged.
#[derive(Clone, Debug)]
pub struct Mqadmin {
    script: PathBuf,
}

impl Mqadmin {
    /// The tool, fetched when it is not there. `None`, after a sentence, when Java or Maven is missing.
    ///
    /// # Panics
    /// The fetch fails, or a tool is missing in CI.
    pub fn find() -> Option<Self> {
        for tool in ["java", "mvn"] {
            if !on_path(tool) {
                skip(&format!("mqadmin needs `{tool}`, which is not on PATH"));
                return None;
            }
        }
        let script = repository().join("e2e/apache/apache");
        let _one = FETCH.lock().unwrap_or_else(PoisonError::into_inner);
        if std::env::var_os("APACHE_LIB").is_none() && !target_dir().join("apache/lib").is_dir() {
            let status = Command::new(&script).arg("fetch").status();
            assert!(matches!(&status, Ok(status) if status.success()), "e2e/apache/apache fetch: {status:?}");
        }
        Some(Self { script })
    }

    /// Runs a subcommand with `-n` of the cluster; its standard output.
    ///
    /// # Errors
    /// It ends with another exit code than 0, prints an exception, or does not end within two minutes.
    pub fn run(&self, cluster: &Cluster, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(&self.script);
        command.arg("mqadmin").args(arguments).args(["-n", cluster.namesrv()]);
        let name = format!("mqadmin {}", arguments.join(" "));
        let mut process = Process::start(&name, &mut command)?;
        let status = process.wait(RUN_WITHIN)?;
        let text = process.out.all().join("\n");
        // the tool prints a stack trace and still ends with exit code 0
        let broken =
            text.contains("Exception") || process.err.all().iter().any(|line| line.contains("Exception"));
        ensure!(status.success() && !broken, "{name} failed ({status}){}", process.tail());
        Ok(text)
    }

    /// As [`Mqadmin::run`], tried again until its output satisfies `done`.
    ///
    /// # Errors
    /// It does not within `limit`.
    pub fn run_until(
        &self,
        cluster: &Cluster,
        arguments: &[&str],
        limit: Duration,
        done: impl Fn(&str) -> bool,
    ) -> Result<String> {
        wait::until_ok(&format!("mqadmin {}", arguments.join(" ")), limit, || {
            let text = self.run(cluster, arguments)?;
            ensure!(done(&text), "printed:\n{text}");
            Ok(text)
        })
    }
}
