//! A broker group with several replicas, seen from outside: who leads, who is in sync, and how long nobody did.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use bolide_replication::GroupState;
use rustix::fs::{CWD, RenameFlags, renameat_with};

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

    /// Makes the group state unreadable and unwritable, at one stroke, until [`StateAway::back`] or until the value is dropped: as
    /// when the API server is away, nobody can become master.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn state_away(&self) -> Result<StateAway> {
        let instead = self.file.with_extension("away");
        std::fs::create_dir(&instead).with_context(|| format!("cannot make {}", instead.display()))?;
        let away = StateAway { file: self.file.clone(), instead, is_away: true };
        away.exchange()?;
        Ok(away)
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

/// A folder stands where the group state was: whoever reads or changes it gets an error.
#[derive(Debug)]
pub struct StateAway {
    file: PathBuf,
    instead: PathBuf,
    is_away: bool,
}

impl StateAway {
    /// Puts the group state back as it was.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn back(mut self) -> Result<()> {
        self.exchange()?;
        self.is_away = false;
        std::fs::remove_dir(&self.instead)
            .with_context(|| format!("cannot remove {}", self.instead.display()))
    }

    /// In one step: nobody may find that there is no group state.
    fn exchange(&self) -> Result<()> {
        renameat_with(CWD, &self.file, CWD, &self.instead, RenameFlags::EXCHANGE)
            .with_context(|| format!("cannot exchange {} and a folder", self.file.display()))
    }
}

impl Drop for StateAway {
    fn drop(&mut self) {
        if self.is_away {
            // the test has failed by now, and the folder is kept to be looked at
            let _ = self.exchange();
        }
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
    fn the_group_state_goes_away_and_comes_back_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.json");
        std::fs::write(&file, "state").unwrap();
        let group = Replicas { file: file.clone() };
        let away = group.state_away().unwrap();
        assert!(std::fs::read(&file).is_err() && file.exists());
        away.back().unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), b"state");
        drop(group.state_away().unwrap());
        assert_eq!(std::fs::read(&file).unwrap(), b"state");
    }

    #[test]
    fn a_replica_names_its_process() {
        assert_eq!(Replicas::process("ha-broker-0-1"), "broker-0-1");
        assert_eq!(Replicas::process("my-set-broker-12-3"), "broker-12-3");
    }
}
