//! From the BrokerSet to the processes: names, ports, configuration files. Pure; nothing is started or written here but
//! [`Plan::write`], after everything has been checked.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::Path;

use bolide_api::BrokerSet;
use bolide_api::broker_settings::broker_settings;
use bolide_api::common::Setting;
use bolide_broker::BrokerConfig;
use bolide_nameserver::NameserverConfig;

use super::folder::Folder;
use super::ports::{self, PortError, Ports};
use super::supervisor::Spec;
use crate::yaml::{self, YamlError};

/// All processes of a cluster.
#[derive(Debug)]
pub(crate) struct Plan {
    /// In order of start.
    pub(crate) processes: Vec<Planned>,
    /// Nameserver addresses, separated by `;`.
    pub(crate) namesrv: String,
}

/// One process.
#[derive(Debug)]
pub(crate) struct Planned {
    pub(crate) spec: Spec,
    /// Name of the broker group, for a broker.
    pub(crate) broker_name: Option<String>,
    /// The configuration file's text.
    config: String,
    /// Every port that the process opens.
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
    #[error("cannot write a configuration: {0}")]
    Yaml(#[from] bolide_api::yaml::WriteError),
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
        ports.fits(usize::from(nameservers) + usize::from(groups))?;
        let mut processes = Vec::new();
        let mut addresses = Vec::new();
        for index in 0..nameservers {
            let name = format!("nameserver-{index}");
            let port = ports.nameserver(index, &name)?;
            addresses.push(format!("127.0.0.1:{port}"));
            processes.push(nameserver(folder, name.clone(), port, ports.admin(index, &name)?)?);
        }
        let namesrv = addresses.join(";");
        for group in 0..groups {
            let name = format!("broker-{group}");
            let port = ports.broker(group, &name)?;
            let admin = ports.admin(nameservers.saturating_add(group), &name)?;
            processes.push(broker(set, folder, group, name, port, admin, &namesrv)?);
        }
        Ok(Self { processes, namesrv })
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
    Spec { subcommand, config: folder.config(&name), log: folder.log(&name), pid: folder.pid(&name), name }
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
    Ok(Planned {
        spec: spec(folder, name, "nameserver"),
        broker_name: None,
        config,
        ports: vec![port, admin],
    })
}

fn broker(
    set: &BrokerSet,
    folder: &Folder,
    group: u16,
    name: String,
    port: u16,
    admin: u16,
    namesrv: &str,
) -> Result<Planned, PlanError> {
    let broker_name = set.broker_name(u32::from(group));
    let mut settings = broker_settings(&set.spec);
    let mut put = |key: &str, value: Setting| settings.insert(key.to_owned(), value);
    put("brokerClusterName", set.cluster_name().into());
    put("brokerName", broker_name.as_str().into());
    put("brokerId", 0.into());
    put("brokerIP1", "127.0.0.1".into());
    put("bindAddress", Ipv4Addr::LOCALHOST.to_string().as_str().into());
    put("listenPort", i64::from(port).into());
    put("namesrvAddr", namesrv.into());
    put("storePathRootDir", folder.store(&broker_name).to_string_lossy().as_ref().into());
    put("adminAddress", "127.0.0.1".into());
    put("adminPort", i64::from(admin).into());
    let config = yaml::to_text(&settings)?;
    let read: BrokerConfig = read(set.cluster_name(), &config)?;
    read.check().map_err(|error| PlanError::Value {
        set: set.cluster_name().to_owned(),
        reason: error.to_string(),
    })?;
    let mut ports = ports::of_broker(port).to_vec();
    ports.push(admin);
    Ok(Planned { spec: spec(folder, name, "broker"), broker_name: Some(broker_name), config, ports })
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

    #[test]
    fn each_process_has_its_own_ports_and_knows_all_nameservers() {
        let plan = plan(&set(2), Ports::new(Some(22_000))).unwrap();
        let names: Vec<_> = plan.processes.iter().map(|process| process.spec.name.as_str()).collect();
        assert_eq!(names, ["nameserver-0", "nameserver-1", "broker-0", "broker-1"]);
        assert_eq!(plan.namesrv, "127.0.0.1:22000;127.0.0.1:22001");
        let mut all: Vec<u16> = plan.processes.iter().flat_map(|process| process.ports.clone()).collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count, "a port is used twice");
        let broker = plan.processes.last().unwrap();
        assert_eq!(broker.broker_name.as_deref(), Some("demo-broker-1"));
        assert!(broker.config.contains("127.0.0.1:22000;127.0.0.1:22001"), "{}", broker.config);
    }

    #[test]
    fn a_setting_that_no_broker_has_is_refused_by_name() {
        let mut set = set(1);
        set.spec.broker_config.insert("maxMesageSize".into(), 1.into());
        let error = plan(&set, Ports::new(None)).unwrap_err().to_string();
        assert!(error.contains("maxMesageSize") && !error.contains('\n'), "{error}");
    }
}
