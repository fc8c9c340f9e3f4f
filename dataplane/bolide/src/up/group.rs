//! A broker group on this machine: its replicas, the addresses of its roles, and the file that says who leads.

use std::fs;
use std::path::{Path, PathBuf};

use bolide_api::BrokerSet;
use bolide_broker::FileGroupState;
use bolide_replication::{GroupState, REPLICA_FILE, ReplicaName, StateError};
use serde_json::{Value, json};

use super::folder::Folder;
use super::ports::{self, MOST_REPLICAS, PortError, Ports};

/// Why a broker group cannot run here.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GroupError {
    #[error(transparent)]
    Ports(#[from] PortError),
    #[error(
        "BrokerSet {set}: spec.replicas: {replicas} copies do not fit on one machine's ports; set it to {MOST_REPLICAS} or less"
    )]
    TooMany { set: String, replicas: u32 },
    #[error(transparent)]
    State(#[from] StateError),
    #[error("a replica that the group does not have")]
    NoReplica,
    #[error(
        "the data folder holds replica {replica} of {group}, and spec.replicas is {replicas}: set it back, or choose another folder with --data"
    )]
    Fewer { group: String, replica: usize, replicas: usize },
    #[error("cannot {what} {path}: {source}")]
    Io { what: &'static str, path: String, source: std::io::Error },
}

/// One broker group.
#[derive(Debug)]
pub(crate) struct Group {
    /// Name of the broker, as clients see it.
    pub(crate) name: String,
    /// By number.
    pub(crate) replicas: Vec<Replica>,
    /// Port of the master.
    pub(crate) port: u16,
    /// Says who leads; not used by a single replica.
    pub(crate) state_file: PathBuf,
}

/// One process of a group.
#[derive(Debug)]
pub(crate) struct Replica {
    /// Name among the replicas of the group.
    pub(crate) name: String,
    /// Name of the process.
    pub(crate) process: String,
    /// Its folder.
    pub(crate) store: PathBuf,
    /// Where the other replicas reach it.
    pub(crate) replication: u16,
}

impl Group {
    /// Plans group `number` of a set.
    ///
    /// # Errors
    /// Ports or replicas do not fit.
    pub(crate) fn new(
        set: &BrokerSet,
        folder: &Folder,
        ports: Ports,
        number: u16,
    ) -> Result<Self, GroupError> {
        let copies = set.spec.replicas;
        if copies > MOST_REPLICAS {
            return Err(GroupError::TooMany { set: set.cluster_name().to_owned(), replicas: copies });
        }
        let name = set.broker_name(u32::from(number));
        let process = format!("broker-{number}");
        let port = ports.broker(number, &process)?;
        let state_file = folder.root().join("state").join(format!("{name}.json"));
        let replica = |index: u16| Replica {
            name: format!("{name}-{index}"),
            process: format!("{process}-{index}"),
            store: folder.store(&format!("{name}-{index}")),
            replication: ports::replication(port, index),
        };
        let replicas = match u16::try_from(copies).unwrap_or(u16::MAX) {
            0 | 1 => {
                let (name, process, store) = (name.clone(), process.clone(), folder.store(&name));
                vec![Replica { name, process, store, ..replica(0) }]
            }
            more => (0..more).map(replica).collect(),
        };
        Ok(Self { name, replicas, port, state_file })
    }

    /// Whether there is more than one copy, and so a choice of the master.
    pub(crate) fn is_replicated(&self) -> bool {
        self.replicas.len() > 1
    }

    /// The ports that clients use: of the master, its fast port, and of each slave by id.
    pub(crate) fn listen_ports(&self) -> Vec<u16> {
        [self.port, ports::fast(self.port)].into_iter().chain(self.slave_ports()).collect()
    }

    fn slave_ports(&self) -> impl Iterator<Item = u16> {
        let slaves = (1..self.replicas.len()).filter_map(|id| u16::try_from(id).ok());
        slaves.map(|id| ports::slave(self.port, id))
    }

    /// The settings by which a broker knows that it is one of several.
    pub(crate) fn settings(&self, own: &Replica, put: &mut impl FnMut(&str, Value) -> Option<Value>) {
        let replicas: Vec<Value> = self
            .replicas
            .iter()
            .map(|replica| json!({"name": replica.name, "address": format!("127.0.0.1:{}", replica.replication)}))
            .collect();
        put("replicaName", own.name.as_str().into());
        put("replicas", replicas.into());
        put("slaveListenPorts", self.slave_ports().collect());
        put("groupStateFile", self.state_file.to_string_lossy().into());
    }

    /// Process of the replica that leads, as the group state says; `None` when it does not say.
    pub(crate) fn leader(&self) -> Option<String> {
        let text = fs::read_to_string(&self.state_file).ok()?;
        let master = GroupState::from_json(&text).ok()?.master?.name;
        self.replicas
            .iter()
            .find(|replica| replica.name == master.as_str())
            .map(|replica| replica.process.clone())
    }

    /// Makes the state of a new group, which its first replica begins. One that is missing where a replica has been part of the group is
    /// not made: a human has to say who leads.
    fn begin(&self) -> Result<(), GroupError> {
        let known = |replica: &Replica| replica.store.join(REPLICA_FILE).exists();
        let Some(first) = self.replicas.first().filter(|_| self.is_replicated()) else { return Ok(()) };
        if self.state_file.exists() || self.replicas.iter().any(known) {
            return Ok(());
        }
        let state = GroupState::new_group(ReplicaName::new(&first.name)?);
        if let Some(folder) = self.state_file.parent() {
            fs::create_dir_all(folder).map_err(|source| io("make", folder, source))?;
        }
        let made = FileGroupState::new(self.state_file.clone()).create(&state);
        made.map(drop).map_err(|source| io("write", &self.state_file, source))
    }

    /// Takes over what an earlier start with another number of replicas left: the data of a single replica becomes that of the
    /// first of several. Makes the state of a new group.
    ///
    /// # Errors
    /// There were more replicas before, or the file system refuses.
    pub(crate) fn adopt(&self, folder: &Folder) -> Result<(), GroupError> {
        let copies = self.replicas.len();
        let of = |index: usize| folder.store(&format!("{}-{index}", self.name));
        let first_left_out = if self.is_replicated() { copies } else { 0 };
        if let Some(replica) =
            (first_left_out..usize::try_from(MOST_REPLICAS).unwrap_or(0)).find(|n| of(*n).exists())
        {
            return Err(GroupError::Fewer { group: self.name.clone(), replica, replicas: copies });
        }
        let single = folder.store(&self.name);
        if self.is_replicated() && single.exists() && !of(0).exists() {
            fs::rename(&single, of(0)).map_err(|source| io("rename", &single, source))?;
        }
        self.begin()
    }
}

fn io(what: &'static str, path: &Path, source: std::io::Error) -> GroupError {
    GroupError::Io { what, path: path.display().to_string(), source }
}

#[cfg(test)]
mod tests {
    use bolide_api::BrokerSetSpec;

    use super::*;

    fn group(folder: &Folder, replicas: u32) -> Result<Group, GroupError> {
        let set = BrokerSet::new("demo", BrokerSetSpec { replicas, ..BrokerSetSpec::default() });
        Group::new(&set, folder, Ports::new(Some(22_000)), 0)
    }

    #[test]
    fn replicas_share_the_ports_of_roles_and_have_their_own_for_replication() {
        let folder = Folder::new("/nowhere");
        let group = group(&folder, 3).unwrap();
        assert_eq!(group.listen_ports(), [22_100, 22_098, 22_102, 22_104]);
        let of: Vec<_> =
            group.replicas.iter().map(|replica| (replica.name.as_str(), replica.replication)).collect();
        assert_eq!(
            of,
            [("demo-broker-0-0", 22_101), ("demo-broker-0-1", 22_103), ("demo-broker-0-2", 22_105)]
        );
        assert!(matches!(super::tests::group(&folder, 5), Err(GroupError::TooMany { .. })));
    }

    #[test]
    fn a_single_replica_becomes_the_first_of_two_and_never_back() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::new(dir.path());
        let single = folder.store("demo-broker-0");
        fs::create_dir_all(single.join("commitlog")).unwrap();
        group(&folder, 1).unwrap().adopt(&folder).unwrap();
        group(&folder, 2).unwrap().adopt(&folder).unwrap();
        assert!(!single.exists() && folder.store("demo-broker-0-0").join("commitlog").exists());
        let two = group(&folder, 2).unwrap();
        let begun = fs::read_to_string(&two.state_file).unwrap();
        assert!(GroupState::from_json(&begun).unwrap().in_sync[0].name.as_str() == "demo-broker-0-0");
        fs::remove_file(&two.state_file).unwrap();
        fs::write(two.replicas[0].store.join(REPLICA_FILE), "{}").unwrap();
        two.adopt(&folder).unwrap();
        assert!(!two.state_file.exists(), "a state that is missing beside data is made by a human only");
        let refused = group(&folder, 1).unwrap().adopt(&folder).unwrap_err().to_string();
        assert!(refused.contains("spec.replicas is 1"), "{refused}");
    }
}
