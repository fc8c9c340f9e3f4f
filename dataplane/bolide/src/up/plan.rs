//! From the BrokerSet to the processes: names, ports, configuration files. Pure; nothing is started or written here but
//! [`Plan::write`], after everything has been checked.

use std::collections::BTreeMap;
use std::path::Path;

use bolide_api::BrokerSet;
use bolide_api::broker_settings::broker_settings;
use bolide_api::common::Setting;
use bolide_broker::BrokerConfig;
use bolide_nameserver::NameserverConfig;
use serde_json::Value;

use super::folder::Folder;
use super::group::{Group, GroupError};
use super::listeners::Listeners;
use super::ports::{self, PortError, Ports};
use super::supervisor::{RESTART_REPLICA, RESTART_SOON, Spec};
use crate::yaml::{self, YamlError};

/// All processes of a cluster.
#[derive(Debug)]
pub(crate) struct Plan {
    /// In order of start.
    pub(crate) processes: Vec<Planned>,
    /// Broker groups, in order of number.
    pub(crate) groups: Vec<Group>,
    /// Nameserver addresses, separated by `;`.
    pub(crate) namesrv: String,
}

/// One process.
#[derive(Debug)]
pub(crate) struct Planned {
    pub(crate) spec: Spec,
    /// The configuration file's text.
    config: String,
    /// Every port that the process opens by itself.
    ports: Vec<u16>,
}

/// Why a BrokerSet cannot run here.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PlanError {
    #[error(transparent)]
    Ports(#[from] PortError),
    #[error("BrokerSet {set}: spec.brokerConfig: {}", reason(source))]
    Setting { set: String, source: YamlError },
    #[error("BrokerSet {set}: spec.brokerConfig: {reason}")]
    Value { set: String, reason: String },
    #[error(transparent)]
    Group(#[from] GroupError),
    #[error("cannot write a configuration: {0}")]
    Yaml(#[from] bolide_api::yaml::WriteError),
    #[error("cannot write a configuration: {0}")]
    Json(#[from] serde_json::Error),
    #[error("cannot write {path}: {source}")]
    Write { path: String, source: std::io::Error },
}

/// The parser's reason without the name of a file that does not exist yet.
fn reason(error: &YamlError) -> String {
    match error {
        YamlError::Parse { reason, .. } => reason.clone(),
        YamlError::Read { .. } => error.to_string(),
    }
}

impl Plan {
    /// Plans the processes of a set.
    ///
    /// # Errors
    /// The ports do not fit, or a setting is not one of a broker.
    pub(crate) fn new(set: &BrokerSet, ports: Ports, folder: &Folder) -> Result<Self, PlanError> {
        let nameservers = u16::try_from(set.spec.nameservers.replicas).unwrap_or(u16::MAX);
        let groups = u16::try_from(set.spec.groups).unwrap_or(u16::MAX);
        let copies = usize::try_from(set.spec.replicas).unwrap_or(usize::MAX);
        ports.fits(usize::from(nameservers).saturating_add(usize::from(groups).saturating_mul(copies)))?;
        let mut processes = Vec::new();
        let mut addresses = Vec::new();
        for index in 0..nameservers {
            let name = format!("nameserver-{index}");
            let port = ports.nameserver(index, &name)?;
            addresses.push(format!("127.0.0.1:{port}"));
            processes.push(nameserver(folder, name.clone(), port, ports.admin(index, &name)?)?);
        }
        let namesrv = addresses.join(";");
        let mut admin = nameservers;
        let mut planned = Vec::new();
        for number in 0..groups {
            let group = Group::new(set, folder, ports, number)?;
            for replica in 0..group.replicas.len() {
                let port = ports.admin(admin, &group.name)?;
                processes.push(broker(set, &group, replica, folder, port, &namesrv)?);
                admin = admin.saturating_add(1);
            }
            planned.push(group);
        }
        Ok(Self { processes, groups: planned, namesrv })
    }

    /// Checks that every port is free.
    ///
    /// # Errors
    /// The first one that is not.
    pub(crate) fn check_ports(&self) -> Result<(), PortError> {
        for process in &self.processes {
            for port in &process.ports {
                ports::check_free(*port, &process.spec.name)?;
            }
        }
        for group in self.groups.iter().filter(|group| group.is_replicated()) {
            for port in group.listen_ports() {
                ports::check_free(port, &group.name)?;
            }
        }
        Ok(())
    }

    /// Takes over what earlier starts left, and makes the group states of new groups.
    ///
    /// # Errors
    /// The data folder does not fit the number of replicas, or the file system refuses.
    pub(crate) fn adopt(&self, folder: &Folder) -> Result<(), GroupError> {
        self.groups.iter().try_for_each(|group| group.adopt(folder))
    }

    /// Opens the sockets that the replicas of each group share.
    ///
    /// # Errors
    /// A port is taken.
    pub(crate) fn listen(&mut self) -> Result<(), PortError> {
        for group in self.groups.iter().filter(|group| group.is_replicated()) {
            let listeners = Listeners::bind(&group.listen_ports(), &group.name)?;
            for replica in &group.replicas {
                let own = self.processes.iter_mut().filter(|process| process.spec.name == replica.process);
                own.for_each(|process| process.spec.listeners = listeners.clone());
            }
        }
        Ok(())
    }

    /// Writes the configuration files.
    ///
    /// # Errors
    /// The file system refuses.
    pub(crate) fn write(&self) -> Result<(), PlanError> {
        for process in &self.processes {
            let path = &process.spec.config;
            std::fs::write(path, &process.config)
                .map_err(|source| PlanError::Write { path: path.display().to_string(), source })?;
        }
        Ok(())
    }
}

fn spec(folder: &Folder, name: String, subcommand: &'static str) -> Spec {
    Spec {
        subcommand,
        config: folder.config(&name),
        log: folder.log(&name),
        pid: folder.pid(&name),
        restart_first: RESTART_SOON,
        listeners: Listeners::default(),
        name,
    }
}

fn nameserver(folder: &Folder, name: String, port: u16, admin: u16) -> Result<Planned, PlanError> {
    let mut settings: BTreeMap<String, Setting> = BTreeMap::new();
    settings.insert("listenPort".into(), i64::from(port).into());
    settings.insert("bindAddress".into(), "127.0.0.1".into());
    settings.insert("adminAddress".into(), "127.0.0.1".into());
    settings.insert("adminPort".into(), i64::from(admin).into());
    let table = folder.store(&name).join("kvConfig.json");
    settings.insert("kvConfigPath".into(), table.to_string_lossy().as_ref().into());
    // routes tell clients the queues of ordered topics
    settings.insert("orderMessageEnable".into(), true.into());
    let config = yaml::to_text(&settings)?;
    let read: NameserverConfig = read("", &config)?;
    read.check().map_err(|error| PlanError::Value { set: String::new(), reason: error.to_string() })?;
    Ok(Planned { spec: spec(folder, name, "nameserver"), config, ports: vec![port, admin] })
}

fn broker(
    set: &BrokerSet,
    group: &Group,
    number: usize,
    folder: &Folder,
    admin: u16,
    namesrv: &str,
) -> Result<Planned, PlanError> {
    let replica = group.replicas.get(number).ok_or(PlanError::Group(GroupError::NoReplica))?;
    let mut settings: BTreeMap<String, Value> = broker_settings(&set.spec)
        .into_iter()
        .map(|(key, setting)| Ok((key, serde_json::to_value(setting)?)))
        .collect::<Result<_, serde_json::Error>>()?;
    let mut put = |key: &str, value: Value| settings.insert(key.to_owned(), value);
    put("brokerClusterName", set.cluster_name().into());
    put("brokerName", group.name.as_str().into());
    put("brokerId", 0.into());
    put("brokerIP1", "127.0.0.1".into());
    put("bindAddress", "127.0.0.1".into());
    put("listenPort", group.port.into());
    put("namesrvAddr", namesrv.into());
    put("storePathRootDir", replica.store.to_string_lossy().into());
    put("adminAddress", "127.0.0.1".into());
    put("adminPort", admin.into());
    if group.is_replicated() {
        group.settings(replica, &mut put);
    }
    let config = yaml::to_text(&settings)?;
    let read: BrokerConfig = read(set.cluster_name(), &config)?;
    read.check().map_err(|error| PlanError::Value {
        set: set.cluster_name().to_owned(),
        reason: error.to_string(),
    })?;
    let mut spec = spec(folder, replica.process.clone(), "broker");
    let mut ports = vec![admin];
    if group.is_replicated() {
        spec.restart_first = RESTART_REPLICA;
        ports.push(replica.replication);
    } else {
        ports.extend(group.listen_ports());
    }
    Ok(Planned { spec, config, ports })
}

/// Reads a configuration as the process will, so that a wrong setting is refused before anything starts.
fn read<T: serde::de::DeserializeOwned>(set: &str, config: &str) -> Result<T, PlanError> {
    yaml::from_text(Path::new("brokerConfig"), config)
        .map_err(|source| PlanError::Setting { set: set.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use bolide_api::BrokerSetSpec;

    use super::*;

    fn set(groups: u32) -> BrokerSet {
        let mut spec = BrokerSetSpec { groups, ..BrokerSetSpec::default() };
        spec.nameservers.replicas = 2;
        BrokerSet::new("demo", spec)
    }

    fn plan(set: &BrokerSet, ports: Ports) -> Result<Plan, PlanError> {
        Plan::new(set, ports, &Folder::new("/nowhere/bolide-data"))
    }

    fn unique_ports(plan: &Plan) -> usize {
        let own = plan.processes.iter().flat_map(|process| process.ports.clone());
        let shared = plan.groups.iter().filter(|group| group.is_replicated()).flat_map(Group::listen_ports);
        let all: Vec<u16> = own.chain(shared).collect();
        let mut once = all.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(all.len(), once.len(), "a port is used twice: {all:?}");
        all.len()
    }

    #[test]
    fn each_process_has_its_own_ports_and_knows_all_nameservers() {
        let plan = plan(&set(2), Ports::new(Some(22_000))).unwrap();
        let names: Vec<_> = plan.processes.iter().map(|process| process.spec.name.as_str()).collect();
        assert_eq!(names, ["nameserver-0", "nameserver-1", "broker-0", "broker-1"]);
        assert_eq!(plan.namesrv, "127.0.0.1:22000;127.0.0.1:22001");
        assert_eq!(unique_ports(&plan), 10);
        let broker = plan.processes.last().unwrap();
        assert_eq!(plan.groups[1].name, "demo-broker-1");
        assert!(broker.config.contains("127.0.0.1:22000;127.0.0.1:22001"), "{}", broker.config);
    }

    #[test]
    fn replicas_are_processes_of_their_own_and_share_the_ports_of_the_roles() {
        let mut set = set(2);
        set.spec.replicas = 4;
        let plan = plan(&set, Ports::new(Some(22_000))).unwrap();
        let names: Vec<_> = plan.processes.iter().skip(2).map(|process| process.spec.name.as_str()).collect();
        assert_eq!(names[..4], ["broker-0-0", "broker-0-1", "broker-0-2", "broker-0-3"]);
        assert_eq!(names.len(), 8);
        // nameservers and their admin ports, admin and replication of each replica, master, fast and three slaves a group
        assert_eq!(unique_ports(&plan), 4 + 16 + 10);
    }

    #[test]
    fn a_setting_that_no_broker_has_is_refused_by_name() {
        let mut set = set(1);
        set.spec.broker_config.insert("maxMesageSize".into(), 1.into());
        let error = plan(&set, Ports::new(None)).unwrap_err().to_string();
        assert!(error.contains("maxMesageSize") && !error.contains('\n'), "{error}");
    }
}
