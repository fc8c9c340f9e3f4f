//! A broker group with several replicas, seen from outside: who leads, who is in sync, and how long nobody did.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use bolide_replication::GroupState;

use crate::{Cluster, Result, wait};

/// How often the file of acknowledgements is looked at for the first one after a fault.
const LOOK: Duration = Duration::from_millis(1);

/// The group state as `bolide up` keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leading {
    /// Grows with every change of the master.
    pub epoch: u64,
    /// Name of the replica that leads; empty when there is none.
    pub master: String,
    /// Names of the replicas that hold every acknowledged message.
    pub in_sync: Vec<String>,
}

impl Leading {
    /// The group state from its JSON.
    ///
    /// # Errors
    /// It is not what it should be.
    pub fn parse(text: &str) -> Result<Self> {
        let state = GroupState::from_json(text)?;
        Ok(Self {
            epoch: state.epoch.0,
            master: state.master.map(|master| master.name.to_string()).unwrap_or_default(),
            in_sync: state.in_sync.iter().map(|member| member.name.to_string()).collect(),
        })
    }
}

/// One broker group of a running cluster.
#[derive(Debug)]
pub struct Replicas {
    file: PathBuf,
}

impl Replicas {
    /// The group of this broker name.
    pub fn of(cluster: &Cluster, broker: &str) -> Self {
        Self { file: cluster.data().join("state").join(format!("{broker}.json")) }
    }

    /// Reads the group state.
    ///
    /// # Errors
    /// It is not there, or not what it should be.
    pub fn leading(&self) -> Result<Leading> {
        let text = std::fs::read_to_string(&self.file)
            .with_context(|| format!("cannot read {}", self.file.display()))?;
        Leading::parse(&text)
    }

    /// Waits until so many replicas are in sync and one of them leads.
    ///
    /// # Errors
    /// They are not within `limit`.
    pub fn wait_in_sync(&self, count: usize, limit: Duration) -> Result<Leading> {
        wait::until_ok(&format!("{count} replicas in sync"), limit, || {
            let now = self.leading()?;
            anyhow::ensure!(now.in_sync.len() == count && now.in_sync.contains(&now.master), "{now:?}");
            Ok(now)
        })
    }

    /// Waits until another epoch than that of `before` has begun.
    ///
    /// # Errors
    /// None has within `limit`.
    pub fn wait_new_epoch(&self, before: &Leading, limit: Duration) -> Result<Leading> {
        wait::until_ok("a new epoch", limit, || {
            let now = self.leading()?;
            anyhow::ensure!(now.epoch > before.epoch && !now.master.is_empty(), "{now:?}");
            Ok(now)
        })
    }

    /// The process of a replica: the last two numbers of its name are those of group and replica.
    pub fn process(replica: &str) -> String {
        let mut parts = replica.rsplit('-');
        let (replica, group) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        format!("broker-{group}-{replica}")
    }

    /// The replica that is not the master; the group has two.
    ///
    /// # Errors
    /// No other process runs.
    pub fn slave(cluster: &Cluster, now: &Leading) -> Result<String> {
        let master = Self::process(&now.master);
        let (name, _) =
            cluster.brokers()?.into_iter().find(|(name, _)| *name != master).context("no slave runs")?;
        Ok(name)
    }
}

/// A file to which a sender adds a line per acknowledgement.
#[derive(Debug)]
pub struct Acknowledged<'a> {
    file: &'a Path,
}

impl<'a> Acknowledged<'a> {
    /// The file may not exist yet.
    pub fn new(file: &'a Path) -> Self {
        Self { file }
    }

    fn bytes(&self) -> u64 {
        std::fs::metadata(self.file).map_or(0, |file| file.len())
    }

    /// Waits until some hundred more acknowledgements are there.
    ///
    /// # Errors
    /// They are not within `limit`.
    pub fn wait_flowing(&self, limit: Duration) -> Result<()> {
        let enough = self.bytes() + 20_000;
        wait::until("acknowledgements", limit, || (self.bytes() > enough).then_some(()))
    }

    /// Time from `since` to the next acknowledgement, after those that were on their way for `settle`.
    ///
    /// # Errors
    /// None comes within `limit`.
    pub fn next(&self, since: Instant, settle: Duration, limit: Duration) -> Result<Duration> {
        std::thread::sleep(settle.saturating_sub(since.elapsed()));
        let before = self.bytes();
        while since.elapsed() < limit {
            if self.bytes() > before {
                return Ok(since.elapsed());
            }
            std::thread::sleep(LOOK);
        }
        anyhow::bail!("no acknowledgement within {limit:?}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_names_its_process() {
        assert_eq!(Replicas::process("ha-broker-0-1"), "broker-0-1");
        assert_eq!(Replicas::process("my-set-broker-12-3"), "broker-12-3");
    }
}
